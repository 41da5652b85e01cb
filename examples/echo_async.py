"""An echo of plain audio, as a task of its own for each call: it may wait for whatever it likes; when it returns, the call ends.

trioice serve --agent examples/echo_async.py:agent
"""

from trioice import Call


async def agent(call: Call) -> None:
    speaker = call.speaker()
    async for frame in call.microphone():
        await speaker.write(frame.pcm)
