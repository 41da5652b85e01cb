"""Key exchange and key schedule (RFC 8422, 5; RFC 7748; RFC 5246, 5, 6.3, 7.4.9; RFC 7627, 4; RFC 5705)."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trioice.dtls.ciphers import CipherSuite, Protection
from trioice.sansio import Entropy

SECP256R1: Final = 23
SECP384R1: Final = 24
X25519: Final = 29

MASTER_SECRET_LENGTH: Final = 48
VERIFY_DATA_LENGTH: Final = 12


class KeyShare(Protocol):
    """Our half of a key exchange."""

    public: bytes

    def shared(self, peer: bytes) -> bytes:
        """Agree on the premaster secret; raises ValueError for what is no public key of the group."""


class X25519KeyShare:
    """A key share on Curve25519."""

    def __init__(self, entropy: Entropy) -> None:
        self._private = x25519.X25519PrivateKey.from_private_bytes(entropy(32))
        self.public = self._private.public_key().public_bytes_raw()

    def shared(self, peer: bytes) -> bytes:
        """Agree on the premaster secret; raises ValueError."""
        # An all-zero result, which a point of small order gives, is a ValueError of the library (RFC 7748, 6.1).
        return self._private.exchange(x25519.X25519PublicKey.from_public_bytes(peer))


class EcKeyShare:
    """A key share on a NIST curve."""

    def __init__(self, curve: ec.EllipticCurve, entropy: Entropy) -> None:
        self._curve = curve
        self._private = private_key(curve, entropy)
        self.public = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def shared(self, peer: bytes) -> bytes:
        """Agree on the premaster secret; raises ValueError."""
        # The library checks that the point is on the curve; it would take compressed ones too, which RFC 8422 took away.
        if len(peer) != len(self.public):
            raise ValueError("not an uncompressed point of this curve")
        return self._private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(self._curve, peer))


GROUPS: Final[Mapping[int, Callable[[Entropy], KeyShare]]] = {
    X25519: X25519KeyShare,
    SECP256R1: lambda entropy: EcKeyShare(ec.SECP256R1(), entropy),
    # Few would choose it for the exchange, but only who lists it is shown a certificate on this curve (RFC 8422, 5.1).
    SECP384R1: lambda entropy: EcKeyShare(ec.SECP384R1(), entropy),
}
"""The groups we speak, in our order of preference."""

_ORDERS: Final[Mapping[str, int]] = {  # SEC 2, 2.4.2 and 2.5.1
    "secp256r1": 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
    "secp384r1": int("FF" * 24 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
}


def private_key(curve: ec.EllipticCurve, entropy: Entropy) -> ec.EllipticCurvePrivateKey:
    """Make a private key out of `entropy` alone: 64 bits more than needed, then the remainder (FIPS 186-5, A.2.1)."""
    order = _ORDERS[curve.name]
    drawn = int.from_bytes(entropy((order.bit_length() + 64) // 8), "big")
    return ec.derive_private_key(1 + drawn % (order - 1), curve)


def prf(hash_name: str, secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """TLS 1.2's pseudorandom function with that hash (RFC 5246, 5)."""
    seed = label + seed
    output = b""
    step = seed
    while len(output) < length:
        step = hmac.digest(secret, step, hash_name)
        output += hmac.digest(secret, step + seed, hash_name)
    return output[:length]


@attrs.frozen(kw_only=True, repr=False)
class Secrets:
    """The master secret of an association and what is derived from it."""

    suite: CipherSuite
    client_random: bytes
    server_random: bytes
    master: bytes

    @classmethod
    def derive(
        cls, suite: CipherSuite, premaster: bytes, transcript: bytes, *, client_random: bytes, server_random: bytes
    ) -> "Secrets":
        """Bind the master secret to the handshake up to the ClientKeyExchange (extended master secret, RFC 7627, 4)."""
        session_hash = hashlib.new(suite.hash, transcript).digest()
        master = prf(suite.hash, premaster, b"extended master secret", session_hash, MASTER_SECRET_LENGTH)
        return cls(suite=suite, client_random=client_random, server_random=server_random, master=master)

    def protections(self) -> tuple[Protection, Protection]:
        """Derive what protects the client's records and the server's (RFC 5246, 6.3)."""
        suite = self.suite
        length = 2 * (suite.key_length + suite.iv_length)
        block = prf(suite.hash, self.master, b"key expansion", self.server_random + self.client_random, length)
        keys, ivs = block[: 2 * suite.key_length], block[2 * suite.key_length :]
        return (
            suite.protection(keys[: suite.key_length], ivs[: suite.iv_length]),
            suite.protection(keys[suite.key_length :], ivs[suite.iv_length :]),
        )

    def verify_data(self, label: bytes, transcript: bytes) -> bytes:
        """Compute a Finished: label is b"client finished" or b"server finished" (RFC 5246, 7.4.9)."""
        digest = hashlib.new(self.suite.hash, transcript).digest()
        return prf(self.suite.hash, self.master, label, digest, VERIFY_DATA_LENGTH)

    def export(self, label: bytes, length: int) -> bytes:
        """Export keying material without a context (RFC 5705, 4)."""
        return prf(self.suite.hash, self.master, label, self.client_random + self.server_random, length)

    def key_log_line(self) -> str:
        """Write the secret as a line of an NSS key log, which opens a capture of the association. For debugging alone."""
        return f"CLIENT_RANDOM {self.client_random.hex()} {self.master.hex()}"
