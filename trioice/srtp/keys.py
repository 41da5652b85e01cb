"""SRTP keys: what DTLS hands over (RFC 5764, 4.2) and what packets are protected with (RFC 3711, 4.3; RFC 7714, 11)."""

from typing import Final

import attrs
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from trioice.errors import LocalProtocolError
from trioice.srtp.profiles import Profile

EXTRACTOR: Final = b"EXTRACTOR-dtls_srtp"
"""The exporter label under which DTLS gives SRTP its keying material."""


@attrs.frozen
class MasterKey:
    """One direction's master key and master salt. Its `repr` shows neither."""

    key: bytes = attrs.field(repr=False)
    salt: bytes = attrs.field(repr=False)


def material_length(profile: Profile) -> int:
    """How many octets to export from DTLS for `profile`."""
    return 2 * (profile.key_length + profile.salt_length)


def split(profile: Profile, material: bytes) -> tuple[MasterKey, MasterKey]:
    """Cut what DTLS exported into the client's and the server's write keys: both keys first, then both salts."""
    if len(material) != material_length(profile):
        raise LocalProtocolError(f"{profile.name} needs {material_length(profile)} octets of keying material")
    key, salt = profile.key_length, profile.salt_length
    keys, salts = material[: 2 * key], material[2 * key :]
    return MasterKey(keys[:key], salts[:salt]), MasterKey(keys[key:], salts[salt:])


@attrs.frozen
class SessionKeys:
    """What the transforms use, for RTP or for RTCP; `authentication` is empty for an AEAD."""

    encryption: bytes = attrs.field(repr=False)
    authentication: bytes = attrs.field(repr=False)
    salt: bytes = attrs.field(repr=False)


def session_keys(profile: Profile, master: MasterKey) -> tuple[SessionKeys, SessionKeys]:
    """Derive the session keys, for RTP and for RTCP, from a master key that fits `profile`."""
    if len(master.key) != profile.key_length or len(master.salt) != profile.salt_length:
        raise LocalProtocolError(f"the master key does not have the lengths of {profile.name}")

    def keys(first_label: int) -> SessionKeys:
        return SessionKeys(
            derive(master, first_label, profile.key_length),
            derive(master, first_label + 1, profile.authentication_key_length),
            derive(master, first_label + 2, profile.salt_length),
        )

    return keys(0), keys(3)  # the six labels of RFC 3711, 4.3.2


def derive(master: MasterKey, label: int, length: int) -> bytes:
    """Derive `length` octets under `label`: AES in counter mode from the salt with the label in it (RFC 3711, 4.3.3).

    The key derivation rate is zero, as DTLS-SRTP has it. A salt of 96 bits stands at the left of 112 (RFC 7714, 11).
    """
    salt = int.from_bytes(master.salt.ljust(14, b"\0"), "big")
    counter = (salt ^ label << 48) << 16
    return Cipher(AES(master.key), CTR(counter.to_bytes(16, "big"))).encryptor().update(bytes(length))
