"""The server's part in DTLS 1.2: flights 4 and 6 of RFC 6347, 4.2.4, figure 1."""

from typing import ClassVar, Final

import attrs

from trioice.dtls import extensions
from trioice.dtls.alerts import Alert
from trioice.dtls.association import State
from trioice.dtls.certificate import OUR_SCHEME, SCHEMES
from trioice.dtls.choice import choose_profile, demand_our_signature, offered
from trioice.dtls.ciphers import ECDSA, SUITES, VERSION_1_2, CipherSuite
from trioice.dtls.extensions import UseSrtp
from trioice.dtls.fragments import Message
from trioice.dtls.groups import CURVES, GROUPS
from trioice.dtls.handshake import VERSION_1_3, Handshake, Steps
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
from trioice.dtls.messages13 import DOWNGRADED
from trioice.dtls.version12 import Version12, final_flight
from trioice.errors import Misbehaviour, RemoteProtocolError
from trioice.wire import opaque

EMPTY_RENEGOTIATION_INFO_SCSV: Final = 0x00FF
"""A cipher suite that says what an empty renegotiation_info says (RFC 5746, 3.3)."""

CLIENT_CERTIFICATE_TYPES: Final = bytes((64, 1))
"""ecdsa_sign and rsa_sign (RFC 8422, 5.5; RFC 5246, 7.4.4)."""


class Server12(Version12):
    """Answers a ClientHello that DTLS 1.2 was chosen for."""

    def __init__(self, machine: Handshake, hello: ClientHello) -> None:
        super().__init__(machine, _choose_suite(machine, hello))

    def answer(self, hello: ClientHello, now: float) -> State:
        """Choose from what the client offers, and send flight 4."""
        machine = self._machine
        machine._peer_random = hello.random
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
        demand_our_signature(hello)
        theirs = offered(hello, extensions.SUPPORTED_GROUPS)
        group = next((group for group in machine.groups if group in CURVES and group in theirs), None)
        if group is None:
            raise RemoteProtocolError(Misbehaviour.NO_COMMON_GROUP, alert=Alert.HANDSHAKE_FAILURE)
        self.group = group
        machine._share = GROUPS[group](machine.entropy)
        machine._profile = choose_profile(machine.profiles, hello)
        if VERSION_1_3 in machine.versions:
            # A client that could have done better learns that somebody took 1.3 out of its offer (RFC 8446, 4.1.3).
            machine._random = machine._random[: -len(DOWNGRADED)] + DOWNGRADED
        self._flight_4(hello, now)
        return State.WAIT_CERTIFICATE

    def _flight_4(self, hello: ClientHello, now: float) -> None:
        machine = self._machine
        assert machine._share is not None
        server_hello = ServerHello(
            version=VERSION_1_2,
            random=machine._random,
            cipher_suite=self.cipher_suite,
            extensions=self._answers(hello),
        )
        exchange = ServerKeyExchange(self.group, machine._share.public, OUR_SCHEME, b"")
        signature = machine.certificate.sign(machine._peer_random + machine._random + exchange.parameters())
        exchange = attrs.evolve(exchange, signature=signature)
        request = CertificateRequest(CLIENT_CERTIFICATE_TYPES, tuple(SCHEMES))
        flight = [
            machine._message(HandshakeType.SERVER_HELLO, server_hello.octets()),
            self._certificate(),
            machine._message(HandshakeType.SERVER_KEY_EXCHANGE, exchange.octets()),
            machine._message(HandshakeType.CERTIFICATE_REQUEST, request.octets()),
            machine._message(HandshakeType.SERVER_HELLO_DONE, b""),
        ]
        machine._send_flight(flight, now)

    def _answers(self, hello: ClientHello) -> extensions.Extensions:
        """Answer the extensions that the client offered and we speak."""
        answers = [(extensions.EXTENDED_MASTER_SECRET, b"")]
        is_secure = hello.extension(extensions.RENEGOTIATION_INFO) is not None
        if is_secure or EMPTY_RENEGOTIATION_INFO_SCSV in hello.cipher_suites:
            answers.append((extensions.RENEGOTIATION_INFO, extensions.NO_RENEGOTIATION))
        if hello.extension(extensions.EC_POINT_FORMATS) is not None:
            answers.append((extensions.EC_POINT_FORMATS, opaque(1, bytes((extensions.UNCOMPRESSED,)))))
        if self._machine._profile:
            answers.append((extensions.USE_SRTP, UseSrtp((self._machine._profile,)).octets()))
        return tuple(answers)

    def certificate(self, message: Message, now: float) -> State:
        """Take the client's certificate."""
        self._machine._believe(CertificateChain.read(message.body).certificates)
        return State.WAIT_CLIENT_KEY_EXCHANGE

    def client_key_exchange(self, message: Message, now: float) -> State:
        """Take the client's share, and derive the keys."""
        machine = self._machine
        self._secrets = Secrets.derive(
            self._suite,
            self._agree(ClientKeyExchange.read(message.body).public),
            b"".join(machine._transcript),
            client_random=machine._peer_random,
            server_random=machine._random,
        )
        client, server = self._secrets.protections()
        machine._records.install(1, writing=server, reading=client)
        return State.WAIT_CERTIFICATE_VERIFY

    def certificate_verify(self, message: Message, now: float) -> State:
        """Take the proof that the client holds the key of its certificate."""
        verify = CertificateVerify.read(message.body)
        if not self._is_signed(verify.scheme, verify.signature, b"".join(self._machine._transcript[:-1])):
            raise RemoteProtocolError(Misbehaviour.BAD_CERTIFICATE_VERIFY, alert=Alert.DECRYPT_ERROR)
        return State.WAIT_FINISHED

    def finished(self, message: Message, now: float) -> State:
        """Take the client's Finished, and send ours."""
        self._read_finished(message, b"client finished")
        # Flight 6. Nothing answers it: a client that did not hear it repeats its Finished.
        self._machine._send_flight(final_flight(self._finished(b"server finished")), now, awaits_answer=False)
        return State.CONNECTED

    steps: ClassVar[Steps] = {
        State.WAIT_CERTIFICATE: {HandshakeType.CERTIFICATE: certificate},
        State.WAIT_CLIENT_KEY_EXCHANGE: {HandshakeType.CLIENT_KEY_EXCHANGE: client_key_exchange},
        State.WAIT_CERTIFICATE_VERIFY: {HandshakeType.CERTIFICATE_VERIFY: certificate_verify},
        State.WAIT_FINISHED: {HandshakeType.FINISHED: finished},
        State.CONNECTED: {HandshakeType.CLIENT_HELLO: Version12.decline},
    }


def _choose_suite(machine: Handshake, hello: ClientHello) -> CipherSuite:
    for number in machine.cipher_suites:
        # Our certificate is ECDSA's, so RSA's suites are for the client only.
        if number in hello.cipher_suites and number in SUITES and SUITES[number].authentication == ECDSA:
            return SUITES[number]
    raise RemoteProtocolError(Misbehaviour.NO_COMMON_CIPHER_SUITE, alert=Alert.HANDSHAKE_FAILURE)
