"""An agent that speaks at once, where an echo could only answer: silence, from the first moment at which it can leave.

trioice transceiver --agent bench/lab/agents.py:speak

When it hears its caller it becomes an echo, so that a tone in the caller's microphone shows that sound went both ways.
"""

from typing import Final

import trio

from trioice import Call, rtp

SILENCE: Final = bytes.fromhex("f8fffe")
"""20 ms of silence, as Opus encoders send it (RFC 6716, 3.1: a packet of one frame)."""

FRAME, SAMPLES = 0.02, 960


async def speak(call: Call) -> None:
    """Send silence until the caller is heard, then what the caller says, until the call ends."""
    if not await call.ready():
        return
    began, packets = trio.current_time(), 0
    heard = False

    async def listen() -> None:
        nonlocal heard
        async for packet in call.packets():
            header = rtp.read(packet)
            if header is None:
                continue
            payload_type, marker, _, timestamp, _, start, end = header
            payload = packet[start:end]
            if payload_type == call.red_payload_type and (blocks := rtp.read_red(payload)):
                payload_type, _, payload = blocks[-1]
            if payload_type == call.payload_type and payload:
                call.send(payload, timestamp, marker or not heard)
                heard = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        while not heard and not call.ended.is_set():
            call.send(SILENCE, packets * SAMPLES, marker=packets == 0)
            packets += 1
            await trio.sleep_until(began + packets * FRAME)
