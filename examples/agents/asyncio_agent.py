"""An agent in plain asyncio: it greets with a tone, and says again what the caller said, who may interrupt it by speaking.

pip install websockets
python examples/agents/asyncio_agent.py 9000
trioice serve --agent ws://127.0.0.1:9000

It needs nothing of trioice. docs/reference/agents.md has the messages.
"""

import asyncio
import json
import math
import sys
from array import array

from websockets.asyncio.server import ServerConnection, serve

KEPT = 60
"""Seconds of a caller that it remembers."""


def tone(rate: int, seconds: float = 1.0, pitch: float = 440.0) -> bytes:
    """PCM of a beep."""
    samples = (round(8000 * math.sin(2 * math.pi * pitch * at / rate)) for at in range(int(rate * seconds)))
    return array("h", samples).tobytes()


async def converse(socket: ServerConnection) -> None:
    """Follow one call."""
    rate, audio, first, begun = (
        24000,
        bytearray(),
        0,
        0,
    )  # the position of the first sample of the audio, and of the speech
    async for message in socket:
        if isinstance(message, bytes):
            audio += message
            surplus = max(0, len(audio) // 2 - KEPT * rate)
            del audio[: 2 * surplus]
            first += surplus
            continue
        event = json.loads(message)
        match event["type"]:
            case "started":
                rate = event["rate"]
                await socket.send(tone(rate))
            case "resumed":
                rate, first = event["rate"], event["position"]
            case "speech_started":
                begun = event["position"]
                await socket.send(json.dumps({"type": "clear"}))
            case "cleared":
                print(f"heard {event['heard'] / rate:.2f} s of {event['received'] / rate:.2f} s", flush=True)
            case "speech_stopped":
                words = audio[2 * max(0, begun - first) : 2 * (event["position"] - first)]
                await socket.send(bytes(words))
            case "ended":
                print(f"ended: {event['why']}", flush=True)
            case _:
                pass  # there is more to know


async def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    async with serve(converse, "127.0.0.1", port) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
