"""Attacks on a call as its endpoint sees them, named after what they try. Deeper ones stand beside their layer.

The numbers are those of the list of attacks in docs/status.md.
"""

import logging
import random

import pytest
import trio
from trio.testing import MockClock

from tests.harness.clockwork import calls
from tests.harness.pair import CALLER, STRANGER, Pair, connected
from tests.harness.world import World
from trioice import ice, rtp, stun
from trioice.carriage import HANDSHAKE_GRACE, SETUP, DtlsRole
from trioice.endpoint import Broke, Drop
from trioice.errors import Misbehaviour
from trioice.sansio import Failed
from trioice.transceiver.call import Call

HERE = (CALLER[0], CALLER[1] + 1)


def check(
    ufrag: str = "server1", remote: str = "cllr1", pwd: str = "serverPasswordOf22AndMore", number: int = 1
) -> bytes:
    return stun.encode(
        stun.BINDING_REQUEST,
        number.to_bytes(12, "big"),
        [(stun.USERNAME, f"{ufrag}:{remote}".encode()), (stun.ICE_CONTROLLING, bytes(8)), (stun.USE_CANDIDATE, b"")],
        key=pwd.encode(),
    )


@pytest.mark.parametrize(
    "datagram",
    [
        check(pwd="anotherPasswordOf22AndMore"),
        check(ufrag="server2"),
        check(remote="somebody"),
        check()[:-4] + bytes(4),
        check()[:-8],
        stun.encode(stun.BINDING_REQUEST, bytes(12), [(stun.USERNAME, b"server1:cllr1")]),
        stun.encode(stun.BINDING_REQUEST, bytes(12), [(stun.USERNAME, b"x" * 600)]),
        stun.encode(stun.BINDING_REQUEST, bytes(12), []),
    ],
    ids=["password", "ufrag", "remote ufrag", "fingerprint", "cut", "no integrity", "long username", "nothing"],
)
def test_1_what_is_not_proven_gets_silence_and_leaves_no_state(datagram: bytes) -> None:
    pair, _, session = connected()
    paths = dict(session.ice.paths)
    if datagram == check()[:-8]:
        datagram = (
            datagram[:2] + (int.from_bytes(datagram[2:4], "big") - 8).to_bytes(2, "big") + datagram[4:-1] + b"\x00"
        )
    assert pair.inject(datagram) == []
    assert (session.ice.paths, session.ice.selected) == (paths, HERE)
    assert pair.events == []


def test_2_no_source_that_failed_integrity_takes_the_path() -> None:
    pair, caller, session = connected()
    for number in range(100):
        pair.inject(check(pwd=f"guess{number:022}", number=number))
        caller.speak(pair.link.now)
        media, _ = caller.outbox.pop()
        pair.inject(media, STRANGER)  # authentic, but from a source that was not proven: RTP Bleed
    assert session.ice.selected == HERE


def test_3_a_replayed_check_opens_no_path_and_an_old_one_steals_no_media() -> None:
    pair, caller, session = connected()
    caller.check(pair.link.now)
    seen, _ = caller.outbox.pop()
    pair.inject(seen, HERE)
    assert pair.inject(seen, STRANGER) == []
    assert session.ice.selected == HERE
    for _ in range(ice.REMEMBERED_CHECKS):  # until it is forgotten
        caller.check(pair.link.now)
        pair.inject(caller.outbox.pop()[0], HERE)
    pair.inject(seen, STRANGER)
    caller.speak(pair.link.now)
    pair.inject(caller.outbox.pop()[0], HERE)
    assert session.ice.selected == HERE  # the next packet of the peer has it back


def test_3_a_faster_copy_of_a_check_does_not_keep_the_true_one_out() -> None:
    pair, caller, session = connected()
    caller.check(pair.link.now)
    check, _ = caller.outbox.pop()
    pair.inject(check, STRANGER)  # somebody who saw it was faster
    assert len(pair.inject(check, HERE)) == 1
    assert session.ice.selected == HERE


def test_3_a_recorded_check_does_not_keep_a_call_alive_whose_peer_is_gone() -> None:
    pair, caller, session = connected()
    caller.check(pair.link.now)
    check, _ = caller.outbox.pop()
    pair.link.machines.pop(HERE)
    for _ in range(40):
        pair.inject(check, HERE)
        pair.run(1.0)
    assert session.ended


def test_4_thousands_of_forged_sources_with_the_ufrag_but_no_password_are_not_remembered() -> None:
    pair, _, session = connected()
    before = len(pair.endpoint._by_source)
    for number in range(5000):
        assert pair.inject(check(pwd="anotherPasswordOf22AndMore", number=number), ("203.0.113.1", number)) == []
    assert len(session.ice.paths) == 1
    assert len(pair.endpoint._by_source) == before
    assert len(session.ice._remembered) <= ice.REMEMBERED_CHECKS


@pytest.mark.parametrize("when", ["before", "after"])
def test_7_a_client_hello_from_a_source_that_was_not_proven_is_dropped(when: str) -> None:
    hello = next(datagram for datagram in _recorded_by_a_client() if datagram[0] == 22)
    pair = Pair()
    caller, session = pair.dial(role="server")
    if when == "after":
        pair.run(2.0)
    assert pair.inject(hello) == []
    pair.run(2.0)
    assert session.connected
    assert caller.over is None
    assert pair.endpoint.dropped == {Drop.UNKNOWN_SOURCE: 1}


@pytest.mark.parametrize("role", ["client", "server"])
def test_12_whose_address_was_forged_gets_less_than_three_times_what_the_forger_sends(role: DtlsRole) -> None:
    pair = Pair()
    attacker, session = pair.dial(role=role)
    pair.link.machines.pop(HERE)
    attacker.outbox.clear()
    sent = got = 0
    hello = next(datagram for datagram in _recorded_by_a_client() if datagram[0] == 22)
    empty_fragment = b"\x16\xfe\xfd" + bytes(2) + b"%06d" % 0 + b"\x00\x0c" + b"\x02\x00\x00\x05" + bytes(8)
    while not session.ended:
        attacker.check(pair.link.now)
        for datagram in (attacker.outbox.pop()[0], *([hello] if role == "server" else []), empty_fragment):
            sent += len(datagram)
            got += sum(len(answer) for answer, _ in pair.inject(datagram, STRANGER))
        pair.endpoint.expire(pair.link.now)
        got += sum(len(datagram) for datagram, _ in pair.outbox)
        pair.outbox.clear()
        assert got <= HANDSHAKE_GRACE[role] + 3 * sent
        pair.link.now += 0.5
    assert pair.link.now <= SETUP + 1  # and it does not go on for ever


def test_a_call_whose_caller_never_begins_the_handshake_ends() -> None:
    pair = Pair()
    caller, session = pair.dial(role="server")
    caller.dtls = None  # it only checks
    pair.link.machines.pop(HERE)
    caller.outbox.clear()
    while not session.ended and pair.link.now < 200:
        caller.check(pair.link.now)
        pair.inject(caller.outbox.pop()[0], HERE)
        pair.link.now += 1.0
        pair.endpoint.expire(pair.link.now)
    (failed,) = (event for _, event in pair.events if isinstance(event, Failed))
    assert failed.error.reason is Misbehaviour.HANDSHAKE_TIMEOUT
    assert pair.link.now == pytest.approx(SETUP, abs=1.1)


def test_nothing_is_sent_to_a_peer_whose_consent_is_lost() -> None:
    pair, _, session = connected()
    pair.link.machines.pop(HERE)
    pair.outbox.clear()
    for _ in range(40):
        pair.link.now += 1.0
        pair.outbox.clear()
        pair.endpoint.expire(pair.link.now)
        if session.ended:
            break
    assert session.ended
    assert pair.outbox == []


@pytest.mark.parametrize("role", ["client", "server"])
def test_finished_and_goodbye_in_one_datagram_are_an_orderly_end(role: DtlsRole) -> None:
    pair = Pair()
    caller, session = pair.dial(role=role)
    finish = caller._notice

    def notice(now: float) -> None:
        finish(now)
        if caller.connected_at <= now and caller.dtls is not None:
            caller.dtls.close(now)
            flight = [datagram for datagram, _ in caller.outbox if datagram[0] < 64 and datagram[0] > 3]
            caller.outbox[:] = [(b"".join(flight), caller._to)]

    caller._notice = notice  # type: ignore[method-assign]
    pair.run(2.0)
    assert not [event for _, event in pair.events if isinstance(event, Broke)]
    assert session.ended


def test_13_a_flood_of_forged_and_replayed_media_ends_nothing_and_is_counted() -> None:
    pair, caller, session = connected()
    caller.speak(pair.link.now)
    authentic, _ = caller.outbox.pop()
    pair.inject(authentic, HERE)
    rng = random.Random(13)
    pair.media.clear()
    for _ in range(1000):
        forged = bytearray(authentic)
        forged[rng.randrange(2, len(forged))] ^= 1 << rng.randrange(8)
        pair.inject(bytes(forged), HERE)
        pair.inject(authentic, HERE)
    assert pair.media == []
    assert session.connected
    assert sum(count for layer, dropped in session.drops() if layer == "srtp" for count in dropped.values()) == 2000
    pair.run(1.0)
    assert len(pair.media) >= 49


@pytest.mark.parametrize("malformed", ["padding", "sources", "extension", "empty"])
def test_15_an_authentic_peer_that_sends_malformed_rtp_hurts_nobody(malformed: str) -> None:
    pair, caller, session = connected()
    packet = bytearray(rtp.build(111, False, 60000, 1, caller.ssrc, b"payload"))
    match malformed:
        case "padding":
            packet[0] |= 0x20
            packet[-1] = 255
        case "sources":
            packet[0] |= 0x0F
        case "extension":
            packet[0] |= 0x10
            packet[12:] = b"\xbe\xde\xff\xff"
        case _:
            del packet[12:]
    assert caller._keys is not None
    protected = caller._keys[0].protect(bytes(packet))
    if protected is not None:  # our own sender refuses to make the worst of them
        pair.inject(protected, HERE)
    pair.media.clear()
    pair.run(1.0)
    assert session.connected
    assert len(pair.media) >= 49


def test_a_forged_source_with_a_session_of_its_own_cannot_divert_anothers_media() -> None:
    pair = Pair()
    victim, session = pair.dial(1)
    attacker, other = pair.dial(2)
    pair.run(2.0)
    pair.media.clear()
    attacker.check(pair.link.now)
    pair.inject(attacker.outbox.pop()[0], HERE)  # authentic, of the attacker's session, from the victim's address
    assert HERE in other.ice.paths
    pair.run(1.0)
    heard = [packet for owner, packet in pair.media if owner is session]
    assert len(heard) >= 49
    assert victim.over is None
    assert session.ice.selected == HERE
    pair.endpoint.hang_up(other, pair.link.now)
    pair.run(1.0)
    assert session.connected


def test_who_claims_an_address_first_cannot_keep_its_owner_out() -> None:
    pair = Pair()
    attacker, other = pair.dial(2)
    pair.run(2.0)
    attacker.check(pair.link.now)
    pair.inject(attacker.outbox.pop()[0], HERE)  # before the victim's first check
    assert HERE in other.ice.paths
    _, session = pair.dial(1)
    pair.run(2.0)
    assert session.connected
    assert len([packet for owner, packet in pair.media if owner is session]) >= 49


def test_23_an_error_in_one_session_ends_that_session_alone() -> None:
    pair = Pair()
    _, broken = pair.dial(1)
    _, healthy = pair.dial(2)
    pair.run(2.0)
    pair.events.clear()
    broken.rtp = None  # type: ignore[assignment]  # a mistake of ours: the next packet raises
    pair.run(0.1)
    kinds = [(session, type(event)) for session, event in pair.events]
    assert kinds == [(broken, Broke), (broken, Failed)]
    failure = pair.events[-1][1]
    assert isinstance(failure, Failed)
    assert failure.error.reason is Misbehaviour.INTERNAL
    assert list(pair.endpoint.sessions) == [healthy]
    broken.send(rtp.build(111, False, 1, 1, 1, b"too late"), pair.link.now)
    broken.expire(pair.link.now + 100)
    assert pair.outbox == []
    pair.media.clear()
    pair.run(1.0)
    assert len(pair.media) >= 49


async def test_23_an_agent_that_raises_ends_its_call_alone(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    def agent(call: Call, packets: list[bytes]) -> None:
        if call.id == unlucky:
            raise RuntimeError("the agent's mistake")
        for packet in packets:
            _, marker, _, timestamp, _, start, end = rtp.read(packet) or pytest.fail("malformed")
            call.send(packet[start:end], timestamp, marker)

    unlucky = ""
    world = World(nursery)
    await world.relay()
    running = await world.transceiver(packet_agent=agent)
    one, two = await world.dial(running), await world.dial(running)
    await one.hears(10, within=3.0)
    unlucky = one.call.id
    with trio.fail_after(1):
        await one.call.ended.wait()
    await two.hears(50, within=3.0)
    assert list(running.transceiver.calls) == [two.call.id]


async def test_23_a_task_agent_that_raises_or_returns_ends_its_call_alone(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def agent(call: Call) -> None:
        async for packet in call.packets():
            if call.id == unlucky:
                raise RuntimeError("the agent's mistake")
            if call.id == done:
                return
            _, marker, _, timestamp, _, start, end = rtp.read(packet) or pytest.fail("malformed")
            call.send(packet[start:end], timestamp, marker)

    unlucky = done = ""
    world = World(nursery)
    await world.relay()
    running = await world.transceiver(agent=agent)
    one, two, three = [await world.dial(running) for _ in range(3)]
    await one.hears(10, within=3.0)
    unlucky, done = one.call.id, two.call.id
    with trio.fail_after(1):
        await one.call.ended.wait()
        await two.call.ended.wait()
    await three.hears(50, within=3.0)


async def test_24_no_address_and_no_secret_is_logged(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = World(nursery)
    await world.relay()
    running = await world.transceiver()
    one, two = await world.dial(running), await world.dial(running)
    await one.hears(10, within=3.0)
    one.caller.close(trio.current_time())
    await one.call.ended.wait()
    two.call.media.rtp = None  # type: ignore[assignment]
    await two.call.ended.wait()
    assert caplog.text
    for dialled in (one, two):
        credentials = dialled.call.media.config.credentials
        secrets = [
            dialled.call.id,
            credentials.pwd,
            credentials.ufrag,
            *dialled.port.address[:1],
            "a=ice-pwd",
            "198.51.100.1",
        ]
        assert not [secret for secret in secrets if secret in caplog.text]


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x00" * 1200,
        check(ufrag="nobody"),
        check(pwd="anotherPasswordOf22AndMore"),
        b"\x16\xfe\xff" * 400,
        b"\x80" * 1200,
    ],
    ids=["junk STUN", "unknown ufrag", "wrong password", "DTLS", "RTP"],
)
def test_25_a_hostile_datagram_costs_a_bounded_number_of_calls(hostile: bytes) -> None:
    pair, _, _ = connected()
    assert calls(lambda: pair.endpoint.receive(hostile, STRANGER, pair.link.now)) <= 65


def _recorded_by_a_client() -> list[bytes]:
    pair = Pair()
    pair.dial(role="server")
    pair.run(0.5)
    return pair.recorded
