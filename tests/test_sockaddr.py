"""Sockets bound to all addresses, of one version or of both: peers look the same, and answers leave from where they were asked."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, IPv6Address

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trioice.mmsg import NAME, Mmsg, is_available
from trioice.onebyone import OneByOne
from trioice.ports import UdpPort, transport_address
from trioice.sansio import Address
from trioice.sockaddr import Addressing


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this system has no IPv6")
bursts_only = pytest.mark.skipif(not is_available(), reason="this system has no recvmmsg")
both_ways = pytest.mark.parametrize("plain", [True, pytest.param(False, marks=bursts_only)], ids=["plain", "bursts"])
wildcards = pytest.mark.parametrize("wildcard", ["0.0.0.0", pytest.param("::", marks=needs_ipv6)])

IPV4 = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]


class Clients:
    """Sockets that hear nobody but the address that they ask."""

    def __init__(self, hosts: list[str], port: int) -> None:
        self.sockets: list[socket.socket] = []
        for host in hosts:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
            self.sockets.append(sock)
            sock.settimeout(5)
            sock.connect((host, port))

    def ask(self) -> list[bytes]:
        for number, sock in enumerate(self.sockets):
            sock.send(b"%d" % number)
        return [b"%d" % number for number in range(len(self.sockets))]

    def hear(self) -> list[bytes]:
        return [sock.recv(100) for sock in self.sockets]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [sock.getsockname()[:2] for sock in self.sockets]

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


async def _burst(port: UdpPort, count: int) -> list[tuple[bytes, Address]]:
    got: list[tuple[bytes, Address]] = []
    with trio.fail_after(5):
        while len(got) < count:
            await port.readable()
            got += port.receive()
    return got


@both_ways
@wildcards
async def test_an_answer_leaves_from_the_address_that_was_asked(wildcard: str, plain: bool) -> None:
    hosts = IPV4 + (["::1"] if wildcard == "::" else [])
    with (
        closing(UdpPort.bind(wildcard, 0, plain=plain, keep_destination=True)) as port,
        closing(Clients(hosts * 2, port.address[1])) as clients,
    ):
        for _ in range(3):  # the same memory and the same addresses again
            asked = clients.ask()
            burst = await _burst(port, len(asked))
            assert [datagram for datagram, _ in burst] == asked
            assert [transport_address(source) for _, source in burst] == clients.addresses
            assert len({source for _, source in burst}) == len(asked)
            port.send(list(reversed(burst)))
            assert clients.hear() == asked
        assert port.unsent == 0


@both_ways
@needs_ipv6
async def test_a_port_for_both_versions_spells_ipv4_as_a_port_for_ipv4_does(plain: bool) -> None:
    with closing(UdpPort.bind("::", 0, plain=plain)) as port:
        assert port.address[0] == "::"
        with closing(Clients(["127.0.0.1", "::1"], port.address[1])) as clients:
            asked = clients.ask()
            burst = await _burst(port, 2)
            one, other = (sock.getsockname() for sock in clients.sockets)
            assert burst == [(b"0", one), (b"1", other)]
            assert (len(one), len(other)) == (2, 4)
            port.send(burst)
            assert clients.hear() == asked


@both_ways
async def test_without_being_told_so_a_port_gives_the_addresses_that_sockets_give(plain: bool) -> None:
    with (
        closing(UdpPort.bind("0.0.0.0", 0, plain=plain)) as port,
        closing(Clients(["127.0.0.1"], port.address[1])) as clients,
    ):
        clients.ask()
        assert await _burst(port, 1) == [(b"0", clients.sockets[0].getsockname())]


@both_ways
async def test_a_port_on_one_address_has_no_other_to_answer_from(plain: bool) -> None:
    with (
        closing(UdpPort.bind("127.0.0.2", 0, plain=plain, keep_destination=True)) as port,
        closing(Clients(["127.0.0.2"], port.address[1])) as clients,
    ):
        clients.ask()
        burst = await _burst(port, 1)
        assert burst == [(b"0", clients.sockets[0].getsockname())]
        port.send(burst)
        assert clients.hear() == [b"0"]


@both_ways
@wildcards
async def test_an_address_made_elsewhere_is_sent_to_from_where_the_system_likes(wildcard: str, plain: bool) -> None:
    with (
        closing(UdpPort.bind(wildcard, 0, plain=plain, keep_destination=True)) as port,
        closing(Clients(["127.0.0.1", "127.0.0.2"], port.address[1])) as clients,
    ):
        clients.ask()
        burst = await _burst(port, 2)
        # Between two that say from where, so that nothing of theirs is left in it.
        port.send([burst[1], (b"anywhere", clients.addresses[0]), burst[1]])
        assert clients.sockets[0].recv(100) == b"anywhere"
        assert clients.sockets[1].recv(100) == b"1"


@both_ways
@needs_ipv6
@pytest.mark.parametrize(("host", "only"), [("::", True), ("::1", False)])
async def test_a_port_for_ipv6_alone_has_nothing_to_do_with_ipv4(host: str, only: bool, plain: bool) -> None:
    with (
        closing(UdpPort.bind(host, 0, plain=plain, ipv6_only=only, keep_destination=True)) as port,
        closing(UdpPort.bind("0.0.0.0", port.address[1])) as beside,
        closing(Clients(["127.0.0.1", "::1"], port.address[1])) as clients,
    ):
        clients.ask()
        ((datagram, source),) = await _burst(port, 1)
        assert datagram == b"1"
        port.send([(b"x", clients.addresses[0]), (b"y", source), (b"z", ("::ffff:127.0.0.1", 9, 0, 0))])
        assert port.unsent == 2
        assert clients.sockets[1].recv(100) == b"y"
        assert [datagram for datagram, _ in await _burst(beside, 1)] == [b"0"]


@both_ways
@wildcards
async def test_what_cannot_be_sent_from_there_is_unsent(wildcard: str, plain: bool) -> None:
    with closing(UdpPort.bind(wildcard, 0, plain=plain, keep_destination=True)) as port:
        port.send(
            [
                (b"x", ("127.0.0.1", 9, "198.51.100.77")),  # no address of this machine
                (b"x", ("127.0.0.1", 9, "nowhere")),
                (b"x", ("nowhere", 9, "127.0.0.1")),
                (b"x", ("127.0.0.1", 1 << 16, "127.0.0.1")),
                (b"x", ("::1", 9, 0, 1 << 32, "::1")),
                (b"x", ("127.0.0.1",)),
            ]
        )
        assert port.unsent == 6


@bursts_only
@wildcards
def test_one_slice_of_a_record_tells_who_sent_it_and_to_where(wildcard: str) -> None:
    hosts = IPV4 + (["::1"] if wildcard == "::" else [])
    with socket.socket(socket.AF_INET6 if wildcard == "::" else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if wildcard == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((wildcard, 0))
        mmsg = Mmsg(sock, Addressing(sock, keep_destination=True))
        with closing(Clients(hosts, sock.getsockname()[1])) as clients:
            keys: dict[int, set[bytes]] = {number: set() for number in range(len(hosts))}
            for turn in range(4):  # each client's datagram once into each record, where another one's was before
                order = [(number + turn) % len(hosts) for number in range(len(hosts))]
                for number in order:
                    clients.sockets[number].send(b"x")
                assert mmsg.fill() == len(hosts)
                for index, number in enumerate(order):
                    key = mmsg.incoming.names[index * NAME :][: mmsg.key_length].tobytes()
                    assert key == mmsg.key(mmsg.taken(index)[1])
                    keys[number].add(key)
            assert [len(seen) for seen in keys.values()] == [1] * len(hosts)
            assert len(set.union(*keys.values())) == len(hosts)


IPV4S = st.builds(lambda number: str(IPv4Address(number)), st.integers(1, (1 << 32) - 1))
IPV6S = st.builds(  # but for those that once embedded IPv4 (RFC 4291, 2.5.5.1), which the C library spells like that
    lambda number: str(IPv6Address(number)),
    st.integers(1 << 32, (1 << 128) - 1).filter(lambda number: IPv6Address(number).ipv4_mapped is None),
)
PORTS = st.integers(0, (1 << 16) - 1)
SCOPES = st.integers(0, (1 << 32) - 1)


@pytest.fixture(scope="module")
def wide() -> Iterator[tuple[Mmsg, Mmsg, Mmsg]]:
    """A socket for IPv4 and one for both versions that keep destinations, and one for both that does not."""
    with ExitStack() as stack:
        made = []
        for family, keeps in ((socket.AF_INET, True), (socket.AF_INET6, True), (socket.AF_INET6, False)):
            sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            made.append(Mmsg(sock, Addressing(sock, keep_destination=keeps)))
        yield made[0], made[1], made[2]


@bursts_only
@needs_ipv6
@given(host=IPV4S, port=PORTS, via=IPV4S)
def test_an_ipv4_address_is_the_same_after_its_way_through_the_kernel(
    wide: tuple[Mmsg, Mmsg, Mmsg], host: str, port: int, via: str
) -> None:
    for mmsg in wide[:2]:
        assert mmsg._address(mmsg.key((host, port, via))) == (host, port, via)
    assert wide[2]._address(wide[2].key((host, port))) == (host, port)


@bursts_only
@needs_ipv6
@given(host=IPV6S, port=PORTS, scope=SCOPES, via=IPV6S)
def test_an_ipv6_address_is_the_same_after_its_way_through_the_kernel(
    wide: tuple[Mmsg, Mmsg, Mmsg], host: str, port: int, scope: int, via: str
) -> None:
    assert wide[0].key((host, port, 0, scope, via)) == b""
    assert wide[1]._address(wide[1].key((host, port, 0, scope, via))) == (host, port, 0, scope, via)
    assert wide[2]._address(wide[2].key((host, port, 0, scope))) == (host, port, 0, scope)


@needs_ipv6
def test_both_ways_spell_the_address_of_an_interface_alike() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        name = ("fe80::1%lo", 5, 0, 1)  # as Python's sockets spell it
        assert OneByOne(sock)._address(name, None) == ("fe80::1", 5, 0, 1)
        assert Addressing(sock).parts(name) == Addressing(sock).parts(("fe80::1", 5, 0, 1))


@both_ways
@wildcards
async def test_what_was_there_before_the_port_was_made_has_an_address_too(wildcard: str, plain: bool) -> None:
    """A socket that is handed on holds what came before it was set up to keep destinations."""
    family = socket.AF_INET6 if wildcard == "::" else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((wildcard, 0))
    with closing(Clients(["127.0.0.2"], sock.getsockname()[1])) as clients:
        clients.ask()
        with closing(UdpPort(sock, plain=plain, keep_destination=True)) as port:
            burst = await _burst(port, 1)
            assert burst == [(b"0", (*clients.addresses[0], "127.0.0.2"))]
            port.send(burst)
            assert clients.hear() == [b"0"]
