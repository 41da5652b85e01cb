"""The jitter buffer against a model that sees all arrivals at once, against hostile octets, and over ten hours."""

import random
from itertools import pairwise
from typing import Final, TypeAlias

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.stand_in import FRAME, StandIn, payload
from tests.harness.contract import Contract, octets_of
from trioice.audio.jitter_buffer import HELD, READY, JitterBuffer
from trioice.audio.listener import Listener
from trioice.rtp import build, build_red
from trioice.sansio import NEVER, Event, Outbox

OPUS, RED = 111, 63
SSRC: Final = 7
COPIED: Final = 16  # frames: RED has 14 bits for how much earlier a copy is

Told: TypeAlias = tuple[float, object]
"""When something became ready, and what: the number of a frame, "lost" for one, or a pause of so many."""


@attrs.frozen
class Sent:
    """A packet: the silence before it, in frames; how late each of its arrivals is, in milliseconds; what it has copies of."""

    pause: int
    delays: tuple[int, ...]
    copies: int


@attrs.frozen
class Trace:
    """What was sent, 20 ms apart but for the pauses; and every arrival, in order. No two are at the same time."""

    sent: list[Sent]
    arrivals: list[tuple[float, int]]
    places: list[int]  # of each packet in the stream, in frames

    @classmethod
    def of(cls, sent: list[Sent]) -> "Trace":
        places, at = [], -1
        for item in sent:
            at += 1 + item.pause
            places.append(at)
        arrivals = sorted(
            (0.02 * place + delay / 1000, number)
            for number, (place, item) in enumerate(zip(places, sent, strict=True))
            for delay in item.delays
        )
        return cls(sent, [(time + 1.37e-6 * order, number) for order, (time, number) in enumerate(arrivals)], places)

    def copied(self, number: int) -> list[int]:
        """The packets that this one has copies of, the oldest first: no more than fit, and none from before a pause."""
        back = 0
        while back < min(self.sent[number].copies, number) and not self.sent[number - back].pause:
            back += 1
        return list(range(number - back, number))

    def packet(self, number: int) -> bytes:
        blocks = [
            (OPUS, FRAME * (self.places[number] - self.places[k]), payload(1000 + k)) for k in self.copied(number)
        ]
        octets = payload(1000 + number)
        kind = RED if blocks else OPUS
        content = build_red([*blocks, (OPUS, 0, octets)]) if blocks else octets
        return build(kind, False, 65500 + number, 2**32 - 5000 + FRAME * self.places[number], SSRC, content)


def model(trace: Trace, patience: float, end: float) -> list[Told]:
    """What is told, and when, by whom knows the future.

    A packet's time is when it or a copy of it came first. It is in time if that is within the patience of the first of any packet behind
    it; if not, that is when it is given up. Either way it waits for those before it.
    """
    came: dict[int, float] = {}
    for time, number in trace.arrivals:
        for k in (*trace.copied(number), number):
            came.setdefault(k, time)
    if not came:
        return []
    first = trace.arrivals[0][1]
    told: list[Told] = []
    now, pause, lost = 0.0, 0, 0
    for number in range(first, max(came) + 1):
        given_up = min((time for k, time in came.items() if k > number), default=NEVER) + patience
        time = came.get(number, NEVER)
        now = max(now, min(time, given_up, end))
        if number > first:
            pause += trace.sent[number].pause
        if time > given_up or time > end:
            lost += 1
            continue
        told += [(now, ("pause", pause))] * (pause > 0) + [(now, "lost")] * lost + [(now, number)]
        pause = lost = 0
    return told


def play(trace: Trace, patience: float, end: float) -> tuple[JitterBuffer, list[Told]]:
    """The same by the jitter buffer, with its owner's promise: `expire` is called at its deadline."""
    buffer = JitterBuffer(StandIn(), OPUS, red=RED, patience=patience)
    told: list[Told] = []
    position = 0

    def read(now: float) -> None:
        nonlocal position
        while buffer.ready:
            timestamp, duration, octets, following, lost = buffer.ready.popleft()
            assert timestamp == position  # the time that comes out has no holes
            position += duration
            if octets is not None:
                told.append((now, int(octets[:8]) - 1000))
            elif lost:
                told.extend([(now, "lost")] * (duration // FRAME))
                assert following is not None
            else:
                told.append((now, ("pause", duration // FRAME)))

    for now, number in trace.arrivals:
        while buffer.deadline <= now:
            deadline = buffer.deadline
            buffer.expire(deadline)
            assert buffer.deadline > deadline
            read(deadline)
        buffer.receive(trace.packet(number), now)
        read(now)
    while buffer.deadline <= end:
        deadline = buffer.deadline
        buffer.expire(deadline)
        read(deadline)
    buffer.close(end)
    read(end)
    return buffer, told


SENT = st.builds(
    Sent,
    pause=st.integers(0, 3) | st.sampled_from([0, 0, 0, 0, 0, 40]),
    delays=st.lists(st.sampled_from([0, 0, 0, 5, 19, 20, 45, 90, 300, 1200]), max_size=2).map(tuple),
    copies=st.sampled_from([0, 0, 1, 2, COPIED]),
)
PATIENCES = [0.0, 0.02, 0.06, 0.25, 1.0, 3.0]


def check(trace: Trace, patience: float) -> None:
    end = max((time for time, _ in trace.arrivals), default=0.0) + 0.01
    buffer, told = play(trace, patience, end)
    assert told == model(trace, patience, end)
    frames = [what for _, what in told if isinstance(what, int)]
    assert all(one < other for one, other in pairwise(frames))  # in order, and none twice
    assert buffer.received == len(frames)
    assert buffer.deadline == NEVER
    assert max(buffer.delays, default=0) * 0.005 <= patience + 0.005


@given(sent=st.lists(SENT, max_size=30), patience=st.sampled_from(PATIENCES))
@settings(max_examples=400)
def test_what_comes_out_and_when_is_what_the_model_tells(sent: list[Sent], patience: float) -> None:
    check(Trace.of(sent), patience)


@pytest.mark.parametrize("patience", PATIENCES)
@pytest.mark.parametrize("seed", range(8))
def test_so_it_is_over_minutes_of_a_bad_network(seed: int, patience: float) -> None:
    """Loss in bursts, retransmissions a round trip later, jitter, duplicates, talk and pauses."""
    rng = random.Random(seed)
    sent, is_bad = [], False
    for _ in range(1500):
        is_bad = rng.random() < (0.6 if is_bad else 0.05)
        delays = [rng.randrange(30)] if not is_bad else []
        delays += [rng.randrange(80, 150)] if (is_bad and rng.random() < 0.8) or rng.random() < 0.02 else []
        sent.append(Sent(rng.randrange(10, 60) if rng.random() < 0.02 else 0, tuple(delays), seed % 3))
    check(Trace.of(sent), patience)


class Hearing:
    """A listener as the contract's suite drives machines."""

    def __init__(self) -> None:
        self.listener = Listener(StandIn(), OPUS, red=RED, rate=8000, patience=0.1)
        self.frames = 0
        self.closed = False

    @property
    def deadline(self) -> float:
        return self.listener.deadline

    def receive(self, datagram: bytes, source: object, now: float) -> None:
        if not self.closed:
            self.listener.receive([datagram], now)
            for _ in range(10):  # it may have been told of hours to fill
                frame = self.listener.read()
                if frame is None:
                    return
                assert frame.timestamp >= self.frames
                self.frames = frame.timestamp

    def expire(self, now: float) -> None:
        self.listener.expire(now)

    def close(self, now: float) -> None:
        self.closed = True
        self.listener.close(now)


class TestListener(Contract):
    proves_source = True

    def make(self, outbox: Outbox, events: list[Event]) -> Hearing:
        return Hearing()

    def valid(self) -> list[bytes]:
        trace = Trace.of([Sent(number % 7 == 6, (0,), number % 4) for number in range(40)])
        return [trace.packet(number) for number in range(40) if number % 5]

    def test_hostile_packets_are_bounded_by_what_they_may_leave(self) -> None:
        rng = random.Random(3)
        buffer = JitterBuffer(StandIn(), OPUS, red=RED, patience=3.0)
        for _ in range(20_000):
            number = rng.randrange(1 << 16)
            kind = rng.choice([OPUS, OPUS, RED, 13])
            content = rng.choice(
                [payload(number), b"", build_red([(OPUS, 1 + number % 9000, payload(1)), (OPUS, 0, payload(2))])]
            )
            at = rng.choice([number, rng.randrange(1 << 32), number * FRAME])
            buffer.receive(build(kind, False, number, at, rng.choice([1, 1, 1, 2]), content), 0.0)
            assert len(buffer.ready) <= READY
            assert len(buffer._waiting) <= HELD
            assert len(buffer._silent) <= HELD


def test_ten_hours_leave_nothing_behind() -> None:
    """Each minute 12 s of speech with losses, retransmissions and reordering, the rest comfort noise each 400 ms."""
    listener = Listener(StandIn(), OPUS, red=RED, rate=8000, patience=0.1)
    at = sequence = samples = 0
    octets: list[int] = []
    for minute in range(600):
        for step in range(720):
            now = at / 48000
            is_missing = step < 600 and step % 20 == 7
            if not is_missing:
                listener.receive([build(OPUS, False, sequence, at, SSRC, payload(step))], now)
            if step < 600 and step % 40 == 9:  # every other one comes again
                listener.receive([build(OPUS, False, sequence - 2, at - 2 * FRAME, SSRC, payload(step - 2))], now)
            listener.expire(now)
            sequence += 1
            at += FRAME if step < 600 else 20 * FRAME
            while (frame := listener.read()) is not None:
                samples += len(frame.pcm) // 2
        if minute in (9, 599):
            octets.append(octets_of(listener))
    assert samples == (at - 19 * FRAME) // 6
    assert listener.lost == 600 * 15
    assert octets[1] <= octets[0] + 1000


def test_ten_minutes_by_a_clock_that_is_fast_have_as_many_samples_as_it_counted() -> None:
    """100 ppm, with jitter, loss and repair: what our clock says plays no part."""
    rng = random.Random(5)
    listener = Listener(StandIn(), OPUS, rate=24000, patience=0.25)
    arrivals: list[tuple[float, int]] = []
    for number in range(30_000):
        sent = number * 0.02 * (1 - 1e-4)
        if rng.random() > 0.05 or number in (0, 29_999):
            arrivals.append((sent + rng.uniform(0, 0.03), number))
        elif rng.random() < 0.9:
            arrivals.append((sent + rng.uniform(0.1, 0.3), number))
    samples = 0
    for now, number in sorted(arrivals):
        while listener.deadline <= now:
            listener.expire(listener.deadline)
        listener.receive([build(OPUS, False, number, number * FRAME, SSRC, payload(number))], now)
        while (frame := listener.read()) is not None:
            samples += len(frame.pcm) // 2
    listener.close(700.0)
    while (frame := listener.read()) is not None:
        samples += len(frame.pcm) // 2
    assert samples == 30_000 * 480
    assert 0 < listener.lost < 0.1 * 30_000
    assert listener.buffer.late > 1000
