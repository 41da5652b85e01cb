"""The programs: settings in, sockets bound, tasks in one nursery that ends in order on SIGINT and SIGTERM."""

import ipaddress
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
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
from trioice.signaling.websocket import serve_websocket
from trioice.tracing import TracingPort, key_log
from trioice.transceiver.call import PacketAgent
from trioice.transceiver.server import CALLS, CALLS_PER_OWNER, PROFILES, Agent, Transceiver, TransceiverConfig

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

    @property
    def unspecified(self) -> bool:
        """Whether it is an address to listen on, but not one to send to."""
        return ipaddress.ip_address(self.host).is_unspecified


@attrs.frozen(kw_only=True)
class RelaySettings:
    """A relay: where it listens, which keys open its tokens, and where the transceivers are (a file is re-read when it changes)."""

    public: HostPort
    inner: HostPort = HostPort("127.0.0.1", 0)
    announce: HostPort | None = None
    keys: TokenKeys = attrs.field(repr=False)
    directory: Directory | Path
    metrics: HostPort | None = None


@attrs.frozen(kw_only=True)
class TransceiverSettings:
    """A transceiver with its signaling. Clients are told of `relay` if there is one, else of `announce`, else of `udp`."""

    udp: HostPort
    announce: HostPort | None = None
    relay: HostPort | None = None
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
    profiles: Sequence[srtp.Profile] = PROFILES
    calls: int = CALLS
    calls_per_address: int = CALLS_PER_OWNER
    trace: Path | None = None
    packet_agent: PacketAgent | None = None
    agent: Agent | None = None


async def run_relay(settings: RelaySettings) -> None:
    """Run a relay until a signal ends it."""
    await _until_a_signal(_relay, settings)


async def run_transceiver(settings: TransceiverSettings) -> None:
    """Run a transceiver and its signaling until a signal ends them."""
    await _until_a_signal(_transceiver, settings)


async def run_serve(settings: TransceiverSettings) -> None:
    """Run a relay at `settings.relay`, and a transceiver behind it, until a signal ends them."""
    await _until_a_signal(_serve, settings)


async def _until_a_signal(program: Callable[..., Awaitable[None]], settings: object) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(program, settings)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


async def _relay(
    settings: RelaySettings, task_status: trio.TaskStatus[tuple[Relay, HostPort]] = trio.TASK_STATUS_IGNORED
) -> None:
    path = settings.directory if isinstance(settings.directory, Path) else None
    # Loaded before the relay is ready, so that no client's first check finds it empty.
    directory = Directory.load(path) if path is not None else settings.directory
    assert isinstance(directory, Directory)
    with closing(_bind(settings.public)) as public, closing(_bind(settings.inner)) as inner:
        address = HostPort(*public.address)
        announce = settings.announce or address
        relay = Relay(
            public=public, inner=inner, keys=settings.keys, directory=directory, proxy=(announce.host, announce.port)
        )
        async with trio.open_nursery() as nursery:
            if path is not None:
                nursery.start_soon(watch, path, directory)
            await nursery.start(relay.run)
            if settings.metrics is not None:
                app = observability(relay.metrics)
                http = partial(serve_http, app, host=settings.metrics.host, port=settings.metrics.port)
                print(f"metrics on {await _listening(nursery, http, settings.metrics)}/metrics", flush=True)
            print(f"relay on {address}, inner {HostPort(*inner.address)}", flush=True)
            task_status.started((relay, address))


async def _transceiver(
    settings: TransceiverSettings,
    more_metrics: Callable[[], Iterable[Sample]] = tuple,
    directory: Directory | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    with closing(_bind(settings.udp)) as udp, _capture(settings.trace) as capture:
        address = HostPort(*udp.address)
        told = settings.relay or settings.announce or address
        relayed = RelayedPort(udp, Networks(settings.relays))
        port: Port = relayed
        if directory is not None:
            directory.replace(Directory.of([f"{settings.route.cluster}/{settings.route.shard}={address}"]))
        config = TransceiverConfig(
            candidates=[sdp.Candidate(told.host, told.port or address.port)],
            route=settings.route,
            keys=settings.keys,
            certificate=settings.certificate or dtls.Certificate.generate(os.urandom),
            dtls_role=settings.dtls_role,
            profiles=settings.profiles,
            calls=settings.calls,
            calls_per_owner=settings.calls_per_address,
        )
        if capture is not None:
            port = TracingPort(
                port,
                capture,
                address=(told.host, told.port or address.port),
                epoch=time.time() - trio.current_time(),
                keys=lambda: key_log(transceiver.endpoint),
            )
            print(f"tracing to {settings.trace}, with all keys: delete it after use", flush=True)
        transceiver = Transceiver(config, port, packet_agent=settings.packet_agent, agent=settings.agent)
        async with trio.open_nursery() as nursery:
            await nursery.start(transceiver.run)
            print(f"transceiver on {address}, clients are told {told}", flush=True)
            await _start_signaling(
                nursery, transceiver, settings, lambda: [*_port_metrics(udp, relayed), *more_metrics()]
            )
            task_status.started()


async def _start_signaling(
    nursery: trio.Nursery,
    transceiver: Transceiver,
    settings: TransceiverSettings,
    more_metrics: Callable[[], Iterable[Sample]],
) -> None:
    """Listen for offers; the last line printed is the page's address."""
    rate = OfferRate()  # an address has one allowance, whichever way it comes
    certificate, key = map(str, settings.tls) if settings.tls else (None, None)
    if settings.websocket is not None:
        websocket = partial(
            serve_websocket,
            transceiver,
            host=settings.websocket.host,
            port=settings.websocket.port,
            token=settings.token,
            origin=settings.origin,
            rate=rate,
            certificate=certificate,
            key=key,
        )
        print(await _listening(nursery, websocket, settings.websocket), flush=True)
    app = application(transceiver, token=settings.token, origin=settings.origin, rate=rate, more_metrics=more_metrics)
    http = partial(serve_http, app, host=settings.http.host, port=settings.http.port, certificate=certificate, key=key)
    print(await _listening(nursery, http, settings.http), flush=True)


async def _listening(nursery: trio.Nursery, serve: Callable[..., Awaitable[None]], address: HostPort) -> str:
    """Start a listener; where it listens, as a URL."""
    try:
        url: str = await nursery.start(serve)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on TCP {address}: {error.strerror or error}") from None
    return url


async def _serve(settings: TransceiverSettings, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Run both. The relay outlives the transceiver, whose goodbyes to the callers go through it."""
    directory = Directory()
    assert settings.relay is not None
    relay_settings = RelaySettings(public=settings.relay, keys=settings.keys, directory=directory)
    outliving = trio.CancelScope(shield=True)
    async with trio.open_nursery() as nursery:
        relay, address = await nursery.start(_within, outliving, _relay, relay_settings)
        try:
            await _transceiver(attrs.evolve(settings, relay=address), relay.metrics, directory, task_status)
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


def _port_metrics(udp: UdpPort, relayed: RelayedPort) -> Iterable[Sample]:
    for name, text, value in (
        ("unsent_total", "Datagrams that the system did not take.", udp.unsent),
        ("overflowed_total", "Datagrams lost to a full receive buffer.", udp.overflowed),
        ("distrusted_total", "Datagrams with a relay's header that no trusted relay sent.", relayed.distrusted),
    ):
        yield Sample(name=f"trioice_{name}", kind="counter", help=text, value=value)


def _bind(address: HostPort) -> UdpPort:
    try:
        return UdpPort.bind(address.host, address.port)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on UDP {address}: {error.strerror}") from None


def _capture(path: Path | None) -> AbstractContextManager[BinaryIO | None]:
    """Open the file of a capture. A new one is for its owner's eyes alone, as it will hold keys."""
    if path is None:
        return nullcontext()
    try:
        return open(path, "wb", buffering=0, opener=partial(os.open, mode=0o600))
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from None
