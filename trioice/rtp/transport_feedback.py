"""Transport-wide feedback: when each packet arrived, whatever its SSRC (draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1).

Each packet from `base` on has a status of two bits: not received, received with a delta of one octet, or of two. The statuses
are packed into chunks of 16 bits: a run of one status, fourteen statuses of one bit, or seven of two.
"""

from typing import Final

import attrs

from trioice.errors import Malformed
from trioice.wire import Reader

STATUS_LIMIT: Final = 2048
"""Packets that one feedback may tell of: 100 ms, the usual interval, at 20,000 a second. Nine octets could claim 65,535."""

TICK: Final = 0.00025
"""Seconds in one unit of a delta."""


@attrs.frozen(kw_only=True)
class TransportFeedback:
    """RTPFB 15: for each packet from transport sequence `base` on, the delta of its arrival, or None for what did not come.

    Deltas are in units of 250 µs: the first since `reference`, which counts 64 ms, each other since the arrival before it.
    """

    sender: int
    media: int
    base: int
    reference: int
    number: int
    deltas: tuple[int | None, ...]
    kind = 205
    count = 15

    @classmethod
    def read(cls, reader: Reader, count: int) -> "TransportFeedback":
        """Read feedback behind its first word."""
        sender, media, base, statuses = reader.uint(4), reader.uint(4), reader.uint(2), reader.uint(2)
        reference = (reader.uint(3) ^ 0x800000) - 0x800000
        number = reader.uint(1)
        deltas = tuple(_delta(reader, status) for status in _statuses(reader, statuses))
        reader.rest()  # the draft pads with zeros and without a flag, libwebrtc with RTCP's own padding
        return cls(sender=sender, media=media, base=base, reference=reference, number=number, deltas=deltas)

    def body(self) -> bytes:
        """Serialize what follows the first word: a run where seven or more, or all the rest, are alike; else seven."""
        statuses = [0 if delta is None else 1 if 0 <= delta <= 0xFF else 2 for delta in self.deltas]
        return b"".join(
            (
                self.sender.to_bytes(4, "big"),
                self.media.to_bytes(4, "big"),
                self.base.to_bytes(2, "big"),
                len(statuses).to_bytes(2, "big"),
                (self.reference & 0xFFFFFF).to_bytes(3, "big"),
                bytes((self.number,)),
                _chunks(statuses),
                *(
                    delta.to_bytes(status, "big", signed=status == 2)
                    for delta, status in zip(self.deltas, statuses, strict=True)
                    if delta is not None
                ),
            )
        )

    def arrivals(self) -> list[tuple[int, float]]:
        """List what arrived: transport sequence, and seconds on the peer's clock, whose zero is arbitrary."""
        ticks = self.reference * 256
        arrived = []
        for offset, delta in enumerate(self.deltas):
            if delta is not None:
                ticks += delta
                arrived.append((self.base + offset & 0xFFFF, ticks * TICK))
        return arrived


def _statuses(reader: Reader, count: int) -> list[int]:
    if count > STATUS_LIMIT:
        raise Malformed(f"feedback on {count} packets")
    statuses: list[int] = []
    while len(statuses) < count:
        chunk = reader.uint(2)
        if not chunk & 0x8000:
            statuses += [chunk >> 13] * min(chunk & 0x1FFF, count)
        elif not chunk & 0x4000:
            statuses += [chunk >> bit & 1 for bit in range(13, -1, -1)]
        else:
            statuses += [chunk >> bit & 3 for bit in range(12, -1, -2)]
    return statuses[:count]  # the last chunk may reach further than there are packets


def _delta(reader: Reader, status: int) -> int | None:
    if status == 3:
        raise Malformed("a reserved status")
    if status == 0:
        return None
    return int.from_bytes(reader.take(status), "big", signed=status == 2)


def _chunks(statuses: list[int]) -> bytes:
    octets = b""
    position = 0
    while position < len(statuses):
        status = statuses[position]
        run = next(
            (length for length, other in enumerate(statuses[position : position + 0x1FFF]) if other != status),
            min(len(statuses) - position, 0x1FFF),
        )
        if run >= 7 or position + run == len(statuses):
            octets += (status << 13 | run).to_bytes(2, "big")
            position += run
        else:
            seven = statuses[position : position + 7]
            chunk = 0xC000
            for number, value in enumerate(seven):
                chunk |= value << 12 - 2 * number
            octets += chunk.to_bytes(2, "big")
            position += 7
    return octets
