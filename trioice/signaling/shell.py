"""What stands around every HTTP response: one path's methods, the bound of a body, cross-origin rules, and the fault boundary."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trioice.signaling import faults
from trioice.signaling.limits import MAX_BODY, Bearer

logger = logging.getLogger(__name__)

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

ALLOWED_HEADERS: Final = "Authorization, Content-Type, If-Match, OpenAI-Safety-Identifier"
EXPOSED_HEADERS: Final = "Accept-Patch, Accept-Post, Allow, ETag, Location, Retry-After"
OUR_FAULT: Final = "the request failed; this is our fault\n"


class Resource:
    """A path and what each method means there. OPTIONS tells what there is, any other method is answered with 405.

    `takes` names the media types of POST and PATCH (RFC 9725, 4.2 wants them told). OPTIONS needs no token, as browsers ask
    without one before they send it (Fetch, 3.2.6).
    """

    def __init__(self, *, bearer: Bearer | None = None, takes: str = "application/sdp", **endpoints: Endpoint) -> None:
        self.endpoints: Mapping[str, Endpoint] = endpoints
        self._bearer = bearer
        self._head = {"Allow": ", ".join([*endpoints, "OPTIONS"])}
        if "POST" in endpoints:
            self._head["Accept-Post"] = takes
        if "PATCH" in endpoints:
            self._head["Accept-Patch"] = takes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as ASGI 3 wants it."""
        response = await self._respond(Request(scope, _bounded(receive)))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(headers={**self._head, "Access-Control-Allow-Methods": self._head["Allow"]})
        endpoint = self.endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            raise HTTPException(405, f"{request.method} means nothing here", {"Allow": self._head["Allow"]})
        if self._bearer is not None and not self._bearer.admits_header(request.headers.get("authorization")):
            raise HTTPException(401, "a bearer token is wanted", {"WWW-Authenticate": 'Bearer realm="trioice"'})
        return await endpoint(request)


def _bounded(receive: Receive) -> Receive:
    """Count a body as it comes in, so that one too large is refused before it is held."""
    octets = 0

    async def bounded() -> Message:
        nonlocal octets
        message = await receive()
        octets += len(message.get("body", b""))
        if octets > MAX_BODY:
            raise HTTPException(413, f"the body is larger than {MAX_BODY} octets")
        return message

    return bounded


class Shell:
    """Around the whole application: a fault in one request is that request's alone, and no answer says more of it than 500."""

    def __init__(self, app: ASGIApp, *, origin: str, responses: Counter[int]) -> None:
        self._app = app
        self._responses = responses
        self._headers = [
            (name.lower().encode(), value.encode())
            for name, value in {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Headers": ALLOWED_HEADERS,
                "Access-Control-Expose-Headers": EXPOSED_HEADERS,
                "Access-Control-Max-Age": "600",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            }.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as ASGI 3 wants it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._responses[message["status"]] += 1
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except Exception as error:  # noqa: BLE001  whatever it is, it must not reach the other connections
            logger.error("a request failed: %s", faults.describe(error))
            if not started:
                await PlainTextResponse(OUR_FAULT, 500)(scope, receive, send_marked)
