"""The trio loop: one task and one await per port. Waits, reads the clock, moves datagrams; knows no protocol."""

from collections.abc import Callable
from typing import Protocol

import trio

from trioice.ports import Burst, Port
from trioice.sansio import Address, Outbox


class Drivable(Protocol):
    """What the driver needs of a machine."""

    @property
    def deadline(self) -> float:
        """When `expire` wants to be called."""

    def receive(self, datagram: bytes, source: Address, now: float) -> object:
        """Take one datagram. A machine that has `receive_burst` is given many at once."""

    def expire(self, now: float) -> None:
        """Do what is due."""

    def close(self, now: float) -> None:
        """Say goodbye."""


class Driver:
    """Drives one machine over one port: wait until readable or due, take a burst, expire, let the owner react, flush.

    `react` is called once after each burst, and may use any verb of the machine: what that says leaves in the same flush.
    After a verb used elsewhere, call `flush`. All is synchronous between two waits, so there are no locks, and a
    cancellation finds no half-done work. When `run` is cancelled, it closes the machine and sends its goodbyes.
    """

    def __init__(
        self, machine: Drivable, port: Port, outbox: Outbox, react: Callable[[float], None] = lambda now: None
    ) -> None:
        self._machine = machine
        self._port = port
        self._outbox = outbox
        self._react = react
        self._receive_burst: Callable[[Burst, float], None] = getattr(machine, "receive_burst", self._receive_each)
        self._wait: trio.CancelScope | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive until cancelled."""
        machine, port, outbox = self._machine, self._port, self._outbox
        task_status.started()
        try:
            port.send(outbox)  # verbs may have been used before the loop began
            while True:
                # One scope for many turns: to enter one costs as much as all our work on a packet.
                with trio.CancelScope(deadline=machine.deadline) as scope:
                    while True:
                        self._wait = scope
                        await port.readable()
                        self._turn()
                        if scope.deadline != machine.deadline:
                            scope.deadline = machine.deadline
                self._turn()
        finally:
            self._wait = None
            now = trio.current_time()
            machine.close(now)
            self._react(now)
            port.send(outbox)

    def _turn(self) -> None:
        """Take a burst, do what is due, let the owner react, flush: all at one time, and without a wait between."""
        self._wait = None
        machine, outbox = self._machine, self._outbox
        now = trio.current_time()
        self._receive_burst(self._port.receive(), now)
        if machine.deadline <= now:
            machine.expire(now)
        self._react(now)
        if outbox:
            self._port.send(outbox)

    def _receive_each(self, burst: Burst, now: float) -> None:
        for datagram, source in burst:
            self._machine.receive(datagram, source, now)

    def flush(self) -> None:
        """Send what a verb said, and wake earlier if it brought the deadline nearer. Does not wait.

        Within `react` it does nothing: the loop flushes once, after it.
        """
        if self._wait is not None:
            self._port.send(self._outbox)
            self._wait.deadline = min(self._wait.deadline, self._machine.deadline)
