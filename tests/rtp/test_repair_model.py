"""Repair against what is plainly right, over any network: who is asked for when, what came how, and that nothing is left in memory."""

import gc
import random
from collections import Counter
from itertools import pairwise
from typing import Final

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.audio.stand_in import StandIn
from tests.harness.clockwork import seeded
from tests.harness.link import Link
from trioice.audio.jitter_buffer import JitterBuffer
from trioice.rtp import GenericNack, History, RtpSession, build, build_red, decode
from trioice.rtp.header import read
from trioice.rtp.history import PACKETS
from trioice.rtp.repair import OVERTAKEN, SOONEST, TOGETHER, Repair
from trioice.sansio import NEVER, Address, Outbox

OPUS, RED, FRAME = 111, 63, 960
STEP: Final = 0.02


def spoken(number: int, copies: int, ssrc: int = 7) -> bytes:
    """Packet `number`, from 0 on, with copies of as many before it."""
    blocks = [(OPUS, FRAME * back, b"%08d" % (number - back)) for back in range(min(copies, number), 0, -1)]
    payload = b"%08d" % number
    sequence, timestamp = number & 0xFFFF, number * FRAME
    if not copies:
        return build(OPUS, False, sequence, timestamp, ssrc, payload)
    return build(RED, False, sequence, timestamp, ssrc, build_red([*blocks, (OPUS, 0, payload)]))


# -- any arrivals, against a model that is slow and obvious -----------------------------------------------------------------


@attrs.frozen
class Arrival:
    time: float
    number: int
    copies: int


@attrs.define
class Plain:
    """What is there and what is missing, seen from the arrivals alone."""

    arrivals: list[Arrival]

    def there(self, number: int, time: float) -> bool:
        """Whether a packet or a copy of it had come."""
        return any(
            arrival.time <= time and arrival.number - arrival.copies <= number <= arrival.number
            for arrival in self.arrivals
        )

    def seen(self, number: int) -> float:
        """When the first newer packet came."""
        return min((arrival.time for arrival in self.arrivals if arrival.number > number), default=NEVER)

    def missed(self) -> list[int]:
        """Those that a newer one overtook, whatever repaired them."""
        first = self.arrivals[0].number
        last = max(arrival.number for arrival in self.arrivals)
        return [
            number
            for number in range(first + 1, last)
            if not any(arrival.number == number and arrival.time <= self.seen(number) for arrival in self.arrivals)
        ]


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    """A stream of which some packets never come, and some come late, up to past all that came after them."""
    first = draw(st.sampled_from([0, 1, 65500]))
    copies = draw(st.sampled_from([0, 0, 1, 2]))
    fates = draw(
        st.lists(st.one_of(st.none(), st.just(0.0), st.just(0.0), st.floats(0.0, 0.4)), min_size=5, max_size=80)
    )
    came = [
        Arrival(1.0 + number * STEP + fate, first + number, min(copies, first + number))
        for number, fate in enumerate(fates)
        if fate is not None
    ]
    assume(len({arrival.time for arrival in came}) == len(came))
    came.sort(key=lambda arrival: arrival.time)
    return came


@settings(max_examples=300, deadline=None)
@given(arrivals(), st.sampled_from([0.0, 0.02, 0.06, 0.1, 0.25]), st.sampled_from([0.0, 0.1, 0.5, 2.0]))
def test_repair_does_what_is_plainly_right(came: list[Arrival], rtt: float, window: float) -> None:
    if not came:
        return
    plain = Plain(came)
    repair = Repair(window, red=RED, rtt=rtt)
    asked: list[tuple[float, int]] = []
    highest, former = came[0].number - 1, 0

    def due(now: float) -> None:
        if repair.deadline <= now:
            asked.extend((now, number) for number in repair.due(now))
            assert repair.deadline > now

    for arrival in came:
        while repair.deadline < arrival.time:
            due(repair.deadline)
        packet = spoken(arrival.number, arrival.copies)
        header = read(packet)
        assert header is not None
        before = highest
        highest = max(highest, arrival.number)
        if highest != before + 1:
            repair.note(highest, before, former, packet, header, arrival.time)
            due(arrival.time)
        if highest > before:
            former = header[3]
    while repair.deadline < NEVER:
        due(repair.deadline)

    missed = plain.missed()
    assert repair.missed == len(missed)
    assert repair.missed == repair.by_red + repair.by_nack + repair.late + repair.unrepaired
    assert repair.asked == len(asked)
    questions: dict[int, list[float]] = {}
    for time, number in asked:
        assert number in missed
        assert not plain.there(number, time)
        assert plain.seen(number) <= time < plain.seen(number) + window
        questions.setdefault(number, []).append(time)
    for times in questions.values():
        for earlier, later in pairwise(times):
            assert later - earlier >= max(SOONEST, rtt) - TOGETHER
    for number in missed:
        seen = plain.seen(number)
        if window > OVERTAKEN and not plain.there(number, seen + OVERTAKEN):
            assert questions[number][0] <= seen + OVERTAKEN
            # As long as an answer is of use, none waits for longer than an answer needs.
            for earlier, later in zip(questions[number], [*questions[number][1:], NEVER], strict=True):
                until = min(later, seen + window)
                again = earlier + max(SOONEST, rtt + max(0.01, rtt / 8))
                assert until <= again or plain.there(number, again) or again + rtt >= seen + window


# -- a caller and a listener over a network that loses ------------------------------------------------------------------------


class Speaking:
    """A browser's sender: it says a packet every 20 ms with a copy of the one before, keeps three seconds, and says a packet again that
    it is asked for, unless it did within a round trip and 5 ms."""

    def __init__(self, outbox: Outbox, rtt: float, seconds: float) -> None:
        self.deadline = 0.0
        self.said = 0
        self._outbox, self._rtt, self._packets = outbox, rtt, round(seconds / STEP)
        self._repeated_at: dict[int, float] = {}

    def expire(self, now: float) -> None:
        self._outbox.append((spoken(self.said, 1), "listener"))
        self.said += 1
        self.deadline = self.said * STEP if self.said < self._packets else NEVER

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        for report in decode(datagram) or ():
            for sequence in report.lost if isinstance(report, GenericNack) else ():
                number = self.said - (self.said - sequence & 0xFFFF)
                if number * STEP > now - 3.0 and now - self._repeated_at.get(number, -NEVER) > self._rtt + 0.005:
                    self._repeated_at[number] = now
                    self._outbox.append((spoken(number, 1), "listener"))

    def close(self, now: float) -> None:
        pass


class Listening:
    """A session, and jitter buffers of different patience behind it."""

    def __init__(self, outbox: Outbox, rtt: float, patiences: tuple[float, ...]) -> None:
        self.session = RtpSession(
            ssrc=1,
            cname="us",
            epoch=0.0,
            entropy=seeded(5),
            outbox=outbox,
            events=[],
            red=RED,
            reduced_size=True,
            peer="speaker",
        )
        self.session.repair_window = max(patiences)
        self.session.round_trip.assumed = rtt
        self.buffers = {patience: JitterBuffer(StandIn(), OPUS, red=RED, patience=patience) for patience in patiences}
        self.close = self.session.close
        self.frames: Counter[float] = Counter()
        self.missed: Counter[float] = Counter()

    @property
    def deadline(self) -> float:
        return min(self.session.deadline, *(buffer.deadline for buffer in self.buffers.values()))

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        if self.session.receive(datagram, source, now) is not None:
            for buffer in self.buffers.values():
                buffer.receive(datagram, now)
            self._drain()

    def expire(self, now: float) -> None:
        self.session.expire(now)
        for buffer in self.buffers.values():
            buffer.expire(now)
        self._drain()

    def _drain(self) -> None:
        for patience, buffer in self.buffers.items():
            for _, duration, _, _, lost in buffer.ready:
                self.frames[patience] += duration // FRAME
                self.missed[patience] += lost * duration // FRAME
            buffer.ready.clear()


def converse(
    seed: int,
    patiences: tuple[float, ...],
    *,
    seconds: float = 60.0,
    rtt: float = 0.1,
    loss: float = 0.0,
    jitter: float = 0.0,
) -> tuple[Listening, Link]:
    speaking: Outbox = []
    listening: Outbox = []
    listener = Listening(listening, rtt, patiences)
    link = Link(
        {"speaker": (Speaking(speaking, rtt, seconds), speaking), "listener": (listener, listening)},
        seed,
        delay=rtt / 2,
        loss=loss,
        jitter=jitter,
    )
    return listener, link


PATIENCES = (1.0, 0.25, 0.06)


def test_over_a_path_of_100_ms_that_loses_one_in_ten_each_way_patience_buys_every_frame() -> None:
    frames: Counter[float] = Counter()
    missed: Counter[float] = Counter()
    for seed in range(20):
        listener, link = converse(seed, PATIENCES, loss=0.1)
        link.run_until(64.0)
        frames += listener.frames
        missed += listener.missed
        stats = listener.session.stats(link.now)
        assert stats.unrepaired == 0
        assert stats.packets_missed == stats.repaired_by_red + stats.repaired_by_nack
        assert 200 < stats.packets_missed < 400
    assert min(frames.values()) >= 20 * 2990
    assert missed[1.0] == 0
    assert missed[0.25] < 0.003 * frames[0.25]
    assert missed[0.06] < 0.015 * frames[0.06]


@pytest.mark.parametrize("seed", range(10))
def test_a_blackout_of_half_a_second_is_made_up_for_within_two(seed: int) -> None:
    listener, link = converse(seed, (2.0, 0.25), seconds=10.0, loss=0.1)
    link.carries = lambda datagram, source, to: not 5.0 <= link.now < 5.5
    link.run_until(20.0)
    assert listener.missed[2.0] == 0
    assert listener.frames[2.0] >= 490


@pytest.mark.parametrize("seed", range(5))
def test_a_path_with_jitter_is_repaired_as_well(seed: int) -> None:
    listener, link = converse(seed, PATIENCES, seconds=30.0, loss=0.1, jitter=0.03)
    link.run_until(40.0)
    assert listener.missed[1.0] == 0
    assert listener.missed[0.25] <= 0.003 * listener.frames[0.25]
    assert listener.session.stats(link.now).unrepaired == 0


def test_reordering_alone_is_seldom_asked_about() -> None:
    listener, link = converse(1, (1.0,), seconds=60.0, jitter=0.03)
    link.run_until(64.0)
    stats = listener.session.stats(link.now)
    assert listener.missed[1.0] == 0
    assert stats.nacks_sent <= 5


# -- memory -------------------------------------------------------------------------------------------------------------


def test_ten_hours_leave_nothing_behind() -> None:
    outbox: Outbox = []
    session = RtpSession(
        ssrc=1, cname="us", epoch=0.0, entropy=seeded(5), outbox=outbox, events=[], red=RED, reduced_size=True
    )
    session.repair_window = 2.0
    history, chance = History(), random.Random(3)
    again: list[tuple[float, int]] = []  # when what was lost comes after all, in time or not
    missing: list[int] = []
    objects: list[int] = []
    for second in range(36_000):
        now, number = float(second), 50_000 + second  # a packet for fifty, and a roll-over
        while session.deadline <= now:
            session.expire(session.deadline)
        if chance.random() < 0.2:
            again.append((now + chance.uniform(1.0, 4.0), number))
        else:
            session.hear(spoken(number, chance.randrange(2)), now)
        while again and again[0][0] <= now:
            session.hear(spoken(again.pop(0)[1], 1), now)
        outbox.clear()
        history.packets.append(spoken(number, 0, ssrc=1))
        history.again([number - chance.randrange(90) & 0xFFFF for _ in range(3)], 0.1, now)
        assert len(history._resent) <= len(history.packets) <= PACKETS
        assert session._repair is not None
        missing.append(len(session._repair._missing))
        if second % 3600 == 3599:
            gc.collect()
            objects.append(len(gc.get_objects()))
    assert max(missing[:3600]) >= max(missing[3600:]) - 1
    assert abs(objects[-1] - objects[0]) < 50
    stats = session.stats(36_000.0)
    assert stats.packets_missed > 5000
    assert min(stats.repaired_by_red, stats.repaired_by_nack, stats.unrepaired) > 100
