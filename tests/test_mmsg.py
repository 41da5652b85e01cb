"""Bursts by one system call: the same datagrams, from and to the same addresses, as one by one."""

import random
import socket
from collections.abc import Iterator

import pytest

from trioice.mmsg import BURST, DATAGRAM, NAMES, Mmsg, is_available
from trioice.sansio import Address, Outbox

pytestmark = pytest.mark.skipif(
    not is_available(), reason="only 64-bit Linux has these calls, and ports do without them"
)

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture(params=HOSTS, ids=["IPv4", "IPv6"])
def sockets(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    pair = socket.socket(request.param, socket.SOCK_DGRAM), socket.socket(request.param, socket.SOCK_DGRAM)
    for one in pair:
        one.setblocking(False)
        one.bind((HOSTS[request.param], 0))
    yield pair
    for one in pair:
        one.close()


def test_what_is_sent_in_bursts_arrives_one_by_one(sockets: tuple[socket.socket, socket.socket]) -> None:
    rng = random.Random(1)
    ours, theirs = sockets
    datagrams = [rng.randbytes(rng.choice((0, 1, 120, 1200, DATAGRAM))) for _ in range(BURST + 7)]
    outbox: Outbox = [(datagram, theirs.getsockname()) for datagram in datagrams]
    assert Mmsg(ours).send(outbox) == 0
    assert [theirs.recvfrom(4096) for _ in datagrams] == [(datagram, ours.getsockname()) for datagram in datagrams]


def test_what_is_sent_one_by_one_is_taken_in_bursts(sockets: tuple[socket.socket, socket.socket]) -> None:
    rng = random.Random(2)
    ours, theirs = sockets
    mmsg = Mmsg(ours)
    assert mmsg.receive() == []
    for _ in range(3):  # the memory is used again
        datagrams = [rng.randbytes(rng.randrange(1500)) for _ in range(BURST + 5)]
        for datagram in datagrams:
            theirs.sendto(datagram, ours.getsockname())
        first, rest = mmsg.receive(), mmsg.receive()
        assert (len(first), len(rest)) == (BURST, 5)
        assert first + rest == [(datagram, theirs.getsockname()) for datagram in datagrams]


def test_what_the_system_refuses_does_not_stop_what_is_behind_it(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = sockets
    host, to = theirs.getsockname()[0], theirs.getsockname()
    bad: list[tuple[bytes, Address]] = [
        (bytes(DATAGRAM + 1), to),
        (b"port 0", (host, 0)),
        (b"no port", (host, 1 << 20)),
        (b"no host", ("nowhere", 1)),
        (b"the other family", ("::1", 1, 0, 0) if ":" not in host else ("127.0.0.1", 1)),
    ]
    outbox: Outbox = [entry for number, one in enumerate(bad) for entry in (one, (b"%d" % number, to))]
    assert Mmsg(ours).send(outbox) == len(bad)
    assert [theirs.recv(100) for _ in bad] == [b"%d" % number for number in range(len(bad))]


def test_a_datagram_that_is_too_long_is_cut(sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    theirs.sendto(bytes(DATAGRAM + 100), ours.getsockname())
    ((datagram, _),) = Mmsg(ours).receive()
    assert len(datagram) == DATAGRAM


def test_addresses_are_remembered_in_bounds() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        mmsg = Mmsg(sock)
        for number in range(NAMES + 10):
            mmsg.name((f"127.0.{number >> 8 & 255}.{number & 255}", 1 + (number >> 16)))
        assert len(mmsg._records) == 10
