"""The relay's loops: one task for each side of a `RelayCore`, one await each."""

import trio

from trioice.ports import Port
from trioice.relay.core import RelayCore
from trioice.sansio import Outbox


async def forward_clients(core: RelayCore, public: Port, inner: Port, outbox: Outbox) -> None:
    """Take what clients send to `public`, and send it on through `inner`; `outbox` is the core's inner one."""
    while True:
        with trio.move_on_at(core.deadline):
            await public.readable()
        now = trio.current_time()
        for datagram, source in public.receive():
            core.receive(datagram, source, now)
        if core.deadline <= now:
            core.expire(now)
        if outbox:
            inner.send(outbox)


async def forward_transceivers(core: RelayCore, public: Port, inner: Port, outbox: Outbox) -> None:
    """Take what transceivers send to `inner`, and send it on through `public`; `outbox` is the core's outer one."""
    while True:
        await inner.readable()
        now = trio.current_time()
        for datagram, source in inner.receive():
            core.returned(datagram, source, now)
        if outbox:
            public.send(outbox)
