"""A DTLS client and a server that know each other's certificate, and what they were told and said. They speak 1.2 unless told otherwise."""

import copy
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from tests.harness.clockwork import seeded
from tests.harness.link import Link
from trioice.dtls import VERSIONS, Certificate, DtlsClient, DtlsServer, State, acks
from trioice.dtls.ciphers import VERSION_1_2
from trioice.dtls.fragments import Fragment, Message
from trioice.dtls.groups import X25519, encapsulate
from trioice.dtls.handshake import Handshake
from trioice.dtls.messages import ClientHello, ServerHello
from trioice.dtls.packing import ChangeCipherSpec, RecordNumber
from trioice.dtls.record import ACK, HANDSHAKE, HEADER, REPLAY_WINDOW, Record, split
from trioice.errors import Misbehaviour
from trioice.sansio import Address, Event, Failed, Machine, Outbox
from trioice.wire import Reader

CLIENT = ("192.0.2.1", 50000)
SERVER = ("192.0.2.2", 3478)
LABEL = b"EXTRACTOR-dtls_srtp"
PROFILES = (7, 8, 1)

ENCAPSULATE = cache(encapsulate)
"""The library takes no seed for this: at least the same key is answered in the same way."""


@cache
def certificate_of(seed: int) -> Certificate:
    return Certificate.generate(seeded(seed))


CLIENT_CERTIFICATE = certificate_of(101)
SERVER_CERTIFICATE = certificate_of(102)
STRANGER = certificate_of(103)


def make_client(
    outbox: Outbox, events: list[Event], seed: int = 1, *, kind: type[DtlsClient] = DtlsClient, **options: Any
) -> DtlsClient:
    defaults: dict[str, Any] = {
        "certificate": CLIENT_CERTIFICATE,
        "fingerprints": [SERVER_CERTIFICATE.fingerprint()],
        "profiles": PROFILES,
        "versions": (VERSION_1_2,),
        "entropy": seeded(seed),
        "peer": SERVER,
        "outbox": outbox,
        "inbox": [],
        "events": events,
    }
    return kind(**(defaults | options))


def make_server(
    outbox: Outbox, events: list[Event], seed: int = 2, *, kind: type[DtlsServer] = DtlsServer, **options: Any
) -> DtlsServer:
    defaults: dict[str, Any] = {
        "certificate": SERVER_CERTIFICATE,
        "fingerprints": [CLIENT_CERTIFICATE.fingerprint()],
        "profiles": PROFILES,
        "versions": (VERSION_1_2,),
        "entropy": seeded(seed),
        "peer": CLIENT,
        "outbox": outbox,
        "inbox": [],
        "events": events,
    }
    return kind(**(defaults | options))


class Pair:
    """A client and a server, and datagrams carried between them by hand, in order, without loss."""

    def __init__(
        self, seed: int = 0, *, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None, **both: Any
    ) -> None:
        self.client_outbox: Outbox = []
        self.server_outbox: Outbox = []
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []
        self.client = make_client(self.client_outbox, self.client_events, 2 * seed + 1, **(both | (client or {})))
        self.server = make_server(self.server_outbox, self.server_events, 2 * seed + 2, **(both | (server or {})))
        self.now = 0.0

    def link(self, seed: int = 0, **network: Any) -> Link:
        """Put a network between them."""
        machines: dict[Address, tuple[Machine, Outbox]] = {
            CLIENT: (self.client, self.client_outbox),
            SERVER: (self.server, self.server_outbox),
        }
        return Link(machines, seed, **network)

    def from_client(self) -> list[bytes]:
        """Take what the client has to say."""
        return taken(self.client_outbox)

    def from_server(self) -> list[bytes]:
        """Take what the server has to say."""
        return taken(self.server_outbox)

    def to_server(self, datagrams: list[bytes]) -> list[bytes]:
        """Deliver, and take the answer."""
        for datagram in datagrams:
            self.server.receive(datagram, CLIENT, self.now)
        return self.from_server()

    def to_client(self, datagrams: list[bytes]) -> list[bytes]:
        """Deliver, and take the answer."""
        for datagram in datagrams:
            self.client.receive(datagram, SERVER, self.now)
        return self.from_client()

    def start(self) -> list[bytes]:
        """Begin, and take flight 1."""
        self.client.start(self.now)
        return self.from_client()

    def run(self) -> "Pair":
        """Carry everything until nobody has anything to say."""
        if self.client.state is State.IDLE:
            self.client.start(self.now)
        while self.client_outbox or self.server_outbox:
            self.server_outbox += [(datagram, CLIENT) for datagram in self.to_server(self.from_client())]
            self.client_outbox += [(datagram, SERVER) for datagram in self.to_client(self.from_server())]
        return self

    @property
    def are_connected(self) -> bool:
        states = (self.client.state, self.server.state)
        return states == (State.CONNECTED, State.CONNECTED)

    @property
    def are_agreed(self) -> bool:
        """Tell whether both are connected under the same keys."""
        return self.are_connected and self.client.export(LABEL, 60) == self.server.export(LABEL, 60)

    def connects(self, link: Link, until: float) -> bool:
        """Let time pass until both are connected, or `until`; tells whether they are, under the same keys."""
        return link.run_until(until, lambda: self.are_connected) and self.are_agreed


class Pair13(Pair):
    """A pair that speaks 1.3, and 1.2 beside it. Within a run the same seed says the same octets, with ML-KEM too."""

    def __init__(
        self, seed: int = 0, *, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None, **both: Any
    ) -> None:
        defaults = {"versions": VERSIONS, "encapsulate": ENCAPSULATE}
        super().__init__(seed, client=client, server=server, **(defaults | both))

    def server_waits(self) -> list[bytes]:
        """Let the client connect, and keep what it answers with from the server, which has all keys by now."""
        flight = self.to_client(self.to_server(self.start()))
        assert (self.client.state, self.server.state) == (State.CONNECTED, State.WAIT_CERTIFICATE)
        return flight


def taken(outbox: Outbox) -> list[bytes]:
    datagrams = [datagram for datagram, _ in outbox]
    outbox.clear()
    return datagrams


def failure(events: list[Event]) -> Misbehaviour | None:
    """The reason of the one failure that was announced; None where there was none."""
    failures = [event for event in events if isinstance(event, Failed)]
    assert len(failures) <= 1
    return failures[0].error.reason if failures else None


def short(value: object) -> str:
    """Name a parameter of a test."""
    return "" if callable(value) else str(value)[:60]


def plain_records(datagram: bytes) -> list[Record]:
    """The records of a datagram, all of them of the form that 1.2 has."""
    records, rest = split(datagram)
    assert not rest
    return [item for item in records if isinstance(item, Record)]


def plaintext(kind: int, payload: bytes, *, epoch: int = 0, sequence: int = 1000) -> bytes:
    """Write a record as anybody can."""
    return HEADER.pack(kind, VERSION_1_2, epoch, 0, sequence, len(payload)) + payload


def handshake(kind: int, sequence: int, body: bytes = b"") -> bytes:
    """Write a handshake message in a plaintext record."""
    return plaintext(HANDSHAKE, Message(kind=kind, sequence=sequence, body=body).octets())


def one_by_one(datagrams: list[bytes]) -> list[bytes]:
    """Give each record a datagram of its own."""
    singles = []
    for datagram in datagrams:
        while datagram:
            end = HEADER.size + int.from_bytes(datagram[11:13], "big")
            singles.append(datagram[:end])
            datagram = datagram[end:]
    return singles


def vector(name: str) -> list[bytes]:
    """Read a file of datagrams, one a line in hexadecimal, behind comments."""
    lines = (Path(__file__).parent.parent / "vectors" / name).read_text().splitlines()
    return [bytes.fromhex(line) for line in lines if not line.startswith("#")]


def said_by(peer: Handshake, *messages: Message, epoch: int | None = None) -> bytes:
    """Write handshake messages under the keys of `peer`, each in a record of its own, as a peer that does what it wants."""
    return b"".join(
        peer._records.seal(HANDSHAKE, message.epoch if epoch is None else epoch, message.octets())
        for message in messages
    )


def in_turn(kind: int, to: Handshake, body: bytes = b"", epoch: int = 0) -> Message:
    """Make the handshake message that `to` has to read next."""
    return Message(kind=kind, sequence=to._incoming.next, body=body, epoch=epoch)


def under_way(machine: Handshake) -> list[Message]:
    """The messages of the flight that a machine is waiting to have answered."""
    messages: list[Message] = []
    for item, _, _ in machine._flights._left:
        assert not isinstance(item, ChangeCipherSpec)
        if item not in messages:
            messages.append(item)
    return messages


def opened_by(reader: Handshake, datagrams: Iterable[bytes]) -> list[Record]:
    """The records of datagrams as `reader` can open them, without its noticing, and even if it has; those that it cannot are left out."""
    layer = copy.deepcopy(reader._records)
    for keys in layer._epochs.values():
        keys.window._missing = (1 << REPLAY_WINDOW) - 1
    outcomes = [layer.open(item) for datagram in datagrams for item in split(datagram)[0]]
    return [item for item in outcomes if isinstance(item, Record)]


def fragments_of(records: Iterable[Record]) -> list[Fragment]:
    """The handshake fragments of records that are open."""
    fragments = []
    for item in records:
        reader = Reader(item.payload)
        while item.kind == HANDSHAKE and reader.left:
            fragments.append(Fragment.read(reader))
    return fragments


def plain_message(datagrams: Iterable[bytes]) -> bytes:
    """The body of the first handshake message that datagrams have in plaintext records."""
    records = [item for datagram in datagrams for item in split(datagram)[0]]
    fragments = fragments_of(item for item in records if isinstance(item, Record) and item.epoch == 0)
    body = bytearray(fragments[0].length)
    for fragment in fragments:
        if fragment.sequence == fragments[0].sequence:
            body[fragment.offset : fragment.offset + len(fragment.octets)] = fragment.octets
    return bytes(body)


def client_hello_of(datagrams: Iterable[bytes]) -> ClientHello:
    return ClientHello.read(plain_message(datagrams))


def server_hello_of(datagrams: Iterable[bytes]) -> ServerHello:
    return ServerHello.read(plain_message(datagrams))


def without_extensions(hello: ClientHello, *kinds: int) -> ClientHello:
    return attrs.evolve(hello, extensions=tuple(item for item in hello.extensions if item[0] not in kinds))


def with_extension(hello: ClientHello, kind: int, value: bytes) -> ClientHello:
    """Put a value in the place of an extension's, or at the end of all."""
    return attrs.evolve(hello, extensions=tuple((dict(hello.extensions) | {kind: value}).items()))


def acknowledged(reader: Handshake, datagrams: list[bytes]) -> list[list[RecordNumber]]:
    """The lists of the acknowledgements in datagrams."""
    lists = [acks.read(item.payload) for item in opened_by(reader, datagrams) if item.kind == ACK]
    return [numbers for numbers in lists if numbers is not None]


def server_speaks() -> tuple[Pair13, list[Message]]:
    """A server that has sent its flight, of which nothing has come, and the messages of it."""
    pair = Pair13(groups=(X25519,))
    pair.to_server(pair.start())
    return pair, under_way(pair.server)
