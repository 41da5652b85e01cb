"""A relay on all addresses of the machine: a client hears it from the address that it sent to, whichever way the packets take."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import trio

from tests.harness.caller import Caller
from tests.harness.world import CERTIFICATES
from tests.relay.world import KEYS, TO_ALICE, check, success
from tests.test_sockaddr import both_ways, needs_ipv6, wildcards
from trioice import sdp
from trioice.driver import Driver
from trioice.ports import Networks, RelayedPort, UdpPort
from trioice.relay.core import RelayCore
from trioice.relay.directory import Directory
from trioice.relay.encapsulation import HEADER_LENGTH, join, split
from trioice.relay.server import Relay
from trioice.transceiver.server import Transceiver, TransceiverConfig


class Setting:
    """A relay whose clients listen to one address alone, and a transceiver that sends back what it gets, checks as successes."""

    def __init__(self, wildcard: str, plain: bool, inner: str) -> None:
        self.public = UdpPort.bind(wildcard, 0, plain=plain, keep_destination=True)
        self.inner = UdpPort.bind(inner, 0, plain=plain)
        self.transceiver = UdpPort.bind("127.0.0.1", 0, plain=True)
        at = self.transceiver.address
        self.relay = Relay(
            public=self.public,
            inner=self.inner,
            keys=KEYS,
            directory=Directory.of([f"1/1={at[0]}:{at[1]}"]),
            proxy=("127.0.0.5", self.public.address[1]),
        )
        self.heard: list[bytes] = []  # headers
        self._clients: list[trio.socket.SocketType] = []

    @property
    def core(self) -> RelayCore:
        return self.relay.core

    async def client(self, host: str) -> trio.socket.SocketType:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        client = trio.socket.socket(family, socket.SOCK_DGRAM)
        self._clients.append(client)
        await client.connect((host, self.public.address[1]))
        return client

    async def reflect(self) -> None:
        while True:
            await self.transceiver.readable()
            for datagram, source in self.transceiver.receive():
                parts = split(datagram) or [(datagram[:HEADER_LENGTH], datagram[HEADER_LENGTH:])]
                answers = [(head, success() if payload[:1] == b"\x00" else payload) for head, payload in parts]
                self.heard += [head for head, _ in parts]
                self.transceiver.send([(answer, source) for answer in join(answers)])

    def close(self) -> None:
        for port in (self.public, self.inner, self.transceiver):
            port.close()
        for client in self._clients:
            client.close()


@contextlib.asynccontextmanager
async def running(wildcard: str, plain: bool, inner: str = "127.0.0.1") -> AsyncIterator[Setting]:
    with contextlib.closing(Setting(wildcard, plain, inner)) as setting:
        async with trio.open_nursery() as nursery:
            await nursery.start(setting.relay.run)
            nursery.start_soon(setting.reflect)
            with trio.fail_after(10):
                yield setting
            nursery.cancel_scope.cancel()


async def exchange(clients: list[trio.socket.SocketType], datagram: Callable[[int], bytes]) -> list[bytes]:
    for number, client in enumerate(clients):
        await client.send(datagram(number))
    return [await client.recv(2000) for client in clients]


@both_ways
@wildcards
@pytest.mark.parametrize("inner", ["127.0.0.1", "0.0.0.0", pytest.param("::", marks=needs_ipv6)])
async def test_a_call_is_heard_from_the_address_that_it_was_made_to(wildcard: str, plain: bool, inner: str) -> None:
    async with running(wildcard, plain, inner) as setting:
        hosts = ["127.0.0.5", "127.0.0.6", *(["::1"] if wildcard == "::" else [])]
        clients = [await setting.client(host) for host in hosts]
        assert await exchange(clients, lambda number: check()) == [success()] * len(clients)
        for turn in range(3):
            packets = [b"\x80 %d of %d" % (turn, number) for number in range(len(clients))]
            assert await exchange(clients, packets.__getitem__) == packets
            shortcut = setting.relay._shortcut
            assert shortcut is None or len(shortcut.busy()) == len(clients)  # on the short way, if there is one
        assert setting.core.flows == len(clients)
        assert not setting.core.dropped


@both_ways
@wildcards
async def test_a_relay_that_has_forgotten_all_answers_from_the_right_address_still(wildcard: str, plain: bool) -> None:
    """The header says to which address the client sent; so a relay that was started again needs no check to know."""
    async with running(wildcard, plain) as setting:
        clients = [await setting.client("127.0.0.5"), await setting.client("127.0.0.6")]
        await exchange(clients, lambda number: check())
        heads = setting.heard.copy()
        setting.core.expire(trio.current_time() + 100.0)
        assert setting.core.flows == 0
        setting.transceiver.send([(head + b"\x80late", setting.inner.address) for head in heads])
        assert [await client.recv(2000) for client in clients] == [b"\x80late"] * 2


@both_ways
async def test_one_client_may_send_to_two_addresses_of_ours(plain: bool) -> None:
    """As browsers do with two candidates: they check both, from one socket."""
    async with running("0.0.0.0", plain) as setting:
        client = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        hosts = [("127.0.0.5", setting.public.address[1]), ("127.0.0.6", setting.public.address[1])]
        for datagram, answer in ((check(), success()), (b"\x80 media", b"\x80 media"), (check(), success())):
            for host in hosts:
                await client.sendto(datagram, host)
                assert await client.recvfrom(2000) == (answer, host)
        client.close()
        assert setting.core.flows == 2
        assert len(set(setting.heard)) == 2
        assert not setting.core.dropped


@both_ways
@wildcards
@pytest.mark.parametrize("relayed", [True, False], ids=["relayed", "direct"])
async def test_a_whole_call_goes_by_the_one_address_that_its_client_knows(
    wildcard: str, plain: bool, relayed: bool
) -> None:
    """ICE, DTLS and audio, over a socket that hears nobody else; between relay and transceiver it is another address yet."""
    with contextlib.ExitStack() as stack:

        def port(host: str, **options: bool) -> UdpPort:
            return stack.enter_context(contextlib.closing(UdpPort.bind(host, 0, plain=plain, **options)))

        udp = port(wildcard, keep_destination=True)
        public = port(wildcard, keep_destination=True) if relayed else udp
        known = ("127.0.0.5", public.address[1])
        config = TransceiverConfig(
            candidates=[sdp.Candidate(*known)], route=TO_ALICE, keys=KEYS, certificate=CERTIFICATES[0]
        )
        transceiver = Transceiver(config, RelayedPort(udp, Networks(["127.0.0.0/8"])))

        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.setblocking(False)
        sock.connect(known)
        caller = Caller(entropy=os.urandom, outbox=[], certificate=CERTIFICATES[1])
        heard = trio.Event()

        def listen(now: float) -> None:
            if caller.echoes >= 10:
                heard.set()

        client = stack.enter_context(contextlib.closing(UdpPort(sock, plain=plain)))
        driver = Driver(caller, client, caller.outbox, listen)
        async with trio.open_nursery() as nursery:
            if relayed:
                directory = Directory.of([f"1/1=127.0.0.7:{udp.address[1]}"])
                relay = Relay(public=public, inner=port("127.0.0.1"), keys=KEYS, directory=directory, proxy=known)
                await nursery.start(relay.run)
            await nursery.start(transceiver.run)
            caller.answered(transceiver.answer(caller.offer()).answer, trio.current_time())
            await nursery.start(driver.run)
            with trio.fail_after(20):
                await heard.wait()
            nursery.cancel_scope.cancel()
        assert client.unsent == public.unsent == udp.unsent == 0
