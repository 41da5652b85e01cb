"""What a DTLS handshake costs either side: ours and OpenSSL's through pyOpenSSL, in memory, from nothing to the keys of SRTP.

Both authenticate each other with certificates on P-256, which are made before; both exchange keys on X25519, encrypt with AES-128-GCM and
keep to the same MTU. Each round takes the kinds in turns, so that a slow minute touches all of them. A side's share is the CPU time
of its own calls. OpenSSL's hands its datagrams over as one piece, and its verification of the certificate is a callback's yes.
"""

import datetime as dt
import os
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from bench.machine import SERVER_CORE, on_core, spread, table
from trioice.dtls import Certificate, DtlsClient, DtlsServer, State
from trioice.sansio import Outbox

T = TypeVar("T")

MTU: Final = 1200
PROFILE: Final = 7
"""AEAD_AES_128_GCM, by its number (RFC 7714, 14.2)."""
LABEL: Final = b"EXTRACTOR-dtls_srtp"
KEYING_MATERIAL: Final = 56
"""Octets: two keys and two salts of that profile."""

DTLS_1_2: Final = 0xFEFD
DTLS_1_3: Final = 0xFEFC
X25519: Final = 29
X25519MLKEM768: Final = 0x11EC

OPENSSL: Final = "OpenSSL, DTLS 1.2, X25519"

WARM_UP: Final = 5
"""Handshakes of each kind before those that count: the first ones fill caches, and import what is imported late."""


class Side(Protocol):
    """A client or a server without a network."""

    def start(self) -> list[bytes]:
        """Say what it says unasked."""

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take a datagram, and answer."""

    def keys(self) -> bytes:
        """Export the keys of SRTP, which only a finished handshake has."""


@attrs.frozen
class Kind:
    """A way to shake hands: its name, and what makes its two sides."""

    name: str
    client: Callable[[], Side]
    server: Callable[[], Side]


@attrs.frozen
class Round:
    """One measurement of one kind: CPU seconds for a handshake."""

    kind: str
    client: float
    server: float


def measure(rounds: int, handshakes: int) -> list[Round]:
    """Shake hands in every way that there is."""
    with on_core(SERVER_CORE):
        ways = kinds()
        for kind in ways:
            _measure(kind, WARM_UP)
        return [_measure(kind, handshakes) for _ in range(rounds) for kind in ways]


def report(rounds: Sequence[Round], handshakes: int) -> str:
    """One row for each kind."""
    names = list(dict.fromkeys(each.kind for each in rounds))
    limits = [each for each in rounds if each.kind == OPENSSL]
    rows = []
    for name in names:
        own = [each for each in rounds if each.kind == name]
        ratios = [
            (each.client + each.server) / (limit.client + limit.server) for each, limit in zip(own, limits, strict=True)
        ]
        rows.append(
            (
                name,
                spread([each.client * 1000 for each in own], 2),
                spread([each.server * 1000 for each in own], 2),
                spread(ratios, 2),
            )
        )
    title = (
        f"DTLS handshakes in memory, both sides authenticated, to the keys of SRTP: CPU ms, {handshakes} of each kind in each of "
        f"{len(limits)} rounds: median (least–most); the ratio is that of both sides to OpenSSL's in the same round"
    )
    return table(title, ("handshake", "client", "server", "ratio to OpenSSL"), rows)


def kinds() -> list[Kind]:
    """List the ways to shake hands, those of DTLS 1.3 where our machines speak it."""
    client, server = Certificate.generate(os.urandom), Certificate.generate(os.urandom)

    def ours(name: str, group: int, **versions: object) -> Kind:
        options = {"profiles": (PROFILE,), "groups": (group,), "entropy": os.urandom, "mtu": MTU, **versions}
        return Kind(
            f"trioice, {name}",
            lambda: _Machine(DtlsClient, certificate=client, fingerprints=[server.fingerprint()], **options),
            lambda: _Machine(DtlsServer, certificate=server, fingerprints=[client.fingerprint()], **options),
        )

    if any(field.name == "versions" for field in attrs.fields(DtlsClient)):
        made = [
            ours("DTLS 1.2, X25519", X25519, versions=(DTLS_1_2,)),
            ours("DTLS 1.3, X25519", X25519, versions=(DTLS_1_3,)),
            ours("DTLS 1.3, X25519MLKEM768", X25519MLKEM768, versions=(DTLS_1_3,)),
        ]
    else:
        made = [ours("DTLS 1.2, X25519", X25519)]
    context = _openssl_context()
    return [
        *made,
        Kind(OPENSSL, lambda: _OpenSsl(context, is_server=False), lambda: _OpenSsl(context, is_server=True)),
    ]


def shake_hands(kind: Kind) -> tuple[float, float]:
    """Make both sides and carry what they say until they are silent: CPU seconds of the client and of the server."""
    of_client, of_server = _Stopwatch(), _Stopwatch()
    client, server = of_client.time(kind.client), of_server.time(kind.server)
    to_server = of_client.time(client.start)
    while to_server:
        to_client = [answer for each in to_server for answer in of_server.time(server.receive, each)]
        to_server = [answer for each in to_client for answer in of_client.time(client.receive, each)]
    if of_client.time(client.keys) != of_server.time(server.keys):
        raise AssertionError(f"{kind.name}: the two sides have different keys")
    return of_client.seconds, of_server.seconds


def _measure(kind: Kind, handshakes: int) -> Round:
    costs = [shake_hands(kind) for _ in range(handshakes)]
    client, server = (sum(column) / handshakes for column in zip(*costs, strict=True))
    return Round(kind.name, client, server)


class _Stopwatch:
    """Adds up the CPU time of calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def time(self, function: Callable[..., T], *arguments: object) -> T:
        began = time.process_time()
        try:
            return function(*arguments)
        finally:
            self.seconds += time.process_time() - began


class _Machine:
    """One of our machines."""

    def __init__(self, make: type[DtlsClient] | type[DtlsServer], **options: object) -> None:
        self._outbox: Outbox = []
        self._machine = make(peer="peer", outbox=self._outbox, inbox=[], events=[], **options)  # type: ignore[arg-type]  # each of its own type

    def start(self) -> list[bytes]:
        if isinstance(self._machine, DtlsClient):
            self._machine.start(0.0)
        return self._said()

    def receive(self, datagram: bytes) -> list[bytes]:
        self._machine.receive(datagram, "peer", 0.0)
        return self._said()

    def keys(self) -> bytes:
        if self._machine.state is not State.CONNECTED:
            raise AssertionError(f"a handshake that ended in {self._machine.state.name}")
        return self._machine.export(LABEL, KEYING_MATERIAL)

    def _said(self) -> list[bytes]:
        said = [datagram for datagram, _ in self._outbox]
        self._outbox.clear()
        return said


class _OpenSsl:
    """A connection of OpenSSL's over memory."""

    def __init__(self, context: SSL.Context, *, is_server: bool) -> None:
        self._connection = SSL.Connection(context)
        self._connection.set_ciphertext_mtu(MTU)
        if is_server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()

    def start(self) -> list[bytes]:
        return self._go_on()

    def receive(self, datagram: bytes) -> list[bytes]:
        self._connection.bio_write(datagram)
        return self._go_on()

    def keys(self) -> bytes:
        return self._connection.export_keying_material(LABEL, KEYING_MATERIAL)

    def _go_on(self) -> list[bytes]:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            pass
        try:
            return [self._connection.bio_read(1 << 16)]
        except SSL.WantReadError:
            return []


def _openssl_context() -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2049))
    context.use_privatekey(key)
    context.use_certificate(builder.sign(key, hashes.SHA256()))
    context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    context.set_tlsext_use_srtp(b"SRTP_AEAD_AES_128_GCM")
    context.set_options(SSL.OP_NO_QUERY_MTU)
    return context
