"""The lines of the survive-list that the DTLS layer answers for, by their numbers, at 1.3; certificates are in test_authentication13."""

import random
from functools import partial
from typing import Any

import pytest

from tests.dtls.pairs import (
    CLIENT,
    Pair13,
    failure,
    handshake,
    in_turn,
    make_client,
    plaintext,
    said_by,
    taken,
    under_way,
    vector,
)
from tests.harness.clockwork import loop_iterations
from trioice.dtls import State, acks
from trioice.dtls.association import EARLY_RECORDS
from trioice.dtls.drops import Drop
from trioice.dtls.flights import LEAST_TIMEOUT, REPETITIONS
from trioice.dtls.fragments import AHEAD, MAXIMUM_HELD, Message
from trioice.dtls.groups import X25519
from trioice.dtls.messages import HandshakeType
from trioice.dtls.record import ACK, ALERT, APPLICATION_DATA, HANDSHAKE, RESERVED, Record, split
from trioice.errors import LocalProtocolError, Misbehaviour
from trioice.sansio import NEVER
from trioice.sequence import MAXIMUM_INDEX

CURVE: dict[str, Any] = {"groups": (X25519,)}


def stranger() -> list[bytes]:
    """The hello of somebody else."""
    outbox: list[Any] = []
    client = make_client(outbox, [], seed=99, versions=(0xFEFC, 0xFEFD), groups=(X25519,))
    client.start(0.0)
    return taken(outbox)


# 7. A ClientHello beside the real one


def test_7_a_second_hello_while_and_after_the_real_one_changes_nothing() -> None:
    pair = Pair13(**CURVE)
    intruder = stranger()
    later = [handshake(HandshakeType.CLIENT_HELLO, number, b"new") for number in (1, 2, 3, 4)]
    flight = pair.to_server(pair.start())
    assert pair.to_server(intruder + later) == []
    final = pair.to_client(flight)
    assert pair.to_server(intruder + later) == []
    pair.to_client(pair.to_server(final))
    pair.now = 10.0
    assert pair.to_server(intruder + later) == []
    assert pair.to_client(intruder + later) == []
    assert pair.are_agreed


# 8. Fragments


def test_8_a_hello_of_browser_size_in_crumbs_shuffled_overlapping_and_doubled() -> None:
    fragments = [(record.payload[12:], record) for d in vector("client_hello_firefox.hex") for record in plain(d)]
    message = Message(kind=1, sequence=0, body=b"".join(octets for octets, _ in fragments))
    pair = Pair13()
    length = len(message.body)
    missing = set(range(length))
    for start in [i * 7919 % length for i in range(length)]:  # 7919 is prime, so each octet comes once
        end = min(start + 3, length)
        for _ in range(2):
            pair.server.receive(plaintext(HANDSHAKE, message.fragment(start, end)), CLIENT, 0.0)
        missing -= set(range(start, end))
        assert bool(pair.server_outbox) is not bool(missing)
        if not missing:
            break
    assert pair.server.state is State.WAIT_CERTIFICATE
    assert pair.server.group == 0  # not yet known to the owner
    assert len(pair.server_events) == 1


def plain(datagram: bytes) -> list[Record]:
    return [item for item in split(datagram)[0] if isinstance(item, Record)]


def test_8_under_keys_too_a_length_of_two_to_the_twenty_four_is_not_believed() -> None:
    pair = Pair13(**CURVE)
    pair.server_waits()
    for number in range(AHEAD):
        huge = bytes.fromhex(f"0bffffff{number + pair.server._incoming.next:04x}00000000000100")
        datagram = pair.client._records.seal(HANDSHAKE, 2, huge)
        loop_iterations(partial(pair.server.receive, datagram, CLIENT, 0.0), 700)
    assert pair.server.dropped == {Drop.TOO_LONG: AHEAD}
    pair.to_client(pair.to_server([said_by(pair.client, *under_way(pair.client))]))
    assert pair.are_agreed


def test_8_plaintext_that_poses_as_what_follows_the_hello_is_forgotten_when_there_are_keys() -> None:
    pair = Pair13(**CURVE)
    flight = pair.to_server(pair.start())
    forged = [handshake(kind, number, bytes(50)) for number, kind in enumerate((8, 13, 11, 15, 20), start=1)]
    partial_ones = [
        plaintext(HANDSHAKE, Message(kind=11, sequence=number, body=bytes(16_000)).fragment(5, 9))
        for number in range(1, 8)
    ]
    pair.to_client(forged + partial_ones)
    assert sum(len(partial.body) for partial in pair.client._incoming._partial.values()) <= MAXIMUM_HELD
    final = pair.to_client(flight)
    assert pair.client.state is State.CONNECTED
    pair.to_server(forged + partial_ones)
    pair.to_client(pair.to_server(final))
    assert pair.are_agreed


def test_8_ten_thousand_fragments_under_keys_are_bounded() -> None:
    pair = Pair13(**CURVE)
    pair.server_waits()
    rng = random.Random(1)
    for _ in range(10_000):
        message = Message(kind=rng.randrange(256), sequence=rng.randrange(12), body=bytes(rng.randrange(20, 20_000)))
        start = rng.randrange(len(message.body))
        pair.server.receive(
            pair.client._records.seal(HANDSHAKE, 2, message.fragment(start, min(start + 9, len(message.body)))),
            CLIENT,
            0.0,
        )
        pair.server_outbox.clear()
    assert pair.server.state is State.WAIT_CERTIFICATE
    assert sum(len(partial.body) for partial in pair.server._incoming._partial.values()) <= MAXIMUM_HELD


# 9. Records that anybody can write


def junk(rng: random.Random) -> list[bytes]:
    """What a blind sender might try."""
    return [
        plaintext(ALERT, b"\x02\x28"),
        plaintext(ALERT, b"\x01\x00"),
        plaintext(ALERT, b"\x02"),
        plaintext(APPLICATION_DATA, b"inject"),
        plaintext(APPLICATION_DATA, b"inject", epoch=1),
        plaintext(APPLICATION_DATA, b"inject", epoch=3),
        plaintext(HANDSHAKE, bytes(40), epoch=1),
        plaintext(HANDSHAKE, bytes(40), epoch=2),
        plaintext(HANDSHAKE, bytes(40), epoch=3),
        plaintext(ALERT, b"\x02\x28", epoch=0xFFFF),
        plaintext(20, b"\x01"),
        plaintext(20, b"\x01", epoch=1),
        plaintext(20, b"\x01", epoch=3),
        plaintext(24, b"heartbeat"),
        plaintext(25, b"with a connection id"),
        plaintext(ACK, acks.ack([(0, 0), (2, 0), (3, 0)])),
        plaintext(ACK, b"\0\1"),
        handshake(HandshakeType.FINISHED, 4, bytes(32)),
        handshake(HandshakeType.FINISHED, 0, bytes(32)),
        handshake(HandshakeType.KEY_UPDATE, 7, b"\1"),
        plaintext(HANDSHAKE, b""),
        b"",
        b"\x16",
        *(bytes((first,)) + rng.randbytes(length) for first in range(32, 64) for length in (0, 1, 4, 20, 21, 40)),
        bytes(range(32, 64)),
    ]


@pytest.mark.parametrize("cookie", [False, True])
def test_9_what_anybody_can_write_tears_down_neither_handshake_nor_association(cookie: bool) -> None:
    rng = random.Random(1)
    pair = Pair13(mtu=400, **CURVE, server={"cookie": cookie})
    said: list[bytes] = pair.start()
    to_server = True
    while said:
        receiver = pair.server if to_server else pair.client
        for datagram in [*said, b""]:
            for forged in junk(rng):
                receiver.receive(forged, "anybody", pair.now)
            receiver.receive(datagram, "peer", pair.now)
        said = pair.from_server() if to_server else pair.from_client()
        to_server = not to_server
    assert pair.are_agreed
    before = len(pair.client_events), len(pair.server_events)
    for machine in (pair.client, pair.server):
        for forged in junk(rng):
            machine.receive(forged, "anybody", 1.0)
        assert machine.inbox == []
        for drop in (
            Drop.PLAINTEXT_ALERT,
            Drop.PLAINTEXT_DATA,
            Drop.PLAINTEXT_ACK,
            Drop.WRONG_EPOCH,
            Drop.UNKNOWN_TYPE,
        ):
            assert machine.dropped[drop] > 0
        assert machine.dropped[Drop.BAD_RECORD] > 0
    assert (len(pair.client_events), len(pair.server_events)) == before
    assert pair.client_outbox == pair.server_outbox == []
    pair.client.send(b"still here", 2.0)
    pair.run()
    assert pair.server.inbox == [b"still here"]


def test_9_nothing_of_a_datagram_can_be_changed_and_no_change_ends_anything() -> None:
    pair = Pair13(**CURVE)
    [final] = pair.server_waits()
    for position in range(len(final)):
        changed = bytearray(final)
        changed[position] ^= 1 << position % 8
        assert pair.to_server([bytes(changed)]) == []
    assert pair.server.state is State.WAIT_CERTIFICATE
    assert set(pair.server.dropped) <= {
        Drop.BAD_RECORD,
        Drop.MALFORMED,
        Drop.WRONG_EPOCH,
        Drop.REPLAYED,
        Drop.TOO_EARLY,
    }
    pair.to_client(pair.to_server([final]))
    assert pair.are_agreed


def test_9_a_replayed_record_is_read_once() -> None:
    pair = Pair13(**CURVE).run()
    pair.client.send(b"once", 1.0)
    datagrams = pair.from_client()
    pair.to_server(datagrams * 3)
    assert pair.server.inbox == [b"once"]
    assert pair.server.dropped == {Drop.REPLAYED: 2}


def test_9_a_record_under_other_keys_is_dropped() -> None:
    pair, other = Pair13(**CURVE).run(), Pair13(5, **CURVE).run()
    other.client.send(b"not for you", 1.0)
    other.client.close(1.0)
    pair.to_server(other.from_client())
    assert pair.are_agreed
    assert (pair.server.inbox, pair.server.dropped) == ([], {Drop.BAD_RECORD: 2})
    # Nor is what we said ourselves for us.
    pair.client.send(b"ours", 1.0)
    pair.to_client(pair.from_client())
    assert pair.client.dropped == {Drop.BAD_RECORD: 1}


def test_9_records_from_before_their_keys_are_kept_in_a_small_number() -> None:
    pair = Pair13(**CURVE)
    flight = pair.to_server(pair.start())
    early = [bytes((0x2C | epoch, 0, number % 256, 0, 100)) + bytes(100) for epoch in (2, 3) for number in range(5000)]
    pair.to_client(early)
    assert pair.client.dropped == {Drop.TOO_EARLY: len(early) - EARLY_RECORDS}
    assert len(pair.client._early) == EARLY_RECORDS
    pair.to_server(pair.to_client(flight))
    assert pair.are_agreed
    assert pair.client._early == []


def test_9_early_data_is_dropped_and_not_kept() -> None:
    pair = Pair13(**CURVE)
    hello = pair.start()
    early = [b"\x2d" + bytes((0, number, 0, 50)) + bytes(50) for number in range(100)]
    pair.to_server(early)
    flight = pair.to_server(hello)
    assert pair.to_server(early) == []
    pair.to_client(early)
    assert pair.server.dropped == {Drop.WRONG_EPOCH: 200}
    assert (pair.server._early, pair.server.inbox) == ([], [])
    pair.to_server(pair.to_client(flight))
    assert pair.are_agreed


# 11. Fail closed


def test_11_sequence_numbers_are_never_used_up() -> None:
    pair = Pair13(**CURVE).run()
    pair.client._records._epochs[3].sequence = MAXIMUM_INDEX - RESERVED
    pair.server._records._epochs[3].window.highest = MAXIMUM_INDEX - RESERVED - 1
    pair.client._next_message = 0x1_0000  # nor are there new keys to be had
    pair.client.send(b"the last", 1.0)
    with pytest.raises(LocalProtocolError):
        pair.client.send(b"one too many", 1.0)
    pair.client.close(1.0)
    pair.run()
    assert pair.server.inbox == [b"the last"]
    assert pair.server.state is State.CLOSED


# 12. Storms


def test_12_a_storm_of_repeated_hellos_is_answered_in_bounds_and_leaves_the_timer_alone() -> None:
    pair = Pair13()
    hello = pair.start()
    flight = pair.to_server(hello)
    deadline = pair.server.deadline
    answers = 0
    for millisecond in range(1, 2500):
        pair.now = deadline * millisecond / 2501
        answers += len(pair.to_server(hello)) // len(flight)
    assert answers <= deadline / LEAST_TIMEOUT
    assert pair.server.deadline == deadline
    for second in range(2500):
        pair.now = second / 10 + 1
        answers += len(pair.to_server(hello)) // len(flight)
    assert answers == REPETITIONS


def test_12_what_may_be_said_to_a_peer_that_may_not_hear_is_what_the_owner_allows() -> None:
    pair = Pair13(mtu=300, server={"allowance": 700.0})
    hello = pair.start()
    flight = pair.to_server(hello)
    assert sum(map(len, flight)) <= 700
    assert pair.server.dropped[Drop.OVER_ALLOWANCE] == 1
    pair.server.expire(pair.server.deadline)
    assert pair.from_server() == []
    pair.server.allowance = NEVER
    pair.server.expire(pair.server.deadline)
    pair.to_server(pair.to_client(pair.from_server()))
    assert pair.are_agreed


def test_12_an_alert_is_sent_once_and_then_nothing() -> None:
    pair = Pair13(**CURVE)
    pair.server_waits()
    bad = said_by(pair.client, in_turn(99, pair.server, epoch=2))
    assert len(pair.to_server([bad])) == 1
    assert pair.to_server([bad, said_by(pair.client, *under_way(pair.client))] * 100) == []
    pair.server.expire(1000.0)
    pair.server.close(1000.0)
    assert (pair.server_outbox, failure(pair.server_events)) == ([], Misbehaviour.UNEXPECTED_MESSAGE)


def test_a_handshake_timeout_tells_of_a_plaintext_alert() -> None:
    pair = Pair13(**CURVE)
    pair.start()
    pair.to_client([plaintext(ALERT, b"\x02\x46")])
    while not pair.client_events:
        pair.client.expire(pair.client.deadline)
    assert failure(pair.client_events) is Misbehaviour.HANDSHAKE_TIMEOUT
    assert "protocol_version" in str(pair.client_events[0])
