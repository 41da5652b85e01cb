"""One HTTP connection: what it costs in writes and turns, when it ends, and requests that overlap."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
import trio.testing
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp, Receive, Scope, Send

from trioice.signaling.connection import IDLE, Connection, Context
from trioice.signaling.limits import PATIENCE

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"


class Line:
    """Our end of a connection, which counts its writes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.socket = stream.socket
        self.receive_some = stream.receive_some
        self.aclose = stream.aclose
        self.writes = 0
        self._stream = stream

    async def send_all(self, data: bytes) -> None:
        self.writes += 1
        await self._stream.send_all(data)


class Wire:
    """A client's end, and what became of ours."""

    def __init__(self, client: trio.SocketStream, line: Line, context: Context) -> None:
        self.client = client
        self.line = line
        self.context = context
        self.over = trio.Event()

    async def hear(self, goal: bytes) -> bytes:
        """Read until `goal` has come."""
        heard = b""
        while goal not in heard:
            octets = await self.client.receive_some()
            assert octets, f"over after {heard!r}"
            heard += bytes(octets)
        return heard

    async def rest(self) -> bytes:
        """Read until our end has ended."""
        await self.over.wait()
        await self.line.aclose()
        return b"".join([bytes(octets) async for octets in self.client])


@asynccontextmanager
async def wire(app: ASGIApp) -> AsyncIterator[Wire]:
    ours, theirs = trio.socket.socketpair()
    context = Context()
    made = Wire(trio.SocketStream(theirs), Line(trio.SocketStream(ours)), context)
    config = Config()
    config.include_server_header = False

    async def converse() -> None:
        stream = cast("trio.SocketStream", made.line)
        await Connection(wrap_app(cast("ASGIFramework", app), 0, "asgi"), config, context, stream).converse()
        made.over.set()

    with ours, theirs, trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(converse)
            yield made
            nursery.cancel_scope.cancel()


def answering(text: Callable[[Scope, bytes], str]) -> ASGIApp:
    """An application that reads the body, and answers with what `text` makes of it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            assert message["type"] == "http.request", "gone"
            body, more = body + message["body"], message["more_body"]
        await respond(send, text(scope, body))

    return app


async def respond(send: Send, text: str) -> None:
    headers = [(b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


path = answering(lambda scope, _: f"<{scope['path']}>")
echo = answering(lambda _, body: f"<{body.decode()}>")


async def test_a_response_leaves_in_one_piece() -> None:
    async with wire(path) as made:
        await made.client.send_all(GET % 1)
        assert (await made.hear(b"</1>")).startswith(b"HTTP/1.1 200")
        await made.client.send_all(GET % 2)
        await made.hear(b"</2>")
        assert made.line.writes == 2


async def test_a_connection_that_the_client_closed_ends_at_once(autojump_clock: trio.abc.Clock) -> None:
    async with wire(path) as made:
        await made.client.send_all(GET % 1)
        await made.hear(b"</1>")
        begun = trio.current_time()
        await made.client.send_eof()
        await made.over.wait()
        assert trio.current_time() == begun
        assert not made.context.idle


@pytest.mark.parametrize("octets", [b"", b"GET / HTTP/1.1\r\nX-Slow: "])
async def test_a_connection_without_a_request_ends_after_a_while(octets: bytes, autojump_clock: trio.abc.Clock) -> None:
    async with wire(path) as made:
        begun = trio.current_time()
        for octet in octets:
            await trio.sleep(0.1)
            await made.client.send_all(bytes((octet,)))
        await made.over.wait()
        assert trio.current_time() - begun == pytest.approx(IDLE)


async def test_a_body_that_never_comes_is_waited_for_so_long(autojump_clock: trio.abc.Clock) -> None:
    async with wire(echo) as made:
        begun = trio.current_time()
        await made.client.send_all(POST + b"12345")
        await made.over.wait()
        assert trio.current_time() - begun == pytest.approx(PATIENCE)


async def test_a_body_in_pieces_is_put_together() -> None:
    async with wire(echo) as made:
        await made.client.send_all(POST[:30])
        await made.client.send_all(POST[30:] + b"1234")
        await trio.testing.wait_all_tasks_blocked()
        await made.client.send_all(b"567890")
        assert await made.hear(b"<1234567890>")


async def test_a_client_may_wait_for_leave_to_send_its_body() -> None:
    async with wire(echo) as made:
        await made.client.send_all(POST[:-2] + b"Expect: 100-continue\r\n\r\n")
        await made.hear(b"100")
        await made.client.send_all(b"1234567890")
        await made.hear(b"<1234567890>")


async def test_requests_that_come_before_the_response_are_answered_in_turn() -> None:
    async with wire(path) as made:
        await made.client.send_all(b"".join(GET % number for number in range(100)))
        heard = b""
        while b"</99>" not in heard:
            heard += bytes(await made.client.receive_some())
        assert [heard.index(b"</%d>" % number) for number in range(100)] == sorted(
            heard.index(b"</%d>" % number) for number in range(100)
        )


async def test_an_answer_may_come_before_the_body_and_ends_the_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, "<no>")

    async with wire(app) as made:
        await made.client.send_all(POST)
        assert b"<no>" in await made.rest()


async def test_an_application_that_fails_is_a_500_and_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("ours")

    async with wire(app) as made:
        await made.client.send_all(GET % 1)
        assert (await made.rest()).startswith(b"HTTP/1.1 500")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_client_that_left_is_told_to_the_application() -> None:
    left: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            pass
        left.append(message["type"])

    async with wire(app) as made:
        await made.client.send_all(POST + b"12345")
        await made.client.send_eof()
        await made.over.wait()
    assert left == ["http.disconnect"]


async def test_a_stop_ends_what_is_idle_and_lets_the_rest_answer(autojump_clock: trio.abc.Clock) -> None:
    async with wire(echo) as idle, wire(echo) as busy:
        await busy.client.send_all(POST + b"12345")
        await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        await idle.context.stop()
        await busy.context.stop()
        await idle.over.wait()
        assert not busy.over.is_set()
        await busy.client.send_all(b"67890")
        assert b"<1234567890>" in await busy.rest()
        assert trio.current_time() == begun


async def test_requests_over_http_2_overlap() -> None:
    second = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/1":
            await second.wait()
        await respond(send, f"<{scope['path']}>")
        second.set()

    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    for number, stream in ((1, 1), (2, 3)):
        names = {":method": "GET", ":path": f"/{number}", ":scheme": "http", ":authority": "x"}
        client.send_headers(stream, list(names.items()), end_stream=True)
    heard, ended = b"", 0
    async with wire(app) as made:
        await made.client.send_all(client.data_to_send())
        while ended < 2:
            for event in client.receive_data(bytes(await made.client.receive_some())):
                heard += event.data if isinstance(event, DataReceived) else b""
                ended += isinstance(event, StreamEnded)
    assert heard == b"</2></1>"
