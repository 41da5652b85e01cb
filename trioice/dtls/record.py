"""The record layer: numbered records of several epochs in a datagram, sealed, opened, and opened once (RFC 6347, 4.1; RFC 9147, 4).

An epoch is a set of keys; epoch 0 has none. Records say which epoch they belong to, so both sides may be in different
ones, and late records of the epoch before are still read. The layer knows nothing of what it carries.

DTLS 1.2 has one form of record. DTLS 1.3 has it for epoch 0 alone; under keys its records are `Ciphertext`. Which form an epoch
has follows from the keys that it was given.
"""

from collections.abc import Collection, Mapping
from struct import Struct
from typing import Final, TypeAlias

import attrs

from trioice.dtls import ciphertext
from trioice.dtls.ciphers import VERSION_1_2, Protection
from trioice.dtls.ciphers13 import Protection13
from trioice.dtls.ciphertext import Ciphertext
from trioice.dtls.drops import Drop
from trioice.errors import LocalProtocolError
from trioice.sequence import MAXIMUM_INDEX, ReplayWindow

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
ACK: Final = 26

# ContentType, ProtocolVersion, epoch, sequence (16 + 32 bits), length (RFC 6347, 4.1).
HEADER: Final = Struct("!BHHHIH")

REPLAY_WINDOW: Final = 64
"""The width that RFC 6347, 4.1.2.6 prefers: a burst of reordering that is wider has lost its records anyway."""

MAXIMUM_LENGTH: Final = (1 << 14) + 2048
"""No record is longer (RFC 5246, 6.2.3)."""

RESERVED: Final = 1024
"""Sequence numbers of an epoch that application data leaves to alerts and repeated flights, which are fewer."""

WORN: Final = 1 << 24
"""Records under one key of DTLS 1.3 after which it is time for the next: below AES-GCM's limit of 2^24.5 (RFC 9147, 4.5.3)."""

FORGED: Final = 1 << 36
"""Records that a key of DTLS 1.3 did not open after which it opens none: the integrity limit of every suite (RFC 9147, 4.5.3)."""


@attrs.frozen(kw_only=True)
class Record:
    """A record of the first form as it stood in its datagram, where `payload` may be sealed; or any record, opened."""

    kind: int
    epoch: int
    sequence: int
    payload: bytes

    @property
    def number(self) -> bytes:
        """Epoch and sequence, as the AEAD of 1.2 takes them."""
        return (self.epoch << 48 | self.sequence).to_bytes(8, "big")


AnyRecord: TypeAlias = Record | Ciphertext


def split(datagram: bytes) -> tuple[list[AnyRecord], bytes]:
    """Take a datagram apart into its records, and what is left that is none."""
    records: list[AnyRecord] = []
    position = 0
    while position < len(datagram):
        if ciphertext.is_ciphertext(datagram[position]):
            found = ciphertext.read(datagram, position)
            if found is None:
                break
            item, position = found
            records.append(item)
            continue
        if len(datagram) - position < HEADER.size:
            break
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

    __slots__ = ("forged", "reading", "sequence", "window", "writing")

    def __init__(self) -> None:
        self.writing: Protection | Protection13 | None = None
        self.reading: Protection | Protection13 | None = None
        self.sequence = 0
        self.window = ReplayWindow(REPLAY_WINDOW)
        self.forged = 0


class RecordLayer:
    """Both directions of an association: the keys, numbers and windows of its epochs."""

    __slots__ = ("_epochs", "epoch")

    def __init__(self) -> None:
        self.epoch = 0
        """The epoch that alerts and application data are written in."""
        self._epochs = {0: _Epoch()}

    def install(
        self,
        epoch: int,
        *,
        writing: Protection | Protection13 | None = None,
        reading: Protection | Protection13 | None = None,
    ) -> None:
        """Give `epoch` keys. Reading begins at once, writing where flights or the owner say so."""
        keys = self._epochs.setdefault(epoch, _Epoch())
        keys.writing = writing or keys.writing
        keys.reading = reading or keys.reading

    def retain(self, *, reading: Collection[int], writing: Collection[int] = ()) -> None:
        """Forget all keys but those to read these epochs, and to write these and the one that we write in."""
        for number, keys in list(self._epochs.items()):
            if number not in reading:
                keys.reading = None
            if number not in writing and number != self.epoch:
                keys.writing = None
            if number and keys.reading is keys.writing is None:
                del self._epochs[number]

    @property
    def sequences(self) -> Mapping[int, int]:
        """The next sequence number of each epoch."""
        return {number: epoch.sequence for number, epoch in self._epochs.items()}

    @property
    def has_room(self) -> bool:
        """Tell whether application data may use one more sequence number of the current epoch (RFC 6347, 4.1)."""
        return self._epochs[self.epoch].sequence <= MAXIMUM_INDEX - RESERVED

    @property
    def is_worn(self) -> bool:
        """Tell whether the current epoch has sealed as many records as its key should."""
        return self._epochs[self.epoch].sequence >= WORN

    def reads(self, epoch: int) -> bool:
        """Tell whether records of `epoch` can be opened."""
        return epoch == 0 or (epoch in self._epochs and self._epochs[epoch].reading is not None)

    def epoch_of(self, item: AnyRecord) -> int | None:
        """Tell a record's epoch: of those that its low bits allow, the newest that we can open (RFC 9147, 4.2.2); None for none."""
        if isinstance(item, Record):
            return item.epoch
        return max(
            (epoch for epoch in self._epochs if epoch and epoch & 3 == item.low_epoch and self.reads(epoch)),
            default=None,
        )

    def overhead(self, epoch: int) -> int:
        """Tell how many octets a record of `epoch` has beyond its payload."""
        writing = self._epochs[epoch].writing
        if isinstance(writing, Protection13):
            return ciphertext.OVERHEAD
        return HEADER.size + (writing.overhead if writing is not None else 0)

    def seal(self, kind: int, epoch: int, payload: bytes) -> bytes:
        """Write a record with the next sequence number of `epoch`."""
        keys = self._epochs[epoch]
        assert epoch == 0 or keys.writing is not None
        sequence = keys.sequence
        if sequence > MAXIMUM_INDEX:
            # Out of reach as long as application data respects `has_room`.
            raise LocalProtocolError("the sequence numbers of this epoch are used up")
        keys.sequence = sequence + 1
        if isinstance(keys.writing, Protection13):
            return ciphertext.seal(keys.writing, epoch, sequence, kind, payload)
        if keys.writing is not None:
            payload = keys.writing.seal((epoch << 48 | sequence).to_bytes(8, "big"), kind, payload)
        header = HEADER.pack(kind, VERSION_1_2, epoch, sequence >> 32, sequence & 0xFFFFFFFF, len(payload))
        return header + payload

    def open(self, item: AnyRecord) -> Record | Drop:
        """Open a record, once; or say why not."""
        epoch = self.epoch_of(item)
        if epoch == 0 and isinstance(item, Record):
            # No window here: a forged number far ahead would close it for the peer's real records.
            # Handshake messages have numbers of their own.
            return item
        keys = self._epochs.get(epoch) if epoch else None
        if epoch is None or keys is None:
            return Drop.WRONG_EPOCH
        if isinstance(item, Ciphertext):
            return _open_13(keys, epoch, item)
        return _open_12(keys, item)


def _open_12(keys: _Epoch, item: Record) -> Record | Drop:
    reading = keys.reading
    if reading is None or isinstance(reading, Protection13):
        return Drop.WRONG_EPOCH  # no record of this form is in it
    if not keys.window.admits(item.sequence):
        return Drop.REPLAYED
    payload = reading.open(item.number, item.kind, item.payload)
    if payload is None:
        return Drop.BAD_RECORD
    keys.window.note(item.sequence)
    return attrs.evolve(item, payload=payload)


def _open_13(keys: _Epoch, epoch: int, item: Ciphertext) -> Record | Drop:
    reading = keys.reading
    if not isinstance(reading, Protection13):
        return Drop.WRONG_EPOCH
    sequence, header = ciphertext.unmask(item, reading, keys.window.highest + 1)
    if not keys.window.admits(sequence):
        return Drop.REPLAYED
    inner = reading.open(sequence, header, item.sealed) if keys.forged < FORGED else None
    if inner is None:
        keys.forged += 1
        return Drop.BAD_RECORD
    keys.window.note(sequence)
    found = ciphertext.open_inner(inner)
    if found is None:
        return Drop.MALFORMED
    return Record(kind=found[0], epoch=epoch, sequence=sequence, payload=found[1])
