"""HTTP signaling: what each route answers, and a test for every status code."""

import logging
from collections.abc import AsyncIterator

import httpx
import pytest
import trio
from starlette.types import Message

from tests.signaling.stand_in import OFFER, PWD, UFRAG, Body, StandIn, client_of
from trioice import sdp
from trioice.signaling.http import application, observability
from trioice.signaling.limits import OfferRate

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
RESTART = f"a=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PWD}\r\n"
PATHS = ("/calls", "/v1/realtime/calls", "/whip")


@pytest.fixture
def transceiver() -> StandIn:
    return StandIn()


@pytest.fixture
async def client(transceiver: StandIn) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(application(transceiver)) as client:
        yield client


async def created(client: httpx.AsyncClient, path: str = "/calls") -> httpx.Response:
    response = await client.post(path, content=OFFER, headers=SDP)
    assert response.status_code == 201
    return response


# 201, 200, 204: what is asked for is done


@pytest.mark.parametrize("path", PATHS)
async def test_an_offer_makes_a_call_201(client: httpx.AsyncClient, transceiver: StandIn, path: str) -> None:
    response = await created(client, path)
    (call,) = transceiver.made
    assert response.text == call.answer
    assert response.headers["content-type"] == "application/sdp"
    assert response.headers["location"] == f"{path}/rtc_1"
    assert response.headers["etag"] == '"rtc_1-0"'
    assert response.headers["cache-control"] == "no-store"


async def test_a_content_type_may_have_parameters(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "Application/SDP; charset=utf-8"}
    assert (await client.post("/calls", content=OFFER, headers=headers)).status_code == 201


@pytest.mark.parametrize("path", ["/calls", "/whip"])
async def test_a_delete_hangs_up_200(client: httpx.AsyncClient, transceiver: StandIn, path: str) -> None:
    location = (await created(client, path)).headers["location"]
    response = await client.delete(location, headers={"If-Match": '"ignored here (RFC 9725, 4.3.1)"'})
    assert response.status_code == 200
    assert transceiver.made[0].ended.is_set()
    assert (await client.delete(location)).status_code == 404


async def test_a_call_tells_its_counters_200(client: httpx.AsyncClient, transceiver: StandIn) -> None:
    location = (await created(client)).headers["location"]
    response = await client.get(location)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json() == transceiver.made[0].stats()
    transceiver.made[0].hang_up()
    assert (await client.get(location)).status_code == 404


async def test_openai_hangs_up_by_post_200(client: httpx.AsyncClient, transceiver: StandIn) -> None:
    location = (await created(client, "/v1/realtime/calls")).headers["location"]
    assert (await client.post(location + "/hangup")).status_code == 200
    assert transceiver.made[0].ended.is_set()


async def test_a_call_of_one_shape_can_be_ended_in_another(client: httpx.AsyncClient, transceiver: StandIn) -> None:
    await created(client, "/calls")
    assert (await client.post("/v1/realtime/calls/rtc_1/hangup")).status_code == 200


async def test_a_new_offer_restarts_ice_200(client: httpx.AsyncClient, transceiver: StandIn) -> None:
    location = (await created(client)).headers["location"]
    response = await client.patch(location, content=OFFER, headers=SDP)
    assert response.status_code == 200
    assert "a=ice-ufrag:trio1\r\n" in response.text
    assert response.headers["content-type"] == "application/sdp"
    assert response.headers["etag"] == '"rtc_1-1"'
    assert len(transceiver.made) == 1


async def test_a_whip_restart_200_has_our_new_credentials_and_candidates(client: httpx.AsyncClient) -> None:
    location = (await created(client, "/whip")).headers["location"]
    response = await client.patch(location, content=RESTART, headers={**FRAGMENT, "If-Match": "*"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/trickle-ice-sdpfrag"
    assert response.headers["etag"] == '"rtc_1-1"'
    fragment = sdp.read_fragment(response.text)
    assert (fragment.ice_ufrag, fragment.ice_pwd, fragment.mid) == ("trio1", "p" * 32, "0")
    assert len(fragment.candidates) == 1


async def test_a_whip_trickle_204_changes_nothing(client: httpx.AsyncClient, transceiver: StandIn) -> None:
    location = (await created(client, "/whip")).headers["location"]
    trickle = "a=ice-ufrag:EsAw\nm=audio 9 UDP/TLS/RTP/SAVPF 111\na=mid:0\na=candidate:1 1 udp 1 192.0.2.3 9 typ host\n"
    response = await client.patch(location, content=trickle, headers={**FRAGMENT, "If-Match": '"rtc_1-0"'})
    assert response.status_code == 204
    assert response.content == b""
    assert "etag" not in response.headers
    assert transceiver.made[0].restarts == 0


# OpenAI's form


FORM: dict[str, tuple[str | None, str | bytes, str]] = {
    "sdp": (None, OFFER, "application/sdp"),
    "session": (None, '{"type": "realtime"}', "application/json"),
}


async def test_a_form_makes_a_call_and_keeps_the_session(client: httpx.AsyncClient, transceiver: StandIn) -> None:
    response = await client.post("/v1/realtime/calls", files=FORM)
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/realtime/calls/rtc_1"
    assert transceiver.made[0].session == {"type": "realtime"}


async def test_a_form_may_have_its_parts_as_files_and_no_session(
    client: httpx.AsyncClient, transceiver: StandIn
) -> None:
    files = {"sdp": ("blob", OFFER.encode(), "application/sdp")}
    assert (await client.post("/v1/realtime/calls", files=files)).status_code == 201
    assert transceiver.made[0].session is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sdp": (None, "", "")}, "line 1: "),
        ({"session": (None, "{", "")}, "the session is not a JSON object"),
        ({"session": (None, "[1]", "")}, "the session is not a JSON object"),
        ({"session": (None, "[" * 3_000, "")}, "the session is not a JSON object"),
        ({"session": ("blob", b"\xff", "")}, "the text is not UTF-8"),
        (dict.fromkeys("abc", (None, "1", "")), "Too many fields"),
    ],
)
async def test_a_form_that_makes_no_sense_400(
    client: httpx.AsyncClient, transceiver: StandIn, change: dict[str, tuple[str | None, str | bytes, str]], reason: str
) -> None:
    response = await client.post("/v1/realtime/calls", files=FORM | change)
    assert response.status_code == 400
    assert response.text.startswith(reason)
    assert not transceiver.made


async def test_a_form_without_offer_400(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/realtime/calls", files={"session": FORM["session"]})
    assert (response.status_code, response.text) == (400, "the form has no part sdp\n")


async def test_a_form_without_boundary_400(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data"}
    assert (await client.post("/v1/realtime/calls", content=OFFER, headers=headers)).status_code == 400


# 4xx: every refusal says why, in one line of text


@pytest.mark.parametrize("path", PATHS)
async def test_malformed_sdp_400_names_the_line(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, content=OFFER.replace("t=0 0", "t=zero"), headers=SDP)
    assert (response.status_code, response.text) == (400, "line 4: t= is not in its form\n")
    assert response.headers["content-type"].startswith("text/plain")


async def test_text_that_is_not_utf_8_400(client: httpx.AsyncClient) -> None:
    response = await client.post("/calls", content=b"v=0\xff", headers=SDP)
    assert (response.status_code, response.text) == (400, "the text is not UTF-8\n")


async def test_a_restart_fragment_without_credentials_400(client: httpx.AsyncClient, transceiver: StandIn) -> None:
    await created(client, "/whip")
    for body in ("a=ice-ufrag:ysXw\n", "a=mid:0\n", "nonsense"):
        response = await client.patch("/whip/rtc_1", content=body, headers={**FRAGMENT, "If-Match": "*"})
        assert response.status_code == 400
    assert transceiver.made[0].restarts == 0


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", "Basic sesame", "sesame"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", path) for path in PATHS] + [("GET", "/metrics"), ("GET", "/calls/rtc_1"), ("DELETE", "/calls/rtc_1")],
)
async def test_without_the_right_token_401(
    transceiver: StandIn, method: str, path: str, authorization: str | None
) -> None:
    headers = SDP if authorization is None else {**SDP, "Authorization": authorization}
    async with client_of(application(transceiver, token="sesame")) as client:
        response = await client.request(method, path, content=OFFER, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert not transceiver.made


async def test_with_the_right_token_201_and_what_is_open_stays_open(transceiver: StandIn) -> None:
    async with client_of(application(transceiver, token="sesame")) as client:
        response = await client.post("/calls", content=OFFER, headers={**SDP, "Authorization": "bearer sesame"})
        assert response.status_code == 201
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/")).status_code == 200
        assert (await client.options("/calls")).status_code == 200
        assert (await client.get("/metrics", headers={"Authorization": "Bearer sesame"})).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/calls/rtc_9"),
        ("PATCH", "/calls/rtc_9"),
        ("POST", "/v1/realtime/calls/rtc_9/hangup"),
        ("PATCH", "/whip/rtc_9"),
        ("DELETE", "/whip/rtc_9"),
        ("GET", "/nowhere"),
        ("POST", "/calls/"),
    ],
)
async def test_what_is_not_there_404(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert (await client.request(method, path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/calls", "POST, OPTIONS"),
        ("POST", "/calls/rtc_1", "GET, PATCH, DELETE, OPTIONS"),
        ("PUT", "/whip", "POST, OPTIONS"),
        ("GET", "/whip/rtc_1", "PATCH, DELETE, OPTIONS"),
        ("GET", "/v1/realtime/calls", "POST, OPTIONS"),
        ("DELETE", "/v1/realtime/calls/rtc_1/hangup", "POST, OPTIONS"),
        ("POST", "/healthz", "GET, OPTIONS"),
        ("DELETE", "/", "GET, OPTIONS"),
    ],
)
async def test_a_method_that_means_nothing_405_tells_which_do(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed


MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="sdp"\r\n\r\n'


@pytest.mark.parametrize(("headers", "first"), [(SDP, b"v=0"), (MULTIPART, PART)])
async def test_a_body_that_does_not_come_408(
    transceiver: StandIn, autojump_clock: trio.abc.Clock, headers: dict[str, str], first: bytes
) -> None:
    async with client_of(application(transceiver)) as client:
        url = "http://trioice.test/v1/realtime/calls"
        started = trio.current_time()
        response = await client.send(httpx.Request("POST", url, headers=headers, stream=Body(first)))
        assert (response.status_code, trio.current_time() - started) == (408, 10.0)


async def test_a_restart_whose_if_match_is_stale_412(client: httpx.AsyncClient, transceiver: StandIn) -> None:
    await created(client)
    for path, headers, body in (("/calls/rtc_1", SDP, OFFER), ("/whip/rtc_1", FRAGMENT, RESTART)):
        response = await client.patch(path, content=body, headers={**headers, "If-Match": '"rtc_1-9", W/"rtc_1-0"'})
        assert response.status_code == 412
    assert transceiver.made[0].restarts == 0
    response = await client.patch("/calls/rtc_1", content=OFFER, headers={**SDP, "If-Match": '"x", "rtc_1-0"'})
    assert response.status_code == 200


async def test_after_a_restart_the_old_entity_tag_is_stale_412(client: httpx.AsyncClient) -> None:
    etag = (await created(client, "/whip")).headers["etag"]
    new = (await client.patch("/whip/rtc_1", content=RESTART, headers={**FRAGMENT, "If-Match": "*"})).headers["etag"]
    assert (
        await client.patch("/whip/rtc_1", content="a=mid:0", headers={**FRAGMENT, "If-Match": etag})
    ).status_code == 412
    assert (
        await client.patch("/whip/rtc_1", content="a=mid:0", headers={**FRAGMENT, "If-Match": new})
    ).status_code == 204


@pytest.mark.parametrize(("headers", "first"), [(SDP, b"v=0"), (MULTIPART, PART)])
async def test_a_body_too_large_413_is_not_read_to_its_end(
    transceiver: StandIn, headers: dict[str, str], first: bytes
) -> None:
    body = Body(first, *[b"x" * 16 * 1024] * 1000)
    async with client_of(application(transceiver)) as client:
        url = "http://trioice.test/v1/realtime/calls"
        response = await client.send(httpx.Request("POST", url, headers=headers, stream=body))
    assert response.status_code == 413
    assert body.sent <= 64 * 1024 + 16 * 1024
    assert not transceiver.made


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/calls"), ("POST", "/whip"), ("PATCH", "/calls/rtc_1"), ("PATCH", "/whip/rtc_1")]
)
async def test_a_body_of_another_kind_415(client: httpx.AsyncClient, method: str, path: str, kind: str) -> None:
    await created(client)
    response = await client.request(method, path, content=OFFER, headers={"Content-Type": kind, "If-Match": "*"})
    assert response.status_code == 415


@pytest.mark.parametrize("path", PATHS)
async def test_an_offer_that_we_refuse_422(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, content=OFFER.replace("a=rtcp-mux", "a=nothing"), headers=SDP)
    assert (response.status_code, response.text) == (422, "line 8: no a=rtcp-mux in the audio section\n")


async def test_a_whip_patch_without_if_match_428(client: httpx.AsyncClient) -> None:
    await created(client, "/whip")
    assert (await client.patch("/whip/rtc_1", content=RESTART, headers=FRAGMENT)).status_code == 428


async def test_too_many_offers_429_says_when_to_come_again(
    transceiver: StandIn, autojump_clock: trio.abc.Clock
) -> None:
    app = application(transceiver, rate=OfferRate(0.25, burst=3))
    async with client_of(app) as client, client_of(app, "192.0.2.10") as other:
        for path in PATHS:
            await created(client, path)
        response = await client.post("/calls", content=OFFER, headers=SDP)
        assert (response.status_code, response.headers["retry-after"]) == (429, "4")
        await created(other)
        await trio.sleep(4)
        restart = await client.patch("/calls/rtc_1", content=OFFER, headers=SDP)
        assert restart.status_code == 200
        assert (
            await client.patch("/whip/rtc_1", content=RESTART, headers={**FRAGMENT, "If-Match": "*"})
        ).status_code == 429


# 5xx


async def test_a_full_transceiver_503_says_when_to_come_again() -> None:
    async with client_of(application(StandIn(limit=1))) as client:
        await created(client)
        for path in PATHS:
            response = await client.post(path, content=OFFER, headers=SDP)
            assert (response.status_code, response.text) == (503, "all calls are taken\n")
            assert response.headers["retry-after"] == "2"


async def test_a_stopping_transceiver_is_not_well_503(client: httpx.AsyncClient, transceiver: StandIn) -> None:
    response = await client.get("/healthz")
    assert (response.status_code, response.text) == (200, "ok\n")
    transceiver.running = False
    response = await client.get("/healthz")
    assert (response.status_code, response.text) == (503, "stopping\n")
    assert response.headers["retry-after"]


async def test_an_unexpected_exception_500_is_logged_once_and_shows_nothing(
    client: httpx.AsyncClient, transceiver: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    transceiver.fault = KeyError("a=ice-pwd:secret")
    with caplog.at_level(logging.DEBUG):
        response = await client.post("/calls", content=OFFER, headers=SDP)
    assert (response.status_code, response.text) == (500, "the request failed; this is our fault\n")
    assert response.headers["access-control-allow-origin"] == "*"
    (record,) = (record for record in caplog.records if record.name.startswith("trioice"))
    assert "KeyError" in record.getMessage()
    assert "stand_in.py" in record.getMessage()
    assert "secret" not in caplog.text
    transceiver.fault = None
    await created(client)


async def test_nothing_that_clients_send_is_logged(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "trioice"):
        await created(client)
        await client.post("/calls", content=OFFER[:300], headers=SDP)
        await client.patch("/whip/rtc_1", content=RESTART, headers={**FRAGMENT, "If-Match": "*"})
    assert not [record for record in caplog.records if record.name.startswith("trioice")]


# cross-origin


@pytest.mark.parametrize(
    ("path", "methods", "takes"),
    [
        ("/calls", "POST, OPTIONS", ("accept-post", "application/sdp")),
        ("/whip", "POST, OPTIONS", ("accept-post", "application/sdp")),
        ("/v1/realtime/calls", "POST, OPTIONS", ("accept-post", "application/sdp, multipart/form-data")),
        ("/whip/rtc_1", "PATCH, DELETE, OPTIONS", ("accept-patch", "application/trickle-ice-sdpfrag")),
        ("/calls/rtc_1", "GET, PATCH, DELETE, OPTIONS", ("accept-patch", "application/sdp")),
    ],
)
async def test_options_200_tells_methods_and_media_types_without_a_token(
    transceiver: StandIn, path: str, methods: str, takes: tuple[str, str]
) -> None:
    preflight = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,if-match",
    }
    async with client_of(application(transceiver, token="sesame")) as client:
        response = await client.options(path, headers=preflight)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-methods"] == response.headers["allow"] == methods
    allowed = response.headers["access-control-allow-headers"].lower()
    assert {"authorization", "content-type", "if-match"} <= set(allowed.split(", "))
    assert response.headers[takes[0]] == takes[1]


async def test_an_origin_can_be_named_and_scripts_may_read_what_they_need(transceiver: StandIn) -> None:
    async with client_of(application(transceiver, origin="https://app.example")) as client:
        response = await created(client)
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert {"Location", "ETag", "Accept-Post", "Retry-After"} <= set(exposed)
        # A page must be able to read why it was refused.
        refused = await client.post("/calls", content="", headers=SDP)
        assert refused.headers["access-control-allow-origin"] == "https://app.example"


# what is told about us


async def test_metrics_are_the_transceivers_and_our_own(transceiver: StandIn) -> None:
    async with client_of(application(transceiver, more_metrics=transceiver.metrics)) as client:
        await created(client)
        await client.get("/nowhere")
        response = await client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = response.text.splitlines()
    assert lines[:4] == [
        "# HELP trioice_calls Calls that live.",
        "# TYPE trioice_calls gauge",
        "trioice_calls 1",
        "trioice_calls 1",
    ]
    assert 'trioice_http_responses_total{status="201"} 1' in lines
    assert 'trioice_http_responses_total{status="404"} 1' in lines


async def test_a_program_without_signaling_shows_health_and_metrics_alone(transceiver: StandIn) -> None:
    async with client_of(observability(transceiver.metrics)) as client:
        assert (await client.get("/healthz")).text == "ok\n"
        assert "trioice_calls 0" in (await client.get("/metrics")).text
        assert (await client.post("/calls")).status_code == 404
        assert (await client.get("/")).status_code == 404


async def test_the_page_is_there_with_all_its_files(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.headers["x-content-type-options"] == "nosniff"
    for path in ("/page.js", "/page/page.js"):
        script = await client.get(path)
        assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert (await client.head("/")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/page/../http.py",
        "/page/..%2fhttp.py",
        "/page/%2e%2e/http.py",
        "/page/..%5chttp.py",
        "/page//etc/passwd",
        "/http.py",
        "/page/__init__.py",
        "/page/",
        "/page/index.html%00.js",
    ],
)
async def test_no_path_leads_out_of_the_page(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_a_client_that_leaves_in_the_middle_is_no_fault(
    transceiver: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/calls",
        "query_string": b"",
        "headers": [(b"content-type", b"application/sdp")],
        "client": ("192.0.2.9", 1),
    }
    await application(transceiver)(scope, receive, send)
    assert not caplog.records
    assert sent[0]["status"] == 400


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-8"])
async def test_a_form_with_a_charset_is_not_decoded_415(client: httpx.AsyncClient, charset: str) -> None:
    head = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    body = b'--x\r\ncontent-disposition: form-data; name="sdp"\r\n\r\n' + b"a" * 60_000 + b"\r\n--x--\r\n"
    response = await client.post("/v1/realtime/calls", content=body, headers=head)
    assert response.status_code == 415
    assert "charset" in response.text


async def test_a_session_of_thousands_of_values_is_not_kept_400(
    client: httpx.AsyncClient, transceiver: StandIn
) -> None:
    session = '{"values": [' + "{}," * 5000 + "{}]}"
    response = await client.post("/v1/realtime/calls", files=FORM | {"session": (None, session, "application/json")})
    assert response.status_code == 400
    assert "4096 values" in response.text
    assert not transceiver.made
