"""A remote agent for tests: a WebSocket server on streams in memory, whose network can be cut, and which keeps what it heard."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import trio
from jsonschema import Draft202012Validator
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from trioice.transceiver.agent_connection import Url

Event = dict[str, object]

SCHEMA = json.loads((Path(__file__).parent.parent.parent / "docs/reference/agents.schema.json").read_text())
EVENT, COMMAND = (
    Draft202012Validator({"$ref": f"#/$defs/{direction}", "$defs": SCHEMA["$defs"]})
    for direction in ("to_agent", "from_agent")
)


class Wire(trio.abc.Stream):
    """The transceiver's end of a stream. `swallow` loses all that is sent from then on, both ways; `cut` breaks it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._is_cut = trio.Event()
        self.swallows = False
        self.holds = trio.Event()  # nothing is sent until it is set
        self.holds.set()

    def swallow(self) -> None:
        self.swallows = True

    def cut(self) -> None:
        self._is_cut.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        octets: bytes | bytearray = b""

        async def receive() -> None:
            nonlocal octets
            octets = await self._stream.receive_some(max_bytes)
            if self.swallows:
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await self._is_cut.wait()
            nursery.cancel_scope.cancel()
        if self._is_cut.is_set():
            raise trio.BrokenResourceError("the network is gone")
        return octets

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.holds.wait()
        if self._is_cut.is_set():
            raise trio.BrokenResourceError("the network is gone")
        if not self.swallows:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Memory:
    """What an agent keeps of a call over several connections, by the rules of docs/reference/agents.md."""

    def __init__(self) -> None:
        self.audio = bytearray()
        self.events: list[Event] = []
        self.messages: list[Event] = []  # each as it came
        self.doubled = 0  # samples that came again
        self._position = 0  # of the audio that comes next
        self._event = 0

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.messages if event["type"] == kind]

    def take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            have = len(self.audio) // 2 - self._position
            assert have >= 0, "audio is missing"
            self.doubled += min(have, len(message) // 2)
            self.audio += message[2 * have :]
            self._position += len(message) // 2
            return
        event = json.loads(message)
        EVENT.validate(event)
        self.messages.append(event)
        if event["type"] == "resumed":
            self._position = event["position"]
        if event["type"] == "gap" and event["kind"] == "dropped":
            self._position = event["position"] + event["samples"]
            self.audio += bytes(2 * max(0, self._position - len(self.audio) // 2))
        if event.get("event", self._event + 1) > self._event and event["type"] != "resumed":
            self._event = event.get("event", self._event)
            self.events.append(event)


class Conversation:
    """One connection, as the agent has it."""

    def __init__(self, socket: WebSocketConnection, wire: Wire, memory: Memory) -> None:
        self.socket = socket
        self.wire = wire
        self.memory = memory
        self.code: int | None = None
        self.news = trio.Event()
        self.reads = trio.Event()
        self.reads.set()

    async def run(self) -> None:
        try:
            while True:
                await self.reads.wait()
                self.memory.take(await self.socket.get_message())
                self.news.set()
                self.news = trio.Event()
        except ConnectionClosed as closed:
            self.code = closed.reason.code if closed.reason is not None else None
            self.news.set()

    async def until(self, done: Callable[[], bool]) -> None:
        while not done():
            assert self.code is None, f"closed with {self.code}"
            await self.news.wait()

    async def event(self, kind: str, after: int = 0) -> Event:
        """The first of this type behind so many, once it came."""
        await self.until(lambda: len(self.memory.of(kind)) > after)
        return self.memory.of(kind)[after]

    async def say(self, kind: str, **fields: object) -> None:
        command = {"type": kind, **fields}
        COMMAND.validate(command)
        await self.socket.send_message(json.dumps(command))


class Server:
    """Where a `RemoteAgent` finds its agent: pass `connect` to it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._into, self._conversations = trio.open_memory_channel[Conversation](100)
        self.attempts: list[float] = []
        self.is_there = True
        self.status: int | None = None
        self.memory = Memory()
        self.headers: dict[bytes, bytes] = {}
        self.path = ""

    async def connect(self, url: Url) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.attempts.append(trio.current_time())
        if not self.is_there:
            raise ConnectionRefusedError("nobody listens")
        ours, theirs = memory_stream_pair()
        wire = Wire(theirs)
        self._nursery.start_soon(self._serve, ours, wire)
        return wire

    async def conversation(self) -> Conversation:
        """The next connection."""
        return await self._conversations.receive()

    async def _serve(self, stream: trio.abc.Stream, wire: Wire) -> None:
        try:
            await self._accept(stream, wire)
        except* LocalProtocolError:
            pass  # trio-websocket answers a ping while it closes
        await trio.aclose_forcefully(stream)

    async def _accept(self, stream: trio.abc.Stream, wire: Wire) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, cast("trio.SocketStream", stream))
            self.headers = {name.lower(): value for name, value in request.headers}
            self.path = request.path
            if self.status is not None:
                await request.reject(self.status)
            else:
                conversation = Conversation(await request.accept(), wire, self.memory)
                self._into.send_nowait(conversation)
                await conversation.run()
