"""One peer's reports: when they go, what they say, and what the peer's reports tell us."""

from collections import Counter
from itertools import pairwise

import attrs
import pytest

from tests.harness.clockwork import calls, seeded
from tests.harness.contract import Contract
from tests.harness.ladder import PEER, Ladder
from tests.harness.link import Link
from trioice.errors import LocalProtocolError
from trioice.rtp import (
    Drop,
    GenericNack,
    Goodbye,
    Packet,
    PictureLossIndication,
    ReceiverReport,
    ReportBlock,
    RtpSession,
    SenderReport,
    SourceDescription,
    SourceLeft,
    Unknown,
    build,
    decode,
    encode,
)
from trioice.rtp.round_trip import NTP_EPOCH
from trioice.rtp.session import SOURCES
from trioice.sansio import NEVER, Event, Machine, Outbox

OURS, THEIRS = 0x1111, 0x2222
EPOCH = 1_750_000_000.0


def session(outbox: Outbox, events: list[Event], ssrc: int = OURS, seed: int = 1) -> RtpSession:
    return RtpSession(
        ssrc=ssrc, cname="echo", epoch=EPOCH, entropy=seeded(seed), outbox=outbox, events=events, peer=PEER
    )


def media(number: int, ssrc: int = THEIRS, octets: int = 100) -> bytes:
    return build(111, False, number, number * 960, ssrc, bytes(octets))


def block(**fields: int) -> ReportBlock:
    zero = ReportBlock(ssrc=OURS, fraction_lost=0, packets_lost=0, highest=0, jitter=0, last_report=0, delay=0)
    return attrs.evolve(zero, **fields)


@pytest.fixture
def rtp() -> RtpSession:
    return session([], [])


@pytest.fixture
def ladder() -> Ladder:
    outbox: Outbox = []
    events: list[Event] = []
    return Ladder(session(outbox, events), outbox, events)


def report(packets: list[Packet]) -> SenderReport | ReceiverReport:
    assert isinstance(packets[0], SenderReport | ReceiverReport)
    assert packets[1] == SourceDescription(((OURS, ((1, b"echo"),)),))
    return packets[0]


# -- When and what ------------------------------------------------------------------------------------------------------


def test_nothing_is_due_before_the_start(rtp: RtpSession) -> None:
    assert rtp.deadline == NEVER
    rtp.start(5.0)
    assert 5.5 <= rtp.deadline <= 6.0


def test_reports_go_soon_then_every_one_to_two_and_a_half_seconds(ladder: Ladder) -> None:
    ladder.receives(media(1))
    times = []
    for number in range(200):
        ladder.waits_until(1000)
        ladder.sends(decode)
        times.append(ladder.now)
        ladder.receives(media(2 + number))
    assert 0.5 <= times[0] <= 1.0
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 1.0 <= min(gaps) < 1.05
    assert 2.45 < max(gaps) <= 2.5


def test_a_listener_sends_receiver_reports_about_who_was_heard(ladder: Ladder) -> None:
    for number in (1, 2, 4):
        assert ladder.receives(media(number)) == media(number)
    ladder.waits_until(1)
    told = report(ladder.sends(decode))
    assert isinstance(told, ReceiverReport)
    assert told.ssrc == OURS
    [about] = told.reports
    assert (about.ssrc, about.packets_lost, about.fraction_lost, about.highest) == (THEIRS, 1, 64, 4)
    ladder.waits_until(10)
    assert report(ladder.sends(decode)).reports == ()  # nobody was heard since


def test_a_speaker_sends_sender_reports_until_two_intervals_are_silent(ladder: Ladder) -> None:
    rtp = ladder.machine
    assert isinstance(rtp, RtpSession)
    ladder.does(rtp.sent, media(0xFFFFFF, OURS, 80))
    ladder.now = 0.02
    ladder.does(rtp.sent, media(0x1000000, OURS, 70))
    ladder.waits_until(1)
    told = report(ladder.sends(decode))
    assert isinstance(told, SenderReport)
    assert (told.ssrc, told.packets, told.octets) == (OURS, 2, 150)
    assert told.ntp / (1 << 32) == pytest.approx(EPOCH + NTP_EPOCH + ladder.now, abs=1e-5)
    assert told.timestamp == pytest.approx(0x1000000 * 960 % (1 << 32) + (ladder.now - 0.02) * 48000, abs=1)
    ladder.waits_until(10)
    assert isinstance(report(ladder.sends(decode)), SenderReport)
    ladder.waits_until(10)
    assert isinstance(report(ladder.sends(decode)), ReceiverReport)


def test_close_says_goodbye_once_and_then_nothing(ladder: Ladder) -> None:
    rtp = ladder.machine
    assert isinstance(rtp, RtpSession)
    ladder.does(rtp.sent, media(1, OURS))
    ladder.does(rtp.close)
    packets = ladder.sends(decode)
    report(packets)
    assert packets[2:] == [Goodbye((OURS,))]
    ladder.does(rtp.close)
    ladder.does(rtp.start)
    ladder.does(rtp.sent, media(2, OURS))
    assert ladder.receives(media(1)) is None
    ladder.waits_until(1000)
    ladder.silent()


def test_close_is_silent_where_nothing_was_ever_said(ladder: Ladder) -> None:
    ladder.receives(media(1))
    ladder.does(ladder.machine.close)
    ladder.silent()


# -- What the peer reports ----------------------------------------------------------------------------------------------


def test_both_ends_learn_the_round_trip_and_the_loss() -> None:
    ours: Outbox = []
    theirs: Outbox = []
    us = RtpSession(ssrc=OURS, cname="a", epoch=EPOCH, entropy=seeded(1), outbox=ours, events=[], peer="them")
    them = RtpSession(ssrc=THEIRS, cname="b", epoch=-9.0, entropy=seeded(2), outbox=theirs, events=[], peer="us")
    link = Link({"us": (us, ours), "them": (them, theirs)}, delay=0.08)
    for number in range(500):
        link.run_until(number * 0.02)
        us.sent(media(number, OURS), link.now)
        them.sent(media(number, THEIRS), link.now)
        if number % 10:
            them.receive(media(number, OURS), "us", link.now)
            us.receive(media(number, THEIRS), "them", link.now)
    for stats in (us.stats(link.now), them.stats(link.now)):
        assert stats.rtt == pytest.approx(0.16, abs=0.001)
        assert stats.packets_sent == 500
        assert stats.octets_sent == 50000
        assert (stats.packets_received, stats.octets_received, stats.packets_lost) == (450, 45000, 49)
        assert stats.remote_lost in range(35, 50)
        assert (stats.jitter, stats.remote_jitter) == pytest.approx((0, 0), abs=0.001)
        assert min(stats.reports_sent, stats.reports_received) >= 4


def test_a_round_trip_that_cannot_be_is_not_believed(rtp: RtpSession) -> None:
    middle = int((EPOCH + NTP_EPOCH) * 65536)
    for last_report, delay in ((middle + 65536 * 2, 0), (middle - 61 * 65536, 0), (middle, 0xFFFFFFFF), (0, 0)):
        last_report &= 0xFFFFFFFF
        rtp.receive(encode([ReceiverReport(9, (block(last_report=last_report, delay=delay),))]), PEER, 1.0)
        assert rtp.stats(1.0).rtt is None
    rtp.receive(encode([ReceiverReport(9, (block(last_report=middle & 0xFFFFFFFF, delay=65536),))]), PEER, 1.0)
    assert rtp.stats(1.0).rtt == pytest.approx(0, abs=0.001)


def test_a_peer_that_has_no_report_of_ours_yet_tells_no_round_trip() -> None:
    epoch = 60000 * 65536.0 - NTP_EPOCH  # the middle of NTP time rolls over at 0, so that 0 would be a likely moment
    rtp = RtpSession(ssrc=OURS, cname="a", epoch=epoch, entropy=seeded(1), outbox=[], events=[])
    rtp.receive(encode([ReceiverReport(9, (block(last_report=0),))]), PEER, 10.0)
    assert rtp.stats(10.0).rtt is None
    rtp.receive(encode([ReceiverReport(9, (block(last_report=1),))]), PEER, 10.0)
    assert rtp.stats(10.0).rtt == pytest.approx(10, abs=0.001)


def test_blocks_about_others_are_not_about_us(rtp: RtpSession) -> None:
    rtp.receive(
        encode([ReceiverReport(9, (block(packets_lost=3, jitter=480), block(ssrc=8, packets_lost=5)))]), PEER, 1.0
    )
    stats = rtp.stats(1.0)
    assert (stats.remote_lost, stats.remote_jitter, stats.rtt) == (3, 0.01, None)


def test_a_flood_of_feedback_costs_a_count_and_no_answer(rtp: RtpSession) -> None:
    # Retransmissions are for whoever sends media; nothing here answers a NACK or a PLI, nor a REMB of 0.
    outbox: Outbox = rtp._outbox
    remb = Unknown(206, 15, bytes.fromhex("00000009 00000000 52454d42 01000000 00001111"))
    flood = encode([GenericNack(9, OURS, tuple(range(200))), PictureLossIndication(9, OURS), remb])
    for _ in range(1000):
        rtp.receive(flood, PEER, 1.0)
    rtp.receive(encode([GenericNack(9, 8, (1,)), PictureLossIndication(9, 8)]), PEER, 1.0)
    stats = rtp.stats(1.0)
    assert (stats.nacks, stats.plis, stats.reports_received, outbox) == (1000, 1000, 1001, [])


# -- Sources ------------------------------------------------------------------------------------------------------------


def test_goodbye_of_a_source_that_was_heard_is_announced_and_its_counters_stay(ladder: Ladder) -> None:
    rtp = ladder.machine
    assert isinstance(rtp, RtpSession)
    ladder.receives(media(1))
    ladder.receives(media(3))
    ladder.receives(encode([Goodbye((7, THEIRS))]))
    ladder.announces(SourceLeft(THEIRS))
    ladder.receives(encode([Goodbye((THEIRS,))]))
    ladder.receives(media(500, 0x3333))
    stats = rtp.stats(ladder.now)
    assert (stats.packets_received, stats.packets_lost) == (3, 1)
    ladder.waits_until(1)
    assert [about.ssrc for about in report(ladder.sends(decode)).reports] == [0x3333]


def test_a_caller_may_change_its_ssrc(ladder: Ladder) -> None:
    for number in range(10):
        ladder.receives(media(number, 1))
        ladder.receives(media(60000 + number, 2))
    ladder.waits_until(1)
    told = report(ladder.sends(decode)).reports
    assert [(about.ssrc, about.highest, about.packets_lost) for about in told] == [(1, 9, 0), (2, 60009, 0)]


def test_sixteen_sources_are_remembered_and_no_more(rtp: RtpSession) -> None:
    for ssrc in range(1000):
        assert (rtp.receive(media(1, ssrc), PEER, 0.0) is not None) == (ssrc < SOURCES)
    assert rtp.dropped == Counter({Drop.TOO_MANY_SOURCES: 1000 - SOURCES})
    rtp.receive(encode([Goodbye((3,))]), PEER, 0.0)
    assert rtp.receive(media(1, 999), PEER, 0.0)
    rtp.expire(rtp.deadline)
    assert len(rtp._outbox[0][0]) == 8 + 16 * 24 + 4 + 12


def test_stragglers_are_told_from_what_is_new(rtp: RtpSession) -> None:
    packets = ((5, 1), (6, 1), (4, 1), (6, 1), (7, 1), (65535, 2), (0, 2), (65534, 2), (7, 1), (8, 1))
    told = [rtp.hear(media(number, ssrc), 0.0) for number, ssrc in packets]
    assert told == [True, True, False, False, True, True, True, False, False, True]
    assert rtp.hear(b"\x80", 0.0) is None


def test_a_source_that_said_goodbye_is_counted_anew(rtp: RtpSession) -> None:
    for number in range(3):
        rtp.receive(media(number, 1), PEER, 0.0)
    rtp.receive(encode((Goodbye((1,)),)), PEER, 0.0)
    rtp.receive(media(3, 1), PEER, 0.0)
    stats = rtp.stats(0.0)
    assert (stats.packets_received, stats.packets_lost) == (4, 0)


def test_malformed_packets_are_dropped_and_counted(rtp: RtpSession) -> None:
    hostile = [
        "",
        "80",
        "806f0001",
        "a06f0001 00000000 decafbad 000000ff",
        "8f6f0001 00000000 decafbad",
        "906f0001 00000000 decafbad bede00ff",
        "80c8ffff 00000000",
        "80c90001 00000007 80c90009",
    ]
    for octets in hostile:
        assert rtp.receive(bytes.fromhex(octets), PEER, 0.0) is None
    assert rtp.dropped == {Drop.MALFORMED: len(hostile)}
    empty = bytes.fromhex("806f0001 00000000 decafbad")
    assert rtp.receive(empty, PEER, 0.0) == empty  # no payload is no fault


def test_sending_for_another_ssrc_is_misuse(rtp: RtpSession) -> None:
    for packet in (media(1, THEIRS), b"", b"\x80"):
        with pytest.raises(LocalProtocolError):
            rtp.sent(packet, 0.0)
    assert rtp.stats(0.0).packets_sent == 0


# -- The machine --------------------------------------------------------------------------------------------------------


class TestRtpSession(Contract):
    proves_source = True  # only what SRTP authenticated gets here

    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        return session(outbox, events)

    def valid(self) -> list[bytes]:
        packets: list[Packet] = [
            SenderReport(ssrc=THEIRS, ntp=1 << 40, timestamp=5, packets=1, octets=2, reports=(block(last_report=7),)),
            SourceDescription(((THEIRS, ((1, b"them"),)),)),
            GenericNack(THEIRS, OURS, (1, 2, 3)),
        ]
        return [media(1), media(2), encode(packets), media(3), encode([Goodbye((THEIRS,))]), media(4)]


def test_calls_per_packet(rtp: RtpSession) -> None:
    for number in range(10):
        rtp.receive(media(number), PEER, 0.0)
        rtp.sent(media(number, OURS), 0.0)
    theirs, ours = media(10), media(10, OURS)
    assert calls(lambda: rtp.receive(theirs, PEER, 1.0)) == 8
    assert calls(lambda: rtp.sent(ours, 1.0)) == 3


def test_what_the_peer_asks_for_is_of_its_last_datagram_alone() -> None:
    session = RtpSession(ssrc=OURS, cname="us", epoch=0.0, entropy=bytes, outbox=[], events=[])
    for sequence in range(100):
        session.receive(encode([GenericNack(THEIRS, OURS, (sequence, sequence + 1))]), None, 1.0)
    assert session.asked == [99, 100]
    session.receive(encode([ReceiverReport(THEIRS)]), None, 1.0)
    assert session.asked == []
