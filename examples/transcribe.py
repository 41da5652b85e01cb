"""Two microphones at one call: a quick one to take turns by, and a whole one whose words are transcribed, by whatever you have for it.

TRANSCRIBE=module:function trioice serve --agent examples/transcribe.py:agent

`function(pcm, rate)` returns the text of one utterance: PCM as signed 16-bit little-endian mono. Without it, the lengths are told.
It runs in a thread, so it may take its time.
"""

import importlib
import os
from collections import deque
from collections.abc import Callable

import trio

from trioice import Call
from trioice.audio import Frame, SpeechStarted

RATE = 16000
QUICK, WHOLE = 0.06, 2.0
"""Seconds of patience: what is late for a turn is still in time for the record, where every word counts."""

AROUND = 0.3
"""Seconds of sound that are kept from before speech was noticed."""


def lengths(pcm: bytes, rate: int) -> str:
    return f"{len(pcm) / 2 / rate:.1f} s of speech"


def transcriber() -> Callable[[bytes, int], str]:
    place, _, name = os.environ.get("TRANSCRIBE", "").partition(":")
    if not place:
        return lengths
    function: Callable[[bytes, int], str] = getattr(importlib.import_module(place), name)
    return function


async def agent(call: Call) -> None:
    transcribe = transcriber()
    ends: deque[float] = deque()  # of utterances that the whole microphone has not come to, in seconds of the call
    with call.microphone(RATE, QUICK) as quick, call.microphone(RATE, WHOLE) as whole, call.speech() as speech:
        quick_at, is_speaking = 0.0, False

        async def take_turns() -> None:
            nonlocal quick_at
            async for frame in quick:  # a model that answers would hear these
                quick_at = seconds(call, frame)

        async def notice() -> None:
            nonlocal is_speaking
            async for change in speech:
                is_speaking = isinstance(change, SpeechStarted)
                if not is_speaking:
                    ends.append(quick_at)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            nursery.start_soon(notice)
            utterance = bytearray()
            async for frame in whole:
                utterance += frame.pcm
                if ends and seconds(call, frame) >= ends[0]:
                    ends.popleft()
                    text = await trio.to_thread.run_sync(transcribe, bytes(utterance), RATE)
                    utterance.clear()
                    print(f"{call.name} {seconds(call, frame):.1f} s: {text}", flush=True)
                elif not ends and not is_speaking:
                    del utterance[: -2 * int(AROUND * RATE)]


def seconds(call: Call, frame: Frame) -> float:
    return frame.timestamp / call.codec.clock_rate + frame.duration
