"""RTP header extensions in their one-byte and two-byte forms (RFC 8285, 4)."""

from collections.abc import Iterator, Sequence
from typing import Final

from trioice.errors import LocalProtocolError

ONE_BYTE: Final = 0xBEDE
"""The profile field of a block of elements with one byte of header (RFC 8285, 4.2)."""

TWO_BYTE: Final = 0x1000
"""The same with two; the last four bits are the application's (4.3)."""


def extensions(packet: bytes) -> list[tuple[int, bytes]]:
    """List the elements of a packet's header extension by their local identifiers, in order.

    A malformed element ends the list; a packet without extension, or with one of another form, has none.
    """
    if len(packet) < 12 or packet[0] & 0xD0 != 0x90:
        return []
    start = 12 + 4 * (packet[0] & 0x0F)
    form = int.from_bytes(packet[start : start + 2], "big")
    length = 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
    elements = packet[start + 4 : start + 4 + length]
    if len(elements) < length:
        return []
    if form == ONE_BYTE:
        return list(_one_byte(elements))
    if form & 0xFFF0 == TWO_BYTE:
        return list(_two_byte(elements))
    return []


def element(packet: bytes, identifier: int) -> bytes | None:
    """Find one element of a packet's header extension, the first of that identifier; None where it has none. As `extensions`, but fast."""
    if not packet or packet[0] & 0xD0 != 0x90:
        return None
    start = 12 + 4 * (packet[0] & 0x0F)
    if packet[start : start + 2] != b"\xbe\xde":
        return dict(reversed(extensions(packet))).get(identifier)
    at = start + 4
    end = at + 4 * int.from_bytes(packet[start + 2 : at], "big")
    if end > len(packet):
        return None
    while at < end:
        head = packet[at]
        at += 1
        if head:  # else it is padding
            length = (head & 0x0F) + 1
            if head < 0x10 or head >= 0xF0 or at + length > end:
                return None
            if head >> 4 == identifier:
                return packet[at : at + length]
            at += length
    return None


def block(elements: Sequence[tuple[int, bytes]]) -> bytes:
    """Write a header extension, padded to words: in the one-byte form if all elements fit that, else in the two-byte form.

    LocalProtocolError for an identifier outside 1..255 or more than 255 octets.
    """
    if all(0 < identifier < 15 and 0 < len(value) <= 16 for identifier, value in elements):
        form = ONE_BYTE
        octets = b"".join(bytes([identifier << 4 | len(value) - 1]) + value for identifier, value in elements)
    elif all(0 < identifier < 256 and len(value) < 256 for identifier, value in elements):
        form = TWO_BYTE
        octets = b"".join(bytes([identifier, len(value)]) + value for identifier, value in elements)
    else:
        raise LocalProtocolError("extension elements have identifiers 1 to 255 and at most 255 octets")
    words = -(-len(octets) // 4)
    return form.to_bytes(2, "big") + words.to_bytes(2, "big") + octets.ljust(4 * words, b"\0")


def _one_byte(elements: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(elements):
        identifier, length = elements[position] >> 4, (elements[position] & 0x0F) + 1
        position += 1
        if identifier == 0:
            if length != 1:  # only the whole octet 0 is padding
                return
            continue
        # 15 is reserved to end the list (RFC 8285, 4.2).
        if identifier == 15 or position + length > len(elements):
            return
        yield identifier, elements[position : position + length]
        position += length


def _two_byte(elements: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(elements):
        identifier = elements[position]
        position += 1
        if identifier == 0:
            continue
        if position == len(elements) or position + 1 + elements[position] > len(elements):
            return
        length = elements[position]
        yield identifier, elements[position + 1 : position + 1 + length]
        position += 1 + length
