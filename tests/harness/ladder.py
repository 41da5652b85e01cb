"""The ladder: a playbook for one machine, told line by line, in which time is an actor.

Every output must be claimed before the next input, so nothing that a machine says goes unnoticed. A failure prints the exchange so far.
"""

from collections.abc import Callable
from typing import TypeVar, overload

from trioice.sansio import Address, Event, Machine, Outbox

T = TypeVar("T")
E = TypeVar("E", bound=Event)

PEER = ("192.0.2.7", 50000)


class Ladder:
    """Plays the network, the clock and the owner of one machine."""

    def __init__(
        self, machine: Machine, outbox: Outbox, events: list[Event], source: Address = PEER, now: float = 0.0
    ) -> None:
        self.machine = machine
        self.now = now
        self._outbox = outbox
        self._events = events
        self._source = source
        self._story: list[str] = []

    def receives(self, datagram: bytes, source: Address | None = None) -> bytes | None:
        """Deliver a datagram; everything said before must have been claimed."""
        self.silent()
        source = self._source if source is None else source
        self._tell(f"{source} ------> us    {_short(datagram)}")
        return self.machine.receive(datagram, source, self.now)

    def does(self, verb: Callable[..., T], *args: object) -> T:
        """Call a verb of the machine, with the time as its last argument."""
        self.silent()
        self._tell(f"{verb.__name__}{args}")
        return verb(*args, self.now)

    @overload
    def sends(self) -> bytes: ...
    @overload
    def sends(self, decode: Callable[[bytes], T | None], to: Address | None = None) -> T: ...

    def sends(self, decode: Callable[[bytes], object] = bytes, to: Address | None = None) -> object:
        """Claim the next datagram, which must go to `to`, and decode it."""
        if not self._outbox:
            self._fail("nothing was sent")
        datagram, address = self._outbox.pop(0)
        self._tell(f"us ------> {address}    {_short(datagram)}")
        if address != (self._source if to is None else to):
            self._fail(f"sent to {address}")
        value = decode(datagram)
        if value is None:
            self._fail("it cannot be decoded")
        return value

    @overload
    def announces(self, expected: type[E]) -> E: ...
    @overload
    def announces(self, expected: E) -> E: ...

    def announces(self, expected: type[Event] | Event) -> Event:
        """Claim the next event: of that class, or equal to that event."""
        if not self._events:
            self._fail(f"{expected} was not announced")
        event = self._events.pop(0)
        self._tell(f"announced {event}")
        if event != expected and not (isinstance(expected, type) and isinstance(event, expected)):
            self._fail(f"{expected} was expected")
        return event

    def waits_until(self, time: float) -> None:
        """Let time pass; stops at the first deadline at which the machine says something."""
        self.silent()
        while not (self._outbox or self._events):
            deadline = self.machine.deadline
            if deadline > time:
                self.now = time
                self._tell("…")
                return
            self.now = max(self.now, deadline)
            self.machine.expire(self.now)
            if self.machine.deadline <= self.now:
                self._fail("expire did not move the deadline on")

    def silent(self) -> None:
        """Nothing may be unclaimed."""
        if self._outbox or self._events:
            self._fail(f"unclaimed: {[(_short(d), a) for d, a in self._outbox]} {self._events}")

    def _tell(self, line: str) -> None:
        self._story.append(f"{self.now:9.3f}  {line}")

    def _fail(self, problem: str) -> None:
        raise AssertionError("\n".join(("", *self._story, f"{self.now:9.3f}  !! {problem}")))


def _short(datagram: bytes) -> str:
    return f"{datagram[:12].hex()}… ({len(datagram)})" if len(datagram) > 12 else f"{datagram.hex()} ({len(datagram)})"
