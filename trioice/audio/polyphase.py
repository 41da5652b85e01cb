"""From 8 kHz to a multiple of it and back, at once: what calls of G.711 need, without the bursts of a resampler for files.

A windowed sinc of 32 samples at 8 kHz (Oppenheim and Schafer, Discrete-Time Signal Processing, 4.6 and 7.5): flat up to 3.5 kHz, 60 dB down
from 4.5 kHz. Every call gives exactly the samples that it takes times the ratio, `LATENCY` later.
"""

from typing import TYPE_CHECKING, Final

from trioice.audio.library import CodecMissing

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

SPAN: Final = 32
"""The filter's length, in samples at 8 kHz: half of it is the latency."""

LATENCY: Final = SPAN / 2 / 8000
"""Seconds: 2 ms."""

_BETA: Final = 5.65
"""Of Kaiser's window: the one for 60 dB."""


class Interpolator:
    """From 8 kHz to `ratio` times as much."""

    __slots__ = ("_kernel", "_past")

    def __init__(self, ratio: int) -> None:
        # One column for each of the samples that come of one; the last row is for the newest of those that went in.
        self._kernel = _taps(ratio).reshape(SPAN, ratio)[::-1].copy()
        self._past = bytes(2 * (SPAN - 1))

    def filter(self, pcm: bytes) -> bytes:
        """Take samples, and give `ratio` times as many."""
        self._past, samples = _windows(self._past, pcm, SPAN, 1, self._kernel)
        return samples


class Decimator:
    """From `ratio` times 8 kHz to 8 kHz."""

    __slots__ = ("_kernel", "_past", "_ratio")

    def __init__(self, ratio: int) -> None:
        self._kernel = _taps(ratio, 1 / ratio)[::-1].reshape(-1, 1).copy()
        self._past = bytes(2 * (SPAN - 1) * ratio)
        self._ratio = ratio

    def filter(self, pcm: bytes) -> bytes:
        """Take a multiple of `ratio` samples, and give one for each."""
        self._past, samples = _windows(self._past, pcm, SPAN * self._ratio, self._ratio, self._kernel)
        return samples


def _taps(ratio: int, gain: float = 1.0) -> "NDArray[float32]":
    """Make the low-pass at the higher rate: its zeros lie at the samples of the lower, so those pass unchanged."""
    try:
        import numpy as np
    except ImportError:
        raise CodecMissing("no numpy for G.711 at this rate: pip install 'trioice[audio]'") from None
    at = np.arange(SPAN * ratio) / ratio - SPAN / 2
    return (gain * np.sinc(at) * np.kaiser(SPAN * ratio + 1, _BETA)[:-1]).astype(np.float32)


def _windows(past: bytes, pcm: bytes, length: int, step: int, kernel: "NDArray[float32]") -> tuple[bytes, bytes]:
    """Apply the kernel to each stretch of `length` samples, one every `step`; what is to be kept, and what comes out."""
    import numpy as np

    octets = past + pcm
    samples = np.frombuffer(octets, np.int16).astype(np.float32)
    windows = np.ndarray(
        (len(pcm) // 2 // step, length), np.float32, samples, 0, (samples.itemsize * step, samples.itemsize)
    )
    filtered = windows @ kernel
    np.rint(filtered, filtered)
    np.clip(filtered, -32768, 32767, filtered)
    return octets[len(pcm) :], filtered.astype(np.int16).tobytes()
