"""The listeners of signaling: connections within bounds, each behind a fault boundary, and an end within a second.

Hypercorn's and trio-websocket's own servers are not used for three reasons: they accept without bound, an exception in one
connection ends all, and hypercorn sends under a shield, so that one client that does not read would hold up our stop for ever.
"""

import logging
import math
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, cast

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp

from trioice.signaling import faults
from trioice.signaling.limits import PATIENCE, Doorkeeper

logger = logging.getLogger(__name__)

GRACE: Final = 0.5
"""Seconds that connections have to finish when we stop: time for an answer in the making, and well within the second promised."""

SIP: Final = 2048
"""Octets that hypercorn is given at once: it handles all frames that they hold without a checkpoint, and the smallest frame of HTTP/2
has nine octets, so that a flood of them could hold up the calls for a tenth of a second."""

LEFT: Final = 1.0
"""Seconds that a connection lives when its client sends no more: time for the answer to who has only closed that half. Hypercorn
alone would wait five, and for ever where the client of HTTP/2 left no window for the answer."""

STALLED_AFTER: Final = 20.0
"""Seconds after which the kernel gives up a connection whose peer takes nothing of what we sent (RFC 5482)."""

Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Conversation: TypeAlias = Callable[[Stream, str], Awaitable[None]]
"""Serves one connection, given the peer's address."""


async def serve_http(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    certificate: str | None = None,
    key: str | None = None,
    listening: socket.socket | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application over HTTP/1.1 and HTTP/2 until cancelled; starts with the URL.

    `certificate` and `key` are PEM files. `listening` is a socket that listens already, in place of `host` and `port`.
    """
    config = Config()
    config.errorlog = logging.getLogger("trioice.signaling.hypercorn")
    config.include_server_header = False
    config.read_timeout = math.ceil(PATIENCE)
    config.ssl_handshake_timeout = PATIENCE
    wrapped = wrap_app(cast("ASGIFramework", app), 0, "asgi")
    context = WorkerContext(None)

    async def converse(stream: Stream, _: str) -> None:
        with trio.CancelScope() as scope:
            # TCPServer is made for TLS by its annotation, and finds out for itself whether there is any.
            secure = cast("trio.SSLStream[trio.SocketStream]", _Sips(stream, scope))
            await TCPServer(wrapped, config, context, ConnectionState({}), secure)

    tls = tls_context(certificate, key, ["h2", "http/1.1"])
    # Idle connections wait for `terminated`, so that they do not use up the grace.
    await serve_streams(
        converse,
        host,
        port,
        tls,
        scheme="http",
        on_stop=context.terminated.set,
        listening=listening,
        task_status=task_status,
    )


class _Sips:
    """A stream that is read in sips, and whose end is the end of `scope` soon; otherwise the stream that it is made of."""

    def __init__(self, stream: Stream, scope: trio.CancelScope) -> None:
        self._stream = stream
        self._scope = scope

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        octets: bytes | bytearray = b""
        try:
            octets = await self._stream.receive_some(SIP)
        finally:
            if not octets:
                self._scope.deadline = min(self._scope.deadline, trio.current_time() + LEFT)
        return octets


async def serve_streams(
    converse: Conversation,
    host: str,
    port: int,
    tls: ssl.SSLContext | None = None,
    *,
    scheme: str,
    doorkeeper: Doorkeeper | None = None,
    on_stop: Callable[[], Awaitable[None]] | None = None,
    listening: socket.socket | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections and `converse` with each until cancelled; starts with the URL. Then all get `GRACE`, and are cut off.

    `listening` is a socket that listens already, in place of `host` and `port`: one that several processes accept from.
    """
    doorkeeper = doorkeeper or Doorkeeper()
    streams: set[trio.SocketStream] = set()
    stopping, drained = trio.Event(), trio.Event()
    if listening is not None:
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listening))]
    else:
        listeners = await trio.open_tcp_listeners(port, host=host)

    async def connected(transport: trio.SocketStream) -> None:
        """Serve one connection; whatever goes wrong in it ends nothing else."""
        streams.add(transport)
        stream = trio.SSLStream(transport, tls, server_side=True, https_compatible=True) if tls else transport
        try:
            address = str(transport.socket.getpeername()[0])
            with doorkeeper.visit(address) as admitted:
                if admitted:
                    await converse(stream, address)
        except OSError:
            pass  # gone before it was greeted
        except Exception as error:  # noqa: BLE001  the boundary
            logger.error("a connection failed: %s", faults.describe(error))
        finally:
            transport.socket.close()
            streams.discard(transport)
            if not streams and stopping.is_set():
                drained.set()

    async def hold(task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Hold the connections apart from the listeners, as they outlive them."""
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.shield = True
            task_status.started(nursery)
            await stopping.wait()
            if on_stop is not None:
                await on_stop()
            with trio.move_on_after(GRACE if streams else 0):
                await drained.wait()
            nursery.cancel_scope.cancel()
            for stream in streams:
                stream.socket.close()  # wakes even what is sending under a shield

    async with trio.open_nursery() as nursery:
        connections = await nursery.start(hold)
        for listener in listeners if hasattr(socket, "TCP_USER_TIMEOUT") else ():  # Linux has it
            listener.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_AFTER * 1000))
        try:
            task_status.started(url(scheme if tls is None else scheme + "s", listeners[0]))
            await trio.serve_listeners(connected, listeners, handler_nursery=connections)
        finally:
            stopping.set()


def url(scheme: str, listener: trio.SocketListener) -> str:
    """Say where a listener listens."""
    host, port, *_ = listener.socket.getsockname()
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def tls_context(certificate: str | None, key: str | None, protocols: list[str]) -> ssl.SSLContext | None:
    """Make a TLS server's context, or None where there is no certificate; raises `OSError` (`ssl.SSLError` is one) for bad files."""
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(protocols)
    return context
