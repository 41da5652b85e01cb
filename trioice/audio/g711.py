"""G.711: PCMU and PCMA (ITU-T G.711; RFC 3551, 4.5.14), an octet for each sample at 8 kHz.

Both are tables: an octet stands for a sample, and a sample for the octet whose interval it is in. PCM at other rates goes through a
polyphase filter, which needs numpy and adds `polyphase.LATENCY`; at 8 kHz nothing is added and nothing is needed.
"""

import functools
from array import array
from typing import Final, Literal, Protocol

import attrs

from trioice.audio.codec import RATES
from trioice.audio.polyphase import Decimator, Interpolator
from trioice.errors import LocalProtocolError

CLOCK_RATE: Final = 8000

LONGEST: Final = 960
"""120 ms: what a packet holds at most. None needs more, and what is longer is no packet of a call's."""

REPEATED: Final = 160
"""Samples that are repeated where a payload is missing: the last 20 ms, which hold two periods of a low voice."""

FADE: Final = 480
"""Samples after which a repetition has faded to silence: 60 ms."""


@attrs.frozen(kw_only=True)
class G711:
    """One of the two laws as it was negotiated (`trioice.audio.Codec`)."""

    name: Literal["PCMU", "PCMA"]
    clock_rate: int = attrs.field(default=CLOCK_RATE, init=False)

    def duration(self, payload: bytes) -> int | None:
        """How long a payload lasts: an octet is a sample. None if it is empty, or of more than `LONGEST`."""
        return len(payload) if 0 < len(payload) <= LONGEST else None

    def decoder(self, rate: int) -> "G711Decoder":
        """Make a decoder to PCM at one of `RATES`."""
        return G711Decoder(self.name, rate)

    def encoder(self, rate: int) -> "G711Encoder":
        """Make an encoder of PCM at one of `RATES`."""
        return G711Encoder(self.name, rate)


PCMU: Final = G711(name="PCMU")
"""The µ-law of North America and Japan."""

PCMA: Final = G711(name="PCMA")
"""The A-law of the rest of the world."""


class _Filter(Protocol):
    def filter(self, pcm: bytes) -> bytes: ...


class G711Decoder:
    """Decodes to PCM at one of `RATES`; see `trioice.audio.Decoder`."""

    __slots__ = ("_concealed", "_filter", "_high", "_last", "_low", "_ratio")

    def __init__(self, name: Literal["PCMU", "PCMA"], rate: int) -> None:
        self._low, self._high = _expansion(name)
        self._ratio = _ratio(rate)
        self._filter: _Filter | None = Interpolator(self._ratio) if self._ratio > 1 else None
        self._last = b""  # the payloads that came last, as much as may be repeated
        self._concealed = 0  # samples that were made up since

    def decode(self, payload: bytes) -> bytes:
        """Decode a payload; every octet is a sample."""
        self._concealed = 0
        self._last = payload[-REPEATED:] if len(payload) >= REPEATED else (self._last + payload)[-REPEATED:]
        pcm = self._expand(payload)
        return pcm if self._filter is None else self._filter.filter(pcm)

    def recover(self, following: bytes, duration: int) -> bytes | None:
        """Nothing: G.711 carries no copies."""
        return None

    def conceal(self, duration: int) -> bytes:
        """Make up `duration` samples at 8 kHz: the last 20 ms again and again, fading to silence within 60 ms."""
        start = self._concealed
        self._concealed = min(start + duration, FADE)
        audible = self._concealed - start if self._last else 0
        pcm = self._repeat(start, audible) + bytes(2 * (duration - audible))
        return pcm if self._filter is None else self._filter.filter(pcm)

    def _repeat(self, start: int, count: int) -> bytes:
        if not count:
            return b""
        size = len(self._last)
        again = array("h", self._expand((self._last * (-(-FADE // size)))[start : start + count]))
        return array("h", [sample * (FADE - at) // FADE for at, sample in enumerate(again, start)]).tobytes()

    def _expand(self, payload: bytes) -> bytes:
        pcm = bytearray(2 * len(payload))
        pcm[::2] = payload.translate(self._low)
        pcm[1::2] = payload.translate(self._high)
        return bytes(pcm)


class G711Encoder:
    """Encodes PCM at one of `RATES`; see `trioice.audio.Encoder`."""

    __slots__ = ("_filter", "_octet", "_step")

    def __init__(self, name: Literal["PCMU", "PCMA"], rate: int) -> None:
        ratio = _ratio(rate)
        self._octet = _compression(name).__getitem__
        self._step = 2 * ratio
        self._filter: _Filter | None = Decimator(ratio) if ratio > 1 else None

    def encode(self, pcm: bytes) -> bytes:
        """Encode PCM of up to 120 ms; LocalProtocolError for more, for none, and for what is no whole number of samples at 8 kHz."""
        count, rest = divmod(len(pcm), self._step)
        if rest or not 0 < count <= LONGEST:
            raise LocalProtocolError(f"G.711 has no packet of {len(pcm)} octets of PCM")
        if self._filter is not None:
            pcm = self._filter.filter(pcm)
        return bytes(map(self._octet, memoryview(pcm).cast("H")))

    def pause(self) -> None:
        """Comfort noise (RFC 3389) would be a payload type of its own, which is not negotiated."""


def _ratio(rate: int) -> int:
    if rate not in RATES:
        raise LocalProtocolError(f"a rate of {rate} Hz is none of {', '.join(map(str, RATES))}")
    return rate // CLOCK_RATE


def _mu_law(octet: int) -> int:
    """Tell the sample that an octet of the µ-law stands for, at 16 bits (G.711, tables 2a and 2b)."""
    octet ^= 0xFF
    magnitude = ((octet & 0x0F) * 2 + 33 << (octet >> 4 & 7)) - 33
    return -4 * magnitude if octet & 0x80 else 4 * magnitude


def _a_law(octet: int) -> int:
    """Tell the sample that an octet of the A-law stands for, at 16 bits (G.711, tables 1a and 1b)."""
    octet ^= 0x55  # every second bit is inverted
    segment, step = octet >> 4 & 7, (octet & 0x0F) * 2 + 1
    magnitude = step if not segment else step + 32 << segment - 1
    return 8 * magnitude if octet & 0x80 else -8 * magnitude


_LAWS: Final = {"PCMU": _mu_law, "PCMA": _a_law}


@functools.cache
def _expansion(name: Literal["PCMU", "PCMA"]) -> tuple[bytes, bytes]:
    """Make the tables of the lower and of the upper octets of samples."""
    samples = [_LAWS[name](octet) & 0xFFFF for octet in range(256)]
    return bytes(sample & 0xFF for sample in samples), bytes(sample >> 8 for sample in samples)


@functools.cache
def _compression(name: Literal["PCMU", "PCMA"]) -> bytes:
    """Make the table of octets, by a sample's 16 bits taken as an unsigned number.

    An octet's sample is the middle of its interval, so each interval ends as far above it as it began below (G.711, tables 1 and 2).
    The µ-law's first, around zero, ends 4 above.
    """
    law, by_magnitude = _LAWS[name], bytearray()
    for octet in sorted(range(0x80, 0x100), key=law):
        end = law(octet) + max(law(octet) - len(by_magnitude), 4)
        by_magnitude += bytes([octet]) * (end - len(by_magnitude))
    by_magnitude += by_magnitude[-1:] * ((1 << 15) + 1 - len(by_magnitude))  # what is louder than the loudest
    return bytes(by_magnitude[:-1]) + bytes(octet & 0x7F for octet in reversed(by_magnitude[1:]))
