"""Attacks on DTLS in STUN: what nobody vouched for changes nothing, and an authenticated peer that is hostile costs bounded work."""

import random

import pytest

from tests.harness.contract import octets_of
from tests.harness.pair import CALLER, STRANGER, Pair
from trioice import dtls, stun
from trioice.carriage import HANDSHAKE_GRACE, SETUP, DtlsRole
from trioice.ice import Drop as IceDrop
from trioice.session import Session
from trioice.sped import ACKNOWLEDGED, PENDING, Drop, Sped

DATA = stun.META_DTLS_IN_STUN
ACK = stun.META_DTLS_IN_STUN_ACKNOWLEDGEMENT
HERE = (CALLER[0], CALLER[1] + 1)
PASSWORD = "serverPasswordOf22AndMore"
ROLES: list[DtlsRole] = ["server", "client"]

_numbers = iter(range(1 << 32, 1 << 40))


def check(*attributes: tuple[int, bytes], pwd: str = PASSWORD) -> bytes:
    return stun.encode(
        stun.BINDING_REQUEST,
        next(_numbers).to_bytes(12, "big"),
        [(stun.USERNAME, b"server1:cllr1"), (stun.ICE_CONTROLLING, bytes(8)), *attributes],
        key=pwd.encode(),
    )


def begun(role: DtlsRole = "server") -> tuple[Pair, Session, Sped]:
    """A call whose handshake is under way: our flight has left, and nothing of it has arrived."""
    pair = Pair(delay=0.02)
    _, session = pair.dial(role=role, sped=True, second=0.002)
    pair.run(0.03)
    pair.link._collect()
    sped = session._carriage.sped
    assert sped is not None
    assert sped._pending
    return pair, session, sped


def state(session: Session, sped: Sped) -> object:
    assert session.dtls is not None
    return (
        list(sped._pending),
        list(sped._heard),
        sped.is_complete,
        session.dtls.state,
        session.dtls.deadline,
        session.dtls.dropped.copy(),
        session.dtls.allowance,
    )


def behind_integrity(honest: bytes, *attributes: tuple[int, bytes]) -> bytes:
    """Add attributes to a check that somebody else has authenticated."""
    octets = honest[:-8]  # without its FINGERPRINT
    for kind, value in attributes:
        octets += kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
    return octets[:2] + (len(octets) - 20).to_bytes(2, "big") + octets[4:]


@pytest.mark.parametrize("source", [HERE, STRANGER])
def test_128_what_a_check_carries_without_a_right_integrity_changes_nothing(source: object) -> None:
    pair, session, sped = begun()
    before = state(session, sped)
    acknowledgement = b"".join(checksum.to_bytes(4, "big") for checksum in sped._pending)
    piece = b"\x16\xfe\xfd" + bytes(8) + b"\x00\x0c" + b"\x02\x00\x00\x05" + bytes(8)
    carried = ((ACK, acknowledgement), (DATA, piece))
    forged = [
        check(*carried, pwd="anotherPasswordOf22AndMore"),
        stun.encode(stun.BINDING_REQUEST, bytes(12), [(stun.USERNAME, b"server1:cllr1"), *carried]),
        stun.encode(stun.BINDING_SUCCESS, bytes(12), carried, key=PASSWORD.encode()),
        stun.encode(stun.BINDING_INDICATION, bytes(12), carried, key=PASSWORD.encode()),
    ]
    for datagram in forged:
        assert pair.inject(datagram, source) == []
    assert state(session, sped) == before
    assert session.ice.dropped[IceDrop.BAD_INTEGRITY] == 2


def test_128_what_is_added_behind_the_integrity_of_a_true_check_is_not_there() -> None:
    pair, session, sped = begun()
    pending = list(sped._pending)
    acknowledgement = b"".join(checksum.to_bytes(4, "big") for checksum in pending)
    pair.inject(behind_integrity(check(), (ACK, acknowledgement), (DATA, b"\x16" * 100)), HERE)
    assert (list(sped._pending), sped.dropped) == (pending, {})
    assert session.ice.checks > 1


def test_129_acknowledgements_of_what_was_never_sent_are_ignored_and_bounded() -> None:
    pair, session, sped = begun()
    chance = random.Random(129)
    pending = list(sped._pending)
    for _ in range(2000):
        length = chance.choice([0, 4, 12, 16, 16, 16, 20, 3, 4 * 16_000])
        pair.inject(check((ACK, chance.randbytes(length))), HERE)
    assert sorted(sped._pending) == sorted(pending)
    assert sped.dropped[Drop.MALFORMED_ACKNOWLEDGEMENT] > 100
    pair.run(2.0)
    assert session.connected


def test_130_an_acknowledgement_of_all_that_we_sent_ends_no_timer_and_proves_nobody() -> None:
    pair, session, sped = begun()
    assert session.dtls is not None
    deadline, handshake, allowance = session.dtls.deadline, session.dtls.state, session.dtls.allowance
    acknowledgement = b"".join(checksum.to_bytes(4, "big") for checksum in sped._pending)
    sent = check((ACK, acknowledgement))
    pair.inject(sent, HERE)
    assert not sped._pending
    assert (session.dtls.deadline, session.dtls.state, session.connected) == (deadline, handshake, False)
    assert session.dtls.allowance <= allowance + 2 * len(sent)
    assert not sped.is_complete


def test_131_the_same_datagram_in_a_check_and_by_itself_is_one() -> None:
    pair, session, sped = begun()
    assert session.dtls is not None
    read = session.dtls.dropped.copy()
    sent = [value for item in pair.recorded if item[0] == 0 and (value := _piece(item))]
    for piece in sent:
        pair.inject(piece, HERE)
        pair.inject(check((DATA, piece)), HERE)
    assert session.dtls.dropped == read
    assert sped.dropped[Drop.REPEATED] >= 2 * len(sent)


def _piece(datagram: bytes) -> bytes | None:
    message = stun.decode(datagram)
    return None if message is None else message.get(DATA)


@pytest.mark.parametrize("role", ROLES)
def test_ten_thousand_pieces_leave_no_more_memory_than_four(role: DtlsRole) -> None:
    pair, session, sped = begun(role)
    chance = random.Random(10_000)
    before = octets_of(session)
    for number in range(10_000):
        first = chance.choice([0, 19, 20, 21, 22, 23, 25, 32, 46, 63, 64, 128, 255])
        piece = bytes([first]) + b"\xfe\xfd" + chance.randbytes(chance.randrange(0, 1100))
        if number % 3:
            pair.inject(check((ACK, chance.randbytes(16)), (DATA, piece)), HERE)
        else:
            pair.inject(piece, HERE)
    assert len(sped._heard) <= ACKNOWLEDGED
    assert len(sped._pending) <= PENDING
    assert sped.dropped[Drop.NOT_DTLS] > 1000
    assert octets_of(session) - before < 30_000
    pair.run(5.0)
    assert session.connected


def test_a_stranger_who_forges_the_address_of_a_caller_delays_its_acknowledgements_at_most() -> None:
    pair = Pair()
    caller, session = pair.dial(role="server", sped=True)
    for step in range(200):
        pair.run(0.005)
        for number in range(5):
            pair.inject(b"\x16\xfe\xfd" + bytes(8) + b"\x00\x04" + step.to_bytes(2, "big") + bytes([number, 0]), HERE)
    assert session.connected
    assert caller.over is None


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("way", ["checks alone", "pieces", "replays", "acknowledged elsewhere"])
def test_12_whose_address_was_forged_gets_less_than_three_times_what_the_forger_sends(role: DtlsRole, way: str) -> None:
    pair = Pair()
    attacker, session = pair.dial(role=role, sped=True)
    pair.link.machines.pop(HERE)
    attacker.outbox.clear()
    attacker.check(0.0)
    recorded = [attacker.outbox.pop()[0]]
    attacker.check(0.0)
    recorded.append(attacker.outbox.pop()[0])
    sent = got = 0
    while not session.ended:
        sped = session._carriage.sped
        match way:
            case "checks alone":
                attack = [check((ACK, b""))]
            case "pieces":
                attack = [check((ACK, b""), (DATA, piece)) for item in recorded if (piece := _piece(item))]
            case "replays":
                attack = recorded
            case _:  # by somebody who is at an address of theirs, too
                pending = list(sped._pending)[:ACKNOWLEDGED] if sped is not None else []
                attack = [check((ACK, b"".join(checksum.to_bytes(4, "big") for checksum in pending)))]
        for datagram in [*recorded, *attack]:
            sent += len(datagram)
            got += sum(len(answer) for answer, _ in pair.inject(datagram, STRANGER))
        pair.endpoint.expire(pair.link.now)
        got += sum(len(datagram) for datagram, _ in pair.outbox)
        pair.outbox.clear()
        assert got <= HANDSHAKE_GRACE[role] + 3 * sent
        recorded = recorded if way == "replays" else []
        pair.link.now += 0.05
    assert pair.link.now <= SETUP + 1


def test_a_hello_that_came_in_checks_is_told_from_one_that_an_address_alone_vouches_for() -> None:
    _, honest, _ = begun()
    assert honest._carriage.hello_in_checks
    assert honest.can_send
    recorded, _, _ = begun()
    pieces = [piece for item in recorded.recorded if item[0] == 0 and (piece := _piece(item))]
    pair = Pair()
    _, session = pair.dial(role="server", sped=True)
    pair.link.machines.pop(HERE)
    pair.inject(check((ACK, b"")), HERE)
    pair.inject(pieces[0], HERE)  # anybody can write a proven address into a datagram
    for piece in pieces:
        pair.inject(check((DATA, piece)), HERE)
    assert session.dtls is not None
    assert session.dtls.state is dtls.State.WAIT_CERTIFICATE
    assert not session._carriage.hello_in_checks
    assert not session.can_send
