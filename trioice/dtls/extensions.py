"""The extensions that DTLS-SRTP needs, as values (RFC 5246, 7.4.1.4; RFC 8446, 4.2; the RFC of each stands beside it).

Unknown extensions are kept, so that a hello can be written back as it was read.
"""

from typing import Final, TypeAlias

import attrs

from trioice.errors import Malformed
from trioice.wire import Reader, numbers, opaque, uint

Extensions: TypeAlias = tuple[tuple[int, bytes], ...]

SUPPORTED_GROUPS: Final = 10  # RFC 8422, 5.1.1
EC_POINT_FORMATS: Final = 11  # RFC 8422, 5.1.2
SIGNATURE_ALGORITHMS: Final = 13  # RFC 5246, 7.4.1.4.1
USE_SRTP: Final = 14  # RFC 5764, 4.1
EXTENDED_MASTER_SECRET: Final = 23  # RFC 7627, 5.1
SUPPORTED_VERSIONS: Final = 43  # RFC 8446, 4.2.1
COOKIE: Final = 44  # RFC 8446, 4.2.2
KEY_SHARE: Final = 51  # RFC 8446, 4.2.8
RENEGOTIATION_INFO: Final = 0xFF01  # RFC 5746, 3.2

UNCOMPRESSED: Final = 0
"""The one point format that is left (RFC 8422, 5.1.2)."""

NO_RENEGOTIATION: Final = opaque(1, b"")
"""The renegotiation_info of an initial handshake: there is no earlier Finished (RFC 5746, 3.4 and 3.6)."""


def read(reader: Reader) -> Extensions:
    """Read the block at the end of a hello, which may be missing (RFC 5246, 7.4.1.2)."""
    return read_block(reader) if reader.left else ()


def read_block(reader: Reader) -> Extensions:
    """Read a block that may be empty but not missing (RFC 8446, 4.2)."""
    extensions = tuple(reader.vector(2, lambda item: (item.uint(2), item.opaque(2))))
    if len({kind for kind, _ in extensions}) < len(extensions):
        raise Malformed("an extension stands twice")
    return extensions


def octets(extensions: Extensions) -> bytes:
    """Write the block of a hello, which is missing if it is empty."""
    return block(extensions) if extensions else b""


def block(extensions: Extensions) -> bytes:
    """Write a block that may be empty but not missing."""
    return opaque(2, b"".join(uint(2, kind) + opaque(2, value) for kind, value in extensions))


def read_numbers(value: bytes, size: int = 2) -> list[int]:
    """Read a list of 16-bit numbers behind a length of `size` octets (1 in supported_versions)."""
    reader = Reader(value)
    values = list(reader.numbers(size, least=1))
    reader.end()
    return values


def read_number(value: bytes) -> int:
    """Read a single 16-bit number: the version or the group that a server chose (RFC 8446, 4.2.1 and 4.2.8)."""
    reader = Reader(value)
    number = reader.uint(2)
    reader.end()
    return number


def read_cookie(value: bytes) -> bytes:
    """Read a cookie (RFC 8446, 4.2.2)."""
    reader = Reader(value)
    cookie = reader.opaque(2, least=1)
    reader.end()
    return cookie


KeyShares: TypeAlias = tuple[tuple[int, bytes], ...]
"""Groups, each with a share of a key exchange."""


def read_key_shares(value: bytes) -> KeyShares:
    """Read the shares that a client sends, perhaps none; a group with two is malformed (RFC 8446, 4.2.8)."""
    reader = Reader(value)
    shares = tuple(reader.vector(2, _key_share))
    reader.end()
    if len({group for group, _ in shares}) < len(shares):
        raise Malformed("two key shares of one group")
    return shares


def key_shares(shares: KeyShares) -> bytes:
    """Write the shares that a client sends."""
    return opaque(2, b"".join(key_share(group, share) for group, share in shares))


def read_key_share(value: bytes) -> tuple[int, bytes]:
    """Read the share that a server sends."""
    reader = Reader(value)
    share = _key_share(reader)
    reader.end()
    return share


def key_share(group: int, share: bytes) -> bytes:
    """Write one share."""
    return uint(2, group) + opaque(2, share)


def _key_share(reader: Reader) -> tuple[int, bytes]:
    return reader.uint(2), reader.opaque(2, least=1)


def read_point_formats(value: bytes) -> bytes:
    """Read ec_point_formats: one octet each."""
    reader = Reader(value)
    formats = reader.opaque(1, least=1)
    reader.end()
    return formats


@attrs.frozen
class UseSrtp:
    """use_srtp: protection profiles, and a master key identifier that WebRTC leaves empty (RFC 5764, 4.1.1)."""

    profiles: tuple[int, ...]
    mki: bytes = b""

    @classmethod
    def read(cls, value: bytes) -> "UseSrtp":
        """Read what either side sent."""
        reader = Reader(value)
        profiles = reader.numbers(2, least=1)
        mki = reader.opaque(1)
        reader.end()
        return cls(profiles, mki)

    def octets(self) -> bytes:
        """Write it."""
        return numbers(self.profiles) + opaque(1, self.mki)
