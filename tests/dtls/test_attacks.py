"""The lines of the survive-list that the DTLS layer answers for, by their numbers, and the hostile peers behind them."""

import datetime as dt
from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.dtls.pairs import (
    CLIENT,
    CLIENT_CERTIFICATE,
    SERVER_CERTIFICATE,
    STRANGER,
    Pair,
    failure,
    handshake,
    make_client,
    make_server,
    one_by_one,
    plain_records,
    plaintext,
    taken,
    vector,
)
from tests.harness.clockwork import loop_iterations
from trioice.dtls import Certificate, DtlsClient, DtlsServer, Fingerprint, State, extensions
from trioice.dtls.association import EARLY_RECORDS, RECORDS
from trioice.dtls.client12 import Client12
from trioice.dtls.drops import Drop
from trioice.dtls.flights import REPETITIONS, TRANSMISSIONS
from trioice.dtls.fragments import AHEAD, Fragment, Message
from trioice.dtls.groups import SECP256R1, X25519
from trioice.dtls.messages import (
    CertificateChain,
    CertificateRequest,
    ClientHello,
    ClientKeyExchange,
    HandshakeType,
    HelloVerifyRequest,
    ServerHello,
    ServerKeyExchange,
)
from trioice.dtls.record import ALERT, APPLICATION_DATA, HANDSHAKE, RESERVED
from trioice.dtls.version12 import final_flight
from trioice.errors import LocalProtocolError, Malformed, Misbehaviour
from trioice.sansio import NEVER, Event, Outbox
from trioice.sequence import MAXIMUM_INDEX
from trioice.wire import Reader

IMPOSTOR = Certificate(CLIENT_CERTIFICATE.der, STRANGER._key)
"""The client's certificate in the hands of somebody who does not have its key."""

FALSE_SERVER = Certificate(SERVER_CERTIFICATE.der, STRANGER._key)

# 7. A ClientHello beside the real one


def test_7_a_second_client_hello_while_and_after_the_real_one_changes_nothing() -> None:
    pair = Pair()
    other_outbox: Outbox = []
    other = make_client(other_outbox, [], seed=99)
    other.start(0.0)
    intruder = taken(other_outbox)
    flight_4 = pair.to_server(pair.start())
    assert pair.to_server(intruder) == []
    flight_5 = pair.to_client(flight_4)
    assert pair.to_server(intruder) == []
    pair.to_client(pair.to_server(flight_5))
    assert pair.to_server(intruder) == []
    assert pair.are_agreed
    assert pair.server_events == pair.client_events


def test_7_with_cookies_a_client_hello_of_another_address_proves_nothing() -> None:
    victims: list[tuple[DtlsServer, Outbox]] = []
    for peer in (CLIENT, ("198.51.100.9", 9)):
        outbox: Outbox = []
        victims.append((make_server(outbox, [], cookie=True, peer=peer), outbox))
    client_outbox: Outbox = []
    client = make_client(client_outbox, [])
    client.start(0.0)
    (server, outbox), (other, other_outbox) = victims
    for datagram in taken(client_outbox):
        server.receive(datagram, CLIENT, 0.0)
        other.receive(datagram, CLIENT, 0.0)
    other_outbox.clear()
    for datagram in taken(outbox):
        client.receive(datagram, "server", 0.0)
    with_cookie = taken(client_outbox)
    for datagram in with_cookie:
        other.receive(datagram, CLIENT, 0.0)
    assert (other.state, other_outbox) == (State.WAIT_CLIENT_HELLO, [])
    assert other.dropped[Drop.BAD_COOKIE] == 1
    for datagram in with_cookie:
        server.receive(datagram, CLIENT, 0.0)
    assert server.state is State.WAIT_CERTIFICATE


def test_7_a_guessed_cookie_does_not_keep_the_real_one_out() -> None:
    pair = Pair(server={"cookie": True})
    with_cookie = pair.to_client(pair.to_server(pair.start()))
    hello = ClientHello.read(Fragment.read(Reader(plain_records(with_cookie[0])[0].payload)).octets)
    for guess in (b"", bytes(32), hello.cookie[:-1], hello.cookie + b"\0"):
        body = attrs.evolve(hello, cookie=guess).octets()
        assert pair.to_server([handshake(HandshakeType.CLIENT_HELLO, 1, body)]) == []
    of_another_hello = attrs.evolve(hello, random=bytes(32)).octets()
    assert pair.to_server([handshake(HandshakeType.CLIENT_HELLO, 1, of_another_hello)]) == []
    assert pair.server.dropped[Drop.BAD_COOKIE] == 5
    pair.to_client(pair.to_server(pair.to_client(pair.to_server(with_cookie))))
    assert pair.are_agreed


def test_7_a_client_that_has_not_started_does_not_listen() -> None:
    pair = Pair()
    assert pair.to_client([handshake(HandshakeType.SERVER_HELLO, 0), b"\x16", plaintext(ALERT, b"\x02\x28")]) == []
    assert pair.run().are_agreed


# 8. Fragments


def test_8_a_client_hello_of_browser_size_in_crumbs_shuffled_overlapping_and_doubled() -> None:
    fragments = [Fragment.read(Reader(r.payload)) for d in vector("client_hello_firefox.hex") for r in plain_records(d)]
    message = Message(kind=1, sequence=0, body=b"".join(fragment.octets for fragment in fragments))
    pair = Pair()
    length = len(message.body)
    missing = set(range(length))
    for start in [i * 7919 % length for i in range(length)]:  # 7919 is prime, so each octet comes once
        end = min(start + 3, length)
        for _ in range(2):
            pair.server.receive(plaintext(HANDSHAKE, message.fragment(start, end)), CLIENT, 0.0)
        missing -= set(range(start, end))
        assert bool(pair.server_outbox) is not bool(missing)
        if not missing:
            break
    assert pair.server.state is State.WAIT_CERTIFICATE


def test_8_a_length_of_two_to_the_twenty_four_is_not_believed() -> None:
    pair = Pair()
    for sequence in range(AHEAD):
        huge = plaintext(HANDSHAKE, bytes.fromhex(f"01ffffff{sequence:04x}00000000000100"))
        loop_iterations(partial(pair.server.receive, huge, CLIENT, 0.0), 500)
    assert pair.server.dropped == {Drop.TOO_LONG: AHEAD}
    assert pair.run().are_agreed


def test_8_fragments_of_other_messages_do_not_disturb_the_one_that_is_due() -> None:
    pair = Pair()
    [flight_1] = pair.start()
    for sequence in (1, 2, AHEAD - 1):
        pair.to_server([plaintext(HANDSHAKE, Message(kind=11, sequence=sequence, body=bytes(500)).fragment(7, 90))])
    pair.to_server([handshake(11, AHEAD), handshake(11, 0xFFFF), plaintext(HANDSHAKE, b"\x01\x00")])
    assert pair.server.dropped == {Drop.TOO_FAR: 2, Drop.MALFORMED: 1}
    pair.to_server([flight_1])
    assert pair.server.state is State.WAIT_CERTIFICATE


# 9. Records that anybody can write


def test_9_what_anybody_can_write_tears_down_neither_handshake_nor_association() -> None:
    junk = [
        plaintext(ALERT, b"\x02\x28"),
        plaintext(ALERT, b"\x01\x00"),
        plaintext(ALERT, b"\x02"),
        plaintext(APPLICATION_DATA, b"inject"),
        plaintext(APPLICATION_DATA, b"inject", epoch=1),
        plaintext(HANDSHAKE, bytes(40), epoch=1),
        plaintext(HANDSHAKE, bytes(40), epoch=2),
        plaintext(ALERT, b"\x02\x28", epoch=0xFFFF),
        plaintext(20, b"\x01"),
        plaintext(20, b"\x01", epoch=1),
        plaintext(24, b"heartbeat"),
        handshake(HandshakeType.FINISHED, 4, bytes(12)),
        handshake(HandshakeType.FINISHED, 0, bytes(12)),
        plaintext(HANDSHAKE, b""),
        b"",
        b"\x16",
        b"\x2f" + bytes(40),
    ]
    pair = Pair()
    said: list[bytes] = pair.start()
    to_server = True
    while said:
        receiver = pair.server if to_server else pair.client
        for datagram in [*one_by_one(said), b""]:
            for forged in junk:
                receiver.receive(forged, "anybody", pair.now)
            receiver.receive(datagram, "peer", pair.now)
        said = pair.from_server() if to_server else pair.from_client()
        to_server = not to_server
    assert pair.are_agreed
    for machine, events in ((pair.client, pair.client_events), (pair.server, pair.server_events)):
        for forged in junk:
            machine.receive(forged, "anybody", 1.0)
        assert len(events) == 1
        assert machine.inbox == []
        assert machine.dropped[Drop.PLAINTEXT_ALERT] > 0
        assert machine.dropped[Drop.PLAINTEXT_DATA] > 0
        assert machine.dropped[Drop.WRONG_EPOCH] > 0
        assert machine.dropped[Drop.UNKNOWN_TYPE] > 0
    assert pair.client_outbox == pair.server_outbox == []
    pair.client.send(b"still here", 2.0)
    pair.run()
    assert pair.server.inbox == [b"still here"]


def test_9_a_replayed_record_is_read_once() -> None:
    pair = Pair().run()
    pair.client.send(b"once", 1.0)
    datagrams = pair.from_client()
    pair.to_server(datagrams * 3)
    assert pair.server.inbox == [b"once"]
    assert pair.server.dropped == {Drop.REPLAYED: 2}


def test_9_a_record_under_other_keys_is_dropped() -> None:
    pair, other = Pair().run(), Pair(5).run()
    other.client.send(b"not for you", 1.0)
    other.client.close(1.0)
    pair.to_server(other.from_client())
    assert pair.are_agreed
    assert pair.server.inbox == []
    assert pair.server.dropped == {Drop.BAD_RECORD: 2}


def test_9_early_records_are_kept_in_a_small_number() -> None:
    pair = Pair()
    pair.start()
    pair.to_client([plaintext(APPLICATION_DATA, b"x" * 100, epoch=1, sequence=n) for n in range(1000)])
    assert pair.client.dropped == {Drop.TOO_EARLY: 1000 - EARLY_RECORDS}
    assert len(pair.client._early) == EARLY_RECORDS


def test_9_a_forged_finished_under_the_keys_is_refused() -> None:
    class ForgingClient(DtlsClient):
        def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
            if kind == HandshakeType.FINISHED:
                body = body[:-1] + bytes((body[-1] ^ 1,))
            return super()._message(kind, body, epoch)

    _, events = meet_client(ForgingClient)
    assert failure(events) is Misbehaviour.BAD_FINISHED


# 10. Certificates


def meet_client(kind: type[DtlsClient], **options: Any) -> tuple[DtlsServer, list[Event]]:
    """Let our server meet a hostile client."""
    pair = Pair()
    pair.client = make_client(pair.client_outbox, pair.client_events)
    rogue = kind(
        certificate=options.pop("certificate", CLIENT_CERTIFICATE),
        fingerprints=[SERVER_CERTIFICATE.fingerprint()],
        profiles=options.pop("profiles", (7,)),
        versions=pair.client.versions,
        entropy=pair.client.entropy,
        peer="server",
        outbox=pair.client_outbox,
        inbox=[],
        events=pair.client_events,
    )
    pair.client = rogue
    pair.run()
    return pair.server, pair.server_events


def meet_server(kind: type[DtlsServer], **options: Any) -> tuple[DtlsClient, list[Event]]:
    """Let our client meet a hostile server."""
    pair = Pair()
    pair.server = kind(
        certificate=options.pop("certificate", SERVER_CERTIFICATE),
        fingerprints=[CLIENT_CERTIFICATE.fingerprint()],
        profiles=options.pop("profiles", (7,)),
        versions=pair.server.versions,
        entropy=pair.server.entropy,
        peer="client",
        outbox=pair.server_outbox,
        inbox=[],
        events=pair.server_events,
    )
    pair.run()
    return pair.client, pair.client_events


def test_10_a_certificate_that_was_not_announced_is_refused_in_both_roles() -> None:
    _, events = meet_client(DtlsClient, certificate=STRANGER)
    assert failure(events) is Misbehaviour.BAD_FINGERPRINT
    _, events = meet_server(DtlsServer, certificate=STRANGER)
    assert failure(events) is Misbehaviour.BAD_FINGERPRINT


def test_10_a_certificate_without_its_key_is_refused_in_both_roles() -> None:
    _, events = meet_client(DtlsClient, certificate=IMPOSTOR)
    assert failure(events) is Misbehaviour.BAD_CERTIFICATE_VERIFY
    _, events = meet_server(DtlsServer, certificate=FALSE_SERVER)
    assert failure(events) is Misbehaviour.BAD_KEY_EXCHANGE_SIGNATURE


def test_10_no_certificate_is_refused_in_both_roles() -> None:
    class BareClient(DtlsClient):
        def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
            return super()._message(
                kind, CertificateChain(()).octets() if kind == HandshakeType.CERTIFICATE else body, epoch
            )

    class BareServer(DtlsServer):
        def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
            return super()._message(
                kind, CertificateChain(()).octets() if kind == HandshakeType.CERTIFICATE else body, epoch
            )

    _, events = meet_client(BareClient)
    assert failure(events) is Misbehaviour.NO_CERTIFICATE
    _, events = meet_server(BareServer)
    assert failure(events) is Misbehaviour.NO_CERTIFICATE


def test_10_a_certificate_without_certificate_verify_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def flight_5_without_proof(client: Client12, now: float) -> None:
        machine = client._machine
        assert machine._share is not None
        chain = client._certificate()
        body = ClientKeyExchange(machine._share.public).octets()
        exchange = machine._message(HandshakeType.CLIENT_KEY_EXCHANGE, body)
        client._take_keys()
        machine._send_flight(final_flight(client._finished(b"client finished"), chain, exchange), now)

    monkeypatch.setattr(Client12, "_flight_5", flight_5_without_proof)
    server, events = meet_client(DtlsClient, certificate=IMPOSTOR)
    assert failure(events) is Misbehaviour.UNEXPECTED_MESSAGE
    assert server.peer_certificate == b""


def test_10_a_server_that_skips_its_signed_key_exchange_is_refused() -> None:
    class UnsignedServer(DtlsServer):
        def _send_flight(self, flight: Sequence[Any], now: float, *, awaits_answer: bool = True) -> None:
            kept = [item for item in flight if getattr(item, "kind", None) != HandshakeType.SERVER_KEY_EXCHANGE]
            renumbered = [attrs.evolve(item, sequence=number) for number, item in enumerate(kept)]
            super()._send_flight(renumbered, now, awaits_answer=awaits_answer)

    _, events = meet_server(UnsignedServer)
    assert failure(events) is Misbehaviour.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("algorithm", ["sha-1", "md5", "sha-999"])
def test_10_a_fingerprint_of_a_weak_or_unknown_hash_alone_fails_closed(algorithm: str) -> None:
    marks = [Fingerprint(algorithm, bytes(20)), Fingerprint(algorithm, CLIENT_CERTIFICATE.fingerprint().digest)]
    for fingerprints in (marks, []):
        pair = Pair(server={"fingerprints": fingerprints}).run()
        assert failure(pair.server_events) is Misbehaviour.BAD_FINGERPRINT
        pair = Pair(client={"fingerprints": fingerprints}).run()
        assert failure(pair.client_events) is Misbehaviour.BAD_FINGERPRINT


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-384", "sha-512"])
def test_10_any_one_of_several_fingerprints_will_do(algorithm: str) -> None:
    marks = [Fingerprint("sha-1", bytes(20)), STRANGER.fingerprint(), CLIENT_CERTIFICATE.fingerprint(algorithm)]
    assert Pair(server={"fingerprints": marks}).run().are_agreed


def test_10_an_announced_certificate_that_cannot_be_read_is_refused() -> None:
    junk = Certificate(b"junk", STRANGER._key)
    pair = Pair(client={"certificate": junk}, server={"fingerprints": [junk.fingerprint()]}).run()
    assert failure(pair.server_events) is Misbehaviour.BAD_CERTIFICATE


def test_10_a_certificate_that_cannot_sign_for_the_suite_is_refused() -> None:
    of_rsa = Certificate(_rsa_certificate(), STRANGER._key)
    pair = Pair(client={"fingerprints": [of_rsa.fingerprint()]}, server={"certificate": of_rsa}).run()
    assert failure(pair.client_events) is Misbehaviour.BAD_CERTIFICATE


def _rsa_certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rsa")])
    key = rsa.generate_private_key(65537, 2048)
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2040))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


# 11. Fail closed


def test_11_sequence_numbers_are_never_used_up() -> None:
    pair = Pair().run()
    pair.client._records._epochs[1].sequence = MAXIMUM_INDEX - RESERVED
    pair.client.send(b"the last", 1.0)
    with pytest.raises(LocalProtocolError):
        pair.client.send(b"one too many", 1.0)
    pair.client.close(1.0)
    pair.run()
    assert pair.server.inbox == [b"the last"]
    assert pair.server.state is State.CLOSED


def test_11_no_nonce_is_used_twice() -> None:
    pair = Pair()
    seen: set[tuple[str, int, int]] = set()
    total = 0
    flight_5 = pair.to_client(pair.to_server(pair.start()))
    for _ in range(6):
        pair.now = pair.client.deadline
        pair.client.expire(pair.now)
        flight_5 += pair.from_client()
    from_server = pair.to_server(flight_5)
    pair.to_client(from_server)
    for number in range(50):
        pair.client.send(bytes((number,)), 9.0)
    pair.client.close(9.0)
    for datagram in flight_5 + pair.from_client():
        for record in plain_records(datagram):
            if record.epoch == 1:
                assert record.payload[:8] == record.number
                seen.add((record.payload[:8].hex(), record.epoch, record.sequence))
                total += 1
    assert total == len(seen) == 7 + 50 + 1


def hello_of(pair: Pair) -> ClientHello:
    return ClientHello.read(Fragment.read(Reader(plain_records(pair.start()[0])[0].payload)).octets)


def without(hello: ClientHello, *kinds: int) -> ClientHello:
    return attrs.evolve(hello, extensions=tuple(item for item in hello.extensions if item[0] not in kinds))


def with_extension(hello: ClientHello, kind: int, value: bytes) -> ClientHello:
    return attrs.evolve(hello, extensions=(*without(hello, kind).extensions, (kind, value)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: without(h, extensions.EXTENDED_MASTER_SECRET), Misbehaviour.NO_EXTENDED_MASTER_SECRET),
        (lambda h: without(h, extensions.USE_SRTP), Misbehaviour.NO_COMMON_SRTP_PROFILE),
        (lambda h: with_extension(h, extensions.USE_SRTP, b"\0\2\0\2\0"), Misbehaviour.NO_COMMON_SRTP_PROFILE),
        (lambda h: without(h, extensions.SUPPORTED_GROUPS), Misbehaviour.NO_COMMON_GROUP),
        (lambda h: with_extension(h, extensions.SUPPORTED_GROUPS, b"\0\2\x11\xec"), Misbehaviour.NO_COMMON_GROUP),
        (lambda h: without(h, extensions.SIGNATURE_ALGORITHMS), Misbehaviour.NO_COMMON_SIGNATURE),
        (lambda h: with_extension(h, extensions.SIGNATURE_ALGORITHMS, b"\0\2\2\3"), Misbehaviour.NO_COMMON_SIGNATURE),
        (lambda h: attrs.evolve(h, cipher_suites=(0x1301, 0xC02F, 0x0000)), Misbehaviour.NO_COMMON_CIPHER_SUITE),
        (lambda h: attrs.evolve(h, compression_methods=b"\x01"), Misbehaviour.ILLEGAL_PARAMETER),
        (lambda h: attrs.evolve(h, version=0xFEFF), Misbehaviour.NO_COMMON_VERSION),
        (lambda h: attrs.evolve(h, version=0x0303), Misbehaviour.NO_COMMON_VERSION),
        (lambda h: with_extension(h, extensions.SUPPORTED_VERSIONS, b"\2\xfe\xfc"), Misbehaviour.NO_COMMON_VERSION),
        (lambda h: with_extension(h, extensions.RENEGOTIATION_INFO, b"\1x"), Misbehaviour.ILLEGAL_PARAMETER),
        (lambda h: with_extension(h, extensions.EC_POINT_FORMATS, b"\1\1"), Misbehaviour.ILLEGAL_PARAMETER),
        (lambda h: with_extension(h, extensions.USE_SRTP, b"\0\1\0"), Misbehaviour.MALFORMED_HANDSHAKE),
    ],
    ids=lambda value: value.name if isinstance(value, Misbehaviour) else "",
)
def test_11_a_client_hello_that_lacks_what_we_need_fails_closed(change: Any, reason: Misbehaviour) -> None:
    pair = Pair()
    hello = change(hello_of(pair))
    [answer] = pair.to_server([handshake(HandshakeType.CLIENT_HELLO, 0, hello.octets())])
    assert failure(pair.server_events) is reason
    assert plain_records(answer)[0].kind == ALERT


def test_11_a_client_hello_with_the_renegotiation_signal_as_a_suite_is_taken() -> None:
    pair = Pair()
    hello = without(hello_of(pair), extensions.RENEGOTIATION_INFO)
    hello = attrs.evolve(hello, cipher_suites=(*hello.cipher_suites, 0x00FF))
    [answer] = pair.to_server([handshake(HandshakeType.CLIENT_HELLO, 0, hello.octets())])
    chosen = ServerHello.read(Fragment.read(Reader(plain_records(answer)[0].payload)).octets)
    assert chosen.extension(extensions.RENEGOTIATION_INFO) == b"\0"


GOOD = ((extensions.EXTENDED_MASTER_SECRET, b""), (extensions.USE_SRTP, b"\0\2\0\7\0"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 0xFEFF}, Misbehaviour.NO_COMMON_VERSION),
        ({"version": 0xFEFC}, Misbehaviour.NO_COMMON_VERSION),
        ({"cipher_suite": 0x1301}, Misbehaviour.ILLEGAL_PARAMETER),
        ({"cipher_suite": 0x0000}, Misbehaviour.ILLEGAL_PARAMETER),
        ({"compression_method": 1}, Misbehaviour.ILLEGAL_PARAMETER),
        ({"extensions": GOOD[1:]}, Misbehaviour.NO_EXTENDED_MASTER_SECRET),
        ({"extensions": GOOD[:1]}, Misbehaviour.NO_COMMON_SRTP_PROFILE),
        ({"extensions": (GOOD[0], (14, b"\0\2\0\2\0"))}, Misbehaviour.ILLEGAL_PARAMETER),
        ({"extensions": (GOOD[0], (14, b"\0\4\0\7\0\1\0"))}, Misbehaviour.ILLEGAL_PARAMETER),
        ({"extensions": (GOOD[0], (14, b"\0\2\0\7\1k"))}, Misbehaviour.ILLEGAL_PARAMETER),
        ({"extensions": (*GOOD, (35, b""))}, Misbehaviour.UNSOLICITED_EXTENSION),
        ({"extensions": (*GOOD, (43, b"\xfe\xfc"))}, Misbehaviour.UNSOLICITED_EXTENSION),
        ({"extensions": (*GOOD, (0xFF01, b"\1x"))}, Misbehaviour.ILLEGAL_PARAMETER),
        ({"extensions": (*GOOD, *GOOD)}, Misbehaviour.MALFORMED_HANDSHAKE),
    ],
    ids=str,
)
def test_11_a_server_hello_that_chose_what_we_cannot_have_fails_closed(
    changes: dict[str, Any], reason: Misbehaviour
) -> None:
    pair = Pair()
    pair.start()
    hello = ServerHello(version=0xFEFD, random=bytes(32), cipher_suite=0xC02B, extensions=GOOD)
    body = attrs.evolve(hello, **changes).octets()
    [answer] = pair.to_client([handshake(HandshakeType.SERVER_HELLO, 0, body)])
    assert failure(pair.client_events) is reason
    assert plain_records(answer)[0].kind == ALERT


def test_11_the_server_hello_that_these_are_made_from_is_good() -> None:
    pair = Pair()
    pair.start()
    # A sentinel that says the server could do better is no attack on who offers 1.2 alone (RFC 8446, 4.1.3).
    hello = ServerHello(version=0xFEFD, random=bytes(24) + b"DOWNGRD\x01", cipher_suite=0xC02B, extensions=GOOD)
    assert pair.to_client([handshake(HandshakeType.SERVER_HELLO, 0, hello.octets())]) == []
    assert pair.client.state is State.WAIT_CERTIFICATE


@pytest.mark.parametrize(
    ("group", "share"), [(X25519, bytes(32)), (X25519, b"short"), (SECP256R1, b"\x04" + bytes(64))]
)
def test_11_a_key_share_that_is_no_key_fails_closed_in_both_roles(group: int, share: bytes) -> None:
    class WeakClient(DtlsClient):
        def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
            if kind == HandshakeType.CLIENT_KEY_EXCHANGE:
                body = ClientKeyExchange(share).octets()
            return super()._message(kind, body, epoch)

    class WeakServer(DtlsServer):
        def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
            if kind == HandshakeType.SERVER_KEY_EXCHANGE:
                exchange = ServerKeyExchange(group, share, 0x0403, b"")
                signature = self.certificate.sign(self._peer_random + self._random + exchange.parameters())
                body = attrs.evolve(exchange, signature=signature).octets()
            return super()._message(kind, body, epoch)

    _, events = meet_client(WeakClient)
    assert failure(events) is Misbehaviour.BAD_KEY_SHARE
    _, events = meet_server(WeakServer)
    assert failure(events) is Misbehaviour.BAD_KEY_SHARE


def test_11_a_server_that_cannot_verify_our_certificate_or_picks_a_group_unasked_is_refused() -> None:
    class PickyServer(DtlsServer):
        def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
            if kind == HandshakeType.CERTIFICATE_REQUEST:
                body = CertificateRequest(bytes((1,)), (0x0401,)).octets()
            return super()._message(kind, body, epoch)

    class OddServer(DtlsServer):
        def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
            if kind == HandshakeType.SERVER_KEY_EXCHANGE:
                exchange = ServerKeyExchange(25, b"\4" + bytes(132), 0x0403, b"")
                signature = self.certificate.sign(self._peer_random + self._random + exchange.parameters())
                body = attrs.evolve(exchange, signature=signature).octets()
            return super()._message(kind, body, epoch)

    _, events = meet_server(PickyServer)
    assert failure(events) is Misbehaviour.NO_COMMON_SIGNATURE
    _, events = meet_server(OddServer)
    assert failure(events) is Misbehaviour.ILLEGAL_PARAMETER


def test_11_a_changed_hello_is_noticed_by_both() -> None:
    # A man in the middle takes the better profiles away; the transcripts differ, and so do the keys.
    pair = Pair()
    hello = with_extension(hello_of(pair), extensions.USE_SRTP, b"\0\2\0\1\0")
    flight_4 = pair.to_server([handshake(HandshakeType.CLIENT_HELLO, 0, hello.octets())])
    pair.to_server(pair.to_client(flight_4))
    assert failure(pair.server_events) is Misbehaviour.BAD_CERTIFICATE_VERIFY
    assert not pair.are_connected


# 12. Storms


def test_12_of_a_datagram_full_of_records_a_few_are_looked_at() -> None:
    pair = Pair().run()
    pair.server.receive(b"".join(plaintext(APPLICATION_DATA, b"x", sequence=n) for n in range(50)), CLIENT, 1.0)
    assert pair.server.dropped == {Drop.PLAINTEXT_DATA: RECORDS, Drop.MALFORMED: 1}
    assert pair.are_connected


def test_12_a_storm_of_repeated_hellos_is_answered_in_bounds_and_leaves_the_timer_alone() -> None:
    pair = Pair()
    flight_1 = pair.start()
    [flight_4] = pair.to_server(flight_1)
    deadline = pair.server.deadline
    answers = 0
    for millisecond in range(1, 10_000):
        pair.now = deadline * millisecond / 10_001
        answers += len(pair.to_server(flight_1))
    assert answers <= 0.25 / 0.05
    assert pair.server.deadline == deadline
    for second in range(10_000):
        pair.now = second / 10 + 1
        answers += len(pair.to_server(flight_1))
    assert answers == REPETITIONS
    assert len(flight_4) < 1200


def test_12_without_answer_the_server_sends_eight_flights_and_fails() -> None:
    pair = Pair()
    transmissions = len(pair.to_server(pair.start()))
    while not pair.server_events:
        pair.server.expire(pair.server.deadline)
        transmissions += len(pair.from_server())
    assert transmissions == TRANSMISSIONS
    assert failure(pair.server_events) is Misbehaviour.HANDSHAKE_TIMEOUT
    assert pair.server.deadline == NEVER


def test_12_with_cookies_an_unproven_source_gets_less_than_three_times_what_it_sends() -> None:
    pair = Pair(server={"cookie": True})
    flight_1 = pair.start()
    smallest = plaintext(HANDSHAKE, Message(kind=1, sequence=0, body=bytes(200)).fragment(0, 0))
    received = sent = 0
    for second in range(1000):
        pair.now = float(second)
        for datagram in [*flight_1, smallest, smallest]:
            received += len(datagram)
            sent += sum(len(answer) for answer in pair.to_server([datagram]))
            assert sent <= 3 * received
    assert pair.server.deadline == NEVER


def test_12_a_client_follows_a_few_cookies_only() -> None:
    pair = Pair()
    pair.start()
    sent = 0
    for sequence in range(20):
        body = HelloVerifyRequest(0xFEFF, bytes(20)).octets()
        sent += len(pair.to_client([handshake(HandshakeType.HELLO_VERIFY_REQUEST, sequence, body)]))
    assert sent == 4 + 1  # hellos, and the alert
    assert failure(pair.client_events) is Misbehaviour.UNEXPECTED_MESSAGE


def test_12_an_alert_is_sent_once_and_then_nothing() -> None:
    pair = Pair()
    pair.start()
    junk = [handshake(HandshakeType.SERVER_HELLO, 0, b"junk")]
    assert len(pair.to_client(junk)) == 1
    assert pair.to_client(junk * 100) == []
    pair.client.expire(1000.0)
    pair.client.close(1000.0)
    assert (pair.client_outbox, len(pair.client_events)) == ([], 1)


# 8 and the parsers behind it: everything truncated


def test_every_message_cut_short_ends_the_handshake_in_an_orderly_way() -> None:
    flight_4 = one_by_one(Pair().to_server(Pair().start()))
    bodies = [Fragment.read(Reader(plain_records(datagram)[0].payload)) for datagram in flight_4]
    for number, fragment in enumerate(bodies):
        for length in range(0, len(fragment.octets), 7):
            pair = Pair()
            pair.start()
            pair.to_client(flight_4[:number])
            pair.to_client([handshake(fragment.kind, number, fragment.octets[:length])])
            reason = failure(pair.client_events)
            assert reason in (Misbehaviour.MALFORMED_HANDSHAKE, Misbehaviour.NO_EXTENDED_MASTER_SECRET), (
                number,
                length,
            )


def test_malformed_never_leaves_the_machine() -> None:
    with pytest.raises(Malformed):
        ClientHello.read(b"")
    pair = Pair()
    pair.to_server([handshake(HandshakeType.CLIENT_HELLO, 0, b"")])
    assert failure(pair.server_events) is Misbehaviour.MALFORMED_HANDSHAKE


@pytest.mark.parametrize("version", [0xFEFD, 0xFEFC])
def test_8_messages_announced_far_ahead_do_not_keep_the_hello_that_is_due_out(version: int) -> None:
    pair = Pair(versions=(version,))
    flight_1 = pair.start()
    far = [plaintext(HANDSHAKE, Message(kind=1, sequence=n, body=bytes(16_000)).fragment(0, 1)) for n in (1, 2)]
    pair.to_server(far)
    pair.to_client(far)
    answer = pair.to_server(flight_1)
    assert pair.server.state is State.WAIT_CERTIFICATE
    pair.client_outbox += [(datagram, CLIENT) for datagram in pair.to_client(answer)]
    assert pair.client.state is not State.WAIT_SERVER_HELLO
    # In 1.3 nothing forged in plaintext can matter any more. In 1.2 it contradicts what follows in plaintext too.
    assert pair.run().are_agreed is (version == 0xFEFC)
