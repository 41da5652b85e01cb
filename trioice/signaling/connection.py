"""One HTTP connection: hypercorn's protocols, driven by one task where its own server takes four.

Theory of operation. A call is set up and ended by short connections, so what a connection costs is much of what a call costs. Over
HTTP/1.1 there is one request at a time, so the task that reads the connection runs the application as well: what the application
wants to receive and has not come is read then and there. A response leaves in one piece. Over HTTP/2 requests overlap, and each has a
task of its own. An idle connection is one whose reading has a deadline, and that a stop wakes.

The one thing that an application is not told is that a client of HTTP/1.1 left after its whole request: nobody reads meanwhile.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, cast

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, ConnectionState, Scope, TaskGroup
from hypercorn.typing import Event as IOEvent
from hypercorn.utils import parse_socket_addr

from trioice.signaling import faults
from trioice.signaling.limits import PATIENCE

logger = logging.getLogger(__name__)

SIP: Final = 2048
"""Octets that hypercorn is given at once: it handles all frames that they hold without a checkpoint, and the smallest frame of HTTP/2
has nine octets, so that a flood of them could hold up the calls for a tenth of a second."""

HELD: Final = 64 * 1024
"""Octets of a response that wait for the rest of it, so that it leaves at once: all of ours but the page's largest files fit."""

IDLE: Final = 5.0
"""Seconds that a connection may be without a request: time for the next request of a page, and no more."""

UNREAD: Final = 10
"""Pieces of a request's body that wait for the application; then nothing more is read."""

Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Put: TypeAlias = Callable[[ASGIReceiveEvent], Awaitable[None]]


class Context(WorkerContext):
    """What the connections of a listener share. When it stops, those that are idle end."""

    def __init__(self) -> None:
        super().__init__(None)
        self.idle: set[Connection] = set()

    async def stop(self) -> None:
        """End the idle connections, and each other one after its response."""
        await self.terminated.set()
        for connection in self.idle:
            connection.wake()


class Connection:
    """One connection. To hypercorn it is a `TaskGroup` too, which is what starts the application."""

    def __init__(self, app: AppWrapper, config: Config, context: Context, stream: Stream) -> None:
        self._app, self._config, self._context, self._stream = app, config, context, stream
        self._protocol: ProtocolWrapper
        self._nursery: trio.Nursery
        self._due: Callable[[], Awaitable[None]] | None = None  # the application, for the request that came
        self._waiting = trio.CancelScope()  # around what is being received
        self._idle_until: float | None = 0.0  # None within a request
        self._over = False
        self._held = b""
        self._sending = trio.Lock()

    async def converse(self) -> None:
        """Serve requests until the client, its silence or a stop ends the connection. The owner closes the transport."""
        spoken = "http/1.1"
        transport = self._stream
        if isinstance(transport, trio.SSLStream):
            try:
                with trio.fail_after(PATIENCE):
                    await transport.do_handshake()
            except (trio.BrokenResourceError, trio.TooSlowError):
                return
            spoken = transport.selected_alpn_protocol() or spoken
            transport = transport.transport_stream
        socket = transport.socket
        async with trio.open_nursery() as self._nursery:
            self._protocol = ProtocolWrapper(
                self._app,
                self._config,
                self._context,
                cast("TaskGroup", self),  # as far as it is used
                ConnectionState({}),
                self._stream is not transport,
                parse_socket_addr(socket.family, socket.getpeername()),
                parse_socket_addr(socket.family, socket.getsockname()),
                self._send,
                spoken,
            )
            if isinstance(self._protocol.protocol, H11Protocol):
                self._protocol.protocol.can_read = cast("IOEvent", _Turn(self.respond))
            self._become_idle()
            await self._protocol.initiate()
            try:
                while not self._over:
                    await self._read()
                    await self.respond()
            finally:
                self._context.idle.discard(self)
        if isinstance(self._stream, trio.SSLStream):
            await self._stream.aclose()  # with a goodbye

    def wake(self) -> None:
        """Read nothing more."""
        self._over = True
        self._waiting.cancel()

    async def respond(self) -> None:
        """Run the application, if a request is waiting for it."""
        run, self._due = self._due, None
        if run is not None:
            await run()

    # What hypercorn asks of a TaskGroup

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: Callable[[ASGISendEvent | None], Awaitable[None]]
    ) -> Put:
        """Have the application run for one request; what is returned takes the request's messages."""
        overlaps = scope.get("http_version") == "2"
        inlet = _Inlet(None if overlaps else self._read)

        async def run() -> None:
            try:
                await app(scope, inlet.receive, send, trio.to_thread.run_sync, trio.from_thread.run)
            except Exception as error:  # noqa: BLE001  one request's fault is no other's
                logger.error("a request failed: %s", faults.describe(error))
            inlet.end()
            await send(None)

        if overlaps:
            self._nursery.start_soon(run)
        else:
            self._due = run
        return inlet.put

    def spawn(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Start a task of HTTP/2's."""
        self._nursery.start_soon(function, *arguments)

    # In and out

    async def _read(self) -> None:
        """Read once, and let hypercorn make of it what it can."""
        until = trio.current_time() + PATIENCE if self._idle_until is None else self._idle_until
        octets: bytes | bytearray | None = None
        with trio.CancelScope(deadline=until) as self._waiting:
            try:
                octets = await self._stream.receive_some(SIP)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        if octets is not None:
            await self._protocol.handle(RawData(bytes(octets)))
            await self._flush()
        if not octets:
            self._over = True
            await self._protocol.handle(Closed())

    async def _send(self, event: Event) -> None:
        match event:
            case RawData():
                self._held += event.data
                # What is no response of HTTP/1.1 may be waited for before anything follows it.
                response = isinstance(getattr(self._protocol.protocol, "stream", None), HTTPStream)
                if not response or len(self._held) > HELD:
                    await self._flush()
            case Updated(idle=True):
                await self._flush()
                self._become_idle()
            case Updated(idle=False):
                self._context.idle.discard(self)
                self._idle_until = None
                self._waiting.deadline = trio.current_time() + PATIENCE
            case Closed():
                await self._flush()
                self.wake()
                await self._protocol.handle(Closed())
            case _:
                pass

    async def _flush(self) -> None:
        if not self._held:
            return
        if self._sending.locked():
            await self._sending.acquire()
        else:
            self._sending.acquire_nowait()  # without a turn of the loop
        try:
            octets, self._held = self._held, b""
            await self._stream.send_all(octets)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.wake()
            await self._protocol.handle(Closed())
        finally:
            self._sending.release()

    def _become_idle(self) -> None:
        self._context.idle.add(self)
        self._idle_until = self._waiting.deadline = trio.current_time() + IDLE


class _Inlet:
    """A request's messages on their way to the application. `read` is what brings more of them, where nobody else does."""

    def __init__(self, read: Callable[[], Awaitable[None]] | None) -> None:
        self._read = read
        self._messages: deque[ASGIReceiveEvent] = deque()
        self._complete = False
        self._ended = False
        self._changed = trio.Event()

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Take a message from hypercorn; wait while the application has too many."""
        self._messages.append(message)
        self._complete = message["type"] == "http.request" and not message["more_body"]
        self._change()
        while self._read is None and len(self._messages) > UNREAD and not self._ended:
            await self._changed.wait()

    async def receive(self) -> ASGIReceiveEvent:
        """Give the application the next message."""
        while not self._messages:
            if self._read is None:
                await self._changed.wait()
            elif self._complete:
                await trio.sleep_forever()
            else:
                await self._read()
        self._change()
        return self._messages.popleft()

    def end(self) -> None:
        """Note that the application has ended, and reads no more."""
        self._ended = True
        self._change()

    def _change(self) -> None:
        if self._read is None:
            self._changed.set()
            self._changed = trio.Event()


class _Turn:
    """What hypercorn waits for when the next request comes before the response to the last: that it is given, here and now."""

    def __init__(self, respond: Callable[[], Awaitable[None]]) -> None:
        self._respond = respond

    async def clear(self) -> None:
        """Nothing to note."""

    async def set(self) -> None:
        """Nothing to note."""

    async def wait(self) -> None:
        """Respond."""
        await self._respond()
