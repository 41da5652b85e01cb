"""Speak a WAV file to each caller, as fast as it is read; whoever speaks up interrupts it, and the program tells how much they heard.

WAV=speech.wav trioice serve --agent examples/say_wav.py:agent
"""

import os
import sys
import wave
from array import array

import trio

from trioice import Call
from trioice.audio import Resampler, SpeechStarted

RATE = 24000


def read(path: str) -> bytes:
    """The file's first channel as PCM at RATE, whatever its own rate is."""
    with wave.open(path, "rb") as file:
        if file.getsampwidth() != 2:
            sys.exit(f"{path} has samples of {8 * file.getsampwidth()} bits, not of 16")
        rate, samples = file.getframerate(), array("h", file.readframes(file.getnframes()))
        pcm = samples[:: file.getnchannels()].tobytes()
    resampler = Resampler(rate, RATE)
    return resampler.resample(pcm) + resampler.finish()


PCM = read(os.environ["WAV"])


async def agent(call: Call) -> None:
    speaker = call.speaker(RATE)
    if not await call.ready():
        return

    async def listen() -> None:
        async for change in call.speech():
            if isinstance(change, SpeechStarted):
                speaker.clear()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await speaker.write(PCM)
        said = await speaker.finished()
        nursery.cancel_scope.cancel()
    print(f"{call.name} heard {said.heard_ms} of {said.written_ms} ms, within {said.error_ms}", flush=True)
