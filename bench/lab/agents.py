"""An agent that speaks at once, where an echo could only answer: silence, from the first moment at which it can leave.

trioice transceiver --agent bench/lab/agents.py:speak
"""

from typing import Final

import trio

from trioice import Call
from trioice.session import Drop

SILENCE: Final = bytes.fromhex("f8fffe")
"""20 ms of silence, as Opus encoders send it (RFC 6716, 3.1: a packet of one frame)."""

FRAME, SAMPLES = 0.02, 960
TRY: Final = 0.001
"""Seconds between two attempts to send the first packet: what this agent may be late by."""


async def speak(call: Call) -> None:
    """Send silence until the call ends."""
    unsent = call.media.dropped
    while True:
        before = unsent[Drop.UNSENT]
        call.send(SILENCE, 0, marker=True)
        if unsent[Drop.UNSENT] == before:
            break
        await trio.sleep(TRY)
    began, packets = trio.current_time(), 1
    while not call.ended.is_set():
        await trio.sleep_until(began + packets * FRAME)
        call.send(SILENCE, packets * SAMPLES)
        packets += 1
