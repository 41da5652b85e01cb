"""What a peer may not say under the keys of DTLS 1.3, and what becomes of it: records, alerts, tickets, anything (RFC 8446, 5 and 6)."""

import random
from typing import Any

import pytest

from tests.dtls.pairs import (
    Pair,
    Pair13,
    failure,
    in_turn,
    opened_by,
    said_by,
    server_speaks,
    under_way,
)
from trioice.dtls.drops import Drop
from trioice.dtls.fragments import Message
from trioice.dtls.groups import X25519
from trioice.dtls.handshake import Handshake
from trioice.dtls.messages import HandshakeType
from trioice.dtls.record import ACK, ALERT, APPLICATION_DATA, HANDSHAKE
from trioice.errors import Misbehaviour
from trioice.sansio import NEVER, Closed

CURVE: dict[str, Any] = {"groups": (X25519,)}


def connected(side: str) -> tuple[Pair, Handshake, Handshake]:
    pair = Pair13(**CURVE).run()
    return (pair, pair.client, pair.server) if side == "client" else (pair, pair.server, pair.client)


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("kind", [1, 19, 20, 24, 25, 27, 63, 64, 255])
def test_a_record_of_an_unknown_kind_is_counted_and_never_taken_for_another(side: str, kind: int) -> None:
    for epoch in (2, 3):
        pair, ours, peer = connected(side)
        message = in_turn(HandshakeType.KEY_UPDATE, ours, b"\0")
        ours.receive(peer._records.seal(kind, epoch, message.octets()), "peer", 0.0)
        assert ours.dropped == {Drop.UNKNOWN_TYPE: 1}
        assert pair.are_agreed
        assert pair.client_outbox == pair.server_outbox == []


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_record_of_nothing_is_dropped_but_for_application_data(side: str) -> None:
    pair, ours, peer = connected(side)
    for kind in (HANDSHAKE, ALERT, ACK):
        ours.receive(peer._records.seal(kind, 3, b""), "peer", 0.0)
    assert ours.dropped == {Drop.MALFORMED: 3}
    ours.receive(peer._records.seal(APPLICATION_DATA, 3, b""), "peer", 0.0)
    assert ours.inbox == [b""]
    assert pair.are_agreed


@pytest.mark.parametrize("side", ["client", "server"])
def test_alerts_under_keys_end_the_association_whatever_their_level(side: str) -> None:
    for payload in (b"\x02\x28", b"\x01\x28", b"\x00\x28", b"\xff\xff", b"\x01\x64", b"\x02\x0a"):
        pair, ours, peer = connected(side)
        ours.receive(peer._records.seal(ALERT, 3, payload), "peer", 0.0)
        assert failure(pair.client_events if side == "client" else pair.server_events) is Misbehaviour.BAD_ALERT
        assert (ours.outbox, ours.deadline) == ([], NEVER)


@pytest.mark.parametrize("side", ["client", "server"])
def test_some_alerts_end_nothing(side: str) -> None:
    for payload, drop in ((b"\x01\x5a", Drop.WARNING), (b"\x02", Drop.MALFORMED), (b"\x02\x28\x00", Drop.MALFORMED)):
        pair, ours, peer = connected(side)
        ours.receive(peer._records.seal(ALERT, 3, payload), "peer", 0.0)
        assert ours.dropped == {drop: 1}
        assert pair.are_agreed


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("level", [b"\x01", b"\x02"])
def test_close_notify_is_answered_and_nothing_follows_it(side: str, level: bytes) -> None:
    pair, ours, peer = connected(side)
    ours.receive(peer._records.seal(ALERT, 3, level + b"\0"), "peer", 0.0)
    events = pair.client_events if side == "client" else pair.server_events
    assert events[-1] == Closed("close_notify")
    [answer] = opened_by(peer, [datagram for datagram, _ in ours.outbox])
    assert (answer.kind, answer.payload) == (ALERT, b"\x01\x00")
    ours.outbox.clear()
    ours.receive(peer._records.seal(APPLICATION_DATA, 3, b"late"), "peer", 0.0)
    ours.receive(said_by(peer, in_turn(HandshakeType.KEY_UPDATE, ours, b"\1", epoch=3)), "peer", 0.0)
    ours.expire(1000.0)
    assert (ours.inbox, ours.outbox, ours.deadline, ours.key_log_lines()) == ([], [], NEVER, [])


def test_tickets_are_acknowledged_and_forgotten() -> None:
    pair, ours, peer = connected("client")
    for _ in range(1000):
        ticket = in_turn(HandshakeType.NEW_SESSION_TICKET, ours, bytes(200), epoch=3)
        [acknowledgement] = pair.to_client([said_by(peer, ticket)])
        assert len(acknowledgement) < 50
    assert ours._incoming._partial == {}
    assert ours._transcript == []
    assert pair.are_agreed


def test_nothing_that_a_peer_says_under_keys_raises() -> None:
    bodies = [message.body for message in server_speaks()[1]]
    for seed in range(150):
        rng = random.Random(seed)
        side = rng.choice(("client", "server"))
        pair = Pair13(**CURVE)
        pair.server_waits()
        ours, peer = (pair.client, pair.server) if side == "client" else (pair.server, pair.client)
        if rng.random() < 0.3:
            pair.to_client(pair.to_server([said_by(pair.client, *under_way(pair.client))]))
        for number in range(20):
            body = bytearray(rng.choice((*bodies, rng.randbytes(rng.randrange(40)))))
            for _ in range(rng.randrange(4)):
                if body:
                    body[rng.randrange(len(body))] = rng.randrange(256)
            kind = rng.choice((*map(int, HandshakeType), rng.randrange(256)))
            message = Message(kind=kind, sequence=ours._incoming.next + rng.choice((0, 0, 0, 1, 2)), body=bytes(body))
            payload = message.octets() if rng.random() < 0.9 else rng.randbytes(rng.randrange(60))
            record = peer._records.seal(rng.choice((20, 21, 22, 22, 22, 22, 23, 26, 77)), rng.choice((2, 3)), payload)
            ours.receive(record, "peer", number / 10)
            ours.expire(number / 10)
