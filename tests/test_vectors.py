"""Published values of DTLS 1.3's parts, computed again: a wrong digit in tests/vectors would show here, and in no other place."""

import hashlib
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import mlkem, padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.dtls.pairs import vector
from tests.reference13 import (
    DTLS,
    TLS,
    Keys,
    Secrets,
    aes_mask,
    chacha20_mask,
    derive,
    expand_label,
    transcript_hash,
    verify_data,
    without_dtls_fields,
)
from tests.vectors import dtls13_handshake, ml_kem_768, record_number_masks, rfc8448
from trioice.dtls import certificate

CERTIFICATE_VERIFY = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"


def assert_exchange(client_private: bytes, server_private: bytes, client: bytes, server: bytes, shared: bytes) -> None:
    ours, theirs = (X25519PrivateKey.from_private_bytes(key) for key in (client_private, server_private))
    assert (ours.public_key().public_bytes_raw(), theirs.public_key().public_bytes_raw()) == (client, server)
    assert ours.exchange(X25519PublicKey.from_public_bytes(server)) == shared
    assert theirs.exchange(X25519PublicKey.from_public_bytes(client)) == shared


# RFC 8448


def test_the_key_schedule_of_rfc_8448() -> None:
    v = rfc8448
    assert_exchange(v.CLIENT_PRIVATE, v.SERVER_PRIVATE, v.CLIENT_PUBLIC, v.SERVER_PUBLIC, v.SHARED)
    secrets = Secrets.of(TLS, v.SHARED)
    assert secrets == Secrets(v.EARLY_SECRET, v.HANDSHAKE_SALT, v.HANDSHAKE_SECRET, v.MASTER_SALT, v.MASTER_SECRET)

    hellos = [v.CLIENT_HELLO, v.SERVER_HELLO]
    assert transcript_hash(*hellos) == v.HELLOS_HASH
    assert derive(TLS, secrets.handshake, b"c hs traffic", v.HELLOS_HASH) == v.CLIENT_HANDSHAKE_TRAFFIC
    assert derive(TLS, secrets.handshake, b"s hs traffic", v.HELLOS_HASH) == v.SERVER_HANDSHAKE_TRAFFIC

    flight = [*hellos, v.ENCRYPTED_EXTENSIONS, v.CERTIFICATE, v.CERTIFICATE_VERIFY, v.SERVER_FINISHED]
    assert transcript_hash(*flight) == v.SERVER_FLIGHT_HASH
    assert derive(TLS, secrets.master, b"c ap traffic", v.SERVER_FLIGHT_HASH) == v.CLIENT_APPLICATION_TRAFFIC
    assert derive(TLS, secrets.master, b"s ap traffic", v.SERVER_FLIGHT_HASH) == v.SERVER_APPLICATION_TRAFFIC
    assert derive(TLS, secrets.master, b"exp master", v.SERVER_FLIGHT_HASH) == v.EXPORTER_MASTER

    assert transcript_hash(*flight, v.CLIENT_FINISHED) == v.CLIENT_FLIGHT_HASH
    assert derive(TLS, secrets.master, b"res master", v.CLIENT_FLIGHT_HASH) == v.RESUMPTION_MASTER


def test_the_keys_of_rfc_8448() -> None:
    v = rfc8448
    for secret, key, iv in (
        (v.CLIENT_HANDSHAKE_TRAFFIC, v.CLIENT_HANDSHAKE_KEY, v.CLIENT_HANDSHAKE_IV),
        (v.SERVER_HANDSHAKE_TRAFFIC, v.SERVER_HANDSHAKE_KEY, v.SERVER_HANDSHAKE_IV),
        (v.CLIENT_APPLICATION_TRAFFIC, v.CLIENT_APPLICATION_KEY, v.CLIENT_APPLICATION_IV),
        (v.SERVER_APPLICATION_TRAFFIC, v.SERVER_APPLICATION_KEY, v.SERVER_APPLICATION_IV),
    ):
        keys = Keys.of(TLS, secret)
        assert (keys.key, keys.iv) == (key, iv)


def test_both_finished_of_rfc_8448() -> None:
    v = rfc8448
    before = [v.CLIENT_HELLO, v.SERVER_HELLO, v.ENCRYPTED_EXTENSIONS, v.CERTIFICATE, v.CERTIFICATE_VERIFY]
    for secret, key, finished, digest in (
        (v.SERVER_HANDSHAKE_TRAFFIC, v.SERVER_FINISHED_KEY, v.SERVER_FINISHED, transcript_hash(*before)),
        (v.CLIENT_HANDSHAKE_TRAFFIC, v.CLIENT_FINISHED_KEY, v.CLIENT_FINISHED, v.SERVER_FLIGHT_HASH),
    ):
        assert expand_label(TLS, secret, b"finished", b"", 32) == key
        assert finished == b"\x14\0\0\x20" + verify_data(TLS, secret, digest)


def test_the_signature_of_rfc_8448() -> None:
    v = rfc8448
    # Its key has 1024 bits, which is too weak for a peer of ours; so it is not `certificate.public_key` that reads it.
    key = load_der_public_key(certificate._key_info(v.CERTIFICATE[11:-2]))
    assert isinstance(key, rsa.RSAPublicKey)
    digest = transcript_hash(v.CLIENT_HELLO, v.SERVER_HELLO, v.ENCRYPTED_EXTENSIONS, v.CERTIFICATE)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    assert v.CERTIFICATE_VERIFY[4:6] == b"\x08\x04"
    key.verify(v.CERTIFICATE_VERIFY[8:], CERTIFICATE_VERIFY + digest, pss, hashes.SHA256())


# DTLS 1.3, with its own prefix


def test_the_key_schedule_of_a_published_dtls_1_3_handshake() -> None:
    v = dtls13_handshake
    assert_exchange(v.CLIENT_PRIVATE, v.SERVER_PRIVATE, v.CLIENT_PUBLIC, v.SERVER_PUBLIC, v.SHARED)
    client_hello, server_hello, *_ = vector("dtls13_handshake.hex")
    hellos = [without_dtls_fields(datagram[13:]) for datagram in (client_hello, server_hello)]
    assert transcript_hash(*hellos) == v.HELLOS_HASH
    secrets = Secrets.of(DTLS, v.SHARED)
    assert secrets.handshake == v.HANDSHAKE_SECRET
    client = derive(DTLS, secrets.handshake, b"c hs traffic", v.HELLOS_HASH)
    server = derive(DTLS, secrets.handshake, b"s hs traffic", v.HELLOS_HASH)
    assert (client, server) == (v.CLIENT_HANDSHAKE_TRAFFIC, v.SERVER_HANDSHAKE_TRAFFIC)
    assert Keys.of(DTLS, client) == client_handshake_keys()
    assert Keys.of(DTLS, server) == server_handshake_keys()
    client = derive(DTLS, secrets.master, b"c ap traffic", v.SERVER_FLIGHT_HASH)
    server = derive(DTLS, secrets.master, b"s ap traffic", v.SERVER_FLIGHT_HASH)
    assert Keys.of(DTLS, client) == client_application_keys()
    assert Keys.of(DTLS, server) == server_application_keys()


def test_the_records_of_a_published_dtls_1_3_handshake() -> None:
    v = dtls13_handshake
    client_hello, server_hello, *flight, client_finished, ack, ping, pong, goodbye = vector("dtls13_handshake.hex")
    transcript = [without_dtls_fields(datagram[13:]) for datagram in (client_hello, server_hello)]
    for number, datagram in enumerate(flight):
        sequence, inner = server_handshake_keys().open(datagram)
        assert (sequence, inner[-1]) == (number, 22)
        assert inner[4:6] == (number + 1).to_bytes(2, "big")  # message_seq
        message = without_dtls_fields(inner[:-1])
        if message[0] == 15:
            verify_signature(transcript[-1], message, transcript_hash(*transcript))
        if message[0] == 20:
            expected = verify_data(DTLS, v.SERVER_HANDSHAKE_TRAFFIC, transcript_hash(*transcript))
            assert message[4:] == expected == v.SERVER_VERIFY_DATA
        transcript.append(message)
    assert [message[0] for message in transcript] == [1, 2, 8, 11, 15, 20]
    assert transcript_hash(*transcript) == v.SERVER_FLIGHT_HASH
    sequence, inner = client_handshake_keys().open(client_finished)
    expected = verify_data(DTLS, v.CLIENT_HANDSHAKE_TRAFFIC, v.SERVER_FLIGHT_HASH)
    assert (sequence, inner[12:-1]) == (0, expected)
    assert expected == v.CLIENT_VERIFY_DATA
    assert server_application_keys().open(ack) == (0, v.ACK)
    assert client_application_keys().open(ping) == (0, v.PING)
    assert server_application_keys().open(pong) == (1, v.PONG)
    assert server_application_keys().open(goodbye) == (2, v.CLOSE_NOTIFY)


def verify_signature(chain: bytes, verify: bytes, digest: bytes) -> None:
    key = x509.load_der_x509_certificate(chain[11:-2]).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert certificate.verify(key, 0x0804, verify[8:], CERTIFICATE_VERIFY + digest)


def client_handshake_keys() -> Keys:
    v = dtls13_handshake
    return Keys(v.CLIENT_HANDSHAKE_KEY, v.CLIENT_HANDSHAKE_IV, v.CLIENT_HANDSHAKE_SN)


def server_handshake_keys() -> Keys:
    v = dtls13_handshake
    return Keys(v.SERVER_HANDSHAKE_KEY, v.SERVER_HANDSHAKE_IV, v.SERVER_HANDSHAKE_SN)


def client_application_keys() -> Keys:
    v = dtls13_handshake
    return Keys(v.CLIENT_APPLICATION_KEY, v.CLIENT_APPLICATION_IV, v.CLIENT_APPLICATION_SN)


def server_application_keys() -> Keys:
    v = dtls13_handshake
    return Keys(v.SERVER_APPLICATION_KEY, v.SERVER_APPLICATION_IV, v.SERVER_APPLICATION_SN)


# Record numbers

Mask = Callable[[bytes, bytes], bytes]


@pytest.mark.parametrize(
    ("mask", "key", "sample", "expected"),
    [(aes_mask, *case) for case in record_number_masks.AES]
    + [(chacha20_mask, *case) for case in record_number_masks.CHACHA20],
    ids=lambda value: value[:4] if isinstance(value, str) else None,
)
def test_the_masks_of_record_numbers(mask: Mask, key: str, sample: str, expected: str) -> None:
    given = mask(bytes.fromhex(key), bytes.fromhex(sample)).hex()
    assert given.startswith(expected)


# ML-KEM


@pytest.mark.parametrize("case", ml_kem_768.CASES, ids=range(len(ml_kem_768.CASES)))
def test_the_library_agrees_with_the_known_answers_of_ml_kem(case: ml_kem_768.Case) -> None:
    key = mlkem.MLKEM768PrivateKey.from_seed_bytes(case.seed)
    assert key.public_key().public_bytes_raw() == case.encapsulation_key
    assert key.decapsulate(case.ciphertext) == case.secret
    assert key.decapsulate(case.wrong_ciphertext) == case.rejection
    # So is the rejection computed, out of the second half of the seed: a difference that only the holder of the key can tell.
    assert hashlib.shake_256(case.seed[32:] + case.wrong_ciphertext).digest(32) == case.rejection


def test_one_changed_bit_of_a_ciphertext_gives_another_secret_and_no_error() -> None:
    [case, *_] = ml_kem_768.CASES
    key = mlkem.MLKEM768PrivateKey.from_seed_bytes(case.seed)
    for position in (0, 500, 1087):
        changed = bytearray(case.ciphertext)
        changed[position] ^= 1
        secret = key.decapsulate(bytes(changed))
        assert secret == hashlib.shake_256(case.seed[32:] + changed).digest(32) != case.secret


def test_the_library_makes_the_keys_of_nist_and_wycheproof() -> None:
    nist = mlkem.MLKEM768PrivateKey.from_seed_bytes(ml_kem_768.ACVP_SEED).public_key().public_bytes_raw()
    assert hashlib.sha256(nist).digest() == ml_kem_768.ACVP_KEY_SHA256
    other = mlkem.MLKEM768PrivateKey.from_seed_bytes(ml_kem_768.WYCHEPROOF_SEED).public_key().public_bytes_raw()
    assert hashlib.sha3_256(other).digest() == ml_kem_768.WYCHEPROOF_KEY_SHA3_256


def test_the_library_refuses_what_is_no_key_or_ciphertext() -> None:
    [case, *_] = ml_kem_768.CASES
    for encapsulation_key in (case.encapsulation_key[:-1], case.encapsulation_key + b"\0", b"\xff" * 1184):
        # The last has the right length; its numbers are above the modulus (FIPS 203, 7.2).
        with pytest.raises(ValueError):
            mlkem.MLKEM768PublicKey.from_public_bytes(encapsulation_key)
    key = mlkem.MLKEM768PrivateKey.from_seed_bytes(case.seed)
    for ciphertext in (case.ciphertext[:-1], case.ciphertext + b"\0", b""):
        with pytest.raises(ValueError):
            key.decapsulate(ciphertext)
