"""Agents apart: WebSocket servers, in any language, that hear callers and speak to them. docs/reference/agents.md has the messages.

There is one connection for each call. When it breaks, what the caller says is kept and what the agent said is still spoken, until the
agent is there again, for a bounded time.
"""

import logging
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Literal, TypeVar

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.utilities import LocalProtocolError as Closing

from trioice.metrics import Sample
from trioice.sansio import NEVER
from trioice.transceiver.agent_connection import (
    BREAKS,
    OPENING,
    WITHOUT_MESSAGE,
    AgentStream,
    Broken,
    HungUp,
    OpenStream,
    Url,
    end_of,
    open_stream,
    open_websocket,
)
from trioice.transceiver.agent_line import Line
from trioice.transceiver.call import Call

logger = logging.getLogger(__name__)

T = TypeVar("T")

RECONNECT: Final = 10.0
"""Seconds for which a lost agent is looked for, unless told otherwise: a restart, and no longer than a caller stays in silence."""

STABLE: Final = 5.0
"""Seconds after which a connection counts as a good one. One that breaks sooner is still part of the same outage."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 2.0
"""Seconds between two attempts: twice as long each time, and a random part of it less, as many calls lose an agent at once."""

PONG: Final = 10.0
"""Seconds in which an agent answers a ping: longer than a model's step may block a program of one thread."""

HEARTBEAT: Final = 1.0
"""Seconds between pings. What was sent is kept until one is answered."""

GOODBYE: Final = 2.0
"""Seconds in which an agent may still read the end of a call."""


class RemoteAgent:
    """An agent at a `url` (ws or wss), for `Transceiver`'s `agent`: one connection for each call.

    Raises ValueError for what is no such address, and for a token that stands in no header.

    `rate` and `patience` are those of `Call.microphone`, and the rate is the speaker's too. After a break it connects again for at most
    `reconnect` seconds. A `token` is sent as a bearer token.
    """

    def __init__(
        self,
        url: str,
        *,
        rate: int = 24000,
        patience: float | Literal["auto"] = 0.25,
        reconnect: float = RECONNECT,
        token: str | None = None,
        connect: OpenStream = open_stream,
    ) -> None:
        self.url = Url.read(url)
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            raise ValueError("the agent's token has characters that stand in no header")
        self.rate = rate
        self.patience = patience
        self.reconnect = reconnect
        self.reconnects = 0
        self.failures: Counter[str] = Counter()  # calls that ended for want of the agent, by reason
        self.audio_dropped = 0.0  # seconds of callers' audio that no agent heard
        self._headers = [] if token is None else [(b"Authorization", b"Bearer " + token.encode())]
        self._connect = connect

    async def __call__(self, call: Call) -> None:
        """Lead a call to the agent, until either ends it."""
        if not await call.ready():
            return  # agents hear of no call that never came to be
        line = Line(call, self.rate, self.patience, kept=self.reconnect + PONG)
        try:
            async with trio.open_nursery() as nursery:
                line.start(nursery)
                await _Connections(self, call, line).keep()
                nursery.cancel_scope.cancel()
        finally:
            line.close()
            self.audio_dropped += line.backlog.dropped / self.rate

    def samples(self) -> Iterable[Sample]:
        """Tell what is counted."""
        yield Sample(
            name="trioice_agent_reconnects_total",
            kind="counter",
            help="Connections to agents that were opened anew.",
            value=self.reconnects,
        )
        for reason in ("unreachable", "broken", "abusive"):
            yield Sample(
                name="trioice_agent_failures_total",
                kind="counter",
                help="Calls that ended for want of their agent, by reason.",
                value=self.failures[reason],
                labels={"reason": reason},
            )
        yield Sample(
            name="trioice_agent_audio_dropped_seconds_total",
            kind="counter",
            help="Callers' audio that no agent heard, as it was away or slow for too long.",
            value=self.audio_dropped,
        )

    async def open(self, nursery: trio.Nursery) -> tuple[WebSocketConnection, AgentStream]:
        """Open a connection."""
        with trio.fail_after(OPENING):
            stream = AgentStream(await self._connect(self.url))
            try:
                return await open_websocket(nursery, stream, self.url, self._headers), stream
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise


class _Connections:
    """The connections of one call, one after the other."""

    def __init__(self, agent: RemoteAgent, call: Call, line: Line) -> None:
        self._agent = agent
        self._call = call
        self._line = line
        self._was_open = False
        self._opened = NEVER  # the last one, and when

    async def keep(self) -> None:
        """Stay connected until the call or the agent's part in it is over."""
        call, agent, line = self._call, self._agent, self._line
        outage, pause, is_told = trio.current_time(), FIRST_PAUSE, False
        while not call.ended.is_set():
            self._opened = NEVER
            try:
                await self._converse()
                break
            except HungUp as end:
                logger.info("call %s: %s", call.name, end)
                break
            except Broken as end:
                now = trio.current_time()
                line.is_connected = False
                if call.ended.is_set():
                    break
                if now - self._opened >= STABLE:
                    outage, pause, is_told = now, FIRST_PAUSE, False
                if end.for_good or now + pause - outage >= agent.reconnect:
                    self._fail("broken" if self._was_open else "unreachable", str(end))
                    break
                if not is_told:
                    logger.warning("call %s: its agent is not there, and is looked for: %s", call.name, end)
                    is_told = True
            with trio.move_on_after(pause * random.uniform(0.5, 1.0)):
                await call.ended.wait()
            pause = min(2 * pause, LONGEST_PAUSE)
        if line.is_abusive():
            self._fail("abusive", "it makes one error after the other")

    def _fail(self, reason: str, why: str) -> None:
        self._agent.failures[reason] += 1
        logger.warning("call %s is hung up, as its agent at %s failed: %s", self._call.name, self._agent.url.host, why)

    async def _converse(self) -> None:
        """Be connected once. Returns when the call has ended, and raises Broken or HungUp."""
        end: Exception | None = None
        stream: AgentStream | None = None
        try:
            async with trio.open_nursery() as nursery:
                socket, stream = await self._agent.open(nursery)
                self._greet()
                async with trio.open_nursery() as tasks:
                    tasks.start_soon(self._send, socket)
                    tasks.start_soon(self._confirm, socket, stream)
                    tasks.start_soon(self._listen, socket, stream)
                    await self._line.over.wait()
                    with trio.move_on_after(GOODBYE):
                        await self._line.all_sent()
                    tasks.cancel_scope.cancel()
                with trio.move_on_after(GOODBYE):
                    await socket.aclose(1008 if self._line.is_abusive() else 1000, "the call has ended")
                nursery.cancel_scope.cancel()
        except* (*BREAKS, Broken) as errors:
            end = end_of(errors)
        finally:
            if stream is not None:
                await trio.aclose_forcefully(stream)
        if end is not None:
            raise end

    def _greet(self) -> None:
        """Begin what is said on this connection."""
        if self._was_open:
            self._agent.reconnects += 1
        self._line.greet(is_again=self._was_open)
        self._was_open = True
        self._opened = trio.current_time()

    async def _send(self, socket: WebSocketConnection) -> None:
        line = self._line
        while True:
            message = await line.next_message()
            await self._unless_closed(socket.send_message, message)
            line.was_sent()

    async def _confirm(self, socket: WebSocketConnection, stream: AgentStream) -> None:
        """Find out by pings what has come, and whether the agent is there."""
        line = self._line
        while True:
            taken = line.backlog.taken
            with trio.move_on_after(PONG) as patience:
                await self._unless_closed(socket.ping, b"%d" % taken)
            if patience.cancelled_caught:
                raise Broken(f"it has not answered a ping for {PONG:g} s")
            stream.left += 64  # which answered
            line.confirm(taken)
            with trio.move_on_after(HEARTBEAT):
                await line.pressed()

    async def _unless_closed(self, send: Callable[[T], Awaitable[None]], message: T) -> None:
        """Send; if the connection is closed, leave its end to `_listen`, which has yet to read what came before."""
        try:
            await send(message)
        except (ConnectionClosed, Closing):
            await trio.sleep_forever()

    async def _listen(self, socket: WebSocketConnection, stream: AgentStream) -> None:
        """Read without a pause, as a `clear` may be behind any audio."""
        while True:
            message = await socket.get_message()
            stream.left = WITHOUT_MESSAGE
            await self._line.hear(message)
