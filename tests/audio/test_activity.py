"""Speech from the levels of packets: hysteresis, noise, pauses, loss, and levels that are missing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.contract import Contract
from trioice.audio.activity import UNREAD, Activity, Hysteresis, SpeechStarted, SpeechStopped
from trioice.errors import LocalProtocolError
from trioice.rtp import build
from trioice.sansio import NEVER, Event, Outbox

LEVEL = 3
VOICE, QUIET = 30, 75
"""Levels: in -dBov, so the higher the quieter."""


class Bench:
    """An activity, and what it told: "started" and "stopped" with when they were told, at 20 ms a packet."""

    def __init__(self, activity: Activity | None = None) -> None:
        self.activity = activity or Activity(LEVEL)
        self.number = 0
        self.told: list[tuple[str, float]] = []

    @property
    def now(self) -> float:
        return self.number * 0.02

    def hears(self, *levels: int | None, ssrc: int = 7, flag: int = 0) -> "Bench":
        """A packet every 20 ms; None for one that does not come."""
        for level in levels:
            self.reads()
            if level is not None:
                self.activity.receive([packet(self.number, level | flag, ssrc)], self.now)
            self.number += 1
            self.reads(-1)
        return self

    def reads(self, packets: int = 0) -> None:
        now = (self.number + packets) * 0.02
        if self.activity.deadline <= now:
            self.activity.expire(self.activity.deadline)
        while (change := self.activity.read()) is not None:
            self.told.append(("started" if isinstance(change, SpeechStarted) else "stopped", round(now, 3)))
            assert change.at <= now

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]


def packet(number: int, level: int, ssrc: int = 7, at: int | None = None) -> bytes:
    at = number if at is None else at
    return build(111, False, number & 0xFFFF, at * 960, ssrc, b"speech", [(1, b"0"), (LEVEL, bytes([level]))])


def test_speech_is_on_after_60_ms_of_voice_and_off_500_ms_after_it() -> None:
    bench = Bench().hears(*[QUIET] * 50, *[VOICE] * 50, *[QUIET] * 50)
    assert bench.told == [("started", 52 * 0.02), ("stopped", pytest.approx(124 * 0.02))]
    assert not bench.activity.speaking


def test_what_is_told_says_when_the_voice_was() -> None:
    bench = Bench()
    for number in range(100):
        bench.activity.receive([packet(number, VOICE if 10 <= number < 20 else QUIET)], number * 0.02)
    assert bench.activity.read() == SpeechStarted(0.2)
    assert bench.activity.read() == SpeechStopped(0.38)
    assert bench.activity.read() is None


def test_a_click_is_no_speech_and_a_breath_ends_none() -> None:
    assert Bench().hears(*[QUIET] * 50, VOICE, VOICE, *[QUIET] * 50).told == []
    bench = Bench().hears(*[QUIET] * 50, *[VOICE] * 10, *[QUIET] * 23, *[VOICE] * 10, *[QUIET] * 40)
    assert bench.kinds == ["started", "stopped"]


def test_voice_with_holes_is_speech_when_it_outweighs_them() -> None:
    assert Bench().hears(*[VOICE, VOICE, QUIET] * 4).kinds == ["started"]
    assert Bench().hears(*[VOICE, QUIET, QUIET] * 20).kinds == []


def test_the_ends_of_words_may_be_quieter_than_their_beginnings() -> None:
    assert Bench().hears(*[QUIET] * 20, *[54] * 20).kinds == []
    assert Bench().hears(*[QUIET] * 20, *[45] * 5, *[54] * 60).kinds == ["started"]
    assert Bench().hears(*[QUIET] * 20, *[45] * 5, *[57] * 60).kinds == ["started", "stopped"]


def test_what_is_no_louder_than_the_noise_around_is_none() -> None:
    rng = random.Random(1)
    noise = [rng.randrange(38, 44) for _ in range(1000)]  # a street; it is taken for speech until it has lasted for 3 s
    bench = Bench().hears(*noise)
    assert bench.kinds in ([], ["started", "stopped"])
    assert bench.now > 19
    assert all(now < 4 for _, now in bench.told)
    bench.told.clear()
    bench.hears(*[20] * 10, *noise[:100])
    assert bench.kinds == ["started", "stopped"]


def test_a_long_speech_with_the_pauses_of_speech_is_one() -> None:
    bench = Bench().hears(*[QUIET] * 200, *([VOICE] * 40 + [QUIET] * 8) * 30)
    assert bench.kinds == ["started"]


def test_without_packets_speech_is_over_by_the_deadline() -> None:
    bench = Bench().hears(*[VOICE] * 10)
    assert bench.activity.deadline == pytest.approx(9 * 0.02 + 0.5)
    bench.hears(*[None] * 40)
    assert bench.told == [("started", 0.04), ("stopped", pytest.approx(0.68, abs=0.02))]
    assert bench.activity.deadline == NEVER
    assert bench.hears(VOICE, *[None] * 19).kinds == ["started", "stopped"]  # one packet alone after a pause is a click


def test_one_of_a_few_packets_that_are_left_speaks_for_those_that_are_lost() -> None:
    assert Bench().hears(*[QUIET] * 10, VOICE, None, VOICE).kinds == ["started"]
    rng = random.Random(4)
    levels = [QUIET] * 50 + [VOICE] * 100 + [QUIET] * 100
    bench = Bench().hears(*[level if rng.random() > 0.3 else None for level in levels])
    assert bench.kinds == ["started", "stopped"]
    assert 1.0 <= bench.told[0][1] <= 1.1


def test_it_does_not_matter_how_packets_were_delayed() -> None:
    bench = Bench().hears(*[QUIET] * 20)
    burst = [packet(number, VOICE) for number in range(20, 30)]
    bench.activity.receive(burst[:2], 2.0)
    assert bench.activity.read() is None
    bench.activity.receive(burst[2:], 2.0)
    assert bench.activity.read() == SpeechStarted(2.0)


def test_late_and_double_packets_change_nothing() -> None:
    bench = Bench().hears(*[QUIET] * 20)
    for number in (25, 25, 25, 24, 23, 22, 21, 20):
        bench.activity.receive([packet(number, VOICE)], 0.5)
    assert bench.activity.read() is None
    for number in (26, 10, 27):
        bench.activity.receive([packet(number, VOICE)], 0.6)
    assert bench.activity.read() == SpeechStarted(0.5)


def test_another_source_or_clock_goes_on_where_the_one_before_was() -> None:
    bench = Bench().hears(*[VOICE] * 10).hears(*[VOICE] * 20, ssrc=8)
    bench.number = 1
    for number in range(30):  # the clock was set back by minutes
        bench.activity.receive([packet(number, VOICE, 8, at=number + 4_000_000)], 1.0 + number * 0.02)
    bench.activity.expire(1.6)
    assert bench.activity.speaking
    bench.reads()
    assert bench.kinds == ["started"]
    bench.activity.close(2.0)
    assert isinstance(bench.activity.read(), SpeechStopped)


def test_the_timestamp_rolls_over() -> None:
    activity = Activity(LEVEL)
    for number in range(100):
        activity.receive([build(111, False, number, 2**32 - 48000 + number * 960, 7, b"x", [(LEVEL, b"\x1e")])], 1.0)
    assert activity.speaking
    activity.close(3.0)
    assert activity.read() == SpeechStarted(1.0)
    assert activity.read() == SpeechStopped(1.0)


def test_the_flag_beside_the_level_says_nothing() -> None:
    assert Bench().hears(*[QUIET] * 50, flag=0x80).told == []
    assert Bench().hears(*[VOICE] * 50, flag=0x80).kinds == ["started"]


@pytest.mark.parametrize("extension", [None, 4])
def test_without_levels_nothing_is_told(extension: int | None) -> None:
    assert Bench(Activity(extension)).hears(*[VOICE] * 100).told == []


def test_packets_that_only_probe_say_nothing() -> None:
    activity = Activity(LEVEL)
    for number in range(50):
        activity.receive([build(111, False, number, number * 960, 7, b"", [(LEVEL, b"\x1e")])], number * 0.02)
    assert not activity.speaking


def test_all_bounds_may_be_chosen() -> None:
    activity = Activity(LEVEL, 8000, on=0.0, off=0.1, above=3.0, least=-90.0)
    for number in range(200):
        level = 60 if number == 190 else 64
        activity.receive([build(0, False, number, number * 160, 7, b"x", [(LEVEL, bytes([level]))])], number * 0.02)
    activity.close(4.0)
    told = []
    while (change := activity.read()) is not None:
        told.append(change)
    assert told[-2:] == [SpeechStarted(pytest.approx(3.8)), SpeechStopped(pytest.approx(3.8))]  # type: ignore[arg-type]  # a number about as large


@pytest.mark.parametrize(("on", "off"), [(-0.1, 0.5), (0.06, 0.0), (float("nan"), 1.0), (0.1, float("nan"))])
def test_bounds_that_are_none_are_refused(on: float, off: float) -> None:
    with pytest.raises(LocalProtocolError, match="speech"):
        Activity(LEVEL, on=on, off=off)


@given(st.lists(st.tuples(st.integers(0, 127), st.integers(1, 5), st.booleans()), max_size=200))
def test_changes_alternate_and_time_runs_forward(moments: list[tuple[int, int, bool]]) -> None:
    activity = Activity(LEVEL)
    number, now = 0, 0.0
    changes: list[SpeechStarted | SpeechStopped] = []
    for level, steps, is_late in moments:
        number += steps
        now += 0.02 * steps + is_late
        if activity.deadline <= now:
            activity.expire(now)
        activity.receive([packet(number, level)], now)
        assert activity.deadline > now
        while (change := activity.read()) is not None:
            changes.append(change)
    activity.close(now)
    while (change := activity.read()) is not None:
        changes.append(change)
    assert [type(change) for change in changes] == [SpeechStarted, SpeechStopped] * (len(changes) // 2)
    assert [change.at for change in changes] == sorted(change.at for change in changes)


def test_changes_that_nobody_reads_are_bounded() -> None:
    stream = Hysteresis()
    for number in range(10_000):
        stream.note(number % 50 < 10, number * 0.02, 0.02, number * 0.02)
    assert len(stream.changes) == UNREAD
    assert isinstance(stream.changes[0], SpeechStarted)


class Hearing:
    """An activity as the contract's suite drives machines."""

    def __init__(self) -> None:
        self.activity = Activity(LEVEL)
        self.closed = False

    @property
    def deadline(self) -> float:
        return self.activity.deadline

    def receive(self, datagram: bytes, source: object, now: float) -> None:
        if not self.closed:
            self.activity.receive([datagram], now)

    def expire(self, now: float) -> None:
        self.activity.expire(now)

    def close(self, now: float) -> None:
        self.closed = True
        self.activity.close(now)


class TestActivity(Contract):
    proves_source = True

    def make(self, outbox: Outbox, events: list[Event]) -> Hearing:
        return Hearing()

    def valid(self) -> list[bytes]:
        return [packet(number, 20 + number) for number in range(20)]
