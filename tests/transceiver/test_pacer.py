"""The pacer: what is written at once leaves one packet a step."""

import itertools
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.clockwork import calls
from trioice.errors import LocalProtocolError
from trioice.mmsg import BURST
from trioice.transceiver.pacer import CATCH_UP, QUEUED, SLOTS, SOURCES, Full, Pacer, Send, Stream

Sent = tuple[float, bytes, int, bool]


def into(sent: list[Sent]) -> Send:
    """A `send` that notes when it was called, and with what."""
    return lambda payload, timestamp, marker: sent.append((trio.current_time(), payload, timestamp, marker))


def times(sent: list[Sent]) -> list[float]:
    return [round(time, 6) for time, _, _, _ in sent]


@pytest.fixture
async def pacer(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> AsyncIterator[Pacer]:
    made = Pacer()
    await nursery.start(made.run)
    yield made
    nursery.cancel_scope.cancel()


async def test_what_is_written_at_once_leaves_one_packet_a_step(
    autojump_clock: trio.testing.MockClock, pacer: Pacer
) -> None:
    sent: list[Sent] = []
    stream = pacer.open(into(sent), timestamp=1000)
    for payload in (b"a", b"b", b"c"):
        stream.write(payload)
    assert stream.waiting == pytest.approx(0.06)
    await trio.sleep(1)
    first = times(sent)[0]
    assert 0 < first <= 0.02
    assert times(sent) == pytest.approx([first, first + 0.02, first + 0.04])
    assert [rest for _, *rest in sent] == [[b"a", 1000, True], [b"b", 1960, False], [b"c", 2920, False]]
    assert stream.waiting == 0


@pytest.mark.parametrize(("ptime", "rate", "samples"), [(0.01, 48000, 480), (0.04, 16000, 640), (0.06, 8000, 480)])
async def test_other_lengths_and_clock_rates_have_steps_of_their_own(
    autojump_clock: trio.testing.MockClock, pacer: Pacer, ptime: float, rate: int, samples: int
) -> None:
    sent: list[Sent] = []
    stream = pacer.open(into(sent), ptime=ptime, clock_rate=rate)
    for _ in range(5):
        stream.write(b"x")
    await trio.sleep(1)
    assert times(sent) == pytest.approx([times(sent)[0] + n * ptime for n in range(5)])
    assert [timestamp for _, _, timestamp, _ in sent] == [n * samples for n in range(5)]


@pytest.mark.parametrize(
    ("ptime", "rate"),
    [(0.03, 48000), (0.0201, 48000), (0.0, 48000), (-0.02, 48000), (math.nan, 48000), (math.inf, 48000), (0.01, 8025)],
)
async def test_a_length_that_fits_no_grid_is_refused(
    autojump_clock: trio.testing.MockClock, pacer: Pacer, ptime: float, rate: int
) -> None:
    with pytest.raises(LocalProtocolError):
        pacer.open(into([]), ptime=ptime, clock_rate=rate)


async def test_the_timestamp_goes_on_in_a_pause_and_the_marker_tells_of_it(
    autojump_clock: trio.testing.MockClock, pacer: Pacer
) -> None:
    sent: list[Sent] = []
    stream = pacer.open(into(sent))
    stream.write(b"a")
    await trio.sleep(0.105)
    stream.write(b"b")
    stream.write(b"c")
    await trio.sleep(0.1)
    (first, *_), (second, *_), _ = sent
    steps = round((second - first) * 50)
    assert steps >= 5
    assert second - first == pytest.approx(steps * 0.02)  # the grid is kept
    assert [(timestamp, marker) for _, _, timestamp, marker in sent] == [
        (0, True),
        (steps * 960, True),
        ((steps + 1) * 960, False),
    ]


async def test_a_stream_that_is_fed_in_time_never_pauses(autojump_clock: trio.testing.MockClock, pacer: Pacer) -> None:
    sent: list[Sent] = []
    stream = pacer.open(into(sent))
    stream.write(b"x")
    for _ in range(9):
        await trio.sleep(0.02)
        stream.write(b"x")
    await trio.sleep(0.1)
    assert [marker for *_, marker in sent] == [True] + [False] * 9


async def test_the_timestamp_has_32_bits(autojump_clock: trio.testing.MockClock, pacer: Pacer) -> None:
    sent: list[Sent] = []
    stream = pacer.open(into(sent), timestamp=0xFFFFFFFF - 959)
    stream.write(b"a")
    stream.write(b"b")
    await trio.sleep(1)
    assert [timestamp for _, _, timestamp, _ in sent] == [0xFFFFFFFF - 959, 0]


async def test_a_thousand_streams_hold_exact_steps_in_four_slots(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    sent: list[list[Sent]] = [[] for _ in range(1000)]
    flushed: list[float] = []
    pacer = Pacer(lambda: flushed.append(trio.current_time()))
    await nursery.start(pacer.run)
    for log in sent:
        stream = pacer.open(into(log))
        for _ in range(20):
            stream.write(b"x")
    await trio.sleep(1)
    nursery.cancel_scope.cancel()
    for log in sent:
        assert times(log) == pytest.approx([times(log)[0] + n * 0.02 for n in range(20)], abs=1e-9)
    began = sorted(Counter(times(log)[0] for log in sent).items())
    assert began == [(0.005, 4 * BURST), (0.01, 4 * BURST), (0.015, 4 * BURST), (0.02, 1000 - 12 * BURST)]
    assert flushed == pytest.approx(
        [0.005 * n for n in range(1, 81)]
    )  # one flush for each slot, and none after the last


async def test_a_burst_of_streams_shares_a_slot_before_another_is_begun(
    autojump_clock: trio.testing.MockClock, pacer: Pacer
) -> None:
    for _ in range(BURST):
        pacer.open(into([]))
        await trio.sleep(0.007)
    assert sorted(pacer._loads[:4]) == [0, 0, 0, BURST]
    pacer.open(into([]))
    assert sorted(pacer._loads[:4]) == [0, 0, 1, BURST]


async def test_streams_of_all_lengths_fill_the_slots_evenly(
    autojump_clock: trio.testing.MockClock, pacer: Pacer
) -> None:
    for number in range(2400):
        pacer.open(into([]), ptime=(0.01, 0.02, 0.04, 0.06)[number % 4])
    assert max(pacer._loads) - min(pacer._loads) <= BURST


class Ready:
    """A source of so many payloads."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __bool__(self) -> bool:
        return self.left > 0

    def popleft(self) -> bytes | None:
        self.left -= 1
        return b"x"

    def close(self) -> None:
        self.left = 0


async def test_streams_whose_payloads_are_made_in_their_slot_stand_apart(
    autojump_clock: trio.testing.MockClock, pacer: Pacer
) -> None:
    pacer.open(into([]))
    streams = [pacer.open(into([]), source=Ready(0)) for _ in range(4 * SOURCES)]
    assert set(pacer._sources) == {SOURCES}
    more = [pacer.open(into([]), source=Ready(0)) for _ in range(4)]
    assert set(pacer._sources) == {SOURCES + 1}
    for stream in more:
        stream.close()
    assert sorted(pacer._loads[:4]) == [SOURCES, SOURCES, SOURCES, SOURCES + 1]
    for stream in streams:
        stream.close()
    assert set(pacer._sources) == {0}
    assert sorted(pacer._loads[:4]) == [0, 0, 0, 1]


async def test_what_is_made_in_a_slot_is_flushed_in_parts(autojump_clock: trio.testing.MockClock) -> None:
    sent, flushed = list[Sent](), list[int]()
    pacer = Pacer(lambda: flushed.append(len(sent)))
    for _ in range(5 * SOURCES):
        pacer.open(into(sent), source=Ready(1)).wake()
    pacer._take(1)
    assert flushed == [SOURCES, SOURCES + SOURCES // 4]


async def test_a_new_stream_takes_the_slot_of_one_that_closed(
    autojump_clock: trio.testing.MockClock, pacer: Pacer
) -> None:
    streams = [pacer.open(into([])) for _ in range(4 * BURST)]
    assert set(pacer._loads) == {BURST}
    streams[2].close()
    streams[2].close()
    assert sorted(pacer._loads[:4]) == [BURST - 1, BURST, BURST, BURST]
    pacer.open(into([]))
    assert set(pacer._loads) == {BURST}


async def test_clear_drops_what_waits_at_once(autojump_clock: trio.testing.MockClock, pacer: Pacer) -> None:
    sent: list[Sent] = []
    stream = pacer.open(into(sent))
    for _ in range(50):
        stream.write(b"long")
    await trio.sleep(0.101)
    spoken = len(sent)
    assert stream.clear() == 50 - spoken
    assert stream.clear() == 0
    await trio.sleep(0.5)
    assert len(sent) == spoken
    stream.write(b"short")
    await trio.sleep(0.1)
    assert [(payload, marker) for _, payload, _, marker in sent[spoken:]] == [(b"short", True)]


async def test_a_closed_stream_sends_nothing_and_takes_nothing(
    autojump_clock: trio.testing.MockClock, pacer: Pacer
) -> None:
    sent: list[Sent] = []
    stream = pacer.open(into(sent))
    stream.write(b"a")
    stream.close()
    stream.write(b"b")
    await trio.sleep(1)
    assert sent == []
    assert stream.waiting == 0
    assert not pacer._wheel


async def test_a_stream_that_is_full_says_so_and_keeps_what_it_has(
    autojump_clock: trio.testing.MockClock, pacer: Pacer
) -> None:
    stream = pacer.open(into([]), ptime=0.06)
    for _ in range(1000):
        stream.write(b"x")
    with pytest.raises(Full):
        stream.write(b"x")
    assert stream.waiting == QUEUED
    await trio.sleep(0.06)
    stream.write(b"x")  # there is room again


async def test_a_send_that_raises_closes_its_stream_and_no_other(
    autojump_clock: trio.testing.MockClock, pacer: Pacer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(payload: bytes, timestamp: int, marker: bool) -> None:
        raise RuntimeError("broken")

    sent: list[Sent] = []
    streams = [pacer.open(send) for send in (into(sent), fail, into(sent), into(sent), into(sent), fail)]
    for stream in streams:
        for _ in range(3):
            stream.write(b"x")
    await trio.sleep(1)
    assert len(sent) == 4 * 3
    assert pacer.broken == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


async def test_a_silent_pacer_has_nothing_to_wait_for(autojump_clock: trio.testing.MockClock, pacer: Pacer) -> None:
    streams = [pacer.open(into([])) for _ in range(8)]
    for stream in streams:
        stream.write(b"x")
    await trio.sleep(0.1)
    assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
    assert not pacer._wheel


async def test_a_lone_stream_is_waited_for_in_its_own_slots_alone(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacer = Pacer()
    looked: list[int] = []
    take = pacer._take

    def look(now: int) -> None:
        looked.append(now)
        take(now)

    monkeypatch.setattr(pacer, "_take", look)
    await nursery.start(pacer.run)
    stream = pacer.open(into([]))
    for _ in range(10):
        stream.write(b"x")
    await trio.sleep(5)
    nursery.cancel_scope.cancel()
    assert [later - earlier for earlier, later in itertools.pairwise(looked)] == [4] * 9


async def test_a_stream_that_begins_to_speak_is_not_kept_until_another_s_step(
    autojump_clock: trio.testing.MockClock, pacer: Pacer
) -> None:
    slow: list[Sent] = []
    quick: list[Sent] = []
    one = pacer.open(into(slow), ptime=0.06)
    await trio.sleep(0.0301)
    two = pacer.open(into(quick), ptime=0.01)
    one.write(b"x")
    await trio.testing.wait_all_tasks_blocked()
    two.write(b"x")
    await trio.sleep(0.2)
    assert quick[0][0] < slow[0][0]


@pytest.mark.parametrize("steps", [5, 25])
async def test_a_process_that_was_busy_makes_good_a_few_steps_and_keeps_the_grid(
    autojump_clock: trio.testing.MockClock, pacer: Pacer, steps: int
) -> None:
    sent: list[Sent] = []
    stream = pacer.open(into(sent))
    for number in range(100):
        stream.write(bytes([number]))
    await trio.sleep(0.101)
    before = len(sent)
    autojump_clock.jump(steps * 0.02)  # nothing ran all that time
    await trio.testing.wait_all_tasks_blocked()
    burst = sent[before:]
    assert len(burst) == CATCH_UP // 4
    assert [marker for *_, marker in burst] == [True, False, False]
    assert pacer.missed == steps - len(burst)
    await trio.sleep(0.2)
    assert [payload[0] for _, payload, _, _ in sent] == list(range(len(sent)))  # nothing is lost
    first = times(sent)[0]
    for time, _, timestamp, _ in sent:
        step = timestamp // 960
        assert time >= first + step * 0.02 - 1e-9  # none before its time
    for time, _, timestamp, _ in sent[before + 3 :]:
        assert time == pytest.approx(first + timestamp // 960 * 0.02)


async def test_a_stream_that_was_cleared_misses_nothing(autojump_clock: trio.testing.MockClock, pacer: Pacer) -> None:
    stream = pacer.open(into([]))
    stream.write(b"x")
    stream.clear()
    autojump_clock.jump(0.5)
    await trio.sleep(0.1)
    assert pacer.missed == 0
    assert not pacer._wheel


async def test_a_short_delay_is_made_good_without_a_gap(autojump_clock: trio.testing.MockClock, pacer: Pacer) -> None:
    sent: list[Sent] = []
    stream = pacer.open(into(sent))
    for _ in range(20):
        stream.write(b"x")
    await trio.sleep(0.101)
    autojump_clock.jump(0.045)
    await trio.sleep(1)
    assert [timestamp for _, _, timestamp, _ in sent] == [n * 960 for n in range(20)]
    assert [marker for *_, marker in sent].count(True) == 1
    assert pacer.missed == 0


async def test_what_is_written_after_a_delay_is_not_part_of_its_burst(
    autojump_clock: trio.testing.MockClock, pacer: Pacer
) -> None:
    sent: list[Sent] = []
    stream = pacer.open(into(sent))
    stream.write(b"x")
    await trio.sleep(0.101)
    autojump_clock.jump(0.05)
    began = trio.current_time()
    for _ in range(10):
        stream.write(b"x")
    await trio.sleep(1)
    assert all(time > began for time in times(sent)[1:])
    assert len(set(times(sent))) == 11


async def test_a_send_may_use_every_verb(autojump_clock: trio.testing.MockClock, pacer: Pacer) -> None:
    sent: list[Sent] = []
    others: list[Stream] = []

    def send(payload: bytes, timestamp: int, marker: bool) -> None:
        sent.append((trio.current_time(), payload, timestamp, marker))
        if payload == b"again":
            stream.write(b"last")
            others.append(pacer.open(into(sent)))
            others[-1].write(b"new")
            neighbour.clear()
        elif payload == b"last":
            stream.close()

    stream, neighbour = pacer.open(send), pacer.open(into(sent))
    stream.write(b"again")
    neighbour.write(b"neighbour")
    await trio.sleep(1)
    assert sorted(payload for _, payload, _, _ in sent) == [b"again", b"last", b"new"]
    assert times([each for each in sent if each[1] == b"last"]) == pytest.approx([times(sent)[0] + 0.02])


async def test_a_cancelled_pacer_can_run_again_but_not_twice(autojump_clock: trio.testing.MockClock) -> None:
    sent: list[Sent] = []
    pacer = Pacer()
    stream = pacer.open(into(sent))
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(pacer.run)
            with trio.fail_after(1), pytest.raises(LocalProtocolError):
                await pacer.run()
            stream.write(b"x")
            await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
    assert len(sent) == 2


@pytest.mark.parametrize("streams", [1, 2, BURST])
async def test_a_packet_costs_three_calls_and_a_slot_six(autojump_clock: trio.testing.MockClock, streams: int) -> None:
    pacer = Pacer()
    for _ in range(streams):
        stream = pacer.open(lambda payload, timestamp, marker: None)
        for _ in range(3):
            stream.write(b"x")
    pacer._take(1)
    # The queue's head, its send, and the wheel; and for the slot: _take, the next slot, its streams, _step, the next slot, flush.
    assert calls(lambda: pacer._take(5)) == 3 * streams + 6


async def test_silent_streams_cost_a_slot_nothing(autojump_clock: trio.testing.MockClock) -> None:
    pacer = Pacer()
    for _ in range(1000):
        pacer.open(lambda payload, timestamp, marker: None).write(b"x")
    pacer._take(4)
    assert calls(lambda: pacer._take(8)) == 2  # _take, and that there is no slot


STEP = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 90)),
    st.tuples(st.just("write"), st.integers(1, 6)),
    st.tuples(st.just("clear"), st.just(0)),
)


@given(st.lists(STEP, max_size=30), st.sampled_from([2, 4, 8, 12]))
def test_a_stream_does_what_a_plain_list_and_a_plain_grid_would(steps: list[tuple[str, int]], length: int) -> None:
    async def run() -> None:
        sent: list[Sent] = []
        expected: list[tuple[float, bytes, int, bool]] = []
        queue: list[bytes] = []
        pacer = Pacer()
        async with trio.open_nursery() as nursery:
            await nursery.start(pacer.run)
            stream = pacer.open(into(sent), ptime=length / SLOTS)
            now, step, spoke = 0.0, 0, False  # the first step is in slot 1, as no other stream is there
            written = 0
            await trio.sleep(0.0025)  # between two slots, so that the model need not say what is first
            now += 0.0025
            for verb, count in steps:
                if verb == "wait":
                    await trio.sleep(count / SLOTS)
                    now += count / SLOTS
                    while (time := (1 + step * length) / SLOTS) < now:
                        if queue:
                            expected.append((time, queue.pop(0), step * length * 240, not spoke))
                            spoke = True
                        else:
                            spoke = False
                        step += 1
                elif verb == "write":
                    for _ in range(count):
                        written += 1
                        payload = str(written).encode()
                        stream.write(payload)
                        queue.append(payload)
                else:
                    assert stream.clear() == len(queue)
                    queue.clear()
            nursery.cancel_scope.cancel()
        assert times(sent) == pytest.approx([time for time, *_ in expected])
        assert [rest for _, *rest in sent] == [rest for _, *rest in expected]

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
