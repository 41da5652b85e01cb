"""The record layer: numbered records of several epochs in a datagram, sealed, opened, and opened once (RFC 6347, 4.1).

An epoch is a set of keys; epoch 0 has none. Records say which epoch they belong to, so both sides may be in different
ones, and late records of the epoch before are still read. The layer knows nothing of what it carries.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Final

import attrs

from trioice.dtls.ciphers import VERSION_1_2, Protection
from trioice.dtls.drops import Drop
from trioice.errors import LocalProtocolError
from trioice.sequence import MAXIMUM_INDEX, ReplayWindow

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23

# ContentType, ProtocolVersion, epoch, sequence (16 + 32 bits), length (RFC 6347, 4.1).
HEADER: Final = Struct("!BHHHIH")

REPLAY_WINDOW: Final = 64
"""The width that RFC 6347, 4.1.2.6 prefers: a burst of reordering that is wider has lost its records anyway."""

MAXIMUM_LENGTH: Final = (1 << 14) + 2048
"""No record is longer (RFC 5246, 6.2.3)."""

RESERVED: Final = 1024
"""Sequence numbers of an epoch that application data leaves to alerts and repeated flights, which are fewer."""


@attrs.frozen(kw_only=True)
class Record:
    """A record as it stood in its datagram; `payload` is what may be sealed."""

    kind: int
    epoch: int
    sequence: int
    payload: bytes

    @property
    def number(self) -> bytes:
        """Epoch and sequence, as the AEAD takes them."""
        return (self.epoch << 48 | self.sequence).to_bytes(8, "big")


def split(datagram: bytes) -> tuple[list[Record], bytes]:
    """Take a datagram apart into its records, and what is left that is none."""
    records = []
    position = 0
    while len(datagram) - position >= HEADER.size:
        kind, version, epoch, high, low, length = HEADER.unpack_from(datagram, position)
        start, end = position + HEADER.size, position + HEADER.size + length
        # A ClientHello may come under the number of any version; the major version is 254 in all (RFC 6347, 4.1).
        if version >> 8 != 0xFE or length > MAXIMUM_LENGTH or end > len(datagram):
            break
        records.append(Record(kind=kind, epoch=epoch, sequence=high << 32 | low, payload=datagram[start:end]))
        position = end
    return records, datagram[position:]


class _Epoch:
    """The keys of both directions, our next sequence number, and which of the peer's were seen. Epoch 0 has but the number."""

    __slots__ = ("reading", "sequence", "window", "writing")

    def __init__(self, writing: Protection | None = None, reading: Protection | None = None) -> None:
        self.writing = writing
        self.reading = reading
        self.sequence = 0
        self.window = ReplayWindow(REPLAY_WINDOW)


class RecordLayer:
    """Both directions of an association: the keys, numbers and windows of its epochs."""

    __slots__ = ("_epochs", "epoch")

    def __init__(self) -> None:
        self.epoch = 0
        """The epoch that alerts and application data are written in."""
        self._epochs = {0: _Epoch()}

    def install(self, epoch: int, *, writing: Protection, reading: Protection) -> None:
        """Give `epoch` its keys. Reading begins at once, writing where flights or the owner say so."""
        self._epochs[epoch] = _Epoch(writing, reading)

    @property
    def sequences(self) -> Mapping[int, int]:
        """The next sequence number of each epoch."""
        return {number: epoch.sequence for number, epoch in self._epochs.items()}

    @property
    def has_room(self) -> bool:
        """Tell whether application data may use one more sequence number of the current epoch (RFC 6347, 4.1)."""
        return self._epochs[self.epoch].sequence <= MAXIMUM_INDEX - RESERVED

    def reads(self, epoch: int) -> bool:
        """Tell whether records of `epoch` can be opened."""
        return epoch in self._epochs

    def overhead(self, epoch: int) -> int:
        """Tell how many octets a record of `epoch` has beyond its payload."""
        protection = self._epochs[epoch].writing
        return HEADER.size + (protection.overhead if protection is not None else 0)

    def seal(self, kind: int, epoch: int, payload: bytes) -> bytes:
        """Write a record with the next sequence number of `epoch`."""
        keys = self._epochs[epoch]
        sequence = keys.sequence
        if sequence > MAXIMUM_INDEX:
            # Out of reach as long as application data respects `has_room`.
            raise LocalProtocolError("the sequence numbers of this epoch are used up")
        keys.sequence = sequence + 1
        if keys.writing is not None:
            payload = keys.writing.seal((epoch << 48 | sequence).to_bytes(8, "big"), kind, payload)
        header = HEADER.pack(kind, VERSION_1_2, epoch, sequence >> 32, sequence & 0xFFFFFFFF, len(payload))
        return header + payload

    def open(self, record: Record) -> bytes | Drop:
        """Open a record, once; or say why not."""
        if record.epoch == 0:
            # No window here: a forged number far ahead would close it for the peer's real records.
            # Handshake messages have numbers of their own.
            return record.payload
        keys = self._epochs.get(record.epoch)
        if keys is None or keys.reading is None:
            return Drop.WRONG_EPOCH
        window = keys.window
        if not window.admits(record.sequence):
            return Drop.REPLAYED
        payload = keys.reading.open(record.number, record.kind, record.payload)
        if payload is None:
            return Drop.BAD_RECORD
        window.note(record.sequence)
        return payload
