"""Calls from end to end on a simulated network, one behaviour a test, each with the bound that it must keep."""

import pytest
import trio
from trio.testing import MockClock

from tests.harness.world import RELAY, World
from trioice import srtp

NEXT_CHECK = 2.7
"""Seconds within which a browser checks again, and so the bound of all that waits for the next check."""


async def test_a_call_is_set_up_through_the_relay_and_hears_itself(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, delay=0.025)
    await world.relay()
    dialled = await world.dial(await world.transceiver())
    await dialled.hears(100, within=2.0 + 1.0)
    assert dialled.call.media.connected


@pytest.mark.parametrize("setup", ["actpass", "active", "passive"])
@pytest.mark.parametrize("profile", srtp.PROFILES.values(), ids=lambda profile: profile.name)
async def test_every_role_and_profile_carries_a_call(
    autojump_clock: MockClock, nursery: trio.Nursery, setup: str, profile: srtp.Profile
) -> None:
    world = World(nursery)
    await world.relay()
    dialled = await world.dial(await world.transceiver(), setup=setup, profiles=(profile,))
    await dialled.hears(50, within=3.0)


async def test_a_client_may_reach_the_transceiver_without_a_relay(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    dialled = await world.dial(await world.transceiver(direct=True))
    await dialled.hears(50, within=3.0)


@pytest.mark.parametrize("seed", range(20))
async def test_a_call_is_set_up_over_a_network_that_loses_four_in_ten(
    autojump_clock: MockClock, nursery: trio.Nursery, seed: int
) -> None:
    world = World(nursery, seed, loss=0.4, jitter=0.03, duplication=0.1)
    await world.relay()
    dialled = await world.dial(await world.transceiver())
    await dialled.connects(within=60.0)


async def test_after_a_nat_rebinding_the_call_is_back_at_the_next_check(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    await world.relay()
    dialled = await world.dial(await world.transceiver())
    await dialled.hears(100, within=4.0)
    dialled.move("192.0.2.1", 50001)
    await dialled.hears(50, within=NEXT_CHECK + 1.1)


async def test_after_a_relay_restart_the_call_is_back_at_the_next_check(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    relay = await world.relay()
    dialled = await world.dial(await world.transceiver())
    await dialled.hears(100, within=4.0)
    relay.kill()
    await world.relay()
    await dialled.hears(50, within=NEXT_CHECK + 1.1)
    assert dialled.transceiver.calls == {dialled.call.id: dialled.call}


async def test_a_client_that_the_kernel_gives_to_another_worker_loses_no_more_than_the_wait_for_its_next_check(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    first = await world.relay()
    dialled = await world.dial(await world.transceiver())
    await dialled.hears(100, within=4.0)
    for number, inner in enumerate([("10.0.0.2", 4000), ("10.0.0.3", 4000)]):
        second = await world.relay(inner=inner)  # takes the public address; what was there can still send from it
        await dialled.hears(200, within=NEXT_CHECK + 4.1)
        numbers = sorted({int(payload[:8]) for _, _, payload in dialled.caller.heard})
        lost = numbers[-1] - len(numbers)
        assert 0 < lost <= (number + 1) * NEXT_CHECK / 0.02
        assert second.relay.core.flows == 1
    assert first.relay.core.flows == 1
    assert dialled.transceiver.calls == {dialled.call.id: dialled.call}


async def test_each_call_lands_on_the_transceiver_that_answered_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    await world.relay()
    first, second = await world.transceiver(1), await world.transceiver(2)
    dialled = [await world.dial(first if number % 3 else second) for number in range(10)]
    for one in dialled:
        await one.hears(10, within=3.0)
    assert (len(first.transceiver.calls), len(second.transceiver.calls)) == (6, 4)


async def test_any_relay_with_the_key_serves_any_call(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    await world.relay()
    other = ("198.51.100.2", 3479)
    await world.relay(other, ("10.0.0.2", 4000))
    dialled = await world.dial(await world.transceiver())
    await dialled.hears(10, within=3.0)
    dialled.caller.answered(dialled.call.answer, trio.current_time(), to=other)
    await dialled.hears(50, within=NEXT_CHECK + 1.1)


async def test_an_ice_restart_loses_no_packet_on_the_old_path(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    await world.relay()
    dialled = await world.dial(await world.transceiver())
    await dialled.hears(50, within=4.0)
    dialled.restart()
    await dialled.hears(200, within=6.0)
    payloads = [payload for _, _, payload in dialled.caller.heard]
    assert payloads == sorted(payloads)
    numbers = [int(payload[:8]) for payload in payloads]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_a_peer_that_falls_silent_loses_its_call_after_thirty_seconds(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    await world.relay()
    dialled = await world.dial(await world.transceiver())
    await dialled.hears(10, within=3.0)
    silent_since = trio.current_time()
    world.network.loss = 1.0
    with trio.fail_after(35):
        await dialled.call.ended.wait()
    assert 25 < trio.current_time() - silent_since <= 31
    assert "RFC 7675" in dialled.call.why


async def test_a_transceiver_that_stops_tells_its_callers_goodbye(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    await world.relay()
    running = await world.transceiver()
    dialled = await world.dial(running)
    await dialled.hears(10, within=3.0)
    running.stop()
    with trio.fail_after(1):
        await dialled.call.ended.wait()
    await dialled.until(lambda: dialled.caller.over is not None, within=1.0)


async def test_a_caller_that_hangs_up_ends_its_call_at_once(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    await world.relay()
    running = await world.transceiver()
    dialled, other = await world.dial(running), await world.dial(running)
    await dialled.hears(10, within=3.0)
    await other.hears(10, within=3.0)
    dialled.caller.close(trio.current_time())
    with trio.fail_after(1):
        await dialled.call.ended.wait()
    await other.hears(50, within=2.0)
    assert list(running.transceiver.calls.values()) == [other.call]


async def test_a_hostile_flood_costs_a_good_call_nothing(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    await world.relay()
    running = await world.transceiver()
    dialled = await world.dial(running)
    await dialled.hears(10, within=3.0)
    flood = world.network.port("203.0.113.66", 6)
    good = bytes(100)
    before = dialled.caller.echoes
    for number in range(100):
        flood.send(
            [
                (bytes([first]) + good, to)
                for first in (0, 1, 22, 63, 86, 128, 200)
                for to in (RELAY, ("10.0.1.1", 7000))
            ]
        )
        flood.address = ("203.0.113.66", number)
        await trio.sleep(0.02)
    await trio.sleep(0.1)
    assert dialled.caller.echoes >= before + 100
    assert list(running.transceiver.calls) == [dialled.call.id]
    assert running.transceiver.endpoint.dropped


async def test_a_relay_forgets_clients_that_are_gone(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    relay = await world.relay()
    dialled = await world.dial(await world.transceiver())
    await dialled.hears(10, within=3.0)
    assert relay.relay.core.flows == 1
    dialled.caller.close(trio.current_time())
    await trio.sleep(120)
    assert relay.relay.core.flows == 0
