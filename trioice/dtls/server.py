"""The DTLS 1.2 server: flights 2, 4 and 6 of RFC 6347, 4.2.4, figure 1."""

import hmac
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from trioice.dtls import extensions
from trioice.dtls.alerts import Alert
from trioice.dtls.association import State
from trioice.dtls.certificate import OUR_SCHEME, SCHEMES
from trioice.dtls.ciphers import ECDSA, SUITES, VERSION_1_2, CipherSuite
from trioice.dtls.drops import Drop
from trioice.dtls.extensions import UseSrtp
from trioice.dtls.fragments import Message
from trioice.dtls.handshake import Handshake, final_flight
from trioice.dtls.keys import GROUPS, Secrets
from trioice.dtls.messages import (
    NULL_COMPRESSION,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    HandshakeType,
    HelloVerifyRequest,
    ServerHello,
    ServerKeyExchange,
)
from trioice.errors import Misbehaviour, RemoteProtocolError
from trioice.wire import opaque

VERSION_1_0: Final = 0xFEFF
DTLS: Final = 0xFE00
"""Where the versions of DTLS begin; they count downwards from 1.0, and below are those of TLS."""

EMPTY_RENEGOTIATION_INFO_SCSV: Final = 0x00FF
"""A cipher suite that says what an empty renegotiation_info says (RFC 5746, 3.3)."""

CLIENT_CERTIFICATE_TYPES: Final = bytes((64, 1))
"""ecdsa_sign and rsa_sign (RFC 8422, 5.5; RFC 5246, 7.4.4)."""


@attrs.define(eq=False, repr=False, kw_only=True)
class DtlsServer(Handshake):
    """The passive side. With `cookie` the client first has to show that it hears what is sent to it."""

    cookie: bool = False
    _secret: bytes = attrs.field(init=False)
    _group: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.state = State.WAIT_CLIENT_HELLO
        self._secret = self.entropy(32)

    def _take(self, message: Message, now: float) -> State | None:
        step = STEPS[self.state].get(message.kind)
        return None if step is None else step(self, message, now)

    def _client_hello(self, message: Message, now: float) -> State:
        hello = ClientHello.read(message.body)
        if self.cookie and not hmac.compare_digest(hello.cookie, expected := self._cookie(hello)):
            self._transcript.clear()
            if message.sequence == 0:
                self._flight_2(expected, now)
            else:
                # A guess: whoever got our cookie has the right one. The message that is due is still to come.
                self.dropped[Drop.BAD_COOKIE] += 1
                self._incoming.next -= 1
            return State.WAIT_CLIENT_HELLO
        self._choose(hello)
        self._flight_4(hello, now)
        return State.WAIT_CERTIFICATE

    def _cookie(self, hello: ClientHello) -> bytes:
        """Bind a cookie to the address and the parameters of the client (RFC 6347, 4.2.1)."""
        parameters = attrs.evolve(hello, cookie=b"").octets()
        return hmac.digest(self._secret, repr(self.peer).encode() + parameters, "sha256")

    def _flight_2(self, cookie: bytes, now: float) -> None:
        # It belongs to no transcript, and its version means nothing: 1.0 is what all clients take (RFC 6347, 4.2.1).
        # Deviation: its record number is our next one and not the ClientHello's; we are not stateless, so it is unique.
        request = self._message(HandshakeType.HELLO_VERIFY_REQUEST, HelloVerifyRequest(VERSION_1_0, cookie).octets())
        self._transcript.clear()
        self._send_flight([request], now, awaits_answer=False)

    def _choose(self, hello: ClientHello) -> None:
        """Choose from what the client offers, in our order; fail closed where something that we need is missing."""
        self._peer_random = hello.random
        if not _speaks_1_2(hello):
            raise RemoteProtocolError(Misbehaviour.NO_COMMON_VERSION, alert=Alert.PROTOCOL_VERSION)
        if NULL_COMPRESSION not in hello.compression_methods:
            raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, "no null compression", Alert.ILLEGAL_PARAMETER)
        if hello.extension(extensions.EXTENDED_MASTER_SECRET) is None:
            raise RemoteProtocolError(Misbehaviour.NO_EXTENDED_MASTER_SECRET, alert=Alert.HANDSHAKE_FAILURE)
        if hello.extension(extensions.RENEGOTIATION_INFO) not in (None, extensions.NO_RENEGOTIATION):
            raise RemoteProtocolError(
                Misbehaviour.ILLEGAL_PARAMETER, "renegotiation_info in a first handshake", Alert.HANDSHAKE_FAILURE
            )
        formats = hello.extension(extensions.EC_POINT_FORMATS)
        if formats is not None and extensions.UNCOMPRESSED not in extensions.read_point_formats(formats):
            raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, "no uncompressed points", Alert.ILLEGAL_PARAMETER)
        if OUR_SCHEME not in _offered(hello, extensions.SIGNATURE_ALGORITHMS):
            raise RemoteProtocolError(Misbehaviour.NO_COMMON_SIGNATURE, alert=Alert.HANDSHAKE_FAILURE)
        self._suite = self._choose_suite(hello)
        offered = _offered(hello, extensions.SUPPORTED_GROUPS)
        group = next((group for group in self.groups if group in offered), None)
        if group is None:
            raise RemoteProtocolError(Misbehaviour.NO_COMMON_GROUP, alert=Alert.HANDSHAKE_FAILURE)
        self._group = group
        self._share = GROUPS[group](self.entropy)
        self._profile = self._choose_profile(hello)

    def _choose_suite(self, hello: ClientHello) -> CipherSuite:
        for number in self.cipher_suites:
            # Our certificate is ECDSA's, so RSA's suites are for the client only.
            if number in hello.cipher_suites and SUITES[number].authentication == ECDSA:
                return SUITES[number]
        raise RemoteProtocolError(Misbehaviour.NO_COMMON_CIPHER_SUITE, alert=Alert.HANDSHAKE_FAILURE)

    def _choose_profile(self, hello: ClientHello) -> int:
        if not self.profiles:
            return 0
        value = hello.extension(extensions.USE_SRTP)
        offered = UseSrtp.read(value).profiles if value is not None else ()
        for profile in self.profiles:
            if profile in offered:
                return profile
        raise RemoteProtocolError(Misbehaviour.NO_COMMON_SRTP_PROFILE, alert=Alert.HANDSHAKE_FAILURE)

    def _flight_4(self, hello: ClientHello, now: float) -> None:
        assert self._suite is not None
        assert self._share is not None
        server_hello = ServerHello(
            version=VERSION_1_2,
            random=self._random,
            cipher_suite=self._suite.number,
            extensions=self._answers(hello),
        )
        exchange = ServerKeyExchange(self._group, self._share.public, OUR_SCHEME, b"")
        signature = self.certificate.sign(self._peer_random + self._random + exchange.parameters())
        exchange = attrs.evolve(exchange, signature=signature)
        request = CertificateRequest(CLIENT_CERTIFICATE_TYPES, tuple(SCHEMES))
        flight = [
            self._message(HandshakeType.SERVER_HELLO, server_hello.octets()),
            self._certificate(),
            self._message(HandshakeType.SERVER_KEY_EXCHANGE, exchange.octets()),
            self._message(HandshakeType.CERTIFICATE_REQUEST, request.octets()),
            self._message(HandshakeType.SERVER_HELLO_DONE, b""),
        ]
        self._send_flight(flight, now)

    def _answers(self, hello: ClientHello) -> extensions.Extensions:
        """Answer the extensions that the client offered and we speak."""
        answers = [(extensions.EXTENDED_MASTER_SECRET, b"")]
        is_secure = hello.extension(extensions.RENEGOTIATION_INFO) is not None
        if is_secure or EMPTY_RENEGOTIATION_INFO_SCSV in hello.cipher_suites:
            answers.append((extensions.RENEGOTIATION_INFO, extensions.NO_RENEGOTIATION))
        if hello.extension(extensions.EC_POINT_FORMATS) is not None:
            answers.append((extensions.EC_POINT_FORMATS, opaque(1, bytes((extensions.UNCOMPRESSED,)))))
        if self._profile:
            answers.append((extensions.USE_SRTP, UseSrtp((self._profile,)).octets()))
        return tuple(answers)

    def _certificate_chain(self, message: Message, now: float) -> State:
        self._read_certificate(message)
        return State.WAIT_CLIENT_KEY_EXCHANGE

    def _client_key_exchange(self, message: Message, now: float) -> State:
        assert self._suite is not None
        self._secrets = Secrets.derive(
            self._suite,
            self._agree(ClientKeyExchange.read(message.body).public),
            b"".join(self._transcript),
            client_random=self._peer_random,
            server_random=self._random,
        )
        client, server = self._secrets.protections()
        self._records.install(1, writing=server, reading=client)
        return State.WAIT_CERTIFICATE_VERIFY

    def _certificate_verify(self, message: Message, now: float) -> State:
        verify = CertificateVerify.read(message.body)
        if not self._is_signed(verify.scheme, verify.signature, b"".join(self._transcript[:-1])):
            raise RemoteProtocolError(Misbehaviour.BAD_CERTIFICATE_VERIFY, alert=Alert.DECRYPT_ERROR)
        return State.WAIT_FINISHED

    def _client_finished(self, message: Message, now: float) -> State:
        self._read_finished(message, b"client finished")
        # Flight 6. Nothing answers it: a client that did not hear it repeats its Finished.
        self._send_flight(final_flight(self._finished(b"server finished")), now, awaits_answer=False)
        return State.CONNECTED


Step: TypeAlias = Callable[[DtlsServer, Message, float], State]

STEPS: Final[Mapping[State, Mapping[int, Step]]] = {
    State.WAIT_CLIENT_HELLO: {HandshakeType.CLIENT_HELLO: DtlsServer._client_hello},
    State.WAIT_CERTIFICATE: {HandshakeType.CERTIFICATE: DtlsServer._certificate_chain},
    State.WAIT_CLIENT_KEY_EXCHANGE: {HandshakeType.CLIENT_KEY_EXCHANGE: DtlsServer._client_key_exchange},
    State.WAIT_CERTIFICATE_VERIFY: {HandshakeType.CERTIFICATE_VERIFY: DtlsServer._certificate_verify},
    State.WAIT_FINISHED: {HandshakeType.FINISHED: DtlsServer._client_finished},
    State.CONNECTED: {HandshakeType.CLIENT_HELLO: DtlsServer._decline},
}


def _speaks_1_2(hello: ClientHello) -> bool:
    """Tell whether DTLS 1.2 is among the client's versions (RFC 8446, 4.2.1; RFC 9147, 5.3)."""
    versions = hello.extension(extensions.SUPPORTED_VERSIONS)
    if versions is not None:
        return VERSION_1_2 in extensions.read_numbers(versions, size=1)
    return DTLS <= hello.version <= VERSION_1_2


def _offered(hello: ClientHello, kind: int) -> list[int]:
    """Read a list of numbers that the client offers; none where the extension is missing."""
    value = hello.extension(kind)
    return extensions.read_numbers(value) if value is not None else []
