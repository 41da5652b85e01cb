"""The contract between everything that speaks a protocol here and everything that drives it.

A *machine* does no I/O and reads no clock. Datagrams and the time go in; what it wants to say is appended to lists that its
owner gave it: datagrams to an ``outbox``, changes of state to ``events``. A machine only appends, its owner only drains, so one
outbox serves all layers of a peer, and all peers of a socket, in the order of writing.

Time is seconds of a monotonic clock as ``float``, always the last parameter. A machine never stores it except as a deadline
or a measurement.
"""

import math
from collections.abc import Callable, Hashable
from typing import Final, Protocol, TypeAlias

import attrs

from trioice.errors import RemoteProtocolError

Address: TypeAlias = Hashable
"""Opaque to machines; the port that made it can send to it."""

Outbox: TypeAlias = list[tuple[bytes, Address]]
"""Datagrams on their way out, each with the address that it goes to."""

Entropy: TypeAlias = Callable[[int], bytes]
"""Makes that many random octets: ``os.urandom`` in production, a seeded generator in tests."""

NEVER: Final = math.inf
"""The deadline of a machine that waits for nothing but datagrams."""


@attrs.frozen
class Event:
    """A change of state, told upward. Media is not an event."""


@attrs.frozen
class Failed(Event):
    """The association ended because of an error; nothing comes out of the machine after this."""

    error: RemoteProtocolError


@attrs.frozen
class Closed(Event):
    """The association ended in order: the peer said goodbye, or its time ran out."""

    reason: str


class Machine(Protocol):
    """What a driver drives: one per port, and within it one per peer and per protocol."""

    @property
    def deadline(self) -> float:
        """When `expire` wants to be called, or `NEVER`."""

    def receive(self, datagram: bytes, source: Address, now: float) -> bytes | None:
        """Take one datagram; never raises, for any octets. Sessions and below return the media packet it held."""

    def expire(self, now: float) -> None:
        """Do what is due; afterwards `deadline` is later than `now`."""

    def close(self, now: float) -> None:
        """Say goodbye to the peer if the protocol has a word for it, then be silent for ever."""
