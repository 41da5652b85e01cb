"""The same cores under plain asyncio: an echo server for browsers in one file, without trio.

Run it, and POST an offer to the address that it prints, as the page of `trioice serve` does:

    python examples/asyncio_echo.py

What a driver has to do is all here: give the endpoint datagrams and the time, send what it leaves in the outbox, and wake up at
its deadline.
"""

import asyncio
import base64
import os
import sys
import time
from typing import cast

from trioice import dtls, rtp, sdp, srtp
from trioice.endpoint import Endpoint, Events, Media
from trioice.ice import Credentials
from trioice.sansio import NEVER, Outbox
from trioice.session import Session, SessionConfig


class Echo(asyncio.DatagramProtocol):
    """Drives one endpoint."""

    def __init__(self) -> None:
        self.outbox: Outbox = []
        self.media: Media = []
        self.events: Events = []
        self.endpoint = Endpoint(outbox=self.outbox, media=self.media, events=self.events)
        self.certificate = dtls.Certificate.generate(os.urandom)
        self.payload_types: dict[Session, int] = {}
        self.loop = asyncio.get_running_loop()
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.endpoint.receive(data, addr, self.loop.time())
        self.react()

    def due(self) -> None:
        self.endpoint.expire(self.loop.time())
        self.react()

    def react(self) -> None:
        for session, packet in self.media:
            header = rtp.read(packet)
            if header is not None and header[0] == self.payload_types[session]:
                payload_type, marker, sequence, timestamp, _, start, end = header
                echoed = rtp.build(payload_type, marker, sequence, timestamp, session.config.ssrc, packet[start:end])
                session.send(echoed, self.loop.time())
        self.media.clear()
        for _, event in self.events:
            print(event, file=sys.stderr)
        self.events.clear()
        for datagram, to in self.outbox:
            self.transport.sendto(datagram, cast(tuple[str, int], to))
        self.outbox.clear()
        if self.timer is not None:
            self.timer.cancel()
        deadline = self.endpoint.deadline
        self.timer = None if deadline == NEVER else self.loop.call_at(deadline, self.due)

    def answer(self, text: str) -> str:
        """Make a session of an offer."""
        offer = sdp.Offer.read(text)
        setup = offer.answer_setup()
        ufrag, pwd = (base64.b64encode(os.urandom(length)).decode() for length in (6, 18))
        config = SessionConfig(
            credentials=Credentials(ufrag, pwd, offer.ice_ufrag),
            dtls_role="client" if setup == "active" else "server",
            certificate=self.certificate,
            fingerprints=offer.fingerprints,
            profiles=tuple(srtp.PROFILES.values()),
            ssrc=int.from_bytes(os.urandom(4), "big"),
            cname="asyncio",
            entropy=os.urandom,
            epoch=time.time() - self.loop.time(),
            transport_address=lambda address: cast(tuple[str, int], address)[:2],
        )
        session = self.endpoint.admit(config, self.loop.time())
        self.payload_types[session] = offer.audio.opus
        self.react()
        host, port = self.transport.get_extra_info("sockname")
        return sdp.answer(
            offer,
            ufrag=ufrag,
            pwd=pwd,
            fingerprint=self.certificate.fingerprint(),
            setup=setup,
            candidates=[sdp.Candidate(host, port)],
            ssrc=config.ssrc,
            cname=config.cname,
            origin=1,
        )

    async def signal(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one POST; the least HTTP that a browser takes."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        status, body = "201 Created", ""
        try:
            body = self.answer((await reader.readexactly(length)).decode())
        except sdp.SdpError as error:
            status, body = "400 Bad Request", str(error)
        headers = f"content-type: application/sdp\r\naccess-control-allow-origin: *\r\ncontent-length: {len(body)}"
        writer.write(f"HTTP/1.1 {status}\r\n{headers}\r\nconnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()


async def main() -> None:
    _, echo = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    server = await asyncio.start_server(echo.signal, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
