"""Who the peer is, and every way of not being it: another certificate, none, one without its key (RFC 8446, 4.4; survive-list 9 and 10)."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tests.dtls.pairs import (
    CLIENT_CERTIFICATE,
    SERVER_CERTIFICATE,
    STRANGER,
    Pair13,
    failure,
    opened_by,
    said_by,
    under_way,
)
from tests.dtls.rogues import SIDES, is_refused, meets, rogue, saying, signed
from trioice.dtls import Certificate, DtlsClient, Fingerprint, State, extensions
from trioice.dtls.client13 import Client13
from trioice.dtls.fragments import Message
from trioice.dtls.groups import X25519
from trioice.dtls.handshake import Handshake
from trioice.dtls.keys13 import KeySchedule
from trioice.dtls.messages import CertificateVerify, HandshakeType
from trioice.dtls.messages13 import CertificateChain13
from trioice.dtls.server13 import Server13
from trioice.dtls.version13 import Version13
from trioice.errors import Misbehaviour
from trioice.wire import opaque

IMPOSTORS = {"client": Certificate(CLIENT_CERTIFICATE.der, STRANGER._key)}
IMPOSTORS["server"] = Certificate(SERVER_CERTIFICATE.der, STRANGER._key)


@pytest.mark.parametrize("side", SIDES)
def test_10_a_certificate_that_was_not_announced_is_refused(side: str) -> None:
    options = {"certificate": STRANGER}
    both = (options, {}) if side == "client" else ({}, options)
    pair = Pair13(client=both[0], server=both[1], groups=(X25519,)).run()
    ours, events = (pair.server, pair.server_events) if side == "client" else (pair.client, pair.client_events)
    is_refused(ours, events, Misbehaviour.BAD_FINGERPRINT, 42)


@pytest.mark.parametrize("side", SIDES)
def test_10_a_certificate_without_its_key_is_refused(side: str) -> None:
    _, ours, events = meets(side, rogue(side, lambda _, __, body: body), IMPOSTORS[side])
    is_refused(ours, events, Misbehaviour.BAD_CERTIFICATE_VERIFY, 51)


@pytest.mark.parametrize("fingerprints", [None, []], ids=["announced", "none"])
@pytest.mark.parametrize(("side", "alert"), [("client", 116), ("server", 50)])
def test_10_no_certificate_is_refused(side: str, alert: int, fingerprints: list[Fingerprint] | None) -> None:
    bare = rogue(side, saying(HandshakeType.CERTIFICATE, lambda _: CertificateChain13(b"", ()).octets()))
    other = {} if fingerprints is None else {"fingerprints": fingerprints}
    both = ({"kind": bare}, other) if side == "client" else (other, {"kind": bare})
    pair = Pair13(client=both[0], server=both[1], groups=(X25519,)).run()
    ours, events = (pair.server, pair.server_events) if side == "client" else (pair.client, pair.client_events)
    is_refused(ours, events, Misbehaviour.NO_CERTIFICATE, alert)


@pytest.mark.parametrize(
    ("body", "reason", "alert"),
    [
        (lambda der: CertificateChain13(b"x", (der,)).octets(), Misbehaviour.ILLEGAL_PARAMETER, 47),
        (lambda der: CertificateChain13(b"", (STRANGER.der, der)).octets(), Misbehaviour.BAD_FINGERPRINT, 42),
        (
            lambda der: b"\0" + opaque(3, opaque(3, der) + extensions.block(((5, b"\1\0\0\1x"),))),
            Misbehaviour.UNSOLICITED_EXTENSION,
            110,
        ),
        (
            lambda der: b"\0" + opaque(3, opaque(3, der) + extensions.block(((18, b""), (18, b"")))),
            Misbehaviour.MALFORMED_HANDSHAKE,
            50,
        ),
        (lambda der: b"\0" + opaque(3, opaque(3, der)), Misbehaviour.MALFORMED_HANDSHAKE, 50),
        (lambda der: b"\0" + opaque(3, opaque(3, b"") + b"\0\0"), Misbehaviour.MALFORMED_HANDSHAKE, 50),
        (lambda der: b"\0\xff\xff\xff" + opaque(3, der), Misbehaviour.MALFORMED_HANDSHAKE, 50),
        (lambda der: b"\0" + opaque(3, b"\xff\xff\xff" + der), Misbehaviour.MALFORMED_HANDSHAKE, 50),
        (lambda der: opaque(3, opaque(3, der)), Misbehaviour.MALFORMED_HANDSHAKE, 50),  # as 1.2 has it
    ],
    ids=["context", "second", "extension", "extensions twice", "no block", "empty", "long", "long entry", "of 1.2"],
)
@pytest.mark.parametrize("side", SIDES)
def test_a_certificate_message_that_may_not_be_is_refused(
    side: str, body: Callable[[bytes], bytes], reason: Misbehaviour, alert: int
) -> None:
    der = (CLIENT_CERTIFICATE if side == "client" else SERVER_CERTIFICATE).der
    _, ours, events = meets(side, rogue(side, saying(HandshakeType.CERTIFICATE, lambda _: body(der))))
    is_refused(ours, events, reason, alert)


@pytest.mark.parametrize("side", SIDES)
def test_a_chain_of_a_hundred_certificates_is_read_for_its_first(side: str) -> None:
    der = (CLIENT_CERTIFICATE if side == "client" else SERVER_CERTIFICATE).der
    chain = CertificateChain13(b"", (der, *[b"\x30\x00"] * 99)).octets()
    pair, _, _ = meets(side, rogue(side, saying(HandshakeType.CERTIFICATE, lambda _: chain)))
    assert pair.are_agreed


@pytest.mark.parametrize("side", SIDES)
def test_a_certificate_that_was_announced_and_cannot_be_read_is_refused(side: str) -> None:
    der = (CLIENT_CERTIFICATE if side == "client" else SERVER_CERTIFICATE).der
    for length in range(0, len(der), 5):
        junk = Certificate(der[:length] or b"\x30", STRANGER._key)
        _, ours, events = meets(side, rogue(side, lambda _, __, body: body), junk)
        # Cut behind its key there is nothing in it that we read; then its proof is missing.
        assert failure(events) in (Misbehaviour.BAD_CERTIFICATE, Misbehaviour.BAD_CERTIFICATE_VERIFY), length
        assert ours.state is State.FAILED


# Not its proof


@pytest.mark.parametrize("side", SIDES)
def test_10_a_certificate_without_certificate_verify_is_refused(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Client13 if side == "client" else Server13
    proof = kind._proof

    def unproven(version: Version13) -> list[Message]:
        chain, verify, finished = proof(version)
        return [chain, attrs.evolve(finished, sequence=verify.sequence)]

    monkeypatch.setattr(kind, "_proof", unproven)
    _, ours, events = meets(side, rogue(side, lambda _, __, body: body), IMPOSTORS[side])
    is_refused(ours, events, Misbehaviour.UNEXPECTED_MESSAGE, 10)


def other_side(machine: Handshake) -> bytes:
    return signed(machine, b"server" if isinstance(machine, DtlsClient) else b"client")


CONTENTS: dict[str, Callable[[Handshake], bytes]] = {
    "other side": other_side,
    "63 spaces": lambda machine: signed(machine)[1:],
    "65 spaces": lambda machine: b" " + signed(machine),
    "no zero": lambda machine: signed(machine).replace(b"Verify\0", b"Verify"),
    "of TLS 1.2": lambda machine: b"".join(machine._transcript),
    "without the certificate": lambda machine: signed(machine, transcript=machine._transcript[:-1]),
    "with the message twice": lambda machine: signed(
        machine, transcript=[*machine._transcript, machine._transcript[-1]]
    ),
    "of nothing": lambda machine: signed(machine, transcript=[]),
    "with the fields of DTLS": lambda machine: signed(
        machine, transcript=[octets[:4] + bytes(8) + octets[4:] for octets in machine._transcript]
    ),
}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("side", SIDES)
def test_10_a_signature_over_anything_but_this_handshake_is_refused(side: str, content: str) -> None:
    def change(machine: Handshake, kind: int, body: bytes) -> bytes:
        if kind != HandshakeType.CERTIFICATE_VERIFY:
            return body
        return CertificateVerify(0x0403, machine.certificate.sign(CONTENTS[content](machine))).octets()

    _, ours, events = meets(side, rogue(side, change))
    is_refused(ours, events, Misbehaviour.BAD_CERTIFICATE_VERIFY, 51)


@pytest.mark.parametrize("side", SIDES)
def test_9_a_finished_that_is_not_of_this_handshake_is_refused(side: str) -> None:
    def of_the_other_side(machine: Handshake) -> bytes:
        version = machine._version
        assert isinstance(version, Version13)
        assert version._handshake is not None
        _, theirs = version._secrets(version._handshake)
        return version._schedule.verify_data(theirs, b"".join(machine._transcript))

    def with_the_prefix_of_tls(machine: Handshake) -> bytes:
        version = machine._version
        assert isinstance(version, Version13)
        assert version._handshake is not None
        ours, _ = version._secrets(version._handshake)
        return KeySchedule("sha256", b"tls13 ").verify_data(ours, b"".join(machine._transcript))

    forgeries: list[Callable[[Handshake, bytes], bytes]] = [
        lambda _, body: body[:-1] + bytes((body[-1] ^ 1,)),
        lambda _, body: bytes((body[0] ^ 0x80,)) + body[1:],
        lambda _, body: body[:-1],
        lambda _, body: body[:12],
        lambda _, body: body + b"\0",
        lambda _, body: b"",
        lambda machine, _: of_the_other_side(machine),
        lambda machine, _: with_the_prefix_of_tls(machine),
    ]
    for forge in forgeries:

        def change(machine: Handshake, kind: int, body: bytes, forge: Any = forge) -> bytes:
            octets: bytes = forge(machine, body) if kind == HandshakeType.FINISHED else body
            return octets

        _, ours, events = meets(side, rogue(side, change))
        is_refused(ours, events, Misbehaviour.BAD_FINISHED, 51)


def test_our_own_finished_sent_back_to_us_is_refused() -> None:
    pair = Pair13(groups=(X25519,))
    pair.server_waits()
    chain, verify, finished = under_way(pair.client)
    [reflected] = [message for message in under_way(pair.server) if message.kind == HandshakeType.FINISHED]
    pair.to_server([said_by(pair.client, chain, verify)])
    forged = attrs.evolve(reflected, sequence=finished.sequence)
    pair.to_server([said_by(pair.client, forged)])
    assert failure(pair.server_events) is Misbehaviour.BAD_FINISHED


def test_a_flight_of_another_handshake_with_the_same_certificate_is_refused() -> None:
    pair, other = Pair13(1, groups=(X25519,)), Pair13(2, groups=(X25519,))
    other.server_waits()
    pair.server_waits()
    pair.to_server([said_by(pair.client, *under_way(other.client))])
    assert failure(pair.server_events) is Misbehaviour.BAD_CERTIFICATE_VERIFY


@pytest.mark.parametrize("algorithm", ["sha-1", "md5", "sha-999"])
def test_10_a_fingerprint_of_a_weak_or_unknown_hash_alone_fails_closed(algorithm: str) -> None:
    marks = [Fingerprint(algorithm, bytes(20)), Fingerprint(algorithm, CLIENT_CERTIFICATE.fingerprint().digest)]
    for fingerprints in (marks, []):
        pair = Pair13(server={"fingerprints": fingerprints}, groups=(X25519,)).run()
        assert failure(pair.server_events) is Misbehaviour.BAD_FINGERPRINT
        pair = Pair13(client={"fingerprints": fingerprints}, groups=(X25519,)).run()
        assert failure(pair.client_events) is Misbehaviour.BAD_FINGERPRINT


def test_the_alert_of_a_server_that_refuses_reaches_a_client_that_believed_to_be_connected() -> None:
    pair = Pair13(server={"fingerprints": [STRANGER.fingerprint()]}, groups=(X25519,))
    final = pair.server_waits()
    answer = pair.to_server(final)
    assert [(item.kind, item.epoch) for item in opened_by(pair.client, answer)] == [(21, 3)]
    pair.to_client(answer)
    assert failure(pair.client_events) is Misbehaviour.BAD_ALERT
    assert pair.client.state is State.FAILED
