"""The attributes of STUN that ICE needs: their numbers, their permitted lengths and their values (RFC 8489, 14; RFC 8445, 16).

An attribute is a pair of its number and the octets of its value. Only values with a structure have functions here: the integers of
ICE (PRIORITY, the tie-breakers) are read and written with ``int.from_bytes`` and ``int.to_bytes``.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

MAGIC_COOKIE: Final = b"\x21\x12\xa4\x42"

# Comprehension-required: an agent that does not know one of these answers 420 (RFC 8489, 14).
MAPPED_ADDRESS: Final = 0x0001
USERNAME: Final = 0x0006
MESSAGE_INTEGRITY: Final = 0x0008
ERROR_CODE: Final = 0x0009
UNKNOWN_ATTRIBUTES: Final = 0x000A
REALM: Final = 0x0014
NONCE: Final = 0x0015
MESSAGE_INTEGRITY_SHA256: Final = 0x001C
XOR_MAPPED_ADDRESS: Final = 0x0020
PRIORITY: Final = 0x0024
USE_CANDIDATE: Final = 0x0025
# Comprehension-optional.
SOFTWARE: Final = 0x8022
ALTERNATE_SERVER: Final = 0x8023
FINGERPRINT: Final = 0x8028
ICE_CONTROLLED: Final = 0x8029
ICE_CONTROLLING: Final = 0x802A
META_DTLS_IN_STUN: Final = 0xC070
META_DTLS_IN_STUN_ACKNOWLEDGEMENT: Final = 0xC071

COMPREHENSION_OPTIONAL: Final = 0x8000
"""Attributes from this number on may be ignored by an agent that does not know them."""

LENGTHS: Final[Mapping[int, range]] = {
    MAPPED_ADDRESS: range(8, 21, 12),  # 8 octets for IPv4, 20 for IPv6
    USERNAME: range(513),  # RFC 5389's bound; RFC 8489 has 509, but its predecessors still call
    MESSAGE_INTEGRITY: range(20, 21),
    ERROR_CODE: range(4, 768),  # a reason of 763 octets at most (RFC 8489, 14.8)
    UNKNOWN_ATTRIBUTES: range(0, 1 << 16, 2),
    REALM: range(764),
    NONCE: range(764),
    MESSAGE_INTEGRITY_SHA256: range(16, 33, 4),
    XOR_MAPPED_ADDRESS: range(8, 21, 12),
    PRIORITY: range(4, 5),
    USE_CANDIDATE: range(1),
    SOFTWARE: range(764),
    ALTERNATE_SERVER: range(8, 21, 12),
    FINGERPRINT: range(4, 5),
    ICE_CONTROLLED: range(8, 9),
    ICE_CONTROLLING: range(8, 9),
    # Of any length: they ride on a check, and a check is not malformed because of what rides on it (trioice/sped.py).
    META_DTLS_IN_STUN: range(1 << 16),
    META_DTLS_IN_STUN_ACKNOWLEDGEMENT: range(1 << 16),
}
"""What we know, and how many octets its value may have: with any other length the whole message is malformed."""


def xor_address(address: tuple[str, int], transaction_id: bytes) -> bytes:
    """Write the value of XOR-MAPPED-ADDRESS (RFC 8489, 14.2).

    An IPv4 address that a dual-stack socket shows as ``::ffff:192.0.2.1`` is written as IPv4, for that is what the client has.
    """
    host = ip_address(address[0])
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    family = b"\x00\x01" if host.version == 4 else b"\x00\x02"
    return family + _xor(address[1].to_bytes(2, "big"), MAGIC_COOKIE) + _xor(host.packed, MAGIC_COOKIE + transaction_id)


def read_xor_address(value: bytes, transaction_id: bytes) -> tuple[str, int] | None:
    """Read the value of XOR-MAPPED-ADDRESS: host and port, or None if it is malformed."""
    port = int.from_bytes(_xor(value[2:4], MAGIC_COOKIE), "big")
    host = _xor(value[4:], MAGIC_COOKIE + transaction_id)
    # The first octet is to be ignored (RFC 8489, 14.1).
    if len(value) == 8 and value[1] == 1:
        return str(IPv4Address(host)), port
    if len(value) == 20 and value[1] == 2:
        return str(IPv6Address(host)), port
    return None


def error_code(code: int, reason: str) -> bytes:
    """Write the value of ERROR-CODE (RFC 8489, 14.8); `code` is 300 to 699."""
    return bytes((0, 0, code // 100, code % 100)) + reason.encode()


def read_error_code(value: bytes) -> tuple[int, str] | None:
    """Read the value of ERROR-CODE: the code and its reason, or None if it is malformed."""
    if len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
        return None
    return (value[2] & 7) * 100 + value[3], value[4:].decode(errors="replace")


def unknown_attributes(kinds: Iterable[int]) -> bytes:
    """Write the value of UNKNOWN-ATTRIBUTES, which a 420 response carries (RFC 8489, 14.13)."""
    return b"".join(kind.to_bytes(2, "big") for kind in kinds)


def _xor(octets: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(octets, mask, strict=False))
