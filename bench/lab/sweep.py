"""A sound that tells where it is: a tone that rises steadily, so that its pitch at any moment is its position.

What a page recorded of it shows how far it came, whether all of it was played, and whether it went on evenly.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

LENGTH: Final = 8.0
"""Seconds: as much as a model makes in two."""

LOWEST: Final = 300.0
RISE: Final = 900.0
"""Hz, and Hz a second: a window of 20 ms tells the position to a millisecond, and all stays below 8 kHz."""

WINDOW: Final = 1024
HOP: Final = 240
"""Samples at 48 kHz, of a look at the pitch and of a step of silence or sound: 21 and 5 ms."""

QUIET: Final = 0.01
"""Amplitude (root of the mean square) that counts as silence: -40 dB of full scale; the tone is at -13."""

CLEAR: Final = 0.15
"""Amplitude from which a pitch is looked at: less of the tone is its end, or a part of a window."""


def sweep(rate: int, seconds: float = LENGTH) -> bytes:
    """Make it, as 16-bit PCM."""
    time = np.arange(int(rate * seconds)) / rate
    wave = 0.3 * np.sin(2 * np.pi * (LOWEST * time + RISE * time * time / 2))
    return (wave * 32767).astype("<i2").tobytes()


def loudness(heard: Samples) -> Samples:
    """Tell how loud each step of `HOP` samples is."""
    steps = heard[: len(heard) // HOP * HOP].reshape(-1, HOP)
    loud: Samples = np.sqrt((steps * steps).mean(axis=1))
    return loud


def utterances(heard: Samples, *, pause: float) -> list[tuple[int, int]]:
    """Find where sound begins and ends, in samples at 48 kHz; silences shorter than `pause` seconds are part of it."""
    loud = np.flatnonzero(loudness(heard) > QUIET)
    if not len(loud):
        return []
    breaks = np.flatnonzero(np.diff(loud) * HOP > pause * 48000)
    starts = loud[np.concatenate(([0], breaks + 1))]
    ends = loud[np.concatenate((breaks, [len(loud) - 1]))] + 1
    return [(int(start) * HOP, int(end) * HOP) for start, end in zip(starts, ends, strict=True)]


def position(heard: Samples, middle: int) -> float | None:
    """Tell which second of the sweep is heard at a sample; None where there is none of it."""
    window = heard[max(0, middle - WINDOW // 2) : middle + WINDOW // 2]
    if len(window) < WINDOW or np.sqrt((window * window).mean()) < CLEAR:
        return None
    spectrum = np.abs(np.fft.rfft(window * np.hanning(WINDOW), 8 * WINDOW))
    peak = int(spectrum.argmax())
    if not 0 < peak < len(spectrum) - 1:
        return None
    left, top, right = np.log(spectrum[peak - 1 : peak + 2] + 1e-12)
    shift = (left - right) / (2 * (left - 2 * top + right)) if left - 2 * top + right else 0.0
    return float(((peak + shift) * 48000 / (8 * WINDOW) - LOWEST) / RISE)
