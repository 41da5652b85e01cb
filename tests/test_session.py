"""A session and an endpoint with a caller over a link: what the layers are together."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.clockwork import calls
from tests.harness.contract import Contract
from tests.harness.pair import CALLER, CERTIFICATES, STRANGER, Pair, config, connected
from trioice import dtls, rtp, srtp
from trioice.carriage import DtlsRole
from trioice.endpoint import CLAIMANTS, Endpoint
from trioice.endpoint import Drop as EndpointDrop
from trioice.errors import LocalProtocolError, Misbehaviour
from trioice.ice import Credentials, PathProven, PathSelected
from trioice.sansio import Address, Closed, Event, Failed, Outbox
from trioice.session import Drop, Session

ROLES: list[DtlsRole] = ["client", "server"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("engine", ["plain", "libsrtp"])
def test_a_call_comes_up_and_media_comes_out(role: DtlsRole, engine: srtp.Engine) -> None:
    pair = Pair()
    caller, _session = pair.dial(role=role, engine=engine)
    pair.run(2.0)
    kinds = [type(event) for _, event in pair.events]
    assert [kind for kind in kinds if kind is not dtls.KeysDerived] == [PathProven, PathSelected, dtls.Connected]
    assert len(pair.media) == caller.spoken - 1  # the last is in the air
    _, packet = pair.media[0]
    header = rtp.read(packet)
    assert header is not None
    assert packet[header[5] : header[6]].startswith(b"00000001")


@pytest.mark.parametrize("role", ROLES)
def test_what_we_send_arrives(role: DtlsRole) -> None:
    pair, caller, session = connected(role=role)
    for number in range(10):
        session.send(rtp.build(111, False, number, number * 960, 1, b"ours %d" % number), pair.link.now)
    pair.run(0.1)
    assert [payload for _, _, payload in caller.heard] == [b"ours %d" % number for number in range(10)]


def test_dtls_starts_with_the_first_check_and_its_hello_follows_the_answer() -> None:
    pair = Pair()
    pair.dial()
    pair.run(0.021)  # the first check has just arrived
    assert [datagram[0] for _, _, datagram, _, _ in sorted(pair.link._flying)] == [1, 22]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("seed", range(10))
def test_a_call_comes_up_over_a_bad_network(role: DtlsRole, seed: int) -> None:
    pair = Pair(seed, loss=0.3, jitter=0.05, duplication=0.2)
    _, session = pair.dial(role=role)
    pair.link.run_until(60.0, lambda: session.connected and bool(pair.media))
    assert session.connected
    assert pair.media


def test_reports_go_both_ways_and_tell_the_round_trip() -> None:
    pair, caller, session = connected()
    for number in range(300):
        session.send(rtp.build(111, False, number, number * 960, 1, b"ours"), pair.link.now)
        pair.run(0.02)
    stats = session.stats(pair.link.now)
    assert stats["packets_lost"] == 0
    assert stats["reports_sent"]
    assert caller.rtp.stats(pair.link.now).reports_received == stats["reports_sent"]
    assert (stats["dtls"], stats["srtp"]) == ("1.3", "AEAD_AES_128_GCM")


def test_sending_before_the_keys_is_dropped_and_counted() -> None:
    pair = Pair()
    _, session = pair.dial()
    session.send(rtp.build(111, False, 1, 1, 1, b"early"), 0.0)
    assert (pair.outbox, session.dropped) == ([], {Drop.UNSENT: 1})


def test_a_packet_of_another_ssrc_is_refused_before_it_leaves() -> None:
    pair, _, session = connected()
    with pytest.raises(LocalProtocolError):
        session.send(rtp.build(111, False, 1, 1, 99, b"foreign"), pair.link.now)
    assert pair.outbox == []


def test_what_the_caller_asks_for_again_goes_again_once_in_a_round_trip() -> None:
    pair, caller, session = connected()
    for number in range(100):
        session.send(rtp.build(111, False, number, number * 960, 1, b"%08d" % number), pair.link.now)
    sent = [datagram for datagram, _ in pair.outbox if 128 <= datagram[0] <= 191]
    pair.outbox.clear()
    assert caller._keys is not None
    question = rtp.encode([rtp.ReceiverReport(caller.ssrc), rtp.GenericNack(caller.ssrc, 1, (35, 36, 99, 100, 7))])

    def ask() -> list[bytes]:
        assert caller._keys is not None
        protected = caller._keys[0].protect_rtcp(question)
        assert protected is not None
        return [datagram for datagram, _ in pair.inject(protected, (CALLER[0], CALLER[1] + 1))]

    lost = ask()
    assert lost == [sent[36], sent[99]]  # of the last 64, and the same octets
    assert ask() == []
    pair.link.now += 1.0
    assert ask() == lost
    stats = session.rtp.stats(pair.link.now)
    assert (stats.nacks, stats.retransmitted) == (3, 4)


@pytest.mark.parametrize("role", ROLES)
def test_hanging_up_says_goodbye_and_forgets_the_session(role: DtlsRole) -> None:
    pair, caller, session = connected(role=role)
    session.send(rtp.build(111, False, 1, 1, 1, b"spoken"), pair.link.now)
    pair.run(0.1)
    pair.endpoint.hang_up(session, pair.link.now)
    assert caller._keys is not None
    goodbyes = [caller._keys[1].unprotect_rtcp(datagram) for datagram, _ in pair.outbox if rtp.is_rtcp(datagram)]
    assert [type(packet) for packet in rtp.decode(goodbyes[0] or b"") or []][-1] is rtp.Goodbye
    assert pair.events[-1] == (session, Closed("hung up"))
    pair.run(1.0)
    assert caller.over == Closed("close_notify")
    assert (pair.endpoint.sessions, pair.endpoint._by_source, pair.endpoint._by_ufrag) == ({}, {}, {})
    pair.endpoint.hang_up(session, pair.link.now)  # harmless


def test_a_peer_that_says_goodbye_is_forgotten() -> None:
    pair, caller, session = connected()
    caller.close(pair.link.now)
    pair.run(0.1)
    assert pair.events[-1] == (session, Closed("close_notify"))
    assert not pair.endpoint.sessions


def test_a_certificate_that_was_not_announced_fails_the_session() -> None:
    pair = Pair()
    caller, session = pair.dial()
    session.config.fingerprints[:] = [CERTIFICATES[0].fingerprint()]  # type: ignore[index]
    pair.run(3.0)
    failures = [event for _, event in pair.events if isinstance(event, Failed)]
    assert [failure.error.reason for failure in failures] == [Misbehaviour.BAD_FINGERPRINT]
    assert not pair.endpoint.sessions
    assert caller.connected_at > pair.link.now


def test_media_that_is_newer_moves_the_path_and_a_straggler_does_not() -> None:
    pair, caller, session = connected()
    here, there = (CALLER[0], CALLER[1] + 1), (CALLER[0], 9)
    caller.check(pair.link.now)
    (check, _), *_ = caller.outbox
    caller.outbox.clear()
    straggler_then_new = []
    for _ in range(2):
        caller.speak(pair.link.now)
        straggler_then_new.append(caller.outbox.pop()[0])
    pair.inject(check, there)  # another path is proven, but not nominated: strip USE-CANDIDATE by asking the state
    session.ice.selected = here
    straggler, new = straggler_then_new
    pair.inject(new, here)
    pair.inject(straggler, there)
    assert session.ice.selected == here
    caller.speak(pair.link.now)
    pair.events.clear()
    pair.inject(caller.outbox.pop()[0], there)
    assert session.ice.selected == there
    assert pair.events == [(session, PathSelected(there))]
    pair.endpoint.hang_up(session, pair.link.now)
    assert {to for _, to in pair.outbox} == {there}  # BYE and close_notify alike


def test_a_restart_keeps_keys_and_path_and_both_generations_are_routed() -> None:
    pair, caller, session = connected()
    former = session.config.credentials.ufrag
    pair.endpoint.restart(session, Credentials("again", "anotherPasswordOf22AndMore", caller.ufrag), pair.link.now)
    assert pair.endpoint.has_ufrag(former)
    assert pair.endpoint.has_ufrag("again")
    pair.run(1.0)
    assert len(pair.media) >= 49
    pair.endpoint.restart(session, Credentials("thrice", "anotherPasswordOf22AndMore", caller.ufrag), pair.link.now)
    assert not pair.endpoint.has_ufrag(former)


@pytest.mark.parametrize("first", [22, 128])
def test_what_a_session_is_given_from_an_unproven_source_is_dropped(first: int) -> None:
    pair, _, session = connected()
    octets = next(datagram for datagram in reversed(pair.recorded) if datagram[0] & 0xF0 == first & 0xF0)
    assert session.receive(octets, STRANGER, pair.link.now) is None
    assert session.dropped == {Drop.UNPROVEN_SOURCE: 1}


def test_a_session_whose_caller_never_comes_ends_after_thirty_seconds() -> None:
    pair = Pair()
    pair.dial()
    pair.link.machines.clear()
    pair.endpoint.expire(29.9)
    assert pair.endpoint.deadline == 30.0
    pair.endpoint.expire(30.0)
    (failed,) = (event for _, event in pair.events)
    assert isinstance(failed, Failed)
    assert failed.error.reason is Misbehaviour.NEVER_CONNECTED
    assert not pair.endpoint.sessions


def test_a_ufrag_is_unique_among_live_sessions() -> None:
    pair, caller, session = connected()
    with pytest.raises(LocalProtocolError, match="server1"):
        pair.endpoint.admit(config(caller), 0.0)
    pair.endpoint.hang_up(session, pair.link.now)
    pair.endpoint.admit(config(caller), 0.0)


def test_a_source_is_claimed_by_few() -> None:
    pair = Pair()
    sessions = []
    for number in range(CLAIMANTS + 2):
        caller, session = pair.dial(number)
        caller.check(0.0)
        pair.inject(caller.outbox.pop()[0], STRANGER)
        sessions.append(session)
    assert pair.endpoint._by_source[STRANGER] == sessions[:CLAIMANTS]
    for session in sessions:
        pair.endpoint.hang_up(session, 0.0)
    assert pair.endpoint._by_source == {}


def test_a_datagram_of_no_known_kind_is_counted() -> None:
    pair, _, session = connected()
    for octets in (b"", b"\x04", b"\x40" * 20, b"\xc0" * 20):
        pair.inject(octets, (CALLER[0], CALLER[1] + 1))
    assert session.dropped[Drop.UNKNOWN_FIRST_OCTET] == 4
    pair.inject(b"\x80" * 20)
    assert pair.endpoint.dropped == {EndpointDrop.UNKNOWN_SOURCE: 1}


# What media costs on its way through the endpoint: exact, so that a change of the hot path shows here.


def test_a_packet_in_costs_sixteen_calls() -> None:
    pair = Pair()
    callers = [pair.dial(number)[0] for number in range(20)]
    pair.run(2.0)

    def burst() -> list[tuple[bytes, Address]]:
        for caller in callers:
            caller.speak(pair.link.now)
        return [(caller.outbox.pop()[0], (CALLER[0], CALLER[1] + number)) for number, caller in enumerate(callers)]

    pair.endpoint.receive_burst(burst(), pair.link.now)
    pair.media.clear()
    next_burst = burst()
    assert calls(lambda: pair.endpoint.receive_burst(next_burst, pair.link.now)) == 20 * 16 + 1
    assert len(pair.media) == 20


def test_a_packet_out_costs_fifteen_calls() -> None:
    pair, _, session = connected()
    for number in range(2):
        session.send(rtp.build(111, False, number, number * 960, 1, bytes(80)), pair.link.now)
    packet = rtp.build(111, False, 2, 1920, 1, bytes(80))
    assert (
        calls(lambda: session.send(packet, pair.link.now)) == 15
    )  # the last of them remembers it, as it may be asked for again


# A burst is an optimisation of the same meaning.


@given(st.integers(0, 1 << 32))
@settings(max_examples=20)
def test_a_burst_is_its_datagrams_one_by_one(seed: int) -> None:
    one, many = Pair(), Pair()
    chance = random.Random(seed)
    said: list[tuple[bytes, Address]] = []
    for pair in (one, many):
        callers = [pair.dial(number, ROLES[number % 2])[0] for number in range(4)]
        pair.run(0.5)
        said = [(datagram, STRANGER) for datagram in pair.recorded]
        for number, caller in enumerate(callers):
            for _ in range(50):
                caller.speak(pair.link.now)
            caller.check(pair.link.now)
            caller.close(pair.link.now)
            said += [(datagram, (CALLER[0], CALLER[1] + number)) for datagram, _ in caller.outbox]
    while said:
        burst = []
        for _ in range(min(len(said), chance.randrange(1, 60))):
            datagram, source = said.pop(chance.randrange(len(said)))
            if chance.random() < 0.1:
                source = (CALLER[0], CALLER[1] + chance.randrange(5))
            burst.append((spoilt(chance, datagram), source))
        now = one.link.now
        for datagram, source in burst:
            one.endpoint.receive(datagram, source, now)
        many.endpoint.receive_burst(burst, now)
        assert outcome(many) == outcome(one)
    assert len(one.media) > 50


def spoilt(chance: random.Random, datagram: bytes) -> bytes:
    """Mostly as it is; now and then cut, with a bit flipped, or of another kind."""
    match chance.randrange(10):
        case 0:
            return datagram[: chance.randrange(len(datagram) + 1)]
        case 1:
            at = chance.randrange(len(datagram))
            return datagram[:at] + bytes([datagram[at] ^ 1 << chance.randrange(8)]) + datagram[at + 1 :]
        case 2:
            return bytes([chance.randrange(256)]) + datagram[1:]
        case _:
            return datagram


def outcome(pair: Pair) -> object:
    """All that can be seen from outside, with sessions by their numbers."""
    sessions = pair.endpoint.sessions
    return (
        pair.outbox,
        [(session.config.ssrc, packet) for session, packet in pair.media],
        [(session.config.ssrc, type(event)) for session, event in pair.events],
        pair.endpoint.dropped,
        pair.endpoint.deadline,
        [(session.stats(0.0), list(session.ice.paths), session.ice.selected) for session in sessions],
    )


def recorded() -> list[bytes]:
    """A whole call's datagrams as the server got them; with the same seeds it is the same call again."""
    pair = Pair()
    pair.dial()
    pair.run(0.5)
    return pair.recorded


class TestSession(Contract):
    def make(self, outbox: Outbox, events: list[Event]) -> Session:
        caller, _ = Pair().dial()
        return Session(config(caller), outbox=outbox, events=events, now=0.0)

    def valid(self) -> list[bytes]:
        return recorded()

    def test_the_recorded_call_comes_up(self) -> None:
        events: list[Event] = []
        session = self.make([], events)
        for datagram in self.valid():
            session.receive(datagram, (CALLER[0], CALLER[1] + 1), 0.0)
        assert any(isinstance(event, dtls.Connected) for event in events)


class TestEndpoint(Contract):
    def make(self, outbox: Outbox, events: list[Event]) -> Endpoint:
        endpoint = Endpoint(outbox=outbox, media=[], events=events)  # type: ignore[arg-type]
        caller, _ = Pair().dial()
        endpoint.admit(config(caller), 0.0)
        return endpoint

    def told(self, events: list[Event]) -> list[Event]:
        return [event for _, event in events]  # type: ignore[misc, has-type]

    def valid(self) -> list[bytes]:
        return recorded()
