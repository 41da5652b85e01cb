"""The ACK message of DTLS 1.3: the numbers of records that came (RFC 9147, 7)."""

from collections.abc import Sequence
from struct import Struct
from typing import Final

from trioice.dtls.packing import RecordNumber
from trioice.errors import Malformed
from trioice.wire import Reader, opaque

_NUMBER: Final = Struct("!QQ")  # epoch and sequence number


def ack(numbers: Sequence[RecordNumber]) -> bytes:
    """Write an acknowledgement."""
    return opaque(2, b"".join(_NUMBER.pack(*number) for number in numbers))


def capacity(octets: int) -> int:
    """Tell how many numbers fit an acknowledgement of at most `octets`."""
    return (octets - 2) // _NUMBER.size


def read(payload: bytes) -> list[RecordNumber] | None:
    """Read an acknowledgement, or None for what is none."""
    reader = Reader(payload)
    try:
        octets = reader.opaque(2)
        reader.end()
    except Malformed:
        return None
    return None if len(octets) % _NUMBER.size else list(_NUMBER.iter_unpack(octets))
