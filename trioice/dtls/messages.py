"""The hellos and the handshake messages of DTLS 1.2 as values (RFC 5246, 7.4; RFC 6347, 4.2; RFC 8422, 5).

`read` takes a whole body and raises `Malformed` for anything that does not follow its syntax; `octets` writes the body.
"""

import enum
from typing import Final, Self

import attrs

from trioice.dtls import extensions
from trioice.dtls.extensions import Extensions
from trioice.errors import Malformed
from trioice.wire import Reader, numbers, opaque, uint

NULL_COMPRESSION: Final = 0
NAMED_CURVE: Final = 3
RANDOM_LENGTH: Final = 32
MAXIMUM_SESSION_ID: Final = 32


class HandshakeType(enum.IntEnum):
    """The handshake messages of both versions under IANA's names."""

    HELLO_REQUEST = 0
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    HELLO_VERIFY_REQUEST = 3
    NEW_SESSION_TICKET = 4
    ENCRYPTED_EXTENSIONS = 8
    CERTIFICATE = 11
    SERVER_KEY_EXCHANGE = 12
    CERTIFICATE_REQUEST = 13
    SERVER_HELLO_DONE = 14
    CERTIFICATE_VERIFY = 15
    CLIENT_KEY_EXCHANGE = 16
    FINISHED = 20
    KEY_UPDATE = 24
    MESSAGE_HASH = 254


class Body:
    """What all messages have in common: they are read to the end."""

    __slots__ = ()

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Read a whole body; raises `Malformed`."""
        reader = Reader(body)
        value = cls._take(reader)
        reader.end()
        return value

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class ClientHello(Body):
    """What the client offers (RFC 6347, 4.2.1)."""

    version: int
    random: bytes
    session_id: bytes = b""
    cookie: bytes = b""
    cipher_suites: tuple[int, ...]
    compression_methods: bytes = bytes((NULL_COMPRESSION,))
    extensions: Extensions = ()

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        return cls(
            version=reader.uint(2),
            random=reader.take(RANDOM_LENGTH),
            session_id=_session_id(reader),
            cookie=reader.opaque(1),
            cipher_suites=reader.numbers(2, least=1),
            compression_methods=reader.opaque(1, least=1),
            extensions=extensions.read(reader),
        )

    def octets(self) -> bytes:
        """Write the body."""
        return b"".join(
            (
                uint(2, self.version),
                self.random,
                opaque(1, self.session_id),
                opaque(1, self.cookie),
                numbers(self.cipher_suites),
                opaque(1, self.compression_methods),
                extensions.octets(self.extensions),
            )
        )

    def extension(self, kind: int) -> bytes | None:
        """Find an extension's value."""
        return dict(self.extensions).get(kind)


def _session_id(reader: Reader) -> bytes:
    session_id = reader.opaque(1)
    if len(session_id) > MAXIMUM_SESSION_ID:
        raise Malformed(f"a session id of {len(session_id)} octets")
    return session_id


@attrs.frozen
class HelloVerifyRequest(Body):
    """The server's demand that the client show that it hears (RFC 6347, 4.2.1)."""

    version: int
    cookie: bytes

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        return cls(reader.uint(2), reader.opaque(1))

    def octets(self) -> bytes:
        """Write the body."""
        return uint(2, self.version) + opaque(1, self.cookie)


@attrs.frozen(kw_only=True)
class ServerHello(Body):
    """What the server chose (RFC 5246, 7.4.1.3)."""

    version: int
    random: bytes
    session_id: bytes = b""
    cipher_suite: int
    compression_method: int = NULL_COMPRESSION
    extensions: Extensions = ()

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        return cls(
            version=reader.uint(2),
            random=reader.take(RANDOM_LENGTH),
            session_id=_session_id(reader),
            cipher_suite=reader.uint(2),
            compression_method=reader.uint(1),
            extensions=extensions.read(reader),
        )

    def octets(self) -> bytes:
        """Write the body."""
        return b"".join(
            (
                uint(2, self.version),
                self.random,
                opaque(1, self.session_id),
                uint(2, self.cipher_suite),
                uint(1, self.compression_method),
                extensions.octets(self.extensions),
            )
        )

    def extension(self, kind: int) -> bytes | None:
        """Find an extension's value."""
        return dict(self.extensions).get(kind)


@attrs.frozen
class CertificateChain(Body):
    """The Certificate message: DER, the sender's own first; may be empty (RFC 5246, 7.4.2)."""

    certificates: tuple[bytes, ...]

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        return cls(tuple(reader.vector(3, lambda item: item.opaque(3, least=1))))

    def octets(self) -> bytes:
        """Write the body."""
        return opaque(3, b"".join(opaque(3, certificate) for certificate in self.certificates))


@attrs.frozen
class ServerKeyExchange(Body):
    """The server's ephemeral key on a named curve, signed (RFC 8422, 5.4)."""

    group: int
    public: bytes
    scheme: int
    signature: bytes

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        if reader.uint(1) != NAMED_CURVE:
            raise Malformed("a key exchange that is not on a named curve")
        return cls(reader.uint(2), reader.opaque(1, least=1), reader.uint(2), reader.opaque(2))

    def parameters(self) -> bytes:
        """Write the part that is signed, behind both randoms."""
        return uint(1, NAMED_CURVE) + uint(2, self.group) + opaque(1, self.public)

    def octets(self) -> bytes:
        """Write the body."""
        return self.parameters() + uint(2, self.scheme) + opaque(2, self.signature)


@attrs.frozen
class CertificateRequest(Body):
    """What client certificates the server can verify (RFC 5246, 7.4.4). The authorities mean nothing to us."""

    types: bytes
    schemes: tuple[int, ...]

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        types, schemes = reader.opaque(1, least=1), reader.numbers(2, least=1)
        reader.vector(2, lambda item: item.opaque(2, least=1))
        return cls(types, schemes)

    def octets(self) -> bytes:
        """Write the body."""
        return opaque(1, self.types) + numbers(self.schemes) + opaque(2, b"")


@attrs.frozen
class ClientKeyExchange(Body):
    """The client's ephemeral key (RFC 8422, 5.7)."""

    public: bytes

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        return cls(reader.opaque(1, least=1))

    def octets(self) -> bytes:
        """Write the body."""
        return opaque(1, self.public)


@attrs.frozen
class CertificateVerify(Body):
    """A signature over the handshake so far (RFC 5246, 7.4.8)."""

    scheme: int
    signature: bytes

    @classmethod
    def _take(cls, reader: Reader) -> Self:
        return cls(reader.uint(2), reader.opaque(2))

    def octets(self) -> bytes:
        """Write the body."""
        return uint(2, self.scheme) + opaque(2, self.signature)
