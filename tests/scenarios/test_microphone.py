"""What an agent hears of a caller over a bad network, through the whole stack: real Opus, copies, retransmissions, and losses that stay."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from tests.audio.stand_in import StandIn
from tests.audio.voices import split, voice
from tests.harness.talker import Talker, numbered
from tests.harness.world import Dialled, World
from trioice.audio import Frame, Opus
from trioice.rtp import is_rtcp
from trioice.transceiver.call import Call

RATE = 24000
SECONDS = 60
_encoder = Opus(application="voip", fec=True).encoder(RATE)
WORDS = [_encoder.encode(frame) for frame in split(voice(RATE, 4.0), RATE)]
Patience = float | str


def says(number: int) -> bytes:
    return WORDS[number % len(WORDS)]


def clean(first: int, count: int) -> list[bytes]:
    """What is heard over a network without fault."""
    decoder = Opus().decoder(RATE)
    return [decoder.decode(says(number)) for number in range(first, first + count)]


def listening(heard: dict[Patience, list[Frame]]) -> Callable[[Call], Awaitable[None]]:
    """An agent with a microphone for each patience."""

    async def agent(call: Call) -> None:
        async def listen(patience: Patience) -> None:
            microphone = call.microphone(RATE, patience)  # type: ignore[arg-type]
            async for frame in microphone:
                heard[patience].append(frame)
            stats[patience] = microphone.stats()

        async with trio.open_nursery() as listeners:
            for patience in heard:
                listeners.start_soon(listen, patience)

    stats: dict[Patience, dict[str, float]] = {}
    agent.stats = stats  # type: ignore[attr-defined]
    return agent


async def dial(nursery: trio.Nursery, agent: Callable[[Call], Awaitable[None]], seed: int) -> tuple[World, Dialled]:
    """A call through the relay with a round trip of 100 ms, connected."""
    world = World(nursery, seed, delay=0.05)
    await world.relay()
    dialled = await world.dial(await world.transceiver(agent=agent), make=Talker, says=says)
    await dialled.until(lambda: dialled.caller.spoken > 20, within=5.0)
    return world, dialled


async def hang_up(dialled: Dialled) -> None:
    """Let what is on its way arrive, then end the call and what waits for its end."""
    dialled.world.network.loss = 0.0
    await trio.sleep(4)
    dialled.call.hang_up()
    await trio.sleep(1)


@pytest.mark.parametrize("seed", range(3))
async def test_with_a_tenth_lost_each_way_patience_buys_every_word(
    autojump_clock: MockClock, nursery: trio.Nursery, seed: int
) -> None:
    heard: dict[Patience, list[Frame]] = {patience: [] for patience in (0.06, 0.25, 1.0, "auto")}
    agent = listening(heard)
    world, dialled = await dial(nursery, agent, seed)
    world.network.loss = 0.1
    await trio.sleep(SECONDS)
    await hang_up(dialled)
    missed = {patience: sum(frame.concealed for frame in frames) / len(frames) for patience, frames in heard.items()}
    assert missed[1.0] == 0
    assert missed[0.25] < 0.003
    assert missed[0.06] < 0.015
    assert missed["auto"] < 0.003
    assert [frame.pcm for frame in heard[1.0]] == clean(1, len(heard[1.0]))
    for frames in heard.values():
        assert [frame.timestamp for frame in frames] == [960 * number for number in range(len(frames))]
        assert len(frames) == len(heard[1.0])
    stats = agent.stats  # type: ignore[attr-defined]
    assert all(stats[patience]["delay_p50"] <= 0.02 for patience in heard)
    assert stats[0.06]["delay_p99"] <= 0.065
    assert stats[0.25]["delay_p99"] <= 0.255
    assert stats[1.0]["delay_p99"] <= 0.4
    assert stats["auto"]["delay_p99"] <= 0.4


async def test_a_blackout_of_half_a_second_costs_no_word(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    heard: dict[Patience, list[Frame]] = {0.25: [], 2.0: []}
    world, dialled = await dial(nursery, listening(heard), seed=5)
    for _ in range(5):
        await trio.sleep(2)
        world.network.loss = 1.0
        await trio.sleep(0.5)
        world.network.loss = 0.0
    await hang_up(dialled)
    for frames in heard.values():  # while nothing comes, nothing is held back, so even the short patience is enough
        assert not any(frame.concealed for frame in frames)
        assert [frame.pcm for frame in frames] == clean(1, len(frames))


async def test_frames_tell_what_was_lost_and_what_a_coarse_copy_stands_in_for(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Without copies and retransmissions, at no patience: the marks are on those frames whose packets were dropped."""
    heard: dict[Patience, list[Frame]] = {0.0: []}
    world, dialled = await dial(nursery, listening(heard), seed=6)
    talker = dialled.caller
    assert isinstance(talker, Talker)
    talker.repeats = talker.copies = False
    await trio.sleep(1)
    dropped: list[int] = []
    goes = 0

    def carries(datagram: bytes, source: object, to: object) -> bool:
        nonlocal goes
        if source == dialled.port.address and datagram[0] >= 128 and not is_rtcp(datagram):
            goes += 1
            if goes % 40 in (3, 4, 20):
                dropped.append(talker.spoken)
                return False
        return True

    world.network.carries = carries
    await trio.sleep(10)
    world.network.carries = lambda datagram, source, to: True
    await hang_up(dialled)
    frames = heard[0.0]
    assert [number for number, frame in enumerate(frames, 1) if frame.concealed] == dropped
    # Of two in a row, only the second has its copy in what follows.
    recovered = [number for number, frame in enumerate(frames, 1) if frame.concealed and not frame.lost]
    assert 0 < len(recovered) <= len(dropped) * 2 / 3
    assert all(number + 1 not in dropped for number in recovered)
    expected = clean(1, len(frames))
    first = dropped[0] - 1
    assert [frame.pcm for frame in frames[:first]] == expected[:first]
    assert frames[first].pcm != expected[first]
    # A while after a loss, the decoder is where it would have been but for what is below hearing.
    assert {len(frame.pcm) for frame in frames} == {960}


async def test_a_caller_that_repeats_nothing_is_not_waited_for_in_the_end(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    heard: dict[Patience, list[Frame]] = {"auto": []}
    agent = listening(heard)
    world, dialled = await dial(nursery, agent, seed=7)
    talker = dialled.caller
    assert isinstance(talker, Talker)
    talker.repeats = False
    world.network.loss = 0.1
    await trio.sleep(SECONDS)
    await hang_up(dialled)
    assert agent.stats["auto"]["patience"] == 0.02  # type: ignore[attr-defined]
    assert 0.002 < sum(frame.concealed for frame in heard["auto"]) / len(heard["auto"]) < 0.04


async def test_a_recording_of_ten_minutes_is_as_long_as_the_callers_clock_says(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """The caller's clock is 100 ppm fast, the network loses, delays and doubles, and every sixth second is a pause."""
    samples = first = 0

    async def agent(call: Call) -> None:
        nonlocal samples, first
        call.codec = StandIn()
        async for frame in call.microphone(16000, 0.25):
            assert frame.timestamp == 3 * samples
            first = first or int.from_bytes(frame.pcm[:2], "little")
            samples += len(frame.pcm) // 2

    world = World(nursery, 8, loss=0.05, jitter=0.03, duplication=0.02)
    running = await world.transceiver(direct=True, agent=agent)
    dialled = await world.dial(
        running,
        make=Talker,
        fast=1e-4,
        says=lambda number: numbered(number) if number < 30_000 and (number < 100 or number // 50 % 6) else None,
    )
    await dialled.until(lambda: dialled.caller.spoken >= 1, within=5.0)
    talker = dialled.caller
    assert isinstance(talker, Talker)
    began = trio.current_time()
    await dialled.until(lambda: talker.spoken >= 30_000, within=610)
    assert talker.spoken * 0.02 - (trio.current_time() - began) == pytest.approx(600 * 1e-4, abs=0.025)
    await trio.sleep(1)
    dialled.call.hang_up()
    await trio.sleep(0.5)
    assert samples == 320 * (talker.said[-1] - first + 1)
