"""The relay as a machine: it remembers where each client's datagrams go, and looks into none but STUN.

It stands between two sides, each with a verb and an outbox. Clients' datagrams come in by `receive` and leave, with the client's
address in front, through ``inner``; the transceivers' come in by `returned` and leave, without it, through ``outer``.

*Who decides where a datagram goes?* A Binding request says it itself, by the token in its USERNAME (`trioice.relay.token`), always and
for itself alone. Everything else follows the client's *flow*. A flow is made by a Binding request whose token leads to a transceiver
of the directory, and by nothing else. It is *unconfirmed*, and carries nothing, until a transceiver has answered this client with a
STUN success response: the relay cannot verify a check, the transceiver can. So whoever forges sources, with a token or without,
fills the unconfirmed part of a bounded table, which gives way first.

*Who may move a flow?* Somebody may have a call of his own on another transceiver, and forge checks, authentic ones, with a victim's
address as their source; that transceiver answers them to the victim. If such an answer moved the victim's flow, the victim's
media would go astray until its own next check, and again after the next forgery. So the transceiver that a flow leads to keeps
it for as long as it answers the client itself (`HOLD`), or until the directory has it no more; only then does the answer of
another one move the flow. (What is left: who knows a client's address and port before its first check is answered, and goes on
forging, can keep that client's flow; it must then call again from another port. It never hears the client.)

*What is lost when the relay dies?* Nothing for long: headers name the client, so that the way back needs no flow, and the next
check makes one again.

Addresses are the owner's: what it gives to `receive` and `returned` is what comes back in the outboxes, and what the directory
holds must equal what the inner socket gives for that transceiver: ``(host, port)`` for IPv4, and ``(host, port, 0, 0)`` for IPv6, on
a socket for one version or for both (`trioice.sockaddr`).
"""

import enum
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from trioice.relay.encapsulation import HEADER_LENGTH, client_address, header, proxy_address, split
from trioice.relay.token import Route, TokenKeys
from trioice.sansio import NEVER, Address, Outbox
from trioice.stun import BINDING_SUCCESS, MAGIC_COOKIE, server_ufrag

FLOWS: Final = 1 << 16
"""Flows remembered at most, about 30 MB of them. A relay process is at the end of its core with some 2,000 calls (100 packets a
second each), so there is room for those who come and go, and for a flood beside them."""

IDLE: Final = 60.0
"""Seconds after which a silent client's flow is forgotten. Clients that are there check every 2.5 s (Chromium) to 6 s, and have
lost consent after 30 s (RFC 7675, 5.1)."""

HOLD: Final = 15.0
"""Seconds for which a transceiver keeps a flow after its last answer to the client: checks come 6 s apart at most (RFC 7675,
5.1), and one of them may be lost."""

REFRESH: Final = 5.0
"""Seconds by which `IDLE` may be wrong: a busy flow is put to the end of its table once in this time, not with every packet."""


class Drop(enum.Enum):
    """Why the relay dropped a datagram. The value is a sentence for the operator."""

    BAD_TOKEN = "a check whose token does not open"
    CLOSED = "the relay is closed"
    DRAINING = "a new client, while the relay drains"
    EMPTY = "without any octets"
    MALFORMED_HEADER = "from a transceiver, without a whole header"
    NO_ROUTE = "a check whose token leads to no transceiver of the directory"
    UNCONFIRMED = "of a client whose check was not answered yet"
    UNKNOWN_CLIENT = "of a client that has no flow, and no check to make one"
    UNKNOWN_TRANSCEIVER = "on the inner side, from an address that is not in the directory"


class Directory(Protocol):
    """Which transceiver has which shard, as the relay asks for it: from memory, now."""

    def find(self, route: Route) -> Address | None:
        """Give the address of the transceiver that owns the shard."""

    def __contains__(self, address: Address) -> bool:
        """Tell whether a transceiver has this address."""


class Shortcut(Protocol):
    """What forwards the packets of known flows beside the machine, and is told of each flow that begins, moves or ends."""

    def add(self, client: Address, header: bytes, to: Address) -> None:
        """Carry this client's packets to `to`, and what comes with this header to the client."""

    def remove(self, client: Address, header: bytes) -> None:
        """Carry them no more."""


class RelayCore:
    """One public address of a relay: a `trioice.sansio.Machine` with a second side, `returned`.

    Of a client's `Address`, `transport_address` gives host and port, and `proxy` those of ours that the client sends to, for the
    header; `make_address` makes it of both again. What comes to several addresses of ours is several flows, whose headers must differ.
    `keys` may be replaced at any time.
    """

    def __init__(
        self,
        *,
        keys: TokenKeys,
        directory: Directory,
        proxy: Callable[[Address], tuple[str, int]],
        transport_address: Callable[[Address], tuple[str, int]],
        make_address: Callable[[tuple[str, int], tuple[str, int]], Address],
        inner: Outbox,
        outer: Outbox,
        limit: int = FLOWS,
    ) -> None:
        self.keys = keys
        self.dropped: Counter[Drop] = Counter()
        self.inner_datagrams = self.inner_octets = 0  # to transceivers; octets without the headers
        self.outer_datagrams = self.outer_octets = 0  # to clients
        self._directory = directory
        self._proxy = proxy
        self._transport_address = transport_address
        self._make_address = make_address
        self._inner = inner
        self._outer = outer
        self._limit = limit
        self.shortcut: Shortcut | None = None  # to be set before the first datagram
        self._draining = self._closed = False
        # Both tables are in the order of `seen`. Every flow is in one of them, and in `_by_header`.
        self._flows: OrderedDict[Address, _Flow] = OrderedDict()
        self._unconfirmed: OrderedDict[Address, _Flow] = OrderedDict()
        self._by_header: dict[bytes, _Flow] = {}

    @property
    def flows(self) -> int:
        """How many flows are confirmed."""
        return len(self._flows)

    @property
    def unconfirmed(self) -> int:
        """How many flows wait for the answer of a transceiver."""
        return len(self._unconfirmed)

    # The two sides. Media takes the straight way through them, with one look-up of its flow.

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        """Take a datagram that a client sent to the public address."""
        flow = self._flows.get(source)
        # A Binding request begins with 0 (RFC 8489, 5): it may have a token.
        if flow is None or not datagram or datagram[0] == 0:
            self._route(datagram, source, flow, now)
            return
        if now - flow.seen > REFRESH:
            flow.seen = now
            self._flows.move_to_end(source)
        self.inner_datagrams += 1
        self.inner_octets += len(datagram)
        self._inner.append((flow.header + datagram, flow.to))

    def returned(self, datagram: bytes, source: Address, now: float) -> None:
        """Take a datagram that came to the inner socket, from a transceiver if the directory knows `source`."""
        if source not in self._directory:
            self.dropped[Drop.UNKNOWN_TRANSCEIVER] += 1
            return
        flow = self._by_header.get(datagram[:HEADER_LENGTH])
        payload = datagram[HEADER_LENGTH:]
        if flow is None or not payload:
            parts = split(datagram)
            if parts is None:
                self._deliver(datagram, payload)
            else:
                for head, part in parts:
                    self.returned(head + part, source, now)
            return
        if payload[0] == 1 and payload[:2] == _SUCCESS and payload[4:8] == MAGIC_COOKIE:
            self._answered(flow, source, now)
        self.outer_datagrams += 1
        self.outer_octets += len(payload)
        self._outer.append((payload, flow.client))

    @property
    def deadline(self) -> float:
        """When the longest idle flow is to be forgotten."""
        return min(_first(self._flows), _first(self._unconfirmed)) + IDLE

    def expire(self, now: float) -> None:
        """Forget the flows whose clients have been silent for `IDLE` seconds."""
        for table in (self._flows, self._unconfirmed):
            while _first(table) + IDLE <= now:
                self._forget(next(iter(table.values())))

    def refresh(self, clients: Iterable[Address], now: float) -> None:
        """Note that packets of these clients went by the shortcut."""
        for client in clients:
            flow = self._flows.get(client)
            if flow is not None:
                flow.seen = now
                self._flows.move_to_end(client)

    def waits(self, client: Address) -> bool:
        """Tell whether the client has an unconfirmed flow."""
        return client in self._unconfirmed

    def refuse(self, count: int) -> None:
        """Count datagrams that went by the shortcut to nowhere: no STUN, and from clients without any flow."""
        self.dropped[Drop.CLOSED if self._closed else Drop.UNKNOWN_CLIENT] += count

    def drain(self, now: float) -> None:
        """Take no new clients any more; those that have a flow stay, so that a relay can be emptied before it is stopped."""
        self._draining = True

    def close(self, now: float) -> None:
        """Forget everything and be silent; the protocol has no word for goodbye, and the calls go on through another relay."""
        self._closed = True
        for flow in list(self._by_header.values()):
            self._forget(flow)

    # What is not media

    def _route(self, datagram: bytes, source: Address, flow: "_Flow | None", now: float) -> None:
        """Forward a check by its token, and what has none along `flow`, which is confirmed if it is there."""
        ufrag = server_ufrag(datagram)
        if self._closed:
            self.dropped[Drop.CLOSED] += 1
        elif not datagram:
            self.dropped[Drop.EMPTY] += 1
        elif ufrag is not None:
            self._check(datagram, source, ufrag, now)
        elif flow is not None:
            self._forward(datagram, flow, flow.to, now)
        else:
            self.dropped[Drop.UNCONFIRMED if source in self._unconfirmed else Drop.UNKNOWN_CLIENT] += 1

    def _check(self, datagram: bytes, source: Address, ufrag: bytes, now: float) -> None:
        route = self.keys.open(ufrag)
        if route is None:
            self.dropped[Drop.BAD_TOKEN] += 1
            return
        to = self._directory.find(route)
        if to is None:
            self.dropped[Drop.NO_ROUTE] += 1
            return
        flow = self._flows.get(source) or self._unconfirmed.get(source)
        if flow is None:
            if self._draining:
                self.dropped[Drop.DRAINING] += 1
                return
            flow = self._add(source)
        self._forward(datagram, flow, to, now)

    def _forward(self, datagram: bytes, flow: "_Flow", to: Address, now: float) -> None:
        flow.seen = now
        (self._flows if flow.client in self._flows else self._unconfirmed).move_to_end(flow.client)
        self.inner_datagrams += 1
        self.inner_octets += len(datagram)
        self._inner.append((flow.header + datagram, to))

    def _deliver(self, datagram: bytes, payload: bytes) -> None:
        """Find the way back without a flow, by the header alone."""
        client = client_address(datagram)
        if self._closed:
            self.dropped[Drop.CLOSED] += 1
        elif client is None:
            self.dropped[Drop.MALFORMED_HEADER] += 1
        elif not payload:
            self.dropped[Drop.EMPTY] += 1
        else:
            self.outer_datagrams += 1
            self.outer_octets += len(payload)
            self._outer.append((payload, self._make_address(client, proxy_address(datagram))))

    def _answered(self, flow: "_Flow", source: Address, now: float) -> None:
        """Note that the transceiver `source` answered a check of the client."""
        if flow.to != source:
            if now < flow.answered + HOLD and flow.to in self._directory:
                return
            self._confirm(flow, source, now)
        flow.answered = now

    # The table. A flow that carries something begins and moves in `_confirm` and ends in `_forget`, nowhere else: whatever
    # forwards beside this machine, in a hot loop or in the kernel, is told of flows from these two places.

    def _add(self, client: Address) -> "_Flow":
        flow = _Flow(client, header(self._transport_address(client), self._proxy(client)))
        if flow.header in self._by_header:  # two addresses of the owner's that look the same in a header
            self._forget(self._by_header[flow.header])
        elif len(self._by_header) >= self._limit:
            self._forget(next(iter((self._unconfirmed or self._flows).values())))
        self._unconfirmed[client] = self._by_header[flow.header] = flow
        return flow

    def _confirm(self, flow: "_Flow", to: Address, now: float) -> None:
        flow.to = to
        if self.shortcut is not None:
            self.shortcut.add(flow.client, flow.header, to)
        if self._unconfirmed.pop(flow.client, None):
            flow.seen = now
            self._flows[flow.client] = flow

    def _forget(self, flow: "_Flow") -> None:
        if self.shortcut is not None:
            self.shortcut.remove(flow.client, flow.header)
        del self._by_header[flow.header]
        if self._flows.pop(flow.client, None) is None:
            del self._unconfirmed[flow.client]


_SUCCESS: Final = BINDING_SUCCESS.to_bytes(2, "big")


class _Flow:
    """One client, and where it leads."""

    __slots__ = ("answered", "client", "header", "seen", "to")

    def __init__(self, client: Address, header: bytes) -> None:
        self.client = client
        self.header = header  # made once, put in front of every datagram
        self.to: Address = None  # set when the flow is confirmed
        self.seen = 0.0  # when the client's last datagram came, `REFRESH` seconds ago at most
        self.answered = -NEVER  # when the transceiver last answered a check


def _first(table: OrderedDict[Address, _Flow]) -> float:
    """When the longest idle client of the table was seen; `NEVER` where there is none."""
    for flow in table.values():
        return flow.seen
    return NEVER
