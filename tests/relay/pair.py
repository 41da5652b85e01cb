"""A relay and all its peers on real sockets, moved by hand."""

from collections.abc import Callable

from tests.harness.clockwork import calls
from tests.relay.world import KEYS, TO_ALICE, TO_BOB, check, success
from trioice.ports import UdpPort
from trioice.relay.directory import Directory
from trioice.relay.encapsulation import HEADER_LENGTH, header, split
from trioice.relay.server import Relay

A, B, C, NEW, STRANGER = range(5)
"""Clients: two of one transceiver, one of the other, one whose check is not answered, and one who sends none."""


class Pair:
    """A relay and all its peers on real sockets, moved by hand: one burst at a time, by the plain loop's way or the fast one's."""

    def __init__(self, plain: bool, bundles: bool = True) -> None:
        self.clients = [UdpPort.bind("127.0.0.1", 0, plain=True) for _ in range(5)]
        self.transceivers = [UdpPort.bind("127.0.0.1", 0, plain=True) for _ in range(3)]  # the last one is none
        self.public, self.inner = (UdpPort.bind("127.0.0.1", 0, plain=plain) for _ in range(2))
        directory = Directory.of(
            [
                f"1/{number}={host}:{port}"
                for number, (host, port) in enumerate(self.addresses(self.transceivers)[:2], 1)
            ]
        )
        self.relay = Relay(
            public=self.public,
            inner=self.inner,
            keys=KEYS,
            directory=directory,
            proxy=self.public.address,
            bundles=bundles,
        )
        self.core = self.relay.core
        self.headers = [header(client, self.public.address) for client in self.addresses(self.clients)]

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *_: object) -> None:
        for port in (*self.clients, *self.transceivers, self.public, self.inner):
            port.close()

    @staticmethod
    def addresses(ports: list[UdpPort]) -> list[tuple[str, int]]:
        return [port.address for port in ports]

    def connect(self) -> None:
        self.from_clients([(A, check(TO_ALICE)), (B, check(TO_ALICE)), (C, check(TO_BOB)), (NEW, check(TO_BOB))])
        self.move()
        self.from_transceivers(
            [(0, self.headers[A] + success()), (0, self.headers[B] + success()), (1, self.headers[C] + success())]
        )
        self.move()
        self.heard()
        assert (self.core.flows, self.core.unconfirmed) == (3, 1)

    def from_clients(self, burst: list[tuple[int, bytes]]) -> None:
        for client, datagram in burst:
            self.clients[client].send([(datagram, self.public.address)])

    def from_transceivers(self, burst: list[tuple[int, bytes]]) -> None:
        for transceiver, datagram in burst:
            self.transceivers[transceiver].send([(datagram, self.inner.address)])

    def move(self, now: float = 0.0) -> None:
        """Let the relay take one burst from either side, and send it on."""
        relay, shortcut = self.relay, self.relay._shortcut
        sides = [
            (self.public, "_clients", self.core.receive, relay._to_inner, self.inner),
            (self.inner, "_transceivers", self.core.returned, relay._to_outer, self.public),
        ]
        for port, way, take, outbox, other in sides:
            if shortcut is None:
                left = port.receive()
            else:
                assert port.mmsg is not None
                left = getattr(shortcut, way)(port.mmsg.fill())
            for datagram, source in left:
                take(datagram, source, now)
            other.send(outbox)

    def heard(self) -> tuple[list[list[tuple[int, bytes]]], list[list[bytes]]]:
        """What each transceiver got, of whom; what each client got. STUN may be late, so that it stands behind the rest."""
        got = [
            [
                (self.headers.index(each[:HEADER_LENGTH]), each[HEADER_LENGTH:])
                for datagram in taken(port)
                for each in apart(datagram)
            ]
            for port in self.transceivers
        ]
        # In the order of each client; those of several may be mixed otherwise.
        for row in got:
            row.sort(key=lambda each: (each[0], is_late(each[1])))
        returned = [taken(port) for port in self.clients]
        return got, [sorted(row, key=is_late) for row in returned]

    def cost(self, way: str, send: Callable[[list[tuple[int, bytes]]], None], burst: list[tuple[int, bytes]]) -> int:
        """How many calls the shortcut makes for a burst; it has seen one such burst before."""
        mmsg = (self.public if way == "_clients" else self.inner).mmsg
        assert mmsg is not None
        count = 0
        for _ in range(2):
            send(burst)
            assert mmsg.fill() == len(burst)
            count = calls(lambda: getattr(self.relay._shortcut, way)(len(burst)))
        return count


def taken(port: UdpPort) -> list[bytes]:
    """All that has come to the port."""
    datagrams: list[bytes] = []
    while burst := port.receive():
        datagrams += [datagram for datagram, _ in burst]
    return datagrams


def is_late(datagram: bytes) -> bool:
    return datagram[:1] <= b"\x03"


def apart(datagram: bytes) -> list[bytes]:
    """What is in a bundle, each behind its header; all else as it is."""
    parts = split(datagram)
    return [datagram] if parts is None else [head + payload for head, payload in parts]
