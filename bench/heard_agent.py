"""An agent that says pulses over a hum, at once and ahead of time, and tells on its output what it thinks was heard when.

trioice transceiver --agent bench/heard_agent.py:agent
"""

import json
import math
import time
from array import array
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from trioice.transceiver.call import Call
from trioice.transceiver.speaker import Mark, Speaker

RATE: Final = 24000
STEP_MS: Final = 290
"""From pulse to pulse: no multiple of a packet's time, so that they fall anywhere in packets."""

PULSES: Final = 8
"""Of an utterance: 2.3 s."""

REST: Final = 0.8
"""Seconds between utterances."""

CUT: Final = 1.2
"""Seconds after which every second utterance is cut."""


def pulse() -> bytes:
    """A pulse of 30 ms, and a hum, 30 dB below it, until the next."""
    loud = RATE * 30 // 1000
    samples = (
        (16000 if at < loud else 500) * math.sin(math.tau * (1000 if at < loud else 300) * at / RATE)
        for at in range(RATE * STEP_MS // 1000)
    )
    return array("h", map(round, samples)).tobytes()


async def agent(call: Call) -> None:
    """Speak, and be cut every second time, until the call ends."""
    speaker = call.speaker(RATE)
    if not await call.ready():
        return
    await trio.sleep(2 * REST)
    turn = 0
    while not call.ended.is_set():
        async with trio.open_nursery() as nursery:
            await _speak(nursery, speaker, partial(_tell, turn=turn))
            if turn % 2:
                await trio.sleep(CUT + 0.037 * turn)
                at, over = time.time(), speaker.clear()
                _tell("cleared", turn=turn, at=at, heard=over.heard_ms, sent=over.sent_ms, error=over.error_ms)
            await speaker.finished()
        quality = call.quality()
        _tell("over", turn=turn, rtt=quality.rtt or 0.0, jitter=quality.remote_jitter)
        await trio.sleep(REST)
        turn += 1


async def _speak(nursery: trio.Nursery, speaker: Speaker, tell: Callable[..., None]) -> None:
    for number in range(PULSES):
        nursery.start_soon(_follow, speaker.mark() if number else None, number, tell)
        await speaker.write(pulse())


async def _follow(mark: Mark | None, number: int, tell: Callable[..., None]) -> None:
    if mark is not None and await mark.reached():
        tell("reached", at=time.time(), ms=number * STEP_MS)


def _tell(event: str, **figures: object) -> None:
    print(json.dumps({"event": event, **figures}), flush=True)
