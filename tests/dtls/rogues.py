"""Hostile and foreign peers of DTLS 1.3: our own machines, with something done to what they say before it goes into their transcript."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.dtls.pairs import (
    LABEL,
    Pair,
    Pair13,
    failure,
)
from trioice.dtls import Certificate, Connected, DtlsClient, DtlsServer, Fingerprint
from trioice.dtls.fragments import Message
from trioice.dtls.groups import X25519
from trioice.dtls.handshake import Handshake
from trioice.dtls.messages import CertificateVerify, HandshakeType
from trioice.dtls.version13 import Version13
from trioice.errors import LocalProtocolError, Misbehaviour
from trioice.sansio import Event

Sign = Callable[[bytes], bytes]
SIDES = ("client", "server")


def rogue(side: str, change: Callable[[Handshake, int, bytes], bytes]) -> type[Any]:
    """Make a client or a server that changes the bodies of its messages before they go into its transcript."""

    class RogueClient(DtlsClient):
        def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
            return super()._message(kind, change(self, kind, body), epoch)

    class RogueServer(DtlsServer):
        def _message(self, kind: int, body: bytes, epoch: int = 0) -> Message:
            return super()._message(kind, change(self, kind, body), epoch)

    return RogueClient if side == "client" else RogueServer


def meets(side: str, kind: type[Any], certificate: Certificate | None = None) -> tuple[Pair, Handshake, list[Event]]:
    """Let a hostile client or server meet ours; returns ours, and its events."""
    options: dict[str, Any] = {"kind": kind}
    other: dict[str, Any] = {}
    if certificate is not None:
        options["certificate"] = certificate
        other["fingerprints"] = [Fingerprint.of(certificate.der, "sha-256")]
    both = (options, other) if side == "client" else (other, options)
    pair = Pair13(client=both[0], server=both[1], groups=(X25519,)).run()
    return (pair, pair.server, pair.server_events) if side == "client" else (pair, pair.client, pair.client_events)


def signed(machine: Handshake, side: bytes | None = None, transcript: Sequence[bytes] | None = None) -> bytes:
    """What a CertificateVerify of a machine signs now."""
    version = machine._version
    assert isinstance(version, Version13)
    return version._signed(side or version.OURS, list(machine._transcript if transcript is None else transcript))


def signing(scheme: int, sign: Sign) -> Callable[[Handshake, int, bytes], bytes]:
    def change(machine: Handshake, kind: int, body: bytes) -> bytes:
        if kind != HandshakeType.CERTIFICATE_VERIFY:
            return body
        return CertificateVerify(scheme, sign(signed(machine))).octets()

    return change


def saying(kind: HandshakeType, change: Callable[[bytes], bytes]) -> Callable[[Handshake, int, bytes], bytes]:
    return lambda machine, number, body: change(body) if number == kind else body


def is_refused(ours: Handshake, events: list[Event], reason: Misbehaviour, alert: int) -> None:
    """Nothing of a peer that was refused is known, and it was told why."""
    assert failure(events) is reason
    assert [event for event in events if isinstance(event, Connected)] == []
    assert (ours.peer_certificate, ours.srtp_profile, ours.version) == (b"", 0, 0)
    with pytest.raises(LocalProtocolError):
        ours.export(LABEL, 60)
    [error] = [event.error for event in events if hasattr(event, "error")]
    assert error.alert == alert
