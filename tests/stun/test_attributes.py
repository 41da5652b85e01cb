"""The values of attributes that have a structure."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trioice import stun

TRANSACTION_ID = bytes(range(12))
transaction_ids = st.binary(min_size=12, max_size=12)


@given(st.ip_addresses(), st.integers(0, 65535), transaction_ids)
def test_an_address_survives(host: IPv4Address | IPv6Address, port: int, transaction_id: bytes) -> None:
    assume(isinstance(host, IPv4Address) or host.ipv4_mapped is None)
    value = stun.xor_address((str(host), port), transaction_id)
    assert stun.read_xor_address(value, transaction_id) == (str(host), port)


@given(st.binary(max_size=24), transaction_ids)
def test_no_octets_raise(value: bytes, transaction_id: bytes) -> None:
    stun.read_xor_address(value, transaction_id)
    stun.read_error_code(value)


def test_an_ipv4_address_of_a_dual_stack_socket_is_written_as_ipv4() -> None:
    value = stun.xor_address(("::ffff:192.0.2.1", 5), TRANSACTION_ID)
    assert value == stun.xor_address(("192.0.2.1", 5), TRANSACTION_ID)


def test_the_zone_of_a_link_local_address_is_left_out() -> None:
    value = stun.xor_address(("fe80::1%2", 5), TRANSACTION_ID)
    assert stun.read_xor_address(value, TRANSACTION_ID) == ("fe80::1", 5)


def test_the_first_octet_of_an_address_is_ignored() -> None:
    value = stun.xor_address(("192.0.2.1", 5), TRANSACTION_ID)
    assert stun.read_xor_address(b"\xff" + value[1:], TRANSACTION_ID) == ("192.0.2.1", 5)


@pytest.mark.parametrize(
    "value", [b"", b"\x00\x01", b"\x00\x02" + bytes(6), b"\x00\x01" + bytes(18), b"\x00\x03" + bytes(6)]
)
def test_a_malformed_address_is_none(value: bytes) -> None:
    assert stun.read_xor_address(value, TRANSACTION_ID) is None


@given(st.integers(300, 699), st.text(max_size=120))
def test_an_error_code_survives(code: int, reason: str) -> None:
    assert stun.read_error_code(stun.error_code(code, reason)) == (code, reason)


def test_an_error_code_is_class_and_number() -> None:
    assert stun.error_code(487, "Role Conflict") == b"\x00\x00\x04\x57Role Conflict"


@pytest.mark.parametrize("value", [b"", b"\x00\x00\x04", b"\x00\x00\x02\x00", b"\x00\x00\x07\x00", b"\x00\x00\x04\x64"])
def test_a_malformed_error_code_is_none(value: bytes) -> None:
    assert stun.read_error_code(value) is None


def test_a_reason_that_is_no_utf8_is_read_as_well_as_can_be() -> None:
    assert stun.read_error_code(b"\x00\x00\x04\x14\xff?") == (420, "\N{REPLACEMENT CHARACTER}?")


def test_unknown_attributes_are_listed_in_two_octets_each() -> None:
    assert stun.unknown_attributes([0x7F01, 3]) == b"\x7f\x01\x00\x03"
    assert stun.unknown_attributes([]) == b""
