"""Captured calls between browsers: what is in plaintext reads and writes back to the same octets, and acknowledges what was sent."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests import captures
from tests.captures import Captured
from tests.dtls.pairs import vector
from trioice import stun
from trioice.dtls import extensions
from trioice.dtls.extensions import UseSrtp
from trioice.dtls.fragments import Fragment, Message, Reassembler
from trioice.dtls.messages import ClientHello, HandshakeType, ServerHello
from trioice.wire import Reader

FOLDER = Path(__file__).parent / "vectors" / "captures"
CAPTURES = sorted(path.stem for path in FOLDER.glob("*.pcap"))
SPED = [name for name in CAPTURES if "sped" in name]

DTLS_IN_STUN = 0xC070
DTLS_IN_STUN_ACK = 0xC071

X25519MLKEM768 = 0x11EC
KEY_SHARE = 51
SHARES = {X25519MLKEM768: (1184 + 32, 1088 + 32), 29: (32, 32)}
"""Octets of a client's share and of a server's."""


def call(name: str) -> list[Captured]:
    return list(captures.read(FOLDER / f"{name}.pcap"))


def dtls_of(datagrams: list[Captured]) -> Iterator[tuple[tuple[str, int], bytes]]:
    """Each DTLS datagram and who sent it, whether it came by itself or in STUN."""
    for item in datagrams:
        if item.is_dtls:
            yield item.source, item.payload
        elif item.is_stun:
            value = decoded(item.payload).get(DTLS_IN_STUN)
            if value:
                yield item.source, value


def decoded(datagram: bytes) -> stun.Message:
    message = stun.decode(datagram)
    assert message is not None
    return message


@attrs.frozen
class Plain:
    """A DTLSPlaintext."""

    kind: int
    version: int
    epoch: int
    payload: bytes


@attrs.frozen
class Sealed:
    """A DTLSCiphertext: the bits of its first octet, and what is sealed (RFC 9147, 4)."""

    has_connection_id: bool
    has_long_number: bool
    has_length: bool
    low_epoch: int
    sealed: bytes


def records(datagram: bytes) -> Iterator[Plain | Sealed]:
    """Take a datagram apart, to its end."""
    reader = Reader(datagram)
    while reader.left:
        first = reader.uint(1)
        if first >> 5 == 0b001:
            connection_id, long_number, length = (bool(first & bit) for bit in (16, 8, 4))
            assert not connection_id
            reader.take(2 if long_number else 1)
            sealed = reader.opaque(2) if length else reader.rest()
            yield Sealed(connection_id, long_number, length, first & 3, sealed)
        else:
            version, epoch, _ = reader.uint(2), reader.uint(2), reader.take(6)
            yield Plain(first, version, epoch, reader.opaque(2))


def plaintext_messages(datagrams: list[Captured]) -> list[tuple[tuple[str, int], Message]]:
    """Put the handshake messages together that are in plaintext, of both sides."""
    incoming: dict[tuple[str, int], Reassembler] = {}
    messages = []
    for source, datagram in dtls_of(datagrams):
        side = incoming.setdefault(source, Reassembler())
        for record in records(datagram):
            if isinstance(record, Sealed):
                continue
            assert (record.kind, record.epoch) == (22, 0)
            reader = Reader(record.payload)
            while reader.left:
                fragment = Fragment.read(reader)
                if fragment.sequence >= side.next:
                    assert side.add(fragment, 0) is None
            messages += [(source, message) for message in side.messages()]
    return messages


def hellos(name: str) -> tuple[ClientHello, ServerHello]:
    (client, first), (server, second) = plaintext_messages(call(name))
    assert client != server
    assert (first.kind, second.kind) == (HandshakeType.CLIENT_HELLO, HandshakeType.SERVER_HELLO)
    return ClientHello.read(first.body), ServerHello.read(second.body)


@pytest.mark.parametrize("name", CAPTURES)
def test_a_capture_is_small_and_whole(name: str) -> None:
    assert (FOLDER / f"{name}.pcap").stat().st_size < 15_000
    datagrams = call(name)
    assert [item.is_media for item in datagrams].count(True) == 2
    assert datagrams[-1].is_media
    assert datagrams == list(captures.beginning(iter(datagrams)))


def test_a_capture_is_written_as_it_was_read(tmp_path: Path) -> None:
    path = FOLDER / f"{CAPTURES[0]}.pcap"
    captures.write(tmp_path / "again.pcap", list(captures.read(path)))
    assert (tmp_path / "again.pcap").read_bytes() == path.read_bytes()


# DTLS


@pytest.mark.parametrize("name", CAPTURES)
def test_plaintext_handshake_messages_are_written_back_as_they_came(name: str) -> None:
    messages = plaintext_messages(call(name))
    assert len(messages) == 2  # all others are under keys
    offer, answer = hellos(name)
    assert [offer.octets(), answer.octets()] == [message.body for _, message in messages]


@pytest.mark.parametrize(("name", "browser"), [("chromium-chromium", "chromium"), ("firefox-chromium", "firefox")])
def test_the_hello_that_other_tests_answer_is_the_captured_one(name: str, browser: str) -> None:
    first = [datagram for _, datagram in dtls_of(call(f"{name}-dtls13"))][:2]
    assert vector(f"client_hello_{browser}.hex") == first


@pytest.mark.parametrize("name", CAPTURES)
def test_the_extensions_of_the_hellos_are_written_back_as_they_came(name: str) -> None:
    for hello in hellos(name):
        assert extensions.read(Reader(extensions.octets(hello.extensions))) == hello.extensions
    offer, answer = hellos(name)
    value = offer.extension(extensions.USE_SRTP)
    assert value is not None
    assert UseSrtp.read(value).octets() == value
    versions = offer.extension(extensions.SUPPORTED_VERSIONS)
    assert versions is not None
    assert extensions.read_numbers(versions, size=1)[:2] == [0xFEFC, 0xFEFD]
    assert answer.extension(extensions.SUPPORTED_VERSIONS) == b"\xfe\xfc"
    assert answer.extension(extensions.USE_SRTP) is None  # it is in EncryptedExtensions


@pytest.mark.parametrize("name", CAPTURES)
def test_the_browsers_agree_on_the_post_quantum_group(name: str) -> None:
    offer, answer = hellos(name)
    value = offer.extension(KEY_SHARE)
    assert value is not None
    shares = dict(Reader(value).vector(2, lambda item: (item.uint(2), item.opaque(2))))
    assert {group: len(share) for group, share in shares.items()} == {
        group: lengths[0] for group, lengths in SHARES.items()
    }
    value = answer.extension(KEY_SHARE)
    assert value is not None
    reader = Reader(value)
    group, share = reader.uint(2), reader.opaque(2)
    reader.end()
    assert (group, len(share)) == (X25519MLKEM768, SHARES[X25519MLKEM768][1])
    assert answer.cipher_suite == 0x1301
    assert answer.cipher_suite in offer.cipher_suites
    assert (answer.session_id, answer.compression_method, answer.version) == (b"", 0, 0xFEFD)


@pytest.mark.parametrize("name", CAPTURES)
def test_sealed_records_have_the_long_form_and_the_epochs_that_are_due(name: str) -> None:
    seen: dict[tuple[str, int], list[Sealed]] = {}
    for source, datagram in dtls_of(call(name)):
        for record in records(datagram):
            if isinstance(record, Sealed):
                seen.setdefault(source, []).append(record)
    assert len(seen) == 2
    for sealed in seen.values():
        assert {(record.has_connection_id, record.has_long_number, record.has_length) for record in sealed} == {
            (False, True, True)
        }
        # The handshake's epoch comes first, and each record has a sample to hide its number by (RFC 9147, 4.2.3).
        assert sealed[0].low_epoch == 2
        assert all(record.low_epoch in (2, 3) for record in sealed)
        assert all(len(record.sealed) > 16 for record in sealed)


# STUN


@pytest.mark.parametrize("name", CAPTURES)
def test_stun_messages_are_written_back_as_they_came(name: str) -> None:
    count = 0
    for item in call(name):
        if not item.is_stun:
            continue
        message = decoded(item.payload)
        # The key is not known: MESSAGE-INTEGRITY is written as an attribute like all others; FINGERPRINT is computed.
        attributes = [pair for pair in message.attributes if pair[0] != stun.FINGERPRINT]
        assert stun.encode(message.kind, message.transaction_id, attributes) == item.payload
        count += 1
    assert count >= 6


@pytest.mark.parametrize("name", SPED)
def test_an_acknowledgement_in_stun_names_datagrams_that_the_other_side_sent_before(name: str) -> None:
    sent: dict[tuple[str, int], set[bytes]] = {}
    named = 0
    for item in call(name):
        mine = sent.setdefault(item.source, set())
        theirs = sent.setdefault(item.to, set())
        if item.is_dtls:
            mine.add(crc(item.payload))
        elif item.is_stun:
            message = decoded(item.payload)
            if value := message.get(DTLS_IN_STUN):
                mine.add(crc(value))
            checksums = message.get(DTLS_IN_STUN_ACK) or b""
            assert len(checksums) % 4 == 0
            for start in range(0, len(checksums), 4):
                assert checksums[start : start + 4] in theirs
                named += 1
    assert named > 10


@pytest.mark.parametrize("name", SPED)
def test_a_piece_in_stun_is_a_whole_datagram_that_may_come_again_outside(name: str) -> None:
    datagrams = call(name)
    pieces = {
        (item.source, value)
        for item in datagrams
        if item.is_stun and (value := decoded(item.payload).get(DTLS_IN_STUN))
    }
    for _, piece in pieces:
        assert list(records(piece))
    # The ClientHello's second piece was sent again by itself, octet for octet.
    assert any((item.source, item.payload) in pieces for item in datagrams if item.is_dtls)


def crc(datagram: bytes) -> bytes:
    return zlib.crc32(datagram).to_bytes(4, "big")
