"""Any story of a speaker against a plain list and a plain grid; beside two hundred others; and what a packet costs."""

from array import array

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.audio.test_pcm_queue import Plain, pcm
from tests.harness.clockwork import calls
from trioice.audio.pcm_queue import TAIL
from trioice.audio.playout import Playout
from trioice.transceiver.pacer import Pacer
from trioice.transceiver.speaker import Mark, Speaker

RATE = 8000
STEP = 160
"""Samples of a packet, which is 960 units of RTP time."""

Packet = tuple[float, int, bool, list[int]]
"""When it left, its timestamp and marker bit, and its samples."""


def open_speaker(pacer: Pacer, sent: list[Packet] | None) -> Speaker:
    def send(payload: bytes, timestamp: int, marker: bool) -> None:
        if sent is not None:
            sent.append((round(trio.current_time(), 6), timestamp, marker, list(array("h", payload))))

    return Speaker(
        Plain(),
        RATE,
        path=lambda: (0.1, 0.0),
        pace=lambda source: pacer.open(send, source=source),
    )


class Model:
    """What a speaker should do, in the plainest words. Samples are numbered from 1 on, so that none is silence."""

    def __init__(self) -> None:
        self.sent: list[Packet] = []
        self.waiting: list[int] = []
        self.paused = False
        self.marks: list[tuple[int, int]] = []  # the last sample before each, and its number among all
        self.reached: dict[int, bool] = {}
        self.taken = 0
        self.written = 0
        self._step = 0
        self._tail = 0
        self._spoke = False

    def wait_until(self, now: float) -> None:
        while (time := 0.005 + self._step * 0.02) < now:
            step, self._step = self._step, self._step + 1
            taken = [] if self.paused else self.waiting[:STEP]
            del self.waiting[: len(taken)]
            self.taken += len(taken)
            if taken:
                self._tail = TAIL
            elif self._tail:
                self._tail -= 1
            else:
                self._spoke = False
                continue
            samples = taken + [0] * (STEP - len(taken))
            self.sent.append((round(time, 6), step * 960, not self._spoke, samples))
            self._spoke = True
            for position, number in self.marks:
                if position <= self.taken:
                    self.reached.setdefault(number, True)

    def clear(self) -> None:
        self.written -= len(self.waiting)
        self.waiting.clear()
        for _, number in self.marks:
            self.reached.setdefault(number, False)


VERB = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 40)),
    st.tuples(st.just("write"), st.integers(1, 4 * STEP)),
    st.tuples(st.sampled_from(["clear", "pause", "resume", "mark"]), st.just(0)),
)


@given(st.lists(VERB, max_size=40))
def test_a_speaker_does_what_a_plain_list_and_a_plain_grid_would(story: list[tuple[str, int]]) -> None:
    async def run() -> None:
        sent: list[Packet] = []
        model, pacer, marks = Model(), Pacer(), list[Mark]()
        reached: dict[int, bool] = {}

        async def follow(mark: Mark, number: int) -> None:
            reached[number] = await mark.reached()

        async with trio.open_nursery() as nursery:
            await nursery.start(pacer.run)
            speaker = open_speaker(pacer, sent)
            now = 0.0025  # between two slots, so that the model need not say what is first
            await trio.sleep(now)
            before = speaker.playout()
            for verb, count in story:
                match verb:
                    case "wait":
                        now += count / 200
                        await trio.sleep_until(now)
                        model.wait_until(now)
                    case "write":
                        numbers = [(model.written + n) % 30_000 + 1 for n in range(count)]
                        model.written += count
                        model.waiting += numbers
                        await speaker.write(array("h", numbers).tobytes())
                    case "clear":
                        speaker.clear(fade_ms=0)
                        model.clear()
                        before = Playout(written_ms=0, sent_ms=0, heard_ms=0, error_ms=0)
                    case "pause":
                        speaker.pause(fade_ms=0)
                        model.paused = True
                    case "resume":
                        speaker.resume()
                        model.paused = False
                    case _:
                        marks.append(speaker.mark())
                        nursery.start_soon(follow, marks[-1], len(marks))
                        model.marks.append((model.written, len(marks)))
                        if model.written <= model.taken:
                            model.reached[len(marks)] = True
                playout = speaker.playout()
                assert playout.heard_ms <= playout.sent_ms <= playout.written_ms
                assert before.heard_ms <= playout.heard_ms
                before = playout
                assert round(speaker.queued * RATE) == len(model.waiting)
            await trio.sleep(1.0)  # the way to the ear
            model.wait_until(now + 1.0)
            nursery.cancel_scope.cancel()
        assert sent == model.sent
        assert reached == model.reached

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def test_eight_seconds_play_whole_beside_two_hundred_other_calls(autojump_clock: MockClock) -> None:
    pacer, sent = Pacer(), list[Packet]()
    async with trio.open_nursery() as nursery:
        await nursery.start(pacer.run)
        others = [open_speaker(pacer, None) for _ in range(200)]
        for number, other in enumerate(others):
            await other.write(pcm(1, count=RATE * 8))
            if number % 20 == 0:
                await trio.sleep(0.007)
        speaker = open_speaker(pacer, sent)
        said = [n % 30_000 + 1 for n in range(8 * RATE)]
        for part in range(8):  # in a tenth of a second
            await speaker.write(array("h", said[part * RATE : (part + 1) * RATE]).tobytes())
            await trio.sleep(0.0125)
        playout = await speaker.finished()
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert (playout.written_ms, playout.sent_ms, playout.heard_ms) == (8000, 8000, 8000)
    assert len(sent) == 400 + TAIL
    start, first = sent[0][:2]
    assert [when for when, *_ in sent] == pytest.approx([start + 0.02 * n for n in range(len(sent))], abs=2e-6)
    assert [timestamp for _, timestamp, _, _ in sent] == [first + 960 * n for n in range(len(sent))]
    assert [marker for _, _, marker, _ in sent] == [True] + [False] * (len(sent) - 1)
    assert [sample for *_, samples in sent[:400] for sample in samples] == said


async def test_two_that_wait_for_the_end_are_told_the_same(autojump_clock: MockClock) -> None:
    pacer, told = Pacer(), list[Playout]()
    async with trio.open_nursery() as nursery:
        await nursery.start(pacer.run)
        speaker = open_speaker(pacer, None)
        await speaker.write(pcm(1, count=RATE))

        async def wait() -> None:
            told.append(await speaker.finished())

        async with trio.open_nursery() as waiting:
            waiting.start_soon(wait)
            waiting.start_soon(wait)
        nursery.cancel_scope.cancel()
    assert told[0] == told[1]
    assert told[0].heard_ms == 1000


async def test_a_packet_of_speech_costs_twenty_one_calls_more_than_a_payload(autojump_clock: MockClock) -> None:
    pacer = Pacer()
    open_speaker(pacer, None).write_nowait(pcm(1, count=RATE))
    pacer._take(1)
    assert calls(lambda: pacer._take(5)) == 3 + 6 + 21
