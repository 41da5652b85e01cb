"""Ports: what a driver waits on. The only place that touches a UDP socket."""

import ipaddress
import logging
import socket
import struct
from collections.abc import Container, Sequence
from typing import Final, Protocol, TypeAlias, cast

import trio

from trioice.mmsg import BURST, DATAGRAM, Mmsg, is_available
from trioice.relay import encapsulation
from trioice.sansio import Address, Outbox

Burst: TypeAlias = list[tuple[bytes, Address]]

BUFFER: Final = 4 << 20
"""Socket buffers asked for, in octets; the system may grant less. The default is full after 20 ms of a thousand calls."""

LINGER: Final = 0.001
"""Seconds that a busy port lets datagrams gather before it takes them. To wake up costs thirty microseconds, to take one more
datagram three; and a millisecond is nothing to a packet that carries twenty."""

BUSY: Final = 4
"""Datagrams of a burst from which on a port is busy: fewer do not pay for the sleep."""

RUSH: Final = 0.0004
"""Seconds between two wake-ups below which a port becomes busy."""

# Of Linux; the socket module has no names for them.
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
SO_MEMINFO: Final = 55
_MEMORY: Final = struct.Struct("=9I")

logger = logging.getLogger(__name__)

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
    """A bound UDP socket, read and written in bursts: by recvmmsg and sendmmsg where the system has them (`trioice.mmsg`)."""

    def __init__(self, sock: socket.socket, *, plain: bool = False) -> None:
        self._socket = sock
        self.mmsg = Mmsg(sock) if is_available() and not plain else None
        self._is_busy = self._is_full = False
        self._woke = 0.0
        self.unsent = 0  # datagrams that the system did not take

    @classmethod
    def bind(cls, host: str, port: int, *, plain: bool = False) -> "UdpPort":
        """Bind to an IP address and port (0 for any free one); `plain` does with recvfrom and sendto.

        Raises OSError as the system says it.
        """
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            _enlarge_buffers(sock)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        return cls(sock, plain=plain)

    @property
    def address(self) -> tuple[str, int]:
        """The IP address and port that it is bound to."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def overflowed(self) -> int:
        """Datagrams that came while the kernel's buffer was full, and were lost before we saw them; 0 where it does not tell."""
        try:
            return cast("int", _MEMORY.unpack(self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMORY.size))[8])
        except (OSError, struct.error):
            return 0

    async def readable(self) -> None:
        """Wait until a datagram is there; on a busy port, until some may have gathered; after a full burst, not at all."""
        if self._is_full:
            await trio.lowlevel.checkpoint()
        elif self._is_busy:
            await trio.sleep(LINGER)
        else:
            await trio.lowlevel.wait_readable(self._socket)

    def receive(self) -> Burst:
        """Take what is there, at most `BURST` datagrams."""
        burst = self._receive() if self.mmsg is None else self.mmsg.receive()
        self.took(len(burst))
        return burst

    def took(self, count: int) -> None:
        """Note how much was there, which tells whether the port is busy."""
        now = trio.current_time()
        self._is_full = count == BURST
        self._is_busy = count >= BUSY or (count > 0 and now - self._woke < RUSH)
        self._woke = now

    def send(self, outbox: Outbox) -> None:
        """Send all of `outbox`."""
        self.unsent += self._send(outbox) if self.mmsg is None else self.mmsg.send(outbox)
        outbox.clear()

    def close(self) -> None:
        """Release the socket; `readable` must have no waiter."""
        self._socket.close()

    def _receive(self) -> Burst:
        burst: Burst = []
        receive = self._socket.recvfrom
        try:
            while len(burst) < BURST:
                burst.append(receive(DATAGRAM))
        except BlockingIOError:
            pass
        except OSError:  # an ICMP error that an earlier datagram of ours earned; it concerns no one here
            pass
        return burst

    def _send(self, outbox: Outbox) -> int:
        unsent = 0
        send = self._socket.sendto
        for datagram, to in outbox:
            try:
                send(datagram, cast("SocketAddress", to))
            except (OSError, TypeError):
                # A full buffer, an address that cannot be reached, or (TypeError) one of the other family: lost, as on any network.
                unsent += 1
        return unsent


def _enlarge_buffers(sock: socket.socket) -> None:
    """Ask for `BUFFER` octets each way, by privilege where we have it, and warn where the system grants less."""
    for name, option, by_force, limit in (
        ("receive", socket.SO_RCVBUF, SO_RCVBUFFORCE, "net.core.rmem_max"),
        ("send", socket.SO_SNDBUF, SO_SNDBUFFORCE, "net.core.wmem_max"),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, by_force, BUFFER)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        granted = sock.getsockopt(socket.SOL_SOCKET, option) // 2  # Linux tells twice what it was asked for
        if granted < BUFFER:
            logger.warning(
                "the system grants a %s buffer of %d octets instead of %d: sysctl -w %s=%d",
                name,
                granted,
                BUFFER,
                limit,
                BUFFER,
            )


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
