"""RTP packets as octets: headers, padding, extensions, and RTCP told from RTP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.clockwork import seeded
from trioice.errors import LocalProtocolError
from trioice.rtp import block, build, element, extensions, initial_sequence, is_rtcp, read

ELEMENTS = st.lists(st.tuples(st.integers(1, 14), st.binary(min_size=1, max_size=16)), max_size=8)
LONG_ELEMENTS = st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=255)), max_size=8)

# The header of RFC 7714, 16: marker clear, payload type 64, no extension.
RFC_7714 = bytes.fromhex("8040f17b 8041f8d3 5501a0b2") + b"Gallia est omnis divisa in partes tres"


def test_a_plain_header_is_read() -> None:
    assert read(RFC_7714) == (64, False, 0xF17B, 0x8041F8D3, 0x5501A0B2, 12, 50)


def test_sources_extension_and_padding_are_left_out_of_the_payload() -> None:
    packet = bytes.fromhex("b2ef0007 00000001 decafbad 00000001 00000002 bede0001 10ff0000") + b"payload" + b"\0\0\3"
    assert read(packet) == (111, True, 7, 1, 0xDECAFBAD, 28, 35)


def test_the_packet_may_be_padding_alone() -> None:
    # Chromium sends such packets to probe for bandwidth.
    assert read(bytes.fromhex("a06f0007 00000000 decafbad") + bytes(254) + b"\xff") == (
        111,
        False,
        7,
        0,
        0xDECAFBAD,
        12,
        12,
    )


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "80",
        "806f0001 00000000 decafb",  # eleven octets
        "406f0001 00000000 decafbad",  # version 1
        "c06f0001 00000000 decafbad",  # version 3
        "8f6f0001 00000000 decafbad 00000001",  # fifteen CSRCs
        "906f0001 00000000 decafbad",  # no room for the extension's header
        "906f0001 00000000 decafbad bede00",
        "906f0001 00000000 decafbad bede0001",  # the extension is longer than the packet
        "906f0001 00000000 decafbad bedeffff 00000000",
        "a06f0001 00000000 decafbad 00",  # padding of 0
        "a06f0001 00000000 decafbad 02",  # more padding than payload
        "a06f0001 00000000 decafbad 000000ff",
        "a06f0001 00000000 decafbad",  # the padding's count is the SSRC's last octet
        "b16f0001 00000000 decafbad 00000000 bede0001 00000001 05",  # padding that reaches into the extension
    ],
)
def test_malformed_packets_are_none(packet: str) -> None:
    assert read(bytes.fromhex(packet)) is None


@given(octets=st.binary(max_size=60), first=st.integers(0x80, 0xBF))
def test_no_octets_raise_and_the_payload_lies_inside(octets: bytes, first: int) -> None:
    for packet in (octets, bytes([first]) + octets):
        header = read(packet)
        assert header is None or 12 <= header[5] <= header[6] <= len(packet)
        extensions(packet)
        element(packet, 1)
        is_rtcp(packet)


@given(
    payload_type=st.integers(0, 63),
    marker=st.booleans(),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(),
    elements=ELEMENTS | LONG_ELEMENTS,
)
def test_what_is_built_is_read(
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    elements: list[tuple[int, bytes]],
) -> None:
    packet = build(payload_type, marker, sequence, timestamp, ssrc, payload, elements)
    header = read(packet)
    assert header is not None
    assert header[:5] == (payload_type, marker, sequence, timestamp, ssrc)
    assert packet[header[5] : header[6]] == payload
    assert extensions(packet) == elements
    for identifier in (*range(1, 20), 254):
        assert element(packet, identifier) == next((value for found, value in elements if found == identifier), None)


def test_sequence_and_timestamp_roll_over_as_they_are_built() -> None:
    assert build(111, False, 0x10002, 0x100000003, 4, b"") == bytes.fromhex("806f0002 00000003 00000004")


def test_the_one_byte_form_of_rfc_8285_4_2() -> None:
    # The RFC's figure: an element of one octet, one of two, two octets of padding, one of four.
    elements = bytes.fromhex("10aa 21bbbb 0000 33cccccccc")
    packet = bytes.fromhex("906f0001 00000000 decafbad bede0003") + elements
    assert extensions(packet) == [(1, b"\xaa"), (2, b"\xbb\xbb"), (3, b"\xcc" * 4)]


def test_the_two_byte_form_of_rfc_8285_4_3() -> None:
    # The RFC's figure: an element of no octet, one of one, padding, one of four.
    packet = bytes.fromhex("906f0001 00000000 decafbad 10000003 0100 0201aa 00 0304bbbbbbbb 00")
    packet = packet[: 12 + 4 + 12]
    assert extensions(packet) == [(1, b""), (2, b"\xaa"), (3, b"\xbb" * 4)]


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("bede0002 10aa f0bb 20cc0000", [(1, b"\xaa")]),  # identifier 15 ends the list
        ("bede0002 10aa 05 20bb 000000", [(1, b"\xaa")]),  # so does 0 with a length
        ("bede0001 10aa 2fbb", [(1, b"\xaa")]),  # the element is longer than the block
        ("10000001 01 04 aabb", []),
        ("10000001 00 00 00 05", []),  # an identifier without a length
        ("100f0001 01 02 aabb", [(1, b"\xaa\xbb")]),  # the application's bits
        ("abcd0001 10aa0000", []),  # another form
        ("bede0002 10aa0000", []),  # a block longer than the packet
        ("be", []),
    ],
)
def test_odd_extensions(words: str, seen: list[tuple[int, bytes]]) -> None:
    packet = bytes.fromhex("906f0001 00000000 decafbad" + words)
    assert extensions(packet) == seen
    for identifier in range(1, 16):
        assert element(packet, identifier) == dict(seen).get(identifier)


def test_elements_that_no_form_can_hold_are_misuse() -> None:
    for misfit in ((0, b"x"), (256, b"x"), (1, bytes(256))):
        with pytest.raises(LocalProtocolError):
            block([misfit])


def test_rtcp_is_known_by_its_payload_type() -> None:
    assert [kind for kind in range(256) if is_rtcp(bytes([0x80, kind]))] == [*range(64, 96), *range(192, 224)]
    assert not is_rtcp(b"\x80")


def test_streams_start_below_32768_and_anywhere_there() -> None:
    entropy = seeded(1)
    starts = [initial_sequence(entropy) for _ in range(2000)]
    assert 0 <= min(starts) < 1000
    assert 31767 < max(starts) < 0x8000
