"""The listeners of signaling: connections within bounds, each behind a fault boundary, and an end within a second.

Hypercorn's and trio-websocket's own servers are not used for two reasons: they accept without bound, and an exception in one
connection ends all.
"""

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, cast

import trio
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp

from trioice.signaling import faults
from trioice.signaling.connection import Connection, Context, Stream
from trioice.signaling.limits import Doorkeeper

logger = logging.getLogger(__name__)

GRACE: Final = 0.5
"""Seconds that connections have to finish when we stop: time for an answer in the making, and well within the second promised."""

STALLED_AFTER: Final = 20.0
"""Seconds after which the kernel gives up a connection whose peer takes nothing of what we sent (RFC 5482)."""

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
    wrapped = wrap_app(cast("ASGIFramework", app), 0, "asgi")
    context = Context()

    async def converse(stream: Stream, _: str) -> None:
        await Connection(wrapped, config, context, stream).converse()

    tls = tls_context(certificate, key, ["h2", "http/1.1"])
    await serve_streams(
        converse,
        host,
        port,
        tls,
        scheme="http",
        on_stop=context.stop,
        listening=listening,
        task_status=task_status,
    )


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
