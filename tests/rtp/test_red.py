"""RED payloads as octets (RFC 2198, 3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioice.errors import LocalProtocolError
from trioice.rtp import build_red, read_red

BLOCKS = st.lists(st.tuples(st.integers(0, 127), st.integers(1, (1 << 14) - 1), st.binary(max_size=1023)), max_size=31)


def test_one_redundant_block_as_chromium_sends_it() -> None:
    # 1|111, offset 960, length 3; 0|111; the redundant payload, the primary.
    payload = bytes.fromhex("ef 0f0003 6f aabbcc 11223344")
    assert read_red(payload) == [(111, 960, b"\xaa\xbb\xcc"), (111, 0, b"\x11\x22\x33\x44")]


def test_a_packet_without_redundancy_has_an_octet_before_its_payload() -> None:
    assert read_red(b"\x6fpayload") == [(111, 0, b"payload")]


@given(blocks=BLOCKS, primary=st.tuples(st.integers(0, 127), st.just(0), st.binary()))
def test_what_is_built_is_read(blocks: list[tuple[int, int, bytes]], primary: tuple[int, int, bytes]) -> None:
    assert read_red(build_red([*blocks, primary])) == [*blocks, primary]


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "ef",  # a head cut short
        "ef0f00",
        "ef0f0003",  # no primary
        "ef0f0003 6f aabb",  # the redundant block is longer than the packet
        "ef0f0001" * 32 + "6f" + "00" * 32,  # more blocks than are read
    ],
)
def test_malformed_payloads_are_none(payload: str) -> None:
    assert read_red(bytes.fromhex(payload)) is None


@given(octets=st.binary(max_size=80))
def test_no_octets_raise_and_no_block_is_longer_than_the_payload(octets: bytes) -> None:
    blocks = read_red(octets)
    assert blocks is None or sum(len(block) for _, _, block in blocks) < len(octets)


@pytest.mark.parametrize("block", [(111, 0, b""), (111, 1 << 14, b""), (111, 960, bytes(1024))])
def test_what_does_not_fit_is_refused(block: tuple[int, int, bytes]) -> None:
    with pytest.raises(LocalProtocolError):
        build_red([block, (111, 0, b"")])
