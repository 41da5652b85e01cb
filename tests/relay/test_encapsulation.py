"""The header between relay and transceiver."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trioice.relay.encapsulation import HEADER_LENGTH, MAGIC, client_address, header, is_encapsulated

PROXY = ("203.0.113.10", 3478)


def test_the_layout_of_ipv4() -> None:
    assert header(("192.0.2.7", 50000), PROXY).hex(" ", 2) == (
        "56ec 0000 0000 0000 0000 0000 ffff c000 0207 0000 0000 0000 0000 0000 ffff cb00 710a c350 0d96"
    )


def test_the_layout_of_ipv6() -> None:
    assert header(("2001:db8::7", 1), ("2001:db8::1", 65535)).hex(" ", 2) == (
        "56ec 2001 0db8 0000 0000 0000 0000 0000 0007 2001 0db8 0000 0000 0000 0000 0000 0001 0001 ffff"
    )


@given(st.ip_addresses(), st.integers(0, 65535))
def test_the_client_survives(host: IPv4Address | IPv6Address, port: int) -> None:
    assume(isinstance(host, IPv4Address) or host.ipv4_mapped is None)
    octets = header((str(host), port), PROXY)
    assert len(octets) == HEADER_LENGTH
    assert client_address(octets) == client_address(octets + b"payload") == (str(host), port)


@given(st.binary(max_size=80))
def test_no_octets_raise(octets: bytes) -> None:
    for datagram in (octets, MAGIC + octets):
        assert (client_address(datagram) is not None) == is_encapsulated(datagram)


def test_an_ipv4_client_of_a_dual_stack_socket_is_written_as_any_ipv4_client() -> None:
    assert header(("::ffff:192.0.2.7", 1), PROXY) == header(("192.0.2.7", 1), PROXY)


def test_a_header_must_be_whole_and_begin_with_the_magic() -> None:
    octets = header(("192.0.2.7", 1), PROXY)
    assert is_encapsulated(octets)
    assert not any(is_encapsulated(octets[:length]) for length in range(HEADER_LENGTH))
    assert client_address(octets[:-1]) is None
    assert client_address(b"\x57" + octets[1:]) is None
    assert client_address(b"\x56\xed" + octets[2:]) is None


@pytest.mark.parametrize("first", [*range(4), *range(16, 80), *range(128, 192)])
def test_no_datagram_of_a_client_looks_like_a_header(first: int) -> None:
    # RFC 7983, 7: STUN, ZRTP, DTLS and TURN channels, RTP and RTCP.
    assert MAGIC[0] != first
