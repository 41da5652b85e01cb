"""The same cores under plain asyncio: an echo server for browsers in one file, without trio.

Run it, open the address that it prints, and put headphones on:

    python examples/asyncio_echo.py

What a driver has to do is all in `Echo`: give the endpoint datagrams and the time, send what it leaves in the outbox, and wake up
at its deadline. End it with Ctrl-C.
"""

import asyncio
import base64
import contextlib
import os
import re
import sys
import time
from typing import cast

from trioice import dtls, rtp, sdp, srtp
from trioice.endpoint import Endpoint, Events, Media
from trioice.ice import Credentials
from trioice.sansio import NEVER, Closed, Failed, Outbox
from trioice.session import Session, SessionConfig

PAGE = """\
<!doctype html>
<title>An echo under asyncio</title>
<button>Call</button>
<script>
document.querySelector("button").onclick = async ({ target }) => {
  target.disabled = true;
  const pc = new RTCPeerConnection();
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  pc.addTrack(microphone.getAudioTracks()[0]);
  pc.ontrack = ({ track }) => Object.assign(new Audio(), { srcObject: new MediaStream([track]) }).play();
  await pc.setLocalDescription();
  const answer = await fetch("/", { method: "POST", body: pc.localDescription.sdp });
  await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
};
</script>
"""


class Echo(asyncio.DatagramProtocol):
    """Drives one endpoint, and sends each caller's speech back."""

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
        """Learn what to send by (asyncio)."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take a datagram (asyncio)."""
        self.endpoint.receive(data, addr, self.loop.time())
        self.react()

    def due(self) -> None:
        """Do what is due."""
        self.endpoint.expire(self.loop.time())
        self.react()

    def close(self) -> None:
        """Say goodbye to every caller."""
        self.endpoint.close(self.loop.time())
        self.react()

    def react(self) -> None:
        """Look at what the endpoint left in its lists; done after each verb."""
        for session, packet in self.media:
            self.echo(session, packet)
        self.media.clear()
        for session, event in self.events:
            print(event, file=sys.stderr)
            if isinstance(event, Closed | Failed):
                del self.payload_types[session]
        self.events.clear()
        for datagram, to in self.outbox:
            self.transport.sendto(datagram, cast("tuple[str, int]", to))
        self.outbox.clear()
        if self.timer is not None:
            self.timer.cancel()
        deadline = self.endpoint.deadline
        self.timer = None if deadline == NEVER else self.loop.call_at(deadline, self.due)

    def echo(self, session: Session, packet: bytes) -> None:
        """Send the payload of a packet back, in a packet of ours."""
        header = rtp.read(packet)
        if header is not None and header[0] == self.payload_types[session]:
            payload_type, marker, sequence, timestamp, _, start, end = header
            echoed = rtp.build(payload_type, marker, sequence, timestamp, session.config.ssrc, packet[start:end])
            session.send(echoed, self.loop.time())

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
            transport_address=lambda address: cast("tuple[str, int]", address)[:2],
        )
        session = self.endpoint.admit(config, self.loop.time())
        self.payload_types[session] = offer.audio.payload_type
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
        """Answer one request: a POST brings an offer, anything else asks for the page. The least HTTP that a browser takes."""
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = re.search(r"\ncontent-length: *(\d{1,5})\r", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            status, kind, reply = "200 OK", "text/html", PAGE
            if head.startswith("post "):
                try:
                    status, kind, reply = "201 Created", "application/sdp", self.answer(body.decode("utf-8", "replace"))
                except sdp.SdpError as error:
                    status, kind, reply = "400 Bad Request", "text/plain", str(error)
            content = f"content-type: {kind}\r\ncontent-length: {len(reply.encode())}"
            writer.write(f"HTTP/1.1 {status}\r\n{content}\r\nconnection: close\r\n\r\n{reply}".encode())
            await writer.drain()


async def main() -> None:
    _, echo = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    server = await asyncio.start_server(echo.signal, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    try:
        await server.serve_forever()
    finally:
        echo.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
