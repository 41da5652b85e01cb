"""The speaker in virtual time: what leaves when, how much was heard, and how it is cut."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from tests.audio.test_pcm_queue import Plain, pcm
from trioice.errors import LocalProtocolError
from trioice.transceiver.pacer import Full, Pacer, Stream
from trioice.transceiver.speaker import MARKS, Mark, Speaker

RATE = 8000
STEP = 160
LATENCY = 0.055 + 0.025
"""Seconds from here to the ear without a way, early in a call: the browser's first buffer and the output."""


class Stage:
    """A speaker, and what it sent: (when, timestamp, marker, the loudest sample)."""

    def __init__(self, nursery: trio.Nursery, bound: float = 30.0) -> None:
        self.sent: list[tuple[float, int, bool, int]] = []
        self.rtt: float | None = None
        self.jitter = 0.0
        self.pacer = Pacer()
        nursery.start_soon(self.pacer.run)
        self.speaker = Speaker(Plain(), RATE, path=lambda: (self.rtt, self.jitter), pace=self._pace, bound=bound)

    def _pace(self, source: Speaker) -> Stream:
        return self.pacer.open(self._send, clock_rate=48000, source=source)

    def _send(self, payload: bytes, timestamp: int, marker: bool) -> None:
        loudest = max(int.from_bytes(payload[at : at + 2], "little", signed=True) for at in range(0, len(payload), 2))
        self.sent.append((trio.current_time(), timestamp, marker, loudest))

    @property
    def voiced(self) -> list[float]:
        return [when for when, _, _, loudest in self.sent if loudest]


@pytest.fixture
async def stage(autojump_clock: MockClock, nursery: trio.Nursery) -> AsyncIterator[Stage]:
    yield Stage(nursery)
    nursery.cancel_scope.cancel()


def said(seconds: float, value: int = 1000) -> bytes:
    return pcm(value, count=round(RATE * seconds))


async def test_eight_seconds_written_at_once_leave_in_time_to_the_sample(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.speaker.write(said(8.0))
    await trio.sleep(9.0)
    assert len(stage.voiced) == 400
    first_at, first = stage.sent[0][:2]
    for number, (when, timestamp, marker, _) in enumerate(stage.sent):
        assert when == pytest.approx(first_at + 0.02 * number, abs=1e-6)
        assert timestamp == first + 960 * number
        assert marker == (number == 0)


async def test_time_runs_on_through_silence_and_speech_after_it_is_marked(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.speaker.write(said(0.1))
    await trio.sleep(1.0)
    await stage.speaker.write(said(0.1) + said(0.5, 0) + said(0.1))
    await trio.sleep(1.0)
    first_at, first = stage.sent[0][:2]
    assert [marker for _, _, marker, _ in stage.sent].count(True) == 3
    for when, timestamp, _, _ in stage.sent:
        assert timestamp - first == pytest.approx((when - first_at) * 48000, abs=1)
    assert len(stage.sent) == 3 * (5 + 2)


async def test_a_writer_waits_for_room(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    speaker = Stage(nursery, bound=1.0).speaker
    start = trio.current_time()
    await speaker.write(said(1.5))  # there was room when it came
    assert trio.current_time() == start
    with pytest.raises(Full):
        speaker.write_nowait(said(0.02))
    await speaker.write(said(0.02))
    assert 0.5 < trio.current_time() - start <= 0.52  # the twenty-sixth packet
    assert speaker.queued == pytest.approx(1.0, abs=0.021)
    nursery.cancel_scope.cancel()


async def test_a_writer_that_is_cancelled_has_written_nothing(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    speaker = Stage(nursery, bound=1.0).speaker
    await speaker.write(said(2.0))
    with trio.move_on_after(0.3):
        await speaker.write(said(1.0))
    assert speaker.playout().written_ms == 2000
    nursery.cancel_scope.cancel()


async def test_clearing_is_silence_within_a_packets_time(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.speaker.write(said(8.0))
    await trio.sleep(1.007)
    cleared = trio.current_time()
    stage.speaker.clear()
    await trio.sleep(1.0)
    assert 0 <= stage.voiced[-1] - cleared <= 0.02
    assert stage.sent[-1][0] - cleared <= 0.06
    assert stage.speaker.queued == 0
    stats = stage.speaker.stats()
    assert stats["clears"] == 1
    assert stats["clear_ms"] == pytest.approx(1000 * (stage.voiced[-1] - cleared), abs=0.1)
    assert stats["longest_clear_ms"] == stats["clear_ms"]


async def test_clearing_tells_how_far_it_had_come(autojump_clock: MockClock, stage: Stage) -> None:
    stage.rtt, stage.jitter = 0.1, 0.01
    delay = 0.05 + 0.04 + 0.02 + 0.025  # the way, the buffer, the jitter's part of it, and the output
    await stage.speaker.write(said(8.0))
    await trio.sleep(2.1)
    playout = stage.speaker.clear()
    started = stage.sent[0][0]
    assert playout.written_ms == 8000
    assert playout.sent_ms == pytest.approx(1000 * (trio.current_time() - started), abs=21)
    assert playout.heard_ms == pytest.approx(1000 * (trio.current_time() - started - delay), abs=2)
    assert 30 < playout.error_ms < 100
    after = stage.speaker.playout()
    assert (after.written_ms, after.sent_ms, after.heard_ms) == (0, 0, 0)


async def test_what_comes_after_clearing_counts_from_its_own_beginning(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.speaker.write(said(2.0))
    await trio.sleep(1.0)
    stage.speaker.clear()
    await stage.speaker.write(said(1.0))
    playout = await stage.speaker.finished()
    assert (playout.written_ms, playout.sent_ms) == (1000, 1000)
    assert playout.heard_ms == pytest.approx(1000, abs=1)


async def test_it_is_finished_when_the_caller_has_heard_it(autojump_clock: MockClock, stage: Stage) -> None:
    stage.rtt = 0.2
    await stage.speaker.write(said(1.0))
    await stage.speaker.finished()
    assert trio.current_time() == pytest.approx(stage.voiced[-1] + 0.02 + 0.1 + LATENCY, abs=0.001)
    start = trio.current_time()
    await stage.speaker.finished()
    assert trio.current_time() <= start + 0.1 + LATENCY + 0.001


async def test_finished_tells_what_was_cleared(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.speaker.write(said(5.0))

    async def interrupt() -> None:
        await trio.sleep(1.0)
        stage.speaker.clear()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(interrupt)
        playout = await stage.speaker.finished()
    assert playout.written_ms == 5000
    assert playout.heard_ms == pytest.approx(1000 - 1000 * LATENCY, abs=21)


async def test_what_was_heard_never_becomes_less(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.speaker.write(said(8.0))
    await trio.sleep(3.0)
    before = stage.speaker.playout()
    stage.jitter = 0.02
    after = stage.speaker.playout()
    assert after.heard_ms == before.heard_ms
    assert after.error_ms > before.error_ms


async def test_what_is_finished_was_heard_whole_whatever_the_path_became(
    autojump_clock: MockClock, stage: Stage
) -> None:
    await stage.speaker.write(said(1.0))

    async def worsen() -> None:
        await trio.sleep(1.02)
        stage.jitter = 0.05

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worsen)
        assert (await stage.speaker.finished()).heard_ms == 1000


async def test_marks_are_reached_in_their_order_and_time(autojump_clock: MockClock, stage: Stage) -> None:
    told: list[tuple[str, float]] = []

    async def tell(mark: Mark) -> None:
        if await mark.reached():
            told.append((mark.name, trio.current_time()))

    async with trio.open_nursery() as nursery:
        for name in ("one", "two"):
            await stage.speaker.write(said(0.5))
            nursery.start_soon(tell, stage.speaker.mark(name))
    start = stage.sent[0][0]
    assert [name for name, _ in told] == ["one", "two"]
    assert [when - start - LATENCY for _, when in told] == pytest.approx([0.5, 1.0], abs=0.001)


async def test_a_mark_that_was_cleared_is_never_reached(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.speaker.write(said(1.0))
    mark = stage.speaker.mark("end")
    stage.speaker.clear()
    assert not await mark.reached()
    assert await stage.speaker.mark().reached()  # there is nothing to wait for


async def test_marks_are_bounded(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.speaker.write(said(1.0))
    for _ in range(MARKS):
        stage.speaker.mark()
    with pytest.raises(Full):
        stage.speaker.mark()


async def test_a_pause_is_silence_and_what_follows_it_is_whole(autojump_clock: MockClock, stage: Stage) -> None:
    await stage.speaker.write(said(2.0))
    await trio.sleep(1.0)
    stage.speaker.pause()
    paused, waits = trio.current_time(), stage.speaker.queued
    await trio.sleep(3.0)
    assert stage.voiced[-1] - paused <= 0.02
    assert stage.speaker.queued == waits
    stage.speaker.resume()
    await stage.speaker.finished()
    assert len(stage.voiced) == 100 + 1  # what faded out was said again


async def test_after_the_end_nothing_waits_and_nothing_is_said(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    stage = Stage(nursery, bound=1.0)
    speaker = stage.speaker
    await speaker.write(said(3.0))
    mark = speaker.mark()
    async with trio.open_nursery() as writing:
        writing.start_soon(speaker.write, said(1.0))
        await trio.sleep(0.5)
        speaker.close()
    assert not await mark.reached()
    sent = len(stage.sent)
    await speaker.write(said(1.0))
    assert (await speaker.finished()).written_ms == 3000
    await trio.sleep(1.0)
    assert len(stage.sent) == sent
    nursery.cancel_scope.cancel()


async def test_an_encoder_that_fails_ends_its_speaker_alone(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(nursery)
    sound = Speaker(Plain(), RATE, path=lambda: (None, 0.0), pace=stage._pace)
    monkeypatch.setattr(stage.speaker._pcm, "_encoder", None)
    await stage.speaker.write(said(1.0))
    await sound.write(said(1.0))
    await trio.sleep(2.0)
    assert stage.pacer.broken == 1
    assert len(stage.voiced) == 50
    await stage.speaker.write(said(100.0))  # which nobody waits for
    nursery.cancel_scope.cancel()


async def test_another_rate_is_refused(autojump_clock: MockClock, stage: Stage) -> None:
    with pytest.raises(LocalProtocolError):
        Speaker(Plain(), 11025, path=lambda: (None, 0.0), pace=stage._pace)
