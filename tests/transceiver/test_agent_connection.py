"""Where an agent's address leads, and that the certificate of a secure one is verified, over real sockets."""

import ssl
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.signaling.test_serve import _make_certificate
from trioice.transceiver.agent_connection import Url, open_stream


@pytest.mark.parametrize(
    ("text", "host", "port", "resource", "authority"),
    [
        ("ws://agent.test", "agent.test", 80, "/", "agent.test"),
        ("wss://agent.test/voice?model=7", "agent.test", 443, "/voice?model=7", "agent.test"),
        ("ws://[::1]:9000/a%20b", "::1", 9000, "/a%20b", "[::1]:9000"),
        ("wss://192.0.2.1:80?x", "192.0.2.1", 80, "/?x", "192.0.2.1:80"),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int, resource: str, authority: str) -> None:
    url = Url.read(text)
    assert (url.host, url.port, url.resource, url.authority) == (host, port, resource, authority)
    assert url.is_secure == text.startswith("wss:")


async def test_only_an_agent_with_a_trusted_certificate_is_spoken_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    _make_certificate(certificate, key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.send_all(b"hello")
        except trio.BrokenResourceError:
            pass  # it was not trusted

    serve = partial(trio.serve_ssl_over_tcp, answer, 0, context, host="127.0.0.1")
    (listener,) = await nursery.start(serve)
    port = listener.transport_listener.socket.getsockname()[1]
    url = Url.read(f"wss://127.0.0.1:{port}/")
    with trio.fail_after(20):
        with pytest.raises(trio.BrokenResourceError) as refused:
            await open_stream(url)
        assert isinstance(refused.value.__cause__, ssl.SSLCertVerificationError)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        stream = await open_stream(url)
        assert await stream.receive_some() == b"hello"
        await trio.aclose_forcefully(stream)
    nursery.cancel_scope.cancel()
