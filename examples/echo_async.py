"""The same as echo.py, as a task of its own for each call: it may wait for whatever it likes, and the call ends when it returns.

trioice serve --agent examples/echo_async.py:agent
"""

from trioice import Call, rtp


async def agent(call: Call) -> None:
    async for packet in call.packets():
        header = rtp.read(packet)
        if header is not None and header[0] == call.payload_type:
            _, marker, _, timestamp, _, start, end = header
            call.send(packet[start:end], timestamp, marker)
