"""Acknowledgements: how they are written, when they are sent and of what, and what they spare (RFC 9147, 7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dtls.pairs import (
    Pair13,
    acknowledged,
    failure,
    fragments_of,
    opened_by,
    plaintext,
    said_by,
    server_speaks,
    under_way,
)
from trioice.dtls import State, acks
from trioice.dtls.drops import Drop
from trioice.dtls.flights import TRANSMISSIONS_TO_THE_PRESENT
from trioice.dtls.fragments import AHEAD, MAXIMUM_MESSAGE, Message
from trioice.dtls.groups import X25519
from trioice.dtls.packing import RecordNumber
from trioice.dtls.record import ACK, ALERT, APPLICATION_DATA, HANDSHAKE
from trioice.errors import Misbehaviour
from trioice.sansio import NEVER

NUMBERS = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


@given(st.lists(NUMBERS, max_size=4095))
def test_an_acknowledgement_is_read_as_it_was_written(numbers: list[RecordNumber]) -> None:
    payload = acks.ack(numbers)
    assert acks.read(payload) == numbers
    assert acks.capacity(len(payload)) == len(numbers)


@given(st.binary(max_size=100))
def test_what_is_no_acknowledgement_is_none(payload: bytes) -> None:
    numbers = acks.read(payload)
    assert numbers is None or acks.ack(numbers) == payload


HELLO, EXTENSIONS, REQUEST, CERTIFICATE, *_ = range(6)
"""The messages of a server's flight."""

# When and of what


def test_a_part_of_a_flight_is_acknowledged_after_a_quarter_of_the_timer() -> None:
    pair, flight = server_speaks()
    assert pair.to_client([said_by(pair.server, flight[HELLO], flight[EXTENSIONS])]) == []
    assert pair.client.deadline == pytest.approx(0.25 / 4)
    pair.now = pair.client.deadline
    pair.client.expire(pair.now)
    datagrams = pair.from_client()
    number = pair.server._records.sequences[2] - 1
    assert acknowledged(pair.server, datagrams) == [[(0, 1), (2, number)]]
    pair.client.expire(pair.now)
    assert pair.from_client() == []  # once is enough
    assert pair.client.deadline > pair.now


def test_what_came_before_a_gap_and_behind_it_is_acknowledged_at_once() -> None:
    pair, flight = server_speaks()
    pair.to_client([said_by(pair.server, flight[HELLO])])
    datagrams = pair.to_client([said_by(pair.server, flight[REQUEST])])
    number = pair.server._records.sequences[2] - 1
    assert acknowledged(pair.server, datagrams) == [[(0, 1), (2, number)]]


def test_a_gap_inside_a_message_is_one_too() -> None:
    pair, flight = server_speaks()
    certificate = flight[CERTIFICATE]
    pair.to_client([said_by(pair.server, *flight[:CERTIFICATE])])
    end = len(certificate.body)
    datagrams = pair.to_client([pair.server._records.seal(HANDSHAKE, 2, certificate.fragment(end - 50, end))])
    assert len(acknowledged(pair.server, datagrams)) == 1


def test_the_last_flight_is_acknowledged_at_once_under_the_newest_keys() -> None:
    pair = Pair13(groups=(X25519,))
    final = pair.server_waits()
    answer = pair.to_server(final)
    assert [(item.kind, item.epoch) for item in opened_by(pair.client, answer)] == [(ACK, 3)]
    assert acknowledged(pair.client, answer) == [[(2, 0)]]
    pair.to_client(answer)
    assert not pair.client._flights.is_under_way
    assert pair.client.deadline == pair.server.deadline == NEVER


def test_a_flight_that_comes_whole_is_answered_by_the_next_and_not_acknowledged() -> None:
    pair = Pair13(groups=(X25519,))
    final = pair.server_waits()
    assert [item.kind for item in opened_by(pair.server, final)] == [HANDSHAKE]


def test_a_lost_acknowledgement_is_made_good_by_each_repeated_finished() -> None:
    pair = Pair13(groups=(X25519,))
    pair.to_server(pair.server_waits())
    answer: list[bytes] = []
    for _ in range(3):
        pair.now = pair.client.deadline
        pair.client.expire(pair.now)
        answer = pair.to_server(pair.from_client())
        assert len(acknowledged(pair.client, answer)) == 1
    pair.to_client(answer)
    assert not pair.client._flights.is_under_way
    assert pair.are_agreed


def test_application_data_does_not_stand_for_an_acknowledgement() -> None:
    pair = Pair13(groups=(X25519,))
    pair.to_server(pair.server_waits())
    pair.server.send(b"data", 0.0)
    pair.to_client(pair.from_server())
    assert pair.client.inbox == [b"data"]
    assert [message.kind for message in under_way(pair.client)] == [11, 15, 20]


def test_only_what_was_kept_of_a_handshake_is_acknowledged() -> None:
    pair = Pair13(groups=(X25519,)).run()
    server, client = pair.server, pair.client
    due = server._incoming.next
    refused = [
        client._records.seal(APPLICATION_DATA, 3, b"data"),
        client._records.seal(ALERT, 3, b"\x01\x5a"),
        client._records.seal(ACK, 3, acks.ack([(3, 0)])),
        client._records.seal(HANDSHAKE, 3, b""),
        client._records.seal(HANDSHAKE, 3, b"\x18\0\0"),
        client._records.seal(99, 3, b"?"),
        said_by(client, Message(kind=24, sequence=due + AHEAD, body=b"\0", epoch=3)),
        client._records.seal(HANDSHAKE, 3, Message(kind=24, sequence=due, body=bytes(5)).fragment(2, 2)),
        client._records.seal(
            HANDSHAKE, 3, Message(kind=24, sequence=due, body=bytes(MAXIMUM_MESSAGE + 1)).fragment(0, 9)
        ),
        client._records.seal(HANDSHAKE, 3, Message(kind=24, sequence=due, body=bytes(9)).fragment(0, 9))[:-1] + b"?",
        plaintext(HANDSHAKE, Message(kind=24, sequence=due, body=b"\0").octets()),
        plaintext(HANDSHAKE, Message(kind=20, sequence=due - 1, body=b"\0").octets()),
    ]
    assert pair.to_server(refused) == []
    kept = client._records.seal(HANDSHAKE, 3, Message(kind=24, sequence=due, body=bytes(5)).fragment(3, 5))
    assert len(acknowledged(client, pair.to_server([kept]))) == 1
    assert pair.to_server([kept]) == []  # a replay of the network's
    assert server.dropped[Drop.REPLAYED] == 1
    assert pair.are_connected


# What they spare


def test_only_what_is_missing_is_sent_again() -> None:
    for lost in (1, 2):
        pair = Pair13(groups=(X25519,), mtu=300)
        datagrams = pair.to_server(pair.start())
        assert len(datagrams) == 3
        said = pair.to_client(datagrams[:lost] + datagrams[lost + 1 :])
        pair.now = 0.07  # after a quarter of the timer, where the end is missing and nothing shows a gap
        pair.client.expire(pair.now)
        again = pair.to_server(said + pair.from_client())
        first, second = (fragments_of(opened_by(pair.client, part)) for part in ([datagrams[lost]], again))
        assert [(f.sequence, f.offset, f.octets) for f in first] == [(f.sequence, f.offset, f.octets) for f in second]
        pair.to_server(pair.to_client(again))
        assert pair.are_connected


def test_the_timer_too_repeats_only_what_is_missing() -> None:
    pair = Pair13(groups=(X25519,), mtu=300)
    final = pair.server_waits()
    assert len(final) > 1
    pair.now = 0.01
    acknowledgement = pair.to_server(final[1:])
    assert len(acknowledged(pair.client, acknowledgement)) == len(final[1:])
    again = pair.to_client(acknowledgement[-1:])
    lost = fragments_of(opened_by(pair.server, final[:1]))
    assert fragments_of(opened_by(pair.server, again)) == lost
    pair.now = pair.client.deadline
    pair.client.expire(pair.now)
    assert fragments_of(opened_by(pair.server, pair.from_client())) == lost


def test_an_acknowledgement_of_an_earlier_transmission_counts() -> None:
    pair = Pair13(groups=(X25519,))
    final = pair.server_waits()
    answer = pair.to_server(final)
    for _ in range(3):
        pair.now = pair.client.deadline
        pair.client.expire(pair.now)
    pair.from_client()
    pair.to_client(answer)
    assert not pair.client._flights.is_under_way


def test_a_peer_that_acknowledges_all_and_then_falls_silent_is_given_up() -> None:
    pair, _ = server_speaks()
    pair.to_client([said_by(pair.server, *under_way(pair.server)[:EXTENSIONS])])
    all_of_it = acks.ack(list(pair.server._flights._sent))
    assert pair.to_server([pair.client._records.seal(ACK, 2, all_of_it)]) == []
    assert not pair.server._flights.is_under_way
    expiries = 0
    while pair.server.state is not State.FAILED:
        pair.now = pair.server.deadline
        assert pair.now < 70
        pair.server.expire(pair.now)
        expiries += 1
        assert pair.from_server() == []
    assert failure(pair.server_events) is Misbehaviour.HANDSHAKE_TIMEOUT
    assert expiries == TRANSMISSIONS_TO_THE_PRESENT
