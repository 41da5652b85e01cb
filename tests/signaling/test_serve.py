"""The listeners: real sockets, TLS, and an end in order."""

import ssl
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import httpx
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from trio_websocket import open_websocket_url

from tests.signaling.stand_in import OFFER, Body, StandIn
from tests.signaling.test_http import SDP
from tests.signaling.test_websocket import OFFERED, Client
from trioice.signaling.http import application
from trioice.signaling.interface import Transceiver as Interface
from trioice.signaling.serve import SIP, Stream, serve_http, serve_streams
from trioice.signaling.websocket import serve_websocket
from trioice.transceiver.call import Call
from trioice.transceiver.server import Transceiver


@pytest.fixture
def transceiver() -> StandIn:
    return StandIn()


async def test_a_call_is_made_and_ended_over_a_socket(transceiver: StandIn) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_http, application(transceiver), "127.0.0.1", 0)
            async with httpx.AsyncClient(base_url=url) as client:
                response = await client.post("/calls", content=OFFER, headers=SDP)
                assert response.status_code == 201
                assert "server" not in response.headers
                assert (await client.delete(response.headers["location"])).status_code == 200
                body = Body(b"x" * 10_000_000, whole=True)
                headers = {**SDP, "Content-Length": "10000000", "Host": "trioice.test"}
                large = await client.send(httpx.Request("POST", f"{url}/calls", headers=headers, stream=body))
                assert large.status_code == 413
            nursery.cancel_scope.cancel()


async def test_a_stop_leaves_idle_connections_no_time_and_answers_in_the_making_some(transceiver: StandIn) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_http, application(transceiver), "127.0.0.1", 0)
            port = int(url.rpartition(":")[2])
            async with httpx.AsyncClient(base_url=url) as idle:
                await idle.get("/healthz")
                async with await trio.open_tcp_stream("127.0.0.1", port) as busy:
                    head = f"POST /calls HTTP/1.1\r\nHost: x\r\nContent-Length: {len(OFFER)}\r\nContent-Type: application/sdp\r\n\r\n"
                    await busy.send_all(head.encode() + OFFER[:100].encode())
                    await trio.sleep(0.05)  # until the server has begun to read: there is nothing else to wait for
                    stopped = trio.current_time()
                    nursery.cancel_scope.cancel()
                    with trio.CancelScope(shield=True):
                        await busy.send_all(OFFER[100:].encode())
                        assert (await busy.receive_some()).startswith(b"HTTP/1.1 201")
        assert trio.current_time() - stopped < 1.0


async def test_a_call_that_ends_with_the_stop_is_told_so(transceiver: StandIn) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as clients, trio.open_nursery() as nursery:
            url = await nursery.start(serve_websocket, transceiver, "127.0.0.1", 0)
            heard: list[dict[str, object]] = []
            ready = trio.Event()

            async def talk() -> None:
                async with open_websocket_url(url) as connection:
                    client = Client(connection)
                    await client.ask(OFFERED)
                    ready.set()
                    heard.append(await client.hear())
                    assert await client.close_code() == 1000
                    await connection._stream.aclose()  # which it forgets when the server closes first

            clients.start_soon(talk)
            await ready.wait()
            nursery.cancel_scope.cancel()
            transceiver.made[0].end("the transceiver stopped")
    assert heard == [{"type": "bye", "reason": "the transceiver stopped"}]


async def test_connections_can_be_encrypted(transceiver: StandIn, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    _make_certificate(certificate, key)
    trust = ssl.create_default_context(cafile=str(certificate))
    http = partial(serve_http, certificate=str(certificate), key=str(key))
    websocket = partial(serve_websocket, certificate=str(certificate), key=str(key))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(http, application(transceiver), "127.0.0.1", 0)
            assert url.startswith("https://127.0.0.1:")
            async with httpx.AsyncClient(base_url=url, verify=trust) as client:
                assert (await client.post("/calls", content=OFFER, headers=SDP)).status_code == 201
            url = await nursery.start(websocket, transceiver, "127.0.0.1", 0)
            assert url.startswith("wss://127.0.0.1:")
            async with open_websocket_url(url, ssl_context=trust) as connection:
                assert (await Client(connection).ask(OFFERED))["type"] == "answer"
            nursery.cancel_scope.cancel()


async def test_an_address_in_use_is_an_error_at_the_start(transceiver: StandIn) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        with pytest.raises(OSError, match="Address already in use"):
            await serve_http(application(transceiver), "127.0.0.1", listener.socket.getsockname()[1])


async def test_ipv6_has_its_brackets() -> None:
    async def converse(_: Stream, __: str) -> None:
        pytest.fail("nobody calls")

    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve_streams, converse, "::1", 0, scheme="tcp"))
        assert url.startswith("tcp://[::1]:")
        nursery.cancel_scope.cancel()


def typed(real: Transceiver, stand_in: StandIn) -> tuple[Interface[Call], object]:
    """For the type checker: the transceiver is what signaling takes it for, and so is its stand-in."""
    return real, application(stand_in)


def _make_certificate(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "trioice.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), 1, now - timedelta(hours=1), now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


async def test_a_flood_of_frames_is_taken_in_sips() -> None:
    taken: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            taken.append(len(message.get("body", b"")))
            if not message.get("more_body"):
                break
        await PlainTextResponse("ok")(scope, receive, send)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(serve_http, app, "127.0.0.1", 0)
            async with httpx.AsyncClient(base_url=url) as client:
                assert (await client.post("/", content=b"x" * 60_000)).status_code == 200
            nursery.cancel_scope.cancel()
    assert sum(taken) == 60_000
    assert max(taken) <= SIP


async def test_what_stands_behind_a_body_that_came_late_is_the_next_request(nursery: trio.Nursery) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"%02d" % len(body)})

    url = await nursery.start(partial(serve_http, app, "127.0.0.1", 0))
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rsplit(":", 1)[1]))
    heard = b""
    with trio.fail_after(10):
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        await stream.send_all(b"world" + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while heard.count(b"HTTP/1.1 200") < 2 or not heard.endswith(b"00"):
            heard += bytes(await stream.receive_some())
    assert b"\r\n\r\n10HTTP/1.1" in heard
    await stream.aclose()


async def test_a_client_that_left_no_window_for_the_answer_is_let_go(nursery: trio.Nursery) -> None:
    let_go = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": bytes(1000)})
        finally:
            let_go.set()

    url = await nursery.start(partial(serve_http, app, "127.0.0.1", 0))
    client = H2Connection(H2Configuration(client_side=True))
    client.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = 0
    client.local_settings.acknowledge()
    client.initiate_connection()
    request = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a")]
    client.send_headers(1, request, end_stream=True)
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rsplit(":", 1)[1]))
    await stream.send_all(client.data_to_send())
    await stream.receive_some()
    await stream.aclose()
    with trio.fail_after(10):
        await let_go.wait()
