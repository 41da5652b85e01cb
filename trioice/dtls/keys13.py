"""The key schedule of DTLS 1.3 (RFC 8446, 4.4.4, 7.1-7.3 and 7.5; RFC 9147, 4.2.3 and 5.9).

    shared secret ──▶ handshake traffic secrets ──▶ epoch 2
                  └─▶ master secret ─┬─▶ application traffic secrets ──▶ epoch 3, and 4, 5, … by KeyUpdate
                                     └─▶ exporter secret ──▶ the keys of SRTP

Where TLS writes "tls13 " before each label, DTLS writes "dtls13".
"""

import functools
import hashlib
import hmac
from typing import Final

import attrs

from trioice.dtls.ciphers13 import IV_LENGTH, CipherSuite13, Protection13
from trioice.wire import opaque, uint

PREFIX: Final = b"dtls13"


def expand_label(
    hash_name: str, secret: bytes, label: bytes, context: bytes, length: int, prefix: bytes = PREFIX
) -> bytes:
    """HKDF-Expand-Label (RFC 8446, 7.1), HKDF-Expand being RFC 5869, 2.3."""
    information = _head(prefix + label, length) + opaque(1, context)
    output = block = hmac.digest(secret, information + b"\x01", hash_name)
    counter = 1
    while len(output) < length:
        counter += 1
        block = hmac.digest(secret, block + information + bytes((counter,)), hash_name)
        output += block
    return output[:length]


@functools.lru_cache(maxsize=64)
def _head(label: bytes, length: int) -> bytes:
    """Write length and label, of which a handshake uses a dozen."""
    return uint(2, length) + opaque(1, label)


@attrs.frozen(repr=False)
class KeySchedule:
    """A hash and a prefix. Transcripts are given as the messages that they are hashes of."""

    hash: str
    prefix: bytes = PREFIX

    def digest(self, octets: bytes) -> bytes:
        """Hash a transcript."""
        return hashlib.new(self.hash, octets).digest()

    def derive(self, secret: bytes, label: bytes, transcript: bytes) -> bytes:
        """Derive-Secret (RFC 8446, 7.1)."""
        context = self.digest(transcript)
        return expand_label(self.hash, secret, label, context, len(context), self.prefix)

    def handshake(self, shared: bytes) -> bytes:
        """Compute the handshake secret; there is no pre-shared key."""
        zeros = bytes(hashlib.new(self.hash).digest_size)
        early = hmac.digest(zeros, zeros, self.hash)
        return hmac.digest(self.derive(early, b"derived", b""), shared, self.hash)

    def master(self, handshake: bytes) -> bytes:
        """Compute the master secret."""
        zeros = bytes(hashlib.new(self.hash).digest_size)
        return hmac.digest(self.derive(handshake, b"derived", b""), zeros, self.hash)

    def verify_data(self, traffic_secret: bytes, transcript: bytes) -> bytes:
        """Compute the Finished of the side that has this handshake traffic secret (RFC 8446, 4.4.4)."""
        key = self._expand(traffic_secret, b"finished", hashlib.new(self.hash).digest_size)
        return hmac.digest(key, self.digest(transcript), self.hash)

    def next(self, traffic_secret: bytes) -> bytes:
        """Compute the secret that follows an application traffic secret (RFC 8446, 7.2)."""
        return self._expand(traffic_secret, b"traffic upd", len(traffic_secret))

    def protection(self, suite: CipherSuite13, traffic_secret: bytes) -> Protection13:
        """Make the keys of one direction of an epoch (RFC 8446, 7.3; RFC 9147, 4.2.3)."""
        return Protection13(
            suite,
            key=self._expand(traffic_secret, b"key", suite.key_length),
            iv=self._expand(traffic_secret, b"iv", IV_LENGTH),
            number_key=self._expand(traffic_secret, b"sn", suite.key_length),
        )

    def export(self, exporter_secret: bytes, label: bytes, length: int) -> bytes:
        """Export keying material without a context, which is the same as with an empty one (RFC 8446, 7.5)."""
        secret = self.derive(exporter_secret, label, b"")
        return expand_label(self.hash, secret, b"exporter", self.digest(b""), length, self.prefix)

    def _expand(self, secret: bytes, label: bytes, length: int) -> bytes:
        return expand_label(self.hash, secret, label, b"", length, self.prefix)


@attrs.frozen(kw_only=True, repr=False)
class Traffic:
    """A pair of traffic secrets."""

    client: bytes
    server: bytes

    @classmethod
    def derive(cls, schedule: KeySchedule, secret: bytes, label: bytes, transcript: bytes) -> "Traffic":
        """Derive both: `label` is b"hs" or b"ap"."""
        return cls(
            client=schedule.derive(secret, b"c " + label + b" traffic", transcript),
            server=schedule.derive(secret, b"s " + label + b" traffic", transcript),
        )
