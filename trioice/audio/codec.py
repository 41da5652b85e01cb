"""What a codec is to the rest: payloads to PCM and back, without a word about Opus or G.711."""

from typing import Final, Protocol

import attrs

RATES: Final = (8000, 16000, 24000, 48000)
"""Samples a second that an agent may ask for."""


class Decoder(Protocol):
    """Turns one caller's payloads into PCM at one rate, in order. It has a memory, so each listener has its own.

    Never raises: a payload that does not decode gives what `conceal` would give.
    """

    def decode(self, payload: bytes) -> bytes:
        """Decode a payload: as many samples as `Codec.duration` tells of it, at the decoder's rate."""

    def recover(self, following: bytes, duration: int) -> bytes | None:
        """Decode the coarse copy of a missing payload that the one after it carries (in-band FEC); None where it carries none.

        `duration` is that of the missing payload, in units of the codec's clock.
        """

    def conceal(self, duration: int) -> bytes:
        """Make up what a missing payload may have held: it fades to silence when repeated. `duration` as above."""


class Encoder(Protocol):
    """Turns PCM at one rate into payloads. It has a memory."""

    def encode(self, pcm: bytes) -> bytes:
        """Encode PCM of one packet's duration. LocalProtocolError for a length that no packet has."""

    def pause(self) -> bytes | None:
        """Make the payload that tells, after one of silence, that nothing follows for a while (DTX); None where the codec has none."""


class Codec(Protocol):
    """A codec as it was negotiated."""

    @property
    def name(self) -> str:
        """As in SDP's rtpmap: opus, PCMU or PCMA."""

    @property
    def clock_rate(self) -> int:
        """Units of RTP time a second."""

    def duration(self, payload: bytes) -> int | None:
        """How long a payload lasts, in units of `clock_rate`, without decoding it; None if it is malformed or empty."""

    def decoder(self, rate: int) -> Decoder:
        """Make a decoder to PCM at one of `RATES`."""

    def encoder(self, rate: int) -> Encoder:
        """Make an encoder of PCM at one of `RATES`."""


@attrs.define(kw_only=True)
class Frame:
    """PCM of one packet of the caller, or of the silence or the loss in its place.

    `lost`: nothing is known of what was said here; the samples were made up (or are silence, where the loss is long).
    `concealed`: the packet did not come in time, and the samples stand in for its own; with `lost` they were made up, without it they
    are the coarse copy that the packet after it carried (in-band FEC).
    A pause in which the caller's codec sent nothing (DTX) is neither.
    """

    pcm: bytes
    rate: int
    timestamp: int
    """Of the first sample: units of the codec's clock since the first frame. It does not roll over, and tells the length of a gap."""
    lost: bool = False
    concealed: bool = False

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.pcm) / 2 / self.rate
