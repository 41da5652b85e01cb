"""Ports: what a driver waits on. The only place that touches a UDP socket."""

import ipaddress
import logging
import socket
import struct
from collections.abc import Container, Sequence
from typing import Final, Protocol, TypeAlias, cast

import trio

from trioice.mmsg import BURST, Mmsg, is_available
from trioice.onebyone import OneByOne
from trioice.relay import encapsulation
from trioice.sansio import Address, Outbox
from trioice.sockaddr import Addressing
from trioice.timer import system_timer

Burst: TypeAlias = list[tuple[bytes, Address]]

BUFFER: Final = 4 << 20
"""Socket buffers asked for, in octets; the system may grant less. The default is full after 20 ms of a thousand calls."""

LINGER: Final = 0.0015
"""Seconds that a busy port lets datagrams gather before it takes them. To wake up costs sixty microseconds, to take one more
datagram three; and so little is nothing to a packet that carries twenty milliseconds. No datagram waits longer than two (99 %)."""

BUSY: Final = 2
"""Datagrams of a burst from which on a port is busy: to linger costs what a wake-up costs, and saves all but one."""

RUSH: Final = LINGER / 2
"""Seconds between two wake-ups below which a port becomes busy: two datagrams or more would gather."""

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
    """A bound UDP socket, read and written in bursts: by recvmmsg and sendmmsg where the system has them (`trioice.mmsg`).

    With `keep_destination`, a socket that is bound to all addresses of the machine makes addresses that say to which of them the
    datagram came (`trioice.sockaddr`), and a reply to such an address leaves from there. That is for ports that others know; a port that
    compares its peers with addresses from elsewhere, as a relay's inner one does, must do without. `plain` does with one
    datagram a system call.
    """

    def __init__(self, sock: socket.socket, *, plain: bool = False, keep_destination: bool = False) -> None:
        self._socket = sock
        addressing = Addressing(sock, keep_destination=keep_destination)
        self.mmsg = Mmsg(sock, addressing) if is_available() and not plain else None
        self._calls = self.mmsg or OneByOne(sock, addressing)
        self.keeps_destination = addressing.keeps_destination
        self._timer = system_timer()
        self._is_busy = self._is_full = False
        self._woke = 0.0
        self.unsent = 0  # datagrams that the system did not take

    @classmethod
    def bind(
        cls, host: str, port: int, *, plain: bool = False, keep_destination: bool = False, ipv6_only: bool = False
    ) -> "UdpPort":
        """Bind to an IP address and port (0 for any free one).

        "0.0.0.0" is all addresses of IPv4; "::" is all of both versions, or with `ipv6_only`, all of IPv6. An IPv4 peer has the same
        address either way. Raises OSError as the system says it, which it does for IPv6 where it has none.
        """
        sock = bound(host, port, ipv6_only=ipv6_only)
        try:
            return cls(sock, plain=plain, keep_destination=keep_destination)
        except OSError:
            sock.close()
            raise

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
            self._timer.set(trio.current_time() + LINGER)
            await self._timer.wait()
        else:
            await trio.lowlevel.wait_readable(self._socket)

    def receive(self) -> Burst:
        """Take what is there, at most `BURST` datagrams."""
        burst = self._calls.receive()
        self.took(len(burst))
        return burst

    def took(self, count: int, most: int = BURST) -> None:
        """Note how much was there of `most` that was asked for, which tells whether the port is busy."""
        now = trio.current_time()
        self._is_full = count == most
        self._is_busy = count >= BUSY or (count > 0 and now - self._woke < RUSH)
        self._woke = now

    def send(self, outbox: Outbox) -> None:
        """Send all of `outbox`."""
        self.unsent += self._calls.send(outbox)
        outbox.clear()

    def close(self) -> None:
        """Release the socket; `readable` must have no waiter."""
        self._timer.close()
        if self.mmsg is not None:
            self.mmsg.close()
        self._socket.close()


def bound(host: str, port: int, *, ipv6_only: bool = False, reuse_port: bool = False) -> socket.socket:
    """Make a socket for a `UdpPort` (see `UdpPort.bind`); with `reuse_port` it shares its port (see `bound_together`)."""
    address = ipaddress.ip_address(host)
    sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        _enlarge_buffers(sock)
        if address.version == 6:
            serves_both = address.is_unspecified and not ipv6_only
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not serves_both)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def bound_together(host: str, port: int, count: int) -> list[socket.socket]:
    """Make sockets that share one port; the kernel gives each client to one of them, always the same for as long as all are there."""
    # The first is bound alone, so that a port that somebody else has is an error, whether he would share it or not.
    sockets = [bound(host, port)]
    try:
        if count > 1:
            sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = sockets[0].getsockname()[1]
        sockets.extend(bound(host, port, reuse_port=True) for _ in range(1, count))
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


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
    A header is believed only from a relay in `relays`; `Networks` makes such a container of text. What goes to a relay that has
    sent a bundle goes in bundles.
    """

    BUNDLING: Final = 1024
    """Addresses remembered of relays that send bundles: more than a fleet has. One that is forgotten gets none until its next."""

    BUNDLED: Final = 10.0
    """Seconds after its last bundle for which a relay gets bundles: the one that takes its place may be older, and know none."""

    def __init__(self, port: Port, relays: Container[str]) -> None:
        self._port = port
        self._relays = relays
        self._bundling: dict[Address, float] = {}  # relay → until when it gets bundles
        self.distrusted = 0  # headers and bundles of those who are no relay of ours, or that were cut

    async def readable(self) -> None:
        """Wait until a datagram is there."""
        await self._port.readable()

    def receive(self) -> Burst:
        """Take what is there; relayed datagrams come without their headers, and one by one."""
        burst: Burst = []
        for received in self._port.receive():
            datagram, source = received
            magic = datagram[:2]
            if magic[:1] != encapsulation.MAGIC[:1] or magic not in (encapsulation.MAGIC, encapsulation.BUNDLE_MAGIC):
                burst.append(received)
            elif cast("SocketAddress", source)[0] not in self._relays:
                self.distrusted += 1
            elif magic == encapsulation.BUNDLE_MAGIC:
                self._unbundle(datagram, source, burst)
            elif len(datagram) >= encapsulation.HEADER_LENGTH:
                header = datagram[: encapsulation.HEADER_LENGTH]
                burst.append((datagram[encapsulation.HEADER_LENGTH :], (source, header)))
            else:
                self.distrusted += 1
        return burst

    def send(self, outbox: Outbox) -> None:
        """Send all of `outbox`, to clients behind relays with their header in front; each client's in their order."""
        wire: Outbox = []
        now = trio.current_time()
        bundles: dict[Address, list[tuple[bytes, bytes]]] = {}
        for packet in outbox:
            datagram, to = packet
            header = to[1]  # type: ignore[index]  # ports make tuples
            if type(header) is not bytes:
                wire.append(packet)
                continue
            relay = to[0]  # type: ignore[index]
            if self._bundling.get(relay, 0.0) < now:
                wire.append((header + datagram, relay))
            elif relay in bundles:
                bundles[relay].append((header, datagram))
            else:
                bundles[relay] = [(header, datagram)]
        for relay, parts in bundles.items():
            wire += [(bundle, relay) for bundle in encapsulation.join(parts)]
        outbox[:] = wire
        self._port.send(outbox)

    def _unbundle(self, bundle: bytes, relay: Address, burst: Burst) -> None:
        parts = encapsulation.split(bundle)
        if parts is None:
            self.distrusted += 1
            return
        burst += [(payload, (relay, header)) for header, payload in parts]
        if relay not in self._bundling and len(self._bundling) >= self.BUNDLING:
            self._bundling.clear()
        self._bundling[relay] = trio.current_time() + self.BUNDLED


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
