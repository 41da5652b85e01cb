"""Repair against what is plainly right, over any network: who is asked for when, what came how, and that nothing is left in memory."""

import gc
import random
from typing import Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.stand_in import StandIn
from tests.harness.clockwork import seeded
from tests.harness.link import Link
from trioice.audio.jitter_buffer import JitterBuffer
from trioice.rtp import GenericNack, History, RtpSession, build, build_red, decode
from trioice.rtp.header import read
from trioice.rtp.repair import MISSING, OVERTAKEN, SOONEST, TOGETHER, Repair
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
            if not any(
                arrival.number == number and arrival.time <= self.seen(number)
                for arrival in self.arrivals
            )
        ]


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    """A stream of which some packets never come, and some come late, up to past all that came after them."""
    first = draw(st.sampled_from([0, 1, 65500]))
    copies = draw(st.sampled_from([0, 0, 1, 2]))
    fates = draw(st.lists(st.one_of(st.none(), st.just(0.0), st.just(0.0), st.floats(0.0, 0.4)), min_size=5, max_size=80))
    came = [
        Arrival(1.0 + number * STEP + fate, first + number, min(copies, first + number))
        for number, fate in enumerate(fates)
        if fate is not None
    ]
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
    for number, times in questions.items():
        for earlier, later in zip(times, times[1:], strict=False):
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
        self.repeated = 0
        self._outbox, self._rtt, self._packets = outbox, rtt, int(seconds / STEP)
        self._sent_at: dict[int, float] = {}

    def expire(self, now: float) -> None:
        self._say(self.said, now)
        self.said += 1
        self.deadline = self.said * STEP if self.said < self._packets else NEVER

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        for report in decode(datagram) or ():
            if isinstance(report, GenericNack):
                for sequence in report.lost:
                    number = self.said - (self.said - sequence & 0xFFFF)
                    if number * STEP > now - 3.0 and now - self._sent_at[number] > self._rtt + 0.005:
                        self.repeated += 1
                        self._say(number, now)

    def _say(self, number: int, now: float) -> None:
        # Its first answer waits for nothing: it heard nothing of the packet since.
        self._sent_at[number] = now if number in self._sent_at else -NEVER
        self._outbox.append((spoken(number, 1), "listener"))

    def close(self, now: float) -> None:
        pass


class Listening:
    """A session, and jitter buffers of different patience behind it."""

    def __init__(self, outbox: Outbox, rtt: float, window: float, patiences: tuple[float, ...]) -> None:
        self.session = RtpSession(
            ssrc=1,
            cname="us",
            epoch=0.0,
            entropy=seeded(5),
            outbox=outbox,
            events=[],
            red=RED,
            reduced_size=True,
            peer="caller",
        )
        self.session.repair_window = window
        self.session.round_trip.assumed = rtt
        self.buffers = {
            patience: JitterBuffer(StandIn(), OPUS, red=RED, patience=patience) for patience in patiences
        }
        self.expire = self.session.expire
        self.close = self.session.close
        self._arrivals = outbox

    @property
    def deadline(self) -> float:
        return min(self.session.deadline, *(buffer.deadline for buffer in self.buffers.values()))

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        if self.session.receive(datagram, source, now) is not None:
            for buffer in self.buffers.values():
                buffer.expire(now)
                buffer.receive(datagram, now)
