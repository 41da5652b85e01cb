"""The link: machines with a bad network between them, in virtual time, without any event loop.

The network is seeded: a failing seed is a reproduction.
"""

import heapq
import random
from collections.abc import Callable, Mapping

from trioice.sansio import NEVER, Address, Machine, Outbox

STEPS = 1_000_000
"""More datagrams and deadlines than any test has: machines that never come to rest fail instead of hanging."""


class Link:
    """Carries datagrams between machines that are known by their addresses."""

    def __init__(
        self,
        machines: Mapping[Address, tuple[Machine, Outbox]],
        seed: int = 0,
        *,
        delay: float = 0.02,
        jitter: float = 0.0,
        loss: float = 0.0,
        duplication: float = 0.0,
        mtu: int = 1200,
        now: float = 0.0,
    ) -> None:
        self.machines = dict(machines)
        self.now = now
        self.delay, self.jitter, self.loss, self.duplication, self.mtu = delay, jitter, loss, duplication, mtu
        self.sent = 0
        self.carries: Callable[[bytes, Address, Address], bool] = lambda datagram, source, to: True
        self._random = random.Random(seed)
        self._flying: list[tuple[float, int, bytes, Address, Address]] = []

    def run_until(self, time: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until `done` or until `time`; tells whether `done` came true."""
        for _ in range(STEPS):
            self._collect()
            if done():
                return True
            due = min((machine.deadline for machine, _ in self.machines.values()), default=NEVER)
            arrival = self._flying[0][0] if self._flying else NEVER
            if min(due, arrival) > time:
                self.now = time
                return done()
            self.now = max(self.now, min(due, arrival))
            if arrival <= due:
                _, _, datagram, source, to = heapq.heappop(self._flying)
                if to in self.machines:
                    self.machines[to][0].receive(datagram, source, self.now)
            else:
                for machine, _ in self.machines.values():
                    if machine.deadline <= self.now:
                        machine.expire(self.now)
                        assert machine.deadline > self.now, f"{machine} did not move its deadline on"
        raise AssertionError(f"no rest after {STEPS} steps")

    def _collect(self) -> None:
        for address, (_, outbox) in self.machines.items():
            for datagram, to in outbox:
                assert len(datagram) <= self.mtu, f"{len(datagram)} octets over an MTU of {self.mtu}"
                self.sent += 1
                for _ in range(2 if self._random.random() < self.duplication else 1):
                    if self._random.random() >= self.loss and self.carries(datagram, address, to):
                        arrival = self.now + self.delay + self._random.uniform(0, self.jitter)
                        heapq.heappush(self._flying, (arrival, self.sent, datagram, address, to))
            outbox.clear()
