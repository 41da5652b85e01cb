"""The transceiver's own rules: limits, restarts, agents as tasks, metrics."""

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from tests.harness.clockwork import seeded
from tests.harness.world import World
from trioice import dtls, sdp
from trioice.endpoint import Drop
from trioice.errors import LocalProtocolError
from trioice.metrics import exposition
from trioice.transceiver.call import BUFFERED, Call
from trioice.transceiver.server import GRACE, Crowded, Exhausted


async def test_the_limit_of_calls_is_kept_and_a_call_that_ends_makes_room(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    running = await world.transceiver(calls=2, direct=True)
    one, _ = await world.dial(running), await world.dial(running)
    with pytest.raises(Exhausted):
        await world.dial(running)
    one.call.hang_up()
    await world.dial(running)


async def test_one_owner_has_so_many_calls_and_no_more(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    running = await world.transceiver(direct=True, calls_per_owner=2)
    offer = (await world.dial(running)).caller.offer()
    first = running.transceiver.answer(offer, owner="192.0.2.1")
    running.transceiver.answer(offer, owner="192.0.2.1")
    with pytest.raises(Crowded):
        running.transceiver.answer(offer, owner="192.0.2.1")
    running.transceiver.answer(offer, owner="192.0.2.2")
    first.hang_up()
    running.transceiver.answer(offer, owner="192.0.2.1")


async def test_a_transceiver_that_is_to_stop_takes_no_new_calls_and_keeps_the_old(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    running = await world.transceiver(direct=True)
    dialled = await world.dial(running)
    running.transceiver.announce_stop()
    assert not running.transceiver.running
    with pytest.raises(Exhausted):
        await world.dial(running)
    await dialled.hears(10, within=3.0)


async def test_a_restart_may_change_neither_certificate_nor_role_nor_codec(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    running = await world.transceiver(direct=True)
    dialled = await world.dial(running)
    await dialled.hears(1, within=3.0)
    credentials, etag = dialled.call.media.ice.credentials, dialled.call.etag
    offer = dialled.caller.offer()
    another = dtls.Certificate.generate(seeded(9)).fingerprint()
    with pytest.raises(sdp.OfferRefused, match="fingerprint"):
        running.transceiver.restart(
            dialled.call, offer.replace(str(dialled.caller.certificate.fingerprint()), str(another))
        )
    with pytest.raises(sdp.OfferRefused, match="role"):
        running.transceiver.restart(dialled.call, offer.replace("a=setup:actpass", "a=setup:active"))
    with pytest.raises(sdp.OfferRefused, match="codec, which is opus, not PCMU"):
        running.transceiver.restart(dialled.call, offer.replace("opus/48000/2", "PCMU/8000"))
    assert (dialled.call.media.ice.credentials, dialled.call.etag) == (credentials, etag)
    running.transceiver.restart(dialled.call, offer)
    assert dialled.call.media.ice.credentials != credentials
    assert dialled.call.etag != etag


async def test_an_answer_to_a_restart_is_the_next_version_of_the_same_session(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    running = await world.transceiver(direct=True)
    dialled = await world.dial(running)
    first = dialled.call.answer.splitlines()[1].split()
    running.transceiver.restart(dialled.call, dialled.caller.offer())
    second = dialled.call.answer.splitlines()[1].split()
    assert (first[1], int(first[2]) + 1) == (second[1], int(second[2]))


async def test_a_call_that_ended_cannot_be_restarted(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    running = await world.transceiver(direct=True)
    dialled = await world.dial(running)
    dialled.call.hang_up()
    dialled.call.hang_up()
    with pytest.raises(LocalProtocolError):
        running.transceiver.restart_ice(dialled.call, "again", "anotherPasswordOf22AndMore")


async def test_ufrags_of_live_calls_differ_even_when_the_nonces_do_not(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    repeat = 3

    def entropy(length: int) -> bytes:
        nonlocal repeat
        if length == 6 and repeat:  # the nonce of a token, three times the same
            repeat -= 1
            return bytes(6)
        return draw(length)

    draw = seeded(5)
    world = World(nursery)
    running = await world.transceiver(direct=True, entropy=entropy)
    one, two = await world.dial(running), await world.dial(running)
    ufrags = [dialled.call.media.config.credentials.ufrag for dialled in (one, two)]
    assert (repeat, len(set(ufrags))) == (0, 2)


async def test_an_agents_task_that_does_not_read_loses_the_oldest_packets(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    resume = trio.Event()
    read: list[bytes] = []

    async def agent(call: Call) -> None:
        await resume.wait()
        async for packet in call.packets():
            read.append(packet)
            if len(read) == BUFFERED:
                return

    world = World(nursery)
    running = await world.transceiver(direct=True, agent=agent)
    dialled = await world.dial(running)
    await trio.sleep(20)
    assert dialled.call.unread > 0
    spoken = dialled.caller.spoken
    resume.set()
    with trio.fail_after(1):
        await dialled.call.ended.wait()
    numbers = [int(packet[12:20]) for packet in read]
    assert numbers == list(range(numbers[0], numbers[0] + BUFFERED))
    assert spoken - numbers[0] <= BUFFERED + 1


async def test_an_agents_task_has_a_grace_after_its_call_and_no_more(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    cancelled_at: list[float] = []

    async def agent(call: Call) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled_at.append(trio.current_time())

    world = World(nursery)
    running = await world.transceiver(direct=True, agent=agent)
    dialled = await world.dial(running)
    await dialled.until(lambda: dialled.caller.connected_at < 100, within=3.0)
    dialled.call.hang_up()
    ended = trio.current_time()
    await trio.sleep(GRACE * 2)
    assert cancelled_at == [pytest.approx(ended + GRACE)]


async def test_an_agents_task_may_speak_while_the_port_is_silent(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def agent(call: Call) -> None:
        await trio.sleep(10)
        call.send(b"good evening", 960)
        await trio.sleep(1)

    world = World(nursery)
    running = await world.transceiver(direct=True, agent=agent)
    dialled = await world.dial(running)
    dialled.caller.talks = False
    await dialled.hears(1, within=10.1)
    (time, _, payload) = dialled.caller.heard[0]
    assert payload == b"good evening"
    assert time == pytest.approx(10.01)


async def test_what_is_written_at_once_leaves_in_steps(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def agent(call: Call) -> None:
        await call.next_packet()  # the caller is there
        stream = call.stream()
        assert call.stream() is stream
        for number in range(100):
            stream.write(b"%d" % number)
        await trio.sleep(1)
        assert stream.waiting == pytest.approx(1, abs=0.05)
        stream.clear()
        stream.write(b"last")
        await call.ended.wait()
        stream.write(b"to nobody")
        assert stream.waiting == 0

    world = World(nursery)
    running = await world.transceiver(direct=True, agent=agent)
    dialled = await world.dial(running)
    await trio.sleep(4)
    times, sequences, payloads = zip(*dialled.caller.heard, strict=True)
    assert payloads == (*(b"%d" % number for number in range(len(payloads) - 1)), b"last")
    assert 49 <= len(payloads) <= 52
    assert [later - earlier for earlier, later in pairwise(times[:-1])] == pytest.approx([0.02] * (len(times) - 2))
    assert [later - earlier for earlier, later in pairwise(sequences)] == [1] * (len(sequences) - 1)
    dialled.call.hang_up()
    await trio.sleep(0.1)  # the agent writes to nobody


async def test_a_stream_after_the_end_takes_nothing_and_no_slot(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    world = World(nursery)
    running = await world.transceiver(direct=True)
    dialled = await world.dial(running)
    dialled.call.hang_up()
    stream = dialled.call.stream()
    stream.write(b"to nobody")
    assert stream.waiting == 0
    assert not any(running.transceiver._pacer._loads)


async def test_metrics_add_up_what_the_calls_counted(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    await world.relay()
    running = await world.transceiver()
    one, two = await world.dial(running), await world.dial(running)
    await one.hears(10, within=3.0)
    await two.hears(10, within=3.0)
    one.call.hang_up()
    await one.until(lambda: one.caller.over is not None, within=1.0)
    await trio.sleep(1)  # for what is still on its way
    stranger = world.network.port("203.0.113.66", 6)
    before = running.transceiver.endpoint.dropped[
        Drop.UNKNOWN_SOURCE
    ]  # what the caller said before it heard the goodbye
    stranger.send([(b"\x80" * 40, ("10.0.1.1", 7000))])
    await trio.sleep(0.1)
    received = sum(dialled.call.stats()["packets_received"] for dialled in (one, two))  # type: ignore[misc]
    text = exposition(running.transceiver.metrics())
    for line in (
        "trioice_calls 1",
        "trioice_calls_total 2",
        'trioice_calls_ended_total{reason="closed"} 1',
        f"trioice_received_packets_total {received}",
        "trioice_lost_packets_total 0",
        f'trioice_dropped_total{{layer="endpoint",reason="unknown_source"}} {before + 1}',
    ):
        assert f"\n{line}\n" in f"\n{text}"


async def test_stats_tell_a_call_as_plain_data(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    running = await world.transceiver(direct=True)
    dialled = await world.dial(running)
    assert dialled.call.stats()["connected"] is False
    await dialled.hears(100, within=4.0)
    stats = dialled.call.stats()
    assert (stats["connected"], stats["packets_lost"], stats["dtls"]) == (True, 0, "1.3")
    assert isinstance(stats["packets_received"], int)
    assert stats["packets_received"] >= 100


async def test_the_session_object_reaches_the_agent(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    world = World(nursery)
    running = await world.transceiver(direct=True)
    dialled = await world.dial(running)
    call = running.transceiver.answer(dialled.caller.offer(), session={"model": "mine"})
    assert call.session == {"model": "mine"}
    assert running.transceiver.find(call.id) is call
