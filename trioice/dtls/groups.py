"""Key exchange: our half of it for each group (RFC 8422, 5; RFC 7748; RFC 8446, 4.2.8; draft-ietf-tls-ecdhe-mlkem).

Elliptic curves are symmetric: each side has a private key and shows a public one. A key encapsulation mechanism is not: the client
shows a key, and the server answers with a secret that is sealed to it. `KeyShare` is the initiating half of both; `respond`
is the other half.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trioice.sansio import Entropy

SECP256R1: Final = 23
SECP384R1: Final = 24
X25519: Final = 29
X25519MLKEM768: Final = 0x11EC

ENCAPSULATION_KEY_LENGTH: Final = 1184
CIPHERTEXT_LENGTH: Final = 1088
"""Octets of ML-KEM-768's two shares (FIPS 203, 8)."""

Encapsulate: TypeAlias = Callable[[bytes], tuple[bytes, bytes]]
"""Makes a secret and its ciphertext for an ML-KEM-768 encapsulation key; raises ValueError for what is no such key."""


class KeyShare(Protocol):
    """Our half of a key exchange."""

    public: bytes

    def shared(self, peer: bytes) -> bytes:
        """Agree on a secret; raises ValueError for what is no share of the group."""


class X25519KeyShare:
    """A key share on Curve25519."""

    def __init__(self, entropy: Entropy) -> None:
        self._private = x25519.X25519PrivateKey.from_private_bytes(entropy(32))
        self.public = self._private.public_key().public_bytes_raw()

    def shared(self, peer: bytes) -> bytes:
        """Agree on a secret; raises ValueError."""
        # An all-zero result, which a point of small order gives, is a ValueError of the library (RFC 7748, 6.1).
        return self._private.exchange(x25519.X25519PublicKey.from_public_bytes(peer))


class EcKeyShare:
    """A key share on a NIST curve."""

    def __init__(self, curve: ec.EllipticCurve, entropy: Entropy) -> None:
        self._curve = curve
        self._private = private_key(curve, entropy)
        self.public = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def shared(self, peer: bytes) -> bytes:
        """Agree on a secret; raises ValueError."""
        # The library checks that the point is on the curve; it would take compressed ones too, which RFC 8422 took away.
        if len(peer) != len(self.public):
            raise ValueError("not an uncompressed point of this curve")
        return self._private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(self._curve, peer))


class HybridKeyShare:
    """The client's share of X25519MLKEM768: whoever breaks one of the two does not have the secret. ML-KEM's part comes first in all."""

    def __init__(self, entropy: Entropy) -> None:
        self._private = mlkem.MLKEM768PrivateKey.from_seed_bytes(entropy(64))
        self._curve = X25519KeyShare(entropy)
        self.public = self._private.public_key().public_bytes_raw() + self._curve.public

    def shared(self, peer: bytes) -> bytes:
        """Open the server's share; raises ValueError. A forged ciphertext gives a secret that nobody has (FIPS 203, 6.3)."""
        if len(peer) != CIPHERTEXT_LENGTH + 32:
            raise ValueError("not a server's share of X25519MLKEM768")
        secret = self._private.decapsulate(peer[:CIPHERTEXT_LENGTH])
        return secret + self._curve.shared(peer[CIPHERTEXT_LENGTH:])


def encapsulate(key: bytes) -> tuple[bytes, bytes]:
    """Make a secret for an ML-KEM-768 key out of the library's own randomness, as it takes no other."""
    return mlkem.MLKEM768PublicKey.from_public_bytes(key).encapsulate()


def respond(group: int, peer: bytes, entropy: Entropy, encapsulate: Encapsulate) -> tuple[bytes, bytes]:
    """Answer a client's share: our share, and the secret. Raises ValueError for what is no share of the group."""
    if group != X25519MLKEM768:
        share = GROUPS[group](entropy)
        return share.public, share.shared(peer)
    if len(peer) != ENCAPSULATION_KEY_LENGTH + 32:
        raise ValueError("not a client's share of X25519MLKEM768")
    curve = X25519KeyShare(entropy)
    secret, ciphertext = encapsulate(peer[:ENCAPSULATION_KEY_LENGTH])
    return ciphertext + curve.public, secret + curve.shared(peer[ENCAPSULATION_KEY_LENGTH:])


def _has_ml_kem() -> bool:
    """Tell whether the library was built with ML-KEM, as its wheels are; a distribution's OpenSSL may be too old."""
    try:
        mlkem.MLKEM768PrivateKey.from_seed_bytes(bytes(64))
    except UnsupportedAlgorithm:
        return False
    return True


GROUPS: Final[Mapping[int, Callable[[Entropy], KeyShare]]] = {
    **({X25519MLKEM768: HybridKeyShare} if _has_ml_kem() else {}),
    X25519: X25519KeyShare,
    SECP256R1: lambda entropy: EcKeyShare(ec.SECP256R1(), entropy),
    # Few would choose it for the exchange, but only who lists it is shown a certificate on this curve (RFC 8422, 5.1).
    SECP384R1: lambda entropy: EcKeyShare(ec.SECP384R1(), entropy),
}
"""The groups we speak, in our order of preference."""

GROUP_NAMES: Final[Mapping[int, str]] = {
    X25519MLKEM768: "X25519MLKEM768",
    X25519: "x25519",
    SECP256R1: "secp256r1",
    SECP384R1: "secp384r1",
}
"""The groups as IANA spells them."""

CURVES: Final = frozenset({X25519, SECP256R1, SECP384R1})
"""Those that DTLS 1.2 can use: its messages know no key encapsulation."""

_ORDERS: Final[Mapping[str, int]] = {  # SEC 2, 2.4.2 and 2.5.1
    "secp256r1": 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
    "secp384r1": int("FF" * 24 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
}


def private_key(curve: ec.EllipticCurve, entropy: Entropy) -> ec.EllipticCurvePrivateKey:
    """Make a private key out of `entropy` alone: 64 bits more than needed, then the remainder (FIPS 186-5, A.2.1)."""
    order = _ORDERS[curve.name]
    drawn = int.from_bytes(entropy((order.bit_length() + 64) // 8), "big")
    return ec.derive_private_key(1 + drawn % (order - 1), curve)
