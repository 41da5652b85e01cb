"""The client's part in DTLS 1.2: flight 5 of RFC 6347, 4.2.4, figure 1."""

from typing import ClassVar, Final

from trioice.dtls import certificate, extensions
from trioice.dtls.alerts import Alert
from trioice.dtls.association import State
from trioice.dtls.certificate import OUR_SCHEME
from trioice.dtls.choice import chosen_profile, demand_solicited
from trioice.dtls.ciphers import SUITES, CipherSuite
from trioice.dtls.fragments import Message
from trioice.dtls.groups import CURVES, GROUPS
from trioice.dtls.handshake import Handshake, Steps
from trioice.dtls.keys12 import Secrets
from trioice.dtls.messages import (
    NULL_COMPRESSION,
    CertificateChain,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    HandshakeType,
    ServerHello,
    ServerKeyExchange,
)
from trioice.dtls.version12 import Version12, final_flight
from trioice.errors import Malformed, Misbehaviour, RemoteProtocolError

ECDSA_SIGN: Final = 64


class Client12(Version12):
    """Goes on from a ServerHello of DTLS 1.2."""

    def __init__(self, machine: Handshake, hello: ServerHello) -> None:
        super().__init__(machine, _chosen_suite(machine, hello))
        self._premaster = b""

    def server_hello(self, hello: ServerHello, offer: ClientHello) -> State:
        """Take what the server chose from `offer`."""
        machine = self._machine
        machine._peer_random = hello.random
        demand_solicited(offer.extensions, hello.extensions)
        if hello.extension(extensions.EXTENDED_MASTER_SECRET) is None:
            raise RemoteProtocolError(Misbehaviour.NO_EXTENDED_MASTER_SECRET, alert=Alert.HANDSHAKE_FAILURE)
        if hello.extension(extensions.RENEGOTIATION_INFO) not in (None, extensions.NO_RENEGOTIATION):
            raise RemoteProtocolError(
                Misbehaviour.ILLEGAL_PARAMETER, "renegotiation_info in a first handshake", Alert.HANDSHAKE_FAILURE
            )
        machine._profile = chosen_profile(machine.profiles, hello.extension(extensions.USE_SRTP))
        return State.WAIT_CERTIFICATE

    def certificate(self, message: Message, now: float) -> State:
        """Take the server's certificate."""
        machine = self._machine
        machine._believe(CertificateChain.read(message.body).certificates)
        assert machine._peer_key is not None
        if certificate.kind_of(machine._peer_key) != self._suite.authentication:
            detail = f"a certificate that cannot sign for {self._suite.name}"
            raise RemoteProtocolError(Misbehaviour.BAD_CERTIFICATE, detail, Alert.ILLEGAL_PARAMETER)
        return State.WAIT_SERVER_KEY_EXCHANGE

    def server_key_exchange(self, message: Message, now: float) -> State:
        """Take the server's share, which its certificate's key signed."""
        machine = self._machine
        exchange = ServerKeyExchange.read(message.body)
        signed = machine._random + machine._peer_random + exchange.parameters()
        if not self._is_signed(exchange.scheme, exchange.signature, signed):
            raise RemoteProtocolError(Misbehaviour.BAD_KEY_EXCHANGE_SIGNATURE, alert=Alert.DECRYPT_ERROR)
        if exchange.group not in machine.groups or exchange.group not in CURVES:
            detail = f"group {exchange.group}"
            raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)
        self.group = exchange.group
        machine._share = GROUPS[exchange.group](machine.entropy)
        self._premaster = self._agree(exchange.public)
        return State.WAIT_CERTIFICATE_REQUEST

    def certificate_request(self, message: Message, now: float) -> State:
        """Take that the server wants our certificate."""
        request = CertificateRequest.read(message.body)
        if ECDSA_SIGN not in request.types or OUR_SCHEME not in request.schemes:
            raise RemoteProtocolError(Misbehaviour.NO_COMMON_SIGNATURE, alert=Alert.HANDSHAKE_FAILURE)
        return State.WAIT_SERVER_HELLO_DONE

    def server_hello_done(self, message: Message, now: float) -> State:
        """Take the end of the server's flight, and send flight 5."""
        if message.body:
            raise Malformed("a ServerHelloDone with content")
        self._flight_5(now)
        return State.WAIT_FINISHED

    def _flight_5(self, now: float) -> None:
        machine = self._machine
        assert machine._share is not None
        chain = self._certificate()
        body = ClientKeyExchange(machine._share.public).octets()
        exchange = machine._message(HandshakeType.CLIENT_KEY_EXCHANGE, body)
        self._take_keys()
        signature = machine.certificate.sign(b"".join(machine._transcript))
        verify = machine._message(HandshakeType.CERTIFICATE_VERIFY, CertificateVerify(OUR_SCHEME, signature).octets())
        machine._send_flight(final_flight(self._finished(b"client finished"), chain, exchange, verify), now)

    def _take_keys(self) -> None:
        machine = self._machine
        self._secrets = Secrets.derive(
            self._suite,
            self._premaster,
            b"".join(machine._transcript),
            client_random=machine._random,
            server_random=machine._peer_random,
        )
        self._premaster = b""
        client, server = self._secrets.protections()
        machine._records.install(1, writing=client, reading=server)

    def finished(self, message: Message, now: float) -> State:
        """Take the server's Finished."""
        self._read_finished(message, b"server finished")
        self._machine._flights.end()
        return State.CONNECTED

    steps: ClassVar[Steps] = {
        State.WAIT_CERTIFICATE: {HandshakeType.CERTIFICATE: certificate},
        State.WAIT_SERVER_KEY_EXCHANGE: {HandshakeType.SERVER_KEY_EXCHANGE: server_key_exchange},
        State.WAIT_CERTIFICATE_REQUEST: {HandshakeType.CERTIFICATE_REQUEST: certificate_request},
        State.WAIT_SERVER_HELLO_DONE: {HandshakeType.SERVER_HELLO_DONE: server_hello_done},
        State.WAIT_FINISHED: {HandshakeType.FINISHED: finished},
        State.CONNECTED: {HandshakeType.HELLO_REQUEST: Version12.decline},
    }


def _chosen_suite(machine: Handshake, hello: ServerHello) -> CipherSuite:
    number = hello.cipher_suite
    if number not in machine.cipher_suites or number not in SUITES or hello.compression_method != NULL_COMPRESSION:
        detail = f"cipher suite {number:04x}, compression {hello.compression_method}"
        raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)
    return SUITES[number]
