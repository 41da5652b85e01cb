"""Resampling: exact lengths over any time, the same sound, and what lags. Filters between 8 kHz and its multiples likewise."""

import math
import sys
from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audio.voices import likeness, voice
from trioice.audio import CodecMissing, Resampler
from trioice.audio.polyphase import LATENCY, Decimator, Interpolator
from trioice.audio.resample import LATENCY as LONGEST_LAG
from trioice.errors import LocalProtocolError

PAIRS = [(8000, 24000), (8000, 48000), (22050, 24000), (44100, 24000), (44100, 48000), (48000, 8000), (24000, 24000)]


def tone(frequency: float, rate: int, seconds: float, amplitude: float = 10000.0) -> bytes:
    turn = math.tau * frequency / rate
    return array("h", [round(amplitude * math.sin(turn * at)) for at in range(round(rate * seconds))]).tobytes()


def power(pcm: bytes) -> float:
    values = array("h", pcm)
    return math.sqrt(sum(value * value for value in values) / len(values))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_ten_minutes_come_out_as_ten_minutes_and_never_lag_for_long(source: int, target: int) -> None:
    resampler = Resampler(source, target)
    taken = given_out = 0
    frame = bytes(2 * (source // 50))
    for _ in range(10 * 60 * 50):
        taken += source // 50
        given_out += len(resampler.resample(frame)) // 2
        assert 0 <= taken * target / source - given_out <= LONGEST_LAG * target
    given_out += len(resampler.finish()) // 2
    assert given_out == 10 * 60 * target


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_sound_is_the_same(source: int, target: int) -> None:
    resampler = Resampler(source, target)
    heard = resampler.resample(tone(1000, source, 0.2)) + resampler.finish()
    assert likeness(tone(1000, target, 0.2), heard) > 0.999


@given(cuts=st.lists(st.integers(0, 5000), max_size=8))
@settings(max_examples=30)
def test_how_the_octets_are_cut_changes_nothing(cuts: list[int]) -> None:
    pcm, resampler, pieces = tone(440, 44100, 0.05), Resampler(44100, 24000), []
    edges = [0, *sorted(min(cut, len(pcm)) for cut in cuts), len(pcm)]
    for start, end in pairwise(edges):
        pieces.append(resampler.resample(pcm[start:end]))
    whole = Resampler(44100, 24000)
    assert b"".join(pieces) + resampler.finish() == whole.resample(pcm) + whole.finish()


def test_silence_stays_silence_and_the_loudest_does_not_wrap_around() -> None:
    resampler = Resampler(44100, 24000)
    assert not any(resampler.resample(bytes(44100)) + resampler.finish())
    resampler = Resampler(44100, 24000)
    loud = array("h", [32767] * 2000 + [-32768] * 2000).tobytes()
    heard = array("h", resampler.resample(loud) + resampler.finish())
    assert (max(heard), min(heard)) == (32767, -32768)
    assert sum(value > 0 for value in heard) == pytest.approx(len(heard) / 2, abs=20)


def test_nothing_is_taken_after_the_end() -> None:
    resampler = Resampler(8000, 24000)
    assert resampler.finish() == b""
    with pytest.raises(LocalProtocolError, match="finished"):
        resampler.resample(b"")
    with pytest.raises(LocalProtocolError, match="finished"):
        resampler.finish()


@pytest.mark.parametrize(("source", "target"), [(0, 24000), (24000, -1), (24000, 200_000)])
def test_rates_that_no_sound_has_are_refused(source: int, target: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"{source} to {target} Hz"):
        Resampler(source, target)


def test_without_soxr_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(CodecMissing, match=r"soxr.*trioice\[audio\]"):
        Resampler(44100, 24000)


@pytest.mark.parametrize("ratio", [2, 3, 6])
def test_every_sample_of_8_khz_stands_in_the_multiple_unchanged_and_2_ms_later(ratio: int) -> None:
    speech = voice(8000, 0.1)
    heard = array("h", Interpolator(ratio).filter(speech))
    assert len(heard) == ratio * len(speech) // 2
    lag = round(LATENCY * 8000) * ratio
    assert heard[lag::ratio].tolist() == array("h", speech)[: -lag // ratio].tolist()


@pytest.mark.parametrize("ratio", [2, 3, 6])
def test_images_and_aliases_are_60_db_down_and_speech_passes(ratio: int) -> None:
    rate = 8000 * ratio
    back, lag = Decimator(ratio), round(LATENCY * rate)
    for frequency in (300, 1000, 3400):
        passed = Interpolator(ratio).filter(tone(frequency, 8000, 0.2))
        assert likeness(tone(frequency, rate, 0.2), passed, lag) > 0.9999
        assert power(back.filter(tone(frequency, rate, 0.2))[200:]) == pytest.approx(10000 / math.sqrt(2), rel=0.03)
        back.filter(bytes(640 * ratio))
    for frequency in (4600, 6000, 7700):
        assert power(back.filter(tone(frequency, rate, 0.2))[200:]) < 15
        back.filter(bytes(640 * ratio))


@pytest.mark.parametrize("ratio", [2, 3, 6])
def test_filters_go_on_from_piece_to_piece(ratio: int) -> None:
    speech, pieces = voice(8000 * ratio, 0.06), (0, 2, 40, 42, 600)
    edges = [2 * ratio * edge for edge in pieces if edge * 2 * ratio < len(speech)] + [len(speech)]
    down, up = Decimator(ratio), Interpolator(ratio)
    cut = [down.filter(speech[start:end]) for start, end in pairwise(edges)]
    assert b"".join(cut) == Decimator(ratio).filter(speech)
    assert b"".join(map(up.filter, cut)) == Interpolator(ratio).filter(b"".join(cut))
