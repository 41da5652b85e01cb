"""The key schedule and the key shares, against published vectors."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.harness.clockwork import seeded
from trioice.dtls.ciphers import SUITES
from trioice.dtls.groups import CURVES, GROUPS, SECP256R1, SECP384R1, X25519, X25519KeyShare, private_key
from trioice.dtls.keys12 import Secrets, prf

# The vectors that the TLS working group's list agreed on: www.ietf.org/mail-archive/web/tls/current/msg03416.html
PRF_VECTORS = [
    (
        "sha256",
        "9bbe436ba940f017b17652849a71db35",
        "a0ba9f936cda311827a6f796ffd5198c",
        (
            "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd"
            "3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
        ),
    ),
    (
        "sha384",
        "b80b733d6ceefcdc71566ea48e5567df",
        "cd665cf6a8447dd6ff8b27555edb7465",
        (
            "7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe34f82b1233c9146a0e534cb400fed2700884f9d"
            "c236f80edd8bfa961144c9e8d792eca722a7b32fc3d416d473ebc2c5fd4abfdad05d9184259b5bf8cd4d90fa0d31e2dec479e4f1a26066f2eea9"
            "a69236a3e52655c9e9aee691c8f3a26854308d5eaa3be85e0990703d73e56f"
        ),
    ),
]


@pytest.mark.parametrize(("hash_name", "secret", "seed", "output"), PRF_VECTORS, ids=lambda value: value[:6])
def test_the_prf_gives_the_published_output(hash_name: str, secret: str, seed: str, output: str) -> None:
    expected = bytes.fromhex(output)
    assert prf(hash_name, bytes.fromhex(secret), b"test label", bytes.fromhex(seed), len(expected)) == expected


def test_x25519_agrees_as_rfc_7748_6_1_has_it() -> None:
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    ours, theirs = X25519KeyShare(lambda count: alice[:count]), X25519KeyShare(lambda count: bob[:count])
    assert ours.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert theirs.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    agreed = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert (ours.shared(theirs.public).hex(), theirs.shared(ours.public).hex()) == (agreed, agreed)


@pytest.mark.parametrize("group", sorted(CURVES))
def test_both_sides_of_a_group_agree(group: int) -> None:
    ours, theirs = GROUPS[group](seeded(1)), GROUPS[group](seeded(2))
    assert ours.shared(theirs.public) == theirs.shared(ours.public)
    assert len(ours.public) == {X25519: 32, SECP256R1: 65, SECP384R1: 97}[group]


@pytest.mark.parametrize("group", GROUPS)
def test_the_same_entropy_makes_the_same_share(group: int) -> None:
    assert GROUPS[group](seeded(1)).public == GROUPS[group](seeded(1)).public != GROUPS[group](seeded(2)).public


@pytest.mark.parametrize("fill", [b"\x00", b"\xff"])
def test_a_private_key_is_in_range_for_the_extremes_of_entropy(fill: bytes) -> None:
    for curve in (ec.SECP256R1(), ec.SECP384R1()):
        assert private_key(curve, lambda count: fill * count).private_numbers().private_value > 0


# Points of order 1, 2, 4 and 8 on Curve25519: every exchange with them is zero (RFC 7748, 6.1 and 7).
SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point[:4].hex())
def test_an_x25519_point_of_small_order_is_refused(point: bytes) -> None:
    with pytest.raises(ValueError):
        X25519KeyShare(seeded(1)).shared(point)


@pytest.mark.parametrize("group", [SECP256R1, SECP384R1])
def test_what_is_no_uncompressed_point_of_the_curve_is_refused(group: int) -> None:
    share, other = GROUPS[group](seeded(1)), GROUPS[group](seeded(2)).public
    off_curve = other[:-1] + bytes((other[-1] ^ 1,))
    compressed = bytes((2 + other[-1] % 2,)) + other[1 : 1 + len(other) // 2]
    for peer in (off_curve, compressed, other[:-1], other + b"\0", b"\0", b"", bytes(len(other)), b"\x05" + other[1:]):
        with pytest.raises(ValueError):
            share.shared(peer)


def test_the_key_block_gives_each_direction_its_own_key() -> None:
    for suite in SUITES.values():
        secrets = Secrets.derive(suite, bytes(32), b"transcript", client_random=b"c" * 32, server_random=b"s" * 32)
        client, server = secrets.protections()
        sealed = client.seal(bytes(8), 23, b"payload")
        assert client.open(bytes(8), 23, sealed) == b"payload"
        assert server.open(bytes(8), 23, sealed) is None
