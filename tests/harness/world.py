"""A world: relays, transceivers and callers on a simulated network, in virtual time."""

from collections.abc import Awaitable, Callable

import trio

from tests.harness.caller import Caller
from tests.harness.clockwork import seeded
from trioice import dtls, sdp, srtp
from trioice.driver import Driver
from trioice.memory import MemoryNetwork, MemoryPort
from trioice.ports import Networks, RelayedPort
from trioice.relay.directory import Directory
from trioice.relay.server import Relay
from trioice.relay.token import Route, TokenKey, TokenKeys
from trioice.transceiver.call import Call, PacketAgent
from trioice.transceiver.server import Agent, Transceiver, TransceiverConfig

RELAY = ("198.51.100.1", 3478)
INNER = ("10.0.0.1", 4000)
CERTIFICATES = [dtls.Certificate.generate(seeded(number)) for number in range(2)]


class Dialled:
    """A caller on the network, and the call that the transceiver made of its offer."""

    def __init__(self, world: "World", caller: Caller, call: Call, transceiver: Transceiver, port: MemoryPort) -> None:
        self.world, self.caller, self.call, self.transceiver, self.port = world, caller, call, transceiver, port
        self._scope = trio.CancelScope()
        self._driver: Driver | None = None
        self._news = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive the caller from its port, until it moves."""
        task_status.started()
        while True:
            self._driver = Driver(_Silent(self.caller), self.port, self.caller.outbox, self._tell)
            with trio.CancelScope() as self._scope:
                await self._driver.run()
            if not self._scope.cancelled_caught:
                return

    def move(self, host: str, port: int) -> None:
        """Give the caller another address, as a NAT or a change of network does. It is not told."""
        self.port.close()
        self.port = self.world.network.port(host, port)
        self._scope.cancel()

    def restart(self) -> None:
        """Restart ICE through signaling."""
        answer = self.transceiver.restart(self.call, self.caller.offer())
        self.caller.answered(answer, trio.current_time())
        assert self._driver is not None
        self._driver.flush()

    def _tell(self, now: float) -> None:
        self._news.set()
        self._news = trio.Event()

    async def until(self, done: Callable[[], bool], within: float) -> None:
        """Wait until something came true of the caller."""
        with trio.fail_after(within):
            while not done():
                await self._news.wait()

    async def hears(self, more: int, within: float) -> None:
        """Wait until so many more different packets came back."""
        goal = self.caller.echoes + more
        await self.until(lambda: self.caller.echoes >= goal, within)

    async def connects(self, within: float) -> None:
        """Wait until the handshake is done on both sides and the echo is heard."""
        await self.hears(1, within)


class _Silent:
    """A caller whose driver may stop without its saying goodbye."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.receive = caller.receive
        self.expire = caller.expire

    @property
    def deadline(self) -> float:
        return self._caller.deadline

    def close(self, now: float) -> None:
        pass


class World:
    """Makes the parts, each with a seed of its own, so that the same story runs the same each time."""

    def __init__(self, nursery: trio.Nursery, seed: int = 1, **network: float) -> None:
        self.network = MemoryNetwork(seed, inside="10.", **network)
        self.keys = TokenKeys([TokenKey(0, bytes(range(16)))])
        self.directory = Directory()
        self._nursery = nursery
        self._seed = seed * 1000
        self._entries: list[str] = []
        self._callers = 0

    async def relay(self, public: tuple[str, int] = RELAY, inner: tuple[str, int] = INNER) -> "RunningRelay":
        """Start a relay."""
        ports = (self.network.port(*public), self.network.port(*inner))
        relay = Relay(public=ports[0], inner=ports[1], keys=self.keys, directory=self.directory, proxy=public)
        running = RunningRelay(relay, ports)
        await self._nursery.start(running.run)
        return running

    async def transceiver(
        self,
        shard: int = 1,
        *,
        candidate: tuple[str, int] = RELAY,
        direct: bool = False,
        packet_agent: PacketAgent | None = None,
        agent: Agent | None = None,
        **options: object,
    ) -> "RunningTransceiver":
        """Start a transceiver behind the relay, or one that clients reach directly."""
        address = (f"10.0.1.{shard}", 7000)
        self._entries.append(f"1/{shard}={address[0]}:{address[1]}")
        self.directory.replace(Directory.of(self._entries))
        port = self.network.port(*address)
        config = TransceiverConfig(
            candidates=[sdp.Candidate(*(address if direct else candidate))],
            route=Route(1, shard),
            keys=self.keys,
            certificate=CERTIFICATES[0],
            **{"entropy": seeded(self._seed + shard), **options},  # type: ignore[arg-type]  # each of its own type
        )
        transceiver = Transceiver(
            config, RelayedPort(port, Networks(["10.0.0.0/24"])), packet_agent=packet_agent, agent=agent
        )
        running = RunningTransceiver(transceiver)
        await self._nursery.start(running.run)
        return running

    async def dial(
        self,
        running: "RunningTransceiver",
        *,
        address: tuple[str, int] | None = None,
        setup: str = "actpass",
        profiles: tuple[srtp.Profile, ...] = tuple(srtp.PROFILES.values()),
        make: Callable[..., Caller] = Caller,
        **options: object,
    ) -> Dialled:
        """Make an offer, take the answer, and start to check; `options` are the caller's, which is to `make`."""
        self._callers += 1
        host, port = address or (f"192.0.2.{self._callers}", 50000)
        caller = make(
            entropy=seeded(self._seed + 500 + self._callers),
            outbox=[],
            setup=setup,
            profiles=profiles,
            certificate=CERTIFICATES[1],
            **options,
        )
        call = running.transceiver.answer(caller.offer())
        caller.answered(call.answer, trio.current_time())
        dialled = Dialled(self, caller, call, running.transceiver, self.network.port(host, port))
        await self._nursery.start(dialled.run)
        return dialled


class _Running:
    def __init__(self, run: Callable[..., Awaitable[None]]) -> None:
        self._run = run
        self._scope = trio.CancelScope()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self._scope:
            await self._run(task_status=task_status)

    def stop(self) -> None:
        self._scope.cancel()


class RunningRelay(_Running):
    """A relay that can be killed."""

    def __init__(self, relay: Relay, ports: tuple[MemoryPort, MemoryPort]) -> None:
        super().__init__(relay.run)
        self.relay = relay
        self._ports = ports

    def kill(self) -> None:
        """End it as SIGKILL would: its ports are gone at once."""
        for port in self._ports:
            port.close()
        self.stop()


class RunningTransceiver(_Running):
    """A transceiver that can be stopped."""

    def __init__(self, transceiver: Transceiver) -> None:
        super().__init__(transceiver.run)
        self.transceiver = transceiver
