"""RTP packets: the fixed header, CSRCs, extension and padding (RFC 3550, 5.1), and RTCP told from RTP (RFC 5761, 4)."""

from collections.abc import Sequence
from struct import Struct
from typing import Final, TypeAlias

from trioice.rtp.extensions import block
from trioice.sansio import Entropy

# 0                   1                   2                   3
# V=2|P|X|  CC   |M|     PT      |       sequence number
#                           timestamp
#            synchronization source (SSRC) identifier
HEADER: Final = Struct("!BBHII")

Header: TypeAlias = tuple[int, bool, int, int, int, int, int]
"""Payload type, marker, sequence, timestamp, SSRC, start and end of the payload, which is without padding and may be empty."""


def read(packet: bytes) -> Header | None:
    """Read an RTP packet's header; None for anything malformed."""
    end = len(packet)
    if end < 12:
        return None
    first, second, sequence, timestamp, ssrc = HEADER.unpack_from(packet)
    if first & 0xC0 != 0x80:
        return None
    start = 12
    if first & 0x3F:
        start += 4 * (first & 0x0F)
        if first & 0x10:
            # The length of the extension counts words after its own (RFC 3550, 5.3.1).
            start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
        if first & 0x20:
            padding = packet[-1]  # counts itself, so 0 is as wrong as too many
            if padding == 0:
                return None
            end -= padding
        if start > end:
            return None
    return second & 0x7F, second > 0x7F, sequence, timestamp, ssrc, start, end


def build(
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    extensions: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """Build an RTP packet; the sequence is taken modulo 2^16, the timestamp modulo 2^32. `extensions` as `block` takes them."""
    first = 0x90 if extensions else 0x80
    second = payload_type | 0x80 if marker else payload_type
    header = HEADER.pack(first, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    return header + block(extensions) + payload if extensions else header + payload


def is_rtcp(packet: bytes) -> bool:
    """Tell whether a packet on a port of both is RTCP: the payload types 64 to 95 are not RTP's there."""
    return len(packet) > 1 and 64 <= packet[1] & 0x7F <= 95


def initial_sequence(entropy: Entropy) -> int:
    """Choose where a stream starts: anywhere below 2^15, so that the loss of its first packets hides no roll-over.

    A receiver of SRTP takes the first sequence that reaches it for one of the first cycle. From a start near 65,535 with
    its first packets lost, it would never be right again.
    """
    return int.from_bytes(entropy(2), "big") & 0x7FFF
