"""The relay's loops: one task for each side of a `RelayCore`, one await each."""

from typing import Final

import trio

from trioice.ports import Port
from trioice.relay.core import RelayCore
from trioice.sansio import Outbox

LOOK: Final = 5.0
"""Seconds between two looks for idle flows. They are idle after a minute, so that a few seconds more are nothing to them."""


async def forward_clients(core: RelayCore, public: Port, inner: Port, outbox: Outbox) -> None:
    """Take what clients send to `public`, and send it on through `inner`; `outbox` is the core's inner one."""
    while True:
        await public.readable()
        now = trio.current_time()
        for datagram, source in public.receive():
            core.receive(datagram, source, now)
        if outbox:
            inner.send(outbox)


async def forget_the_idle(core: RelayCore) -> None:
    """Expire flows, in a task of its own: a deadline around each wait above would cost more than the forwarding."""
    while True:
        await trio.sleep(LOOK)
        core.expire(trio.current_time())


async def forward_transceivers(core: RelayCore, public: Port, inner: Port, outbox: Outbox) -> None:
    """Take what transceivers send to `inner`, and send it on through `public`; `outbox` is the core's outer one."""
    while True:
        await inner.readable()
        now = trio.current_time()
        for datagram, source in inner.receive():
            core.returned(datagram, source, now)
        if outbox:
            public.send(outbox)
