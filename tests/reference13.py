"""The key schedule and the records of TLS 1.3 and DTLS 1.3 once more, out of hmac and a cipher: what published values are held against.

It shares nothing with `trioice.dtls`: where both give what was published, they hardly have the same mistake in common. SHA-256 alone.
"""

import hashlib
import hmac

import attrs
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TLS = b"tls13 "
DTLS = b"dtls13"

HASH_LENGTH = 32


def transcript_hash(*messages: bytes) -> bytes:
    """Hash messages with TLS headers (RFC 8446, 4.4.1)."""
    return hashlib.sha256(b"".join(messages)).digest()


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract (RFC 5869, 2.2)."""
    return hmac.digest(salt, secret, "sha256")


def expand_label(prefix: bytes, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """HKDF-Expand-Label; the prefix is TLS's or DTLS's (RFC 8446, 7.1; RFC 9147, 5.9)."""
    label = prefix + label
    description = length.to_bytes(2, "big") + bytes((len(label),)) + label + bytes((len(context),)) + context
    output = step = b""
    for number in range(1, 256):
        step = hmac.digest(secret, step + description + bytes((number,)), "sha256")
        output += step
        if len(output) >= length:
            break
    return output[:length]


def derive(prefix: bytes, secret: bytes, label: bytes, digest: bytes) -> bytes:
    """Derive-Secret, of a transcript that was hashed before (RFC 8446, 7.1)."""
    return expand_label(prefix, secret, label, digest, HASH_LENGTH)


def verify_data(prefix: bytes, traffic_secret: bytes, digest: bytes) -> bytes:
    """The content of a Finished (RFC 8446, 4.4.4)."""
    return hmac.digest(expand_label(prefix, traffic_secret, b"finished", b"", HASH_LENGTH), digest, "sha256")


@attrs.frozen
class Secrets:
    """The secrets between a key exchange and the traffic (RFC 8446, 7.1)."""

    early: bytes
    handshake_salt: bytes
    handshake: bytes
    master_salt: bytes
    master: bytes

    @classmethod
    def of(cls, prefix: bytes, shared: bytes) -> "Secrets":
        nothing = transcript_hash()
        early = extract(bytes(HASH_LENGTH), bytes(HASH_LENGTH))
        handshake_salt = derive(prefix, early, b"derived", nothing)
        handshake = extract(handshake_salt, shared)
        master_salt = derive(prefix, handshake, b"derived", nothing)
        return cls(early, handshake_salt, handshake, master_salt, extract(master_salt, bytes(HASH_LENGTH)))


@attrs.frozen
class Keys:
    """What protects the records of one direction and epoch by AES-128-GCM (RFC 8446, 7.3; RFC 9147, 4.2.3)."""

    key: bytes
    iv: bytes
    sn: bytes

    @classmethod
    def of(cls, prefix: bytes, traffic_secret: bytes) -> "Keys":
        lengths = ((b"key", 16), (b"iv", 12), (b"sn", 16))
        return cls(*(expand_label(prefix, traffic_secret, label, b"", length) for label, length in lengths))

    def open(self, record: bytes) -> tuple[int, bytes]:
        """Open a DTLSCiphertext that says its length in a header of five octets: its number and its inner plaintext (RFC 9147, 4)."""
        ciphertext = record[5:]
        number = bytes(a ^ b for a, b in zip(record[1:3], aes_mask(self.sn, ciphertext[:16]), strict=False))
        sequence = int.from_bytes(number, "big")
        nonce = (int.from_bytes(self.iv, "big") ^ sequence).to_bytes(12, "big")
        return sequence, AESGCM(self.key).decrypt(nonce, ciphertext, record[:1] + number + record[3:5])


def aes_mask(key: bytes, sample: bytes) -> bytes:
    """What hides a record number where the cipher is AES (RFC 9147, 4.2.3)."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(sample)


def chacha20_mask(key: bytes, sample: bytes) -> bytes:
    """What hides a record number where the cipher is ChaCha20: `sample` is block counter and nonce (RFC 9147, 4.2.3)."""
    return Cipher(algorithms.ChaCha20(key, sample), None).encryptor().update(bytes(64))


def without_dtls_fields(message: bytes) -> bytes:
    """Take message_seq, fragment_offset and fragment_length off a whole message, as the transcript has it (RFC 9147, 5.2)."""
    return message[:4] + message[12:]
