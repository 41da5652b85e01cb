"""The relay's loops: one task for each side of a `RelayCore`, one await each.

There are two of each. The plain ones give every datagram to the core; they run on any port. The fast ones, on sockets with recvmmsg and
sendmmsg, let the packets of known flows go by it: the kernel wrote a datagram into memory, and is told to send it from there, with the
flow's header before it or without its first 38 octets. No octet is copied and nothing is made but the key of one look-up. All else,
STUN above all, goes through the core, which tells the `Shortcut` of every flow that begins, moves or ends.
"""

import ctypes
from array import array
from collections.abc import Callable
from typing import Final, NamedTuple

import trio

from trioice.mmsg import BURST, DATAGRAM, NAME, WORDS, Mmsg
from trioice.ports import Port, UdpPort
from trioice.relay.core import RelayCore
from trioice.relay.directory import Directory
from trioice.relay.encapsulation import HEADER_LENGTH
from trioice.sansio import Address, Outbox

LOOK: Final = 5.0
"""Seconds between two looks for idle flows. They are idle after a minute, so that a few seconds more are nothing to them."""

LAST_OF_STUN: Final = 3
"""First octets up to this are STUN's (RFC 7983), and for the core."""


Take = Callable[[bytes, Address, float], None]
"""A verb of the core that takes a datagram: `RelayCore.receive` for clients', `RelayCore.returned` for transceivers'."""


async def forward(port: Port, take: Take, outbox: Outbox, other: Port) -> None:
    """Give the core what comes to `port`, and send what it wants sent through the `other`, for ever."""
    while True:
        await port.readable()
        now = trio.current_time()
        for datagram, source in port.receive():
            take(datagram, source, now)
        if outbox:
            other.send(outbox)


async def forget_the_idle(core: RelayCore, shortcut: "Shortcut | None") -> None:
    """Expire flows, in a task of its own: a deadline around each wait above would cost more than the forwarding."""
    while True:
        await trio.sleep(LOOK)
        now = trio.current_time()
        if shortcut is not None:
            core.refresh(shortcut.busy(), now)
        core.expire(now)


class _Way(NamedTuple):
    """One direction of a flow: what stands in front, and where it goes, as the kernel wants them; and whose flow it is."""

    header: int  # a pointer to 38 octets
    name: int  # a pointer to a socket address
    length: int  # of that
    client: Address
    memory: "ctypes.Array[ctypes.c_char]"  # what they point into


class Shortcut:
    """The known flows, by the kernel's spelling of the client's address, and by their header; and the two fast loops."""

    def __init__(self, core: RelayCore, public: UdpPort, inner: UdpPort, directory: Directory) -> None:
        assert public.mmsg is not None
        assert inner.mmsg is not None
        self._core = core
        self._public, self._inner = public, inner
        self._from_clients, self._from_transceivers = public.mmsg, inner.mmsg
        self._directory = directory
        self._trusted: set[bytes] = set()  # the kernel's spelling of transceivers' addresses
        self._trusted_version = -1
        self._there: dict[bytes, _Way] = {}  # client's address → the way to its transceiver
        self._back: dict[bytes, _Way] = {}  # header → the way to its client
        self._busy: set[bytes] = set()  # clients since the last look
        self._to_transceivers = _Outgoing(pieces=2)
        self._to_clients = _Outgoing(pieces=1)

    def add(self, client: Address, header: bytes, to: Address) -> None:
        """Carry this client's packets to `to`, and what comes with this header to the client."""
        name, there = self._from_clients.name(client), self._from_transceivers.name(to)
        if not name or not there:
            return  # an address that no socket has: the core may try
        memory = ctypes.create_string_buffer(header + there + name, HEADER_LENGTH + len(there) + len(name))
        start = ctypes.addressof(memory)
        self._there[name] = _Way(start, start + HEADER_LENGTH, len(there), client, memory)
        self._back[header] = _Way(start, start + HEADER_LENGTH + len(there), len(name), client, memory)

    def remove(self, client: Address, header: bytes) -> None:
        """Carry them no more."""
        self._there.pop(self._from_clients.name(client), None)
        self._back.pop(header, None)

    def busy(self) -> list[Address]:
        """Take the clients whose packets went by since the last time."""
        clients = [way.client for name in self._busy if (way := self._there.get(name)) is not None]
        self._busy.clear()
        return clients

    async def forward_clients(self, outbox: Outbox) -> None:
        """Carry what clients send, for ever; `outbox` is the core's inner one."""
        await self._forward(self._public, self._from_clients, self._clients, self._core.receive, outbox, self._inner)

    async def forward_transceivers(self, outbox: Outbox) -> None:
        """Carry what transceivers send, for ever; `outbox` is the core's outer one."""
        take = self._core.returned
        await self._forward(self._inner, self._from_transceivers, self._transceivers, take, outbox, self._public)

    async def _forward(
        self, port: UdpPort, mmsg: Mmsg, carry: Callable[[int], list[int]], take: Take, outbox: Outbox, other: UdpPort
    ) -> None:
        """The fast `forward`: what `carry` does not carry is given to the core."""
        while True:
            await port.readable()
            count = mmsg.fill()
            port.took(count)
            left = carry(count)
            now = trio.current_time()
            for index in left:
                datagram, source = mmsg.taken(index)
                take(datagram, source, now)
            if outbox:
                other.send(outbox)

    def _clients(self, count: int) -> list[int]:
        """Send on what belongs to known flows; which of the datagrams do not."""
        incoming, outgoing = self._from_clients.incoming, self._to_transceivers
        words, octets, names = incoming.words, incoming.octets, incoming.names
        out, pieces, there, start = outgoing.words, outgoing.iovecs, self._there, incoming.start
        slow: list[int] = []
        keys: list[bytes] = []
        done = total = 0
        for index in range(count):
            at = index * NAME
            key = names[at : at + words[index * WORDS + 1]].tobytes()
            way = there.get(key)
            at = index * DATAGRAM
            length = words[index * WORDS + 7] & 0xFFFFFFFF
            if way is None or not length or octets[at] <= LAST_OF_STUN:
                slow.append(index)
                continue
            keys.append(key)
            word = done * WORDS
            out[word] = way.name
            out[word + 1] = way.length
            piece = done * 4
            pieces[piece] = way.header
            pieces[piece + 2] = start + at
            pieces[piece + 3] = length
            done += 1
            total += length
        if done:
            self._inner.unsent += done - self._from_transceivers.transmit(outgoing.pointer, done)
            self._core.inner_datagrams += done
            self._core.inner_octets += total
            self._busy.update(keys)
        return slow

    def _transceivers(self, count: int) -> list[int]:
        """Send on what belongs to known flows; which of the datagrams do not."""
        if self._trusted_version != self._directory.version:
            self._trusted_version = self._directory.version
            self._trusted.clear()
        incoming, outgoing = self._from_transceivers.incoming, self._to_clients
        words, octets, names = incoming.words, incoming.octets, incoming.names
        out, pieces, back, start, trusted = outgoing.words, outgoing.iovecs, self._back, incoming.start, self._trusted
        slow: list[int] = []
        done = total = 0
        for index in range(count):
            at = index * DATAGRAM
            way = back.get(octets[at : at + HEADER_LENGTH].tobytes())
            length = (words[index * WORDS + 7] & 0xFFFFFFFF) - HEADER_LENGTH
            if way is None or length <= 0 or octets[at + HEADER_LENGTH] <= LAST_OF_STUN:
                slow.append(index)
                continue
            name = index * NAME
            source = names[name : name + words[index * WORDS + 1]].tobytes()
            if source not in trusted:
                if self._from_transceivers.taken(index)[1] not in self._directory:
                    slow.append(index)
                    continue
                trusted.add(source)
            word = done * WORDS
            out[word] = way.name
            out[word + 1] = way.length
            piece = done * 2
            pieces[piece] = start + at + HEADER_LENGTH
            pieces[piece + 1] = length
            done += 1
            total += length
        if done:
            self._public.unsent += done - self._from_clients.transmit(outgoing.pointer, done)
            self._core.outer_datagrams += done
            self._core.outer_octets += total
        return slow


class _Outgoing:
    """The words of `BURST` messages that are sent from where they lie, each in one or two pieces; the first of two is a header."""

    def __init__(self, pieces: int) -> None:
        self.words = array("Q", bytes(BURST * WORDS * 8))
        self.iovecs = array("Q", bytes(BURST * pieces * 16))
        start, _ = self.iovecs.buffer_info()
        for index in range(BURST):
            self.words[index * WORDS + 2] = start + index * pieces * 16
            self.words[index * WORDS + 3] = pieces
            if pieces == 2:
                self.iovecs[index * 4 + 1] = HEADER_LENGTH
        self.pointer, _ = self.words.buffer_info()
