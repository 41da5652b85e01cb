"""Acknowledgements in storms, forged, and sent by liars: bounded and harmless (RFC 9147, 7)."""

import pytest

from tests.dtls.pairs import (
    CLIENT,
    Pair,
    Pair13,
    acknowledged,
    in_turn,
    plaintext,
    said_by,
    server_speaks,
    under_way,
)
from trioice.dtls import LEAST_TIMEOUT, State, acks
from trioice.dtls.association import ACKNOWLEDGED
from trioice.dtls.drops import Drop
from trioice.dtls.flights import SENT, TRANSMISSIONS_TO_THE_PRESENT
from trioice.dtls.groups import X25519
from trioice.dtls.messages import HandshakeType
from trioice.dtls.record import ACK, ALERT, HANDSHAKE
from trioice.sansio import NEVER

HELLO, EXTENSIONS, REQUEST, *_ = range(6)
"""The messages of a server's flight."""

# Within bounds


def test_junk_is_not_acknowledged_again_and_again() -> None:
    pair, flight = server_speaks()
    pair.to_client([said_by(pair.server, flight[HELLO]), said_by(pair.server, flight[REQUEST])])
    junk = [
        b"?",
        b"",
        b"\x2e" + bytes(40),
        plaintext(ACK, b"\0\0"),
        plaintext(HANDSHAKE, bytes(40)),
        plaintext(ALERT, b"\2\0"),
    ]
    for number in range(1000):
        pair.now = number / 1000
        assert pair.to_client(junk) == []
    assert pair.client.deadline < 1


@pytest.mark.parametrize("mtu", [256, 300, 1200])
def test_an_acknowledgement_is_of_the_newest_records_and_fits_a_datagram(mtu: int) -> None:
    pair = Pair13(groups=(X25519,), mtu=mtu)
    pair.to_server(pair.start())
    hello, *_, finished = under_way(pair.server)
    pair.to_client([said_by(pair.server, hello)])
    pair.to_client([said_by(pair.server, finished) for _ in range(99)])
    [datagram] = pair.to_client([said_by(pair.server, finished)])
    assert len(datagram) <= mtu
    [numbers] = acknowledged(pair.server, [datagram])
    last = pair.server._records.sequences[2] - 1
    assert len(numbers) == min(ACKNOWLEDGED, acks.capacity(mtu - 22))
    assert numbers == [(2, last - len(numbers) + 1 + place) for place in range(len(numbers))]
    assert len(pair.client._unacknowledged) == ACKNOWLEDGED


def test_each_repeated_finished_costs_one_acknowledgement_that_is_no_longer_than_itself() -> None:
    pair = Pair13(groups=(X25519,))
    final = pair.server_waits()
    finished = under_way(pair.client)[-1]
    pair.to_server(final)
    for _ in range(1000):
        repeated = said_by(pair.client, finished)
        answer = pair.to_server([repeated])
        assert len(answer) == 1
        assert len(answer[0]) <= len(repeated)
    assert len(pair.server._unacknowledged) == 0


def test_records_that_are_remembered_for_an_acknowledgement_are_bounded() -> None:
    pair = Pair13(mtu=256)
    pair.to_server(pair.start())
    pair.server._flights._peer_is_present = True
    for _ in range(TRANSMISSIONS_TO_THE_PRESENT - 1):
        pair.server.expire(pair.server.deadline)
        assert len(pair.server._flights._sent) <= SENT
    assert pair.server._records.sequences[0] + pair.server._records.sequences[2] > SENT


# Forged and lying


def test_acknowledgements_in_plaintext_count_for_nothing() -> None:
    for numbers in ([(0, 0)], [(0, 0), (2, 0)], [(2, number) for number in range(100)], []):
        pair = Pair13(groups=(X25519,))
        forged = plaintext(ACK, acks.ack(numbers))
        hello = pair.start()
        pair.to_client([forged])
        assert pair.client._flights.is_under_way
        final = pair.to_client(pair.to_server(hello))
        pair.to_client([forged])
        pair.to_server([forged])
        assert [message.kind for message in under_way(pair.client)] == [11, 15, 20]
        assert len(under_way(pair.server)) == 6
        assert (pair.client.dropped, pair.server.dropped) == ({Drop.PLAINTEXT_ACK: 2}, {Drop.PLAINTEXT_ACK: 1})
        pair.to_client(pair.to_server(final))
        assert pair.are_agreed


@pytest.mark.parametrize(
    "payload",
    [
        acks.ack([]),
        acks.ack([(2, 100), (2, 2**48), (2, 2**64 - 1), (3, 0), (4, 0), (2**64 - 1, 0), (1, 0), (0, 100)]),
        acks.ack([(7, number) for number in range(1020)]),
        acks.ack([(3, 0)] * 1020),
        b"",
        b"\0",
        b"\0\1\0",
        b"\0\x10" + bytes(15),
        b"\0\x10" + bytes(17),
        b"\xff\xff" + bytes(100),
    ],
    ids=lambda payload: payload[:4].hex() + f"-{len(payload)}",
)
def test_an_acknowledgement_of_what_was_never_sent_changes_nothing(payload: bytes) -> None:
    pair = Pair13(groups=(X25519,))
    final = pair.server_waits()
    before = pair.client.deadline
    pair.server.state = State.WAIT_CERTIFICATE
    for _ in range(20):
        assert pair.to_client([pair.server._records.seal(ACK, 3, payload)]) == []
        assert pair.to_server([pair.client._records.seal(ACK, 2, payload)]) == []
    assert [message.kind for message in under_way(pair.client)] == [11, 15, 20]
    assert len(under_way(pair.server)) == 6
    assert pair.client.deadline == before
    pair.to_client(pair.to_server(final))
    assert pair.are_agreed


def test_a_liar_that_acknowledges_piece_by_piece_gets_the_flight_in_ever_smaller_parts() -> None:
    pair = Pair13(groups=(X25519,), mtu=256)
    flight = pair.to_server(pair.start())
    pair.to_client([said_by(pair.server, under_way(pair.server)[HELLO])])
    asked = sent = 0
    size = sum(map(len, flight))
    while pair.server._flights.is_under_way:
        asked += 1
        newest = list(pair.server._flights._sent)[-1:]
        answer = pair.to_server([pair.client._records.seal(ACK, 2, acks.ack(newest))])
        again = sum(map(len, answer))
        assert again < size
        size = again
        sent += again
    assert asked <= 2 * len(flight)
    assert sent < len(flight) * sum(map(len, flight))


def test_a_storm_of_acknowledgements_after_the_handshake_is_of_no_effect() -> None:
    pair = Pair13(groups=(X25519,)).run()
    for number in range(1000):
        pair.server.receive(pair.client._records.seal(ACK, 3, acks.ack([(3, number), (2, number)])), CLIENT, 1.0)
    assert pair.from_server() == []
    assert pair.server.deadline == NEVER


# The whole


def test_the_acknowledgements_of_a_reordered_flight_are_no_storm() -> None:
    pair = Pair13(mtu=256)
    datagrams = pair.to_server(pair.start())
    said = pair.to_client(datagrams[::-1])
    assert len(datagrams) == 8
    assert len(said) <= len(datagrams)
    answers: list[bytes] = []
    for datagram in said:
        answers += pair.to_server([datagram])
    # Every repetition is of less than the one before.
    assert len(answers) <= len(datagrams) * 2
    pair.to_client(answers)
    assert pair.are_connected


def test_two_that_are_connected_have_nothing_more_to_say() -> None:
    for seed in range(30):
        pair = Pair(seed, versions=(0xFEFC,), groups=(X25519,))
        link = pair.link(seed, loss=0.3, duplication=0.2, jitter=0.1)
        pair.client.start(0.0)
        assert pair.connects(link, 60.0)
        link.run_until(link.now + 60)
        assert pair.client.deadline == pair.server.deadline == NEVER
        sent = link.sent
        link.run_until(link.now + 1000)
        assert link.sent == sent


def test_repetitions_that_a_peer_asks_for_by_its_hello_keep_their_distance() -> None:
    pair = Pair13(groups=(X25519,))
    hello = pair.start()
    pair.to_server(hello)
    count = 0
    for millisecond in range(1, 200):
        pair.now = millisecond / 1000
        count += len(pair.to_server(hello)) > 0
    assert 0 < count <= 0.2 / LEAST_TIMEOUT


def test_a_message_that_was_read_already_is_acknowledged_again() -> None:
    pair = Pair13(groups=(X25519,)).run()
    ticket = in_turn(HandshakeType.NEW_SESSION_TICKET, pair.client, b"ticket", epoch=3)
    for _ in range(3):
        answer = pair.to_client([said_by(pair.server, ticket)])
        assert acknowledged(pair.server, answer) == [[(3, pair.server._records.sequences[3] - 1)]]
    assert pair.client.dropped == {Drop.REPEATED: 2}
