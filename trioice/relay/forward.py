"""The relay's loops: one task for each side of a `RelayCore`, one await each.

There are two of each. The plain ones give every datagram to the core; they run on any port. The fast ones, on sockets with recvmmsg and
sendmmsg, let the packets of known flows go by it: the kernel wrote a datagram into memory, and is told to send it from there, with the
flow's header before it or without its first 38 octets. No octet is copied. All else, STUN above all, goes through the core, which
tells the `Shortcut` of every flow that begins, moves or ends.

What several clients send to one transceiver at one time goes in bundles (`trioice.relay.encapsulation`), and comes back in them.

The fast part works on columns: all keys of a burst, all their flows, all lengths, each made or written by one call that loops in C.
A burst that holds anything unusual loses some rows of its columns first, and goes on the same way.
"""

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final

import trio

from trioice.mmsg import BURST, DATAGRAM, NAME, WORDS, Mmsg, records
from trioice.ports import Burst, Port, UdpPort
from trioice.relay.core import RelayCore
from trioice.relay.directory import Directory
from trioice.relay.encapsulation import BUNDLE_MAGIC, HEADER_LENGTH, front_length, read_front
from trioice.relay.outgoing import NAME_AT, Bare, Bundles, Headed, Places
from trioice.sansio import Address, Outbox

LOOK: Final = 5.0
"""Seconds between two looks for idle flows. They are idle after a minute, so that a few seconds more are nothing to them."""

LAST_OF_STUN: Final = 3
"""First octets up to this are STUN's (RFC 7983), and for the core."""

_STUN: Final = bytes(range(LAST_OF_STUN + 1))

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


class Shortcut:
    """The known flows, by the kernel's spelling of the client's address, and by their header; and the two fast loops.

    With `bundles`, transceivers must be ours.
    """

    def __init__(
        self, core: RelayCore, public: UdpPort, inner: UdpPort, directory: Directory, *, bundles: bool = True
    ) -> None:
        assert public.mmsg is not None
        assert inner.mmsg is not None
        self._core = core
        self._public, self._inner = public, inner
        self._from_clients, self._from_transceivers = public.mmsg, inner.mmsg
        self._directory = directory
        self._trusted: set[bytes] = set()  # keys of transceivers
        self._trusted_version = -1
        # What these point to lies in `_places`. A flow's place is that of its header, and one of its transceiver's chunk.
        self._there: dict[bytes, int] = {}  # key of a client → its flow's place
        self._back: dict[bytes, int] = {}  # header → the client's name
        self._owners: dict[int, Address] = {}  # a flow's place → its client
        self._places = Places()
        self._parts_of_one = 1.0  # datagrams of clients' in one from a transceiver, lately
        self._busy: set[int] = set()  # places of the flows that carried something since the last look
        name_length = len(inner.mmsg.name(inner.address))
        self._to_transceivers = Bundles(name_length) if bundles else Headed(name_length)
        self._to_clients = Bare(len(public.mmsg.name(public.address)), public.mmsg.control_length)
        start = public.mmsg.incoming.start
        self._from_client_at = array("Q", range(start, start + BURST * DATAGRAM, DATAGRAM))
        start = inner.mmsg.incoming.start + HEADER_LENGTH
        self._from_transceiver_at = array("Q", range(start, start + BURST * DATAGRAM, DATAGRAM))

    def add(self, client: Address, header: bytes, to: Address) -> None:
        """Carry this client's packets to `to`, and what comes with this header to the client."""
        key, (name, control) = self._from_clients.key(client), self._from_clients.target(client)
        target = self._from_transceivers.name(to)
        if not name or not target or len(control) != self._from_clients.control_length:
            return  # an address that no datagram of media came from, and none will: the core has the flow alone
        self.remove(client, header)
        place = self._places.take(target, header, name, control)
        self._there[key] = place
        self._back[header] = place + NAME_AT
        self._owners[place] = client

    def remove(self, client: Address, header: bytes) -> None:
        """Carry them no more."""
        place = self._there.pop(self._from_clients.key(client), None)
        if place is not None:
            del self._owners[place]
            self._places.give_back(place)
        self._back.pop(header, None)

    def busy(self) -> list[Address]:
        """Take the clients whose packets went by since the last time."""
        clients = [self._owners[place] for place in self._busy if place in self._owners]
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
        self, port: UdpPort, mmsg: Mmsg, carry: Callable[[int], Burst], take: Take, outbox: Outbox, other: UdpPort
    ) -> None:
        """The fast `forward`: what `carry` does not carry is given to the core."""
        while True:
            await port.readable()
            # As many packets in one turn as the other side takes, however many of them come in one datagram.
            most = max(1, round(BURST / self._parts_of_one)) if port is self._inner else BURST
            count = mmsg.fill(most)
            port.took(count, most)
            left = carry(count)
            now = trio.current_time()
            for datagram, source in left:
                take(datagram, source, now)
            if outbox:
                other.send(outbox)

    # From here on no packet is an object of its own.

    def _clients(self, count: int) -> Burst:
        """Send on what belongs to known flows; what of the burst does not."""
        incoming = self._from_clients.incoming
        keys: Sequence[bytes] = records(self._from_clients.key_length, NAME, count).unpack_from(incoming.names)
        headers: Sequence[Any] = list(map(self._there.get, keys))
        lengths: Sequence[int] = incoming.words[7 : count * WORDS : WORDS].tolist()
        firsts = incoming.octets[: count * DATAGRAM : DATAGRAM].tobytes()
        payloads: Sequence[int] = self._from_client_at[:count]
        left: Burst = []
        if not (all(headers) and all(lengths) and len(firsts.translate(None, _STUN)) == count):
            known, strays = [], []
            for index, header in enumerate(headers):
                if not lengths[index] or firsts[index] <= LAST_OF_STUN:
                    left.append(self._from_clients.taken(index))
                elif header:
                    known.append(index)
                else:
                    strays.append(index)
            if strays:
                left += self._refuse([keys[index] for index in strays], strays)
            headers, lengths, payloads = _chosen(known, headers, lengths, payloads)
        if headers:
            targets = self._places.targets(headers)
            if targets.count(targets[0]) != len(targets):
                order = sorted(range(len(targets)), key=targets.__getitem__)
                headers, targets, payloads, lengths = _chosen(order, headers, targets, payloads, lengths)
            messages = self._to_transceivers.write(headers, targets, payloads, lengths)
            sent = self._from_transceivers.transmit(self._to_transceivers.pointer, messages)
            self._inner.unsent += messages - sent
            self._core.inner_datagrams += len(headers)
            self._core.inner_octets += sum(lengths)
            self._busy.update(headers)
        return left

    def _refuse(self, keys: Sequence[bytes], indexes: Sequence[int]) -> Burst:
        """Count what comes from clients without a flow; give to the core what may come from one with an unconfirmed flow."""
        if not self._core.unconfirmed:
            self._core.refuse(len(keys))
            return []
        # Whose check the core has seen, his address is remembered there; and nothing shall be remembered for others.
        known = self._from_clients.known
        waiting = [index for key, index in zip(keys, indexes, strict=True) if self._core.waits(known(key))]
        self._core.refuse(len(keys) - len(waiting))
        return [self._from_clients.taken(index) for index in waiting]

    def _transceivers(self, count: int) -> Burst:
        """Send on what belongs to known flows; what of the burst does not."""
        incoming = self._from_transceivers.incoming
        sources = records(self._from_transceivers.key_length, NAME, count).unpack_from(incoming.names)
        lengths: Sequence[int] = incoming.words[7 : count * WORDS : WORDS].tolist()
        left: Burst = []
        indexes = self._believed(sources, left)
        if len(indexes) == count and BUNDLE_MAGIC[1] not in incoming.octets[1 : count * DATAGRAM : DATAGRAM].tobytes():
            headers: Sequence[bytes] = records(HEADER_LENGTH, DATAGRAM, count).unpack_from(incoming.octets)
            payloads: Sequence[int] = self._from_transceiver_at[:count]
            lengths = [length - HEADER_LENGTH for length in lengths]
            firsts = incoming.octets[HEADER_LENGTH : count * DATAGRAM : DATAGRAM].tobytes()
        else:
            indexes, headers, payloads, lengths = self._parts(indexes, lengths, left)
            firsts = bytes(map(incoming.octets.__getitem__, [at - incoming.start for at in payloads]))
        if headers:
            self._parts_of_one = max(1.0, len(headers) / count)
        names: Sequence[Any] = list(map(self._back.get, headers))
        if not (all(names) and min(lengths, default=1) > 0 and len(firsts.translate(None, _STUN)) == len(names)):
            known = []
            for row, name in enumerate(names):
                if name and lengths[row] > 0 and firsts[row] > LAST_OF_STUN:
                    known.append(row)
                else:
                    left.append(self._part(indexes[row], headers[row], payloads[row], lengths[row]))
            names, payloads, lengths = _chosen(known, names, payloads, lengths)
        for start in range(0, len(names), BURST):
            rows = slice(start, start + BURST)
            count = self._to_clients.write(names[rows], payloads[rows], lengths[rows])
            self._public.unsent += count - self._from_clients.transmit(self._to_clients.pointer, count)
        self._core.outer_datagrams += len(names)
        self._core.outer_octets += sum(lengths)
        return left

    def _believed(self, sources: Sequence[bytes], left: Burst) -> Sequence[int]:
        """Which of the burst come from transceivers; the others are `left`."""
        if self._trusted_version != self._directory.version:
            self._trusted_version = self._directory.version
            self._trusted.clear()
        if self._trusted.issuperset(sources):
            return range(len(sources))
        believed = []
        for index, source in enumerate(sources):
            if source not in self._trusted:
                taken = self._from_transceivers.taken(index)
                if taken[1] not in self._directory:
                    left.append(taken)
                    continue
                self._trusted.add(source)
            believed.append(index)
        return believed

    def _parts(
        self, indexes: Sequence[int], lengths: Sequence[int], left: Burst
    ) -> tuple[list[int], list[bytes], list[int], list[int]]:
        """Take bundles apart where they lie: which datagram each part is of, the headers, and the payloads, and their lengths."""
        incoming = self._from_transceivers.incoming
        owners: list[int] = []
        headers: list[bytes] = []
        payloads: list[int] = []
        sizes: list[int] = []
        for index in indexes:
            at = index * DATAGRAM
            octets = incoming.octets[at : at + lengths[index]].tobytes()
            front = read_front(octets)
            if front is not None:
                parts = len(front[0])
                owners += [index] * parts
                sizes += front[0]
                headers += front[1]
                places = accumulate(front[0][:-1], initial=incoming.start + at + front_length(parts))
                # There may be no octet behind an empty payload to look at.
                payloads += (
                    places if front[0][-1] else [min(place, incoming.start + at + len(octets) - 1) for place in places]
                )
            elif octets[:2] == BUNDLE_MAGIC or len(octets) <= HEADER_LENGTH:
                left.append(self._from_transceivers.taken(index))
            else:
                owners.append(index)
                sizes.append(lengths[index] - HEADER_LENGTH)
                headers.append(octets[:HEADER_LENGTH])
                payloads.append(incoming.start + at + HEADER_LENGTH)
        return owners, headers, payloads, sizes

    def _part(self, index: int, header: bytes, payload: int, length: int) -> tuple[bytes, Address]:
        """Copy one part of a datagram, as if it had come alone."""
        datagram, source = self._from_transceivers.taken(index)
        if length < 0:
            return datagram, source
        at = payload - self._from_transceivers.incoming.start
        return header + self._from_transceivers.incoming.octets[at : at + length].tobytes(), source


def _chosen(rows: Sequence[int], *columns: Sequence[Any]) -> list[list[Any]]:
    """These rows of the columns alone, in this order."""
    return [list(map(column.__getitem__, rows)) for column in columns]
