"""Workers among themselves: a request that is another worker's is answered by that one, and each tells the others its figures.

All workers accept from the same address, so a request about a call arrives anywhere. The call's id ends with the shard that owns it
(`trioice.transceiver.server`); the worker that has the request has checked the bearer token and bounds the body, and passes all else on
to the owner, over a Unix socket in a directory that no other user can enter. Whatever the owner answers is the answer.

One connection carries one request: the lengths of a head and a body, a head in JSON, and the body; and a response of the same form.
"""

import json
import logging
import os
import re
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import attrs
import trio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trioice.metrics import Sample
from trioice.signaling import faults
from trioice.signaling.limits import MAX_BODY, PATIENCE
from trioice.signaling.shell import OUR_FAULT, Endpoint

logger = logging.getLogger(__name__)

FIGURES: Final = "/siblings/figures"
"""The path at which a worker tells the others its figures. It is on the Unix socket alone."""

TELLING: Final = 1.0
"""Seconds that the others have to tell their figures: a tenth of the time that Prometheus gives us."""

MAX_HEAD: Final = 1 << 18
"""Octets of a head: hypercorn takes no more than a quarter of that as headers, and some octets become two."""

MAX_RESPONSE: Final = 1 << 20
"""Octets of a response's body: an answer has some thousands, the figures of a worker some ten thousand."""

BACKLOG: Final = 1024
"""Connections that may wait for a worker that is busy; those beyond are told to come again."""

RETRY_AFTER: Final = "2"
"""Seconds after which a client whose call's worker is gone may ask again: by then there is another, which knows no such call."""

_LENGTHS: Final = struct.Struct("!II")
_SHARD: Final = re.compile(r"0|[1-9a-f][0-9a-f]{0,7}")


class Siblings:
    """The other workers, as one of them sees them: `number` of `count`, whose shards are `first_shard` and those that follow."""

    def __init__(self, folder: str, number: int, count: int, *, first_shard: int = 0) -> None:
        self.number = number
        self._folder = folder
        self._count = count
        self._first_shard = first_shard
        self._silent = 0  # times that another one did not tell its figures
        self._app: ASGIApp = _nobody
        self._figures: Callable[[], Iterable[Sample]] = tuple

    # What we ask of the others

    def owned(self, endpoint: Endpoint) -> Endpoint:
        """Make of an endpoint for a call, the path's ``{id}``, one that passes on the requests for other workers' calls."""

        async def owned(request: Request) -> Response:
            owner = self._owner(request.path_params["id"])
            if owner is None or owner == self.number:
                return await endpoint(request)
            return await self._pass_on(request, owner)

        return owned

    async def everyones(self) -> list[Sample]:
        """All workers' figures, each with its worker as a label; of those who do not tell them within `TELLING` seconds, none."""
        figures: dict[int, Iterable[Sample]] = {}

        async def ask(number: int) -> None:
            try:
                with trio.fail_after(TELLING):
                    _, body = await self._exchange(number, {"method": "GET", "path": FIGURES, "headers": []}, b"")
                figures[number] = [Sample(**sample) for sample in json.loads(body)]
            except (OSError, ValueError, trio.TooSlowError):
                self._silent += 1

        async with trio.open_nursery() as nursery:
            for number in range(self._count):
                if number != self.number:
                    nursery.start_soon(ask, number)
        figures[self.number] = self._figures()
        return [
            attrs.evolve(sample, labels={**sample.labels, "worker": str(number)})
            for number in sorted(figures)
            for sample in figures[number]
        ]

    def metrics(self) -> Iterable[Sample]:
        """Count what the others owed us."""
        text = "Times that another worker did not tell its figures in time, and was left out of /metrics."
        yield Sample(name="trioice_silent_workers_total", kind="counter", help=text, value=self._silent)

    def _owner(self, call_id: str) -> int | None:
        """The number of the worker that has this call if anyone has."""
        shard = call_id.rpartition(".")[2]
        if _SHARD.fullmatch(shard) is None:
            return None
        number = int(shard, 16) - self._first_shard
        return number if 0 <= number < self._count else None

    async def _pass_on(self, request: Request, owner: int) -> Response:
        body = b""
        if request.method == "PATCH":  # nothing else about a call has a body that means something
            with trio.move_on_after(PATIENCE) as patience:
                body = await request.body()
            if patience.cancelled_caught:
                raise HTTPException(408, f"the body did not arrive within {PATIENCE:.0f} seconds")
        head = {
            "method": request.method,
            "path": request.scope["path"],
            "client": request.scope.get("client"),
            # The token has done its work.
            "headers": [_text(pair) for pair in request.scope["headers"] if pair[0].lower() != b"authorization"],
        }
        try:
            with trio.fail_after(PATIENCE):
                answered, body = await self._exchange(owner, head, body)
        except (OSError, ValueError, trio.TooSlowError) as error:
            logger.warning("worker %d did not answer: %s", owner, faults.describe(error))
            raise HTTPException(503, "the call's worker is not there", {"Retry-After": RETRY_AFTER}) from None
        response = Response(body, answered["status"])
        response.raw_headers = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in answered["headers"]
        ]
        return response

    async def _exchange(self, number: int, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Ask another worker. Raises OSError, or ValueError for what is no response."""
        try:
            async with await trio.open_unix_socket(self._path(number)) as stream:
                await _write(stream, head, body)
                return await _read(stream, MAX_RESPONSE)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise OSError(str(error)) from None

    def _path(self, number: int) -> str:
        return os.path.join(self._folder, str(number))

    # What the others ask of us

    def answer_by(self, app: ASGIApp) -> None:
        """Let `app` answer the requests for our calls that arrived elsewhere."""
        self._app = app

    def tell(self, figures: Callable[[], Iterable[Sample]]) -> None:
        """Tell the others these figures."""
        self._figures = figures

    async def serve(self, task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer the others until cancelled."""
        with _listening(self._path(self.number)) as sock:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
            await trio.serve_listeners(self.converse, [listener], task_status=task_status)

    async def converse(self, stream: trio.abc.Stream) -> None:
        """Answer one request; whatever goes wrong in it ends nothing else."""
        try:
            async with stream:
                with trio.fail_after(PATIENCE):
                    head, body = await _read(stream, MAX_BODY)
                    await _write(stream, *await self._respond(head, body))
        except (OSError, ValueError, trio.BrokenResourceError, trio.TooSlowError):
            pass  # it went away, and tells its client so
        except Exception as error:  # noqa: BLE001  the boundary
            logger.error("a request of another worker failed: %s", faults.describe(error))

    async def _respond(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        if head["path"] == FIGURES:
            figures = [attrs.asdict(sample) for sample in self._figures()]
            return {"status": 200, "headers": []}, json.dumps(figures).encode()
        return await _ask(self._app, head, body)


def _listening(path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        os.unlink(path)  # of the worker that was here before us
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


async def _ask(app: ASGIApp, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    """Have an ASGI application answer a request; the head and the body of the response."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": head["method"],
        "path": head["path"],
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head["headers"]],
        "client": head["client"],
    }
    responses: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        responses.append(message)

    try:
        await app(scope, receive, send)
    except Exception as error:  # noqa: BLE001  as in `shell.Shell`
        logger.error("a request failed: %s", faults.describe(error))
        return {"status": 500, "headers": [("content-type", "text/plain; charset=utf-8")]}, OUR_FAULT.encode()
    start, *pieces = responses
    answered = {"status": start["status"], "headers": [_text(pair) for pair in start["headers"]]}
    return answered, b"".join(piece.get("body", b"") for piece in pieces)


async def _write(stream: trio.abc.SendStream, head: dict[str, Any], body: bytes) -> None:
    text = json.dumps(head, ensure_ascii=False).encode()
    await stream.send_all(_LENGTHS.pack(len(text), len(body)) + text + body)


async def _read(stream: trio.abc.ReceiveStream, most: int) -> tuple[dict[str, Any], bytes]:
    """Read what `_write` wrote, with a body of at most `most` octets. Raises ValueError."""
    head_length, body_length = _LENGTHS.unpack(await _exactly(stream, _LENGTHS.size))
    if head_length > MAX_HEAD or body_length > most:
        raise ValueError("too long")
    head = json.loads(await _exactly(stream, head_length))
    return head, await _exactly(stream, body_length)


async def _exactly(stream: trio.abc.ReceiveStream, length: int) -> bytes:
    octets = bytearray()
    while len(octets) < length:
        piece = await stream.receive_some(length - len(octets))
        if not piece:
            raise ValueError("it ended early")
        octets += piece
    return bytes(octets)


def _text(header: tuple[bytes, bytes]) -> tuple[str, str]:
    name, value = header
    return name.decode("latin-1"), value.decode("latin-1")


async def _nobody(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("no such call\n", 404)(scope, receive, send)
