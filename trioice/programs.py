"""The programs: settings in, sockets bound, tasks in one nursery that ends in order on SIGINT and SIGTERM."""

import gc
import ipaddress
import os
import shutil
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Literal

import attrs
import trio

from trioice import dtls, sdp, srtp
from trioice.metrics import Sample
from trioice.ports import Networks, Port, RelayedPort, UdpPort
from trioice.relay.directory import Directory, watch
from trioice.relay.server import Relay
from trioice.relay.token import Route, TokenKeys
from trioice.signaling.http import application, observability
from trioice.signaling.limits import OfferRate
from trioice.signaling.serve import serve_http
from trioice.signaling.siblings import Siblings
from trioice.signaling.websocket import serve_websocket
from trioice.tracing import TracingPort, key_log
from trioice.transceiver.call import PacketAgent
from trioice.transceiver.remote import RemoteAgent
from trioice.transceiver.server import CALLS, CALLS_PER_OWNER, PROFILES, Agent, Transceiver, TransceiverConfig
from trioice.workers import Worker

GOODBYES: Final = 0.1
"""Seconds that a relay stays when the transceiver on the same machine has ended: its last datagrams are there at once."""


@attrs.frozen
class HostPort:
    """An IP address and a port."""

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> "HostPort":
        """Read ``192.0.2.5:7000`` or ``[2001:db8::5]:7000``. Raises ValueError."""
        host, _, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        if (address.version == 6) != bracketed:
            raise ValueError("IPv6 addresses, and no others, stand in brackets")
        if not port.isascii() or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"a port is a number from 0 to 65535, not {port!r}")
        return cls(str(address), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def plus(self, ports: int) -> "HostPort":
        """The address so many ports further on; port 0 stays what it is, any."""
        return HostPort(self.host, self.port + ports if self.port else 0)

    @property
    def unspecified(self) -> bool:
        """Whether it is an address to listen on, but not one to send to."""
        return ipaddress.ip_address(self.host).is_unspecified


@attrs.frozen(kw_only=True)
class RelaySettings:
    """A relay: where it listens, which keys open its tokens, and where the transceivers are (a file is re-read when it changes).

    `plain` sockets do with one datagram a system call; without `bundles`, each datagram goes to its transceiver alone. A `worker`
    has its sockets from its supervisor, and prints nothing.
    """

    public: HostPort
    inner: HostPort = HostPort("127.0.0.1", 0)
    announce: HostPort | None = None
    keys: TokenKeys = attrs.field(repr=False)
    directory: Directory | Path
    metrics: HostPort | None = None
    plain: bool = False
    bundles: bool = True
    worker: Worker | None = None


@attrs.frozen(kw_only=True)
class TransceiverSettings:
    """A transceiver with its signaling. Clients are told all of `relay` if there is any, else of `announce`, else `udp`.

    See `RelaySettings` for `plain` and `worker`.
    """

    udp: HostPort
    announce: Sequence[HostPort] = ()
    relay: Sequence[HostPort] = ()
    relays: Sequence[str] = ()
    route: Route
    keys: TokenKeys = attrs.field(repr=False)
    http: HostPort
    websocket: HostPort | None = None
    tls: tuple[Path, Path] | None = None
    token: str | None = attrs.field(default=None, repr=False)
    origin: str = "*"
    certificate: dtls.Certificate | None = attrs.field(default=None, repr=False)
    dtls_role: Literal["auto", "active", "passive"] = "auto"
    dtls_versions: Sequence[int] = dtls.VERSIONS
    profiles: Sequence[srtp.Profile] = PROFILES
    calls: int = CALLS
    calls_per_address: int = CALLS_PER_OWNER
    trace: Path | None = None
    packet_agent: PacketAgent | None = None
    agent: Agent | None = None
    plain: bool = False
    worker: Worker | None = None

    def of(self, worker: Worker) -> "TransceiverSettings":
        """The settings of one of several workers: a shard of its own, and a port of its own."""
        return attrs.evolve(
            self,
            worker=worker,
            udp=self.udp.plus(worker.number),
            announce=[address.plus(worker.number) for address in self.announce],
            route=Route(self.route.cluster, self.route.shard + worker.number),
        )

    def told(self, own: HostPort) -> list[HostPort]:
        """Where clients are told to send, when the transceiver's port is at `own`: the preferred address first."""
        return [attrs.evolve(told, port=told.port or own.port) for told in self.relay or self.announce or [own]]


async def run_relay(settings: RelaySettings) -> None:
    """Run a relay until a signal ends it."""
    await until_a_signal(_as_a_worker(_relay, settings.worker), settings)


async def run_transceiver(settings: TransceiverSettings) -> None:
    """Run a transceiver and its signaling until a signal ends them."""
    await until_a_signal(_as_a_worker(_transceiver, settings.worker), settings)


async def run_serve(settings: TransceiverSettings) -> None:
    """Run a relay at the one address of `settings.relay`, and a transceiver behind it, until a signal ends them."""
    await until_a_signal(_serve, settings)


def _freeze() -> None:
    """Keep the garbage collector off what is there for good, so that its pauses are those of the calls alone."""
    gc.collect()
    gc.freeze()


async def until_a_signal(program: Callable[..., Awaitable[None]], *settings: object) -> None:
    """Run a program until it ends, or until SIGINT or SIGTERM cancels it."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            await program(*settings)
            nursery.cancel_scope.cancel()


def _as_a_worker(program: Callable[..., Awaitable[None]], worker: Worker | None) -> Callable[..., Awaitable[None]]:
    """Make a program tell the supervisor that it is ready, and end when the supervisor does."""
    if worker is None:
        return program

    async def run(settings: object) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(program, settings)
            worker.is_ready()
            await worker.orphaned()
            shutil.rmtree(worker.folder, ignore_errors=True)  # nobody else is left to do it
            nursery.cancel_scope.cancel()

    return run


async def _relay(
    settings: RelaySettings, task_status: trio.TaskStatus[tuple[Relay, HostPort]] = trio.TASK_STATUS_IGNORED
) -> None:
    path = settings.directory if isinstance(settings.directory, Path) else None
    # Loaded before the relay is ready, so that no client's first check finds it empty.
    directory = Directory.load(path) if path is not None else settings.directory
    assert isinstance(directory, Directory)
    worker, plain = settings.worker, settings.plain
    with (
        closing(_bind("public", settings.public, worker, plain=plain)) as public,
        closing(_bind("inner", settings.inner, worker, plain=plain)) as inner,
    ):
        address = HostPort(*public.address)
        announce = settings.announce or address
        relay = Relay(
            public=public,
            inner=inner,
            keys=settings.keys,
            directory=directory,
            proxy=(announce.host, announce.port),
            bundles=settings.bundles,
        )
        async with trio.open_nursery() as nursery:
            if path is not None:
                nursery.start_soon(watch, path, directory)
            await nursery.start(relay.run)
            if settings.metrics is not None:
                siblings = await _siblings(nursery, worker)
                http = partial(serve_http, observability(relay.metrics, siblings=siblings))
                url = await _listening(nursery, http, "metrics", settings.metrics, worker)
                _say(worker, f"metrics on {url}/metrics")
            _say(worker, f"relay on {address}, inner {HostPort(*inner.address)}")
            _freeze()
            task_status.started((relay, address))


async def _transceiver(
    settings: TransceiverSettings,
    more_metrics: Callable[[], Iterable[Sample]] = tuple,
    directory: Directory | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    worker = settings.worker
    with closing(_bind("udp", settings.udp, worker, plain=settings.plain)) as udp, _capture(settings.trace) as capture:
        address = HostPort(*udp.address)
        told = settings.told(address)
        # Without relays nothing is stripped or added: whoever sends a header is a stranger like any other.
        port: Port = RelayedPort(udp, Networks(settings.relays)) if settings.relays else udp
        metrics = partial(_port_metrics, udp, port)
        agents = settings.agent.samples if isinstance(settings.agent, RemoteAgent) else tuple
        if directory is not None:
            directory.replace(Directory.of([f"{settings.route.cluster}/{settings.route.shard}={address}"]))
        config = TransceiverConfig(
            candidates=sdp.Candidate.of([(one.host, one.port) for one in told]),
            route=settings.route,
            keys=settings.keys,
            certificate=settings.certificate or dtls.Certificate.generate(os.urandom),
            dtls_role=settings.dtls_role,
            dtls_versions=settings.dtls_versions,
            profiles=settings.profiles,
            calls=settings.calls,
            calls_per_owner=settings.calls_per_address,
        )
        if capture is not None:
            port = TracingPort(
                port,
                capture,
                address=(told[0].host, told[0].port),
                epoch=time.time() - trio.current_time(),
                keys=lambda: key_log(transceiver.endpoint),
            )
            _say(worker, f"tracing to {settings.trace}, with all keys: delete it after use")
        transceiver = Transceiver(config, port, packet_agent=settings.packet_agent, agent=settings.agent)
        async with trio.open_nursery() as nursery:
            await nursery.start(transceiver.run)
            _say(worker, f"transceiver on {address}, clients are told {listed(told)}")
            await _start_signaling(nursery, transceiver, settings, lambda: [*metrics(), *agents(), *more_metrics()])
            _freeze()
            task_status.started()


async def _start_signaling(
    nursery: trio.Nursery,
    transceiver: Transceiver,
    settings: TransceiverSettings,
    more_metrics: Callable[[], Iterable[Sample]],
) -> None:
    """Listen for offers; the last line printed is the page's address."""
    worker = settings.worker
    rate = OfferRate()  # an address has one allowance, whichever way it comes
    certificate, key = map(str, settings.tls) if settings.tls else (None, None)
    if settings.websocket is not None:
        websocket = partial(
            serve_websocket,
            transceiver,
            token=settings.token,
            origin=settings.origin,
            rate=rate,
            certificate=certificate,
            key=key,
        )
        _say(worker, await _listening(nursery, websocket, "websocket", settings.websocket, worker))
    app = application(
        transceiver,
        token=settings.token,
        origin=settings.origin,
        rate=rate,
        more_metrics=more_metrics,
        siblings=await _siblings(nursery, worker, settings.route.shard),
    )
    http = partial(serve_http, app, certificate=certificate, key=key)
    _say(worker, await _listening(nursery, http, "http", settings.http, worker))


async def _siblings(nursery: trio.Nursery, worker: Worker | None, shard: int = 0) -> Siblings | None:
    """Meet the other workers, if there are any; this one has the `shard`."""
    if worker is None:
        return None
    siblings = Siblings(worker.folder, worker.number, worker.count, first_shard=shard - worker.number)
    await nursery.start(siblings.serve)
    return siblings


async def _listening(
    nursery: trio.Nursery, serve: Callable[..., Awaitable[None]], name: str, address: HostPort, worker: Worker | None
) -> str:
    """Start a listener, on the inherited socket of this `name` if there is one; where it listens, as a URL."""
    inherited = None if worker is None else socket.socket(fileno=worker.sockets[name])
    with naming("TCP", address):
        url: str = await nursery.start(partial(serve, host=address.host, port=address.port, listening=inherited))
    return url


async def _serve(settings: TransceiverSettings, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Run both. The relay outlives the transceiver, whose goodbyes to the callers go through it."""
    directory = Directory()
    (public,) = settings.relay
    relay_settings = RelaySettings(public=public, keys=settings.keys, directory=directory, plain=settings.plain)
    outliving = trio.CancelScope(shield=True)
    async with trio.open_nursery() as nursery:
        relay, address = await nursery.start(_within, outliving, _relay, relay_settings)
        try:
            await _transceiver(attrs.evolve(settings, relay=[address]), relay.metrics, directory, task_status)
        finally:
            outliving.deadline = trio.current_time() + GOODBYES


async def _within(
    scope: trio.CancelScope,
    program: Callable[..., Awaitable[None]],
    settings: object,
    task_status: trio.TaskStatus[tuple[Relay, HostPort]] = trio.TASK_STATUS_IGNORED,
) -> None:
    with scope:
        await program(settings, task_status=task_status)


def _port_metrics(udp: UdpPort, port: Port) -> Iterable[Sample]:
    for name, text, value in (
        ("unsent_total", "Datagrams that the system did not take.", udp.unsent),
        ("overflowed_total", "Datagrams lost to a full receive buffer.", udp.overflowed),
        (
            "distrusted_total",
            "Datagrams with a relay's header that no trusted relay sent.",
            port.distrusted if isinstance(port, RelayedPort) else 0,
        ),
    ):
        yield Sample(name=f"trioice_{name}", kind="counter", help=text, value=value)


def listed(addresses: Iterable[HostPort]) -> str:
    """Name addresses in a line."""
    return ", ".join(map(str, addresses))


def _say(worker: Worker | None, line: str) -> None:
    if worker is None:
        print(line, flush=True)


def _bind(name: str, address: HostPort, worker: Worker | None, *, plain: bool) -> UdpPort:
    keeps = name != "inner"  # there, sources are compared with the directory's addresses
    if worker is not None:
        return UdpPort(socket.socket(fileno=worker.sockets[name]), plain=plain, keep_destination=keeps)
    with naming("UDP", address):
        return UdpPort.bind(address.host, address.port, plain=plain, keep_destination=keeps)


@contextmanager
def naming(protocol: str, address: HostPort) -> Iterator[None]:
    """Make what the system says of a socket tell which one it is."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {protocol} {address}: {error.strerror or error}") from None


def _capture(path: Path | None) -> AbstractContextManager[BinaryIO | None]:
    """Open the file of a capture. A new one is for its owner's eyes alone, as it will hold keys."""
    if path is None:
        return nullcontext()
    try:
        return open(path, "wb", buffering=0, opener=partial(os.open, mode=0o600))
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from None
