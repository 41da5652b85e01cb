"""The echo as an agent in PCM: what is heard at 24 kHz is said again.

trioice transceiver --agent bench/echo/agent.py:echo
"""

from trioice.transceiver.call import Call


async def echo(call: Call) -> None:
    """Decode what comes, and encode it again."""
    speaker = call.speaker()
    async for frame in call.microphone():
        await speaker.write(frame.pcm)
