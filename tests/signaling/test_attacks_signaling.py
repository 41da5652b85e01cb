"""Attacks on signaling, one each: message size, rate, line and candidate counts, slow readers, half-open connections."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked
from wsproto import ConnectionType, WSConnection
from wsproto.events import CloseConnection, Event, Ping, Pong, Request, TextMessage

from tests.signaling.stand_in import OFFER, StandIn, client_of
from tests.signaling.test_http import SDP
from tests.signaling.test_websocket import OFFERED, Client, connected, door
from trioice.sdp.parse import MAX_CANDIDATES, MAX_LINES
from trioice.signaling.http import application
from trioice.signaling.limits import MAX_BODY, Doorkeeper
from trioice.signaling.serve import Stream, serve_http, serve_streams
from trioice.signaling.websocket import HEARTBEAT, WITHOUT_MESSAGE

HELLO = Request(host="trioice.test", target="/")


class Raw:
    """A hostile client: what it sends is well-formed, when and whether it reads is its own affair."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.protocol = WSConnection(ConnectionType.CLIENT)

    async def send(self, event: Event) -> None:
        await self.stream.send_all(self.protocol.send(event))

    async def read(self) -> list[Event]:
        """Read once; an empty list when the connection is over."""
        octets = await self.stream.receive_some()
        if not octets:
            return []
        self.protocol.receive_data(bytes(octets))
        return list(self.protocol.events())


@asynccontextmanager
async def hostile(transceiver: StandIn, *, lockstep: bool = False) -> AsyncIterator[Raw]:
    """A hostile client that has said hello. Our side must have ended by itself when the block is left, in virtual time."""
    ours, theirs = lockstep_stream_pair() if lockstep else memory_stream_pair()
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door(transceiver).converse, ours, "192.0.2.9")
            client = Raw(theirs)
            await client.send(HELLO)
            assert await client.read()
            yield client


async def dial(url: str) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))


@pytest.fixture
def transceiver() -> StandIn:
    return StandIn()


async def test_attack_22_a_websocket_message_too_large_ends_the_connection(transceiver: StandIn) -> None:
    async with connected(door(transceiver)) as client:
        await client.say("x" * (MAX_BODY + 1))
        assert await client.close_code() == 1009
    async with connected(door(transceiver)) as client:
        assert (await client.ask("x" * MAX_BODY))["type"] == "error"


@pytest.mark.parametrize(("line", "bound"), [("a=x\r\n", MAX_LINES), ("a=candidate:\r\n", MAX_CANDIDATES)])
async def test_attack_22_lines_and_candidates_without_end_are_refused(
    transceiver: StandIn, line: str, bound: int
) -> None:
    body = OFFER + line * bound
    assert len(body) < MAX_BODY
    async with client_of(application(transceiver)) as client:
        response = await client.post("/calls", content=body, headers=SDP)
    assert response.status_code == 400
    assert f"more than {bound} " in response.text


async def test_attack_22_a_flood_of_offers_from_one_address_leaves_the_others_alone(transceiver: StandIn) -> None:
    app = application(transceiver)
    async with client_of(app, "192.0.2.66") as hostile, client_of(app, "192.0.2.9") as good:
        statuses = [(await hostile.post("/calls", content=OFFER, headers=SDP)).status_code for _ in range(100)]
        assert statuses.count(201) <= 30
        assert set(statuses) == {201, 429}
        assert (await good.post("/calls", content=OFFER, headers=SDP)).status_code == 201


async def test_attack_22_a_flood_of_messages_is_followed_at_our_pace(
    transceiver: StandIn, autojump_clock: trio.abc.Clock
) -> None:
    async with connected(door(transceiver)) as client:
        await client.ask(OFFERED)
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(client.say, {"type": "stats"})
            for _ in range(50):
                assert (await client.hear())["type"] == "stats"
        assert trio.current_time() - started >= 4.9


async def test_attack_22_a_slow_reader_is_cut_off_and_its_call_ended(
    transceiver: StandIn, autojump_clock: trio.abc.Clock
) -> None:
    started = trio.current_time()
    async with hostile(transceiver, lockstep=True) as client:
        await client.send(TextMessage(data=Client.text(OFFERED)))
        # It reads nothing from here on, so the answer does not get out.
    assert trio.current_time() - started <= 11.0
    assert transceiver.made[0].ended.is_set()


async def test_attack_22_a_half_open_websocket_is_found_out_by_a_ping(
    transceiver: StandIn, autojump_clock: trio.abc.Clock
) -> None:
    started = trio.current_time()
    async with hostile(transceiver) as client:
        await client.send(TextMessage(data=Client.text(OFFERED)))
        # It is gone without a word: nothing comes any more, and what we send goes nowhere.
    assert HEARTBEAT < trio.current_time() - started <= HEARTBEAT + 11.0
    assert transceiver.made[0].ended.is_set()


async def test_a_client_that_answers_pings_stays_for_days(transceiver: StandIn, autojump_clock: trio.abc.Clock) -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door(transceiver).converse, ours, "192.0.2.9")
        client = Raw(theirs)
        await client.send(HELLO)
        await client.read()
        await client.send(TextMessage(data=Client.text(OFFERED)))
        pings = 0
        while pings < 5000:
            for event in await client.read():
                if isinstance(event, Ping):
                    pings += 1
                    await client.send(event.response())
        assert not transceiver.made[0].ended.is_set()
        await client.stream.aclose()


async def test_attack_22_a_silent_connection_is_closed(transceiver: StandIn, autojump_clock: trio.abc.Clock) -> None:
    async with connected(door(transceiver)) as client:
        started = trio.current_time()
        assert await client.close_code() == 1008
        assert trio.current_time() - started == 10.0


async def test_attack_22_a_handshake_that_is_never_finished_is_closed(
    transceiver: StandIn, autojump_clock: trio.abc.Clock
) -> None:
    ours, theirs = memory_stream_pair()
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door(transceiver).converse, ours, "192.0.2.9")
        await theirs.send_all(b"GET / HTTP/1.1\r\nHost: trioice.test\r\nX-Slow: ")
    assert trio.current_time() - started <= 11.0


@pytest.mark.parametrize(
    "greeting", [b"\x00" * 100, b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b""]
)
async def test_attack_22_a_handshake_of_nonsense_is_no_fault_of_ours(
    transceiver: StandIn, autojump_clock: trio.abc.Clock, greeting: bytes
) -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door(transceiver).converse, ours, "192.0.2.9")
        await theirs.send_all(greeting)
        await theirs.aclose()


@pytest.mark.parametrize("kind", ["fragments", "pings", "pongs"])
async def test_attack_22_octets_without_a_message_are_bounded(
    transceiver: StandIn, autojump_clock: trio.abc.Clock, kind: str
) -> None:
    """A message of empty fragments without end stays below every limit of its size, and grows."""
    events: dict[str, Event] = {
        "fragments": TextMessage(data="", message_finished=False),
        "pings": Ping(payload=b"x" * 100),
        "pongs": Pong(payload=b"x" * 100),
    }
    async with hostile(transceiver) as client:
        await client.send(events[kind])
        octets = client.protocol.send(events[kind])  # the second fragment looks otherwise than the first
        sent = 0
        try:
            while sent < 2 * WITHOUT_MESSAGE:
                await client.stream.send_all(octets * 100)
                sent += len(octets) * 100
                await wait_all_tasks_blocked()
        except trio.BrokenResourceError:
            pass
    assert WITHOUT_MESSAGE - 1000 <= sent <= WITHOUT_MESSAGE + 20_000


async def test_a_close_that_breaks_the_protocol_is_no_fault_of_ours(
    transceiver: StandIn, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hostile(transceiver) as client:
        await client.send(CloseConnection(code=1000))
        await client.stream.send_all(b"\xff" * 50)
        await client.stream.aclose()
    async with hostile(transceiver) as client:
        await client.stream.send_all(b"\xff" * 50)
        await client.stream.aclose()
    assert not [record for record in caplog.records if record.name.startswith("trioice")]


async def test_attack_22_connections_of_one_network_are_bounded() -> None:
    async def converse(stream: Stream, _: str) -> None:
        await stream.send_all(b"hello")
        await trio.sleep_forever()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(
                partial(serve_streams, converse, "127.0.0.1", 0, scheme="tcp", doorkeeper=Doorkeeper(most_of_one=2))
            )
            async with await dial(url) as first, await dial(url) as second, await dial(url) as third:
                assert [await first.receive_some(), await second.receive_some()] == [b"hello"] * 2
                assert await third.receive_some() == b""
            nursery.cancel_scope.cancel()


async def test_a_fault_in_one_connection_is_logged_once_and_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def converse(stream: Stream, _: str) -> None:
        if await stream.receive_some() == b"fault":
            raise ValueError(OFFER)
        await stream.send_all(b"well")

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(serve_streams, converse, "127.0.0.1", 0, scheme="tcp"))
            async with await dial(url) as good, await dial(url) as bad:
                await bad.send_all(b"fault")
                assert await bad.receive_some() == b""
                await good.send_all(b"hello")
                assert await good.receive_some() == b"well"
            nursery.cancel_scope.cancel()
    (record,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert "ValueError" in record.getMessage()
    assert "ice-pwd" not in record.getMessage()


async def test_attack_22_a_client_that_does_not_read_cannot_hold_up_our_stop(transceiver: StandIn) -> None:
    with trio.fail_after(10), trio.socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_http, application(transceiver), "127.0.0.1", 0)
            await client.connect(("127.0.0.1", int(url.rpartition(":")[2])))
            sent: int | None = 0
            while sent is not None:  # answers are asked for until nothing goes in any more, and none is read
                sent = None
                with trio.move_on_after(0.2):
                    sent = await client.send(b"GET / HTTP/1.1\r\nHost: trioice.test\r\n\r\n" * 50)
            stopped = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - stopped < 1.0
