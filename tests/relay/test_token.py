"""The routing token: what is sealed opens, and nothing else does."""

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.harness.clockwork import seeded
from trioice.errors import LocalProtocolError
from trioice.relay.token import UFRAG_LENGTH, Route, TokenKey, TokenKeys

KEY = TokenKey(2, bytes.fromhex("8f95f09245765f80256934e50c66207f"))
KEYS = TokenKeys([KEY])
ROUTE = Route(cluster=513, shard=7)
UFRAG = KEYS.seal(ROUTE, b"nonce!")

routes = st.builds(Route, st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF))
nonces = st.binary(min_size=6, max_size=6)


def test_the_block_is_that_of_quic_lb() -> None:
    # draft-ietf-quic-load-balancers, appendix B: the vector of the single pass (server ID and nonce, connection ID without its
    # first octet, 0x50).
    block = bytes.fromhex("ed793a51d49b8f5f ee080dbf48c0d1e5")
    assert KEY.encrypt(block).hex() == "4dd2d05a7b0de9b2b9907afb5ecf8cc3"
    assert KEY.decrypt(KEY.encrypt(block)) == block


def test_the_first_octet_is_that_of_quic_lb() -> None:
    assert base64.b64decode(UFRAG + "=")[0] == 0x50  # rotation 2, 16 octets behind it


def test_a_connection_id_of_quic_lb_is_no_token_for_its_check_is_not_zero() -> None:
    connection_id = bytes.fromhex("504dd2d05a7b0de9b2b9907afb5ecf8cc3")
    assert KEYS.open(base64.b64encode(connection_id).rstrip(b"=")) is None


@given(routes, nonces)
@example(Route(0, 0), bytes(6))
@example(Route(0xFFFF, 0xFFFFFFFF), b"\xff" * 6)
def test_what_was_sealed_opens(route: Route, nonce: bytes) -> None:
    ufrag = KEYS.seal(route, nonce)
    assert len(ufrag) == UFRAG_LENGTH
    assert ufrag.replace("+", "").replace("/", "").isalnum()  # ice-char (RFC 8839, 5.4)
    assert KEYS.open(ufrag.encode()) == route


@given(st.binary(max_size=40))
def test_no_octets_raise_or_open(octets: bytes) -> None:
    assert KEYS.open(octets) is None
    assert KEYS.open(base64.b64encode(octets).rstrip(b"=")) is None


@given(st.integers(0, UFRAG_LENGTH - 1), st.integers(0, 255))
def test_no_character_can_be_changed(position: int, character: int) -> None:
    forged = bytearray(UFRAG.encode())
    forged[position] = character
    assert KEYS.open(bytes(forged)) == (ROUTE if forged == UFRAG.encode() else None)


def test_the_spare_bits_are_zero() -> None:
    octets = base64.b64decode(UFRAG + "=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = alphabet.index(UFRAG[-1])
    for spare in (1, 2, 3):
        other = UFRAG[:-1] + alphabet[last | spare]
        assert base64.b64decode(other + "=") == octets
        assert KEYS.open(other.encode()) is None


@pytest.mark.parametrize(
    "ufrag", [b"", UFRAG[:-1].encode(), UFRAG.encode() + b"A", UFRAG.encode() + b"=", b"\n" + UFRAG[:-1].encode()]
)
def test_another_length_does_not_open(ufrag: bytes) -> None:
    assert KEYS.open(ufrag) is None


def test_another_length_in_the_first_octet_does_not_open() -> None:
    octets = bytearray(base64.b64decode(UFRAG + "="))
    octets[0] ^= 1
    assert KEYS.open(base64.b64encode(octets).rstrip(b"=")) is None


def test_the_token_hides_the_route_and_the_nonce_changes_all_of_it() -> None:
    one, other = KEYS.seal(ROUTE, b"nonce1"), KEYS.seal(ROUTE, b"nonce2")
    assert one[:1] == other[:1]
    assert sum(a == b for a, b in zip(one[2:], other[2:], strict=True)) < 5


def test_a_token_of_another_key_does_not_open() -> None:
    assert TokenKeys([TokenKey(2, bytes(16))]).open(UFRAG.encode()) is None
    assert TokenKeys([TokenKey(3, KEY.key)]).open(UFRAG.encode()) is None


def test_keys_rotate_without_a_gap() -> None:
    old, new = TokenKey.generate(0, seeded(1)), TokenKey.generate(1, seeded(2))
    announced, moved = TokenKeys([old, new]), TokenKeys([new, old])
    before, after = announced.seal(ROUTE, bytes(6)), moved.seal(ROUTE, bytes(6))
    assert before != after
    assert [keys.open(ufrag.encode()) for keys in (announced, moved) for ufrag in (before, after)] == [ROUTE] * 4
    assert TokenKeys([new]).open(before.encode()) is None


def test_a_generated_key_is_a_line_of_a_key_file() -> None:
    key = TokenKey.generate(4, seeded(1))
    assert key.line() == f"4 {seeded(1)(16).hex()}"
    assert TokenKeys.read(key.line()).open(TokenKeys([key]).seal(ROUTE, bytes(6)).encode()) == ROUTE


def test_a_key_file_has_a_key_a_line_and_the_first_seals() -> None:
    text = f"""
        # keys of the edge

        2 {KEY.key.hex()}   # since May
        0 FDF726A9893EC05C0632D3956680BAF0
    """
    assert TokenKeys.read(text).seal(ROUTE, b"nonce!") == UFRAG


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no key"),
        ("# only a comment", "there is no key"),
        ("\n1", "line 2: a key is a rotation and 32 hexadecimal digits"),
        (f"7 {'ab' * 16}", "line 1: a rotation is 0 to 6, not 7"),
        (f"-1 {'ab' * 16}", "line 1: a key is a rotation and"),
        (f"1 {'ab' * 15}", "line 1: a key has 16 octets, not 15"),
        (f"1 {'ab' * 16} x", "line 1: a key is a rotation and"),
        (f"1 {'xy' * 16}", "line 1: a key is written in hexadecimal digits"),
        (f"1 {'ab' * 16}\n1 {'cd' * 16}", "rotation 1 has two keys"),
    ],
)
def test_a_wrong_key_file_is_refused_with_its_line_but_not_its_key(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        TokenKeys.read(text)
    assert not any(word in str(error.value) for word in text.split() if len(word) > 20)


def test_a_key_does_not_show_itself() -> None:
    assert repr(KEY) == "TokenKey(rotation=2)"


@pytest.mark.parametrize(
    ("route", "nonce"),
    [(Route(1 << 16, 0), bytes(6)), (Route(0, 1 << 32), bytes(6)), (Route(-1, 0), bytes(6)), (ROUTE, bytes(5))],
)
def test_what_does_not_fit_is_not_sealed(route: Route, nonce: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        KEYS.seal(route, nonce)
