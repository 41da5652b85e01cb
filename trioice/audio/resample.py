"""From any rate to another, in a stream: for files and models that speak at other rates than `RATES`. Over soxr.

soxr works in blocks, so what comes out lags by up to `LATENCY` and comes in bursts; nothing is lost, and the lengths are exact over any
time. That is of no harm to what is made ahead of time. For calls of G.711 there is `trioice.audio.polyphase`.
"""

from typing import TYPE_CHECKING, Final

from trioice.audio.library import CodecMissing
from trioice.errors import LocalProtocolError

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

LATENCY: Final = 0.2
"""Seconds that the output may lag: 0.04 from 44.1 to 24 kHz, most between 8 and 48."""

HIGHEST: Final = 192_000
"""Samples a second: what files have at most."""


class Resampler:
    """One stream of PCM from `source` to `target` samples a second, each up to `HIGHEST`. Raises CodecMissing without soxr."""

    __slots__ = ("_rest", "_stream")

    def __init__(self, source: int, target: int) -> None:
        if not (0 < source <= HIGHEST and 0 < target <= HIGHEST):
            raise LocalProtocolError(f"no resampling from {source} to {target} Hz")
        try:
            import soxr
        except ImportError:
            raise CodecMissing("no soxr: pip install 'trioice[audio]'") from None
        self._stream: soxr.ResampleStream | None = soxr.ResampleStream(source, target, 1, dtype="float32")
        self._rest = b""  # half a sample

    def resample(self, pcm: bytes) -> bytes:
        """Take PCM of any length, and give what is ready. Raises LocalProtocolError after `finish`."""
        return self._take(pcm, last=False)

    def finish(self) -> bytes:
        """Give what is left, so that all in all as much came out as went in, to the sample. An odd octet at the end is dropped."""
        remaining = self._take(b"", last=True)
        self._stream = None
        return remaining

    def _take(self, pcm: bytes, last: bool) -> bytes:
        import numpy as np

        if self._stream is None:
            raise LocalProtocolError("the stream is finished")
        pcm = self._rest + pcm
        count = len(pcm) // 2
        self._rest = pcm[2 * count :]
        samples = np.frombuffer(pcm, np.int16, count).astype(np.float32)
        # soxr's own conversion to 16 bits adds noise, even to silence.
        resampled: NDArray[float32] = np.clip(np.rint(self._stream.resample_chunk(samples, last)), -32768, 32767)
        return resampled.astype(np.int16).tobytes()
