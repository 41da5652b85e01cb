"""The header between relay and transceiver."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trioice.relay.encapsulation import (
    BUNDLE_LENGTH,
    BUNDLE_MAGIC,
    HEADER_LENGTH,
    MAGIC,
    PART_LENGTH,
    client_address,
    header,
    is_encapsulated,
    join,
    split,
)

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


ONE, TWO = header(("192.0.2.1", 1), PROXY), header(("192.0.2.2", 2), PROXY)
PARTS = st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.binary(max_size=700)), max_size=80)


def test_the_layout_of_a_bundle() -> None:
    assert list(join([(ONE, b"first"), (TWO, b"2nd")])) == [
        bytes.fromhex("56ed 0002 0005 0003") + ONE + TWO + b"first" + b"2nd"
    ]


def test_what_is_alone_goes_without_a_bundle() -> None:
    assert list(join([(ONE, b"alone")])) == [ONE + b"alone"]
    assert list(join([])) == []


def test_what_fits_no_bundle_goes_alone_in_its_turn() -> None:
    long = bytes(BUNDLE_LENGTH)
    assert list(join([(ONE, b"1"), (TWO, long), (ONE, b"2"), (ONE, b"3")])) == [
        ONE + b"1",
        TWO + long,
        *join([(ONE, b"2"), (ONE, b"3")]),
    ]


@pytest.mark.parametrize(("spare", "datagrams"), [(0, 1), (-1, 2)])
def test_a_bundle_is_as_long_as_may_be(spare: int, datagrams: int) -> None:
    octets = BUNDLE_LENGTH - 4 - 2 * PART_LENGTH
    bundles = list(join([(ONE, bytes(octets // 2)), (TWO, bytes(octets - octets // 2 - spare))]))
    assert len(bundles) == datagrams
    assert len(bundles[0]) == BUNDLE_LENGTH or datagrams > 1


@given(PARTS)
def test_what_is_joined_is_split_again(parts: list[tuple[bytes, bytes]]) -> None:
    datagrams = list(join(parts))
    taken = [split(each) or [(each[:HEADER_LENGTH], each[HEADER_LENGTH:])] for each in datagrams]
    assert [part for row in taken for part in row] == parts
    assert all(len(each) <= BUNDLE_LENGTH for each in datagrams)


BUNDLE = next(join([(ONE, b"first"), (TWO, b"2nd")]))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        BUNDLE_MAGIC,
        BUNDLE_MAGIC + b"\x00\x00",
        BUNDLE_MAGIC + b"\xff\xff" + bytes(1400),
        BUNDLE[:-1],
        BUNDLE + b"\x00",
        BUNDLE[:4] + b"\x00\x06" + BUNDLE[6:],
        BUNDLE.replace(TWO, BUNDLE_MAGIC + TWO[2:]),
        BUNDLE.replace(ONE, b"\x57" + ONE[1:]),
        MAGIC + BUNDLE[2:],
    ],
    ids=["empty", "short", "none", "too many", "cut", "longer", "a lie", "nested", "no header", "no bundle"],
)
def test_what_is_no_bundle_from_end_to_end_is_none(octets: bytes) -> None:
    assert split(octets) is None


@given(st.binary(max_size=200), st.binary(max_size=4))
def test_no_octets_of_a_bundle_raise(octets: bytes, count: bytes) -> None:
    for bundle in (octets, BUNDLE_MAGIC + octets, BUNDLE_MAGIC + count + octets, BUNDLE[:6] + octets):
        parts = split(bundle)
        assert parts is None or sum(PART_LENGTH + len(payload) for _, payload in parts) + 4 == len(bundle)
