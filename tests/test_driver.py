"""The trio loop, over a simulated network and in virtual time."""

import trio
import trio.testing

from trioice.driver import Driver
from trioice.memory import MemoryNetwork
from trioice.sansio import NEVER, Address, Outbox

PEER = ("192.0.2.1", 1)


class Beacon:
    """Answers each datagram, and speaks when its deadline comes."""

    def __init__(self, outbox: Outbox) -> None:
        self.deadline = NEVER
        self._outbox = outbox

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        self._outbox.append((b"echo " + datagram, source))

    def expire(self, now: float) -> None:
        self.deadline = NEVER
        self._outbox.append((b"due", PEER))

    def close(self, now: float) -> None:
        self._outbox.append((b"goodbye", PEER))

    def light(self, deadline: float) -> None:
        self.deadline = deadline
        self._outbox.append((b"lit", PEER))


async def test_a_datagram_is_answered(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    network = MemoryNetwork(delay=0.5)
    outbox: Outbox = []
    await nursery.start(Driver(Beacon(outbox), network.port("198.51.100.1", 2), outbox).run)
    peer = network.port(*PEER)
    peer.send([(b"hello", ("198.51.100.1", 2))])
    await peer.readable()
    assert trio.current_time() == 1.0
    assert peer.receive() == [(b"echo hello", ("198.51.100.1", 2))]


async def test_a_verb_outside_the_loop_is_flushed_at_once_and_brings_the_deadline_nearer(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    network = MemoryNetwork(delay=0.0)
    outbox: Outbox = []
    beacon = Beacon(outbox)
    driver = Driver(beacon, network.port("198.51.100.1", 2), outbox)
    await nursery.start(driver.run)
    peer = network.port(*PEER)
    await trio.testing.wait_all_tasks_blocked()  # the port is silent, and the driver waits for ever
    beacon.light(trio.current_time() + 3)
    driver.flush()
    await peer.readable()
    assert [datagram for datagram, _ in peer.receive()] == [b"lit"]
    await peer.readable()
    assert [datagram for datagram, _ in peer.receive()] == [b"due"]
    assert trio.current_time() == 3.0


async def test_a_cancelled_driver_says_goodbye(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(delay=0.0)
    outbox: Outbox = []
    peer = network.port(*PEER)
    async with trio.open_nursery() as nursery:
        await nursery.start(Driver(Beacon(outbox), network.port("198.51.100.1", 2), outbox).run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await peer.readable()
    assert [datagram for datagram, _ in peer.receive()] == [b"goodbye"]


async def test_what_the_owner_says_in_reaction_leaves_in_the_same_flush(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    network = MemoryNetwork(delay=0.0)
    outbox: Outbox = []
    sends = []
    port = network.port("198.51.100.1", 2)
    send = port.send
    port.send = lambda box: (sends.append(len(box)), send(box))  # type: ignore[method-assign, func-returns-value, assignment]
    driver: Driver

    def react(now: float) -> None:
        outbox.append((b"more", PEER))
        driver.flush()  # harmless: the loop flushes

    driver = Driver(Beacon(outbox), port, outbox, react)
    await nursery.start(driver.run)
    peer = network.port(*PEER)
    peer.send([(b"hello", port.address)])
    await peer.readable()
    assert [datagram for datagram, _ in peer.receive()] == [b"echo hello", b"more"]
    assert sends == [0, 2]
