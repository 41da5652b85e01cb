"""Opus over libopus (RFC 6716), one channel, with nothing allocated per packet but the result.

A decoder's or encoder's state is memory that Python owns, so it goes with its owner and needs no destroying. Calls give the
interpreter's lock away while they run, but are meant for the thread that the media is in: they take some 30 µs.
"""

import ctypes
from typing import Final, Literal, TypeAlias

import attrs

from trioice.audio.codec import RATES
from trioice.audio.library import opus as library
from trioice.errors import LocalProtocolError

CLOCK_RATE: Final = 48000

QUANTUM: Final = 120
"""2.5 ms at the clock rate: what all durations of Opus, and of what may be made up, are multiples of (RFC 6716, 3.1)."""

LONGEST: Final = 5760
"""120 ms at the clock rate: a packet's longest duration (RFC 6716, 3.2.5)."""

CONCEALED: Final = 5760
"""How long a loss is made up for, at the clock rate, before it is silence: 120 ms, by when libopus has faded out."""

BITRATE: Final = 48_000
"""Bits a second. Browsers begin with 32,000; half as much again is worth more than any work that an encoder may do."""

COMPLEXITY: Final = 0
"""With these bits it is nearer to the original than the fifth is at 32,000, at not much over half the work (docs/measurements.md)."""

PACKETS: Final = frozenset((120, 240, 480, 960, 1920, 2880))
"""The durations of a frame: 2.5 to 60 ms at the clock rate."""

Application: TypeAlias = Literal["voip", "audio", "lowdelay"]

# By configuration (RFC 6716, 3.1, table 2): SILK in 0..11, hybrid in 12..15, CELT in 16..31.
_DURATIONS: Final = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4
_APPLICATIONS: Final[dict[str, int]] = {"voip": 2048, "audio": 2049, "lowdelay": 2051}
_SET_BITRATE: Final = 4002
_SET_COMPLEXITY: Final = 4010
_SET_INBAND_FEC: Final = 4012
_SET_PACKET_LOSS: Final = 4014


def duration(payload: bytes) -> int | None:
    """How long a payload lasts at 48 kHz; None if its first two octets are malformed (RFC 6716, 3.1 and 3.2), or it is empty."""
    if not payload:
        return None
    head = payload[0]
    frame = _DURATIONS[head >> 3]
    match head & 3:
        case 0:
            return frame
        case 1 | 2:
            return 2 * frame
        case _:
            count = payload[1] & 0x3F if len(payload) > 1 else 0
            return count * frame if 0 < count * frame <= LONGEST else None


def has_fec(payload: bytes) -> bool:
    """Tell whether a payload carries a coarse copy of the one before: a SILK or hybrid one may (RFC 6716, 4.2.3 and 4.2.4).

    Payloads of any number of frames (code 3) are taken to have none: no browser sends those.
    """
    head = payload[0] if payload else 0xFF
    if head >= 0x80 or head & 3 == 3:  # CELT has no such thing
        return False
    start = 1
    if head & 3 == 2:  # the first frame's length: one octet, or two from 252 on (3.2.1)
        start = 2 if len(payload) > 1 and payload[1] < 252 else 3
        if len(payload) > 1 and payload[1] == 0:
            return False
    if len(payload) <= start:
        return False
    # One bit for each SILK frame's voice activity, then the flag; for a second channel the same again (4.2.3).
    frames = max(1, _DURATIONS[head >> 3] // 960)
    flags = payload[start]
    mid, side = flags >> 7 - frames & 1, flags >> 6 - 2 * frames & 1 if head & 4 else 0
    return bool(mid | side)


@attrs.frozen(kw_only=True)
class Opus:
    """Opus as it was negotiated (`trioice.audio.Codec`). `bitrate`, `complexity` 0 to 10, `application` and `fec` are the encoder's.

    `lowdelay` is CELT alone: it costs the least and looks 2.5 ms ahead, not 6.5. `voip` codes speech with SILK, which alone can carry
    in-band FEC, at four times the cost.
    """

    bitrate: int = BITRATE
    complexity: int = COMPLEXITY
    application: Application = "lowdelay"
    fec: bool = False
    name: str = attrs.field(default="opus", init=False)
    clock_rate: int = attrs.field(default=CLOCK_RATE, init=False)

    def duration(self, payload: bytes) -> int | None:
        """How long a payload lasts, at 48 kHz."""
        return duration(payload)

    def decoder(self, rate: int) -> "OpusDecoder":
        """Make a decoder to PCM at one of `RATES`."""
        return OpusDecoder(rate)

    def encoder(self, rate: int) -> "OpusEncoder":
        """Make an encoder of PCM at one of `RATES`."""
        return OpusEncoder(rate, self)


class OpusDecoder:
    """Decodes to PCM at one of `RATES`; see `trioice.audio.Decoder`."""

    __slots__ = ("_address", "_celt", "_concealed", "_decode", "_samples", "_scale", "_state", "_view")

    def __init__(self, rate: int) -> None:
        _check(rate)
        opus = library()
        self._decode = opus.opus_decode
        self._state = ctypes.create_string_buffer(opus.opus_decoder_get_size(1))
        if opus.opus_decoder_init(self._state, rate, 1) != 0:
            raise LocalProtocolError(f"libopus makes no decoder to {rate} Hz")
        self._scale = CLOCK_RATE // rate
        self._samples = ctypes.create_string_buffer(2 * LONGEST // self._scale)
        self._address = ctypes.addressof(self._samples)
        self._view = memoryview(self._samples).cast("B")
        self._celt = False  # whether the payload before was coded so
        self._concealed = 0  # how much was made up since the last payload, at the clock rate

    def decode(self, payload: bytes) -> bytes:
        """Decode a payload. One that libopus does not take is concealed: for its duration, or 20 ms where it tells none."""
        expected = duration(payload)
        if expected is not None:
            count = self._decode(self._state, payload, len(payload), self._address, LONGEST // self._scale, 0)
            if count == expected // self._scale:
                self._concealed = 0
                self._celt = payload[0] >= 0x80
                return bytes(self._view[: 2 * count])
        return self.conceal(expected or 960)

    def recover(self, following: bytes, duration: int) -> bytes | None:
        """Decode the coarse copy that the payload after the missing one carries; None where it carries none."""
        if not has_fec(following) or duration % QUANTUM or not _DURATIONS[following[0] >> 3] <= duration <= LONGEST:
            return None
        if self._celt:  # libopus would make it up all the same
            return None
        count = duration // self._scale
        if self._decode(self._state, following, len(following), self._address, count, 1) != count:
            return None
        self._concealed = 0
        return bytes(self._view[: 2 * count])

    def conceal(self, duration: int) -> bytes:
        """Make up `duration` units at 48 kHz: what libopus extrapolates for 120 ms, then silence."""
        pieces = []
        while duration >= QUANTUM and self._concealed < CONCEALED:
            piece = min(duration, CONCEALED - self._concealed) // QUANTUM * QUANTUM
            count = piece // self._scale
            if not piece or self._decode(self._state, None, 0, self._address, count, 0) != count:
                break
            pieces.append(bytes(self._view[: 2 * count]))
            self._concealed += piece
            duration -= piece
        pieces.append(bytes(2 * (duration // self._scale)))
        return b"".join(pieces)


class OpusEncoder:
    """Encodes PCM at one of `RATES`; see `trioice.audio.Encoder`."""

    __slots__ = ("_address", "_counts", "_encode", "_octets", "_state", "_view")

    def __init__(self, rate: int, settings: Opus) -> None:
        _check(rate)
        opus = library()
        self._encode = opus.opus_encode
        self._state = ctypes.create_string_buffer(opus.opus_encoder_get_size(1))
        refused = opus.opus_encoder_init(self._state, rate, 1, _APPLICATIONS[settings.application])
        for request, value in (
            (_SET_BITRATE, settings.bitrate),
            (_SET_COMPLEXITY, settings.complexity),
            (_SET_INBAND_FEC, int(settings.fec)),
            (_SET_PACKET_LOSS, 10 if settings.fec else 0),  # without an expected loss nothing is spent on it
        ):
            refused = refused or opus.opus_encoder_ctl(self._state, request, ctypes.c_int(value))
        if refused:
            raise LocalProtocolError(f"libopus makes no encoder of {rate} Hz with {settings}")
        self._counts = frozenset(packet * rate // CLOCK_RATE for packet in PACKETS)
        self._octets = ctypes.create_string_buffer(1275)  # the longest frame (RFC 6716, 3.2.1)
        self._address = ctypes.addressof(self._octets)
        self._view = memoryview(self._octets).cast("B")

    def encode(self, pcm: bytes) -> bytes:
        """Encode PCM of 2.5, 5, 10, 20, 40 or 60 ms; LocalProtocolError for another length."""
        count = len(pcm) // 2
        if len(pcm) % 2 or count not in self._counts:
            raise LocalProtocolError(f"Opus has no frame of {len(pcm)} octets of PCM")
        length = self._encode(self._state, pcm, count, self._address, len(self._octets))
        if length <= 0:
            raise LocalProtocolError(f"libopus does not encode: error {length}")
        return bytes(self._view[:length])

    def pause(self) -> bytes:
        """Make a payload of one empty frame, as an encoder does in DTX (RFC 6716, 3.2.1; RFC 7587, 3.1.3), coded as the one before."""
        return bytes((self._view[0] & 0xFC,))


def _check(rate: int) -> None:
    if rate not in RATES:
        raise LocalProtocolError(f"a rate of {rate} Hz is none of {', '.join(map(str, RATES))}")
