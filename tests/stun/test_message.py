"""Reading and writing STUN messages: what is kept, what is ignored, what is refused."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.vectors import rfc5769
from trioice import stun
from trioice.errors import LocalProtocolError
from trioice.stun.attributes import LENGTHS
from trioice.stun.integrity import fingerprint

TRANSACTION_ID = bytes(range(12))
KEY = b"a password of the callee"
USERNAME = (stun.USERNAME, b"server:client")
PRIORITY = (stun.PRIORITY, b"\x6e\x00\x01\xff")
USE_CANDIDATE = (stun.USE_CANDIDATE, b"")

CHECKSUMS = {stun.MESSAGE_INTEGRITY, stun.MESSAGE_INTEGRITY_SHA256, stun.FINGERPRINT}

transaction_ids = st.binary(min_size=12, max_size=12)
kinds = st.integers(0, 0x3FFF)
unknown = st.tuples(st.integers(0, 0xFFFF).filter(lambda number: number not in LENGTHS), st.binary(max_size=70))
known = st.sampled_from(sorted(LENGTHS.keys() - CHECKSUMS)).flatmap(
    lambda number: st.tuples(
        st.just(number),
        st.sampled_from(LENGTHS[number][:40]).flatmap(lambda length: st.binary(min_size=length, max_size=length)),
    )
)
attributes = st.lists(st.one_of(unknown, known), unique_by=lambda pair: pair[0], max_size=12)


def attribute(number: int, value: bytes, length: int | None = None) -> bytes:
    """One attribute by hand, with a wrong length where one is given."""
    length = len(value) if length is None else length
    return number.to_bytes(2, "big") + length.to_bytes(2, "big") + value + bytes(-len(value) % 4)


def with_body(body: bytes, kind: int = stun.BINDING_REQUEST) -> bytes:
    return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + stun.MAGIC_COOKIE + TRANSACTION_ID + body


def request(*attributes: tuple[int, bytes], key: bytes | None = KEY, fingerprint: bool = True) -> bytes:
    return stun.encode(stun.BINDING_REQUEST, TRANSACTION_ID, attributes, key=key, fingerprint=fingerprint)


def decoded(datagram: bytes) -> stun.Message:
    message = stun.decode(datagram)
    assert message is not None
    return message


# Properties


@given(kinds, transaction_ids, attributes, st.booleans())
def test_what_is_written_can_be_read(
    kind: int, transaction_id: bytes, attributes: list[tuple[int, bytes]], with_fingerprint: bool
) -> None:
    message = decoded(stun.encode(kind, transaction_id, attributes, key=KEY, fingerprint=with_fingerprint))
    assert (message.kind, message.transaction_id) == (kind, transaction_id)
    assert [pair for pair in message.attributes if pair[0] not in CHECKSUMS] == attributes
    assert message.verify(KEY)
    assert not message.verify(KEY + b"!")
    assert message.has_fingerprint == with_fingerprint


@given(kinds, transaction_ids, attributes)
def test_what_is_read_can_be_written_as_it_was(
    kind: int, transaction_id: bytes, attributes: list[tuple[int, bytes]]
) -> None:
    datagram = stun.encode(kind, transaction_id, attributes, fingerprint=False)
    message = decoded(datagram)
    assert stun.encode(message.kind, message.transaction_id, message.attributes, fingerprint=False) == datagram


@given(st.binary(max_size=200))
@example(b"")
@example(with_body(b"\x00\x06\xff\xff"))
def test_no_octets_raise(octets: bytes) -> None:
    for datagram in (octets, with_body(octets), with_body(octets + bytes(-len(octets) % 4))):
        stun.decode(datagram)
        stun.server_ufrag(datagram)


@given(st.lists(st.one_of(unknown, known, st.just(USERNAME)), max_size=8), st.booleans())
def test_the_ufrag_is_that_of_the_decoded_message(attributes: list[tuple[int, bytes]], authentic: bool) -> None:
    datagram = request(*attributes, key=KEY if authentic else None)
    username = decoded(datagram).get(stun.USERNAME)
    expected = None if username is None or b":" not in username else username.split(b":")[0]
    assert stun.server_ufrag(datagram) == expected


# What is in force (RFC 8489, 14 and 14.5)


def test_attributes_behind_the_integrity_are_ignored() -> None:
    signed = request(USERNAME, PRIORITY, fingerprint=False)
    tail = attribute(*USE_CANDIDATE) + attribute(0xC057, b"1234")
    message = decoded(with_body(signed[20:] + tail))
    assert message.verify(KEY)
    assert message.get(stun.USE_CANDIDATE) is None
    assert [kind for kind, _ in message.attributes] == [stun.USERNAME, stun.PRIORITY, stun.MESSAGE_INTEGRITY]


def test_an_unknown_required_attribute_behind_the_integrity_is_not_reported() -> None:
    signed = request(USERNAME, fingerprint=False)
    assert decoded(with_body(signed[20:] + attribute(0x7FFF, b""))).unknown_required() == []


def test_fingerprint_and_the_longer_integrity_are_kept_behind_the_integrity() -> None:
    signed = request(USERNAME, fingerprint=False)
    sha256 = (stun.MESSAGE_INTEGRITY_SHA256, bytes(32))
    pairs = decoded(with_body(signed[20:] + attribute(*sha256))).attributes
    message = decoded(stun.encode(stun.BINDING_REQUEST, TRANSACTION_ID, pairs))
    assert message.verify(KEY)
    assert message.get(stun.MESSAGE_INTEGRITY_SHA256) == bytes(32)
    assert message.has_fingerprint


def test_attributes_behind_the_longer_integrity_are_ignored() -> None:
    message = decoded(request((stun.MESSAGE_INTEGRITY_SHA256, bytes(32)), USE_CANDIDATE))
    assert message.get(stun.USE_CANDIDATE) is None
    assert not message.verify(KEY)


def test_a_second_integrity_does_not_count() -> None:
    forged = stun.encode(stun.BINDING_REQUEST, TRANSACTION_ID, [(stun.MESSAGE_INTEGRITY, bytes(20)), USERNAME], key=KEY)
    message = decoded(forged)
    assert not message.verify(KEY)
    assert message.get(stun.USERNAME) is None


def test_the_first_of_two_attributes_of_a_kind_counts() -> None:
    message = decoded(
        request((stun.USERNAME, b"first:x"), (0x7F01, b"1"), (stun.USERNAME, b"second:x"), (0x7F01, b"2"))
    )
    assert message.get(stun.USERNAME) == b"first:x"
    assert dict(message.attributes)[stun.USERNAME] == b"first:x"
    assert message.unknown_required() == [0x7F01]


def test_unknown_attributes_are_kept_and_the_required_ones_reported() -> None:
    message = decoded(request((0x7F01, b"odd"), (0xC057, b"\x00\x00\x00\x0a"), (0x0003, b"")))
    assert message.get(0x7F01) == b"odd"
    assert message.get(0xC057) == b"\x00\x00\x00\x0a"
    assert message.unknown_required() == [0x7F01, 0x0003]


def test_padding_of_any_octets_is_taken_and_does_not_spoil_the_integrity() -> None:
    # RFC 5769 pads with spaces.
    assert decoded(rfc5769.REQUEST).verify(rfc5769.PASSWORD)


# Integrity and fingerprint


def test_a_message_without_integrity_is_not_verified() -> None:
    assert not decoded(request(USERNAME, key=None)).verify(KEY)
    assert not decoded(request(USERNAME, key=None)).verify(b"")


def test_a_message_is_not_verified_by_another_key() -> None:
    assert decoded(request(USERNAME)).verify(KEY)
    assert not decoded(request(USERNAME)).verify(b"another")


def test_a_message_that_was_made_by_hand_is_not_verified() -> None:
    message = decoded(request(USERNAME))
    assert not stun.Message(message.kind, message.transaction_id, message.attributes).verify(KEY)


@pytest.mark.parametrize("position", range(20, 20 + 4 + 16 + 4 + 20))
def test_a_change_under_the_integrity_is_noticed(position: int) -> None:
    forged = bytearray(request(USERNAME, fingerprint=False))
    forged[position] ^= 0x80
    message = stun.decode(bytes(forged))
    assert message is None or not message.verify(KEY)


def test_a_wrong_fingerprint_is_refused() -> None:
    datagram = request(USERNAME)
    assert stun.decode(datagram[:-1] + bytes([datagram[-1] ^ 1])) is None


def test_a_fingerprint_that_is_not_the_last_is_refused() -> None:
    before, behind = attribute(*USERNAME), attribute(0xC057, b"")
    whole = with_body(before + attribute(stun.FINGERPRINT, bytes(4)) + behind)
    crc = fingerprint(whole[: 20 + len(before)])  # right for its place and for the length in the header
    assert stun.decode(with_body(before + attribute(stun.FINGERPRINT, crc) + behind)) is None
    assert stun.decode(with_body(before + attribute(stun.FINGERPRINT, crc))) is None  # and right for no other length
    assert stun.decode(request(USERNAME, key=None)) is not None


# What is malformed


@pytest.mark.parametrize("datagram", [rfc5769.REQUEST, rfc5769.IPV6_RESPONSE, rfc5769.LONG_TERM_REQUEST])
def test_a_truncated_message_is_refused(datagram: bytes) -> None:
    for length in range(len(datagram)):
        assert stun.decode(datagram[:length]) is None
        assert stun.server_ufrag(datagram[:length]) is None


@pytest.mark.parametrize("datagram", [rfc5769.REQUEST, rfc5769.IPV4_RESPONSE])
def test_octets_behind_the_message_are_refused(datagram: bytes) -> None:
    for extra in (b"\x00", bytes(4), b"\x80\x22\x00\x00"):
        assert stun.decode(datagram + extra) is None
        assert stun.server_ufrag(datagram + extra) is None


def test_a_length_that_is_no_multiple_of_four_is_refused() -> None:
    for size in (1, 2, 3, 5):
        assert stun.decode(with_body(bytes(size))) is None
        assert stun.server_ufrag(with_body(attribute(*USERNAME) + bytes(size))) is None


def test_an_attribute_that_runs_past_the_end_is_refused() -> None:
    for length in (5, 8, 0xFFFC, 0xFFFF):
        assert stun.decode(with_body(attribute(0xC057, b"1234", length))) is None
        assert stun.server_ufrag(with_body(attribute(stun.USERNAME, b"a:b ", length))) is None


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (stun.PRIORITY, b"123"),
        (stun.PRIORITY, b""),
        (stun.USE_CANDIDATE, b"\x00"),
        (stun.ICE_CONTROLLING, b"1234"),
        (stun.ICE_CONTROLLED, b"123456789"),
        (stun.XOR_MAPPED_ADDRESS, b""),
        (stun.XOR_MAPPED_ADDRESS, bytes(12)),
        (stun.MESSAGE_INTEGRITY, bytes(19)),
        (stun.MESSAGE_INTEGRITY, b""),
        (stun.FINGERPRINT, b""),
        (stun.ERROR_CODE, b"\x00\x00\x04"),
        (stun.UNKNOWN_ATTRIBUTES, b"\x00"),
        (stun.USERNAME, b"u" * 513),
    ],
)
def test_a_known_attribute_of_a_wrong_length_is_refused(number: int, value: bytes) -> None:
    assert stun.decode(with_body(attribute(number, value))) is None


def test_an_empty_message_is_read() -> None:
    assert stun.decode(with_body(b"")) == stun.Message(stun.BINDING_REQUEST, TRANSACTION_ID)


def test_octets_of_other_protocols_are_refused() -> None:
    message = bytearray(request(USERNAME, key=None, fingerprint=False))
    for position in (4, 5, 6, 7):
        other = bytes(message[:position]) + b"\x00" + bytes(message[position + 1 :])
        assert stun.decode(other) is None
        assert stun.server_ufrag(other) is None
    for first in (0x40, 0x80, 0xC0):
        assert stun.decode(bytes([first]) + bytes(message[1:])) is None


def test_a_transaction_id_of_another_length_is_not_written() -> None:
    with pytest.raises(LocalProtocolError, match="12 octets, not 11"):
        stun.encode(stun.BINDING_REQUEST, bytes(11))


# The ufrag that requests are routed by


def test_the_ufrag_is_found_wherever_the_username_stands() -> None:
    assert stun.server_ufrag(request(USERNAME, PRIORITY)) == b"server"
    assert stun.server_ufrag(request(PRIORITY, (0xC057, b"odd"), USERNAME)) == b"server"


def test_the_ufrag_ends_at_the_first_colon() -> None:
    assert stun.server_ufrag(request((stun.USERNAME, b"a:b:c"))) == b"a"
    assert stun.server_ufrag(request((stun.USERNAME, b":client"))) == b""


def test_there_is_no_ufrag_without_a_colon_or_a_username() -> None:
    assert stun.server_ufrag(request((stun.USERNAME, b"server"))) is None
    assert stun.server_ufrag(request((stun.USERNAME, b""))) is None
    assert stun.server_ufrag(request(PRIORITY)) is None
    assert stun.server_ufrag(request((stun.USERNAME, b"a:" + b"u" * 511))) is None


def test_there_is_no_ufrag_behind_the_integrity() -> None:
    signed = request(PRIORITY, fingerprint=False)
    assert stun.server_ufrag(with_body(signed[20:] + attribute(*USERNAME))) is None


@pytest.mark.parametrize("kind", [stun.BINDING_INDICATION, stun.BINDING_SUCCESS, stun.BINDING_ERROR, 0x0003, 0x0200])
def test_only_a_binding_request_has_a_ufrag(kind: int) -> None:
    assert stun.server_ufrag(stun.encode(kind, TRANSACTION_ID, [USERNAME], key=KEY)) is None
