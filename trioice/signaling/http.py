"""Signaling over HTTP, as an ASGI application: plain ``/calls``, OpenAI's ``/v1/realtime/calls``, and WHIP (RFC 9725).

The three shapes make the same calls; an id from one is good in the others. Every refusal is ``text/plain``, one line, and says
what was wrong. docs/reference/signaling.md lists the routes with their status codes.
"""

import json
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final, Generic, TypeAlias

import trio
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router

from trioice import sdp
from trioice.errors import LocalProtocolError
from trioice.metrics import CONTENT_TYPE, Sample, exposition
from trioice.signaling.interface import C, Transceiver
from trioice.signaling.limits import (
    MAX_BODY,
    MAX_VALUES,
    PATIENCE,
    Bearer,
    OfferRate,
    network_of,
    too_many_values,
)
from trioice.signaling.shell import Endpoint, Resource, Shell
from trioice.signaling.siblings import Siblings
from trioice.transceiver.server import Crowded, Exhausted

SDP: Final = "application/sdp"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"
FORM: Final = "multipart/form-data"

RETRY_AFTER: Final = "2"
"""Seconds after which a client that found us full may ask again: about as long as a rolling restart leaves a gap."""


# The parser of forms warns of each malformed one, at the client's pleasure; the client is told, and that is enough.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

Metrics: TypeAlias = Callable[[], Iterable[Sample]]


def application(
    transceiver: Transceiver[C],
    *,
    token: str | None = None,
    origin: str = "*",
    rate: OfferRate | None = None,
    more_metrics: Metrics = tuple,
    siblings: Siblings | None = None,
) -> Starlette:
    """Make the ASGI application that signals for `transceiver`.

    With a `token`, calls and metrics want it as bearer; the page and ``/healthz`` do not. `origin` is the one web origin whose
    pages may call, or ``*``. `rate` bounds the offers of an address, and may be shared with the WebSocket's. `more_metrics` are
    shown beside the transceiver's own. `siblings` are asked about the calls that are theirs, and may ask about ours.
    """
    calls = _Calls(transceiver, rate or OfferRate())
    bearer = Bearer(token)
    resources = {
        "/calls": Resource(bearer=bearer, POST=calls.create_call),
        "/v1/realtime/calls": Resource(bearer=bearer, takes=f"{SDP}, {FORM}", POST=calls.create_realtime_call),
        "/whip": Resource(bearer=bearer, POST=calls.create_whip_session),
    }
    if siblings is None:
        resources |= _of_one_call(calls, bearer)
    else:
        resources |= _of_one_call(calls, bearer, siblings.owned)
        # Whoever asks from there has seen the token, and marks the answer as its own: so there is no bearer and no shell.
        ours = [Route(path, resource) for path, resource in _of_one_call(calls, Bearer(None)).items()]
        siblings.answer_by(ExceptionMiddleware(Router(ours, redirect_slashes=False), _REFUSALS))

    def metrics() -> Iterable[Sample]:
        return [*transceiver.metrics(), *more_metrics()]

    return _starlette(resources | _pages(), metrics, lambda: transceiver.running, bearer, origin, siblings)


def _of_one_call(
    calls: "_Calls[C]", bearer: Bearer, owned: Callable[[Endpoint], Endpoint] = lambda endpoint: endpoint
) -> dict[str, Resource]:
    """Make the resources whose paths name a call; `owned` may send elsewhere what is asked about others' calls."""
    restart, trickle, hang_up = owned(calls.restart_call), owned(calls.trickle_or_restart), owned(calls.hang_up)
    return {
        "/calls/{id}": Resource(bearer=bearer, GET=owned(calls.stats), PATCH=restart, DELETE=hang_up),
        "/v1/realtime/calls/{id}/hangup": Resource(bearer=bearer, takes="*/*", POST=hang_up),
        "/whip/{id}": Resource(bearer=bearer, takes=FRAGMENT, PATCH=trickle, DELETE=hang_up),
    }


def observability(
    metrics: Metrics,
    running: Callable[[], bool] = lambda: True,
    *,
    token: str | None = None,
    siblings: Siblings | None = None,
) -> Starlette:
    """Make an ASGI application of ``/healthz`` and ``/metrics`` alone, for a program without signaling."""
    return _starlette({}, metrics, running, Bearer(token), "*", siblings)


def _starlette(
    resources: dict[str, Resource],
    metrics: Metrics,
    running: Callable[[], bool],
    bearer: Bearer,
    origin: str,
    siblings: Siblings | None,
) -> Starlette:
    responses: Counter[int] = Counter()
    about = _About(metrics, running, responses, siblings)
    everything = resources | {
        "/healthz": Resource(GET=about.health),
        "/metrics": Resource(bearer=bearer, GET=about.metrics),
    }
    app = Starlette(
        routes=[Route(path, resource) for path, resource in everything.items()],
        middleware=[Middleware(Shell, origin=origin, responses=responses)],
        exception_handlers=_REFUSALS,
    )
    app.router.redirect_slashes = False
    return app


class _Calls(Generic[C]):
    """The endpoints that make calls, restart their ICE and end them."""

    def __init__(self, transceiver: Transceiver[C], rate: OfferRate) -> None:
        self._transceiver = transceiver
        self._rate = rate

    async def create_call(self, request: Request) -> Response:
        self._admit_offer(request)
        call = self._transceiver.answer(await _text(request, SDP), owner=_owner(request))
        return _created(call, "/calls")

    async def restart_call(self, request: Request) -> Response:
        call = self._find(request)
        if "if-match" in request.headers:
            _demand_match(request.headers["if-match"], call)
        self._admit_offer(request)
        answer = self._transceiver.restart(call, await _text(request, SDP))
        return Response(answer, 200, {"ETag": _etag(call)}, SDP)

    async def stats(self, request: Request) -> Response:
        return JSONResponse(self._find(request).stats())

    async def hang_up(self, request: Request) -> Response:
        self._find(request).hang_up()
        return Response()

    async def create_realtime_call(self, request: Request) -> Response:
        self._admit_offer(request)
        if _media_type(request) == FORM:
            offer, session = await _form(request)
        else:
            offer, session = await _text(request, SDP), None
        return _created(self._transceiver.answer(offer, session=session, owner=_owner(request)), "/v1/realtime/calls")

    async def create_whip_session(self, request: Request) -> Response:
        # Deviation: RFC 9725, 4.4.3 would have an offer refused as a whole for a video section that cannot be taken. We reject the
        # section alone, as everywhere, so that the same page works with every shape.
        self._admit_offer(request)
        return _created(self._transceiver.answer(await _text(request, SDP), owner=_owner(request)), "/whip")

    async def trickle_or_restart(self, request: Request) -> Response:
        """Answer a PATCH (RFC 9725, 4.3): ``If-Match: *`` restarts ICE, an entity-tag trickles candidates to that ICE session."""
        call = self._find(request)
        fragment = sdp.read_fragment(await _text(request, FRAGMENT))
        condition = request.headers.get("if-match")
        if condition is None:
            raise HTTPException(428, "If-Match is wanted: an entity-tag to trickle, * to restart ICE")
        _demand_match(condition, call)
        if condition.strip() != "*":
            return Response(
                status_code=204
            )  # a lite agent has no use for candidates: the checks show where they come from
        if fragment.ice_ufrag is None or fragment.ice_pwd is None:
            raise HTTPException(400, "an ICE restart needs a=ice-ufrag and a=ice-pwd")
        self._admit_offer(request)
        ufrag, pwd = self._transceiver.restart_ice(call, fragment.ice_ufrag, fragment.ice_pwd)
        body = sdp.fragment(ufrag, pwd, self._transceiver.candidates, mid=sdp.accepted_mid(call.answer))
        return Response(body, 200, {"ETag": _etag(call)}, FRAGMENT)

    def _find(self, request: Request) -> C:
        call = self._transceiver.find(request.path_params["id"])
        if call is None:
            raise HTTPException(404, "no such call")
        return call

    def _admit_offer(self, request: Request) -> None:
        wait = self._rate.wait(request.client.host if request.client else "", trio.current_time())
        if wait:
            raise HTTPException(429, "too many offers from this address", {"Retry-After": str(math.ceil(wait))})


class _About:
    """The endpoints that tell about us: whether we are well, and what we counted."""

    def __init__(
        self, metrics: Metrics, running: Callable[[], bool], responses: Counter[int], siblings: Siblings | None
    ) -> None:
        self._metrics = metrics
        self._running = running
        self._responses = responses
        self._siblings = siblings
        if siblings is not None:
            siblings.tell(self._own)

    async def health(self, request: Request) -> Response:
        if not self._running():
            raise HTTPException(503, "stopping", {"Retry-After": RETRY_AFTER})
        return PlainTextResponse("ok\n")

    async def metrics(self, request: Request) -> Response:
        samples = self._own() if self._siblings is None else await self._siblings.everyones()
        return Response(exposition(samples), headers={"Content-Type": CONTENT_TYPE})

    def _own(self) -> list[Sample]:
        responses = [
            Sample(
                name="trioice_http_responses_total",
                kind="counter",
                help="Responses of HTTP signaling by status code.",
                value=count,
                labels={"status": str(status)},
            )
            for status, count in sorted(self._responses.items())
        ]
        return [*self._metrics(), *responses, *(self._siblings.metrics() if self._siblings else ())]


def _pages() -> dict[str, Resource]:
    """Make a resource of each file of the page. There is a path for what is there and for nothing else, so none leads elsewhere."""
    pages = {}
    for entry in files("trioice.signaling").joinpath("page").iterdir():
        kind = _CONTENT_TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None:
            pages[f"/{entry.name}"] = pages[f"/page/{entry.name}"] = Resource(GET=_page(entry, kind))
            if entry.name == "index.html":
                pages["/"] = pages["/index.html"]
    return pages


def _page(entry: Traversable, kind: str) -> Endpoint:
    async def page(_: Request) -> Response:
        return Response(entry.read_bytes(), media_type=kind)

    return page


def _created(call: C, path: str) -> Response:
    return Response(call.answer, 201, {"Location": f"{path}/{call.id}", "ETag": _etag(call)}, SDP)


def _etag(call: C) -> str:
    return f'"{call.etag}"'


def _demand_match(condition: str, call: C) -> None:
    """Evaluate ``If-Match`` (RFC 9110, 13.1.1); the tags that we make hold no comma."""
    if not {"*", _etag(call)} & {tag.strip() for tag in condition.split(",")}:
        raise HTTPException(412, "the entity-tag is not the current one")


def _owner(request: Request) -> str:
    """Who is asking, as far as calls are counted."""
    return network_of(request.client.host) if request.client else ""


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _text(request: Request, wanted: str) -> str:
    """Read a body of the media type `wanted`."""
    if _media_type(request) != wanted:
        raise HTTPException(415, f"the Content-Type must be {wanted}")
    with trio.move_on_after(PATIENCE):
        return _decoded(await request.body())
    raise _too_slow()


async def _form(request: Request) -> tuple[str, object]:
    """Read OpenAI's form: the offer in the part ``sdp``, and a JSON object in the part ``session`` if there is one."""
    if "charset" in request.headers.get("content-type", "").lower():
        # The parser of forms would decode by any codec of Python's that a client names, and some take quadratic time.
        raise HTTPException(415, "a form is UTF-8, and takes no charset")
    with trio.move_on_after(PATIENCE):
        async with request.form(max_files=4, max_fields=4, max_part_size=MAX_BODY) as form:
            parts = {
                name: _decoded(await part.read()) if isinstance(part, UploadFile) else part
                for name, part in form.items()
            }
        if "sdp" not in parts:
            raise HTTPException(400, "the form has no part sdp")
        return parts["sdp"], read_session(parts["session"]) if "session" in parts else None
    raise _too_slow()


def read_session(text: str) -> dict[str, object]:
    """Read the JSON object that a client sends along for the agent; raises `HTTPException`."""
    if too_many_values(text):
        raise HTTPException(400, f"the session has more than {MAX_VALUES} values")
    try:
        session = json.loads(text)
    except (ValueError, RecursionError):  # the latter for arrays within arrays without end
        session = None
    if not isinstance(session, dict):
        raise HTTPException(400, "the session is not a JSON object")
    return session


def _too_slow() -> HTTPException:
    return HTTPException(408, f"the body did not arrive within {PATIENCE:.0f} seconds")


def _decoded(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise HTTPException(400, "the text is not UTF-8") from None


async def _refuse(_: Request, error: Exception) -> Response:
    """Say what was wrong, in one line of text."""
    if isinstance(error, HTTPException):
        return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    return PlainTextResponse(f"{error}\n", status, {"Retry-After": RETRY_AFTER} if status == 503 else None)


_STATUS: Final[dict[type[Exception], int]] = {
    sdp.OfferRefused: 422,  # well-formed, and nothing in it for us (RFC 9110, 15.5.21)
    sdp.SdpError: 400,
    Exhausted: 503,
    Crowded: 429,
    LocalProtocolError: 409,  # what is asked does not fit the state that the call is in
    ClientDisconnect: 400,  # nobody will read it
}
_REFUSALS: Final[dict[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    HTTPException: _refuse,
    **dict.fromkeys(_STATUS, _refuse),
}
_CONTENT_TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "wav": "audio/wav",
}
