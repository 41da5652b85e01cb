"""The echo on aiortc, at its cheapest: no decoder sees a packet, nor aiortc's parser; each goes back as SRTP has been taken off.

    python -m bench.echo.aiortc_server PROFILE [tracks]

aiortc has no packet-level interface, so the private method of its transport that parses RTP is replaced. One socket for each call is
how aioice works. With `tracks` it is the echo that aiortc is made for: the track that comes is added to the call, decoded on its way in
and encoded on its way out.
"""

import asyncio
import random
import struct
import sys
from typing import Any, Final

from aioice import ice
from aiortc import RTCPeerConnection, RTCSessionDescription, rtcdtlstransport, rtcpeerconnection

HOST: Final = "127.0.0.1"
NAMES: Final = {
    "AEAD_AES_128_GCM": "SRTP_AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM": "SRTP_AEAD_AES_256_GCM",
    "AES128_CM_SHA1_80": "SRTP_AES128_CM_SHA1_80",
}
"""Of the profiles, in aiortc."""

calls: dict[str, RTCPeerConnection] = {}
tracks = "tracks" in sys.argv[2:]


class Echoing(rtcdtlstransport.RTCDtlsTransport):
    """A transport that sends RTP packets back, under an SSRC and sequence numbers of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.echo_ssrc, self.echo_sequence = random.getrandbits(32), random.getrandbits(15)

    async def _handle_rtp_data(self, data: bytes, arrival_time_ms: int) -> None:
        packet = bytearray(data)
        self.echo_sequence = self.echo_sequence + 1 & 0xFFFF
        struct.pack_into("!H", packet, 2, self.echo_sequence)
        struct.pack_into("!I", packet, 8, self.echo_ssrc)
        await self._send_rtp(bytes(packet))


async def answer(offer: str) -> tuple[str, str]:
    """Make a call; its id and the answer."""
    call = RTCPeerConnection()
    if tracks:
        call.on("track", call.addTrack)
    await call.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await call.setLocalDescription(await call.createAnswer())
    identity = str(random.getrandbits(64))
    calls[identity] = call
    return identity, call.localDescription.sdp


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request: as little HTTP as the load needs."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        verb, path, *_ = head.split()
        length = next((int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
        body = (await reader.readexactly(length)).decode()
        if verb == "DELETE":
            await calls.pop(path.removeprefix("/calls/")).close()
            status, location, text = "200 OK", path, ""
        else:
            identity, text = await answer(body)
            status, location = "201 Created", f"/calls/{identity}"
        writer.write(
            f"HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Type: application/sdp\r\n"
            f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
        )
        await writer.drain()
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, HOST, 0, backlog=256)
    print("http://{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


def prepare(profile: str) -> None:
    """Bind to loopback, which aioice leaves out; offer one profile; echo."""
    loopback: Any = lambda use_ipv4, use_ipv6: [HOST]  # noqa: E731
    ice.get_host_addresses = loopback
    wanted = NAMES[profile].encode()
    rtcdtlstransport.SRTP_PROFILES[:] = [
        each for each in rtcdtlstransport.SRTP_PROFILES if each.openssl_profile == wanted
    ]
    if not tracks:
        setattr(rtcpeerconnection, "RTCDtlsTransport", Echoing)  # noqa: B010 - it is not exported


if __name__ == "__main__":
    prepare(sys.argv[1])
    asyncio.run(main())
