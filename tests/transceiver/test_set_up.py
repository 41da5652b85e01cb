"""What an operator and an agent learn of a call's set-up: one line of the log, the metrics, and when packets can be sent."""

import logging
import re

import pytest
import trio
from trio.testing import MockClock

from tests.harness.world import World
from trioice.metrics import exposition
from trioice.session import Drop
from trioice.transceiver.call import Call

DELAY = 0.05


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of set-ups at INFO and above."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.INFO and "set-up" in record.message
    ]


def figure(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found is not None, f"no {name} in {text}"
    return float(found[1])


async def listen(call: Call) -> None:
    async for _ in call.packets():
        pass


# The log


async def test_a_call_has_one_line_as_soon_as_packets_went_both_ways(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trioice")
    world = World(nursery, delay=DELAY)
    dialled = await world.dial(await world.transceiver(direct=True))
    await dialled.hears(5, within=3.0)
    # A check, one round trip of DTLS 1.3 until we may send, and another until the caller, who may as well, is heard.
    (line,) = lines(caplog)
    assert line == (
        f"call {dialled.call.name} set-up: dtls=1.3 group=X25519MLKEM768 srtp=AEAD_AES_128_GCM"
        " answer_ms=0.0 check_ms=50.0 keys_ms=150.0 connected_ms=150.0 rtp_in_ms=250.0 rtp_out_ms=250.0"
        " flights_ms=out:50.0,in:150.0,out:150.0 rtt_ms=100.0"
        " keys_round_trips=1.00 rtp_in_round_trips=2.00 rtp_out_round_trips=2.00"
    )
    dialled.call.hang_up()
    assert len(lines(caplog)) == 1


async def test_a_call_whose_packets_went_one_way_has_its_line_at_its_end(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trioice")
    world = World(nursery, delay=DELAY)
    dialled = await world.dial(await world.transceiver(direct=True, agent=listen))
    with trio.fail_after(3.0):
        assert await dialled.call.ready()
    await trio.sleep(1)
    assert lines(caplog) == []
    dialled.call.hang_up()
    (line,) = lines(caplog)
    assert " dtls=1.3 group=X25519MLKEM768 srtp=AEAD_AES_128_GCM " in line
    assert " rtp_in_ms=250.0 rtp_out_ms=- " in line
    assert caplog.messages[-1].endswith("ended: hung up")


async def test_a_call_that_nobody_came_to_has_a_line_of_dashes(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trioice")
    world = World(nursery, loss=1.0)
    running = await world.transceiver(direct=True)
    dialled = await world.dial(running)
    with trio.fail_after(31):
        await dialled.call.ended.wait()
    (line,) = lines(caplog)
    assert " dtls=- group=- srtp=- answer_ms=0.0 check_ms=- keys_ms=- " in line
    assert "trioice_set_up" not in exposition(running.transceiver.metrics())


async def test_the_line_names_no_address_and_no_secret(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trioice")
    world = World(nursery)
    await world.relay()
    dialled = await world.dial(await world.transceiver())
    await dialled.hears(5, within=3.0)
    (line,) = lines(caplog)
    credentials = dialled.call.media.config.credentials
    for secret in ("192.0.2.1", "198.51.100.1", "10.0.", dialled.call.id, credentials.ufrag, credentials.pwd):
        assert secret not in line


async def test_a_line_that_cannot_be_made_does_not_keep_a_call_from_ending(
    autojump_clock: MockClock,
    nursery: trio.Nursery,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(nursery)
    running = await world.transceiver(direct=True)
    dialled = await world.dial(running)
    del dialled.call.media._notes
    dialled.call.hang_up()
    assert dialled.call.ended.is_set()
    assert running.transceiver.calls == {}
    assert "its counters are lost" in caplog.text


# The metrics


async def test_set_ups_are_counted_by_step_and_each_call_once(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery, delay=DELAY)
    running = await world.transceiver(direct=True)
    one, two = await world.dial(running), await world.dial(running)
    await one.hears(10, within=3.0)
    await two.hears(10, within=3.0)
    one.call.hang_up()
    text = exposition(running.transceiver.metrics())
    for step, since, seconds in (
        ("check", "offer", 0.05),
        ("keys", "offer", 0.15),
        ("keys", "check", 0.1),
        ("rtp_in", "offer", 0.25),
        ("rtp_out", "check", 0.2),
    ):
        series = f'step="{step}",since="{since}"'
        assert figure(text, f"trioice_set_up_seconds_count{{{series}}}") == 2
        assert figure(text, f"trioice_set_up_seconds_sum{{{series}}}") == pytest.approx(2 * seconds)
    assert figure(text, 'trioice_set_up_seconds_bucket{step="keys",since="offer",le="0.1"}') == 0
    assert figure(text, 'trioice_set_up_seconds_bucket{step="keys",since="offer",le="0.3"}') == 2
    assert 'step="check",since="check"' not in text
    for step, round_trips, least in (("keys", 1, "1.1"), ("rtp_in", 2, "2.1"), ("rtp_out", 2, "2.1")):
        assert figure(text, f'trioice_set_up_round_trips_sum{{step="{step}"}}') == pytest.approx(2 * round_trips)
        assert figure(text, f'trioice_set_up_round_trips_bucket{{step="{step}",le="0.5"}}') == 0
        assert figure(text, f'trioice_set_up_round_trips_bucket{{step="{step}",le="{least}"}}') == 2


async def test_a_call_that_ends_early_is_counted_with_the_steps_that_it_reached(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, delay=DELAY)
    running = await world.transceiver(direct=True)
    dialled = await world.dial(running)
    await trio.sleep(1.5 * DELAY)  # a check is here, and no answer of DTLS
    dialled.call.hang_up()
    text = exposition(running.transceiver.metrics())
    assert figure(text, 'trioice_set_up_seconds_count{step="check",since="offer"}') == 1
    assert 'step="keys"' not in text
    assert "trioice_set_up_round_trips" not in text


# Statistics


async def test_statistics_tell_the_set_up_as_plain_data(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery, delay=DELAY)
    dialled = await world.dial(await world.transceiver(direct=True))
    await dialled.hears(1, within=3.0)
    set_up = dialled.call.stats()["set_up"]
    assert isinstance(set_up, dict)
    assert (set_up["keys"], set_up["rtp_out"]) == pytest.approx((0.15, 0.25))
    assert set_up["round_trips"]["keys"] == pytest.approx(1.0)
    assert [flight["way"] for flight in set_up["flights"]] == ["out", "in", "out"]


# The agent


async def test_an_agent_that_speaks_first_is_heard_as_soon_as_there_are_keys(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def agent(call: Call) -> None:
        assert await call.ready()
        call.send(b"hello", 960)
        await listen(call)

    world = World(nursery, delay=DELAY)
    dialled = await world.dial(await world.transceiver(direct=True, agent=agent))
    dialled.caller.talks = False
    start = trio.current_time()
    await dialled.hears(1, within=3.0)
    (at, _, payload) = dialled.caller.heard[0]
    assert payload == b"hello"
    assert at - start == pytest.approx(0.15 + DELAY)  # keys, and the way to the caller
    assert dialled.call.media.dropped == {}


async def test_what_is_sent_before_the_keys_is_lost_which_waiting_avoids(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery, delay=DELAY)
    dialled = await world.dial(await world.transceiver(direct=True, agent=listen))
    dialled.call.send(b"lost", 0)
    with trio.fail_after(3.0):
        assert await dialled.call.ready()
        assert await dialled.call.ready()  # any number may wait, at any time
    dialled.call.send(b"hello", 960)
    await dialled.hears(1, within=1.0)
    assert dialled.call.media.dropped == {Drop.UNSENT: 1}


async def test_whoever_waits_for_a_call_that_never_connects_is_told_at_its_end(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    told: list[bool] = []

    async def agent(call: Call) -> None:
        told.append(await call.ready())

    world = World(nursery, loss=1.0)
    dialled = await world.dial(await world.transceiver(direct=True, agent=agent))
    with trio.fail_after(31):
        await dialled.call.ended.wait()
        await trio.testing.wait_all_tasks_blocked()
    assert told == [False]
    assert not await dialled.call.ready()
