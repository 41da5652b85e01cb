"""The relay's loops on real sockets: the fast ones do what the plain ones do, octet for octet, at an exact cost."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.harness.clockwork import calls
from tests.harness.world import World
from tests.relay.world import KEYS, check, success
from trioice.mmsg import is_available
from trioice.ports import UdpPort
from trioice.relay.core import IDLE, Drop
from trioice.relay.directory import Directory
from trioice.relay.encapsulation import header
from trioice.relay.forward import LOOK
from trioice.relay.server import Relay

bursts_only = pytest.mark.skipif(not is_available(), reason="the fast loops need recvmmsg and sendmmsg")


class Setting:
    """A relay between sockets of ours: a client's and a transceiver's."""

    def __init__(self, plain: bool, host: str = "127.0.0.1") -> None:
        self.client, self.transceiver = (UdpPort.bind(host, 0, plain=True) for _ in range(2))
        self.public, self.inner = (UdpPort.bind(host, 0, plain=plain) for _ in range(2))
        at = self.transceiver.address
        self.directory = Directory.of([f"1/1=[{at[0]}]:{at[1]}" if ":" in host else f"1/1={at[0]}:{at[1]}"])
        self.relay = Relay(
            public=self.public, inner=self.inner, keys=KEYS, directory=self.directory, proxy=self.public.address
        )
        self.header = header(self.client.address, self.public.address)

    async def to_transceiver(self, *datagrams: bytes) -> list[bytes]:
        """What the transceiver gets of what the client sends; a check marks the end."""
        return await self._carried(self.client, self.public, self.transceiver, [*datagrams, check()], check())

    async def to_client(self, *datagrams: bytes, head: bytes | None = None) -> list[bytes]:
        """What the client gets of what the transceiver sends."""
        head = self.header if head is None else head
        marked = [*(head + datagram for datagram in datagrams), self.header + success()]
        return await self._carried(self.transceiver, self.inner, self.client, marked, success())

    async def _carried(
        self, sender: UdpPort, by: UdpPort, receiver: UdpPort, datagrams: list[bytes], mark: bytes
    ) -> list[bytes]:
        sender.send([(datagram, by.address) for datagram in datagrams])
        got: list[bytes] = []
        with trio.fail_after(5):
            while not got or not got[-1].endswith(mark):
                await receiver.readable()
                got += [datagram for datagram, _ in receiver.receive()]
        return got[:-1]


@asynccontextmanager
async def running(plain: bool, host: str = "127.0.0.1") -> AsyncIterator[Setting]:
    setting = Setting(plain, host)
    async with trio.open_nursery() as nursery:
        await nursery.start(setting.relay.run)
        yield setting
        nursery.cancel_scope.cancel()
    for port in (setting.client, setting.transceiver, setting.public, setting.inner):
        port.close()


@pytest.mark.parametrize("plain", [True, pytest.param(False, marks=bursts_only)], ids=["plain", "fast"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_packets_go_both_ways_whole_and_in_order(plain: bool, host: str) -> None:
    rng = random.Random(3)
    async with running(plain, host) as setting:
        assert await setting.to_transceiver(b"\x80 before any check") == []
        assert await setting.to_client() == []  # the success confirms the flow
        for _ in range(3):
            packets = [
                bytes([rng.choice((20, 23, 63, 128, 144, 191))]) + rng.randbytes(rng.randrange(1400))
                for _ in range(150)
            ]
            assert await setting.to_transceiver(*packets) == [setting.header + packet for packet in packets]
            assert await setting.to_client(*packets) == packets
        core = setting.relay.core
        assert core.dropped == {Drop.UNKNOWN_CLIENT: 1}
        assert (core.inner_datagrams, core.outer_datagrams) == (4 + 450, 4 + 450)


@pytest.mark.parametrize("plain", [True, pytest.param(False, marks=bursts_only)], ids=["plain", "fast"])
async def test_what_is_not_to_be_forwarded_is_not(plain: bool) -> None:
    async with running(plain) as setting:
        await setting.to_transceiver()
        await setting.to_client()
        known = [b"\x00 no check, but of a known client", b"\x80ours"]
        assert sorted(await setting.to_transceiver(b"", *known)) == [setting.header + datagram for datagram in known]
        stranger = UdpPort.bind("127.0.0.1", 0, plain=True)
        stranger.send(
            [(b"\x80not ours", setting.public.address), (setting.header + b"\x80forged", setting.inner.address)]
        )
        assert await setting.to_client(b"\x80ours") == [b"\x80ours"]
        assert await setting.to_client(b"", b"short", head=b"\x56\xec") == []
        stranger.close()
        assert setting.relay.core.dropped[Drop.UNKNOWN_TRANSCEIVER] == 1
        assert setting.relay.core.dropped[Drop.MALFORMED_HEADER] == 2


@pytest.mark.parametrize("plain", [True, pytest.param(False, marks=bursts_only)], ids=["plain", "fast"])
async def test_a_transceiver_that_left_the_directory_is_not_believed(plain: bool) -> None:
    async with running(plain) as setting:
        await setting.to_transceiver()
        await setting.to_client()
        assert await setting.to_client(b"\x80ours") == [b"\x80ours"]
        setting.directory.replace(Directory.of(["1/1=127.0.0.1:1"]))
        setting.transceiver.send([(setting.header + b"\x80late", setting.inner.address)])
        with trio.fail_after(5):
            while not setting.relay.core.dropped[Drop.UNKNOWN_TRANSCEIVER]:  # noqa: ASYNC110 - a drop announces itself to nobody
                await trio.sleep(0.001)


@bursts_only
async def test_a_flow_that_is_forgotten_is_forgotten_by_the_shortcut() -> None:
    async with running(plain=False) as setting:
        await setting.to_transceiver()
        await setting.to_client()
        shortcut = setting.relay._shortcut
        assert shortcut is not None
        assert (len(shortcut._there), len(shortcut._back)) == (1, 1)
        setting.relay.core.expire(trio.current_time() + IDLE + 1)
        assert (len(shortcut._there), len(shortcut._back)) == (0, 0)
        assert await setting.to_transceiver(b"\x80unknown now") == []


@bursts_only
async def test_packets_that_go_by_the_core_keep_their_flow() -> None:
    async with running(plain=False) as setting:
        await setting.to_transceiver()
        await setting.to_client()
        await setting.to_transceiver(b"\x80still here")
        shortcut, core = setting.relay._shortcut, setting.relay.core
        assert shortcut is not None
        later = trio.current_time() + IDLE + 1
        core.refresh(shortcut.busy(), later)
        assert shortcut.busy() == []
        core.expire(later)
        assert core.flows == 1


async def test_idle_flows_are_looked_for_now_and_then(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    relay = await world.relay()
    dialled = await world.dial(await world.transceiver())
    await dialled.hears(1, within=3.0)
    dialled.caller.close(trio.current_time())
    await trio.sleep(IDLE + LOOK + 1)
    assert relay.relay.core.flows == 0


@bursts_only
@pytest.mark.parametrize(("way", "exact"), [("_clients", 3), ("_transceivers", 3)])
async def test_a_packet_more_costs_so_many_calls_more(way: str, exact: int) -> None:
    """The cost of a packet in a burst: the difference between two bursts, so that the burst's own cost is left out."""
    setting = Setting(plain=False)
    core, shortcut = setting.relay.core, setting.relay._shortcut
    assert shortcut is not None
    core.receive(check(), setting.client.address, trio.current_time())
    core.returned(setting.header + success(), setting.transceiver.address, trio.current_time())
    sender, by, octets = {
        "_clients": (setting.client, setting.public, b"\x80" + bytes(120)),
        "_transceivers": (setting.transceiver, setting.inner, setting.header + b"\x80" + bytes(120)),
    }[way]
    assert by.mmsg is not None
    forward: Callable[[int], list[int]] = getattr(shortcut, way)

    def cost(packets: int) -> int:
        sender.send([(octets, by.address)] * packets)
        assert by.mmsg is not None
        count = by.mmsg.fill()
        assert count == packets
        return calls(lambda: forward(count))

    cost(1)  # learns whom to trust
    assert (cost(42) - cost(2)) / 40 == exact
    for port in (setting.client, setting.transceiver, setting.public, setting.inner):
        port.close()
