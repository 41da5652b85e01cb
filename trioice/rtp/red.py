"""RED: redundant copies of former payloads in front of a payload (RFC 2198, 3)."""

from collections.abc import Sequence
from typing import Final, TypeAlias

from trioice.errors import LocalProtocolError

Block: TypeAlias = tuple[int, int, bytes]
"""A payload type, how much earlier than the packet's timestamp the payload's is, and the payload."""

BLOCKS: Final = 32
"""Blocks of a packet that are read, the primary with them: as many as libwebrtc takes."""


def read_red(payload: bytes) -> list[Block] | None:
    """Read the blocks of a RED payload, the oldest first, the primary (offset 0) last. None for anything malformed."""
    heads: list[tuple[int, int, int]] = []
    at, end = 0, len(payload)
    while at < end and payload[at] & 0x80:
        # 1 | payload type (7) | timestamp offset (14) | length (10)
        if at + 4 > end or len(heads) == BLOCKS - 1:
            return None
        word = int.from_bytes(payload[at : at + 4], "big")
        heads.append((word >> 24 & 0x7F, word >> 10 & 0x3FFF, word & 0x3FF))
        at += 4
    if at >= end:
        return None
    primary = payload[at] & 0x7F
    at += 1
    blocks: list[Block] = []
    for payload_type, offset, length in heads:
        if at + length > end:
            return None
        blocks.append((payload_type, offset, payload[at : at + length]))
        at += length
    blocks.append((primary, 0, payload[at:]))
    return blocks


def build_red(blocks: Sequence[Block]) -> bytes:
    """Build a RED payload of blocks, the primary last. LocalProtocolError where a redundant one does not fit its 14 and 10 bits."""
    *redundant, (primary, _, payload) = blocks
    heads = bytearray()
    for payload_type, offset, octets in redundant:
        if not 0 < offset < 1 << 14 or len(octets) >= 1 << 10:
            raise LocalProtocolError(f"RED has no room for {len(octets)} octets, {offset} earlier")
        heads += (1 << 31 | payload_type << 24 | offset << 10 | len(octets)).to_bytes(4, "big")
    return bytes((*heads, primary)) + b"".join(octets for _, _, octets in redundant) + payload
