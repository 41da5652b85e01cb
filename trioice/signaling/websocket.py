"""Signaling over a WebSocket: JSON messages, one call a connection. docs/reference/signaling.md lists the messages.

A connection is here to make a call and ends with it, and the call ends with the connection: a page that is closed needs no goodbye.
What a client can hold on to is bounded on every side: a silent one gets `PATIENCE` seconds to offer, a vanished one is found out by
a ping that nobody answers, one that does not read is cut off when a message cannot be sent, and one that talks nonsense gets
`BLUNDERS` errors.
"""

import json
import socket
from typing import Final, Generic
from urllib.parse import parse_qs

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from trioice import sdp
from trioice.errors import LocalProtocolError
from trioice.metered import Metered
from trioice.signaling.interface import C, Transceiver
from trioice.signaling.limits import MAX_BODY, MAX_VALUES, PATIENCE, Bearer, OfferRate, network_of, too_many_values
from trioice.signaling.serve import serve_streams, tls_context
from trioice.transceiver.server import Crowded, Exhausted

HEARTBEAT: Final = 20.0
"""Seconds between pings: below the minute after which home routers and proxies forget an idle connection."""

BLUNDERS: Final = 8
"""Errors that a connection may make before it is closed as abusive: a client in development makes one or two."""

MESSAGES_PER_SECOND: Final = 10.0
"""Messages of one connection that are answered in a second; faster ones wait in the client's own socket."""

WITHOUT_MESSAGE: Final = 4 * MAX_BODY
"""Octets that a connection may send without completing a message: room for the largest, its framing, and the pongs of a day.
An endless message of empty fragments would else grow our memory below any limit of its size."""

PONG: Final = 64
"""Octets that each answered ping allows beside that."""


class Blunder(Exception):
    """A message that we cannot follow; the client is told why."""


class Dialogue(Generic[C]):
    """What is said on one connection, without the connection: a message in, a reply out."""

    def __init__(self, transceiver: Transceiver[C], rate: OfferRate, address: str) -> None:
        self._transceiver = transceiver
        self._rate = rate
        self._address = address
        self.call: C | None = None
        self.blunders = 0

    def reply(self, message: str | bytes, now: float) -> dict[str, object] | None:
        """Follow a message, and return what to say to it; None where the end of the call will be said instead."""
        try:
            request = _read(message)
            match request.get("type"):
                case "offer":
                    return self._offer(request, now)
                case "restart":
                    return self._restart(request, now)
                case "stats":
                    call = self._live()
                    return {"type": "stats", "call": call.id, "stats": call.stats()}
                case "bye":
                    self._live().hang_up()
                    return None
                case _:
                    raise Blunder("the type is none of offer, restart, stats and bye")
        except (Blunder, sdp.SdpError, Exhausted, Crowded, LocalProtocolError) as error:
            self.blunders += 1
            return {"type": "error", "reason": str(error)}

    def _offer(self, request: dict[str, object], now: float) -> dict[str, object]:
        if self.call is not None:
            raise Blunder("this connection has its call; another call wants another connection")
        session = request.get("session")
        if not isinstance(session, dict | None):
            raise Blunder("the session is not a JSON object")
        self._admit_offer(now)
        self.call = self._transceiver.answer(_description(request), session=session, owner=network_of(self._address))
        return self._answer(self.call, self.call.answer)

    def _restart(self, request: dict[str, object], now: float) -> dict[str, object]:
        call = self._live()
        self._admit_offer(now)
        return self._answer(call, self._transceiver.restart(call, _description(request)))

    def _answer(self, call: C, answer: str) -> dict[str, object]:
        return {"type": "answer", "call": call.id, "sdp": answer}

    def _live(self) -> C:
        if self.call is None:
            raise Blunder("there is no call yet")
        return self.call

    def _admit_offer(self, now: float) -> None:
        wait = self._rate.wait(self._address, now)
        if wait:
            raise Blunder(f"too many offers from this address; wait {wait:.1f} seconds")


def _read(message: str | bytes) -> dict[str, object]:
    if isinstance(message, str) and too_many_values(message):
        raise Blunder(f"the message has more than {MAX_VALUES} values")
    try:
        request = json.loads(message) if isinstance(message, str) else None
    except (ValueError, RecursionError):  # the latter for arrays within arrays without end
        request = None
    if not isinstance(request, dict):
        raise Blunder("the message is not a JSON object")
    return request


def _description(request: dict[str, object]) -> str:
    description = request.get("sdp")
    if not isinstance(description, str):
        raise Blunder("sdp is not a string")
    return description


async def serve_websocket(
    transceiver: Transceiver[C],
    host: str,
    port: int,
    *,
    token: str | None = None,
    origin: str = "*",
    rate: OfferRate | None = None,
    certificate: str | None = None,
    key: str | None = None,
    listening: socket.socket | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Signal for `transceiver` over WebSockets until cancelled; starts with the URL.

    See `http.application` and `serve.serve_http` for the options.
    """
    door = Door(transceiver, Bearer(token), origin, rate or OfferRate())
    tls = tls_context(certificate, key, ["http/1.1"])
    await serve_streams(door.converse, host, port, tls, scheme="ws", listening=listening, task_status=task_status)


class Door(Generic[C]):
    """Lets connections in, and stays with each until its end."""

    def __init__(self, transceiver: Transceiver[C], bearer: Bearer, origin: str, rate: OfferRate) -> None:
        self._transceiver = transceiver
        self._bearer = bearer
        self._origin = origin
        self._rate = rate

    async def converse(self, stream: trio.abc.Stream, address: str) -> None:
        """Speak with one client from its handshake to its end."""
        metered = Metered(stream, WITHOUT_MESSAGE)
        try:
            async with trio.open_nursery() as nursery:  # where trio-websocket's reader runs
                connection = await self._greet(metered, nursery)
                if connection is not None:
                    await _Conversation(connection, metered, Dialogue(self._transceiver, self._rate, address)).run()
                nursery.cancel_scope.cancel()
        except* (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # the client left, or was cut off for taking too long
        finally:
            await trio.aclose_forcefully(stream)

    async def _greet(self, stream: trio.abc.Stream, nursery: trio.Nursery) -> WebSocketConnection | None:
        with trio.move_on_after(PATIENCE):
            request = await wrap_server_stream(nursery, stream, message_queue_size=1, max_message_size=MAX_BODY)
            status = self._refusal(request)
            if status is None:
                return await request.accept()
            await request.reject(status)
        return None

    def _refusal(self, request: WebSocketRequest) -> int | None:
        """Tell the status code with which a client is turned away; None where it may come in."""
        headers = {name.lower(): value.decode("latin-1") for name, value in request.headers}
        if self._origin != "*" and headers.get(b"origin", self._origin) != self._origin:
            return 403  # a page of another origin (RFC 6455, 10.2); what is no browser sends none
        # Browsers cannot set headers on a WebSocket, so the token may stand in the address too.
        (token,) = parse_qs(request.path.partition("?")[2]).get("token", [None])[:1]
        if not (self._bearer.admits_header(headers.get(b"authorization")) or self._bearer.admits(token)):
            return 401
        return None


class _Conversation(Generic[C]):
    """One connection, from the open handshake to the end of the call or of the connection, whichever is first."""

    def __init__(self, connection: WebSocketConnection, metered: Metered, dialogue: Dialogue[C]) -> None:
        self._connection = connection
        self._metered = metered
        self._dialogue = dialogue
        self._answered = trio.Event()

    async def run(self) -> None:
        """Speak until the call or the connection ends; afterwards both have."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._heartbeat)
                nursery.start_soon(self._listen)
                with trio.move_on_after(PATIENCE):
                    await self._answered.wait()
                await self._part(self._dialogue.call)
        finally:
            if self._dialogue.call is not None:
                self._dialogue.call.hang_up()

    async def _listen(self) -> None:
        while self._dialogue.blunders < BLUNDERS:
            message = await self._connection.get_message()
            self._metered.left = WITHOUT_MESSAGE
            reply = self._dialogue.reply(message, trio.current_time())
            if reply is not None:
                await self._say(reply)
            if self._dialogue.call is not None:
                self._answered.set()
            await trio.sleep(1 / MESSAGES_PER_SECOND)
        await self._close(1008, "too many errors")

    async def _part(self, call: C | None) -> None:
        """Say the end of the call, once it is there, and close."""
        if call is None:
            await self._close(1008, "no offer came")
        else:
            await call.ended.wait()
            await self._say({"type": "bye", "reason": call.why})
            await self._close(1000, "the call has ended")

    async def _heartbeat(self) -> None:
        while True:
            await trio.sleep(HEARTBEAT)
            with trio.fail_after(PATIENCE):
                await self._connection.ping()
            self._metered.left += PONG

    async def _say(self, message: dict[str, object]) -> None:
        with trio.fail_after(PATIENCE):
            await self._connection.send_message(json.dumps(message))

    async def _close(self, code: int, reason: str) -> None:
        """Close in order as far as the client plays along, and raise to end the other tasks of the conversation."""
        with trio.move_on_after(1.0):
            await self._connection.aclose(code, reason)
        raise ConnectionClosed(None)
