"""The two checksums of STUN: HMAC-SHA1 against forgers, CRC-32 to be told from other protocols (RFC 8489, 14.5 and 14.7)."""

import hmac
import zlib
from typing import Final

_FINGERPRINT_MASK: Final = 0x5354554E  # "STUN": keeps the CRC apart from that of a protocol which uses CRC-32 too


def integrity(key: bytes, octets: bytes) -> bytes:
    """Compute the value of MESSAGE-INTEGRITY over `octets`: the message before it, with the length that it has *with* it."""
    return hmac.digest(key, octets, "sha1")


def same(one: bytes, other: bytes) -> bool:
    """Compare two authentication codes in a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)


def fingerprint(octets: bytes) -> bytes:
    """Compute the value of FINGERPRINT over `octets`: the message before it, with the length that it has *with* it."""
    return (zlib.crc32(octets) ^ _FINGERPRINT_MASK).to_bytes(4, "big")
