"""The errors of trioice: one family, two blames, and what never leaves a machine."""

import enum


class TrioiceError(Exception):
    """The base of every error that trioice raises or reports."""


class LocalProtocolError(TrioiceError):
    """You asked for what the state forbids. Raised at once; nothing has changed."""


class Misbehaviour(enum.Enum):
    """What a peer did that ended an association. The value is a sentence for the operator."""

    BAD_ALERT = "the peer sent a fatal alert"
    BAD_CERTIFICATE = "the peer's certificate could not be read or used"
    BAD_CERTIFICATE_VERIFY = "the peer did not prove that it holds its certificate's key"
    BAD_FINGERPRINT = "the peer's certificate is not the one that its SDP announced"
    BAD_FINISHED = "the peer's Finished does not fit the handshake"
    BAD_KEY_SHARE = "the peer's key share is not a valid public key"
    BAD_KEY_EXCHANGE_SIGNATURE = "the signature over the key exchange parameters is wrong"
    DOWNGRADED = "somebody took a better version out of what we offered"
    HANDSHAKE_TIMEOUT = "the peer did not answer the handshake"
    MALFORMED_HANDSHAKE = "a handshake message could not be read"
    MISSING_EXTENSION = "the peer left out an extension that its message has to have"
    NO_CERTIFICATE = "the peer sent no certificate"
    NO_COMMON_CIPHER_SUITE = "no cipher suite in common"
    NO_COMMON_GROUP = "no key exchange group in common"
    NO_COMMON_SIGNATURE = "no signature scheme in common"
    NO_COMMON_SRTP_PROFILE = "no SRTP protection profile in common"
    NO_COMMON_VERSION = "no DTLS version in common"
    NO_EXTENDED_MASTER_SECRET = "the peer does not speak extended_master_secret (RFC 7627)"
    CONSENT_LOST = "the peer's checks ceased (RFC 7675)"
    ILLEGAL_PARAMETER = "the peer chose what was not offered"
    INTERNAL = "an error of our own ended the session"
    NEVER_CONNECTED = "no check of the peer ever arrived"
    UNEXPECTED_MESSAGE = "a handshake message came out of turn"
    UNSOLICITED_EXTENSION = "the peer answered an extension that was not offered"


class RemoteProtocolError(TrioiceError):
    """The peer broke the protocol. Never raised by a machine: carried by the `Failed` event.

    `alert` is the TLS alert description that was sent or received (RFC 8446, 6), where there was one. Equal errors are equal
    values, so that the same input gives the same output.
    """

    def __init__(self, reason: Misbehaviour, detail: str = "", alert: int | None = None) -> None:
        super().__init__(reason, detail, alert)
        self.reason = reason
        self.detail = detail
        self.alert = alert

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.detail}" if self.detail else self.reason.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteProtocolError) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)


class Malformed(ValueError):
    """Octets that do not follow their syntax. Internal to a machine: caught at one line there, never seen outside."""
