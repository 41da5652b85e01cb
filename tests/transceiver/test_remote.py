"""Agents over WebSockets, on streams in memory and in virtual time: a real transceiver, a caller that talks, an agent that misbehaves."""

import json
import logging
from array import array
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from tests.audio.stand_in import StandIn
from tests.harness.talker import Talker
from tests.harness.world import Dialled, RunningTransceiver, World
from tests.transceiver.agent_stand_in import Conversation, Memory, Server
from trioice.transceiver.agent_line import BLUNDERS
from trioice.transceiver.agent_voice import AHEAD
from trioice.transceiver.call import Call
from trioice.transceiver.remote import PONG, RECONNECT, RemoteAgent

RATE = 8000
STEP = 160
URL = "ws://agent.test:9000/voice?model=7"


class Stage:
    """A transceiver whose calls are led to a server."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.server = Server(nursery)
        self.agent = RemoteAgent(URL, rate=RATE, token="secret", connect=self.server.connect)
        self.world = World(nursery)
        self.running: RunningTransceiver | None = None
        self.returned = 0

    async def dial(self) -> Dialled:
        async def with_stand_in(call: Call) -> None:
            call.codec = StandIn()
            await self.agent(call)
            self.returned += 1

        if self.running is None:
            self.running = await self.world.transceiver(direct=True, agent=with_stand_in)
        return await self.world.dial(self.running, make=Talker)

    async def begin(self) -> tuple[Dialled, Conversation]:
        dialled = await self.dial()
        return dialled, await self.server.conversation()


@pytest.fixture
async def stage(autojump_clock: MockClock, nursery: trio.Nursery) -> AsyncIterator[Stage]:
    with trio.fail_after(400):
        yield Stage(nursery)


def numbers(pcm: bytes | bytearray) -> list[int]:
    """The number of each frame of the stand-in codec, which is each of its samples."""
    samples = array("h", bytes(pcm))
    assert len(samples) % STEP == 0
    frames = [samples[at : at + STEP] for at in range(0, len(samples), STEP)]
    assert all(len(set(frame)) == 1 for frame in frames)
    return [frame[0] for frame in frames]


def speech(first: int, count: int) -> bytes:
    return b"".join(number.to_bytes(2, "little", signed=True) * STEP for number in range(first, first + count))


def is_whole(dialled: Dialled, pcm: bytes | bytearray) -> bool:
    """Whether it is all that the caller said, but for what was on its way when the call ended."""
    said = numbers(pcm)
    return said == list(range(1, len(said) + 1)) and len(said) >= dialled.caller.spoken - 5


def heard(dialled: Dialled) -> list[int]:
    """The numbers of the packets that the caller heard, without silence."""
    return [int(payload) for _, _, payload in dialled.caller.heard if int(payload)]


async def test_an_agent_is_told_who_calls_and_hears_every_word(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    dialled.call.session = {"voice": "alto"}
    await trio.sleep(3)
    started = await agent.event("started")
    assert started["call"] == dialled.call.id
    assert (started["codec"], started["rate"], started["patience"]) == ("stand-in", RATE, 0.25)
    assert stage.server.path == "/voice?model=7"
    assert stage.server.headers[b"authorization"] == b"Bearer secret"
    said = numbers(agent.memory.audio)
    assert len(said) > 130
    assert said == list(range(1, len(said) + 1))
    dialled.call.hang_up()
    await agent.event("ended")
    await trio.sleep(1)
    assert agent.code == 1000
    assert is_whole(dialled, agent.memory.audio)
    assert stage.returned == 1


async def test_what_an_agent_says_far_ahead_is_said_in_time_and_told_as_heard(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    await agent.socket.send_message(speech(1, 200))
    await agent.say("mark", name="end")
    mark = await agent.event("mark")
    assert mark | {"event": 0} == {"type": "mark", "event": 0, "name": "end", "position": 200 * STEP, "reached": True}
    assert heard(dialled) == list(range(1, 201))
    assert dialled.caller.heard[199][0] - dialled.caller.heard[0][0] == pytest.approx(199 * 0.02, abs=0.005)
    await trio.sleep(1)
    told = [event for event in agent.memory.events if event["type"] == "heard"]
    assert 8 <= len(told) <= 10
    positions = [int(str(event["heard"])) for event in told]
    assert positions == sorted(positions)
    assert positions[-1] == 200 * STEP


async def test_clear_acts_within_a_frame_with_minutes_written_ahead(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    for first in range(5):
        await agent.socket.send_message(speech(1 + 1000 * first, 1000))
    await trio.sleep(2.003)
    now = trio.current_time()
    await agent.say("clear", fade_ms=0)
    cleared = await agent.event("cleared")
    assert trio.current_time() - now <= 0.02
    await trio.sleep(1)
    last = max(when for when, _, payload in dialled.caller.heard if int(payload))
    assert last - now <= 0.02 + 0.05  # the network's delay
    assert cleared["received"] == 5000 * STEP
    assert 1.8 * RATE < int(str(cleared["heard"])) <= int(str(cleared["sent"])) <= 2.02 * RATE
    await agent.socket.send_message(speech(7000, 50))
    await trio.sleep(2)
    assert heard(dialled)[-50:] == list(range(7000, 7050))
    after = [event for event in agent.memory.events if event["type"] == "heard"][-1]
    assert after["heard"] == after["received"] == 5050 * STEP


async def test_a_pause_keeps_what_waits(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    await agent.socket.send_message(speech(1, 100))
    await trio.sleep(0.5)
    await agent.say("pause")
    await trio.sleep(0.1)
    paused = len(heard(dialled))
    await trio.sleep(5)
    assert len(heard(dialled)) == paused
    await agent.say("resume")
    await trio.sleep(3)
    assert set(range(1, 101)) <= set(heard(dialled))


async def test_an_agent_may_hang_up_or_close(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    await agent.say("hang_up")
    await agent.event("ended")
    assert dialled.call.ended.is_set()
    dialled, agent = await stage.begin()
    with trio.move_on_after(1):  # trio-websocket waits for ever where a ping crosses its close
        await agent.socket.aclose()
    await dialled.call.ended.wait()
    assert stage.agent.failures == {}
    assert stage.agent.reconnects == 0


async def test_what_is_lost_of_the_caller_is_told_before_it_comes(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    await trio.sleep(1)
    dialled.world.network.loss = 1.0
    await trio.sleep(0.6)
    dialled.world.network.loss = 0.0
    dialled.caller.repeats = False  # type: ignore[attr-defined]
    await trio.sleep(2)
    gaps = [event for event in agent.memory.events if event["type"] == "gap"]
    assert gaps
    samples = array("h", bytes(agent.memory.audio))
    for gap in gaps:
        assert gap["kind"] == "lost"
        assert samples[int(str(gap["position"]))] == -30000  # what the stand-in makes up
    assert sum(int(str(gap["samples"])) for gap in gaps) == samples.count(-30000)


async def test_a_break_loses_and_doubles_nothing_of_either_side(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    sent = 0

    async def speak(count: int) -> None:
        nonlocal sent
        await agent.socket.send_message(speech(1 + sent, count))
        sent += count

    await speak(100)
    await trio.sleep(1.5)
    for breaks in range(3):
        agent.wire.swallow()  # what is sent now never comes, and nobody knows
        await speak(20)
        await trio.sleep(0.7)
        stage.server.is_there = False
        agent.wire.cut()
        await trio.sleep(4)
        stage.server.is_there = True
        agent = await stage.server.conversation()
        resumed = await agent.event("resumed", breaks)
        taken = int(str(resumed["received"])) // STEP
        assert taken == sent - 20
        await agent.socket.send_message(speech(1 + taken, sent - taken))
        await trio.sleep(6)
    await agent.say("hang_up")
    await agent.event("ended")
    assert is_whole(dialled, agent.memory.audio)
    assert heard(dialled) == list(range(1, sent + 1))
    assert stage.agent.reconnects == 3
    assert agent.memory.doubled < 3 * 2.5 * RATE
    assert not [event for event in agent.memory.events if event["type"] == "gap"]


async def test_an_agent_that_falls_silent_is_found_out_and_nothing_is_lost(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    await trio.sleep(3)
    agent.wire.swallow()
    cut = trio.current_time()
    again = await stage.server.conversation()
    assert trio.current_time() - cut < PONG + 2
    await trio.sleep(10)
    dialled.call.hang_up()
    await again.event("ended")
    assert is_whole(dialled, again.memory.audio)


async def test_an_agent_that_does_not_come_back_costs_its_call(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    dialled, agent = await stage.begin()
    await trio.sleep(7)
    stage.server.is_there = False
    agent.wire.cut()
    lost = trio.current_time()
    with caplog.at_level(logging.WARNING):
        await dialled.call.ended.wait()
    assert RECONNECT / 2 < trio.current_time() - lost <= RECONNECT
    assert stage.agent.failures == {"broken": 1}
    assert "nobody listens" in caplog.text
    pauses = [
        later - earlier for earlier, later in zip(stage.server.attempts[1:], stage.server.attempts[2:], strict=False)
    ]
    assert len(pauses) < 15
    assert max(pauses) <= 2.0


async def test_an_agent_that_was_never_there_costs_its_call(stage: Stage) -> None:
    stage.server.is_there = False
    dialled = await stage.dial()
    await dialled.call.ready()
    begun = trio.current_time()
    await dialled.call.ended.wait()
    assert trio.current_time() - begun <= RECONNECT
    assert stage.agent.failures == {"unreachable": 1}


async def test_a_caller_that_leaves_during_an_outage_ends_it(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    await trio.sleep(7)
    stage.server.is_there = False
    agent.wire.cut()
    await trio.sleep(1)
    dialled.call.hang_up()
    await trio.sleep(0.01)
    assert stage.returned == 1
    assert stage.agent.failures == {}


@pytest.mark.parametrize(("status", "attempts"), [(403, 1), (503, 4)])
async def test_a_refusal_is_final_unless_it_may_pass(stage: Stage, status: int, attempts: int) -> None:
    stage.server.status = status
    dialled = await stage.dial()
    await dialled.call.ended.wait()
    assert stage.agent.failures == {"unreachable": 1}
    assert (len(stage.server.attempts) == 1) == (attempts == 1)


async def test_a_connection_that_breaks_again_and_again_is_one_outage(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    begun = trio.current_time()
    while not dialled.call.ended.is_set():
        agent.wire.cut()
        with trio.move_on_after(5):
            agent = await stage.server.conversation()
            await trio.sleep(0.5)
    assert trio.current_time() - begun < RECONNECT + 6
    assert stage.agent.failures == {"broken": 1}


async def test_an_agent_that_sleeps_misses_nothing(stage: Stage) -> None:
    _, agent = await stage.begin()
    await trio.sleep(1)
    agent.wire.holds = trio.Event()
    await trio.sleep(PONG - 2)
    agent.wire.holds.set()
    await trio.sleep(3)
    said = numbers(agent.memory.audio)
    assert said == list(range(1, len(said) + 1))
    assert len(said) > 50 * PONG
    assert stage.agent.reconnects == 0


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
async def test_a_bad_message_is_answered_with_an_error_and_changes_nothing(stage: Stage, message: str | bytes) -> None:
    dialled, agent = await stage.begin()
    await agent.socket.send_message(speech(1, 10))
    await agent.socket.send_message(message)
    error = await agent.event("error")
    assert error["reason"]
    await trio.sleep(1)
    assert heard(dialled) == list(range(1, 11))
    assert not dialled.call.ended.is_set()


async def test_an_agent_that_talks_nonsense_harms_only_its_call(stage: Stage) -> None:
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


async def test_audio_too_far_ahead_is_dropped_and_told(stage: Stage) -> None:
    dialled, agent = await stage.begin()
    taken = int(AHEAD) // 10 + 1  # the last when a little of the first had been said
    for _ in range(taken + 1):
        await agent.socket.send_message(speech(1, 500))
    overrun = await agent.event("overrun")
    assert (overrun["position"], overrun["samples"]) == (taken * 500 * STEP, 500 * STEP)
    await agent.say("clear")
    cleared = await agent.event("cleared")
    assert cleared["received"] == (taken + 1) * 500 * STEP
    assert not dialled.call.ended.is_set()


async def test_figures_are_told_when_asked_for_and_now_and_then(stage: Stage) -> None:
    _, agent = await stage.begin()
    await agent.say("stats")
    stats = (await agent.event("stats"))["stats"]
    assert isinstance(stats, dict)
    assert {"packets_received", "microphones", "speaker", "agent"} <= set(stats)
    await trio.sleep(11)
    assert len([event for event in agent.memory.events if event["type"] == "stats"]) == 3


@pytest.mark.parametrize(
    "url", ["http://x/", "ws://", "x", "ws://a b/", "ws://u:p@x/", "ws://x/#part", "ws://x:99999/"]
)
def test_an_address_that_leads_to_no_agent_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        RemoteAgent(url)
