"""The programs with workers: the supervisor opens the sockets of all, and says where they are when all workers are ready."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import trio

from trioice.ports import bound, bound_together
from trioice.programs import HostPort, RelaySettings, TransceiverSettings, listed, naming, until_a_signal
from trioice.signaling.serve import url
from trioice.workers import Supervisor, Worker


async def supervise_relay(settings: RelaySettings, count: int, command: Sequence[str]) -> None:
    """Run `count` workers of a relay until a signal ends them. They share the public port; each has an inner one of its own."""
    await until_a_signal(_relay, settings, count, command)


async def supervise_transceiver(
    settings: TransceiverSettings, count: int, command: Sequence[str], environment: Mapping[str, str]
) -> None:
    """Run `count` workers of a transceiver until a signal ends them. Each is a shard with a port of its own; they share the listeners."""
    await until_a_signal(_transceiver, settings, count, command, environment)


async def _relay(settings: RelaySettings, count: int, command: Sequence[str]) -> None:
    with ExitStack() as stack:
        workers = _workers(stack, count)
        with naming("UDP", settings.public):
            public = bound_together(settings.public.host, settings.public.port, count)
        address = HostPort(*public[0].getsockname()[:2])
        for worker, sock in zip(workers, public, strict=True):
            worker.sockets["public"] = stack.enter_context(sock).fileno()
        inner = _udp(stack, workers, "inner", settings.inner)
        lines = []
        if settings.metrics is not None:
            lines.append(f"metrics on {await _tcp(stack, workers, 'metrics', settings.metrics, 'http')}/metrics")
        lines.append(f"relay on {address}, inner {listed(inner)}")
        await _supervise(Supervisor(command, workers), lines)


async def _transceiver(
    settings: TransceiverSettings, count: int, command: Sequence[str], environment: Mapping[str, str]
) -> None:
    with ExitStack() as stack:
        workers = _workers(stack, count)
        addresses = _udp(stack, workers, "udp", settings.udp)
        each = zip(workers, addresses, strict=True)
        told = dict.fromkeys(one for worker, address in each for one in settings.of(worker).told(address))
        lines = [f"transceiver on {listed(addresses)}, clients are told {listed(told)}"]
        secure = "s" if settings.tls else ""
        if settings.websocket is not None:
            lines.append(await _tcp(stack, workers, "websocket", settings.websocket, "ws" + secure))
        lines.append(await _tcp(stack, workers, "http", settings.http, "http" + secure))
        await _supervise(Supervisor(command, workers, environment), lines)


async def _supervise(supervisor: Supervisor, lines: Sequence[str]) -> None:
    """Supervise, and say `lines` when all workers are ready."""
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        for line in lines:
            print(line, flush=True)


def _workers(stack: ExitStack, count: int) -> list[Worker]:
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trioice-", ignore_cleanup_errors=True))
    return [Worker(number=number, count=count, folder=folder) for number in range(count)]


def _udp(stack: ExitStack, workers: Sequence[Worker], name: str, first: HostPort) -> list[HostPort]:
    """Open a UDP socket for each of the workers, on ports that follow each other; where they are."""
    addresses = []
    for worker in workers:
        address = first.plus(worker.number)
        with naming("UDP", address):
            sock = stack.enter_context(bound(address.host, address.port))
        worker.sockets[name] = sock.fileno()
        addresses.append(HostPort(*sock.getsockname()[:2]))
    return addresses


async def _tcp(stack: ExitStack, workers: Sequence[Worker], name: str, address: HostPort, scheme: str) -> str:
    """Open a TCP socket that all workers accept from; its URL."""
    with naming("TCP", address):
        (listener,) = await trio.open_tcp_listeners(address.port, host=address.host)
    stack.callback(listener.socket.close)
    for worker in workers:
        worker.sockets[name] = listener.socket.fileno()
    return url(scheme, listener)
