"""The handshake messages that only DTLS 1.3 has, or has in another form than 1.2, as values (RFC 8446, 4.3-4.6; RFC 9147, 5)."""

from typing import Final, Self

import attrs

from trioice.dtls import extensions
from trioice.dtls.alerts import Alert
from trioice.dtls.extensions import Extensions
from trioice.dtls.messages import Body
from trioice.errors import Misbehaviour, RemoteProtocolError
from trioice.wire import Reader, opaque, uint

HELLO_RETRY_REQUEST: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The random of a ServerHello that is a HelloRetryRequest: SHA-256 of that name (RFC 8446, 4.1.3)."""

DOWNGRADED: Final = b"DOWNGRD\x01"
"""The end of the random of a server that could do 1.3 and chose 1.2 (RFC 8446, 4.1.3; RFC 9147, 5.4)."""

DOWNGRADED_FURTHER: Final = b"DOWNGRD\x00"
"""The same of a server that chose something older yet."""


@attrs.frozen
class EncryptedExtensions(Body):
    """What the server answers under encryption (RFC 8446, 4.3.1)."""

    extensions: Extensions

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        return cls(extensions.read_block(reader))

    def octets(self) -> bytes:
        """Write the body."""
        return extensions.block(self.extensions)


@attrs.frozen
class CertificateRequest13(Body):
    """That the server wants a certificate, and of what kind (RFC 8446, 4.3.2)."""

    context: bytes
    extensions: Extensions

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        return cls(reader.opaque(1), extensions.read_block(reader))

    def octets(self) -> bytes:
        """Write the body."""
        return opaque(1, self.context) + extensions.block(self.extensions)


@attrs.frozen
class CertificateChain13(Body):
    """Certificates in DER, the sender's own first, and the extensions of all of them (RFC 8446, 4.4.2). We ask for none, and write none."""

    context: bytes
    certificates: tuple[bytes, ...]
    extensions: Extensions = ()

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        context = reader.opaque(1)
        entries = reader.vector(3, lambda entry: (entry.opaque(3, least=1), extensions.read_block(entry)))
        return cls(context, tuple(der for der, _ in entries), tuple(one for _, those in entries for one in those))

    def octets(self) -> bytes:
        """Write the body."""
        entries = (opaque(3, der) + extensions.block(()) for der in self.certificates)
        return opaque(1, self.context) + opaque(3, b"".join(entries))


@attrs.frozen
class KeyUpdate(Body):
    """That the sender's next records are under new keys, and whether ours shall be as well (RFC 8446, 4.6.3)."""

    is_requested: bool

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        match reader.uint(1):
            case 0 | 1 as requested:
                return cls(bool(requested))
            case other:
                detail = f"a KeyUpdate of {other}"
                raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)

    def octets(self) -> bytes:
        """Write the body."""
        return uint(1, self.is_requested)
