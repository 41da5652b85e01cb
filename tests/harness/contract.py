"""The contract that every machine keeps, as a suite to inherit.

class TestIceLite(Contract):
    def make(self, outbox, events): ...     # a new machine, the same one each time
    def valid(self): ...                    # datagrams that it understands, in order
"""

import random
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.harness.ladder import PEER
from trioice.sansio import NEVER, Event, Machine, Outbox

SEEDS = range(20)
HOSTILE = 500
"""Hostile datagrams a seed: twenty seeds make 10,000."""


class Contract:
    """What `trioice.sansio.Machine` promises, for any octets."""

    proves_source = False
    """True for a machine to which only proven sources are given, so that its answers need no bound of three times the question."""

    grows_by = 300_000
    """Octets that a machine may remember of 10,000 hostile datagrams."""

    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        raise NotImplementedError  # each suite that inherits this says what it is of

    def valid(self) -> list[bytes]:
        raise NotImplementedError  # as above

    def told(self, events: list[Event]) -> list[Event]:
        """What of the events can be compared between two machines."""
        return events

    @pytest.mark.parametrize("seed", SEEDS)
    def test_no_octets_raise(self, seed: int) -> None:
        outbox: Outbox = []
        events: list[Event] = []
        machine = self.make(outbox, events)
        for now, datagram in enumerate(_hostile(seed, self.valid())):
            machine.receive(datagram, PEER, now / 100)
            machine.expire(now / 100)

    def test_truncated_datagrams_do_not_raise(self) -> None:
        for datagram in self.valid():
            for length in range(len(datagram)):
                machine = self.make([], [])
                machine.receive(datagram[:length], PEER, 0.0)

    def test_expire_moves_the_deadline_on(self) -> None:
        machine = self.make([], [])
        now = 0.0
        for datagram in [*self.valid(), *[b""] * 100]:
            machine.receive(datagram, PEER, now)
            if machine.deadline == NEVER:
                break
            now = max(now, machine.deadline)
            machine.expire(now)
            assert machine.deadline > now

    @pytest.mark.parametrize("seed", SEEDS)
    def test_an_unproven_source_gets_at_most_three_times_what_it_sent(self, seed: int) -> None:
        if self.proves_source:
            return
        outbox: Outbox = []
        machine = self.make(outbox, [])
        received = 0
        for datagram in _hostile(seed, [_with_other_octets(datagram, seed) for datagram in self.valid()]):
            machine.receive(datagram, PEER, 0.0)
            received += len(datagram)
            assert sum(len(d) for d, _ in outbox) <= 3 * received

    def test_the_same_input_gives_the_same_output(self) -> None:
        transcripts = []
        for _ in range(2):
            outbox: Outbox = []
            events: list[Event] = []
            machine = self.make(outbox, events)
            for now, datagram in enumerate([*self.valid(), *_hostile(7, self.valid())]):
                machine.receive(datagram, PEER, float(now))
                machine.expire(float(now))
            transcripts.append((outbox, self.told(events)))
        assert transcripts[0] == transcripts[1]

    def test_silence_after_close(self) -> None:
        outbox: Outbox = []
        events: list[Event] = []
        machine = self.make(outbox, events)
        for datagram in self.valid():
            machine.receive(datagram, PEER, 0.0)
        machine.close(1.0)
        outbox.clear()
        events.clear()
        for datagram in self.valid():
            machine.receive(datagram, PEER, 2.0)
        machine.expire(1000.0)
        machine.close(1001.0)
        assert (outbox, events, machine.deadline) == ([], [], NEVER)

    def test_memory_is_bounded_under_ten_thousand_hostile_datagrams(self) -> None:
        outbox: Outbox = []
        events: list[Event] = []
        machine = self.make(outbox, events)
        before = octets_of(machine)
        for seed in SEEDS:
            for number, datagram in enumerate(_hostile(seed, self.valid())):
                machine.receive(datagram, ("198.51.100.1", seed * HOSTILE + number), 0.0)
                outbox.clear()
                events.clear()
        assert octets_of(machine) - before < self.grows_by


def _hostile(seed: int, valid: list[bytes]) -> Iterator[bytes]:
    """Random octets, and valid datagrams with something done to them."""
    rng = random.Random(seed)
    mutations: list[Callable[[bytearray], None]] = [
        lambda d: d.__setitem__(rng.randrange(len(d)), rng.randrange(256)),
        lambda d: d.__delitem__(slice(rng.randrange(len(d)), None)),
        lambda d: d.extend(rng.randbytes(rng.randrange(1, 40))),
        lambda d: d.__setitem__(slice(i := rng.randrange(len(d)), i + 2), b"\xff\xff"),
        lambda d: d.__setitem__(slice(i := rng.randrange(len(d)), i + 2), b"\x00\x00"),
        lambda d: d.__delitem__(slice(i := rng.randrange(len(d)), i + rng.randrange(1, 8))),
    ]
    for _ in range(HOSTILE):
        if not valid or rng.random() < 0.2:
            first = rng.choice((0, 1, 20, 22, 23, 63, 64, 128, 144, 200, 255))
            yield bytes([first]) + rng.randbytes(rng.randrange(0, 200)) if rng.random() < 0.95 else b""
        else:
            datagram = bytearray(rng.choice(valid))
            for _ in range(rng.randrange(1, 4)):
                if datagram:
                    rng.choice(mutations)(datagram)
            yield bytes(datagram)


def _with_other_octets(datagram: bytes, seed: int) -> bytes:
    """Spoil what would prove the source, wherever it stands: the last quarter of the datagram."""
    keep = len(datagram) * 3 // 4
    return datagram[:keep] + random.Random(seed).randbytes(len(datagram) - keep)


def octets_of(machine: object) -> int:
    """Everything reachable from `machine` that is not a module, a class or a function."""
    seen: set[int] = set()
    total = 0
    left: list[object] = [machine]
    while left:
        item = left.pop()
        if id(item) in seen or isinstance(item, type) or callable(item):
            continue
        seen.add(id(item))
        total += sys.getsizeof(item)
        if isinstance(item, dict):
            left += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            left += item
        else:
            left += getattr(item, "__dict__", {}).values()
            for base in type(item).__mro__:
                left += [getattr(item, slot) for slot in getattr(base, "__slots__", ()) if hasattr(item, slot)]
    return total
