"""An agent that listens with several patiences at once, and tells at the end what each of them missed.

trioice transceiver --agent bench/lab/listening.py:listen

The caller hears themselves by way of PCM. The last line that it prints begins with `HEARD`, and has the figures as JSON.
"""

import json
from typing import Final

import trio

from trioice import Call
from trioice.audio import Frame

PATIENCES: Final = (2.0, 1.0, 0.25, 0.06)
REPLIES: Final = 0.25
"""The patience of the microphone that is echoed."""


async def listen(call: Call) -> None:
    """Listen until the call ends."""
    speaker = call.speaker(24000)
    heard: dict[str, object] = {}

    async def hear(patience: float) -> None:
        frames, lost, concealed = 0, 0, 0
        with call.microphone(24000, patience=patience) as microphone:
            async for frame in microphone:
                frames += 1
                lost += frame.lost
                concealed += frame.concealed
                if patience == REPLIES:
                    await reply(frame)
            heard[str(patience)] = {**microphone.stats(), "frames": frames, "lost": lost, "concealed": concealed}

    async def reply(frame: Frame) -> None:
        await speaker.write(frame.pcm)

    async with trio.open_nursery() as nursery:
        for patience in PATIENCES:
            nursery.start_soon(hear, patience)
    print("HEARD", json.dumps({"microphones": heard, "rtp": call.stats()}), flush=True)
