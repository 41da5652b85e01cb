"""What both engines keep: roll-over, replay, bounds, nonces; and each is the other's second opinion."""

import random
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.srtp.packets import ENGINES, SSRC, Engine, flipped, master, protected, rtcp, rtp
from trioice.sequence import MAXIMUM_INDEX, extend
from trioice.srtp import (
    AEAD_AES_128_GCM,
    PROFILES,
    STREAMS,
    WINDOW,
    Drop,
    Profile,
    Room,
    SrtpState,
    receiver,
    sender,
)
from trioice.srtp.plain import PlainReceiver, PlainSender
from trioice.srtp.streams import LONGEST, LONGEST_PLAIN, REPORT_WINDOW, guess_index

PEERS = pytest.mark.parametrize("peer", ENGINES, ids=lambda engine: engine.name)
PROFILE = AEAD_AES_128_GCM  # where the profile plays no part


@PEERS
def test_each_engine_understands_the_other(engine: Engine, peer: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), peer.receiver(profile, master(profile))
    rng = random.Random(1)
    for sequence in range(65530, 65600):
        packet = rtp(sequence, payload=rng.randbytes(rng.randrange(300)))
        sealed = out.protect(packet)
        assert sealed is not None
        assert len(sealed) == len(packet) + profile.tag_length
        assert into.unprotect(sealed) == packet
        report = rtcp(rest=rng.randbytes(4 * rng.randrange(60)))
        sealed = out.protect_rtcp(report)
        assert sealed is not None
        assert into.unprotect_rtcp(sealed) == report
    assert (out.dropped, into.dropped) == ({}, {})


def test_the_engines_make_the_same_octets(profile: Profile) -> None:
    senders = [engine.sender(profile, master(profile)) for engine in ENGINES]
    senders[0].protect_rtcp(rtcp())  # ours counts from 0 as RFC 3711, 3.4 has it, libsrtp from 1
    for sequence in range(0, 200_000, 30_000):
        assert len({out.protect(rtp(sequence)) for out in senders}) == 1
        assert len({out.protect_rtcp(rtcp()) for out in senders}) == 1


@PEERS
def test_header_extensions_contributing_sources_and_padding_survive(
    engine: Engine, peer: Engine, profile: Profile
) -> None:
    out, into = engine.sender(profile, master(profile)), peer.receiver(profile, master(profile))
    rest = bytes.fromhex(
        "00000000 decafbad 00000001 00000002 bede0001 10ff0000"
    )  # two CSRCs, one extension of one word
    full = bytes.fromhex("b26f0007") + rest + b"payload\0\0\0\4"
    empty = bytes.fromhex("926f0008") + rest
    for packet in (full, empty, rtp(9, payload=b""), rtp(10, payload=b"x")):
        sealed = out.protect(packet)
        assert sealed is not None
        assert sealed[:12] == packet[:12]
        assert into.unprotect(sealed) == packet


# -- Roll-over ----------------------------------------------------------------------------------------------------------


@PEERS
def test_rollover_survives_loss_and_reordering(engine: Engine, peer: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), peer.receiver(profile, master(profile))
    rng = random.Random(profile.number)
    sealed = protected(out, range(65000, 67000))
    for burst in range(0, len(sealed), 50):
        window = [packet for packet in sealed[burst : burst + 50] if rng.random() > 0.3]
        rng.shuffle(window)
        assert all(into.unprotect(packet) for packet in window)
    assert into.dropped == {}
    assert 66900 < into.export().rtp[SSRC] < 67000


def test_two_ssrcs_roll_over_independently(engine: Engine) -> None:
    out, into = engine.sender(PROFILE, master(PROFILE)), engine.receiver(PROFILE, master(PROFILE))
    for sequence in range(65500, 65600):
        for packet in protected(out, [sequence], 1) + protected(out, [sequence - 65000], 2):
            assert into.unprotect(packet)
    assert into.export().rtp == out.export().rtp == {1: 65599, 2: 599}


def test_an_ssrc_that_comes_back_resumes_its_index(engine: Engine) -> None:
    out, into = engine.sender(PROFILE, master(PROFILE)), engine.receiver(PROFILE, master(PROFILE))
    for ssrc, sequences in ((1, range(65530, 65540)), (2, range(50)), (1, range(65540, 65550))):
        for packet in protected(out, sequences, ssrc):
            assert into.unprotect(packet)
    assert into.export().rtp == {1: 65549, 2: 49}
    assert out.protect(rtp(65531, 1, b"another packet")) is None  # its nonce was used before the change


def test_a_start_near_65535_works_while_the_first_packets_arrive(engine: Engine) -> None:
    out, into = engine.sender(PROFILE, master(PROFILE)), engine.receiver(PROFILE, master(PROFILE))
    first, second, third, fourth = protected(out, range(65534, 65538))
    assert (
        into.unprotect(third) is None
    )  # sequence 0: nobody can know yet that it is the second cycle (RFC 3711, 3.3.1)
    assert into.unprotect(second)
    assert into.unprotect(fourth)
    assert into.unprotect(third)
    assert into.unprotect(first)
    assert into.dropped == {Drop.FORGED: 1}


@given(sequence=st.integers(0, 0xFFFF), highest=st.integers(-1, 1 << 40))
@example(sequence=0x8000, highest=0x10000)
@example(sequence=0, highest=0x18000)
def test_the_guess_is_the_one_of_rfc_3711_appendix_a(sequence: int, highest: int) -> None:
    rollover, last = (0, sequence) if highest < 0 else (highest >> 16, highest & 0xFFFF)
    if last < 0x8000:
        cycle = rollover - 1 if sequence - last > 0x8000 else rollover
    else:
        cycle = rollover + 1 if last - 0x8000 > sequence else rollover
    assert guess_index(sequence, highest) == max(cycle, 0) << 16 | sequence
    if cycle >= 0 and highest >= 0:
        assert extend(sequence, highest) == cycle << 16 | sequence


# -- Replay and forgery -------------------------------------------------------------------------------------------------


def test_a_replay_inside_the_window_is_dropped(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    sealed = protected(out, range(100))
    reports = [out.protect_rtcp(rtcp()) or b"" for _ in range(10)]
    for packet in sealed:
        assert into.unprotect(packet)
    for report in reports:
        assert into.unprotect_rtcp(report)
    assert not any(into.unprotect(packet) for packet in sealed)
    assert not any(into.unprotect_rtcp(report) for report in reports)
    assert into.dropped == {Drop.REPLAYED: 110}


def test_a_late_packet_is_taken_inside_the_window_and_dropped_before_it(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    sealed = protected(out, range(WINDOW + 2))
    into.unprotect(sealed[-1])
    assert into.unprotect(sealed[2])
    assert into.unprotect(sealed[2]) is None
    assert into.unprotect(sealed[1]) is None
    assert into.dropped == {Drop.REPLAYED: 2}


def test_a_late_report_is_taken_inside_its_window_and_dropped_before_it(engine: Engine) -> None:
    out, into = engine.sender(PROFILE, master(PROFILE)), engine.receiver(PROFILE, master(PROFILE))
    reports = [out.protect_rtcp(rtcp()) or b"" for _ in range(REPORT_WINDOW + 2)]
    assert into.unprotect_rtcp(reports[-1])
    assert into.unprotect_rtcp(reports[2])
    assert into.unprotect_rtcp(reports[1]) is None
    assert into.dropped == {Drop.REPLAYED: 1}


def test_a_flood_of_forged_tags_changes_nothing_but_a_counter(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    first, second, late = protected(out, [10, 12, 11])
    report = out.protect_rtcp(rtcp()) or b""
    assert into.unprotect(first)
    before = into.export()
    rng = random.Random(7)
    for _ in range(2000):
        ssrc = rng.choice((SSRC, rng.getrandbits(32)))
        assert into.unprotect(rtp(rng.getrandbits(16), ssrc) + rng.randbytes(16)) is None
        trailer = (0x80000000 | rng.getrandbits(31)).to_bytes(4, "big")
        tail = rng.randbytes(16) + trailer if profile.is_aead else trailer + rng.randbytes(10)
        assert into.unprotect_rtcp(rtcp(ssrc) + tail) is None
    assert into.export() == before
    assert into.dropped.keys() <= {Drop.FORGED, Drop.REPLAYED}
    assert sum(into.dropped.values()) == 4000
    assert into.unprotect(second)
    assert into.unprotect(late)
    assert into.unprotect_rtcp(report)


def test_every_octet_is_authenticated(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    [packet] = protected(out, [5])
    report = out.protect_rtcp(rtcp()) or b""
    for position in range(len(packet)):
        assert into.unprotect(flipped(packet, position)) is None
    for position in range(len(report)):
        assert into.unprotect_rtcp(flipped(report, position)) is None
    assert into.unprotect(packet)
    assert into.unprotect_rtcp(report)


def test_other_keys_are_forgery(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile, 2))
    assert into.unprotect(protected(out, [1])[0]) is None
    assert into.unprotect_rtcp(out.protect_rtcp(rtcp()) or b"") is None
    assert into.dropped == {Drop.FORGED: 2}
    assert into.export().rtp == into.export().rtcp == {}


# -- Form ---------------------------------------------------------------------------------------------------------------


def test_truncated_packets_are_dropped_and_counted(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    packet = (
        out.protect(bytes.fromhex("926f0007 00000000 decafbad 00000001 00000002 bede0001 10ff0000") + b"x" * 30) or b""
    )
    report = out.protect_rtcp(rtcp()) or b""
    for length in range(len(packet)):
        assert into.unprotect(packet[:length]) is None
    for length in range(len(report)):
        assert into.unprotect_rtcp(report[:length]) is None
    assert sum(into.dropped.values()) == len(packet) + len(report)
    assert into.dropped.keys() <= {Drop.MALFORMED, Drop.FORGED, Drop.UNENCRYPTED}
    assert into.unprotect(packet)


@pytest.mark.parametrize("seed", range(5))
def test_no_octets_raise(engine: Engine, profile: Profile, seed: int) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    rng = random.Random(seed)
    for length in range(400):
        octets = bytearray(rng.randbytes(length))
        if octets and rng.random() < 0.8:
            octets[0] = 0x80 | octets[0] & 0x3F
        packet = bytes(octets)
        assert into.unprotect(packet) is None
        assert into.unprotect_rtcp(packet) is None
        out.protect(packet)
        out.protect_rtcp(packet)
    assert sum(into.dropped.values()) == 800


@pytest.mark.parametrize(
    "overrun", ["8f6f0001 00000000 decafbad", "906f0001 00000000 decafbad", "906f0001 00000000 decafbad bede0009"]
)
def test_an_overrun_of_sources_or_extensions_is_malformed(engine: Engine, overrun: str) -> None:
    out, into = engine.sender(PROFILE, master(PROFILE)), engine.receiver(PROFILE, master(PROFILE))
    assert out.protect(bytes.fromhex(overrun)) is None
    assert into.unprotect(bytes.fromhex(overrun) + bytes(16)) is None
    assert out.dropped == into.dropped == {Drop.MALFORMED: 1}


def test_packets_over_the_longest_are_malformed(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    assert out.protect(rtp(1, payload=bytes(LONGEST_PLAIN - 12)))
    assert out.protect(rtp(2, payload=bytes(LONGEST_PLAIN - 11))) is None
    assert out.protect_rtcp(rtcp(rest=bytes(LONGEST_PLAIN - 7))) is None
    assert into.unprotect(rtp(1, payload=bytes(LONGEST - 11))) is None
    assert into.unprotect_rtcp(rtcp(rest=bytes(LONGEST - 7))) is None
    assert out.dropped == into.dropped == {Drop.MALFORMED: 2}


# -- Bounds -------------------------------------------------------------------------------------------------------------


def test_an_authentic_peer_cannot_make_us_remember_more_than_sixteen_ssrcs(engine: Engine, profile: Profile) -> None:
    into = engine.receiver(profile, master(profile))
    for ssrc in range(1000):
        hostile = engine.sender(profile, master(profile))
        known = ssrc < STREAMS
        assert (into.unprotect(protected(hostile, [1], ssrc)[0]) is not None) == known
        assert (into.unprotect_rtcp(hostile.protect_rtcp(rtcp(ssrc)) or b"") is not None) == known
    assert into.dropped == {Drop.TOO_MANY_STREAMS: 2 * (1000 - STREAMS)}
    assert len(into.export().rtp) == len(into.export().rtcp) == STREAMS
    assert into.unprotect(protected(engine.sender(profile, master(profile)), [2], 5)[0])


def test_a_sender_speaks_for_sixteen_ssrcs(engine: Engine) -> None:
    out = engine.sender(PROFILE, master(PROFILE))
    for ssrc in range(STREAMS):
        assert out.protect(rtp(1, ssrc))
        assert out.protect_rtcp(rtcp(ssrc))
    assert out.protect(rtp(1, 99)) is None
    assert out.protect_rtcp(rtcp(99)) is None
    assert out.dropped == {Drop.TOO_MANY_STREAMS: 2}


# -- Nonces -------------------------------------------------------------------------------------------------------------


def test_a_used_index_is_refused(engine: Engine, profile: Profile) -> None:
    out = engine.sender(profile, master(profile))
    protected(out, range(2 * WINDOW))
    for sequence in (2 * WINDOW - 1, WINDOW, WINDOW - 1, 0):
        assert out.protect(rtp(sequence, payload=b"another packet")) is None
        assert out.protect(rtp(sequence)) is None  # the very same is refused as well
    assert out.dropped == {Drop.REUSED: 8}
    protected(out, [30000])
    assert out.protect(rtp(2 * WINDOW)) is None  # it was left out, but lies before the window


def test_what_comes_before_the_first_is_refused(engine: Engine, profile: Profile) -> None:
    out = engine.sender(profile, master(profile))
    protected(out, [5, 7])
    assert [out.protect(rtp(sequence)) for sequence in (4, 5, 7)] == [None] * 3
    protected(out, [6])


def test_a_gap_in_the_window_may_be_filled_once(engine: Engine, profile: Profile) -> None:
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    for packet in protected(out, [65530, 65540, 65535, 65537]):  # as an echo sends what arrived out of order
        assert into.unprotect(packet)
    assert out.protect(rtp(65535, payload=b"another packet")) is None


def test_the_last_index_is_the_end(profile: Profile) -> None:
    ours = master(profile)
    state = SrtpState(
        profile=profile.number,
        key=ours.key,
        salt=ours.salt,
        rtp={SSRC: MAXIMUM_INDEX - 1},
        rtcp={SSRC: 0x7FFFFFFE},
    )
    out, into = PlainSender(profile, ours, state), PlainReceiver(profile, ours, state)
    assert into.unprotect(out.protect(rtp(0xFFFF)) or b"")
    assert into.unprotect_rtcp(out.protect_rtcp(rtcp()) or b"")
    assert out.protect(rtp(0)) is None
    assert out.protect_rtcp(rtcp()) is None
    assert out.dropped == {Drop.EXHAUSTED: 2}
    assert into.unprotect(rtp(0) + bytes(16)) is None
    assert into.dropped == Counter({Drop.REPLAYED: 1})


# -- A room for all --------------------------------------------------------------------------------------------------


def test_transforms_that_share_a_room_do_as_those_with_a_room_each(profile: Profile) -> None:
    rng = random.Random(3)
    room = Room()
    shared = [
        (sender(profile, master(profile, n), room=room), receiver(profile, master(profile, n), room=room))
        for n in range(5)
    ]
    apart = [(sender(profile, master(profile, n)), receiver(profile, master(profile, n))) for n in range(5)]
    for count in range(400):
        number = rng.randrange(5)
        packet = rtp(rng.randrange(65500, 65600), rng.randrange(4), rng.randbytes(rng.randrange(900)))
        sealed = shared[number][0].protect(packet)
        assert sealed == apart[number][0].protect(packet)
        if sealed is not None:
            if rng.random() < 0.2:
                sealed = flipped(sealed)
            assert shared[number][1].unprotect(sealed) == apart[number][1].unprotect(sealed)
        if count % 10 == 0:
            report = shared[number][0].protect_rtcp(rtcp())
            assert report is not None
            assert shared[number][1].unprotect_rtcp(report) == rtcp()
    for (out, into), (out_apart, into_apart) in zip(shared, apart, strict=True):
        assert (out.dropped, into.dropped) == (out_apart.dropped, into_apart.dropped)


def test_profiles_are_preferred_cheapest_first() -> None:
    assert [profile.name for profile in PROFILES.values()] == [
        "AEAD_AES_128_GCM",
        "AEAD_AES_256_GCM",
        "AES128_CM_SHA1_80",
    ]
