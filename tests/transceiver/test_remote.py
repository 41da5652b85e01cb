"""Agents over WebSockets, on streams in memory and in virtual time: a real transceiver, a caller that talks, an agent that misbehaves."""

import logging
from array import array

import pytest
import trio
from trio.testing import MockClock

from tests.transceiver.agent_stage import RATE, STEP, Stage, heard, is_whole, numbers, speech, stage
from trioice.transceiver.remote import PONG, RECONNECT

__all__ = ["stage"]


async def test_an_agent_is_told_who_calls_and_hears_every_word(autojump_clock: MockClock, stage: Stage) -> None:
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


async def test_what_an_agent_says_far_ahead_is_said_in_time_and_told_as_heard(
    autojump_clock: MockClock, stage: Stage
) -> None:
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


async def test_clear_acts_within_a_frame_with_minutes_written_ahead(autojump_clock: MockClock, stage: Stage) -> None:
    dialled, agent = await stage.begin()
    for first in range(5):
        await agent.socket.send_message(speech(1 + 1000 * first, 1000))
    await trio.sleep(2.003)
    now = trio.current_time()
    await agent.say("clear", fade_ms=0)
    cleared = await agent.event("cleared")
    assert trio.current_time() == now
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


async def test_a_pause_keeps_what_waits(autojump_clock: MockClock, stage: Stage) -> None:
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


async def test_an_agent_may_hang_up_or_close(autojump_clock: MockClock, stage: Stage) -> None:
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


async def test_what_is_lost_of_the_caller_is_told_before_it_comes(autojump_clock: MockClock, stage: Stage) -> None:
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


async def test_a_break_loses_and_doubles_nothing_of_either_side(autojump_clock: MockClock, stage: Stage) -> None:
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


async def test_an_agent_that_falls_silent_is_found_out_and_nothing_is_lost(
    autojump_clock: MockClock, stage: Stage
) -> None:
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


async def test_an_agent_that_does_not_come_back_costs_its_call(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
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


async def test_an_agent_that_was_never_there_costs_its_call(autojump_clock: MockClock, stage: Stage) -> None:
    stage.server.is_there = False
    dialled = await stage.dial()
    await dialled.call.ready()
    begun = trio.current_time()
    await dialled.call.ended.wait()
    assert trio.current_time() - begun <= RECONNECT
    assert stage.agent.failures == {"unreachable": 1}


async def test_a_caller_that_leaves_during_an_outage_ends_it(autojump_clock: MockClock, stage: Stage) -> None:
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
async def test_a_refusal_is_final_unless_it_may_pass(
    autojump_clock: MockClock, stage: Stage, status: int, attempts: int
) -> None:
    stage.server.status = status
    dialled = await stage.dial()
    await dialled.call.ended.wait()
    assert stage.agent.failures == {"unreachable": 1}
    assert (len(stage.server.attempts) == 1) == (attempts == 1)


async def test_a_connection_that_breaks_again_and_again_is_one_outage(autojump_clock: MockClock, stage: Stage) -> None:
    dialled, agent = await stage.begin()
    begun = trio.current_time()
    while not dialled.call.ended.is_set():
        agent.wire.cut()
        with trio.move_on_after(5):
            agent = await stage.server.conversation()
            await trio.sleep(0.5)
    assert trio.current_time() - begun < RECONNECT + 6
    assert stage.agent.failures == {"broken": 1}


async def test_an_agent_that_sleeps_misses_nothing(autojump_clock: MockClock, stage: Stage) -> None:
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


async def test_speech_is_told_with_its_place_in_the_audio(autojump_clock: MockClock, stage: Stage) -> None:
    dialled = await stage.dial(level=lambda number: 20 if 100 < number <= 200 else 127)
    agent = await stage.server.conversation()
    stopped = await agent.event("speech_stopped")
    (started,) = agent.memory.of("speech_started")
    assert abs(int(str(started["position"])) - 100 * STEP) <= STEP
    assert abs(int(str(stopped["position"])) - 200 * STEP) <= STEP
    assert not dialled.call.ended.is_set()


async def test_figures_are_told_when_asked_for_and_now_and_then(autojump_clock: MockClock, stage: Stage) -> None:
    _, agent = await stage.begin()
    await agent.say("stats")
    stats = (await agent.event("stats"))["stats"]
    assert isinstance(stats, dict)
    assert {"packets_received", "microphones", "speaker", "agent"} <= set(stats)
    await trio.sleep(11)
    assert len([event for event in agent.memory.events if event["type"] == "stats"]) == 3
