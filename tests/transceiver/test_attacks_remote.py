"""Remote agents that talk nonsense, or no WebSocket at all: they harm only their calls."""

import base64
import contextlib
import hashlib
import json

import pytest
import trio
from trio.testing import MockClock

from tests.transceiver.agent_stage import STEP, URL, Stage, heard, is_whole, speech, stage
from tests.transceiver.agent_stand_in import Memory
from trioice.transceiver import agent_connection
from trioice.transceiver.agent_line import BLUNDERS
from trioice.transceiver.agent_voice import AHEAD
from trioice.transceiver.remote import RemoteAgent

__all__ = ["stage"]


@pytest.mark.parametrize(
    "message",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "[" * 10000,
        '{"type": "no such"}',
        '{"type": ["clear"]}',
        '{"type": "clear", "fade_ms": -1}',
        '{"type": "clear", "fade_ms": true}',
        '{"type": "clear", "fade_ms": NaN}',
        '{"type": "clear", "fade_ms": 1e999}',
        '{"type": "mark", "name": 7}',
        json.dumps({"type": "mark", "name": "x" * 257}),
        json.dumps({"type": "clear", "more": "x" * 20000}),
        b"odd",
    ],
)
async def test_a_bad_message_is_answered_with_an_error_and_changes_nothing(
    autojump_clock: MockClock, stage: Stage, message: str | bytes
) -> None:
    dialled, agent = await stage.begin()
    await agent.socket.send_message(speech(1, 10))
    await agent.socket.send_message(message)
    error = await agent.event("error")
    assert error["reason"]
    await trio.sleep(1)
    assert heard(dialled) == list(range(1, 11))
    assert not dialled.call.ended.is_set()


async def test_an_agent_that_talks_nonsense_harms_only_its_call(autojump_clock: MockClock, stage: Stage) -> None:
    dialled, agent = await stage.begin()
    stage.server.memory = Memory()
    bad, nonsense = await stage.begin()
    for _ in range(BLUNDERS + 10):
        await nonsense.socket.send_message("nonsense")
    await bad.call.ended.wait()
    await trio.sleep(5)
    assert stage.agent.failures == {"abusive": 1}
    assert len([event for event in nonsense.memory.messages if event["type"] == "error"]) == BLUNDERS + 1
    assert nonsense.code == 1008
    dialled.call.hang_up()
    await agent.event("ended")
    assert is_whole(dialled, agent.memory.audio)


async def greet(stream: trio.abc.Stream) -> None:
    """Take a WebSocket's handshake by hand."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += await stream.receive_some()
    (key,) = [line[19:] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: ")]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    await stream.send_all(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")


HOSTILE = {
    "no HTTP": (False, b"SSH-2.0-garbage\r\n\r\n"),
    "a head without end": (False, b"HTTP/1.1 101 X\r\nA: " + b"x" * 200000),
    "nothing at all": (False, b""),
    "random octets": (True, bytes(range(256)) * 40),
    "a masked frame": (True, b"\x82\x81abcdx"),
    "a text that is no UTF-8": (True, b"\x81\x02\xff\xff"),
    "a message of 2 to the 63 octets": (True, b"\x82\x7f\x7f" + b"\xff" * 7 + bytes(65536)),
    "fragments without end": (True, b"\x02\x01x" + b"\x00\x01x" * 20000),
    "an unasked pong": (True, b"\x8a\x04pong"),
    "a close without a meaning": (True, b"\x88\x02\x00\x01"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_an_agent_that_speaks_no_websocket_harms_only_its_call(
    autojump_clock: MockClock,
    stage: Stage,
    name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_connection, "WITHOUT_MESSAGE", 50000)
    dialled, agent = await stage.begin()
    greets, octets = HOSTILE[name]

    async def speak(stream: trio.abc.Stream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if greets:
                await greet(stream)
            await stream.send_all(octets)
            await trio.sleep(1)
        await trio.aclose_forcefully(stream)

    stage.server.raw = speak
    bad = await stage.dial()
    await bad.call.ended.wait()
    assert stage.agent.failures.total() == 1
    assert not [record for record in caplog.records if record.exc_info]
    await trio.sleep(1)
    dialled.call.hang_up()
    await agent.event("ended")
    assert is_whole(dialled, agent.memory.audio)


async def test_audio_too_far_ahead_is_dropped_and_told(autojump_clock: MockClock, stage: Stage) -> None:
    dialled, agent = await stage.begin()
    taken = int(AHEAD) // 10
    for _ in range(taken + 1):
        await agent.socket.send_message(speech(1, 500))
    overrun = await agent.event("overrun")
    assert (overrun["position"], overrun["samples"]) == (taken * 500 * STEP, 500 * STEP)
    await agent.say("clear")
    cleared = await agent.event("cleared")
    assert cleared["received"] == (taken + 1) * 500 * STEP
    assert not dialled.call.ended.is_set()


@pytest.mark.parametrize(
    "url", ["http://x/", "ws://", "x", "ws://a b/", "ws://u:p@x/", "ws://x/#part", "ws://x:99999/"]
)
def test_an_address_that_leads_to_no_agent_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        RemoteAgent(url)


def test_a_token_that_breaks_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="token"):
        RemoteAgent(URL, token="a\r\nb: c")
