"""RTCP packets and compounds: values to octets and back (RFC 3550, 6; RFC 4585, 6; RFC 5506).

A compound is read whole or not at all: lengths that do not fit, or one packet that does not follow its syntax, make None. It
may start with any packet (reduced size, RFC 5506). What is not known here is kept as `Unknown`, so that encoding what was
decoded gives the same octets, but for padding that was not needed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct
from typing import Final, Protocol

import attrs

from trioice.errors import LocalProtocolError, Malformed
from trioice.rtp.extended_reports import ExtendedReport
from trioice.rtp.transport_feedback import TransportFeedback
from trioice.wire import Reader

SR: Final = 200
RR: Final = 201
SDES: Final = 202
BYE: Final = 203
APP: Final = 204
RTPFB: Final = 205
PSFB: Final = 206

FEEDBACKS: Final = 2
"""Transport-wide feedbacks of one compound packet: each may tell of 2,048 packets in 24 octets, so that sixty, which fit a datagram,
would take ten milliseconds to read. libwebrtc sends one every 50 ms or more seldom."""

CNAME: Final = 1
"""The SDES item that names a participant for the whole session (RFC 3550, 6.5.1)."""

COUNT_LIMIT: Final = 31
"""Blocks, chunks or SSRCs a packet: its count has five bits."""


class Packet(Protocol):
    """One RTCP packet. `body` is what follows the first word."""

    @property
    def kind(self) -> int:
        """The packet type."""

    @property
    def count(self) -> int:
        """The five bits before it: how many blocks, or the format of feedback."""

    def body(self) -> bytes:
        """Serialize what follows the first word."""


def decode(packet: bytes) -> list[Packet] | None:
    """Read a compound RTCP packet; None for anything malformed."""
    packets: list[Packet] = []
    start, end = 0, len(packet)
    feedbacks = 0
    try:
        while start < end:
            if end - start < 4 or packet[start] & 0xC0 != 0x80:
                return None
            next_start = start + 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
            if next_start > end:
                return None
            body = packet[start + 4 : next_start]
            if packet[start] & 0x20:
                # The last octet counts the padding with itself. RFC 3550, 6.4.1 wants whole words, in the last packet only;
                # libwebrtc pads any transport feedback to its last word.
                if not body or not 0 < body[-1] <= len(body):
                    return None
                body = body[: -body[-1]]
            if packet[start + 1] == RTPFB and packet[start] & 0x1F == TransportFeedback.count:
                feedbacks += 1
                if feedbacks > FEEDBACKS:
                    return None
            packets.append(_read(packet[start + 1], packet[start] & 0x1F, body))
            start = next_start
    except Malformed:
        return None
    return packets or None


def encode(packets: Iterable[Packet]) -> bytes:
    """Serialize a compound. LocalProtocolError for more blocks than a packet can count."""
    return b"".join(map(_octets, packets))


def _octets(packet: Packet) -> bytes:
    if packet.count > COUNT_LIMIT:
        raise LocalProtocolError(f"an RTCP packet counts to {COUNT_LIMIT}, not {packet.count}")
    first, body = 0x80 | packet.count, packet.body()
    if padding := -len(body) % 4:
        first, body = first | 0x20, body + bytes(padding - 1) + bytes((padding,))
    return bytes((first, packet.kind)) + (len(body) // 4).to_bytes(2, "big") + body


def _read(kind: int, count: int, body: bytes) -> Packet:
    read = READERS.get((kind, count if kind in (RTPFB, PSFB) else None))
    if read is None:
        return Unknown(kind, count, body)
    reader = Reader(body)
    packet = read(reader, count)
    reader.end()
    return packet


@attrs.frozen
class Unknown:
    """Any other packet: APP, other feedback."""

    kind: int
    count: int
    octets: bytes

    def body(self) -> bytes:
        """Serialize what follows the first word."""
        return self.octets


# RFC 3550, 6.4.1: SSRC, fraction lost, cumulative number lost (24 bits, with sign), highest sequence, jitter, LSR, DLSR.
BLOCK: Final = Struct("!IIIIII")


@attrs.frozen(kw_only=True)
class ReportBlock:
    """What one end received of one SSRC.

    `fraction_lost` is in 1/256, `jitter` in units of the timestamp, `last_report` the middle 32 bits of the NTP time of the last
    sender report, `delay` since then in 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    packets_lost: int
    highest: int
    jitter: int
    last_report: int
    delay: int

    @classmethod
    def read(cls, reader: Reader) -> "ReportBlock":
        """Read a block of 24 octets."""
        ssrc, lost, highest, jitter, last_report, delay = BLOCK.unpack(reader.take(BLOCK.size))
        packets_lost = (lost & 0xFFFFFF ^ 0x800000) - 0x800000
        return cls(
            ssrc=ssrc,
            fraction_lost=lost >> 24,
            packets_lost=packets_lost,
            highest=highest,
            jitter=jitter,
            last_report=last_report,
            delay=delay,
        )

    def octets(self) -> bytes:
        """Serialize the block."""
        lost = self.fraction_lost << 24 | self.packets_lost & 0xFFFFFF
        return BLOCK.pack(self.ssrc, lost, self.highest, self.jitter, self.last_report, self.delay)


# RFC 3550, 6.4.1: SSRC of sender, NTP time in 32.32 bits, RTP timestamp, packets and octets sent.
SENDER: Final = Struct("!IQIII")


@attrs.frozen(kw_only=True)
class SenderReport:
    """SR: what its sender sent, at which moment of wall time, and what it received (RFC 3550, 6.4.1)."""

    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int
    reports: tuple[ReportBlock, ...] = ()
    extension: bytes = b""
    kind = SR

    @property
    def count(self) -> int:
        """How many report blocks."""
        return len(self.reports)

    @classmethod
    def read(cls, reader: Reader, count: int) -> "SenderReport":
        """Read an SR behind its first word."""
        ssrc, ntp, timestamp, packets, octets = SENDER.unpack(reader.take(SENDER.size))
        return cls(
            ssrc=ssrc,
            ntp=ntp,
            timestamp=timestamp,
            packets=packets,
            octets=octets,
            reports=_blocks(reader, count),
            extension=reader.rest(),
        )

    def body(self) -> bytes:
        """Serialize what follows the first word."""
        sender = SENDER.pack(self.ssrc, self.ntp, self.timestamp, self.packets, self.octets)
        return sender + b"".join(block.octets() for block in self.reports) + self.extension


@attrs.frozen
class ReceiverReport:
    """RR: what a participant that sends nothing received (RFC 3550, 6.4.2)."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()
    extension: bytes = b""
    kind = RR

    @property
    def count(self) -> int:
        """How many report blocks."""
        return len(self.reports)

    @classmethod
    def read(cls, reader: Reader, count: int) -> "ReceiverReport":
        """Read an RR behind its first word."""
        return cls(reader.uint(4), _blocks(reader, count), reader.rest())

    def body(self) -> bytes:
        """Serialize what follows the first word."""
        return self.ssrc.to_bytes(4, "big") + b"".join(block.octets() for block in self.reports) + self.extension


@attrs.frozen
class SourceDescription:
    """SDES: for each SSRC its items, as (type, text) (RFC 3550, 6.5)."""

    chunks: tuple[tuple[int, tuple[tuple[int, bytes], ...]], ...]
    kind = SDES

    @property
    def count(self) -> int:
        """How many chunks."""
        return len(self.chunks)

    @classmethod
    def read(cls, reader: Reader, count: int) -> "SourceDescription":
        """Read an SDES behind its first word."""
        return cls(tuple(_chunk(reader) for _ in range(count)))

    def body(self) -> bytes:
        """Serialize what follows the first word."""
        return b"".join(_chunk_octets(ssrc, items) for ssrc, items in self.chunks)


def _chunk(reader: Reader) -> tuple[int, tuple[tuple[int, bytes], ...]]:
    start = reader.left
    ssrc = reader.uint(4)
    items = []
    while kind := reader.uint(1):
        items.append((kind, reader.opaque(1)))
    # The zero that ended the list is the first of one to four up to the next word.
    reader.take((reader.left - start) % 4)
    return ssrc, tuple(items)


def _chunk_octets(ssrc: int, items: Sequence[tuple[int, bytes]]) -> bytes:
    octets = b"".join(bytes((kind, len(text))) + text for kind, text in items) + b"\0"
    return ssrc.to_bytes(4, "big") + octets + bytes(-len(octets) % 4)


@attrs.frozen
class Goodbye:
    """BYE: these SSRCs leave (RFC 3550, 6.6)."""

    ssrcs: tuple[int, ...]
    reason: bytes = b""
    kind = BYE

    @property
    def count(self) -> int:
        """How many SSRCs."""
        return len(self.ssrcs)

    @classmethod
    def read(cls, reader: Reader, count: int) -> "Goodbye":
        """Read a BYE behind its first word."""
        ssrcs = tuple(reader.uint(4) for _ in range(count))
        reason = reader.opaque(1) if reader.left else b""
        reader.rest()  # zeros up to the next word
        return cls(ssrcs, reason)

    def body(self) -> bytes:
        """Serialize what follows the first word."""
        reason = bytes((len(self.reason),)) + self.reason if self.reason else b""
        return b"".join(ssrc.to_bytes(4, "big") for ssrc in self.ssrcs) + reason + bytes(-len(reason) % 4)


# RFC 4585, 6.2.1: a sequence, and a bitmap of the sixteen after it.
ENTRY: Final = Struct("!HH")


@attrs.frozen
class GenericNack:
    """RTPFB 1: `sender` missed these sequences of `media` (RFC 4585, 6.2.1)."""

    sender: int
    media: int
    lost: tuple[int, ...]
    kind = RTPFB
    count = 1

    @classmethod
    def read(cls, reader: Reader, count: int) -> "GenericNack":
        """Read a generic NACK behind its first word."""
        sender, media = reader.uint(4), reader.uint(4)
        lost = []
        # Not word by word: a datagram has room for 350 entries, and none of it is worth a millisecond.
        for first, following in ENTRY.iter_unpack(reader.take(reader.left & ~3)):
            lost.append(first)
            if following:
                lost += [first + 1 + bit & 0xFFFF for bit in range(16) if following >> bit & 1]
        return cls(sender, media, tuple(lost))

    def body(self) -> bytes:
        """Serialize what follows the first word: each entry a sequence and a bitmap of the sixteen after it."""
        entries: list[tuple[int, int]] = []
        for sequence in self.lost:
            after = sequence - entries[-1][0] & 0xFFFF if entries else 0
            if 0 < after <= 16:
                first, following = entries[-1]
                entries[-1] = (first, following | 1 << after - 1)
            else:
                entries.append((sequence, 0))
        octets = b"".join(ENTRY.pack(first, following) for first, following in entries)
        return self.sender.to_bytes(4, "big") + self.media.to_bytes(4, "big") + octets


@attrs.frozen
class PictureLossIndication:
    """PSFB 1: `sender` cannot decode the pictures of `media` (RFC 4585, 6.3.1)."""

    sender: int
    media: int
    kind = PSFB
    count = 1

    @classmethod
    def read(cls, reader: Reader, count: int) -> "PictureLossIndication":
        """Read a PLI behind its first word."""
        return cls(reader.uint(4), reader.uint(4))

    def body(self) -> bytes:
        """Serialize what follows the first word."""
        return self.sender.to_bytes(4, "big") + self.media.to_bytes(4, "big")


def _blocks(reader: Reader, count: int) -> tuple[ReportBlock, ...]:
    return tuple(ReportBlock.read(reader) for _ in range(count))


READERS: Final[Mapping[tuple[int, int | None], Callable[[Reader, int], Packet]]] = {
    (SR, None): SenderReport.read,
    (RR, None): ReceiverReport.read,
    (SDES, None): SourceDescription.read,
    (BYE, None): Goodbye.read,
    (RTPFB, GenericNack.count): GenericNack.read,
    (PSFB, PictureLossIndication.count): PictureLossIndication.read,
    (RTPFB, TransportFeedback.count): TransportFeedback.read,
    (ExtendedReport.kind, None): ExtendedReport.read,
}
"""By packet type and, for feedback, format."""
