"""Microphones and speech at a call: opened at any time, several at once, closed, forgotten, and what they cost."""

import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.audio.stand_in import StandIn
from tests.harness.clockwork import calls
from tests.harness.talker import LEVEL, OPUS, Talker, numbered
from tests.harness.world import Dialled, World
from trioice.audio import Activity, Decoder, Frame, Listener, SpeechStarted, SpeechStopped
from trioice.errors import LocalProtocolError
from trioice.rtp import build, is_rtcp
from trioice.transceiver.call import Call
from trioice.transceiver.microphone import UNINTERRUPTED, Microphone, Speech

Agent = Callable[[Call], Awaitable[None]]


def number(frame: Frame) -> int:
    return int.from_bytes(frame.pcm[:2], "little", signed=True)


async def dial(nursery: trio.Nursery, agent: Agent, seed: int = 1, **options: Any) -> Dialled:
    """A call to an agent, with the stand-in codec."""

    async def with_stand_in(call: Call) -> None:
        call.codec = StandIn()
        await agent(call)

    world = World(nursery, seed)
    running = await world.transceiver(direct=True, agent=with_stand_in)
    return await world.dial(running, make=Talker, **options)


async def test_a_microphone_hears_every_word_in_order_until_the_call_ends(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    heard: list[int] = []
    done = trio.Event()

    async def agent(call: Call) -> None:
        async for frame in call.microphone():
            assert (frame.rate, len(frame.pcm), frame.lost, frame.concealed) == (24000, 960, False, False)
            heard.append(number(frame))
        done.set()

    dialled = await dial(nursery, agent)
    await trio.sleep(3)
    dialled.call.hang_up()
    await done.wait()
    assert len(heard) > 100
    assert heard == list(range(1, len(heard) + 1))


async def test_microphones_of_different_patience_hear_the_same_call(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    heard: dict[float, list[Frame]] = {}

    async def agent(call: Call) -> None:
        async def listen(patience: float) -> None:
            with call.microphone(8000, patience) as microphone:
                heard[patience] = [frame async for frame in microphone]

        async with trio.open_nursery() as listeners:
            for patience in (0.0, 1.0):
                listeners.start_soon(listen, patience)

    dialled = await dial(nursery, agent)
    await trio.sleep(1)
    assert dialled.call.media.rtp.repair_window == 1.0
    dialled.world.network.loss = 0.2
    await trio.sleep(10)
    dialled.world.network.loss = 0.0
    await trio.sleep(1)
    dialled.call.hang_up()
    await trio.sleep(1)
    assert not any(frame.lost for frame in heard[1.0])
    assert [number(frame) for frame in heard[1.0]] == list(range(1, len(heard[1.0]) + 1))
    assert 10 < sum(frame.lost for frame in heard[0.0]) < 60  # the copies repair the rest
    assert len(heard[0.0]) == len(heard[1.0])


async def test_the_first_microphone_hears_what_was_said_before_it_was_opened(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    heard: list[list[int]] = [[], []]

    async def agent(call: Call) -> None:
        await trio.sleep(3)
        async with trio.open_nursery() as listeners:
            for numbers in heard:
                listeners.start_soon(listen, call.microphone(), numbers)

    async def listen(microphone: Microphone, numbers: list[int]) -> None:
        numbers += [number(frame) async for frame in microphone]

    dialled = await dial(nursery, agent)
    await trio.sleep(4)
    dialled.call.hang_up()
    await trio.sleep(1)
    assert heard[0][0] == 1
    assert heard[1][0] > 100
    assert heard[0][-1] == heard[1][-1]
    assert dialled.call.unread == 0


async def test_packets_are_read_beside_a_microphone_by_whom_asks_for_them(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    packets = frames = 0

    async def agent(call: Call) -> None:
        nonlocal packets, frames
        await call.next_packet()
        microphone = call.microphone()
        await trio.sleep(1)
        for _ in range(40):
            await call.next_packet()
            packets += 1
        for _ in range(40):
            await anext(microphone)
            frames += 1
        await trio.sleep_forever()

    dialled = await dial(nursery, agent)
    await trio.sleep(4)
    assert (packets, frames, dialled.call.unread) == (40, 40, 0)


async def test_a_microphone_that_is_closed_hears_no_more_and_costs_no_more(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def agent(call: Call) -> None:
        with call.microphone(patience="auto") as microphone:
            async for _ in microphone:
                break
            await trio.sleep(1)
        left = [frame async for frame in microphone]
        assert 45 <= len(left) <= 51
        with call.microphone(patience=0.5) as microphone:
            microphone.close()
            assert [frame async for frame in microphone] == []
        assert call._ears is not None
        assert call._ears.microphones == ()
        ends.append(call.media.rtp.repair_window)
        await trio.sleep_forever()

    ends: list[float] = []
    await dial(nursery, agent)
    await trio.sleep(4)
    assert ends == [0.0]


async def test_a_microphone_that_nobody_reads_loses_the_oldest(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def agent(call: Call) -> None:
        microphones.append(call.microphone())
        await trio.sleep_forever()

    microphones: list[Microphone] = []
    dialled = await dial(nursery, agent)
    await trio.sleep(20)
    unread = microphones[0].stats()["unread"]
    assert unread > 400
    first = await anext(microphones[0])
    assert number(first) == unread + 1
    assert dialled.call.stats()["microphones"] == [microphones[0].stats()]


async def test_a_gap_that_nothing_fills_is_given_up_at_its_deadline_though_nothing_more_comes(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    heard: list[tuple[int, float]] = []

    async def agent(call: Call) -> None:
        async for frame in call.microphone(patience=0.3):
            word = -1 if frame.lost else number(frame)
            heard.append((word, trio.current_time()))

    dialled = await dial(nursery, agent)
    talker = dialled.caller
    assert isinstance(talker, Talker)
    await trio.sleep(1)
    talker.repeats = talker.copies = False
    passed: list[float] = []

    def carries(datagram: bytes, source: object, to: object) -> bool:
        """Lose a packet, let three pass, and lose all that follows."""
        if not is_rtcp(datagram):
            passed.append(trio.current_time() + 0.01)
        return 1 < len(passed) <= 4

    dialled.world.network.carries = carries
    await trio.sleep(1)
    assert [word for word, _ in heard[-4:]] == [-1, *range(heard[-1][0] - 2, heard[-1][0] + 1)]
    assert [time for _, time in heard[-4:]] == pytest.approx([passed[1] + 0.3] * 4)


async def test_what_there_is_not_is_refused(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def agent(call: Call) -> None:
        for rate, patience in ((44100, 0.25), (24000, 3.1), (24000, -1)):
            with pytest.raises(LocalProtocolError):
                call.microphone(rate, patience)
        with pytest.raises(LocalProtocolError):
            call.speech(off=0)
        refused.set()

    refused = trio.Event()
    world = World(nursery)
    dialled = await world.dial(await world.transceiver(direct=True, agent=agent))
    with trio.fail_after(1):
        await refused.wait()
    await dialled.call.ended.wait()


async def test_after_the_end_there_is_nothing_to_hear(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def agent(call: Call) -> None:
        await call.ended.wait()
        with trio.fail_after(0.1):
            assert [frame async for frame in call.microphone()] == []
            assert [change async for change in call.speech()] == []
        ended.set()

    ended = trio.Event()
    dialled = await dial(nursery, agent, talks=False)
    dialled.call.hang_up()
    with trio.fail_after(1):
        await ended.wait()


async def test_what_listened_goes_with_its_call(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def agent(call: Call) -> None:
        microphone = call.microphone()
        gone.append(weakref.ref(microphone._listener._decoder))
        await anext(microphone)
        await call.ended.wait()

    gone: list[weakref.ref[Decoder]] = []
    dialled = await dial(nursery, agent)
    await trio.sleep(1)
    gc.collect()
    gc.disable()
    try:
        dialled.call.hang_up()
        await trio.sleep(1)
        dialled.call._ears = None
        assert [decoder() for decoder in gone] == [None]
    finally:
        gc.enable()


async def test_speech_is_told_without_a_microphone(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def agent(call: Call) -> None:
        async for change in call.speech():
            told.append((type(change), change.at))
            times.append(trio.current_time())

    told: list[tuple[type, float]] = []
    times: list[float] = []
    dialled = await dial(nursery, agent, level=lambda spoken: 30 if 100 < spoken <= 150 else 80)
    await trio.sleep(5)
    began = dialled.caller.connected_at + 100 * 0.02 + 0.01
    assert [kind for kind, _ in told] == [SpeechStarted, SpeechStopped]
    assert [at for _, at in told] == pytest.approx([began, began + 0.98])
    assert times == pytest.approx([began + 0.04, began + 0.98 + 0.5])


class Misnumbered(Talker):
    """Its first offer names other numbers than those it uses, the next the right ones: as if it had changed them all."""

    def offer(self) -> str:
        offer = super().offer()
        if self.ufrag == "cllr1":
            for right, wrong in (
                ("SAVPF 111 63", "SAVPF 120 50"),
                ("rtpmap:111", "rtpmap:120"),
                ("rtpmap:63", "rtpmap:50"),
                ("fmtp:63 111/111", "fmtp:50 120/120"),
                ("extmap:1 ", "extmap:9 "),
            ):
                offer = offer.replace(right, wrong)
        return offer


async def test_a_restart_may_number_anew_what_is_heard(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def agent(call: Call) -> None:
        microphones.append(call.microphone())
        speeches.append(call.speech())
        await trio.sleep_forever()

    microphones: list[Microphone] = []
    speeches: list[Speech] = []
    world = World(nursery)
    running = await world.transceiver(direct=True, agent=agent)
    dialled = await world.dial(running, make=Misnumbered, level=lambda spoken: 30, says=lambda spoken: b"\xf8\xff\xfe")
    call, talker = dialled.call, dialled.caller
    assert isinstance(talker, Talker)
    talker.copies = True
    await trio.sleep(2)
    assert (call.payload_type, call.red_payload_type, call.level_extension) == (120, 50, 9)
    assert not microphones[0]._machine.is_ready
    assert not speeches[0].speaking
    dialled.restart()
    talker.copies = True
    await trio.sleep(1)
    assert (call.payload_type, call.red_payload_type, call.level_extension) == (111, 63, 1)
    assert len((await anext(microphones[0])).pcm) == 960
    assert speeches[0].speaking


async def test_whether_the_caller_speaks_can_be_asked_at_any_time(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def agent(call: Call) -> None:
        speech = call.speech()
        while True:
            await trio.sleep(0.1)
            seen.append(speech.speaking)

    seen: list[bool] = []
    await dial(nursery, agent, level=lambda spoken: 30, says=lambda spoken: numbered(spoken) if spoken < 50 else None)
    await trio.sleep(3)
    assert seen[3:9] == [True] * 6
    assert not any(seen[18:])


async def test_speech_that_breaks_off_is_over_by_its_deadline(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def agent(call: Call) -> None:
        async for change in call.speech(off=0.7):
            told.append(type(change))
            times.append(trio.current_time())

    told: list[type] = []
    times: list[float] = []
    await dial(nursery, agent, level=lambda spoken: 30, says=lambda spoken: numbered(spoken) if spoken < 50 else None)
    await trio.sleep(5)
    assert told == [SpeechStarted, SpeechStopped]
    assert times[1] - times[0] == pytest.approx(46 * 0.02 + 0.7)


async def test_an_agent_that_reads_much_at_once_lets_others_run(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ticks = 0
    turns: list[int] = []

    async def agent(call: Call) -> None:
        microphone = call.microphone()
        await trio.sleep(9)
        others.start_soon(count)
        for _ in range(4 * UNINTERRUPTED):
            await anext(microphone)
        turns.append(ticks)
        await trio.sleep_forever()

    async def count() -> None:
        nonlocal ticks
        while not turns:
            await trio.lowlevel.checkpoint()
            ticks += 1

    async with trio.open_nursery() as others:
        await dial(nursery, agent)
        await trio.sleep(9.5)
    assert turns[0] >= 2  # of four, the first may begin after two


async def test_a_burst_wakes_a_listener_once_and_a_packet_that_waits_wakes_none(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    machine = Listener(StandIn(), OPUS, rate=8000)
    microphone = Microphone(machine, 0.25, lambda ear: None)
    heard: list[tuple[int, float]] = []

    async def listen() -> None:
        async for frame in microphone:
            heard.append((number(frame), trio.current_time()))  # noqa: PERF401 - the times are those of the loop

    nursery.start_soon(listen)
    await trio.testing.wait_all_tasks_blocked()
    wakes = 0

    async def deliver(*numbers: int) -> None:
        nonlocal wakes
        before = microphone._awake
        microphone.deliver(packets(*numbers), trio.current_time())
        await trio.testing.wait_all_tasks_blocked()
        wakes += microphone._awake is not before

    await deliver(0, 1, 2, 3)
    assert (wakes, len(heard)) == (1, 4)
    await deliver(5)  # it wakes to set its deadline
    assert (wakes, len(heard)) == (2, 4)
    await trio.sleep(0.1)
    await deliver(6, 8)
    assert (wakes, len(heard)) == (2, 4)
    await trio.sleep(0.1)
    await deliver(4)
    assert (wakes, [word for word, _ in heard]) == (3, [0, 1, 2, 3, 4, 5, 6])
    await trio.sleep(1)
    assert heard[7:] == [(-30000, pytest.approx(0.35)), (8, pytest.approx(0.35))]  # type: ignore[comparison-overlap]
    microphone.close()


async def test_what_waits_when_the_call_ends_is_heard(autojump_clock: MockClock) -> None:
    microphone = Microphone(Listener(StandIn(), OPUS, rate=8000, patience=3.0), 3.0, lambda ear: None)
    microphone.deliver(packets(1, 3), 0.0)
    microphone.end(0.1)
    assert [number(frame) async for frame in microphone] == [1, -30000, 3]


def packets(*numbers: int) -> list[bytes]:
    levels = [(LEVEL, b"\x50")]
    return [build(OPUS, False, number, number * 960, 7, numbered(number), levels) for number in numbers]


def test_what_a_packet_in_order_costs() -> None:
    """Exact counts of Python and C calls, per packet, from the transceiver's hand-over to a frame in the agent's hands."""
    microphone = Microphone(Listener(StandIn(), OPUS, rate=24000), 0.25, lambda ear: None)
    microphone.deliver(packets(*range(10)), 0.0)
    one, eleven = packets(10), packets(*range(11, 22))
    base = calls(lambda: microphone.deliver(one, 0.0))
    each = (calls(lambda: microphone.deliver(eleven, 0.0)) - base) / 10
    assert (each, base - each) == (12, 2)  # three of each packet's are the stand-in's
    assert calls(microphone._listener.read) == 5


def test_what_a_packets_level_costs() -> None:
    activity = Activity(LEVEL)
    activity.receive(packets(*range(10)), 0.0)
    burst = packets(*range(10, 20))
    assert calls(lambda: activity.receive(burst, 0.2)) / 10 <= 15.1


async def test_what_fails_in_a_listener_ends_its_call_alone(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: dict[str, int] = {}

    async def agent(call: Call) -> None:
        call.codec = StandIn()
        async for _ in call.microphone():
            heard[call.id] = heard.get(call.id, 0) + 1

    world = World(nursery)
    running = await world.transceiver(direct=True, agent=agent)
    broken, sound = [await world.dial(running, make=Talker) for _ in range(2)]
    await trio.sleep(1)

    def fail(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    (microphone,) = broken.call._ears.microphones  # type: ignore[union-attr]  # its agent has opened one
    monkeypatch.setattr(microphone, "_machine", type("Broken", (), {"receive": fail, "close": fail})())
    before = heard[sound.call.id]
    await trio.sleep(1)
    assert broken.call.ended.is_set()
    assert not sound.call.ended.is_set()
    assert heard[sound.call.id] > before + 40
    assert "a mistake of ours" in caplog.text
