"""Certificates and signatures of every kind that we verify in DTLS 1.3, and those that only look like one (RFC 8446, 4.2.3 and 4.4.3)."""

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.dtls.pairs import (
    STRANGER,
    Pair,
)
from tests.dtls.rogues import SIDES, Sign, is_refused, meets, rogue, signing
from trioice.dtls import Certificate, DtlsClient
from trioice.dtls.ciphers import VERSION_1_2
from trioice.dtls.fragments import Message
from trioice.dtls.messages import CertificateVerify, HandshakeType
from trioice.errors import Misbehaviour


def self_signed(key: Any) -> bytes:
    """A certificate of another key than ours have, in DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2040))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


P256 = ec.derive_private_key(7, ec.SECP256R1())
P384 = ec.derive_private_key(7, ec.SECP384R1())
P521 = ec.derive_private_key(7, ec.SECP521R1())
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
RSA = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)


def pss(algorithm: hashes.HashAlgorithm, salt: int | None = None) -> Sign:
    length = algorithm.digest_size if salt is None else salt
    return lambda octets: RSA.sign(octets, padding.PSS(padding.MGF1(algorithm), length), algorithm)


def ecdsa(key: ec.EllipticCurvePrivateKey, algorithm: hashes.HashAlgorithm) -> Sign:
    return lambda octets: key.sign(octets, ec.ECDSA(algorithm))


@pytest.mark.parametrize(
    ("key", "scheme", "sign"),
    [
        (P256, 0x0403, ecdsa(P256, hashes.SHA256())),
        (P384, 0x0503, ecdsa(P384, hashes.SHA384())),
        (ED25519, 0x0807, ED25519.sign),
        (RSA, 0x0804, pss(hashes.SHA256())),
        (RSA, 0x0805, pss(hashes.SHA384())),
        (RSA, 0x0806, pss(hashes.SHA512())),
    ],
    ids=["P-256", "P-384", "Ed25519", "PSS-256", "PSS-384", "PSS-512"],
)
@pytest.mark.parametrize("side", SIDES)
def test_certificates_of_every_kind_are_verified_in_both_roles(side: str, key: Any, scheme: int, sign: Sign) -> None:
    foreign = Certificate(self_signed(key), STRANGER._key)
    pair, ours, _ = meets(side, rogue(side, signing(scheme, sign)), foreign)
    assert pair.are_agreed
    assert ours.peer_certificate == foreign.der


@pytest.mark.parametrize(
    ("key", "scheme", "sign"),
    [
        (P384, 0x0403, ecdsa(P384, hashes.SHA256())),  # signatures that are right but for the curve
        (P256, 0x0503, ecdsa(P256, hashes.SHA384())),
        (P256, 0x0603, ecdsa(P256, hashes.SHA512())),
        (P256, 0x0203, ecdsa(P256, hashes.SHA1())),
        (
            RSA,
            0x0401,
            lambda octets: RSA.sign(octets, padding.PKCS1v15(), hashes.SHA256()),
        ),  # of 1.2, where we offer it
        (RSA, 0x0501, lambda octets: RSA.sign(octets, padding.PKCS1v15(), hashes.SHA384())),
        (RSA, 0x0201, lambda octets: RSA.sign(octets, padding.PKCS1v15(), hashes.SHA1())),
        (RSA, 0x0809, pss(hashes.SHA256())),  # rsa_pss_pss is for another kind of key
        (RSA, 0x0804, pss(hashes.SHA256(), salt=20)),
        (RSA, 0x0804, pss(hashes.SHA384())),
        (RSA, 0x0403, pss(hashes.SHA256())),
        (P256, 0x0804, ecdsa(P256, hashes.SHA256())),
        (P256, 0x0807, ecdsa(P256, hashes.SHA256())),
        (ED25519, 0x0403, ED25519.sign),
        (ED25519, 0x0808, ED25519.sign),
        (P256, 0x0403, lambda octets: b""),
        (P256, 0x0403, lambda octets: b"\x30\x06\x02\x01\x00\x02\x01\x00"),
        (ED25519, 0x0807, lambda octets: bytes(64)),
        (ED25519, 0x0807, lambda octets: b"short"),
        (RSA, 0x0804, lambda octets: bytes(256)),
        (RSA, 0x0804, lambda octets: b"\xff" * 300),
    ],
)
@pytest.mark.parametrize("side", SIDES)
def test_a_signature_by_another_scheme_than_the_key_and_1_3_allow_is_refused(
    side: str, key: Any, scheme: int, sign: Sign
) -> None:
    foreign = Certificate(self_signed(key), STRANGER._key)
    _, ours, events = meets(side, rogue(side, signing(scheme, sign)), foreign)
    is_refused(ours, events, Misbehaviour.BAD_CERTIFICATE_VERIFY, 51)


@pytest.mark.parametrize("key", [P521, WEAK], ids=["P-521", "RSA-1024"])
@pytest.mark.parametrize("side", SIDES)
def test_a_key_that_is_too_weak_or_of_another_kind_is_refused(side: str, key: Any) -> None:
    _, ours, events = meets(side, rogue(side, lambda _, __, body: body), Certificate(self_signed(key), STRANGER._key))
    is_refused(ours, events, Misbehaviour.BAD_CERTIFICATE, 43)


def test_in_1_2_the_curve_is_the_affair_of_the_key() -> None:
    foreign = Certificate(self_signed(P384), STRANGER._key)

    class Foreign(DtlsClient):
        def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
            if kind == HandshakeType.CERTIFICATE_VERIFY:
                body = CertificateVerify(0x0403, ecdsa(P384, hashes.SHA256())(b"".join(self._transcript))).octets()
            return super()._message(kind, body, epoch)

    marks = {"fingerprints": [foreign.fingerprint()]}
    pair = Pair(client={"kind": Foreign, "certificate": foreign}, server=marks, versions=(VERSION_1_2,)).run()
    assert pair.are_agreed
