"""The cipher suites, and the protection of one direction of one epoch (RFC 5288, 5289, 7905; RFC 6347, 4.1.2).

All are AEADs with an ephemeral elliptic curve key exchange; there is nothing else to downgrade to.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

VERSION_1_2: Final = 0xFEFD
ECDSA: Final = "ecdsa"
RSA: Final = "rsa"


class Protection(Protocol):
    """Seals or opens records. `number` is epoch and sequence, 8 octets: what makes the nonce unique."""

    overhead: int

    def seal(self, number: bytes, kind: int, payload: bytes) -> bytes:
        """Seal a payload."""

    def open(self, number: bytes, kind: int, sealed: bytes) -> bytes | None:
        """Open what was sealed, or return None."""


# Both classes keep the key, and make the library's object anew for each record. It takes a microsecond; kept, it would take 2.5 KB for
# each direction of a call, whose records after the handshake are commonly one goodbye.


class GcmProtection:
    """AES-GCM: an implicit salt of 4 octets, then 8 octets that stand in the record (RFC 5288, 3)."""

    __slots__ = ("_key", "_salt")

    overhead = 8 + 16

    def __init__(self, key: bytes, salt: bytes) -> None:
        self._key = key
        self._salt = salt

    def seal(self, number: bytes, kind: int, payload: bytes) -> bytes:
        """Seal a payload."""
        # The explicit part is epoch and sequence, which never repeat under a key. A random one would, sooner or later.
        return number + AESGCM(self._key).encrypt(self._salt + number, payload, _associated(number, kind, len(payload)))

    def open(self, number: bytes, kind: int, sealed: bytes) -> bytes | None:
        """Open what was sealed, or return None."""
        length = len(sealed) - self.overhead
        if length < 0:
            return None
        try:
            return AESGCM(self._key).decrypt(self._salt + sealed[:8], sealed[8:], _associated(number, kind, length))
        except InvalidTag:
            return None


class ChaChaProtection:
    """ChaCha20-Poly1305: an IV of 12 octets XORed with epoch and sequence; nothing stands in the record (RFC 7905, 2)."""

    __slots__ = ("_iv", "_key")

    overhead = 16

    def __init__(self, key: bytes, iv: bytes) -> None:
        self._key = key
        self._iv = int.from_bytes(iv, "big")

    def seal(self, number: bytes, kind: int, payload: bytes) -> bytes:
        """Seal a payload."""
        return ChaCha20Poly1305(self._key).encrypt(
            self._nonce(number), payload, _associated(number, kind, len(payload))
        )

    def open(self, number: bytes, kind: int, sealed: bytes) -> bytes | None:
        """Open what was sealed, or return None."""
        length = len(sealed) - self.overhead
        if length < 0:
            return None
        try:
            return ChaCha20Poly1305(self._key).decrypt(self._nonce(number), sealed, _associated(number, kind, length))
        except InvalidTag:
            return None

    def _nonce(self, number: bytes) -> bytes:
        return (self._iv ^ int.from_bytes(number, "big")).to_bytes(12, "big")


def _associated(number: bytes, kind: int, length: int) -> bytes:
    """What is authenticated beside the payload (RFC 5246, 6.2.3.3; the number is epoch and sequence, RFC 6347, 4.1.2.1)."""
    return b"%b%c%b%b" % (number, kind, VERSION_1_2.to_bytes(2, "big"), length.to_bytes(2, "big"))


@attrs.frozen(kw_only=True)
class CipherSuite:
    """A TLS_ECDHE suite: how its server signs, the hash of its PRF, and its AEAD."""

    number: int
    name: str
    authentication: str
    hash: str
    key_length: int
    iv_length: int
    protection: type[GcmProtection] | type[ChaChaProtection]


def _suite(number: int, authentication: str, cipher: str) -> CipherSuite:
    hash_name, key_length, iv_length, protection = _CIPHERS[cipher]
    return CipherSuite(
        number=number,
        name=f"TLS_ECDHE_{authentication.upper()}_WITH_{cipher}",
        authentication=authentication,
        hash=hash_name,
        key_length=key_length,
        iv_length=iv_length,
        protection=protection,
    )


_CIPHERS: Final[Mapping[str, tuple[str, int, int, type[GcmProtection] | type[ChaChaProtection]]]] = {
    "AES_128_GCM_SHA256": ("sha256", 16, 4, GcmProtection),
    "AES_256_GCM_SHA384": ("sha384", 32, 4, GcmProtection),
    "CHACHA20_POLY1305_SHA256": ("sha256", 32, 12, ChaChaProtection),
}

SUITES: Final[Mapping[int, CipherSuite]] = {
    suite.number: suite
    for suite in (
        _suite(0xC02B, ECDSA, "AES_128_GCM_SHA256"),
        _suite(0xC02C, ECDSA, "AES_256_GCM_SHA384"),
        _suite(0xCCA9, ECDSA, "CHACHA20_POLY1305_SHA256"),
        _suite(0xC02F, RSA, "AES_128_GCM_SHA256"),
        _suite(0xC030, RSA, "AES_256_GCM_SHA384"),
        _suite(0xCCA8, RSA, "CHACHA20_POLY1305_SHA256"),
    )
}
"""Every suite we speak, in our order of preference: AES-128 is the fastest where the processor helps, and as strong as P-256."""
