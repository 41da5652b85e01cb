"""The cipher suites of DTLS 1.3, and the protection of one direction of one epoch (RFC 8446, 5.2-5.3 and B.4; RFC 9147, 4.2.3)."""

from collections.abc import Mapping
from typing import Final

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

IV_LENGTH: Final = 12
TAG_LENGTH: Final = 16
SAMPLE_LENGTH: Final = 16
"""Octets of ciphertext that a record number is masked with; shorter records are none (RFC 9147, 4.2.3)."""


@attrs.frozen(kw_only=True)
class CipherSuite13:
    """An AEAD and the hash of the key schedule. What authenticates and what exchanges keys is negotiated apart from it."""

    number: int
    name: str
    hash: str
    key_length: int
    aead: type[AESGCM] | type[ChaCha20Poly1305]


SUITES_13: Final[Mapping[int, CipherSuite13]] = {
    suite.number: suite
    for suite in (
        CipherSuite13(number=0x1301, name="TLS_AES_128_GCM_SHA256", hash="sha256", key_length=16, aead=AESGCM),
        CipherSuite13(number=0x1302, name="TLS_AES_256_GCM_SHA384", hash="sha384", key_length=32, aead=AESGCM),
        CipherSuite13(
            number=0x1303, name="TLS_CHACHA20_POLY1305_SHA256", hash="sha256", key_length=32, aead=ChaCha20Poly1305
        ),
    )
}
"""Every suite we speak at 1.3, in our order of preference."""


class Protection13:
    """Seals or opens the records of one direction of one epoch. As in `trioice.dtls.ciphers`, library objects are made when needed."""

    __slots__ = ("_aead", "_iv", "_key", "_number_key")

    def __init__(self, suite: CipherSuite13, *, key: bytes, iv: bytes, number_key: bytes) -> None:
        self._aead = suite.aead
        self._key = key
        self._iv = int.from_bytes(iv, "big")
        self._number_key = number_key

    def seal(self, sequence: int, header: bytes, inner: bytes) -> bytes:
        """Encrypt an inner plaintext; the header is authenticated as it is before its number is masked (RFC 9147, 4.2.3)."""
        return self._aead(self._key).encrypt(self._nonce(sequence), inner, header)

    def open(self, sequence: int, header: bytes, sealed: bytes) -> bytes | None:
        """Decrypt an inner plaintext, or return None."""
        try:
            return self._aead(self._key).decrypt(self._nonce(sequence), sealed, header)
        except InvalidTag:
            return None

    def mask(self, sealed: bytes) -> bytes:
        """Make what a record number is XORed with out of the record's first 16 octets of ciphertext."""
        sample = sealed[:SAMPLE_LENGTH]
        if self._aead is AESGCM:
            return Cipher(algorithms.AES(self._number_key), modes.ECB()).encryptor().update(sample)
        # The counter comes first in the sample, as the library wants it.
        return Cipher(algorithms.ChaCha20(self._number_key, sample), None).encryptor().update(bytes(SAMPLE_LENGTH))

    def _nonce(self, sequence: int) -> bytes:
        # Unlike in 1.2 the epoch is no part of it: each epoch has keys of its own.
        return (self._iv ^ sequence).to_bytes(IV_LENGTH, "big")
