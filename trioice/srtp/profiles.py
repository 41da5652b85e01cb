"""The SRTP protection profiles that DTLS can agree on here (RFC 5764, 4.1.2; RFC 7714, 14.2)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs


@attrs.frozen(kw_only=True)
class Profile:
    """A transform with its sizes in octets; `number` is what use_srtp carries."""

    number: int
    name: str
    key_length: int
    salt_length: int
    tag_length: int
    authentication_key_length: int = 0  # an AEAD needs none

    @property
    def is_aead(self) -> bool:
        """Whether one algorithm encrypts and authenticates (RFC 7714), instead of one after the other (RFC 3711)."""
        return self.authentication_key_length == 0


AEAD_AES_128_GCM: Final = Profile(number=0x0007, name="AEAD_AES_128_GCM", key_length=16, salt_length=12, tag_length=16)
AEAD_AES_256_GCM: Final = Profile(number=0x0008, name="AEAD_AES_256_GCM", key_length=32, salt_length=12, tag_length=16)
AES128_CM_SHA1_80: Final = Profile(
    number=0x0001,
    name="AES128_CM_SHA1_80",
    key_length=16,
    salt_length=14,
    tag_length=10,
    authentication_key_length=20,
)

PROFILES: Final[Mapping[int, Profile]] = MappingProxyType(
    {profile.number: profile for profile in (AEAD_AES_128_GCM, AEAD_AES_256_GCM, AES128_CM_SHA1_80)}
)
"""By number, the cheapest first: that is our order of preference."""

LONGEST_TAG: Final = max(profile.tag_length for profile in PROFILES.values())
"""Octets that protection adds to a packet at most."""


def profile_by_name(name: str) -> Profile | None:
    """Find a profile as a command line names it: whole, in any case."""
    return next((profile for profile in PROFILES.values() if profile.name == name.upper()), None)
