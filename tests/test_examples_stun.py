"""examples/stun_server.py as a user runs it: a process of its own on loopback."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vectors import rfc5769
from trioice import stun

ROOT = Path(__file__).parent.parent
TRANSACTION_ID = bytes(range(12))
PATIENCE = 10.0
"""Seconds until a test gives up; none of them waits for that long."""


@pytest.fixture
def client() -> Iterator[socket.socket]:
    """A socket that is connected to a running server."""
    server = subprocess.Popen(
        [sys.executable, ROOT / "examples/stun_server.py", "127.0.0.1", "0"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        host, _, port = server.stdout.readline().strip().rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect((host, int(port)))
            yield client
    finally:
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=PATIENCE)
    assert (server.returncode, errors) == (0, "")


def ask(client: socket.socket, request: bytes) -> stun.Message:
    client.send(request)
    answer = client.recv(2048)
    assert len(answer) <= 3 * len(request)
    message = stun.decode(answer)
    assert message is not None
    assert message.transaction_id == request[8:20]
    return message


@pytest.mark.parametrize("fingerprint", [True, False])
def test_it_tells_the_client_its_address(client: socket.socket, fingerprint: bool) -> None:
    message = ask(client, stun.encode(stun.BINDING_REQUEST, TRANSACTION_ID, fingerprint=fingerprint))
    assert message.kind == stun.BINDING_SUCCESS
    assert message.has_fingerprint == fingerprint
    value = message.get(stun.XOR_MAPPED_ADDRESS)
    assert value is not None
    assert stun.read_xor_address(value, TRANSACTION_ID) == client.getsockname()


def test_it_refuses_what_it_does_not_know(client: socket.socket) -> None:
    message = ask(client, stun.encode(stun.BINDING_REQUEST, TRANSACTION_ID, [(0x7F01, b"")], fingerprint=False))
    assert message.kind == stun.BINDING_ERROR
    assert stun.read_error_code(message.get(stun.ERROR_CODE) or b"") == (420, "Unknown Attribute")
    assert message.get(stun.UNKNOWN_ATTRIBUTES) == b"\x7f\x01"


def test_it_is_silent_to_everything_else(client: socket.socket) -> None:
    request = stun.encode(stun.BINDING_REQUEST, TRANSACTION_ID)
    for datagram in (b"", b"hello", request[:-1] + b"\x00", stun.encode(0x0011, TRANSACTION_ID), rfc5769.IPV4_RESPONSE):
        client.send(datagram)
    # Datagrams on loopback keep their order: the first answer is that to the last question.
    assert ask(client, rfc5769.REQUEST).kind == stun.BINDING_SUCCESS
