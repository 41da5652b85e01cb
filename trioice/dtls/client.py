"""The DTLS 1.2 client: flights 1, 3 and 5 of RFC 6347, 4.2.4, figure 1."""

import functools
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from trioice.dtls import certificate, extensions
from trioice.dtls.alerts import Alert
from trioice.dtls.association import State
from trioice.dtls.certificate import OUR_SCHEME, SCHEMES
from trioice.dtls.ciphers import SUITES, VERSION_1_2
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
from trioice.errors import LocalProtocolError, Malformed, Misbehaviour, RemoteProtocolError
from trioice.wire import numbers, opaque

ECDSA_SIGN: Final = 64

COOKIES: Final = 4
"""How many HelloVerifyRequests we follow: one is usual, two where the server's secret changed in between."""


@attrs.define(eq=False, repr=False, kw_only=True)
class DtlsClient(Handshake):
    """The active side: `start` sends the first flight."""

    _hello: ClientHello = attrs.field(init=False)
    _cookies: int = attrs.field(init=False, default=0)
    _premaster: bytes = attrs.field(init=False, default=b"")

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._hello = ClientHello(
            version=VERSION_1_2,
            random=self._random,
            cipher_suites=tuple(self.cipher_suites),
            extensions=_offers(tuple(self.groups), tuple(self.profiles)),
        )

    def start(self, now: float) -> None:
        """Send flight 1. Raises LocalProtocolError the second time."""
        if self.state is not State.IDLE:
            raise LocalProtocolError(f"no start in {self.state.name}")
        self.state = State.WAIT_SERVER_HELLO
        self._flight_1(now)

    def _take(self, message: Message, now: float) -> State | None:
        step = STEPS[self.state].get(message.kind)
        return None if step is None else step(self, message, now)

    def _flight_1(self, now: float) -> None:
        self._send_flight([self._message(HandshakeType.CLIENT_HELLO, self._hello.octets())], now)

    def _hello_verify_request(self, message: Message, now: float) -> State:
        """Begin again with the server's cookie, and with a new transcript (RFC 6347, 4.2.1). This is flight 3."""
        request = HelloVerifyRequest.read(message.body)
        self._cookies += 1
        if self._cookies > COOKIES:
            raise RemoteProtocolError(
                Misbehaviour.UNEXPECTED_MESSAGE, f"over {COOKIES} cookies", Alert.UNEXPECTED_MESSAGE
            )
        self._transcript.clear()
        self._hello = attrs.evolve(self._hello, cookie=request.cookie)
        self._flight_1(now)
        return State.WAIT_SERVER_HELLO

    def _server_hello(self, message: Message, now: float) -> State:
        hello = ServerHello.read(message.body)
        self._peer_random = hello.random
        if hello.version != VERSION_1_2:
            detail = f"version {hello.version:04x}"
            raise RemoteProtocolError(Misbehaviour.NO_COMMON_VERSION, detail, Alert.PROTOCOL_VERSION)
        if hello.cipher_suite not in self.cipher_suites or hello.compression_method != NULL_COMPRESSION:
            detail = f"cipher suite {hello.cipher_suite:04x}, compression {hello.compression_method}"
            raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)
        offered = {kind for kind, _ in self._hello.extensions}
        for kind, _ in hello.extensions:
            if kind not in offered:
                detail = f"extension {kind}"
                raise RemoteProtocolError(Misbehaviour.UNSOLICITED_EXTENSION, detail, Alert.UNSUPPORTED_EXTENSION)
        if hello.extension(extensions.EXTENDED_MASTER_SECRET) is None:
            raise RemoteProtocolError(Misbehaviour.NO_EXTENDED_MASTER_SECRET, alert=Alert.HANDSHAKE_FAILURE)
        if hello.extension(extensions.RENEGOTIATION_INFO) not in (None, extensions.NO_RENEGOTIATION):
            raise RemoteProtocolError(
                Misbehaviour.ILLEGAL_PARAMETER, "renegotiation_info in a first handshake", Alert.HANDSHAKE_FAILURE
            )
        self._suite = SUITES[hello.cipher_suite]
        self._profile = self._chosen_profile(hello)
        return State.WAIT_CERTIFICATE

    def _chosen_profile(self, hello: ServerHello) -> int:
        if not self.profiles:
            return 0
        value = hello.extension(extensions.USE_SRTP)
        if value is None:
            raise RemoteProtocolError(Misbehaviour.NO_COMMON_SRTP_PROFILE, alert=Alert.HANDSHAKE_FAILURE)
        chosen = UseSrtp.read(value)
        # One of ours, and our empty key identifier again (RFC 5764, 4.1.1 and 4.1.3).
        if len(chosen.profiles) != 1 or chosen.profiles[0] not in self.profiles or chosen.mki:
            detail = f"SRTP profiles {chosen.profiles}, mki of {len(chosen.mki)} octets"
            raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)
        return chosen.profiles[0]

    def _certificate_chain(self, message: Message, now: float) -> State:
        self._read_certificate(message)
        assert self._suite is not None
        assert self._peer_key is not None
        if certificate.kind_of(self._peer_key) != self._suite.authentication:
            detail = f"a certificate that cannot sign for {self._suite.name}"
            raise RemoteProtocolError(Misbehaviour.BAD_CERTIFICATE, detail, Alert.ILLEGAL_PARAMETER)
        return State.WAIT_SERVER_KEY_EXCHANGE

    def _server_key_exchange(self, message: Message, now: float) -> State:
        exchange = ServerKeyExchange.read(message.body)
        signed = self._random + self._peer_random + exchange.parameters()
        if not self._is_signed(exchange.scheme, exchange.signature, signed):
            raise RemoteProtocolError(Misbehaviour.BAD_KEY_EXCHANGE_SIGNATURE, alert=Alert.DECRYPT_ERROR)
        if exchange.group not in self.groups:
            detail = f"group {exchange.group}"
            raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)
        self._share = GROUPS[exchange.group](self.entropy)
        self._premaster = self._agree(exchange.public)
        return State.WAIT_CERTIFICATE_REQUEST

    def _certificate_request(self, message: Message, now: float) -> State:
        request = CertificateRequest.read(message.body)
        if ECDSA_SIGN not in request.types or OUR_SCHEME not in request.schemes:
            raise RemoteProtocolError(Misbehaviour.NO_COMMON_SIGNATURE, alert=Alert.HANDSHAKE_FAILURE)
        return State.WAIT_SERVER_HELLO_DONE

    def _server_hello_done(self, message: Message, now: float) -> State:
        if message.body:
            raise Malformed("a ServerHelloDone with content")
        self._flight_5(now)
        return State.WAIT_FINISHED

    def _flight_5(self, now: float) -> None:
        assert self._suite is not None
        assert self._share is not None
        chain = self._certificate()
        exchange = self._message(HandshakeType.CLIENT_KEY_EXCHANGE, ClientKeyExchange(self._share.public).octets())
        self._secrets = Secrets.derive(
            self._suite,
            self._premaster,
            b"".join(self._transcript),
            client_random=self._random,
            server_random=self._peer_random,
        )
        self._premaster = b""
        client, server = self._secrets.protections()
        self._records.install(1, writing=client, reading=server)
        signature = self.certificate.sign(b"".join(self._transcript))
        verify = self._message(HandshakeType.CERTIFICATE_VERIFY, CertificateVerify(OUR_SCHEME, signature).octets())
        self._send_flight(final_flight(self._finished(b"client finished"), chain, exchange, verify), now)

    def _server_finished(self, message: Message, now: float) -> State:
        self._read_finished(message, b"server finished")
        self._flights.end()
        return State.CONNECTED


@functools.lru_cache(maxsize=16)
def _offers(groups: tuple[int, ...], profiles: tuple[int, ...]) -> extensions.Extensions:
    """Write the extensions of a ClientHello, which are the same for all calls of a program."""
    # No supported_versions: that is how one says 1.2 and nothing newer.
    offers = [
        (extensions.EXTENDED_MASTER_SECRET, b""),
        (extensions.RENEGOTIATION_INFO, extensions.NO_RENEGOTIATION),
        (extensions.SUPPORTED_GROUPS, numbers(groups)),
        (extensions.EC_POINT_FORMATS, opaque(1, bytes((extensions.UNCOMPRESSED,)))),
        (extensions.SIGNATURE_ALGORITHMS, numbers(tuple(SCHEMES))),
    ]
    if profiles:
        offers.append((extensions.USE_SRTP, UseSrtp(profiles).octets()))
    return tuple(offers)


Step: TypeAlias = Callable[[DtlsClient, Message, float], State]

STEPS: Final[Mapping[State, Mapping[int, Step]]] = {
    State.IDLE: {},
    State.WAIT_SERVER_HELLO: {
        HandshakeType.HELLO_VERIFY_REQUEST: DtlsClient._hello_verify_request,
        HandshakeType.SERVER_HELLO: DtlsClient._server_hello,
    },
    State.WAIT_CERTIFICATE: {HandshakeType.CERTIFICATE: DtlsClient._certificate_chain},
    State.WAIT_SERVER_KEY_EXCHANGE: {HandshakeType.SERVER_KEY_EXCHANGE: DtlsClient._server_key_exchange},
    State.WAIT_CERTIFICATE_REQUEST: {HandshakeType.CERTIFICATE_REQUEST: DtlsClient._certificate_request},
    State.WAIT_SERVER_HELLO_DONE: {HandshakeType.SERVER_HELLO_DONE: DtlsClient._server_hello_done},
    State.WAIT_FINISHED: {HandshakeType.FINISHED: DtlsClient._server_finished},
    State.CONNECTED: {HandshakeType.HELLO_REQUEST: DtlsClient._decline},
}
