"""WebSocket signaling: the messages, and the end of call and connection."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
from trio.testing import memory_stream_pair
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    open_websocket_url,
    wrap_client_stream,
)

from tests.signaling.stand_in import OFFER, StandIn, StandInCall
from trioice.signaling.limits import Bearer, OfferRate
from trioice.signaling.websocket import BLUNDERS, Dialogue, Door, serve_websocket

OFFERED = {"type": "offer", "sdp": OFFER}


class Client:
    """A client that speaks JSON."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection

    @staticmethod
    def text(message: object) -> str:
        return json.dumps(message)

    async def say(self, message: object) -> None:
        await self.connection.send_message(message if isinstance(message, str | bytes) else self.text(message))

    async def hear(self) -> dict[str, object]:
        message = json.loads(await self.connection.get_message())
        assert isinstance(message, dict)
        return message

    async def ask(self, message: object) -> dict[str, object]:
        await self.say(message)
        return await self.hear()

    async def close_code(self) -> int:
        """Wait until we are closed, and tell the code."""
        try:
            while True:
                await self.connection.get_message()
        except ConnectionClosed as closed:
            return closed.reason.code if closed.reason else 0


def door(transceiver: StandIn, *, token: str | None = None, origin: str = "*") -> Door[StandInCall]:
    return Door(transceiver, Bearer(token), origin, OfferRate())


@asynccontextmanager
async def connected(
    door: Door[StandInCall], path: str = "/", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> AsyncIterator[Client]:
    """A client on a stream in memory; afterwards its side is closed, and ours has ended by itself."""
    ours, theirs = memory_stream_pair()
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.converse, ours, "192.0.2.9")
            socket = cast("trio.SocketStream", theirs)  # any stream will do, whatever the annotation says
            connection = await wrap_client_stream(nursery, socket, "trioice.test", path, extra_headers=[*headers])
            yield Client(connection)
            await connection.aclose()


@pytest.fixture
def transceiver() -> StandIn:
    return StandIn()


async def test_an_offer_is_answered_and_its_session_kept(transceiver: StandIn) -> None:
    async with connected(door(transceiver)) as client:
        answer = await client.ask({**OFFERED, "session": {"voice": "alto"}})
        (call,) = transceiver.made
        assert answer == {"type": "answer", "call": "rtc_1", "sdp": call.answer}
        assert call.session == {"voice": "alto"}


async def test_a_restart_is_answered_anew(transceiver: StandIn, autojump_clock: trio.abc.Clock) -> None:
    async with connected(door(transceiver)) as client:
        await client.ask(OFFERED)
        answer = await client.ask({"type": "restart", "sdp": OFFER})
        assert (answer["type"], answer["call"]) == ("answer", "rtc_1")
        assert "a=ice-ufrag:trio1\r\n" in str(answer["sdp"])


async def test_stats_are_told(transceiver: StandIn, autojump_clock: trio.abc.Clock) -> None:
    async with connected(door(transceiver)) as client:
        await client.ask(OFFERED)
        assert await client.ask({"type": "stats"}) == {
            "type": "stats",
            "call": "rtc_1",
            "stats": {"packets_received": 7},
        }


async def test_a_bye_hangs_up_and_is_confirmed(transceiver: StandIn, autojump_clock: trio.abc.Clock) -> None:
    async with connected(door(transceiver)) as client:
        await client.ask(OFFERED)
        assert await client.ask({"type": "bye"}) == {"type": "bye", "reason": "hung up"}
        assert await client.close_code() == 1000


async def test_the_end_of_the_call_is_told_with_its_reason(transceiver: StandIn) -> None:
    async with connected(door(transceiver)) as client:
        await client.ask(OFFERED)
        transceiver.made[0].end("the peer's checks ceased")
        assert await client.hear() == {"type": "bye", "reason": "the peer's checks ceased"}
        assert await client.close_code() == 1000


async def test_closing_the_connection_hangs_up(transceiver: StandIn) -> None:
    async with connected(door(transceiver)) as client:
        await client.ask(OFFERED)
    assert transceiver.made[0].why == "hung up"


async def test_a_connection_that_breaks_hangs_up(transceiver: StandIn) -> None:
    async with connected(door(transceiver)) as client:
        await client.ask(OFFERED)
        await client.connection._stream.aclose()
    assert transceiver.made[0].why == "hung up"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("{", "the message is not a JSON object"),
        ("[]", "the message is not a JSON object"),
        ("[" * 3_000, "the message is not a JSON object"),
        (b"{}", "the message is not a JSON object"),
        ({}, "the type is none of offer, restart, stats and bye"),
        ({"type": ["offer"]}, "the type is none of offer, restart, stats and bye"),
        ({"type": "offer"}, "sdp is not a string"),
        ({"type": "offer", "sdp": 1}, "sdp is not a string"),
        ({"type": "offer", "sdp": "v=1\n"}, "line 1: v= is not in its form"),
        ({"type": "offer", "sdp": OFFER.replace("a=rtcp-mux", "a=x")}, "line 8: no a=rtcp-mux in the audio section"),
        ({"type": "offer", "sdp": "\ud800"}, "line 1: not a letter, '=' and text"),
        ({"type": "offer", "sdp": OFFER, "session": "x"}, "the session is not a JSON object"),
        ({"type": "restart", "sdp": OFFER}, "there is no call yet"),
        ({"type": "stats"}, "there is no call yet"),
        ({"type": "bye"}, "there is no call yet"),
    ],
)
async def test_a_message_that_makes_no_sense_is_told_why_and_the_connection_stays(
    transceiver: StandIn, autojump_clock: trio.abc.Clock, message: object, reason: str
) -> None:
    async with connected(door(transceiver)) as client:
        assert await client.ask(message) == {"type": "error", "reason": reason}
        assert not transceiver.made
        assert (await client.ask(OFFERED))["type"] == "answer"


async def test_a_second_offer_is_an_error_and_the_first_call_goes_on(
    transceiver: StandIn, autojump_clock: trio.abc.Clock
) -> None:
    async with connected(door(transceiver)) as client:
        await client.ask(OFFERED)
        assert (await client.ask(OFFERED))["type"] == "error"
        assert len(transceiver.made) == 1
        assert not transceiver.made[0].ended.is_set()


async def test_a_full_transceiver_says_so() -> None:
    async with connected(door(StandIn(limit=0))) as client:
        assert await client.ask(OFFERED) == {"type": "error", "reason": "all calls are taken"}


def test_too_many_offers_are_told_to_wait() -> None:
    transceiver = StandIn()
    rate = OfferRate(1.0, burst=2)
    assert Dialogue(transceiver, rate, "192.0.2.9").reply(json.dumps(OFFERED), 0.0)
    second = Dialogue(transceiver, rate, "192.0.2.9")
    answer = second.reply(json.dumps(OFFERED), 0.0)
    assert answer is not None
    assert answer["type"] == "answer"
    refused = second.reply(json.dumps({"type": "restart", "sdp": OFFER}), 0.0)
    assert refused == {"type": "error", "reason": "too many offers from this address; wait 1.0 seconds"}
    assert second.blunders == 1
    assert transceiver.made[1].restarts == 0


@pytest.mark.parametrize(
    ("path", "header"),
    [("/?token=sesame", None), ("/any/path?x=1&token=sesame", None), ("/", b"Bearer sesame")],
)
async def test_a_token_may_stand_in_a_header_or_in_the_address(
    transceiver: StandIn, path: str, header: bytes | None
) -> None:
    headers = () if header is None else ((b"Authorization", header),)
    async with connected(door(transceiver, token="sesame"), path, headers) as client:
        assert (await client.ask(OFFERED))["type"] == "answer"


async def rejected(door: Door[StandInCall], path: str, *headers: tuple[bytes, bytes]) -> int:
    with pytest.RaisesGroup(ConnectionRejected, flatten_subgroups=True) as caught:
        async with connected(door, path, headers):
            pytest.fail("it was let in")
    (error,) = caught.value.exceptions
    assert isinstance(error, ConnectionRejected)
    return int(error.status_code)


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=Sesame", "/?token=sesame2&token=sesame", "/?%ff", "//[?token="]
)
async def test_without_the_right_token_a_client_is_turned_away(transceiver: StandIn, path: str) -> None:
    assert await rejected(door(transceiver, token="sesame"), path) == 401
    assert await rejected(door(transceiver, token="sesame"), path, (b"Authorization", b"Bearer \xff")) == 401


async def test_a_page_of_another_origin_is_turned_away(transceiver: StandIn) -> None:
    ours = door(transceiver, origin="https://app.example")
    assert await rejected(ours, "/", (b"Origin", b"https://evil.example")) == 403
    for headers in ((), ((b"Origin", b"https://app.example"),)):
        async with connected(ours, "/", headers) as client:
            assert (await client.ask(OFFERED))["type"] == "answer"


async def test_a_client_is_served_over_a_socket_and_nothing_it_sends_is_logged(
    transceiver: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "trioice"), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_websocket, transceiver, "127.0.0.1", 0)
            assert url.startswith("ws://127.0.0.1:")
            async with open_websocket_url(url + "/?token=unasked") as connection:
                answer = await Client(connection).ask(OFFERED)
                assert answer["call"] == "rtc_1"
            await transceiver.made[0].ended.wait()
            nursery.cancel_scope.cancel()
    assert not [record for record in caplog.records if record.name.startswith("trioice")]


async def test_blunders_are_forgiven_up_to_a_number(transceiver: StandIn, autojump_clock: trio.abc.Clock) -> None:
    async with connected(door(transceiver)) as client:
        for _ in range(BLUNDERS):
            assert (await client.ask("nonsense"))["type"] == "error"
        assert await client.close_code() == 1008
