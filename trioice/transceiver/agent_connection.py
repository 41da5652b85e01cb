"""A WebSocket to an agent: where it leads, how it is opened, and in which ways it ends."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

import attrs
import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError as Closing

from trioice.metered import Metered

OPENING: Final = 5.0
"""Seconds until an agent has taken a connection, from its name to the end of the WebSocket's handshake."""

MAX_MESSAGE: Final = 4 << 20
"""Octets of a message at most: 87 seconds at 24 kHz. A larger one ends the call."""

WITHOUT_MESSAGE: Final = MAX_MESSAGE + MAX_MESSAGE // 4
"""Octets that may come without completing a message: room for the largest and for its framing, but not for fragments without end."""

PASSING: Final = (408, 425, 429)
"""HTTP statuses that say "not now", beside those that tell of the server's own trouble (5xx)."""

FINAL: Final = (1002, 1003, 1007, 1008, 1009)
"""Codes with which an agent complains of us (RFC 6455, 7.4.1): it would again."""

BREAKS: Final = (
    ConnectionClosed,
    HandshakeError,
    Closing,
    h11.ProtocolError,  # trio-websocket answers garbage in ways that h11 does not allow
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)
"""What a connection ends with."""


class Broken(Exception):
    """The connection is over, and not by the agent's will; `for_good` where another would fare no better."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


class HungUp(Exception):
    """The agent closed the connection, which ends the call."""


OpenStream: TypeAlias = Callable[["Url"], Awaitable[trio.abc.Stream]]


@attrs.frozen
class Url:
    """Where an agent is."""

    host: str
    port: int
    resource: str
    is_secure: bool
    text: str

    @classmethod
    def read(cls, text: str) -> "Url":
        """Read ``ws://host:port/path`` or ``wss://…``. Raises ValueError."""
        parts = urlsplit(text)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(f"{text!r} is no address like ws://host:port/path")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the address of an agent is no place for a password")
        if parts.fragment:
            raise ValueError("the address of a WebSocket has no fragment (RFC 6455, 3)")
        is_secure = parts.scheme == "wss"
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not text.isascii() or any(character <= " " for character in text):
            raise ValueError(f"{text!r} has characters that want to be percent-encoded")
        return cls(parts.hostname, parts.port or (443 if is_secure else 80), resource, is_secure, text)

    @property
    def authority(self) -> str:
        """As it stands in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


async def open_stream(url: Url) -> trio.abc.Stream:
    """Connect over TCP, and TLS where the address says so; the server's certificate is verified."""
    stream = await trio.open_tcp_stream(url.host, url.port)
    if not url.is_secure:
        return stream
    secure = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=url.host, https_compatible=True)
    try:
        await secure.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secure


class AgentStream(Metered):
    """What is under an agent's WebSocket; it tells when it is over."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream, WITHOUT_MESSAGE)
        self.opening = trio.CancelScope()  # is cancelled when the stream ends, which trio-websocket would wait out

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive, within what is left."""
        try:
            octets = await super().receive_some(max_bytes)
        except trio.BrokenResourceError:
            self.opening.cancel()
            raise
        if not octets:
            self.opening.cancel()
        return octets


async def open_websocket(
    nursery: trio.Nursery, stream: AgentStream, url: Url, headers: list[tuple[bytes, bytes]]
) -> WebSocketConnection:
    """Greet the agent. What reads the connection runs in `nursery`, which ends with what `BREAKS` lists."""
    with stream.opening:
        socket = cast("trio.SocketStream", stream)  # any stream will do, whatever the annotation says
        return await wrap_client_stream(
            nursery,
            socket,
            url.authority,
            url.resource,
            extra_headers=headers,
            message_queue_size=16,
            max_message_size=MAX_MESSAGE,
            receive_buffer_size=4096,  # trio-websocket lets nobody else run before it has followed all frames of it
        )
    raise Broken("it closed the connection before the handshake's end")


def end_of(errors: BaseExceptionGroup[BaseException]) -> Exception:
    """Tell what the first of some errors means: Broken or HungUp."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case Broken() | HungUp():
            return error
        case ConnectionRejected():
            status = error.status_code
            return Broken(f"it answers {status}", for_good=400 <= status < 500 and status not in PASSING)
        case ConnectionClosed(reason=reason) if reason is not None and reason.code in (1000, 1005):
            return HungUp("the agent closed the connection")
        case ConnectionClosed(reason=reason) if reason is not None and reason.code != 1006:
            words = f"the connection was closed with {reason.code} {reason.reason or reason.name}"
            return Broken(words, for_good=reason.code in FINAL)
        case ConnectionClosed():
            return Broken("the connection broke")
        case trio.TooSlowError():
            return Broken("it does not answer in time")
        case _:
            return Broken(_words(error))


def _words(error: BaseException) -> str:
    """The deepest cause has the words that help."""
    deepest = error
    while (cause := deepest.__cause__) is not None:
        deepest = cause
    return str(deepest) or str(error) or "the connection broke"
