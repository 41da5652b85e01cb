"""Two hosts and the bad network between them: made when entered, removed when left.

    client 10.77.0.1 [eth0] ── veth ── [client] bridge [server] ── veth ── [eth0] 10.77.0.2 server

Each stands in a network namespace of its own, and the bridge's has no other interfaces, so nothing leaves the lab: there is no
address to send to but the other host's, and no name server answers. The bridge carries IPv4 alone; the hosts know each other's
Ethernet addresses from the start, so that no question for one (ARP) takes a round trip or is lost.
"""

import ctypes
import fcntl
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import attrs

from bench.lab.bridge import SO_TIMESTAMPNS
from bench.lab.direction import Conditions
from bench.lab.frames import Record
from bench.lab.namespaces import Unavailable, command, inside, ip, namespaces

ROOT: Final = Path(__file__).parents[2]

ETH_P_IP: Final = 0x0800  # linux/if_ether.h
SOL_PACKET: Final = 263
PACKET_IGNORE_OUTGOING: Final = 23  # linux/if_packet.h: what the bridge sends is not to come back to it
SIOCETHTOOL: Final = 0x8946  # linux/sockios.h
ETHTOOL_STXCSUM: Final = 0x17  # linux/ethtool.h
BUFFER: Final = 1 << 22
"""Octets of frames that wait for the bridge: more than come in while it writes its records out."""


@attrs.frozen
class Host:
    """One host: its network namespace, and its only address."""

    namespace: str
    address: str
    ethernet: str

    @property
    def command(self) -> tuple[str, ...]:
        """What stands before a command line to run it on this host."""
        return command(self.namespace)

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """Open a TCP connection from this host. Raises OSError."""
        return inside(self.namespace, lambda: socket.create_connection((address, port), timeout))


class Network:
    """The two hosts and the control of what is between them; made by `network`."""

    def __init__(self, client: Host, server: Host, control: Connection) -> None:
        self.client = client
        self.server = server
        self._control = control

    def shape(self, to_server: Conditions, to_client: Conditions | None = None) -> None:
        """Change the conditions of both directions, from now on; the same for both where only one is given."""
        self._ask((to_server, to_client or to_server))

    def records(self) -> list[Record]:
        """All frames that have come out, or were lost, since the last time, in the order in which they left."""
        records: list[Record] = self._ask(True)
        return records

    def _ask(self, question: object) -> list[Record]:
        self._control.send(question)
        answer: list[Record] = self._control.recv()
        return answer


@contextmanager
def network(conditions: Conditions | None = None, *, seed: int = 1) -> Iterator[Network]:
    """Make two hosts with a network between them. Raises Unavailable where that cannot be, with the reason in one line."""
    with ExitStack() as stack:
        names = stack.enter_context(namespaces("client", "server", "bridge"))
        client = Host(names[0], "10.77.0.1", "02:00:0a:4d:00:01")
        server = Host(names[1], "10.77.0.2", "02:00:0a:4d:00:02")
        _plug(client, server, names[2], "client")
        _plug(server, client, names[2], "server")
        ports = tuple(inside(names[2], partial(_port, name)) for name in ("client", "server"))
        made = Network(client, server, stack.enter_context(bridge(ports, seed)))
        made.shape(conditions or Conditions())
        yield made


def _plug(host: Host, other: Host, bridge: str, port: str) -> None:
    """Lead a cable from a host's eth0 to a port of the bridge."""
    ip("-n", bridge, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
    ip("-n", bridge, "link", "set", port, "addrgenmode", "none", "up")
    lines = (
        f"link set eth0 address {host.ethernet} addrgenmode none up",  # none: no IPv6
        f"address add {host.address}/24 dev eth0",
        f"neighbor add {other.address} lladdr {other.ethernet} dev eth0 nud permanent",
    )
    ip("-n", host.namespace, "-batch", "-", commands="\n".join(lines))
    inside(host.namespace, _compute_checksums)


def _compute_checksums() -> None:
    """Have eth0's checksums computed by its host: a veth leaves them out, as if the other end were sure to be a veth as well.

    Without them there is no segmentation in the hardware either: frames are as long as on a real wire.
    """
    off = ctypes.create_string_buffer(struct.pack("=II", ETHTOOL_STXCSUM, 0), 8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, struct.pack("@16sP16x", b"eth0", ctypes.addressof(off)))


@contextmanager
def bridge(ports: Iterable[socket.socket], seed: int) -> Iterator[Connection]:
    """Start the bridge between the client's and the server's port, which it takes; what to talk to it by."""
    ours, theirs = socket.socketpair()
    with ExitStack() as stack:
        given = [stack.enter_context(each) for each in (theirs, *ports)]
        numbers = [each.fileno() for each in given]
        arguments = [sys.executable, "-m", "bench.lab.bridge", *map(str, (*numbers, seed))]
        process = subprocess.Popen(arguments, pass_fds=numbers, cwd=ROOT)
    try:
        with Connection(ours.detach()) as control:
            yield control
    finally:
        process.kill()
        process.wait()


def _port(interface: str) -> socket.socket:
    try:
        port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    except PermissionError as error:
        raise Unavailable(f"the lab's bridge needs packet sockets (CAP_NET_RAW): {error}") from None
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    port.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    port.bind((interface, 0))
    return port
