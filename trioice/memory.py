"""A simulated network for tests of anything that stands on ports: seeded loss, delay, duplication and reordering, in trio's time.

Under trio's autojump clock, minutes of a bad network pass in milliseconds, and the same seed gives the same run:

    network = MemoryNetwork(seed=7, loss=0.1, delay=0.05)
    client, server = network.port("192.0.2.1", 5000), network.port("198.51.100.1", 3478)
"""

import heapq
import random
from collections.abc import Callable

import trio

from trioice.mmsg import BURST
from trioice.ports import Burst, SocketAddress
from trioice.sansio import Address, Outbox

QUEUED = 4096
"""Datagrams on their way to one port; as a socket's buffer does, it drops what comes when it is full."""


class MemoryNetwork:
    """Carries datagrams between its ports. All settings may be changed while it runs; `carries` may refuse single datagrams.

    Between two hosts whose addresses begin with `inside`, as those of a data centre may, it carries them at once and without fault.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        delay: float = 0.01,
        jitter: float = 0.0,
        loss: float = 0.0,
        duplication: float = 0.0,
        inside: str | None = None,
    ) -> None:
        self.delay, self.jitter, self.loss, self.duplication = delay, jitter, loss, duplication
        self.inside = inside
        self.carries: Callable[[bytes, SocketAddress, SocketAddress], bool] = lambda datagram, source, to: True
        self._ports: dict[Address, MemoryPort] = {}
        self._random = random.Random(seed)

    def port(self, host: str, port: int) -> "MemoryPort":
        """Make a port with this address; it takes the place of one that had it before."""
        address = (host, port)
        self._ports[address] = MemoryPort(self, address)
        return self._ports[address]

    def close(self, port: "MemoryPort") -> None:
        """Take a port off the network: what is sent to it is lost."""
        if self._ports.get(port.address) is port:
            del self._ports[port.address]

    def carry(self, datagram: bytes, source: tuple[str, int], to: Address) -> None:
        """Carry one datagram, or lose it, or double it."""
        port = self._ports.get(to)
        if port is None:
            return
        if self.inside is not None and source[0].startswith(self.inside) and port.address[0].startswith(self.inside):
            port.arrive(trio.current_time(), datagram, source)
            return
        for _ in range(2 if self._random.random() < self.duplication else 1):
            lost = self._random.random() < self.loss
            delay = self.delay + self._random.uniform(0, self.jitter)
            if not lost and self.carries(datagram, source, port.address):
                port.arrive(trio.current_time() + delay, datagram, source)


class MemoryPort:
    """A port on a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, address: tuple[str, int]) -> None:
        self.address = address
        self._network = network
        self._flying: list[tuple[float, int, bytes, tuple[str, int]]] = []
        self._arrivals = 0
        self._arrival = trio.Event()

    def arrive(self, time: float, datagram: bytes, source: tuple[str, int]) -> None:
        """Put a datagram on its way, to be there at `time`."""
        if len(self._flying) < QUEUED:
            self._arrivals += 1
            heapq.heappush(self._flying, (time, self._arrivals, datagram, source))
            self._arrival.set()

    async def readable(self) -> None:
        """Wait until a datagram has arrived."""
        await trio.lowlevel.checkpoint()
        while not self._flying or self._flying[0][0] > trio.current_time():
            self._arrival = trio.Event()
            with trio.move_on_at(self._flying[0][0] if self._flying else float("inf")):
                await self._arrival.wait()

    def receive(self) -> Burst:
        """Take what has arrived, at most `BURST` datagrams."""
        burst: Burst = []
        while self._flying and self._flying[0][0] <= trio.current_time() and len(burst) < BURST:
            _, _, datagram, source = heapq.heappop(self._flying)
            burst.append((datagram, source))
        return burst

    def send(self, outbox: Outbox) -> None:
        """Send all of `outbox`."""
        for datagram, to in outbox:
            self._network.carry(datagram, self.address, to)
        outbox.clear()

    def close(self) -> None:
        """Leave the network."""
        self._network.close(self)
