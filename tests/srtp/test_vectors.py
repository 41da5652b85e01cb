"""The RFCs' own numbers: RFC 3711, appendix B, RFC 7714, sections 16 and 17, and libsrtp's reference packets."""

import pytest

from tests.srtp.packets import Engine
from trioice.errors import LocalProtocolError
from trioice.srtp import (
    AEAD_AES_128_GCM,
    AEAD_AES_256_GCM,
    AES128_CM_SHA1_80,
    Drop,
    MasterKey,
    Profile,
    material_length,
    profile_by_name,
    split,
)
from trioice.srtp.keys import SessionKeys, derive, session_keys
from trioice.srtp.plain import Cipher, PlainReceiver, cipher

MASTER = MasterKey(bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139"), bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6"))


@pytest.mark.parametrize(
    ("label", "derived"),
    [
        (0, "C61E7A93744F39EE10734AFE3FF7A087"),
        (2, "30CBBC08863D8C85D49DB34A9AE1"),
        (
            1,
            (
                "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF7227098"
                "6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2"
            ),
        ),
    ],
)
def test_key_derivation_of_rfc_3711_b3(label: int, derived: str) -> None:
    octets = bytes.fromhex(derived)
    assert derive(MASTER, label, len(octets)) == octets


def test_the_keystream_of_rfc_3711_b2() -> None:
    keys = SessionKeys(
        bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"), bytes(20), bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD")
    )
    header = bytes([0x80, 0, 0, 0]) + bytes(8)  # sequence, roll-over counter and SSRC are zero
    sealed = cipher(AES128_CM_SHA1_80, keys, keys).seal(header + bytes(1044512), 12, 0)
    keystream = sealed[12:-10]
    assert keystream[:48] == bytes.fromhex(
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0"
    )
    assert keystream[-48:] == bytes.fromhex(
        "EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44"
    )


PLAIN_RTP = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
PLAIN_RTCP = bytes.fromhex(
    "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef"
)
SEALED_RTP = {
    AEAD_AES_128_GCM: (  # RFC 7714, 16.1.1
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf"
        "8833899d 7f27beb1 6a9152cf 765ee439 0cce"
    ),
    AEAD_AES_256_GCM: (  # 16.2.1
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799"
        "b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13"
    ),
}
SEALED_RTCP = {
    AEAD_AES_128_GCM: (  # 17.1
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded"
        "0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4"
    ),
    AEAD_AES_256_GCM: (  # 17.2
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658 c61de047"
        "6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4"
    ),
}
GCM = pytest.mark.parametrize("profile", [AEAD_AES_128_GCM, AEAD_AES_256_GCM], ids=lambda profile: profile.name)


def gcm(profile: Profile) -> Cipher:
    keys = SessionKeys(bytes(range(profile.key_length)), b"", b"Quid pro quo")
    return cipher(profile, keys, keys)


@GCM
def test_the_rtp_packets_of_rfc_7714_16(profile: Profile) -> None:
    sealed = bytes.fromhex(SEALED_RTP[profile])
    assert gcm(profile).seal(PLAIN_RTP, 12, 0xF17B) == sealed
    assert gcm(profile).open(sealed, 12, 0xF17B) == PLAIN_RTP


@GCM
def test_the_rtcp_packets_of_rfc_7714_17(profile: Profile) -> None:
    sealed = bytes.fromhex(SEALED_RTCP[profile])
    assert gcm(profile).seal_report(PLAIN_RTCP, 0x5D4) == sealed
    assert gcm(profile).open_report(sealed, 0x5D4) == PLAIN_RTCP


def test_the_tagged_but_unencrypted_rtcp_of_rfc_7714_17_3_is_refused(engine: Engine) -> None:
    # Correctly tagged under these session keys, but no profile of DTLS-SRTP leaves SRTCP in the clear.
    tagged = PLAIN_RTCP + bytes.fromhex("841dd9683dd78ec92ae58790125f62b3 000005d4")
    into = engine.receiver(AEAD_AES_128_GCM, MasterKey(bytes(16), bytes(12)))
    assert into.unprotect_rtcp(tagged) is None
    assert into.dropped == {Drop.UNENCRYPTED: 1}


SHA1_RTP = bytes.fromhex("800f1234decafbadcafebabe") + bytes.fromhex("ab" * 16)
SHA1_SEALED_RTP = bytes.fromhex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb")
SHA1_RTCP = bytes.fromhex("81c8000bcafebabe") + bytes.fromhex("ab" * 16)
SHA1_SEALED_RTCP = bytes.fromhex("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798")


def test_the_reference_packets_of_libsrtp(engine: Engine) -> None:
    # From srtp_validate in libsrtp's test/srtp_driver.c, under the master key of RFC 3711, B.3; its SRTCP index is 1.
    into, out = engine.receiver(AES128_CM_SHA1_80, MASTER), engine.sender(AES128_CM_SHA1_80, MASTER)
    assert out.protect(SHA1_RTP) == SHA1_SEALED_RTP
    assert into.unprotect(SHA1_SEALED_RTP) == SHA1_RTP
    assert into.unprotect_rtcp(SHA1_SEALED_RTCP) == SHA1_RTCP
    assert SHA1_SEALED_RTCP in (out.protect_rtcp(SHA1_RTCP), out.protect_rtcp(SHA1_RTCP))


def test_dtls_gives_the_clients_and_the_servers_keys_before_their_salts() -> None:
    client, server = split(AES128_CM_SHA1_80, b"c" * 16 + b"s" * 16 + b"C" * 14 + b"S" * 14)
    assert (client, server) == (MasterKey(b"c" * 16, b"C" * 14), MasterKey(b"s" * 16, b"S" * 14))


def test_keys_of_a_wrong_length_are_misuse(profile: Profile) -> None:
    with pytest.raises(LocalProtocolError):
        split(profile, bytes(material_length(profile) - 1))
    with pytest.raises(LocalProtocolError):
        session_keys(profile, MasterKey(bytes(profile.key_length), bytes(profile.salt_length + 1)))
    with pytest.raises(LocalProtocolError):
        PlainReceiver(profile, MasterKey(bytes(profile.key_length + 1), bytes(profile.salt_length)))


def test_a_master_key_does_not_show_itself() -> None:
    assert "E1" not in repr(MASTER).upper()


def test_profiles_are_found_by_name() -> None:
    assert profile_by_name("aead_aes_128_gcm") is AEAD_AES_128_GCM
    assert profile_by_name("AES128_CM_SHA1_32") is None
