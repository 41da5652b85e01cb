"""A server without repair, to compare with: aiortc at packet level, which echoes what comes, and tells which packets those were.

python -m bench.lab.aiortc_listener ADDRESS PORT

An offer POSTed to /calls is answered; GET /heard tells the sequence numbers that came in, in their order, as JSON.
"""

import asyncio
import json
import sys
from typing import Final

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, rtcpeerconnection

from bench.echo.aiortc_server import Echoing

heard: Final[list[int]] = []
calls: Final[list[RTCPeerConnection]] = []


class Listening(Echoing):
    """A transport that notes the packets that it sends back."""

    async def _handle_rtp_data(self, data: bytes, arrival_time_ms: int) -> None:
        heard.append(int.from_bytes(data[2:4], "big"))
        await super()._handle_rtp_data(data, arrival_time_ms)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request: as little HTTP as the lab needs."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("POST"):
            length = next(int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:"))
            offer = (await reader.readexactly(length)).decode()
            call = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            calls.append(call)
            await call.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            await call.setLocalDescription(await call.createAnswer())
            text = call.localDescription.sdp
        else:
            text = json.dumps(heard)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode())
        await writer.drain()
    finally:
        writer.close()


async def main(address: str, port: str) -> None:
    setattr(rtcpeerconnection, "RTCDtlsTransport", Listening)  # noqa: B010 - it is not exported
    server = await asyncio.start_server(serve, address, int(port))
    print(f"http://{address}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
