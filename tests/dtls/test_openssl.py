"""Against OpenSSL, in both roles: a second opinion on every octet."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from tests.dtls.pairs import (
    CLIENT_CERTIFICATE,
    LABEL,
    SERVER_CERTIFICATE,
    failure,
    make_client,
    make_server,
    taken,
)
from trioice.dtls import Connected, DtlsClient, Fingerprint, State
from trioice.dtls import client as client_module
from trioice.dtls.groups import SECP256R1, SECP384R1, X25519
from trioice.dtls.handshake import Handshake
from trioice.errors import Misbehaviour
from trioice.sansio import Closed, Event, Outbox

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

NAMES = {
    0xC02B: b"ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02C: b"ECDHE-ECDSA-AES256-GCM-SHA384",
    0xCCA9: b"ECDHE-ECDSA-CHACHA20-POLY1305",
    0xC02F: b"ECDHE-RSA-AES128-GCM-SHA256",
    0xC030: b"ECDHE-RSA-AES256-GCM-SHA384",
    0xCCA8: b"ECDHE-RSA-CHACHA20-POLY1305",
}
ECDSA_SUITES = (0xC02B, 0xC02C, 0xCCA9)
RSA_SUITES = (0xC02F, 0xC030, 0xCCA8)
GROUP_NAMES = {X25519: "x25519", SECP256R1: "secp256r1", SECP384R1: "secp384r1"}

P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)


class OpenSslPeer:
    """OpenSSL's DTLS over memory."""

    def __init__(
        self,
        *,
        key: PrivateKey = P256,
        ciphers: bytes = b":".join(NAMES.values()),
        srtp: bytes = b"SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80",
        mtu: int = 1200,
        prepare: Callable[[SSL.Context], None] = lambda context: None,
    ) -> None:
        context = SSL.Context(SSL.DTLS_METHOD)
        self.certificate = _self_signed(key)
        context.use_privatekey(key)
        context.use_certificate(self.certificate)
        context.set_cipher_list(ciphers)
        self.seen: list[x509.Certificate] = []
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verify)
        if srtp:
            context.set_tlsext_use_srtp(srtp)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        prepare(context)
        self.connection = SSL.Connection(context)
        self.connection.set_ciphertext_mtu(mtu)
        self.is_connected = False
        self.error: SSL.Error | None = None
        self.read: list[bytes] = []

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint("sha-256", self.certificate.fingerprint(hashes.SHA256()))

    def _verify(self, connection: SSL.Connection, certificate: Any, *_: object) -> bool:
        self.seen.append(certificate.to_cryptography())
        return True

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take a datagram, and return what OpenSSL answers."""
        self.connection.bio_write(datagram)
        return self.run()

    def run(self) -> list[bytes]:
        try:
            if self.is_connected:
                self.read.append(self.connection.recv(4096))
            else:
                self.connection.do_handshake()
                self.is_connected = True
        except (SSL.WantReadError, SSL.ZeroReturnError):
            pass
        except SSL.Error as error:
            self.error = error
        return self.said()

    def said(self) -> list[bytes]:
        try:
            return [self.connection.bio_read(1 << 16)]
        except SSL.WantReadError:
            return []


def _self_signed(key: PrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, start, start.replace(year=2040))
    return builder.sign(key, hashes.SHA256())


def converse(ours: Handshake, outbox: Outbox, peer: OpenSslPeer, first: list[bytes]) -> None:
    """Carry datagrams until both are silent; `first` is what OpenSSL said already."""
    from_peer = first
    for _ in range(20):
        for datagram in from_peer:
            ours.receive(datagram, "peer", 0.0)
        from_peer = [answer for datagram in taken(outbox) for answer in peer.receive(datagram)]
        if not from_peer and not outbox:
            return
    raise AssertionError("no end of talking")


def call_openssl(peer: OpenSslPeer, **options: Any) -> tuple[Handshake, list[Event], Outbox]:
    """Our client, OpenSSL's server."""
    peer.connection.set_accept_state()
    outbox: Outbox = []
    events: list[Event] = []
    client = make_client(outbox, events, **({"fingerprints": [peer.fingerprint], "inbox": []} | options))
    client.start(0.0)
    converse(client, outbox, peer, [])
    return client, events, outbox


def answer_openssl(peer: OpenSslPeer, **options: Any) -> tuple[Handshake, list[Event], Outbox]:
    """OpenSSL's client, our server."""
    peer.connection.set_connect_state()
    outbox: Outbox = []
    events: list[Event] = []
    server = make_server(outbox, events, **({"fingerprints": [peer.fingerprint], "inbox": []} | options))
    converse(server, outbox, peer, peer.run())
    return server, events, outbox


def assert_agreed(ours: Handshake, events: list[Event], peer: OpenSslPeer) -> None:
    assert ours.state is State.CONNECTED, events
    assert peer.is_connected
    assert peer.connection.get_protocol_version_name() == "DTLSv1.2"
    assert events == [Connected(0xFEFD, ours.cipher_suite, ours.group, ours.srtp_profile)]
    assert ours.export(LABEL, 60) == peer.connection.export_keying_material(LABEL, 60)
    assert ours.peer_certificate == peer.certificate.public_bytes(Encoding.DER)
    assert peer.connection.get_cipher_name() == NAMES[ours.cipher_suite].decode()


@pytest.mark.parametrize("group", [X25519, SECP256R1, SECP384R1], ids=GROUP_NAMES.get)
@pytest.mark.parametrize("suite", ECDSA_SUITES, ids=hex)
def test_our_server_agrees_with_openssl_on_every_suite_and_group(suite: int, group: int) -> None:
    peer = OpenSslPeer(ciphers=NAMES[suite])
    server, events, _ = answer_openssl(peer, groups=(group,))
    assert_agreed(server, events, peer)
    assert (server.cipher_suite, server.srtp_profile) == (suite, 7)
    assert peer.connection.get_group_name() == GROUP_NAMES[group]
    assert peer.seen[0].public_bytes(Encoding.DER) == SERVER_CERTIFICATE.der


@pytest.mark.parametrize("group", [X25519, SECP256R1, SECP384R1], ids=GROUP_NAMES.get)
@pytest.mark.parametrize("suite", ECDSA_SUITES + RSA_SUITES, ids=hex)
def test_our_client_agrees_with_openssl_on_every_suite_and_group(suite: int, group: int) -> None:
    peer = OpenSslPeer(key=RSA if suite in RSA_SUITES else P256, ciphers=NAMES[suite])
    # OpenSSL shows a P-256 certificate only to who lists the curve.
    client, events, _ = call_openssl(peer, groups=(group, *({SECP256R1} - {group})))
    assert_agreed(client, events, peer)
    assert client.cipher_suite == suite
    assert peer.connection.get_group_name() == GROUP_NAMES[group]
    assert peer.seen[0].public_bytes(Encoding.DER) == CLIENT_CERTIFICATE.der


@pytest.mark.parametrize("key", [P384, RSA], ids=["P-384", "RSA"])
def test_other_kinds_of_certificates_are_verified_in_both_roles(key: PrivateKey) -> None:
    peer = OpenSslPeer(key=key)
    client, events, _ = call_openssl(peer)
    assert_agreed(client, events, peer)
    peer = OpenSslPeer(key=key)
    server, events, _ = answer_openssl(peer)
    assert_agreed(server, events, peer)


@pytest.mark.parametrize("scheme", [0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806], ids=hex)
def test_every_rsa_scheme_of_openssl_is_verified(scheme: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SCHEMES", {scheme: None, 0x0403: None})
    peer = OpenSslPeer(key=RSA)
    client, events, _ = call_openssl(peer)
    assert_agreed(client, events, peer)


@pytest.mark.parametrize(("srtp", "number"), [(b"SRTP_AES128_CM_SHA1_80", 1), (b"SRTP_AEAD_AES_256_GCM", 8)])
def test_the_srtp_profile_is_the_one_in_common(srtp: bytes, number: int) -> None:
    for talk in (call_openssl, answer_openssl):
        peer = OpenSslPeer(srtp=srtp)
        ours, events, _ = talk(peer)
        assert_agreed(ours, events, peer)
        assert ours.srtp_profile == number
        assert peer.connection.get_selected_srtp_profile() == srtp


def test_no_srtp_profile_in_common_fails_closed_in_both_roles() -> None:
    for talk in (call_openssl, answer_openssl):
        for srtp in (b"SRTP_AES128_CM_SHA1_32", b""):
            _, events, _ = talk(OpenSslPeer(srtp=srtp))
            assert failure(events) is Misbehaviour.NO_COMMON_SRTP_PROFILE


def test_a_certificate_that_was_not_announced_fails_in_both_roles() -> None:
    for talk in (call_openssl, answer_openssl):
        peer = OpenSslPeer()
        _, events, _ = talk(peer, fingerprints=[OpenSslPeer(key=P384).fingerprint])
        assert failure(events) is Misbehaviour.BAD_FINGERPRINT
        assert not peer.is_connected


def test_openssl_without_a_cipher_suite_in_common_is_refused() -> None:
    _, events, _ = answer_openssl(OpenSslPeer(ciphers=b"ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256"))
    assert failure(events) is Misbehaviour.NO_COMMON_CIPHER_SUITE


def test_a_server_that_asks_for_no_certificate_is_refused() -> None:
    def ask_nothing(context: SSL.Context) -> None:
        context.set_verify(SSL.VERIFY_NONE, lambda *_: True)

    _, events, _ = call_openssl(OpenSslPeer(prepare=ask_nothing))
    assert failure(events) is Misbehaviour.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("mtu", [300, 600])
def test_fragments_of_openssl_and_ours_are_understood(mtu: int) -> None:
    for talk in (call_openssl, answer_openssl):
        peer = OpenSslPeer(key=RSA, mtu=mtu)
        ours, events, _ = talk(peer, mtu=mtu)
        assert_agreed(ours, events, peer)


def test_openssl_passes_our_cookie() -> None:
    peer = OpenSslPeer()
    server, events, _ = answer_openssl(peer, cookie=True)
    assert_agreed(server, events, peer)


def test_we_pass_the_cookie_of_openssl() -> None:
    def demand_cookies(context: SSL.Context) -> None:
        assert SSL.OP_COOKIE_EXCHANGE is not None
        context.set_options(SSL.OP_COOKIE_EXCHANGE)
        context.set_cookie_generate_callback(lambda connection: b"a cookie of OpenSSL")
        context.set_cookie_verify_callback(lambda connection, cookie: cookie == b"a cookie of OpenSSL")

    peer = OpenSslPeer(prepare=demand_cookies)
    client, events, _ = call_openssl(peer)
    assert_agreed(client, events, peer)
    assert isinstance(client, DtlsClient)
    assert client._hello.cookie == b"a cookie of OpenSSL"


def test_application_data_and_close_notify_pass_in_both_directions() -> None:
    for talk in (call_openssl, answer_openssl):
        for suite in ECDSA_SUITES:
            inbox: list[bytes] = []
            peer = OpenSslPeer(ciphers=NAMES[suite])
            ours, events, outbox = talk(peer, inbox=inbox)
            ours.send(b"hello", 1.0)
            for datagram in taken(outbox):
                peer.receive(datagram)
            assert peer.read == [b"hello"]
            peer.connection.send(b"good day")
            for datagram in peer.said():
                ours.receive(datagram, "peer", 1.0)
            assert inbox == [b"good day"]
            peer.connection.shutdown()
            for datagram in peer.said():
                ours.receive(datagram, "peer", 2.0)
            assert events[1:] == [Closed("close_notify")]
            for datagram in taken(outbox):
                peer.receive(datagram)
            assert peer.connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN
