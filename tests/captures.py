"""Captures of real calls: reading pcap files, and cutting them down to what sets a call up.

Files are written as bare IP packets (LINKTYPE_RAW) in the classic pcap format, which any analyzer reads; the "cooked" ones that
tcpdump makes on Linux are read, too. IPv4 alone. `python -m tests.captures FROM TO` cuts a capture down: STUN and DTLS of the call until
media has begun both ways, and the first packet of media from either side.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

import attrs

LINKTYPE_RAW = 101
LINKTYPE_LINUX_SLL2 = 276
LINK_HEADERS = {LINKTYPE_RAW: 0, LINKTYPE_LINUX_SLL2: 20}

# magic, version (2 × 16 bits), reserved (2 × 32 bits), snap length, link type; seconds, microseconds, captured length, original length.
_FILE = Struct("<IHHIIII")
_PACKET = Struct("<IIII")
MAGIC = 0xA1B2C3D4

UDP = 17


@attrs.frozen
class Captured:
    """A UDP datagram as it passed by; `packet` is the IP packet that held it."""

    when: tuple[int, int]
    source: tuple[str, int]
    to: tuple[str, int]
    payload: bytes
    packet: bytes = attrs.field(repr=False)

    @property
    def is_stun(self) -> bool:
        return self.payload[0] < 4

    @property
    def is_dtls(self) -> bool:
        return 20 <= self.payload[0] <= 63

    @property
    def is_media(self) -> bool:
        """Whether it is RTP, and not RTCP (RFC 7983, 7; RFC 5761, 4)."""
        return 128 <= self.payload[0] <= 191 and not 192 <= self.payload[1] <= 223


def read(path: Path) -> Iterator[Captured]:
    """Read the datagrams of a capture."""
    octets = path.read_bytes()
    magic, *_, link = _FILE.unpack_from(octets)
    assert magic == MAGIC, "pcap with microseconds, little-endian"
    position = _FILE.size
    while position < len(octets):
        seconds, microseconds, length, _ = _PACKET.unpack_from(octets, position)
        start = position + _PACKET.size + LINK_HEADERS[link]
        position += _PACKET.size + length
        captured = _datagram((seconds, microseconds), octets[start:position])
        if captured is not None:
            yield captured


def _datagram(when: tuple[int, int], packet: bytes) -> Captured | None:
    if packet[0] >> 4 != 4 or packet[9] != UDP:
        return None
    start = 4 * (packet[0] & 15)
    source, to = (".".join(map(str, packet[begin : begin + 4])) for begin in (12, 16))
    ports = [int.from_bytes(packet[begin : begin + 2], "big") for begin in (start, start + 2)]
    payload = packet[start + 8 : start + int.from_bytes(packet[start + 4 : start + 6], "big")]
    return Captured(when, (source, ports[0]), (to, ports[1]), payload, packet) if payload else None


def write(path: Path, datagrams: list[Captured]) -> None:
    """Write datagrams as a capture."""
    octets = _FILE.pack(MAGIC, 2, 4, 0, 0, 0x40000, LINKTYPE_RAW)
    for item in datagrams:
        octets += _PACKET.pack(*item.when, len(item.packet), len(item.packet)) + item.packet
    path.write_bytes(octets)


def beginning(datagrams: Iterator[Captured]) -> Iterator[Captured]:
    """Choose what sets the call up: of the two ends of the first datagram, until either has sent media."""
    ends: set[tuple[str, int]] = set()
    speakers: set[tuple[str, int]] = set()
    for item in datagrams:
        ends = ends or {item.source, item.to}
        if ends != {item.source, item.to}:
            continue
        if item.is_stun or item.is_dtls:
            yield item
        elif item.is_media and item.source not in speakers:
            speakers.add(item.source)
            yield item
            if speakers == ends:
                return


if __name__ == "__main__":
    write(Path(sys.argv[2]), list(beginning(read(Path(sys.argv[1])))))
