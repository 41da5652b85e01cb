"""Calls in which an agent hears and speaks PCM, whatever the codec."""

import pytest
import trio
from trio.testing import MockClock

from tests.audio.voices import best_likeness, split, voice
from tests.harness.world import World
from trioice.audio import CODECS
from trioice.transceiver.call import Call

RATE = 24000
SPEECH = voice(RATE, 1.0)


async def repeat(call: Call) -> None:
    """Say again what is heard, as PCM."""
    speaker = call.speaker(RATE)
    async for frame in call.microphone(RATE):
        assert len(frame.pcm) == 2 * RATE // 50
        await speaker.write(frame.pcm)


@pytest.mark.parametrize(
    ("name", "payload_type", "encoding"),
    [("opus", 111, "opus/48000/2"), ("PCMU", 0, "PCMU/8000"), ("PCMA", 8, "PCMA/8000")],
)
async def test_speech_goes_through_an_agent_that_knows_no_codec(
    autojump_clock: MockClock, nursery: trio.Nursery, name: str, payload_type: int, encoding: str
) -> None:
    codec = CODECS[name]
    encoder, decoder = codec.encoder(RATE), codec.decoder(RATE)
    words = [encoder.encode(frame) for frame in split(SPEECH, RATE)]
    world = World(nursery, delay=0.02)
    running = await world.transceiver(direct=True, agent=repeat)
    dialled = await world.dial(
        running, payload_type=payload_type, encoding=encoding, words=lambda number: words[number % len(words)]
    )
    call = dialled.call
    assert (call.codec, call.payload_type) == (codec, payload_type)
    await dialled.until(lambda: len(dialled.caller.heard) >= 75, within=3.0)
    heard = [payload for _, _, payload in dialled.caller.heard]
    assert {codec.duration(payload) for payload in heard} == {codec.clock_rate // 50}
    pcm = b"".join(map(decoder.decode, heard))[-len(SPEECH) // 2 :]
    assert best_likeness(pcm, SPEECH * 2, range(0, RATE, 3)) > 0.95
    stats = call.media.rtp.stats(trio.current_time())
    assert stats.jitter < 0.002  # as it is when the clock rate is the codec's
