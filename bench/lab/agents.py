"""An agent that speaks at once, where an echo could only answer: silence, from the first moment at which it can leave.

trioice transceiver --agent bench/lab/agents.py:speak
"""

from typing import Final

import trio

from trioice import Call

SILENCE: Final = bytes.fromhex("f8fffe")
"""20 ms of silence, as Opus encoders send it (RFC 6716, 3.1: a packet of one frame)."""

FRAME, SAMPLES = 0.02, 960


async def speak(call: Call) -> None:
    """Send silence until the call ends."""
    if not await call.ready():
        return
    began, packets = trio.current_time(), 0
    while not call.ended.is_set():
        call.send(SILENCE, packets * SAMPLES, marker=packets == 0)
        packets += 1
        await trio.sleep_until(began + packets * FRAME)
