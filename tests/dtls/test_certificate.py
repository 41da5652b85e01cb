"""Certificates, fingerprints and signatures."""

import datetime as dt
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tests.dtls.pairs import CLIENT_CERTIFICATE, STRANGER
from tests.harness.clockwork import seeded
from trioice.dtls import Certificate, Fingerprint
from trioice.dtls.certificate import OUR_SCHEME, SCHEMES, is_announced, kind_of, public_key, verify

AnyKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)


def signed(key: AnyKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2040))
    return builder.sign(
        key, None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    )


def der(key: AnyKey) -> bytes:
    return signed(key).public_bytes(Encoding.DER)


def pem(key: AnyKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def test_the_same_seed_makes_the_same_certificate_and_signature() -> None:
    one, other = Certificate.generate(seeded(1)), Certificate.generate(seeded(1))
    assert one.der == other.der != Certificate.generate(seeded(2)).der
    assert one.sign(b"octets") == other.sign(b"octets")


def test_a_generated_certificate_is_self_signed_on_p_256() -> None:
    certificate = x509.load_der_x509_certificate(CLIENT_CERTIFICATE.der)
    certificate.verify_directly_issued_by(certificate)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)


def test_a_certificate_from_pem_signs_what_its_key_verifies() -> None:
    certificate = Certificate.load(signed(P256).public_bytes(Encoding.PEM), pem(P256))
    assert certificate.der == signed_der(certificate)
    assert verify(public_key(certificate.der), OUR_SCHEME, certificate.sign(b"octets"), b"octets")


def signed_der(certificate: Certificate) -> bytes:
    return x509.load_der_x509_certificate(certificate.der).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        (P384, pem(P384), "not an ECDSA key on P-256"),
        (RSA, pem(RSA), "not an ECDSA key on P-256"),
        (P256, pem(ec.generate_private_key(ec.SECP256R1())), "not of this private key"),
        (P256, pem(P256, b"secret"), "cannot be used"),
        (P256, b"no PEM", "."),
    ],
    ids=["P-384", "RSA", "another key", "encrypted", "no PEM"],
)
def test_pem_that_cannot_be_used_is_a_value_error_with_a_reason(certificate: AnyKey, key: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Certificate.load(signed(certificate).public_bytes(Encoding.PEM), key)


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-384", "sha-512"])
def test_a_fingerprint_is_written_as_sdp_has_it_and_read(algorithm: str) -> None:
    fingerprint = CLIENT_CERTIFICATE.fingerprint(algorithm)
    digest = hashlib.new(algorithm.replace("-", ""), CLIENT_CERTIFICATE.der).hexdigest().upper()
    assert str(fingerprint) == f"{algorithm} " + ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
    assert Fingerprint.read(str(fingerprint)) == Fingerprint.read(str(fingerprint).swapcase()) == fingerprint


@pytest.mark.parametrize(
    "text", ["", "sha-256", "sha-256 ", "sha-256 AB:C", "sha-256 AB:CD", "sha-256 AB CD", "sha-256  AB", "sha-256 GG"]
)
def test_what_is_no_fingerprint_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        Fingerprint.read(text)


def test_a_certificate_is_announced_by_any_hash_that_we_support() -> None:
    ours = CLIENT_CERTIFICATE
    for algorithm in ("sha-256", "sha-384", "sha-512"):
        assert is_announced(ours.der, [ours.fingerprint(algorithm)])
        assert is_announced(ours.der, [STRANGER.fingerprint(), ours.fingerprint(algorithm)])
        assert not is_announced(ours.der, [STRANGER.fingerprint(algorithm)])
    assert not is_announced(ours.der, [])


def test_a_weak_or_unknown_hash_announces_nothing() -> None:
    sha_1 = Fingerprint("sha-1", hashlib.sha1(CLIENT_CERTIFICATE.der).digest())
    unknown = Fingerprint.read("sha-999 AB:CD")
    assert not is_announced(CLIENT_CERTIFICATE.der, [sha_1, unknown])
    assert is_announced(CLIENT_CERTIFICATE.der, [sha_1, unknown, CLIENT_CERTIFICATE.fingerprint()])


def test_the_key_of_a_peer_is_ecdsa_or_rsa() -> None:
    assert [kind_of(public_key(der(key))) for key in (P256, P384, RSA)] == ["ecdsa", "ecdsa", "rsa"]


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"no DER",
        der(P256)[:-1],
        der(rsa.generate_private_key(65537, 1024)),
        der(ec.generate_private_key(ec.SECP521R1())),
        der(ed448.Ed448PrivateKey.generate()),
    ],
    ids=["empty", "junk", "short", "RSA-1024", "P-521", "Ed448"],
)
def test_a_certificate_that_is_unreadable_or_weak_is_a_value_error(octets: bytes) -> None:
    with pytest.raises(ValueError):
        public_key(octets)


def test_a_mutated_certificate_raises_nothing_but_value_error() -> None:
    octets = CLIENT_CERTIFICATE.der
    for position in range(len(octets)):
        for value in (0x00, 0x7F, 0xFF, octets[position] ^ 1):
            mutated = octets[:position] + bytes((value,)) + octets[position + 1 :]
            try:
                public_key(mutated)
            except ValueError:
                pass


def _pss(algorithm: hashes.HashAlgorithm) -> bytes:
    return RSA.sign(b"octets", padding.PSS(padding.MGF1(algorithm), algorithm.digest_size), algorithm)


def _pkcs1(algorithm: hashes.HashAlgorithm) -> bytes:
    return RSA.sign(b"octets", padding.PKCS1v15(), algorithm)


SIGNATURES = [
    (P256, 0x0403, P256.sign(b"octets", ec.ECDSA(hashes.SHA256()))),
    (P256, 0x0503, P256.sign(b"octets", ec.ECDSA(hashes.SHA384()))),
    (P384, 0x0403, P384.sign(b"octets", ec.ECDSA(hashes.SHA256()))),
    (P384, 0x0503, P384.sign(b"octets", ec.ECDSA(hashes.SHA384()))),
    (ED25519, 0x0807, ED25519.sign(b"octets")),
    (RSA, 0x0401, _pkcs1(hashes.SHA256())),
    (RSA, 0x0501, _pkcs1(hashes.SHA384())),
    (RSA, 0x0601, _pkcs1(hashes.SHA512())),
    (RSA, 0x0804, _pss(hashes.SHA256())),
    (RSA, 0x0805, _pss(hashes.SHA384())),
    (RSA, 0x0806, _pss(hashes.SHA512())),
]


@pytest.mark.parametrize(
    ("key", "scheme", "signature"), SIGNATURES, ids=lambda value: hex(value) if isinstance(value, int) else ""
)
def test_a_signature_verifies_by_its_scheme_alone(key: AnyKey, scheme: int, signature: bytes) -> None:
    public = public_key(der(key))
    assert verify(public, scheme, signature, b"octets")
    assert not verify(public, scheme, signature, b"other octets")
    assert not verify(public, scheme, signature[:-1], b"octets")
    assert not verify(public, scheme, b"", b"octets")
    for other in {*SCHEMES, 0x0201, 0x0203, 0xFFFF} - {scheme}:
        assert not verify(public, other, signature, b"octets")


@pytest.mark.parametrize(
    ("key", "scheme", "signature"), SIGNATURES, ids=lambda value: hex(value) if isinstance(value, int) else ""
)
def test_in_1_3_a_scheme_names_its_curve_and_pkcs1_signs_nothing(key: AnyKey, scheme: int, signature: bytes) -> None:
    public = public_key(der(key))
    fits = {0x0403: key is P256, 0x0503: key is P384}.get(scheme, SCHEMES[scheme].kind != "pkcs1")
    assert verify(public, scheme, signature, b"octets", is_13=True) is fits
    assert not verify(public, scheme, signature, b"other octets", is_13=True)
