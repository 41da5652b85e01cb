"""The relay: a `RelayCore` between two ports."""

from collections.abc import Iterable

import trio

from trioice.metrics import Sample
from trioice.ports import Port, UdpPort, transport_address
from trioice.relay.core import RelayCore
from trioice.relay.directory import Directory
from trioice.relay.forward import Shortcut, forget_the_idle, forward
from trioice.relay.token import TokenKeys
from trioice.sansio import Address, Outbox
from trioice.sockaddr import destination


class Relay:
    """Forwards between `public`, where clients send, and `inner`, where transceivers answer. `proxy` is what clients call `public`.

    Without `bundles`, each datagram goes to its transceiver alone (`trioice.relay.encapsulation`).
    """

    def __init__(
        self,
        *,
        public: Port,
        inner: Port,
        keys: TokenKeys,
        directory: Directory,
        proxy: tuple[str, int],
        bundles: bool = True,
    ) -> None:
        self._proxy = proxy
        self._public = public
        self._inner = inner
        self._to_inner: Outbox = []
        self._to_outer: Outbox = []
        self.core = RelayCore(
            keys=keys,
            directory=directory,
            proxy=self._proxy_of,
            transport_address=transport_address,
            make_address=self._make_address,
            inner=self._to_inner,
            outer=self._to_outer,
        )
        self._shortcut: Shortcut | None = None
        if isinstance(public, UdpPort) and isinstance(inner, UdpPort) and public.mmsg and inner.mmsg:
            self._shortcut = self.core.shortcut = Shortcut(self.core, public, inner, directory, bundles=bundles)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Forward until cancelled. Nothing is lost by that: the calls go on through the next relay that stands here."""
        core, shortcut = self.core, self._shortcut
        async with trio.open_nursery() as nursery:
            if shortcut is not None:
                nursery.start_soon(shortcut.forward_clients, self._to_inner)
                nursery.start_soon(shortcut.forward_transceivers, self._to_outer)
            else:
                nursery.start_soon(forward, self._public, core.receive, self._to_inner, self._inner)
                nursery.start_soon(forward, self._inner, core.returned, self._to_outer, self._public)
            nursery.start_soon(forget_the_idle, core, shortcut)
            task_status.started()

    def _proxy_of(self, client: Address) -> tuple[str, int]:
        """Tell what the client calls us: on a port that keeps destinations, the address that it came to."""
        return destination(client) or self._proxy[0], self._proxy[1]

    def _make_address(self, client: tuple[str, int], proxy: tuple[str, int]) -> Address:
        """Make the address that the port would give for a client that sends to `proxy`."""
        address = (*client, 0, 0) if ":" in client[0] else client
        return (*address, proxy[0]) if isinstance(self._public, UdpPort) and self._public.keeps_destination else address

    def metrics(self) -> Iterable[Sample]:
        """Count what went through, what did not and why."""
        core = self.core
        for side, datagrams, octets in (
            ("transceivers", core.inner_datagrams, core.inner_octets),
            ("clients", core.outer_datagrams, core.outer_octets),
        ):
            yield _counter("forwarded_datagrams_total", "Datagrams forwarded, by where to.", datagrams, to=side)
            yield _counter("forwarded_octets_total", "Octets forwarded, without headers, by where to.", octets, to=side)
        for side, port in (("clients", self._public), ("transceivers", self._inner)):
            if isinstance(port, UdpPort):
                text = (
                    "Datagrams that the system did not take, though counted as forwarded, by where to; a bundle is one."
                )
                yield _counter("unsent_total", text, port.unsent, to=side)
                text = "Datagrams lost to a full receive buffer, by where from."
                yield _counter("overflowed_total", text, port.overflowed, source=side)
        for drop, count in core.dropped.items():
            yield _counter("dropped_total", "Datagrams dropped, by reason.", count, reason=drop.name.lower())
        for state, flows in (("confirmed", core.flows), ("unconfirmed", core.unconfirmed)):
            yield Sample(
                name="trioice_relay_flows", kind="gauge", help="Flows remembered.", value=flows, labels={"state": state}
            )


def _counter(name: str, text: str, value: int, **labels: str) -> Sample:
    return Sample(name=f"trioice_relay_{name}", kind="counter", help=text, value=value, labels=labels)
