"""How a call sounded: in its statistics, in one line of the log at its end, and in the metrics."""

import logging

import pytest
import trio
from trio.testing import MockClock

from tests.harness.world import World
from trioice import rtp
from trioice.metrics import exposition
from trioice.rtp import RtpStats
from trioice.transceiver.call import Call
from trioice.transceiver.quality import Quality


def test_without_a_microphone_frames_are_packets() -> None:
    session = rtp.RtpSession(ssrc=1, cname="c", epoch=0.0, entropy=bytes, outbox=[], events=[])
    for number in (1, 2, 5):
        session.hear(rtp.build(111, False, number, number * 960, 7, b"payload"), number * 0.02)
    quality = Quality.of(session.stats(1.0), None, None)
    assert (quality.expected, quality.frames, quality.lost, quality.missed) == (5, 5, 2, 0)
    assert quality.rtt is None
    assert "rtt=- " in quality.line()


def test_what_came_twice_is_no_loss() -> None:
    session = rtp.RtpSession(ssrc=1, cname="c", epoch=0.0, entropy=bytes, outbox=[], events=[])
    for _ in range(3):
        session.hear(rtp.build(111, False, 1, 960, 7, b"payload"), 0.0)
    stats: RtpStats = session.stats(1.0)
    assert stats.packets_lost == -2
    assert Quality.of(stats, None, None).lost == 0


async def test_a_calls_quality_is_told_live_at_its_end_and_in_the_metrics(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world = World(nursery, seed=3, delay=0.05, loss=0.05)

    async def agent(call: Call) -> None:
        speaker = call.speaker(8000)
        await call.ready()
        await speaker.write(b"\x00\x20" * 8000)
        await trio.sleep(0.5)
        speaker.clear()
        async for _ in call.microphone(8000):
            pass

    running = await world.transceiver(direct=True, agent=agent)
    dialled = await world.dial(running, payload_type=0, encoding="PCMU/8000", words=lambda number: bytes(160))
    await trio.sleep(20.0)
    call, transceiver = dialled.call, dialled.transceiver
    live = call.quality()
    assert live.expected > 900
    assert 20 < live.missed < 100
    assert live.lost == pytest.approx(live.missed, abs=5)  # this caller sends nothing again
    assert live.frames == pytest.approx(live.expected, abs=20)
    assert live.clears == 1
    assert 0 < live.longest_clear_ms <= 20
    assert call.stats()["quality"]["lost"] == live.lost  # type: ignore[index]
    during = exposition(transceiver.metrics())
    assert f"trioice_missed_packets_total {live.missed}\n" in during
    assert "trioice_barge_in_seconds" not in during
    call.hang_up()
    lines = [record.getMessage() for record in caplog.records if " quality: " in record.getMessage()]
    assert len(lines) == 1
    told = dict(pair.split("=") for pair in lines[0].split(" quality: ")[1].split())
    assert int(told["lost"]) >= live.lost
    assert float(told["patience"]) == 0.25
    assert float(told["rtt"]) == pytest.approx(0.1, abs=0.01)
    after = exposition(transceiver.metrics())
    assert f'trioice_heard_frames_total{{of="lost"}} {told["lost"]}\n' in after
    assert "trioice_barge_in_seconds_count 1\n" in after
    assert 'trioice_rtt_seconds_bucket{le="0.15"} 1\n' in after
