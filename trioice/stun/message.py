"""STUN messages: `decode`, `encode`, and `server_ufrag`, which reads just enough to route one (RFC 8489, 5, 6.3 and 14).

What is in force and what is not: attributes behind MESSAGE-INTEGRITY are not covered by it, so anyone on the way may have added
them. `decode` leaves them out, except FINGERPRINT and MESSAGE-INTEGRITY-SHA256 (14.5). Of attributes of one kind the first counts (14).
MESSAGE-INTEGRITY-SHA256 is kept but never verified: ICE has no way to agree on it, and all its agents send the SHA-1 one.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

import attrs

from trioice.errors import LocalProtocolError
from trioice.stun.attributes import (
    COMPREHENSION_OPTIONAL,
    FINGERPRINT,
    LENGTHS,
    MAGIC_COOKIE,
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    USERNAME,
)
from trioice.stun.integrity import fingerprint as _fingerprint
from trioice.stun.integrity import integrity as _integrity
from trioice.stun.integrity import same

BINDING_REQUEST: Final = 0x0001
BINDING_INDICATION: Final = 0x0011
BINDING_SUCCESS: Final = 0x0101
BINDING_ERROR: Final = 0x0111

HEADER_LENGTH: Final = 20
_HEADER: Final = Struct("!HH4s12s")  # message type, message length, magic cookie, transaction ID (5)
_ATTRIBUTE: Final = Struct("!HH")  # type, length; the value follows, padded to four octets (14)


@attrs.frozen
class Message:
    """A STUN message: `kind` is its message type (method and class), `attributes` are those in force, in their order."""

    kind: int
    transaction_id: bytes
    attributes: tuple[tuple[int, bytes], ...] = ()
    _covered: bytes = attrs.field(default=b"", eq=False, repr=False, kw_only=True)

    def get(self, kind: int) -> bytes | None:
        """Give the value of the attribute, or None where the message has none."""
        return next((value for number, value in self.attributes if number == kind), None)

    def verify(self, key: bytes) -> bool:
        """Tell whether the message was decoded with a MESSAGE-INTEGRITY that `key` made; a message without one is refused."""
        claimed = self.get(MESSAGE_INTEGRITY)
        return claimed is not None and same(claimed, _integrity(key, self._covered))

    def unknown_required(self) -> list[int]:
        """List the comprehension-required attributes that we do not know, in their order: a request with one is answered 420."""
        return [kind for kind, _ in self.attributes if kind < COMPREHENSION_OPTIONAL and kind not in LENGTHS]

    @property
    def has_fingerprint(self) -> bool:
        """Whether there is a FINGERPRINT; it is right, or the message would not have been decoded."""
        return self.get(FINGERPRINT) is not None


def decode(datagram: bytes) -> Message | None:
    """Read a message: None for all octets that are no well-formed message, or whose FINGERPRINT is wrong or not the last."""
    end = len(datagram)
    if end < HEADER_LENGTH:
        return None
    kind, length, cookie, transaction_id = _HEADER.unpack_from(datagram)
    if kind >= 0x4000 or cookie != MAGIC_COOKIE or length != end - HEADER_LENGTH or length % 4:
        return None
    attributes: dict[int, bytes] = {}  # keeps the order, and the first of each kind
    covered = b""
    position = HEADER_LENGTH
    while position < end:
        number, length = _ATTRIBUTE.unpack_from(datagram, position)
        start, position = position, position + 4 + (length + 3 & ~3)
        if position > end or (number in LENGTHS and length not in LENGTHS[number]):
            return None
        value = datagram[start + 4 : start + 4 + length]
        if number == FINGERPRINT and (position != end or value != _fingerprint(datagram[:start])):
            return None
        if not _ignored(number, attributes):
            attributes[number] = value
            if number == MESSAGE_INTEGRITY:
                covered = datagram[:2] + (position - HEADER_LENGTH).to_bytes(2, "big") + datagram[4:start]
    return Message(kind, transaction_id, tuple(attributes.items()), covered=covered)


def _ignored(number: int, before: dict[int, bytes]) -> bool:
    if number == FINGERPRINT:
        return False
    if number == MESSAGE_INTEGRITY_SHA256:
        return number in before
    return number in before or MESSAGE_INTEGRITY in before or MESSAGE_INTEGRITY_SHA256 in before  # 14.5, 14.6


def encode(
    kind: int,
    transaction_id: bytes,
    attributes: Iterable[tuple[int, bytes]] = (),
    *,
    key: bytes | None = None,
    fingerprint: bool = True,
) -> bytes:
    """Write a message, with MESSAGE-INTEGRITY made by `key` where one is given, and with FINGERPRINT unless told otherwise."""
    if len(transaction_id) != 12:
        raise LocalProtocolError(f"a transaction ID has 12 octets, not {len(transaction_id)}")
    body = b"".join(_attribute(number, value) for number, value in attributes)
    # Each checksum is computed with the length that the message has up to and with its own attribute (14.5, 14.7).
    if key is not None:
        header = _HEADER.pack(kind, len(body) + 24, MAGIC_COOKIE, transaction_id)
        body += _attribute(MESSAGE_INTEGRITY, _integrity(key, header + body))
    if fingerprint:
        header = _HEADER.pack(kind, len(body) + 8, MAGIC_COOKIE, transaction_id)
        body += _attribute(FINGERPRINT, _fingerprint(header + body))
    return _HEADER.pack(kind, len(body), MAGIC_COOKIE, transaction_id) + body


def _attribute(number: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(number, len(value)) + value + bytes(-len(value) % 4)


def server_ufrag(datagram: bytes) -> bytes | None:
    """Give the receiver's ufrag of a Binding request, the part of USERNAME before the colon; None for all other octets.

    It looks at the header and at the attributes up to USERNAME, at nothing else: what it gives names a call, and proves nothing.
    For every message that `decode` reads, it gives what USERNAME there begins with.
    """
    end = len(datagram)
    if end < HEADER_LENGTH or datagram[:2] != b"\x00\x01" or datagram[4:8] != MAGIC_COOKIE:
        return None
    if int.from_bytes(datagram[2:4], "big") != end - HEADER_LENGTH or end % 4:
        return None
    position = HEADER_LENGTH
    while position < end:
        number, length = _ATTRIBUTE.unpack_from(datagram, position)
        if number == USERNAME:
            if position + 4 + length > end or length not in LENGTHS[USERNAME]:
                return None
            ufrag, colon, _ = datagram[position + 4 : position + 4 + length].partition(b":")
            return ufrag if colon else None
        if number in _LAST:
            return None
        position += 4 + (length + 3 & ~3)
    return None


_LAST: Final = frozenset((MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, FINGERPRINT))
