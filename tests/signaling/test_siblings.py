"""Workers among themselves: a request for another's call reaches its owner, and figures reach whoever is asked for them."""

import logging
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from trio.testing import MockClock, memory_stream_pair

from tests.signaling.stand_in import OFFER, Body, StandIn, StandInCall, client_of
from tests.signaling.test_http import FRAGMENT, RESTART, SDP
from trioice.metrics import Histogram, Sample
from trioice.signaling.http import application, observability
from trioice.signaling.limits import OfferRate
from trioice.signaling.siblings import FIGURES, Siblings

FIRST = 0xFE
"""The shard of the first worker: ids are in hexadecimal."""


REQUEST = b'{"method": "DELETE", "path": "/", "headers": [], "client": null}'


async def hung(path: Path) -> trio.socket.SocketType:
    """What a worker is that does nothing any more: it listens, and nobody accepts."""
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(path))
    sock.listen()
    return sock


class Shard(StandIn):
    """A stand-in whose call ids name a shard, as the transceiver's do."""

    def __init__(self, shard: int) -> None:
        super().__init__()
        self.shard = shard

    def answer(self, offer: str, *, session: object = None, owner: str = "") -> StandInCall:
        call = super().answer(offer, session=session, owner=owner)
        call.id = f"{call.id}.{self.shard:x}"
        return call


class Family:
    """Three workers; the third is dead."""

    def __init__(self, folder: Path, *, token: str | None = None, burst: float = 20.0) -> None:
        self.siblings = [Siblings(str(folder), number, 3, first_shard=FIRST) for number in range(3)]
        self.transceivers = [Shard(FIRST + number) for number in range(3)]
        self.clients = [
            client_of(application(transceiver, token=token, rate=OfferRate(1.0, burst), siblings=siblings))
            for transceiver, siblings in zip(self.transceivers, self.siblings, strict=True)
        ]

    async def call(self, path: str = "/calls", **headers: str) -> tuple[str, StandInCall]:
        """A call of the first worker: its location, and it."""
        response = await self.clients[0].post(path, content=OFFER, headers=SDP | headers)
        assert response.status_code == 201
        return response.headers["location"], self.transceivers[0].made[-1]


@pytest.fixture
async def family(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Family]:
    family = Family(tmp_path)
    for siblings in family.siblings[:2]:
        await nursery.start(siblings.serve)
    yield family
    nursery.cancel_scope.cancel()


async def test_a_request_at_the_wrong_worker_is_answered_by_the_owner(family: Family) -> None:
    wrong = family.clients[1]
    location, call = await family.call()
    assert (await wrong.get(location)).json() == call.stats()
    restarted = await wrong.patch(location, content=OFFER, headers=SDP)
    assert (restarted.status_code, restarted.headers["etag"]) == (200, f'"{call.id}-1"')
    assert restarted.text == call.answer
    assert (await wrong.delete(location)).status_code == 200
    assert call.ended.is_set()
    assert (await wrong.delete(location)).status_code == 404
    assert family.transceivers[1].made == []


async def test_headers_as_long_as_they_may_be_reach_the_owner(family: Family) -> None:
    location, call = await family.call()
    headers = {"X-Long": b"\xff" * 60_000}
    restarted = await family.clients[1].patch(location, content=OFFER, headers={**SDP, **headers})  # type: ignore[arg-type]
    assert (restarted.status_code, restarted.text) == (200, call.answer)


async def test_the_other_shapes_reach_the_owner_as_well(family: Family) -> None:
    location, call = await family.call("/whip")
    headers = {**FRAGMENT, "If-Match": "*"}
    restarted = await family.clients[1].patch(location, content=RESTART, headers=headers)
    assert (restarted.status_code, call.restarts) == (200, 1)
    assert "a=ice-ufrag:trio1" in restarted.text
    location, call = await family.call("/v1/realtime/calls")
    assert (await family.clients[1].post(location + "/hangup")).status_code == 200
    assert call.ended.is_set()


@pytest.mark.parametrize(
    ("method", "headers", "content", "status"),
    [
        ("PATCH", {**FRAGMENT, "If-Match": '"rtc_1.fe-0"'}, "a=mid:0\r\n", 204),
        ("PATCH", FRAGMENT, RESTART, 428),
        ("PATCH", {**FRAGMENT, "If-Match": '"x"'}, RESTART, 412),
        ("PATCH", {**FRAGMENT, "If-Match": "*"}, "nonsense", 400),
        ("PATCH", {**SDP, "If-Match": "*"}, OFFER, 415),
        ("PATCH", {**FRAGMENT, "If-Match": "*"}, "x" * 70_000, 413),
        ("GET", {}, "", 405),
        ("OPTIONS", {}, "", 200),
    ],
)
async def test_the_answer_is_the_same_wherever_the_request_arrives(
    family: Family, method: str, headers: dict[str, str], content: str, status: int
) -> None:
    location, _ = await family.call("/whip")
    answers = [
        await client.request(method, location, headers=headers, content=content) for client in family.clients[:2]
    ]
    assert [answer.status_code for answer in answers] == [status] * 2
    assert answers[0].content == answers[1].content
    assert sorted(answers[0].headers.raw) == sorted(answers[1].headers.raw)


@pytest.mark.parametrize("shard", ["fd", "101", "0fe", "FE", "+fe", "fe ", "", "fffffffffffffffff", "é"])
async def test_an_id_whose_shard_nobody_has_is_404(family: Family, shard: str) -> None:
    await family.call()
    assert (await family.clients[1].delete(f"/calls/rtc_1.{shard}")).status_code == 404


async def test_a_dead_owner_is_503_with_the_time_to_ask_again(family: Family) -> None:
    response = await family.clients[1].delete(f"/calls/rtc_1.{FIRST + 2:x}")
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert response.text == "the call's worker is not there\n"


async def test_an_owner_that_does_not_answer_is_503(tmp_path: Path, autojump_clock: MockClock) -> None:
    with await hung(tmp_path / "0"):
        assert (await Family(tmp_path).clients[1].delete(f"/calls/rtc_1.{FIRST:x}")).status_code == 503


async def test_an_owner_gives_up_what_takes_too_long(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    family = Family(tmp_path)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    family.siblings[0].answer_by(app)
    ours, theirs = memory_stream_pair()
    nursery.start_soon(family.siblings[0].converse, ours)
    await theirs.send_all(struct.pack("!II", len(REQUEST), 0) + REQUEST)
    assert await theirs.receive_some() == b""


async def test_a_fault_of_the_owner_is_that_request_s_alone(family: Family, caplog: pytest.LogCaptureFixture) -> None:
    location, call = await family.call()
    call.hang_up = lambda: 1 // 0  # type: ignore[method-assign, assignment]
    response = await family.clients[1].delete(location)
    assert (response.status_code, response.text) == (500, "the request failed; this is our fault\n")
    assert "ZeroDivisionError" in caplog.text
    assert (await family.clients[1].patch(location, content=OFFER, headers=SDP)).status_code == 200


async def test_a_body_that_does_not_end_is_408(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    family = Family(tmp_path)
    request = httpx.Request("PATCH", f"http://trioice.test/calls/rtc_1.{FIRST:x}", headers=SDP, stream=Body(b"v=0"))
    assert (await family.clients[1].send(request)).status_code == 408


async def test_the_token_is_wanted_where_the_request_arrives_and_goes_no_further(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    family = Family(tmp_path, token="secret")
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await PlainTextResponse("done")(scope, receive, send)

    family.siblings[0].answer_by(app)
    await nursery.start(family.siblings[0].serve)
    location = f"/calls/rtc_1.{FIRST:x}"
    assert (await family.clients[1].delete(location)).status_code == 401
    assert scopes == []
    bearer = {"Authorization": "Bearer secret", "If-Match": "*"}
    assert (await family.clients[1].delete(location, headers=bearer)).text == "done"
    (scope,) = scopes
    assert (b"if-match", b"*") in scope["headers"]
    assert b"authorization" not in dict(scope["headers"])
    assert tuple(scope["client"]) == ("192.0.2.9", 4711)
    nursery.cancel_scope.cancel()


async def test_a_restart_is_counted_once_and_by_the_owner(tmp_path: Path, nursery: trio.Nursery) -> None:
    family = Family(tmp_path, burst=2.0)
    await nursery.start(family.siblings[0].serve)
    location, _ = await family.call()
    statuses = [(await family.clients[1].patch(location, content=OFFER, headers=SDP)).status_code for _ in range(2)]
    assert statuses == [200, 429]  # the first offer of two was the call's
    offers = [(await family.clients[1].post("/calls", content=OFFER, headers=SDP)).status_code for _ in range(3)]
    assert offers == [201, 201, 429]
    nursery.cancel_scope.cancel()


async def test_figures_are_every_worker_s_and_one_that_is_dead_is_left_out_and_counted(family: Family) -> None:
    await family.call()
    text = (await family.clients[1].get("/metrics")).text
    assert 'trioice_calls{worker="0"} 1\ntrioice_calls{worker="1"} 0\n#' in text
    assert 'trioice_http_responses_total{status="201",worker="0"} 1' in text
    assert 'trioice_silent_workers_total{worker="1"} 1' in text
    assert 'worker="2"' not in text


async def test_a_histogram_is_told_whole_by_every_worker(tmp_path: Path, nursery: trio.Nursery) -> None:
    apps = []
    for number in range(2):
        histogram = Histogram("took_seconds", "What it took.", (1.0,))
        histogram.observe(number + 0.5, step="keys")
        siblings = Siblings(str(tmp_path), number, 2)
        apps.append(observability(histogram.samples, siblings=siblings))
        await nursery.start(siblings.serve)
    text = (await client_of(apps[0]).get("/metrics")).text
    assert text.count("# TYPE took_seconds histogram\n") == 1
    for worker, within in enumerate((1, 0)):
        assert f'took_seconds_bucket{{step="keys",le="1",worker="{worker}"}} {within}\n' in text
        assert f'took_seconds_bucket{{step="keys",le="+Inf",worker="{worker}"}} 1\n' in text
        assert f'took_seconds_sum{{step="keys",worker="{worker}"}} {worker + 0.5}\n' in text
    nursery.cancel_scope.cancel()


async def test_one_that_does_not_tell_in_time_is_left_out(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    app = observability(
        lambda: [Sample(name="figure", kind="gauge", help="A figure.", value=1)], siblings=Siblings(str(tmp_path), 0, 2)
    )
    with await hung(tmp_path / "1"):
        text = (await client_of(app).get("/metrics")).text
    assert 'figure{worker="0"} 1' in text
    assert 'trioice_silent_workers_total{worker="0"} 1' in text


async def test_a_path_of_the_inside_is_none_of_the_outside(family: Family) -> None:
    assert (await family.clients[0].get(FIGURES)).status_code == 404


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("!II", 2, 0) + b"{",
        struct.pack("!II", 2, 0) + b"{}",
        struct.pack("!II", 2, 0) + b"[]",
        struct.pack("!II", 2, 0) + b"\xff\xff",
    ],
)
async def test_nonsense_ends_only_the_connection_that_brought_it(
    tmp_path: Path, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    ours, theirs = memory_stream_pair()
    await theirs.send_all(octets)
    await theirs.send_stream.aclose()
    await Siblings(str(tmp_path), 0, 2).converse(ours)
    assert await theirs.receive_some() == b""


@pytest.mark.parametrize("lengths", [(1 << 20, 0), (2, 1 << 20)])
async def test_what_is_too_long_is_not_waited_for(
    tmp_path: Path, autojump_clock: MockClock, lengths: tuple[int, int]
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(struct.pack("!II", *lengths) + b"{}")
    began = trio.current_time()
    await Siblings(str(tmp_path), 0, 2).converse(ours)
    assert trio.current_time() == began


async def test_a_restarted_worker_takes_the_place_of_the_dead_one(tmp_path: Path, nursery: trio.Nursery) -> None:
    for _ in range(2):
        family = Family(tmp_path)
        async with trio.open_nursery() as life:
            await life.start(family.siblings[0].serve)
            location, _ = await family.call()
            assert (await family.clients[1].delete(location)).status_code == 200
            life.cancel_scope.cancel()
