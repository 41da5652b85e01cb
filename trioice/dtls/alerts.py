"""The alert protocol: two octets that end an association, or warn (RFC 5246, 7.2; the descriptions are TLS's, RFC 8446, 6)."""

import enum
from typing import Final

WARNING: Final = 1
FATAL: Final = 2


class Alert(enum.IntEnum):
    """Alert descriptions under IANA's names."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    INAPPROPRIATE_FALLBACK = 86
    USER_CANCELED = 90
    NO_RENEGOTIATION = 100
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    CERTIFICATE_REQUIRED = 116


def alert(level: int, description: int) -> bytes:
    """Write an alert."""
    return bytes((level, description))


def read(payload: bytes) -> tuple[int, int] | None:
    """Read level and description, or None for what is no alert."""
    return (payload[0], payload[1]) if len(payload) == 2 else None


def name(description: int) -> str:
    """Name a description for the operator, known or not."""
    return Alert(description).name.lower() if description in Alert.__members__.values() else f"alert {description}"
