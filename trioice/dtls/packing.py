"""Packing a flight: cut into fragments, sealed into records, gathered into datagrams (RFC 6347, 4.1.1 and 4.2.3; RFC 9147, 4.4 and 5.5).

As few datagrams as can be, as each may be lost. Under keys of DTLS 1.3 consecutive messages share a record, which saves a header
and a tag for each; in the older form of record each message has its own, as every peer of DTLS 1.2 has always seen it.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import attrs

from trioice.dtls import fragments, record
from trioice.dtls.fragments import Message
from trioice.dtls.record import RecordLayer

LEAST_FRAGMENT: Final = 32
"""Octets of a message that are worth a header of their own at the end of a datagram."""

FIRST_SHARED_EPOCH: Final = 2
"""The first epoch that only DTLS 1.3 has."""


@attrs.frozen
class ChangeCipherSpec:
    """One octet in a record of its own type: what follows is in the next epoch. The epoch number says it too (RFC 6347, 4.1)."""

    epoch: int = 0
    body: bytes = b"\x01"


Piece: TypeAlias = tuple[Message | ChangeCipherSpec, int, int]
"""The octets of a body from a start to an end."""

RecordNumber: TypeAlias = tuple[int, int]
"""Epoch and sequence number: what acknowledgements name (RFC 9147, 4)."""


@attrs.frozen
class Packed:
    """Datagrams, and what is in each of their records."""

    datagrams: list[bytes] = attrs.field(factory=list)
    contents: dict[RecordNumber, list[Piece]] = attrs.field(factory=dict)


def pack(pieces: Iterable[Piece], records: RecordLayer, mtu: int) -> Packed:
    """Cut and seal pieces into datagrams of at most `mtu` octets, several records in each where they fit."""
    packer = _Packer(records, mtu)
    for piece in pieces:
        packer.add(piece)
    packer.end_datagram()
    return packer.packed


def without(piece: Piece, other: Piece) -> Iterator[Piece]:
    """Take `other` out of `piece`: what is left before it and behind it."""
    message, start, end = piece
    if message is not other[0]:
        yield piece
        return
    if start < other[1]:
        yield message, start, min(end, other[1])
    if other[2] < end:
        yield message, max(start, other[2]), end


class _Packer:
    """A datagram, and the record at its end that may still take a message."""

    def __init__(self, records: RecordLayer, mtu: int) -> None:
        self.packed = Packed()
        self._records = records
        self._mtu = mtu
        self._datagram = b""
        self._kind = 0
        self._epoch = 0
        self._payload = b""
        self._pieces: list[Piece] = []

    def add(self, piece: Piece) -> None:
        """Put a piece where there is room, as several if need be."""
        message, start, end = piece
        if isinstance(message, ChangeCipherSpec):
            if self._room(message.epoch) < end:
                self.end_datagram()
            self._put(record.CHANGE_CIPHER_SPEC, piece, message.body)
            return
        while True:
            room = self._room(message.epoch) - fragments.HEADER_SIZE
            if (self._datagram or self._payload) and room < min(LEAST_FRAGMENT, end - start):
                self.end_datagram()
                continue
            cut = min(start + room, end)
            self._put(record.HANDSHAKE, (message, start, cut), message.fragment(start, cut))
            start = cut
            if start == end:
                break

    def end_datagram(self) -> None:
        """Let the next piece begin a datagram."""
        self._end_record()
        if self._datagram:
            self.packed.datagrams.append(self._datagram)
            self._datagram = b""

    def _room(self, epoch: int) -> int:
        """Tell how many octets a record of `epoch` may still take in this datagram: the one that is open, or the next."""
        room = self._mtu - len(self._datagram) - self._records.overhead(epoch)
        if not self._payload:
            return room
        if self._is_shared(record.HANDSHAKE, epoch):
            return room - len(self._payload)
        return room - len(self._payload) - self._records.overhead(self._epoch)

    def _is_shared(self, kind: int, epoch: int) -> bool:
        return bool(self._payload) and (self._kind, self._epoch) == (kind, epoch) and epoch >= FIRST_SHARED_EPOCH

    def _put(self, kind: int, piece: Piece, octets: bytes) -> None:
        epoch = piece[0].epoch
        if not self._is_shared(kind, epoch):
            self._end_record()
            self._kind, self._epoch = kind, epoch
        self._payload += octets
        self._pieces.append(piece)

    def _end_record(self) -> None:
        if not self._payload:
            return
        number = (self._epoch, self._records.sequences[self._epoch])
        self._datagram += self._records.seal(self._kind, self._epoch, self._payload)
        self.packed.contents[number] = self._pieces
        self._payload, self._pieces = b"", []
