"""DTLS in STUN from end to end: through a relay that knows nothing of it, over a bad network, and with clients that do not speak it."""

import pytest
import trio
from trio.testing import MockClock

from tests.harness.piggyback import State
from tests.harness.world import RELAY, World
from trioice import stun
from trioice.ports import SocketAddress

DELAY = 0.05
RTT = 2 * DELAY
SPED = "trickle sped googspedv1"


class Wire:
    """How many messages carried DTLS across the client's side of the relay, each way."""

    def __init__(self, world: World) -> None:
        self.up = self.down = 0
        world.network.carries = self.carries

    def carries(self, datagram: bytes, source: SocketAddress, to: SocketAddress) -> bool:
        if RELAY in (source, to) and (message := stun.decode(datagram)) and message.get(stun.META_DTLS_IN_STUN):
            self.up += to == RELAY
            self.down += source == RELAY
        return True


@pytest.mark.parametrize("role", ["auto", "active"])
async def test_checks_and_answers_that_carry_dtls_pass_the_relay_like_any_other(
    autojump_clock: MockClock, nursery: trio.Nursery, role: str
) -> None:
    world = World(nursery, delay=DELAY)
    wire = Wire(world)
    relay = await world.relay()
    dialled = await world.dial(await world.transceiver(dtls_role=role), sped=True)
    # Two calm checks long: as DTLS client we learn only from a check that all of ours is there.
    await dialled.hears(200, within=5.0)
    assert dialled.caller.piggyback is not None
    assert dialled.caller.piggyback.state is State.COMPLETE
    assert wire.down >= 1
    assert wire.up >= (2 if role == "auto" else 0)
    assert not relay.relay.core.dropped
    assert f"a=ice-options:ice2 {SPED}\r\n" in dialled.call.answer
    assert f"a=setup:{'passive' if role == 'auto' else 'active'}\r\n" in dialled.call.answer


async def test_it_saves_a_round_trip_through_the_relay(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery, delay=DELAY)
    await world.relay()
    running = await world.transceiver()
    took = {}
    for sped in (False, True):
        start = trio.current_time()
        dialled = await world.dial(running, sped=sped, second=0.0)
        await dialled.connects(within=3.0)
        took[sped] = dialled.caller.connected_at - start
    assert took[False] == pytest.approx(2 * RTT, abs=0.01)
    assert took[True] == pytest.approx(RTT, abs=0.01)


@pytest.mark.parametrize("options", [SPED, "trickle"])
@pytest.mark.parametrize("seed", range(20))
async def test_a_call_is_set_up_over_a_network_that_loses_four_in_ten(
    autojump_clock: MockClock, nursery: trio.Nursery, seed: int, options: str
) -> None:
    world = World(nursery, seed, delay=0.02, loss=0.4, jitter=0.05, duplication=0.2)
    await world.relay()
    dialled = await world.dial(await world.transceiver(), sped=True, options=options)
    await dialled.connects(within=60.0)


async def test_a_client_that_says_so_in_its_checks_alone_is_understood(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, delay=DELAY)
    wire = Wire(world)
    await world.relay()
    dialled = await world.dial(await world.transceiver(), sped=True, options="trickle")
    await dialled.hears(10, within=2.0)
    assert "a=ice-options:ice2 trickle\r\n" in dialled.call.answer
    assert "a=setup:active\r\n" in dialled.call.answer
    assert wire.down >= 1


async def test_a_client_that_offers_it_and_does_not_speak_it_loses_no_time(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, delay=DELAY)
    await world.relay()
    wire = Wire(world)
    took: list[float] = []
    for options, role in (("trickle", "passive"), (SPED, "auto")):
        running = await world.transceiver(len(took) + 1, dtls_role=role)
        start = trio.current_time()
        dialled = await world.dial(running, options=options)
        await dialled.connects(within=3.0)
        assert "a=setup:passive\r\n" in dialled.call.answer
        took.append(dialled.caller.connected_at - start)
    assert took[1] == pytest.approx(took[0], abs=0.001)
    assert (wire.up, wire.down) == (0, 0)
