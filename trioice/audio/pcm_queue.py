"""PCM that was written ahead of time, and the payload that leaves at each step.

A step is one packet's time. It takes the next PCM and encodes it; PCM that ends within a step is filled up with silence. Silence costs
nothing: after `TAIL` packets of it, and one that says that it lasts, where the codec has such, steps pass without a packet.
"""

import sys
from array import array
from typing import Final

from trioice.audio.codec import RATES, Codec
from trioice.errors import LocalProtocolError

TAIL: Final = 2
"""Packets of silence behind speech, so that a listener's concealment, which looks back 43 ms in Opus, finds no sound to carry on."""


class PcmQueue:
    """What waits to be said, as signed 16-bit little-endian PCM at `rate`; `ptime` is a step, in seconds.

    It is true while there is something to do at the next step. Positions count samples that were written, or taken.
    """

    __slots__ = (
        "_codec",
        "_encoder",
        "_fade",
        "_fades",
        "_pcm",
        "_silence",
        "_size",
        "_tail",
        "is_paused",
        "rate",
        "taken",
        "was_voiced",
        "written",
    )

    def __init__(self, codec: Codec, rate: int, ptime: float = 0.02) -> None:
        if rate not in RATES:
            raise LocalProtocolError(f"a rate of {rate} Hz is none of {', '.join(map(str, RATES))}")
        self.rate = rate
        self.written = 0
        self.taken = 0
        self.was_voiced = False  # whether the step before sent a packet that was not silence
        self.is_paused = False
        self._codec = codec
        self._encoder = codec.encoder(rate)
        self._size = 2 * round(rate * ptime)  # octets of a step
        self._silence = bytes(self._size)
        self._pcm = bytearray()
        self._tail = 0  # packets that are still to be sent in silence
        self._fade = b""  # what leaves at the next step instead of the PCM: its end faded out
        self._fades = False

    def __bool__(self) -> bool:
        return self._fades or self._tail > 0 or (len(self._pcm) > 1 and not self.is_paused)

    @property
    def fades(self) -> bool:
        """Whether the next step fades out."""
        return self._fades

    @property
    def waiting(self) -> int:
        """Samples that were written and not taken."""
        return self.written - self.taken

    def write(self, pcm: bytes) -> None:
        """Add PCM. An odd octet waits for its other half in the next write."""
        self._pcm += pcm
        self.written = self.taken + len(self._pcm) // 2

    def take(self) -> bytes | None:
        """Do a step: the payload that leaves, or None where it passes in silence."""
        if self._fades:
            pcm, self._fade, self._fades = self._fade, b"", False
        elif self.is_paused:
            pcm = b""
        else:
            pcm = bytes(self._pcm[: min(self._size, len(self._pcm) & ~1)])
            del self._pcm[: len(pcm)]
            self.taken += len(pcm) // 2
        if len(pcm) < self._size:
            pcm += self._silence[len(pcm) :]
        self.was_voiced = pcm != self._silence
        if self.was_voiced:
            self._tail = TAIL + 1
        elif self._tail > 1:
            self._tail -= 1
        elif self._tail:
            self._tail = 0
            return self._encoder.pause()  # without it a browser takes the silence for loss
        else:
            return None
        return self._encoder.encode(pcm)

    def clear(self, fade: float) -> int:
        """Drop what waits, but for a fade-out of `fade` seconds at most, within a step; how many samples it takes of what waited."""
        count = 0 if self.is_paused else min(round(fade * self.rate), self._size // 2, len(self._pcm) // 2)
        self._set_fade(bytes(self._pcm[: 2 * count]))
        self.taken += count
        self.written = self.taken
        self._pcm.clear()
        return count

    def pause(self, fade: float) -> None:
        """Take nothing more until `resume`. What fades out now is said again then."""
        if not self.is_paused:
            count = min(round(fade * self.rate), self._size // 2, len(self._pcm) // 2)
            self._set_fade(bytes(self._pcm[: 2 * count]))
            self.is_paused = True

    def resume(self) -> None:
        """Go on where it was paused."""
        self.is_paused = False

    def _set_fade(self, pcm: bytes) -> None:
        """Let PCM fade out linearly at the next step, if anything is being said."""
        if pcm and self.was_voiced:
            samples = array("h", pcm)
            if sys.byteorder == "big":
                samples.byteswap()
            count = len(samples)
            faded = array("h", (sample * (count - at) // (count + 1) for at, sample in enumerate(samples)))
            if sys.byteorder == "big":
                faded.byteswap()
            self._fade, self._fades = faded.tobytes(), True
