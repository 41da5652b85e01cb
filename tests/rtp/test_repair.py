"""Which packets are missing, and when they are asked for."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.contract import Contract
from trioice.rtp import ExtendedReport, build, build_red, decode, encode
from trioice.rtp.header import read
from trioice.rtp.repair import FASTEST, MISSING, OVERTAKEN, SOONEST, Repair
from trioice.rtp.rtcp import GenericNack, Goodbye, ReceiverReport, ReportBlock, SourceDescription
from trioice.rtp.session import RtpSession
from trioice.sansio import NEVER, Event, Machine, Outbox

OPUS, RED = 111, 63
FRAME = 960
RTT = 0.1
AGAIN = RTT + RTT / 8


def packet(number: int, copies: int = 0) -> bytes:
    if not copies:
        return build(OPUS, False, number, number * FRAME, 7, b"payload")
    blocks = [(OPUS, FRAME * back, b"copy") for back in range(copies, 0, -1)]
    return build(RED, False, number, number * FRAME, 7, build_red([*blocks, (OPUS, 0, b"payload")]))


class Listening:
    """A repair, and the questions that it asked: (when, indices)."""

    def __init__(self, window: float = 1.0, start: int = 100) -> None:
        self.repair = Repair(window, red=RED, rtt=RTT)
        self.highest = start
        self.asked: list[tuple[float, list[int]]] = []

    def hears(self, number: int, now: float, copies: int = 0) -> "Listening":
        self.until(now)
        octets = packet(number, copies)
        header = read(octets)
        assert header is not None
        before, self.highest = self.highest, max(self.highest, number)
        if self.highest != before + 1:
            self.repair.note(self.highest, before, before * FRAME, octets, header, now)
            self._due(now)
        return self

    def until(self, now: float) -> "Listening":
        while self.repair.deadline < now:
            self._due(self.repair.deadline)
        return self

    def _due(self, now: float) -> None:
        if self.repair.deadline <= now and (missing := self.repair.due(now)):
            self.asked.append((round(now, 6), missing))


def test_a_gap_is_asked_for_at_once_and_again_after_each_round_trip_as_long_as_that_is_of_use() -> None:
    listening = Listening(window=0.5).hears(101, 0.0).hears(104, 1.0)
    listening.until(9.0)
    times = [when for when, _ in listening.asked]
    assert [missing for _, missing in listening.asked] == [[102, 103]] * len(times)
    assert times == pytest.approx([1.0, 1.0 + AGAIN, 1.0 + 2 * AGAIN, 1.0 + 3 * AGAIN])
    assert times[-1] + RTT < 1.5
    assert (listening.repair.missed, listening.repair.unrepaired) == (2, 2)
    assert listening.repair.deadline == NEVER


def test_what_comes_again_is_not_asked_for_any_more() -> None:
    listening = Listening().hears(103, 1.0).hears(101, 1.0 + RTT).hears(102, 1.0 + RTT)
    assert listening.until(9.0).asked == [(1.0, [101, 102])]
    assert (listening.repair.by_nack, listening.repair.late, listening.repair.unrepaired) == (2, 0, 0)


def test_what_a_copy_brings_is_not_asked_for() -> None:
    listening = Listening().hears(102, 1.0, copies=1)
    assert listening.asked == []
    assert listening.repair.by_red == 1
    listening.hears(105, 2.0, copies=1)
    assert listening.asked == [(2.0, [103])]


def test_a_retransmission_brings_its_copies_too() -> None:
    listening = Listening().hears(105, 1.0).hears(103, 1.2, copies=2)
    assert (listening.repair.by_nack, listening.repair.by_red) == (1, 2)
    assert list(listening.repair._missing) == [104]


@pytest.mark.parametrize(
    ("offsets", "asked"),
    [([FRAME], [101]), ([2 * FRAME], [102]), ([FRAME // 2], [101, 102]), ([5 * FRAME, FRAME], [101])],
)
def test_a_copy_is_of_the_packet_that_its_timestamp_tells(offsets: list[int], asked: list[int]) -> None:
    blocks = [(OPUS, offset, b"copy") for offset in offsets]
    octets = build(RED, False, 103, 103 * FRAME, 7, build_red([*blocks, (OPUS, 0, b"payload")]))
    header = read(octets)
    assert header is not None
    repair = Repair(1.0, red=RED)
    repair.note(103, 100, 100 * FRAME, octets, header, 0.0)
    assert repair.due(0.0) == asked


def test_where_a_pause_hides_which_packet_a_copy_is_of_it_is_asked_for() -> None:
    octets = build(RED, False, 103, 113 * FRAME, 7, build_red([(OPUS, FRAME, b"copy"), (OPUS, 0, b"payload")]))
    header = read(octets)
    assert header is not None
    repair = Repair(1.0, red=RED)
    repair.note(103, 100, 100 * FRAME, octets, header, 0.0)
    assert repair.due(0.0) == [101, 102]


def test_malformed_copies_bring_nothing() -> None:
    octets = build(RED, False, 102, 0, 7, b"\xff")
    header = read(octets)
    assert header is not None
    repair = Repair(1.0, red=RED)
    repair.note(102, 100, 100 * FRAME, octets, header, 0.0)
    assert repair.due(0.0) == [101]


def test_a_path_that_reorders_is_given_time_before_the_first_question() -> None:
    listening = Listening()
    now = 1.0
    for number in range(101, 200, 2):  # each pair the wrong way round, 10 ms apart
        listening.hears(number + 1, now).hears(number, now + 0.01)
        now += 0.04
    assert len(listening.asked) == 1  # the first, when nothing was known
    assert listening.repair.late == 50
    assert listening.repair._wait == pytest.approx(0.0125)
    # And less with each packet that was really lost, so that no question is late for long.
    for number in range(202, 302, 2):
        listening.hears(number, now).hears(number - 1, now + 0.15)
        now += 0.2
    assert listening.repair._wait < 0.001


def test_the_time_that_is_given_is_bounded() -> None:
    listening = Listening(window=9.0)
    listening.repair.rtt = 10.0
    listening.hears(102, 1.0).hears(101, 1.0 + 0.99 * OVERTAKEN)
    assert listening.repair._wait == OVERTAKEN


def test_answers_that_come_sooner_than_was_measured_do_not_delay_the_questions() -> None:
    listening, now = Listening(), 1.0
    listening.repair.rtt = 0.006  # as a browser that thinks for a while tells it
    for number in range(102, 202, 2):
        listening.hears(number, now).until(now + 0.02)
        now = listening.asked[-1][0] + 0.001
        listening.hears(number - 1, now)
        now += 0.04
    assert (listening.repair.by_nack, listening.repair.late) == (50, 0)
    listening.repair.rtt = 0.02
    for number in range(202, 302, 2):
        listening.hears(number, now).until(now + 0.02)
        now = listening.asked[-1][0] + 0.001
        listening.hears(number - 1, now)
        now += 0.04
    assert listening.repair.late == 50
    assert listening.repair._wait <= 0.01


def test_no_time_is_given_to_what_was_overtaken_by_more_than_that() -> None:
    listening = Listening(window=9.0)
    listening.repair.rtt = 10.0  # as a handshake that was slow to think may make it seem
    listening.hears(102, 1.0).hears(101, 1.0 + 2 * OVERTAKEN)
    assert (listening.repair._wait, listening.repair.late) == (0.0, 1)


def test_a_jump_is_asked_for_as_far_as_anybody_remembers() -> None:
    listening = Listening().hears(101 + 10_000, 1.0)
    (when, missing) = listening.asked[0]
    assert (when, len(missing), missing[-1]) == (1.0, MISSING, 10_100)
    assert listening.repair.unrepaired == 10_000 - MISSING
    assert listening.repair.missed == 10_000


def test_who_jumps_at_each_packet_is_asked_for_no_more_than_anybody_could_have_said() -> None:
    listening = Listening(window=0.05)
    for number in range(1000):
        listening.hears(200 + 100 * number, 1.0 + number / 1000)
    asked = {index for _, missing in listening.asked for index in missing}
    assert MISSING + 0.9 * FASTEST <= len(asked) <= MISSING + 2 * FASTEST
    listening.until(9.0)
    assert listening.repair.unrepaired == listening.repair.missed


def test_another_source_forgets_what_was_missing() -> None:
    repair = Listening().hears(103, 1.0).repair
    repair.clear()
    assert (repair.unrepaired, repair.deadline) == (2, NEVER)


# -- within a session


def session(outbox: Outbox, *, reduced_size: bool = True) -> RtpSession:
    heard = RtpSession(
        ssrc=1,
        cname="us",
        epoch=0.0,
        entropy=random.Random(3).randbytes,
        outbox=outbox,
        events=[],
        red=RED,
        reduced_size=reduced_size,
    )
    heard.repair_window = 1.0
    return heard


def questions(outbox: Outbox) -> list[tuple[int, ...]]:
    nacks = []
    for octets, _ in outbox:
        nacks += [packet.lost for packet in decode(octets) or () if isinstance(packet, GenericNack)]
    return nacks


def hear(heard: RtpSession, numbers: Sequence[int], now: float) -> None:
    for number in numbers:
        heard.hear(packet(number), now)


def test_a_session_asks_in_rtcp_in_the_same_turn() -> None:
    outbox: Outbox = []
    heard = session(outbox)
    hear(heard, [65534, 65535, 2], 1.0)
    assert questions(outbox) == [(0, 1)]
    assert heard.stirred
    assert heard.deadline == pytest.approx(1.0 + AGAIN)
    hear(heard, [0, 1], 1.2)
    assert heard.stats(1.2).repaired_by_nack == 2
    assert heard.stats(1.2).packets_missed == 2
    assert heard.deadline == heard.report_at


@pytest.mark.parametrize("reduced_size", [True, False])
def test_a_question_stands_behind_a_report_unless_reduced_size_was_agreed_on(reduced_size: bool) -> None:
    outbox: Outbox = []
    hear(session(outbox, reduced_size=reduced_size), [1, 3], 1.0)
    kinds = [type(packet) for packet in decode(outbox[0][0]) or ()]
    assert kinds == ([GenericNack] if reduced_size else [ReceiverReport, SourceDescription, GenericNack])


def test_a_session_asks_again_when_it_expires() -> None:
    outbox: Outbox = []
    heard = session(outbox)
    hear(heard, [1, 3], 1.0)
    heard.expire(1.0 + AGAIN)
    assert questions(outbox) == [(2,), (2,)]
    assert heard.stats(2.0).nacks_sent == 2


def test_nothing_is_asked_of_who_said_goodbye() -> None:
    outbox: Outbox = []
    heard = session(outbox)
    hear(heard, [1, 3], 1.0)
    heard.receive(encode([Goodbye((7,))]), None, 1.0)
    assert heard.deadline == heard.report_at
    heard.expire(1.0 + AGAIN)
    assert questions(outbox) == [(2,)]
    hear(heard, [1, 2, 9], 2.0)  # and comes again
    assert questions(outbox)[1:] == [tuple(range(3, 9))]


def reported(outbox: Outbox) -> ReportBlock:
    [block] = [
        block
        for packet in decode(outbox[-1][0]) or ()
        if isinstance(packet, ReceiverReport)
        for block in packet.reports
    ]
    return block


def test_the_fraction_that_is_reported_lost_is_what_the_network_lost_though_it_was_repaired() -> None:
    outbox: Outbox = []
    heard = session(outbox)
    hear(heard, [1, 3, 4], 1.0)
    hear(heard, [2], 1.0 + AGAIN)
    heard.expire(3.0)
    block = reported(outbox)
    assert (block.fraction_lost, block.packets_lost) == (64, 0)
    hear(heard, range(5, 9), 4.0)
    heard.expire(6.0)
    assert reported(outbox).fraction_lost == 0


def test_the_shortest_round_trip_of_late_is_the_one_to_wait_for() -> None:
    heard = session([])
    trip = heard.round_trip
    for seconds in (0.9, 0.1, 0.2, 0.3):
        trip.measure(trip.ntp(10.0) >> 16 & 0xFFFFFFFF, 0, 10.0 + seconds)
    hear(heard, [1, 3], 11.0)
    assert heard.deadline == pytest.approx(11.0 + AGAIN, abs=0.001)
    assert trip.seconds == pytest.approx(0.3, abs=0.001)
    for _ in range(4):
        trip.measure(trip.ntp(20.0) >> 16 & 0xFFFFFFFF, 0, 20.4)
    assert trip.least == pytest.approx(0.4, abs=0.001)


def test_a_path_without_delay_is_asked_again_soon() -> None:
    heard = session([])
    heard.round_trip.assumed = 0.0
    hear(heard, [1, 3], 11.0)
    assert heard.deadline == pytest.approx(11.0 + SOONEST)


def test_nothing_is_asked_for_without_a_window_or_after_the_end() -> None:
    outbox: Outbox = []
    heard = session(outbox)
    heard.close(0.0)
    hear(heard, [1, 3], 1.0)
    plain = RtpSession(
        ssrc=1, cname="us", epoch=0.0, entropy=random.Random(3).randbytes, outbox=outbox, events=[], red=RED
    )
    hear(plain, [1, 3], 1.0)
    assert questions(outbox) == []
    assert plain.stats(1.0).packets_missed == 0
    assert (plain.repair_window, heard.repair_window) == (0.0, 1.0)


def test_in_order_a_session_does_nothing_for_repair() -> None:
    heard = session([])
    hear(heard, range(1, 200), 1.0)
    assert not heard.stirred


class TestRtpSessionThatRepairs(Contract):
    proves_source = True  # only what SRTP authenticated gets here

    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        return session(outbox)

    def valid(self) -> list[bytes]:
        return [
            packet(1),
            packet(4, copies=1),
            packet(2),
            encode([ReceiverReport(7), ExtendedReport.reference(7, 1 << 40)]),
            packet(300),
            packet(40_000, copies=2),
            encode([Goodbye((7,))]),
            packet(5),
            packet(9),
        ]


@given(st.integers(0, 1 << 32), st.integers(1, 40))
def test_whatever_an_authentic_peer_sends_the_session_goes_on(seed: int, sources: int) -> None:
    chance = random.Random(seed)
    outbox: Outbox = []
    heard = session(outbox, reduced_size=chance.random() < 0.5)
    now = 1.0
    for _ in range(200):
        now += chance.choice([0.0, 0.001, 0.02, 0.3, 5.0])
        ssrc = chance.randrange(sources)
        match chance.randrange(8):
            case 0:
                datagram = encode([Goodbye((ssrc,))])
            case 1:
                datagram = encode([GenericNack(ssrc, 1, tuple(chance.randbytes(20)))])
            case 2:
                kind, octets = chance.choice([4, 5, 6]), chance.randbytes(4 * chance.randrange(8))
                datagram = encode([ExtendedReport(ssrc, ((kind, 0, octets),))])
            case 3:
                heard.repair_window = chance.choice([0.0, 0.06, 3.0])
                continue
            case _:
                payload = chance.randbytes(chance.randrange(12))
                datagram = build(
                    chance.choice([OPUS, RED]),
                    False,
                    chance.randrange(1 << 16),
                    chance.randrange(1 << 32),
                    ssrc,
                    payload,
                )
        while heard.deadline <= now:
            before = heard.deadline
            heard.expire(before)
            assert heard.deadline > before
        heard.receive(datagram, None, now)
        assert heard.deadline > now or heard.deadline == NEVER
        assert all(len(octets) <= 1200 and decode(octets) for octets, _ in outbox)
        outbox.clear()
        heard.asked.clear()
    stats = heard.stats(now)
    waiting = 0 if heard._repair is None else len(heard._repair._missing)
    assert waiting <= MISSING
    repaired = stats.repaired_by_red + stats.repaired_by_nack + stats.late
    assert stats.packets_missed == repaired + stats.unrepaired + waiting
