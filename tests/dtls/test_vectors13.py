"""DTLS 1.3's key schedule, records and groups against what was published of them."""

import pytest

from tests.dtls.pairs import vector
from tests.vectors import dtls13_handshake, ml_kem_768, record_number_masks, rfc8448
from trioice.dtls import acks, certificate
from trioice.dtls.ciphers13 import SUITES_13, Protection13
from trioice.dtls.fragments import Fragment, Message
from trioice.dtls.groups import HybridKeyShare, X25519KeyShare, respond
from trioice.dtls.keys13 import KeySchedule, Traffic
from trioice.dtls.messages import CertificateVerify, ClientHello, ServerHello
from trioice.dtls.messages13 import CertificateChain13, EncryptedExtensions
from trioice.dtls.record import ACK, ALERT, APPLICATION_DATA, HANDSHAKE, Record, RecordLayer, split
from trioice.wire import Reader

TLS = KeySchedule("sha256", b"tls13 ")
DTLS = KeySchedule("sha256")
AES_128 = SUITES_13[0x1301]


def test_the_key_schedule_of_rfc_8448() -> None:
    v = rfc8448
    handshake = TLS.handshake(v.SHARED)
    assert handshake == v.HANDSHAKE_SECRET
    transcript = v.CLIENT_HELLO + v.SERVER_HELLO
    traffic = Traffic.derive(TLS, handshake, b"hs", transcript)
    assert (traffic.client, traffic.server) == (v.CLIENT_HANDSHAKE_TRAFFIC, v.SERVER_HANDSHAKE_TRAFFIC)
    transcript += v.ENCRYPTED_EXTENSIONS + v.CERTIFICATE + v.CERTIFICATE_VERIFY
    assert TLS.verify_data(traffic.server, transcript) == v.SERVER_FINISHED[4:]
    transcript += v.SERVER_FINISHED
    assert TLS.verify_data(traffic.client, transcript) == v.CLIENT_FINISHED[4:]
    master = TLS.master(handshake)
    assert master == v.MASTER_SECRET
    traffic = Traffic.derive(TLS, master, b"ap", transcript)
    assert (traffic.client, traffic.server) == (v.CLIENT_APPLICATION_TRAFFIC, v.SERVER_APPLICATION_TRAFFIC)
    assert TLS.derive(master, b"exp master", transcript) == v.EXPORTER_MASTER


@pytest.mark.parametrize(
    ("number", "cases"), [(0x1301, record_number_masks.AES), (0x1303, record_number_masks.CHACHA20)]
)
def test_the_masks_of_record_numbers(number: int, cases: list[tuple[str, str, str]]) -> None:
    for key, sample, mask in cases:
        protection = Protection13(SUITES_13[number], key=bytes(16), iv=bytes(12), number_key=bytes.fromhex(key))
        assert protection.mask(bytes.fromhex(sample) + b"more").hex().startswith(mask)


def published() -> tuple[list[Message], RecordLayer, RecordLayer, list[bytes]]:
    """The hellos of the published handshake, what reads the server's records and the client's, and all that is sealed."""
    v = dtls13_handshake
    client_hello, server_hello, *sealed = vector("dtls13_handshake.hex")
    hellos = []
    for datagram in (client_hello, server_hello):
        [record], rest = split(datagram)
        assert isinstance(record, Record)
        assert not rest
        hellos.append(message_of(record.payload))
    secret = DTLS.handshake(v.SHARED)
    assert secret == v.HANDSHAKE_SECRET
    traffic = Traffic.derive(DTLS, secret, b"hs", b"".join(message.tls_octets() for message in hellos))
    assert (traffic.client, traffic.server) == (v.CLIENT_HANDSHAKE_TRAFFIC, v.SERVER_HANDSHAKE_TRAFFIC)
    of_server, of_client = RecordLayer(), RecordLayer()
    of_server.install(2, reading=DTLS.protection(AES_128, traffic.server))
    of_client.install(2, reading=DTLS.protection(AES_128, traffic.client))
    return hellos, of_server, of_client, sealed


def opened(layer: RecordLayer, datagram: bytes) -> tuple[int, int, int, bytes]:
    [record], rest = split(datagram)
    assert not rest
    item = layer.open(record)
    assert isinstance(item, Record)
    return item.kind, item.epoch, item.sequence, item.payload


def message_of(payload: bytes) -> Message:
    fragment = Fragment.read(Reader(payload))
    return Message(kind=fragment.kind, sequence=fragment.sequence, body=fragment.octets)


def test_the_published_handshake_is_read_record_by_record() -> None:
    v = dtls13_handshake
    messages, of_server, of_client, sealed = published()
    *flight, finished, ack, ping, pong, goodbye = sealed
    for number, datagram in enumerate(flight):
        kind, epoch, sequence, payload = opened(of_server, datagram)
        assert (kind, epoch, sequence) == (HANDSHAKE, 2, number)
        messages.append(message_of(payload))
    kinds = [message.kind for message in messages]
    assert kinds == [1, 2, 8, 11, 15, 20]
    transcript = [message.tls_octets() for message in messages]
    hello, answer, extra, chain, verify, server_finished = (message.body for message in messages)
    assert ClientHello.read(hello).octets() == hello
    assert ServerHello.read(answer).octets() == answer
    assert EncryptedExtensions.read(extra).octets() == extra
    assert CertificateChain13.read(chain).octets() == chain
    assert CertificateVerify.read(verify).octets() == verify
    key = certificate.public_key(CertificateChain13.read(chain).certificates[0])
    signed = b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + DTLS.digest(b"".join(transcript[:4]))
    proof = CertificateVerify.read(verify)
    assert certificate.verify(key, proof.scheme, proof.signature, signed, is_13=True)
    assert DTLS.verify_data(v.SERVER_HANDSHAKE_TRAFFIC, b"".join(transcript[:5])) == server_finished
    _, _, _, payload = opened(of_client, finished)
    assert message_of(payload).body == DTLS.verify_data(v.CLIENT_HANDSHAKE_TRAFFIC, b"".join(transcript))
    traffic = Traffic.derive(DTLS, DTLS.master(v.HANDSHAKE_SECRET), b"ap", b"".join(transcript))
    of_server.install(3, reading=DTLS.protection(AES_128, traffic.server))
    of_client.install(3, reading=DTLS.protection(AES_128, traffic.client))
    kind, epoch, sequence, payload = opened(of_server, ack)
    assert (kind, epoch, sequence, acks.read(payload)) == (ACK, 3, 0, [(2, 0)])
    assert acks.ack([(2, 0)]) == payload
    assert opened(of_client, ping) == (APPLICATION_DATA, 3, 0, b"ping")
    assert opened(of_server, pong) == (APPLICATION_DATA, 3, 1, b"pong")
    assert opened(of_server, goodbye) == (ALERT, 3, 2, b"\x01\x00")


def test_our_records_are_the_published_ones_octet_by_octet() -> None:
    v = dtls13_handshake
    _, of_server, _, sealed = published()
    writer = RecordLayer()
    writer.install(2, writing=DTLS.protection(AES_128, v.SERVER_HANDSHAKE_TRAFFIC))
    for datagram in sealed[:4]:
        _, _, _, payload = opened(of_server, datagram)
        assert writer.seal(HANDSHAKE, 2, payload) == datagram


@pytest.mark.parametrize("case", ml_kem_768.CASES, ids=range(len(ml_kem_768.CASES)))
def test_the_hybrid_share_is_ml_kem_and_then_x25519(case: ml_kem_768.Case) -> None:
    curve, peer = bytes(range(32)), X25519KeyShare(lambda count: b"\x55" * count)
    drawn = iter((case.seed, curve))
    share = HybridKeyShare(lambda count: next(drawn)[:count])
    ours = X25519KeyShare(lambda count: curve)
    assert share.public == case.encapsulation_key + ours.public
    agreed = ours.shared(peer.public)
    assert share.shared(case.ciphertext + peer.public) == case.secret + agreed
    assert share.shared(case.wrong_ciphertext + peer.public) == case.rejection + agreed


def test_the_server_answers_a_hybrid_share_with_ciphertext_and_x25519() -> None:
    [case, *_] = ml_kem_768.CASES
    peer = X25519KeyShare(lambda count: b"\x55" * count)
    ours = X25519KeyShare(lambda count: b"\x66" * count)
    given = []

    def encapsulate(key: bytes) -> tuple[bytes, bytes]:
        given.append(key)
        return case.secret, case.ciphertext

    share, secret = respond(0x11EC, case.encapsulation_key + peer.public, lambda count: b"\x66" * count, encapsulate)
    assert given == [case.encapsulation_key]
    assert share == case.ciphertext + ours.public
    assert secret == case.secret + peer.shared(ours.public)
