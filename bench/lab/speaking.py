"""Agents that write eight seconds of sound in a tenth of one, again and again, and tell when and what the speaker said about it.

trioice transceiver --agent bench/lab/speaking.py:ahead

What they tell are lines that begin with `SAID`, with figures as JSON; moments are of the monotonic clock, which the lab shares.
"""

import json
import random
import time
from typing import Final

import attrs
import trio

from bench.lab.sweep import sweep
from trioice import Call
from trioice.transceiver.speaker import Speaker

RATE: Final = 24000
SWEEP: Final = sweep(RATE)
PIECES: Final = 10
PIECE: Final = 0.01
"""All is written in a tenth of a second, in pieces, as a model's socket would bring it."""

SPOKEN: Final = (1.5, 3.5)
"""Seconds, least and most, until the agent is interrupted."""

PAUSE: Final = 1.0
"""Seconds of silence between two utterances: longer than any buffer plays on."""

SECONDS: Final = len(SWEEP) / 2 / RATE
"""Of an utterance."""

CALLS: Final = 200
"""Calls that take turns evenly; the next one begins at once."""

_calls = 0


async def interrupt(call: Call) -> None:
    """Speak ahead, and be cut off in the middle, again and again."""
    if not await call.ready():
        return
    speaker, moments = call.speaker(rate=RATE), random.Random(1)
    while not call.ended.is_set():
        await _write_ahead(speaker)
        with trio.move_on_after(moments.uniform(*SPOKEN)):
            await call.ended.wait()
            return
        at = time.monotonic()
        playout = speaker.clear()
        delay, _ = speaker.latency()
        rtp = call.media.rtp.stats(trio.current_time())
        _tell(call, at=at, delay=delay, rtt=rtp.rtt, jitter=rtp.remote_jitter, **attrs.asdict(playout))
        await trio.sleep(PAUSE)


async def converse(call: Call) -> None:
    """Speak ahead to the end, and then be silent for as long, as in a conversation, again and again. Calls take turns at it, evenly."""
    global _calls
    turn = _calls * 2 * SECONDS / CALLS % (2 * SECONDS)
    _calls += 1
    if await call.ready():
        await trio.sleep(turn)
        await _speak(call, SECONDS)


async def ahead(call: Call) -> None:
    """Speak ahead to the end, again and again, with hardly a pause."""
    if await call.ready():
        await _speak(call, PAUSE)


async def _speak(call: Call, pause: float) -> None:
    speaker = call.speaker(rate=RATE)
    while not call.ended.is_set():
        began = time.monotonic()
        await _write_ahead(speaker)
        written = time.monotonic()
        playout = await speaker.finished()
        _tell(call, began=began, written=written, finished=time.monotonic(), **attrs.asdict(playout))
        await trio.sleep(pause)


async def _write_ahead(speaker: Speaker) -> None:
    """Write it all in a tenth of a second."""
    size = len(SWEEP) // PIECES
    for piece in range(PIECES):
        await speaker.write(SWEEP[piece * size : (piece + 1) * size])
        await trio.sleep(PIECE)


def _tell(call: Call, **figures: object) -> None:
    print("SAID", json.dumps({"call": call.name, **figures}), flush=True)
