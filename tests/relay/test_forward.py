"""The relay's loops on real sockets: the fast ones do what the plain ones do, octet for octet, at an exact cost."""

import ctypes
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from tests.harness.world import World
from tests.relay.pair import NEW, STRANGER, A, B, C, Pair, apart, taken
from tests.relay.world import KEYS, TO_BOB, check, success
from trioice.mmsg import BURST, DATAGRAM, is_available
from trioice.ports import UdpPort
from trioice.relay.core import HOLD, IDLE, Drop
from trioice.relay.directory import Directory
from trioice.relay.encapsulation import BUNDLE_MAGIC, HEADER_LENGTH, PART_LENGTH, header, join, split
from trioice.relay.forward import LOOK
from trioice.relay.outgoing import NAME_AT, Places
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
                got += [each for datagram, _ in receiver.receive() for each in apart(datagram)]
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
@pytest.mark.parametrize(("way", "exact"), [("_clients", 0), ("_transceivers", 0)])
async def test_a_packet_more_costs_so_many_calls_more(way: str, exact: int) -> None:
    """The cost of a packet in a burst: the difference between two bursts, so that the burst's own cost is left out."""
    with Pair(plain=False, bundles=False) as pair:
        pair.connect()
        packets = {
            "_clients": ((0, b"\x80" + bytes(120)), pair.from_clients),
            "_transceivers": ((0, pair.headers[0] + b"\x80" + bytes(120)), pair.from_transceivers),
        }
        packet, send = packets[way]
        assert (pair.cost(way, send, [packet] * 42) - pair.cost(way, send, [packet] * 2)) / 40 == exact


@bursts_only
async def test_a_bundle_more_to_a_transceiver_costs_so_many_calls_more() -> None:
    with Pair(plain=False) as pair:
        pair.connect()
        packet = (0, b"\x80" + bytes(500))  # two fill a bundle
        few, many = (pair.cost("_clients", pair.from_clients, [packet] * count) for count in (4, 44))
        # Its bounds, once more; its front: a verb, the layout, the packing, and five lengths of it.
        assert (many - few) / 20 == 9


@bursts_only
@pytest.mark.parametrize(("unanswered", "exact"), [(False, 1), (True, 4)])
async def test_a_packet_of_nobody_costs_next_to_nothing(unanswered: bool, exact: int) -> None:
    with Pair(plain=False) as pair:
        pair.connect()
        if not unanswered:
            pair.from_transceivers([(1, pair.headers[NEW] + success())])
            pair.move()
        strays = [(STRANGER, b"\x80stray")]
        few, many = (pair.cost("_clients", pair.from_clients, strays * count) for count in (4, 44))
        # To a list of the burst; and while somebody waits for an answer: is it he? (two), does he wait?
        assert (many - few) / 40 == exact
        assert pair.core.dropped == {Drop.UNKNOWN_CLIENT: 2 * (4 + 44)}
        assert pair.public.mmsg is not None
        assert pair.public.mmsg.known(pair.public.mmsg.key(pair.clients[STRANGER].address)) is None  # nor any memory


def a_burst_of_clients(rng: random.Random) -> list[tuple[int, bytes]]:
    usual = rng.random() < 0.3
    return [
        (rng.choice((A, B, C)), b"\x80" + rng.randbytes(rng.randrange(160)))
        if usual or rng.random() < 0.5
        else (
            rng.randrange(5),
            rng.choice(
                (b"", b"\x00junk", b"\x01", b"\x16dtls", b"\x56\xed\x00\x01", bytes([128]) * 1400, check(TO_BOB))
            ),
        )
        for _ in range(rng.randrange(1, 60))
    ]


def a_burst_of_transceivers(rng: random.Random, headers: list[bytes]) -> list[tuple[int, bytes]]:
    unknown = header(("192.0.2.99", 9), ("192.0.2.1", 3478))
    nested = next(join([(headers[A], b"\x80a"), (headers[B], b"\x80b")]))
    burst = []
    for _ in range(rng.randrange(1, 40)):
        parts = [
            (
                rng.choice((*headers[:4], headers[A])),
                rng.choice((b"\x80" + rng.randbytes(rng.randrange(160)), b"\x80rtp", b"\x00", success())),
            )
            for _ in range(rng.randrange(2, 9))
        ]
        if rng.random() < 0.2:
            parts[0] = rng.choice(((headers[A], b""), (unknown, b""), (nested[:HEADER_LENGTH], nested[HEADER_LENGTH:])))
        kind = rng.random()
        datagrams = [head + payload for head, payload in parts] if kind < 0.4 else [next(join(parts))]
        if kind > 0.9:
            cut = datagrams[0]
            datagrams = [rng.choice((cut[:-1], cut + b"x", cut[:40], cut[:2] + b"\x00\x00" + cut[4:], cut[:1], b""))]
        burst += [(rng.choice((0, 0, 0, 0, 1, 2)), datagram) for datagram in datagrams]
    return burst[:60]


@bursts_only
@pytest.mark.parametrize("bundles", [True, False])
@pytest.mark.parametrize("seed", range(12))
async def test_the_fast_loops_do_what_the_plain_ones_do(seed: int, bundles: bool) -> None:
    with Pair(plain=True) as plain, Pair(plain=False, bundles=bundles) as fast:
        heard = []
        for pair in (plain, fast):
            rng = random.Random(seed)
            pair.connect()
            rows = []
            for _ in range(5):
                pair.from_clients(a_burst_of_clients(rng))
                pair.from_transceivers(a_burst_of_transceivers(rng, pair.headers))
                pair.move()
                rows.append(pair.heard())
            heard.append(rows)
        assert heard[0] == heard[1]
        for name in ("inner_datagrams", "inner_octets", "outer_datagrams", "outer_octets", "flows", "unconfirmed"):
            assert getattr(plain.core, name) == getattr(fast.core, name), name
        # A check comes to the core when the burst is through, and what came behind it was still a stranger's.
        for core in (plain.core, fast.core):
            core.dropped[Drop.UNKNOWN_CLIENT] += core.dropped.pop(Drop.UNCONFIRMED, 0)
        assert plain.core.dropped == fast.core.dropped


@bursts_only
async def test_what_goes_to_one_transceiver_goes_in_few_bundles() -> None:
    with Pair(plain=False) as pair:
        pair.connect()
        pair.from_clients([(client, b"\x80" + bytes(100)) for client in (A, C, B) * 9])
        pair.move()
        one, two = (taken(port) for port in pair.transceivers[:2])
        assert [len(split(datagram) or "") for datagram in one] == [9, 9]
        assert [len(split(datagram) or "") for datagram in two] == [9]


@bursts_only
async def test_an_answer_in_a_bundle_keeps_a_flow_and_moves_it() -> None:
    with Pair(plain=False) as pair:
        pair.connect()
        answer = next(join([(pair.headers[A], b"\x80media"), (pair.headers[A], success())]))
        pair.from_transceivers([(0, answer)])
        pair.move(HOLD - 1)
        pair.from_transceivers([(1, pair.headers[A] + success())])
        pair.move(HOLD + 1)
        pair.from_clients([(A, b"\x80media")])
        pair.move(HOLD + 1)
        assert pair.heard()[0] == [[(A, b"\x80media")], [], []]
        pair.from_transceivers([(1, answer)])
        pair.move(3 * HOLD)
        pair.from_clients([(A, b"\x80media")])
        pair.move(3 * HOLD)
        assert pair.heard()[0] == [[], [(A, b"\x80media")], []]


@bursts_only
async def test_the_last_octets_of_a_full_burst_may_be_an_empty_payload() -> None:
    with Pair(plain=False) as pair:
        pair.connect()
        long = b"\x80" + bytes(DATAGRAM - 4 - 2 * PART_LENGTH - 1)
        front = BUNDLE_MAGIC + b"\x00\x02" + len(long).to_bytes(2, "big") + bytes(2)
        bundle = front + 2 * pair.headers[A] + long
        assert len(bundle) == DATAGRAM
        pair.from_transceivers([(0, bundle)] * BURST)
        pair.move()
        assert pair.heard()[1][A] == [long] * BURST
        assert pair.core.dropped == {Drop.EMPTY: BURST}


@bursts_only
def test_the_kernel_is_never_given_more_messages_than_there_is_memory_for() -> None:
    with Pair(plain=False) as pair:
        assert pair.inner.mmsg is not None
        pair.from_transceivers([(0, b"junk")] * 3 * BURST)
        assert pair.inner.mmsg.fill(10 * BURST) == BURST


@bursts_only
async def test_strangers_on_the_inner_port_make_no_turn_longer() -> None:
    with Pair(plain=False) as pair:
        pair.connect()
        pair.from_transceivers([(2, b"junk")] * 9 + [(0, pair.headers[A] + b"\x80media")])
        pair.move()
        shortcut = pair.relay._shortcut
        assert shortcut is not None
        assert shortcut._parts_of_one == 1


def test_places_of_flows_that_ended_are_for_any_transceiver() -> None:
    places = Places()
    for number in range(2000):
        target = b"transceiver %05d" % number
        taken = [places.take(target, b"h" * HEADER_LENGTH, b"n" * 16, b"") for _ in range(40)]
        assert len(set(taken)) == 40
        assert len(set(places.targets(taken))) == 1
        for place in taken:
            places.give_back(place)
    assert len(places._memory) == 1
    assert (places._known, places._targets, places._flows) == ({}, {}, {})


def test_places_lead_each_to_its_own_transceiver() -> None:
    places, chance = Places(), random.Random(5)
    flows: dict[int, tuple[bytes, bytes]] = {}
    for number in range(5000):
        if flows and chance.random() < 0.45:
            place = chance.choice(list(flows))
            del flows[place]
            places.give_back(place)
        else:
            target, name = b"%016d" % chance.randrange(7), b"%028d" % number
            place = places.take(target, b"h" * HEADER_LENGTH, name, b"")
            assert place not in flows
            flows[place] = target, name
        if number % 100 == 0:
            for at, (place, (target, name)) in zip(places.targets(list(flows)), flows.items(), strict=True):
                assert ctypes.string_at(at, 16) == target
                assert ctypes.string_at(place + NAME_AT, 28) == name
