"""What is said over a network that loses comes after all, either way; and what both ends know of the path."""

import pytest
import trio
from trio.testing import MockClock

from tests.audio.stand_in import StandIn
from tests.harness.talker import OPUS, RED, Talker
from tests.harness.world import Dialled, World
from trioice import rtp
from trioice.rtp.history import REPEATS
from trioice.sansio import NEVER
from trioice.transceiver.call import Call

PACKETS = 1000


def talker(dialled: Dialled) -> Talker:
    assert isinstance(dialled.caller, Talker)
    return dialled.caller


async def count(call: Call) -> None:
    """Say numbers, one each 20 ms."""
    await call.ready()
    stream = call.stream()
    for number in range(PACKETS):
        stream.write(b"%08d" % number)
        await trio.sleep(0.02)
    await trio.sleep_forever()


@pytest.mark.parametrize("seed", range(3))
async def test_a_browser_that_asks_for_what_it_misses_hears_all_that_is_said(
    autojump_clock: MockClock, nursery: trio.Nursery, seed: int
) -> None:
    world = World(nursery, seed, delay=0.05)
    await world.relay()
    dialled = await world.dial(await world.transceiver(agent=count), make=Talker, asks=True)
    caller = talker(dialled)
    await dialled.until(lambda: len(caller.heard) > 10, within=5.0)
    world.network.loss = 0.1
    await trio.sleep(17.0)
    world.network.loss = 0.0
    await trio.sleep(5.0)
    numbers = [int(payload) for _, _, payload in caller.heard]
    assert sorted(numbers) == list(range(min(numbers), PACKETS))
    assert not caller.lacks
    stats = dialled.call.media.rtp.stats(trio.current_time())
    # One in ten is lost, and then one in ten of what went again. Those that came again twice were dropped as replayed.
    assert 50 < stats.retransmitted < 200
    assert stats.retransmitted < stats.nacks


async def test_a_peer_that_asks_for_everything_all_the_time_gets_a_bounded_number_of_answers(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    dialled = await world.dial(await world.transceiver(direct=True, agent=count), make=Talker)
    caller = talker(dialled)
    await dialled.until(lambda: len(caller.heard) > 100, within=5.0)
    stats = dialled.call.media.rtp.stats(trio.current_time())
    sent, ours = stats.packets_sent, dialled.call.media.config.ssrc
    first = caller.heard[0][1]
    nack = rtp.encode([rtp.GenericNack(caller.ssrc, ours, tuple(range(first, first + PACKETS)))])
    for _ in range(2000):
        caller._reports.append((nack, None))
        caller._report()
        await trio.sleep(0.002)
    stats = dialled.call.media.rtp.stats(trio.current_time())
    assert 2000 < stats.retransmitted <= REPEATS * (stats.packets_sent - sent + 100)
    assert dialled.call.media.rtp.asked == []


@pytest.mark.parametrize("talks", [True, False])
async def test_both_ends_know_the_round_trip_whoever_speaks(
    autojump_clock: MockClock, nursery: trio.Nursery, talks: bool
) -> None:
    async def agent(call: Call) -> None:
        call.codec = StandIn()
        async for _ in call.microphone():
            pass

    world = World(nursery, delay=0.04)
    dialled = await world.dial(await world.transceiver(direct=True, agent=agent), make=Talker, talks=talks)
    caller = talker(dialled)
    await trio.sleep(8.0)
    assert dialled.call.media.rtp.round_trip.least == pytest.approx(0.08, abs=0.001)
    assert caller.rtp.round_trip.least == pytest.approx(0.08, abs=0.001)
    assert not caller.heard


async def test_who_takes_packets_gets_one_payload_in_each(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    dialled = await world.dial(await world.transceiver(direct=True), make=Talker)
    await dialled.hears(50, within=3.0)
    assert not talker(dialled).copies
    assert dialled.call.red_payload_type is None
    assert {len(payload) for _, _, payload in dialled.caller.heard} == {8}
    assert (dialled.call.payload_type, RED) == (OPUS, 63)


async def test_a_goodbye_in_the_middle_of_a_gap_ends_no_call(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def agent(call: Call) -> None:
        call.codec = StandIn()
        async for _ in call.microphone():
            pass

    world = World(nursery, delay=0.05)
    dialled = await world.dial(await world.transceiver(direct=True, agent=agent), make=Talker)
    caller = talker(dialled)
    await dialled.until(lambda: caller.spoken > 20, within=5.0)
    caller.repeats = False
    world.network.loss = 1.0
    await trio.sleep(0.1)
    world.network.loss = 0.0
    await trio.sleep(0.05)
    caller._speak_at = NEVER
    caller._reports.append((rtp.encode([rtp.Goodbye((caller.ssrc,))]), None))
    caller._report()
    await trio.sleep(3.0)
    assert not dialled.call.ended.is_set()
    assert dialled.call.media.rtp.stats(trio.current_time()).packets_missed > 3
