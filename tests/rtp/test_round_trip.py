"""The round trip, by reports and by extended reports (RFC 3611, 4.4 and 4.5)."""

import random

import pytest

from trioice.rtp import ExtendedReport, ReceiverReport, RtpSession, decode, encode
from trioice.rtp.round_trip import LIMIT, REFERENCES, RoundTrip
from trioice.sansio import Outbox


def listener(ssrc: int, *, receiver_rtt: bool = True) -> tuple[RtpSession, Outbox]:
    outbox: Outbox = []
    session = RtpSession(
        ssrc=ssrc,
        cname="c",
        epoch=1_700_000_000.0 + ssrc,
        entropy=random.Random(ssrc).randbytes,
        outbox=outbox,
        events=[],
        receiver_rtt=receiver_rtt,
    )
    session.start(0.0)
    return session, outbox


def test_two_that_only_listen_measure_the_round_trip() -> None:
    one, from_one = listener(1)
    other, from_other = listener(2)
    one.expire(10.0)
    other.receive(from_one.pop()[0], None, 10.1)
    other.expire(12.0)
    one.receive(from_other.pop()[0], None, 12.2)
    assert one.stats(12.2).rtt == pytest.approx(0.3, abs=0.001)
    assert other.stats(12.2).rtt is None
    one.expire(15.0)
    other.receive(from_one.pop()[0], None, 15.1)
    assert other.stats(15.1).rtt == pytest.approx(0.3, abs=0.001)


def test_a_time_is_answered_once_and_ours_told_only_where_that_was_agreed_on() -> None:
    session, outbox = listener(1, receiver_rtt=False)
    session.receive(encode([ReceiverReport(7), ExtendedReport.reference(7, 0x1234_5678_9ABC_DEF0)]), None, 1.0)
    session.expire(3.0)
    (report,) = [packet for packet in decode(outbox.pop()[0]) or () if isinstance(packet, ExtendedReport)]
    assert report == ExtendedReport.since(1, ((7, 0x5678_9ABC, 2 << 16),))
    session.expire(9.0)
    assert not [packet for packet in decode(outbox.pop()[0]) or () if isinstance(packet, ExtendedReport)]


def test_what_the_handshake_showed_holds_until_rtcp_tells() -> None:
    trip = RoundTrip(0.0)
    told = [trip.seconds]
    trip.assumed = 0.5
    told.append(trip.seconds)
    assert told == [None, 0.5]
    trip.measure(trip.ntp(1.0) >> 16 & 0xFFFFFFFF, 0, 1.2)
    assert trip.seconds == pytest.approx(0.2, abs=0.001)


def test_one_slow_report_does_not_make_the_path_slow() -> None:
    trip = RoundTrip(0.0)
    assert trip.least is None
    told: list[float | None] = []
    trip.assumed = 0.02
    for seconds in (0.2, 0.3, 0.25, 0.3, 0.4, 0.02):
        told.append(trip.least)
        trip.measure(trip.ntp(1.0) >> 16 & 0xFFFFFFFF, 0, 1.0 + seconds)
    assert told == pytest.approx([0.02, 0.02, 0.02, 0.02, 0.2, 0.25], abs=0.001)
    assert trip.least == pytest.approx(0.02, abs=0.001)


@pytest.mark.parametrize(("last", "delay"), [(0, 0), (1 << 16, 0), (9 << 16, 0), (60 << 16, 11 << 16)])
def test_times_that_cannot_be_are_not_believed(last: int, delay: int) -> None:
    trip = RoundTrip(-2_208_988_800.0)
    trip.measure(last, delay, 10.0 + LIMIT)
    assert trip.seconds is None


def test_no_more_sources_are_answered_than_a_peer_may_have() -> None:
    trip = RoundTrip(0.0)
    for ssrc in range(1000):
        trip.hear(ExtendedReport.reference(ssrc, 1 << 32), 1, 0.0)
    assert len(trip.answer(0.0)) == REFERENCES
    assert trip.answer(0.0) == ()


def test_blocks_of_odd_lengths_say_nothing() -> None:
    report = ExtendedReport(7, ((4, 0, bytes(4)), (5, 0, bytes(8))))
    assert report.reference_time is None
    assert report.delays == []
