"""Ports: what a driver waits on. The only place that touches a UDP socket."""

import ipaddress
import socket
from collections.abc import Container, Sequence
from typing import Final, Protocol, TypeAlias, cast

import trio

from trioice.relay import encapsulation
from trioice.sansio import Address, Outbox

Burst: TypeAlias = list[tuple[bytes, Address]]

BURST: Final = 64
"""Datagrams taken at once: more gain little, and the work between two checkpoints stays under a millisecond."""

DATAGRAM: Final = 2048
"""Octets read of a datagram: above any path's 1,500, so that what is longer is cut and fails its authentication."""

BUFFER: Final = 4 << 20
"""Socket buffers asked for, in octets; the system may grant less. The default is full after 20 ms of a thousand calls."""

LINGER: Final = 0.001
"""Seconds that a busy port lets datagrams gather before it takes them. To wake up costs thirty microseconds, to take one more
datagram three; and a millisecond is nothing to a packet that carries twenty."""

BUSY: Final = 4
"""Datagrams of a burst from which on a port is busy: fewer do not pay for the sleep."""

RUSH: Final = 0.0004
"""Seconds between two wake-ups below which a port becomes busy."""

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class Port(Protocol):
    """Where datagrams come from and go to."""

    async def readable(self) -> None:
        """Wait until `receive` has something."""

    def receive(self) -> Burst:
        """Take what is there, at most `BURST` datagrams; never waits."""

    def send(self, outbox: Outbox) -> None:
        """Send all of `outbox` and empty it; never waits. What does not fit is dropped and counted, as UDP would."""


class UdpPort:
    """A bound UDP socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._is_busy = False
        self._woke = 0.0
        self.unsent = 0  # datagrams that the system did not take

    @classmethod
    def bind(cls, host: str, port: int) -> "UdpPort":
        """Bind to an IP address and port (0 for any free one). Raises OSError as the system says it."""
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        return cls(sock)

    @property
    def address(self) -> tuple[str, int]:
        """The IP address and port that it is bound to."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    async def readable(self) -> None:
        """Wait until a datagram is there; on a busy port, until some may have gathered."""
        if self._is_busy:
            await trio.sleep(LINGER)
        else:
            await trio.lowlevel.wait_readable(self._socket)

    def receive(self) -> Burst:
        """Take what is there, at most `BURST` datagrams."""
        burst: Burst = []
        receive = self._socket.recvfrom
        try:
            while len(burst) < BURST:
                burst.append(receive(DATAGRAM))
        except BlockingIOError:
            pass
        except OSError:  # an ICMP error that an earlier datagram of ours earned; it concerns no one here
            pass
        now = trio.current_time()
        self._is_busy = len(burst) >= BUSY or (bool(burst) and now - self._woke < RUSH)
        self._woke = now
        return burst

    def send(self, outbox: Outbox) -> None:
        """Send all of `outbox`."""
        send = self._socket.sendto
        for datagram, to in outbox:
            try:
                send(datagram, cast("SocketAddress", to))
            except (OSError, TypeError):
                # A full buffer, an address that cannot be reached, or (TypeError) one of the other family: lost, as on any network.
                self.unsent += 1
        outbox.clear()

    def close(self) -> None:
        """Release the socket; `readable` must have no waiter."""
        self._socket.close()


class RelayedPort:
    """A port that relays and clients share: strips and adds the header that a relay puts in front (`trioice.relay.encapsulation`).

    The address of a client behind a relay is the pair of the relay's address and the header; a direct client's address is its own.
    A header is believed only from a relay in `relays`; `Networks` makes such a container of text.
    """

    def __init__(self, port: Port, relays: Container[str]) -> None:
        self._port = port
        self._relays = relays
        self.distrusted = 0  # headers of those who are no relay of ours, or that were cut

    async def readable(self) -> None:
        """Wait until a datagram is there."""
        await self._port.readable()

    def receive(self) -> Burst:
        """Take what is there; a relayed datagram comes without its header."""
        burst: Burst = []
        for datagram, source in self._port.receive():
            if datagram[:2] != encapsulation.MAGIC:
                burst.append((datagram, source))
            elif cast("SocketAddress", source)[0] in self._relays and len(datagram) >= encapsulation.HEADER_LENGTH:
                header = datagram[: encapsulation.HEADER_LENGTH]
                burst.append((datagram[encapsulation.HEADER_LENGTH :], (source, header)))
            else:
                self.distrusted += 1
        return burst

    def send(self, outbox: Outbox) -> None:
        """Send all of `outbox`, to clients behind relays with their header in front."""
        for index, (datagram, to) in enumerate(outbox):
            relay, header = cast("tuple[Address, object]", to)[:2]
            if isinstance(header, bytes):
                outbox[index] = (header + datagram, relay)
        self._port.send(outbox)


def transport_address(address: Address) -> tuple[str, int]:
    """The client's IP address and port, for an address that a `UdpPort` or a `RelayedPort` made."""
    host, port = cast("tuple[object, object]", address)[:2]
    if isinstance(port, bytes):
        return encapsulation.client_address(port) or ("0.0.0.0", 0)  # a client that its relay could not name
    return cast("str", host), cast("int", port)


class Networks:
    """A set of IP networks; `"192.0.2.7" in networks`. Remembers what it was asked, as the same few relays ask all the time."""

    REMEMBERED: Final = 1024
    """Answers kept; strangers who send headers from many sources only make it forget."""

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._answers: dict[str, bool] = {}

    def __contains__(self, host: object) -> bool:
        answer = self._answers.get(cast("str", host))
        if answer is None:
            address = ipaddress.ip_address(cast("str", host))
            if len(self._answers) >= self.REMEMBERED:
                self._answers.clear()
            answer = self._answers[cast("str", host)] = any(address in network for network in self._networks)
        return answer
