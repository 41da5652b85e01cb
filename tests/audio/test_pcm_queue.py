"""PCM in, a payload a step out: order, silence, fading, pausing; and a model of it for any interleaving."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioice.audio import Decoder, Encoder
from trioice.audio.pcm_queue import TAIL, PcmQueue
from trioice.errors import LocalProtocolError

RATE = 8000
STEP = 160
"""Samples of a step."""


class Plain:
    """A codec whose payloads are the PCM itself."""

    name = "plain"
    clock_rate = RATE

    def duration(self, payload: bytes) -> int | None:
        return len(payload) // 2

    def decoder(self, rate: int) -> Decoder:
        raise NotImplementedError  # nothing is decoded here

    def encoder(self, rate: int) -> Encoder:
        return self

    def encode(self, pcm: bytes) -> bytes:
        return pcm

    def pause(self) -> bytes | None:
        return None


class Pausing(Plain):
    """One that has a payload for the beginning of a long silence."""

    def encoder(self, rate: int) -> Encoder:
        return self

    def pause(self) -> bytes | None:
        return b"\xff\xff"


def pcm(*values: int, count: int = STEP) -> bytes:
    return b"".join(value.to_bytes(2, "little", signed=True) * count for value in values)


def steps(queue: PcmQueue, at_most: int = 1000) -> list[list[int] | None]:
    """What each step gave, until there is nothing more to do: samples, or None for silence."""
    out: list[list[int] | None] = []
    while queue and len(out) < at_most:
        payload = queue.take()
        out.append(None if payload is None else list(array("h", payload)))
    while out and out[-1] is None:
        out.pop()
    return out


SILENCE = [0] * STEP


def test_pcm_leaves_in_steps_and_is_followed_by_a_little_silence() -> None:
    queue = PcmQueue(Plain(), RATE)
    assert not queue
    queue.write(pcm(1, 2))
    assert steps(queue) == [[1] * STEP, [2] * STEP] + [SILENCE] * TAIL
    assert not queue
    assert (queue.written, queue.taken, queue.waiting) == (2 * STEP, 2 * STEP, 0)


def test_any_length_is_taken_and_the_end_is_filled_up() -> None:
    queue = PcmQueue(Plain(), RATE)
    for octet in pcm(3, count=STEP + 40):
        queue.write(bytes([octet]))
    assert queue.waiting == STEP + 40
    assert steps(queue) == [[3] * STEP, [3] * 40 + [0] * 120] + [SILENCE] * TAIL


def test_half_a_sample_waits_for_its_other_half() -> None:
    queue = PcmQueue(Plain(), RATE)
    queue.write(b"\x05")
    assert not queue
    queue.write(b"\x00")
    assert steps(queue, 1) == [[5] + [0] * 159]


def test_silence_that_is_written_passes_without_packets() -> None:
    queue = PcmQueue(Plain(), RATE)
    queue.write(pcm(1, 0, 0, 0, 0, 2))
    assert steps(queue) == [[1] * STEP, SILENCE, SILENCE, None, None, [2] * STEP] + [SILENCE] * TAIL
    assert queue.taken == 6 * STEP


def test_a_codec_that_can_says_that_silence_begins() -> None:
    queue = PcmQueue(Pausing(), RATE)
    queue.write(pcm(1, 0, 0, 0, 0, 0, 2))
    pause = [-1]
    assert steps(queue) == [
        *([1] * STEP, *[SILENCE] * TAIL, pause, None, None),
        *([2] * STEP, *[SILENCE] * TAIL, pause),
    ]
    assert not queue


def test_clearing_fades_out_in_the_next_step_and_drops_the_rest() -> None:
    queue = PcmQueue(Plain(), RATE)
    queue.write(pcm(1000, count=10 * STEP))
    steps(queue, 3)
    assert queue.clear(0.01) == 80
    (faded, *rest) = steps(queue)
    assert faded is not None
    assert faded[0] == 1000 * 80 // 81
    assert faded[:80] == sorted(faded[:80], reverse=True)
    assert 0 < faded[79] < 20
    assert faded[80:] == [0] * 80
    assert rest == [SILENCE] * TAIL
    assert queue.taken == queue.written == 3 * STEP + 80


@pytest.mark.parametrize(("fade", "samples"), [(0.0, 0), (0.02, STEP), (5.0, STEP)])
def test_a_fade_out_takes_no_longer_than_a_step(fade: float, samples: int) -> None:
    queue = PcmQueue(Plain(), RATE)
    queue.write(pcm(1000, count=10 * STEP))
    steps(queue, 1)
    assert queue.clear(fade) == samples
    assert sum(step != SILENCE for step in steps(queue)) == (samples > 0)


def test_clearing_what_was_not_heard_yet_sends_nothing() -> None:
    queue = PcmQueue(Plain(), RATE)
    queue.write(pcm(1000, count=10 * STEP))
    queue.clear(0.01)
    assert steps(queue) == []


def test_what_is_written_after_clearing_comes_after_the_fade() -> None:
    queue = PcmQueue(Plain(), RATE)
    queue.write(pcm(1000, 1000))
    steps(queue, 1)
    queue.clear(0.01)
    queue.write(pcm(7))
    assert steps(queue, 3)[1:] == [[7] * STEP, SILENCE]


def test_a_pause_keeps_what_waits_and_what_faded_out_is_said_again() -> None:
    queue = PcmQueue(Plain(), RATE)
    queue.write(pcm(1, 1000, 3))
    steps(queue, 1)
    queue.pause(0.01)
    assert queue.waiting == 2 * STEP
    (faded, *rest) = steps(queue)
    assert faded is not None
    assert faded[0] == 1000 * 80 // 81
    assert rest == [SILENCE] * TAIL
    queue.pause(0.01)
    assert not queue
    queue.resume()
    assert steps(queue, 2) == [[1000] * STEP, [3] * STEP]


def test_clearing_in_a_pause_drops_what_waits() -> None:
    queue = PcmQueue(Plain(), RATE)
    queue.write(pcm(1, 2))
    queue.pause(0.01)
    assert queue.clear(0.01) == 0
    queue.resume()
    assert steps(queue) == []


def test_other_rates_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="44100"):
        PcmQueue(Plain(), 44100)


VERBS = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 5 * STEP)),
    st.tuples(st.just("step"), st.integers(1, 6)),
    st.tuples(st.just("clear"), st.just(0)),
    st.tuples(st.just("pause"), st.just(0)),
    st.tuples(st.just("resume"), st.just(0)),
)


@given(story=st.lists(VERBS, max_size=30))
def test_all_that_is_written_leaves_once_and_in_order_unless_it_is_cleared(story: list[tuple[str, int]]) -> None:
    """Samples are numbered, from 1 on. Without fades, so that each leaves as it is or not at all."""
    queue, number, expected, left = PcmQueue(Plain(), RATE), 0, list[int](), list[int]()
    paused = False
    for verb, count in story:
        match verb:
            case "write":
                numbers = [(number + n) % 30_000 + 1 for n in range(count)]
                number += count
                expected += numbers
                queue.write(array("h", numbers).tobytes())
            case "step":
                left += [sample for step in steps(queue, count) if step for sample in step if sample]
            case "clear":
                queue.clear(0.0)
                expected = expected[: len(left)]
            case "pause":
                paused = True
                queue.pause(0.0)
            case _:
                paused = False
                queue.resume()
        assert left == expected[: len(left)]
        assert queue.waiting == len(expected) - len(left)
    if not paused:
        left += [sample for step in steps(queue) if step for sample in step if sample]
        assert left == expected
