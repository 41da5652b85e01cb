"""Sounds to code: voiced speech as a train of harmonics that glide and pulse, and how alike two sounds are."""

import math
from array import array

import numpy as np


def voice(rate: int, seconds: float, pitch: float = 120.0) -> bytes:
    """PCM of something like a voice: harmonics up to 3.4 kHz, four syllables a second."""
    samples = array("h")
    phase = 0.0
    for number in range(round(rate * seconds)):
        at = number / rate
        phase += math.tau * pitch * (1 + 0.1 * math.sin(math.tau * 0.7 * at)) / rate
        loudness = 6000 * (0.55 + 0.45 * math.sin(math.tau * 4 * at))
        harmonics = sum(math.sin(k * phase) / k for k in range(1, 12) if k * pitch * 1.1 < min(3400, rate / 2))
        samples.append(round(loudness * harmonics / 2))
    return samples.tobytes()


def split(pcm: bytes, rate: int, seconds: float = 0.02) -> list[bytes]:
    """PCM in frames; what is left over at the end is left out."""
    size = 2 * round(rate * seconds)
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]


def likeness(one: bytes, other: bytes, lag: int = 0) -> float:
    """The correlation of two sounds, the second `lag` samples later: 1 for the same, 0 for nothing in common."""
    a, b = np.frombuffer(one, np.int16).astype(float), np.frombuffer(other, np.int16)[lag:].astype(float)
    count = min(len(a), len(b))
    a, b = a[:count], b[:count]
    power = math.sqrt(a @ a * (b @ b))
    return float(a @ b) / power if power else 0.0


def best_likeness(one: bytes, other: bytes, lags: range) -> float:
    """The best correlation over lags: a codec delays what it codes."""
    return max(likeness(one, other, lag) for lag in lags)
