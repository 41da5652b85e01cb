"""The hello extensions that DTLS-SRTP needs, as values (RFC 5246, 7.4.1.4; the RFC of each stands beside it).

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
RENEGOTIATION_INFO: Final = 0xFF01  # RFC 5746, 3.2

UNCOMPRESSED: Final = 0
"""The one point format that is left (RFC 8422, 5.1.2)."""

NO_RENEGOTIATION: Final = opaque(1, b"")
"""The renegotiation_info of an initial handshake: there is no earlier Finished (RFC 5746, 3.4 and 3.6)."""


def read(reader: Reader) -> Extensions:
    """Read the block at the end of a hello, which may be missing (RFC 5246, 7.4.1.2)."""
    if not reader.left:
        return ()
    extensions = tuple(reader.vector(2, lambda item: (item.uint(2), item.opaque(2))))
    if len({kind for kind, _ in extensions}) < len(extensions):
        raise Malformed("an extension stands twice")
    return extensions


def octets(extensions: Extensions) -> bytes:
    """Write the block."""
    return opaque(2, b"".join(uint(2, kind) + opaque(2, value) for kind, value in extensions)) if extensions else b""


def read_numbers(value: bytes, size: int = 2) -> list[int]:
    """Read a list of 16-bit numbers behind a length of `size` octets (1 in supported_versions)."""
    reader = Reader(value)
    values = list(reader.numbers(size, least=1))
    reader.end()
    return values


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
