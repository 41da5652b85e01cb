"""XR: the blocks by which a receiver that sends nothing measures the round trip (RFC 3611, 2, 4.4 and 4.5)."""

from struct import Struct
from typing import Final

import attrs

from trioice.wire import Reader, uint

REFERENCE_TIME: Final = 4
"""Receiver reference time (RRTR): the sender's NTP time."""

DELAY_SINCE: Final = 5
"""Delay since the last of those (DLRR): for each SSRC, the middle of the NTP time that it told, and how long ago that was."""

_SINCE: Final = Struct("!III")


@attrs.frozen
class ExtendedReport:
    """XR. `blocks` are (type, type-specific octet, octets) each; those of other types are kept as they are."""

    ssrc: int
    blocks: tuple[tuple[int, int, bytes], ...]
    kind = 207
    count = 0

    @classmethod
    def reference(cls, ssrc: int, ntp: int) -> "ExtendedReport":
        """Tell our NTP time, in 32.32 bits."""
        return cls(ssrc, ((REFERENCE_TIME, 0, uint(8, ntp)),))

    @classmethod
    def since(cls, ssrc: int, delays: tuple[tuple[int, int, int], ...]) -> "ExtendedReport":
        """Answer such times: (SSRC, the middle 32 bits of what it told, how long ago in 1/65536 s) each."""
        return cls(ssrc, ((DELAY_SINCE, 0, b"".join(_SINCE.pack(*delay) for delay in delays)),))

    @property
    def reference_time(self) -> int | None:
        """The sender's NTP time, if it told it."""
        return next(
            (
                int.from_bytes(octets, "big")
                for kind, _, octets in self.blocks
                if kind == REFERENCE_TIME and len(octets) == 8
            ),
            None,
        )

    @property
    def delays(self) -> list[tuple[int, int, int]]:
        """The answers to such times, as `since` takes them."""
        return [
            delay
            for kind, _, octets in self.blocks
            if kind == DELAY_SINCE and not len(octets) % _SINCE.size
            for delay in _SINCE.iter_unpack(octets)
        ]

    @classmethod
    def read(cls, reader: Reader, count: int) -> "ExtendedReport":
        """Read an XR behind its first word."""
        ssrc = reader.uint(4)
        blocks = []
        while reader.left:
            kind, specific = reader.uint(1), reader.uint(1)
            blocks.append((kind, specific, reader.take(4 * reader.uint(2))))
        return cls(ssrc, tuple(blocks))

    def body(self) -> bytes:
        """Serialize what follows the first word."""
        return uint(4, self.ssrc) + b"".join(
            bytes((kind, specific)) + uint(2, len(octets) // 4) + octets for kind, specific, octets in self.blocks
        )
