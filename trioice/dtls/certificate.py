"""Certificates, their fingerprints in SDP, and signatures under them (RFC 8122; RFC 5246, 4.7 and 7.4.2; RFC 8422, 5; RFC 8446, 4.2.3).

No authority vouches for a certificate here: the SDP names its fingerprint, and its holder signs the handshake.
"""

import datetime as dt
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self, TypeAlias

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key, load_pem_private_key
from cryptography.x509.oid import NameOID

from trioice.dtls.ciphers import ECDSA, RSA
from trioice.dtls.groups import private_key
from trioice.sansio import Entropy

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

HASHES: Final[Mapping[str, str]] = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
"""The hashes we compare fingerprints by: IANA's names and hashlib's. SHA-1 and MD5 prove nothing any more."""

RSA_BITS: Final = range(2048, 8192 + 1)
"""RSA keys below are weak; those above cost a server more time per signature than a call is worth."""

# Nobody checks the dates of these certificates, and fixed ones make the same seed give the same octets.
NOT_BEFORE: Final = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
NOT_AFTER: Final = dt.datetime(2049, 12, 31, tzinfo=dt.UTC)


@attrs.frozen
class Fingerprint:
    """The digest of a certificate, as ``a=fingerprint`` has it (RFC 8122, 5)."""

    algorithm: str
    digest: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """Read "sha-256 AB:CD:…"; raises ValueError. A hash that we do not know is kept; it matches nothing."""
        match = re.fullmatch(r"([A-Za-z0-9-]+) ([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*)", text)
        if match is None:
            raise ValueError("not a fingerprint")
        algorithm, digest = match[1].lower(), bytes.fromhex(match[2].replace(":", ""))
        if algorithm in HASHES and len(digest) != hashlib.new(HASHES[algorithm]).digest_size:
            raise ValueError(f"{len(digest)} octets are no {algorithm} digest")
        return cls(algorithm, digest)

    @classmethod
    def of(cls, der: bytes, algorithm: str) -> Self:
        """Compute the fingerprint of a certificate by one of `HASHES`."""
        return cls(algorithm, hashlib.new(HASHES[algorithm], der).digest())

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digest.hex(':').upper()}"


def is_announced(der: bytes, fingerprints: Sequence[Fingerprint]) -> bool:
    """Tell whether a certificate is one that the SDP announced."""
    # Deviation: RFC 8122, 5.1 compares by the one hash that we prefer among those announced. All three are collision
    # resistant, and all come over the same signaling, so a match by any of them proves as much.
    return any(mark.algorithm in HASHES and mark == Fingerprint.of(der, mark.algorithm) for mark in fingerprints)


@attrs.frozen(repr=False)
class Certificate:
    """A certificate of our own and its key: ECDSA on P-256, which every WebRTC peer verifies (RFC 8827, 6.5)."""

    der: bytes
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls, entropy: Entropy) -> Self:
        """Make a self-signed certificate; the same entropy makes the same octets."""
        key = private_key(ec.SECP256R1(), entropy)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trioice")])
        builder = x509.CertificateBuilder(
            issuer_name=name,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=1,
            not_valid_before=NOT_BEFORE,
            not_valid_after=NOT_AFTER,
        )
        certificate = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)
        return cls(certificate.public_bytes(Encoding.DER), key)

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> Self:
        """Take a certificate and its unencrypted key from PEM; raises ValueError for all but ECDSA on P-256."""
        try:
            key = load_pem_private_key(key_pem, None)
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError(f"the private key cannot be used: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the private key is not an ECDSA key on P-256")
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        if certificate.public_key() != key.public_key():
            raise ValueError("the certificate is not of this private key")
        return cls(certificate.public_bytes(Encoding.DER), key)

    def fingerprint(self, algorithm: str = "sha-256") -> Fingerprint:
        """Compute what the SDP announces."""
        return Fingerprint.of(self.der, algorithm)

    def sign(self, octets: bytes) -> bytes:
        """Sign by `OUR_SCHEME`. Deterministic (RFC 6979): no weak randomness can give the key away."""
        return self._key.sign(octets, _SIGNING)


OUR_SCHEME: Final = 0x0403
"""ecdsa_secp256r1_sha256."""

_SIGNING: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


@attrs.frozen
class Scheme:
    """What a signature scheme signs with. In TLS 1.2 the curve is the key's own affair (RFC 8446, 4.2.3)."""

    kind: Literal["ecdsa", "ed25519", "pkcs1", "pss"]
    hash: hashes.HashAlgorithm
    curve: str = ""


SCHEMES: Final[Mapping[int, Scheme]] = {
    0x0403: Scheme("ecdsa", hashes.SHA256(), "secp256r1"),
    0x0503: Scheme("ecdsa", hashes.SHA384(), "secp384r1"),
    0x0807: Scheme("ed25519", hashes.SHA512()),
    0x0804: Scheme("pss", hashes.SHA256()),
    0x0805: Scheme("pss", hashes.SHA384()),
    0x0806: Scheme("pss", hashes.SHA512()),
    0x0401: Scheme("pkcs1", hashes.SHA256()),
    0x0501: Scheme("pkcs1", hashes.SHA384()),
    0x0601: Scheme("pkcs1", hashes.SHA512()),
}
"""The signature schemes we verify, in our order of preference."""

SCHEMES_13: Final = tuple(number for number, scheme in SCHEMES.items() if scheme.kind != "pkcs1")
"""Those that sign a handshake of 1.3 (RFC 8446, 4.2.3)."""


def public_key(der: bytes) -> PublicKey:
    """Read the public key of a peer's certificate; raises ValueError for what cannot be read or is too weak."""
    try:
        key = load_der_public_key(_key_info(der))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"the certificate cannot be read: {error}") from None
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS:
        return key
    raise ValueError("the certificate's key is neither ECDSA on P-256 or P-384, Ed25519, nor RSA of 2048 to 8192 bits")


def _key_info(der: bytes) -> bytes:
    """Find the SubjectPublicKeyInfo of a certificate (RFC 5280, 4.1).

    All else in it means nothing where nobody vouches for it, and libraries refuse certificates for it that peers do use.
    """
    _, certificate, _ = _element(der)
    _, fields, _ = _element(certificate)
    if fields[:1] == b"\xa0":  # the version, which may be missing
        _, _, fields = _element(fields)
    for _ in ("serialNumber", "signature", "issuer", "validity", "subject"):
        _, _, fields = _element(fields)
    header, content, _ = _element(fields)
    return header + content


def _element(octets: bytes) -> tuple[bytes, bytes, bytes]:
    """Split the first element off DER: its header, its content, and the rest."""
    first = octets[1] if len(octets) > 1 else 0x80
    size = first & 0x7F if first > 0x80 else 0
    start = 2 + size
    end = start + (int.from_bytes(octets[2:start], "big") if size else first)
    if first == 0x80 or end > len(octets):
        raise ValueError("DER that ends early, or nowhere")
    return octets[:start], octets[start:end], octets[end:]


def kind_of(key: PublicKey) -> str:
    """Tell which suites of DTLS 1.2 a key can sign for; Ed25519 goes with ECDSA (RFC 8422, 5.4)."""
    return RSA if isinstance(key, rsa.RSAPublicKey) else ECDSA


def verify(key: PublicKey, number: int, signature: bytes, octets: bytes, *, is_13: bool = False) -> bool:
    """Tell whether `signature` over `octets` is the holder's of `key`, by a scheme that fits the key and the version."""
    scheme = SCHEMES.get(number)
    if scheme is None or (is_13 and number not in SCHEMES_13):
        return False
    try:
        match key, scheme.kind:
            case rsa.RSAPublicKey(), "pkcs1":
                key.verify(signature, octets, padding.PKCS1v15(), scheme.hash)
            case rsa.RSAPublicKey(), "pss":
                pss = padding.PSS(padding.MGF1(scheme.hash), padding.PSS.DIGEST_LENGTH)
                key.verify(signature, octets, pss, scheme.hash)
            case ec.EllipticCurvePublicKey(), "ecdsa" if not is_13 or key.curve.name == scheme.curve:
                key.verify(signature, octets, ec.ECDSA(scheme.hash))
            case ed25519.Ed25519PublicKey(), "ed25519":
                key.verify(signature, octets)
            case _:
                return False
    except InvalidSignature:
        return False
    return True
