"""DTLSCiphertext: the records of DTLS 1.3 under keys, with a short header whose record number is masked (RFC 9147, 4 and 4.2).

     0 1 2 3 4 5 6 7
    |0 0 1 C S L E E|   C: a connection id follows, which we never negotiate
                        S: the number has 16 bits and not 8     L: a length of 16 bits follows
                        E: the low bits of the epoch

Only the low bits of epoch and number are there; the receiver knows the rest. What kind of record it is, is encrypted with it.
"""

from typing import Final

import attrs

from trioice.dtls.ciphers13 import SAMPLE_LENGTH, TAG_LENGTH, Protection13

FIXED: Final = 0b0010_0000
FIXED_MASK: Final = 0b1110_0000
CONNECTION_ID: Final = 0b0001_0000
SIXTEEN_BITS: Final = 0b0000_1000
LENGTH: Final = 0b0000_0100
EPOCH_MASK: Final = 0b0000_0011

HEADER_LENGTH: Final = 5
OVERHEAD: Final = HEADER_LENGTH + 1 + TAG_LENGTH
"""Octets of one of our records beyond its payload: the header with all fields, the kind, the tag."""

MAXIMUM_LENGTH: Final = (1 << 14) + 256
"""No record is longer (RFC 8446, 5.2)."""


@attrs.frozen
class Ciphertext:
    """A record as it stood in its datagram: its header, masked, and what is sealed."""

    header: bytes
    sealed: bytes

    @property
    def low_epoch(self) -> int:
        """The low two bits of its epoch."""
        return self.header[0] & EPOCH_MASK


def is_ciphertext(first: int) -> bool:
    """Tell by its first octet whether a record is of this kind."""
    return first & FIXED_MASK == FIXED


def read(datagram: bytes, start: int) -> tuple[Ciphertext, int] | None:
    """Read the record at `start` and where it ends; None for what is none, or too short to be opened."""
    first = datagram[start]
    number_end = start + (3 if first & SIXTEEN_BITS else 2)
    header_end = number_end + (2 if first & LENGTH else 0)
    end = len(datagram)
    if first & CONNECTION_ID or header_end > end:
        return None
    if first & LENGTH:
        end = header_end + int.from_bytes(datagram[number_end:header_end], "big")
    if end > len(datagram) or not SAMPLE_LENGTH < end - header_end <= MAXIMUM_LENGTH:
        return None
    return Ciphertext(datagram[start:header_end], datagram[header_end:end]), end


def seal(protection: Protection13, epoch: int, sequence: int, kind: int, payload: bytes) -> bytes:
    """Write a record, with 16 bits of its number and with its length, so that others may follow."""
    first = FIXED | SIXTEEN_BITS | LENGTH | epoch & EPOCH_MASK
    length = len(payload) + 1 + TAG_LENGTH
    header = bytes((first,)) + (sequence & 0xFFFF).to_bytes(2, "big") + length.to_bytes(2, "big")
    sealed = protection.seal(sequence, header, payload + bytes((kind,)))
    return _masked(header, protection, sealed) + sealed


def unmask(item: Ciphertext, protection: Protection13, expected: int) -> tuple[int, bytes]:
    """Find a record's number, the one nearest to the `expected` that its low bits allow, and its header in plain (RFC 9147, 4.2.2)."""
    header = _masked(item.header, protection, item.sealed)
    size = _number_size(header)
    span = 1 << 8 * size
    ahead = (int.from_bytes(header[1 : 1 + size], "big") - expected) % span
    sequence = expected + ahead - (span if ahead > span // 2 else 0)
    return (sequence if sequence >= 0 else sequence + span), header


def open_inner(inner: bytes) -> tuple[int, bytes] | None:
    """Split an inner plaintext into kind and payload; behind the kind there may be zeros (RFC 8446, 5.4)."""
    stripped = inner.rstrip(b"\0")
    return (stripped[-1], stripped[:-1]) if stripped else None


def _number_size(header: bytes) -> int:
    return 2 if header[0] & SIXTEEN_BITS else 1


def _masked(header: bytes, protection: Protection13, sealed: bytes) -> bytes:
    """Mask a header's number, or take the mask off: the same (RFC 9147, 4.2.3)."""
    mask = protection.mask(sealed)
    end = 1 + _number_size(header)
    number = bytes(octet ^ mask[place] for place, octet in enumerate(header[1:end]))
    return header[:1] + number + header[end:]
