"""A transceiver without port and calls without media, behind the interface that signaling knows."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import httpx
import trio
from starlette.applications import Starlette

from trioice import sdp
from trioice.dtls import Fingerprint
from trioice.metrics import Sample
from trioice.transceiver.server import Exhausted

OFFER = (Path(__file__).parents[1] / "vectors/offers/chromium-156-audio-data.sdp").read_bytes().decode()
UFRAG, PWD = "ysXw", "vw5LmwG4y/e6dPP/zAP9Gp5k"


class StandInCall:
    def __init__(self, number: int, answer: str, session: object) -> None:
        self.id = f"rtc_{number}"
        self.answer = answer
        self.session = session
        self.restarts = 0
        self.ended = trio.Event()
        self.why = ""

    @property
    def etag(self) -> str:
        return f"{self.id}-{self.restarts}"

    def hang_up(self) -> None:
        self.end("hung up")

    def end(self, why: str) -> None:
        if not self.ended.is_set():
            self.why = why
            self.ended.set()

    def stats(self) -> dict[str, object]:
        return {"packets_received": 7}


class StandIn:
    """Answers as the transceiver does, and remembers all calls it made in `made`."""

    def __init__(self, limit: int = 100) -> None:
        self.running = True
        self.candidates: Sequence[sdp.Candidate] = [sdp.Candidate("192.0.2.1", 3478)]
        self.made: list[StandInCall] = []
        self.limit = limit
        self.fault: Exception | None = None

    def answer(self, offer: str, *, session: object = None, owner: str = "") -> StandInCall:
        if self.fault is not None:
            raise self.fault
        if not self.running or len(self.made) >= self.limit:
            raise Exhausted("all calls are taken")
        call = StandInCall(len(self.made) + 1, self._answer(sdp.Offer.read(offer), 0), session)
        self.made.append(call)
        return call

    def restart(self, call: StandInCall, offer: str) -> str:
        call.answer = self._answer(sdp.Offer.read(offer), call.restarts + 1)
        call.restarts += 1
        return call.answer

    def restart_ice(self, call: StandInCall, ufrag: str, pwd: str) -> tuple[str, str]:
        assert (ufrag, pwd) == (UFRAG, PWD)
        call.restarts += 1
        return f"trio{call.restarts}", "p" * 32

    def find(self, call_id: str) -> StandInCall | None:
        return next((call for call in self.made if call.id == call_id and not call.ended.is_set()), None)

    def metrics(self) -> Iterable[Sample]:
        return [Sample(name="trioice_calls", kind="gauge", help="Calls that live.", value=len(self.made))]

    def _answer(self, offer: sdp.Offer, restarts: int) -> str:
        return sdp.answer(
            offer,
            ufrag=f"trio{restarts}",
            pwd="p" * 32,
            fingerprint=Fingerprint("sha-256", bytes(32)),
            setup=offer.answer_setup(),
            candidates=self.candidates,
            ssrc=1,
            cname="cname",
            origin=1,
        )


class Body(httpx.AsyncByteStream):
    """A body that comes in pieces; one that is not `whole` is never ended."""

    def __init__(self, *pieces: bytes, whole: bool = False) -> None:
        self.pieces = [*pieces]
        self.whole = whole
        self.sent = 0

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        if not self.pieces and self.whole:
            raise StopAsyncIteration
        if not self.pieces:
            await trio.sleep(3600)
        piece = self.pieces.pop(0)
        self.sent += len(piece)
        return piece


class Transport(httpx.ASGITransport):
    """As httpx has it, but with bodies whose reading may end anywhere: an async generator left lying is an error under trio."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(request.stream, Body):
            request.stream = Body(await request.aread(), whole=True)
        return await super().handle_async_request(request)


def client_of(app: Starlette, address: str = "192.0.2.9") -> httpx.AsyncClient:
    """An HTTP client whose requests go straight into `app`, as if from `address`."""
    return httpx.AsyncClient(transport=Transport(app, client=(address, 4711)), base_url="http://trioice.test")
