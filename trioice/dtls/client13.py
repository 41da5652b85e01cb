"""The client's part in DTLS 1.3 (RFC 9147, 5.3 and figure 6; RFC 8446, 4.1-4.4)."""

from typing import ClassVar, Final

import attrs

from trioice.dtls import extensions
from trioice.dtls.alerts import Alert
from trioice.dtls.association import State
from trioice.dtls.certificate import OUR_SCHEME
from trioice.dtls.choice import chosen_profile, demand_solicited
from trioice.dtls.ciphers import VERSION_1_2
from trioice.dtls.ciphers13 import SUITES_13, CipherSuite13
from trioice.dtls.extensions import Extensions
from trioice.dtls.fragments import Message
from trioice.dtls.groups import GROUPS, KeyShare
from trioice.dtls.handshake import VERSION_1_3, Handshake, Steps, unexpected
from trioice.dtls.messages import NULL_COMPRESSION, ClientHello, HandshakeType, ServerHello
from trioice.dtls.messages13 import HELLO_RETRY_REQUEST, CertificateRequest13, EncryptedExtensions
from trioice.dtls.version13 import Version13
from trioice.errors import Misbehaviour, RemoteProtocolError

IN_SERVER_HELLO: Final = frozenset({extensions.SUPPORTED_VERSIONS, extensions.KEY_SHARE})
IN_RETRY_REQUEST: Final = IN_SERVER_HELLO | {extensions.COOKIE}
IN_ENCRYPTED_EXTENSIONS: Final = frozenset({extensions.SUPPORTED_GROUPS, extensions.USE_SRTP})
"""Which of our extensions may be answered in which message (RFC 8446, 4.2)."""

MAXIMUM_COOKIE: Final = 1024
"""Octets: the state that a server keeps in one is a few hashes, and we send it again with each repetition of our hello."""


class Client13(Version13):
    """Goes on from a ServerHello of DTLS 1.3."""

    OURS: ClassVar[bytes] = b"client"
    THEIRS: ClassVar[bytes] = b"server"
    NO_CERTIFICATE: ClassVar[Alert] = Alert.DECODE_ERROR

    def __init__(self, machine: Handshake, hello: ServerHello, offer: ClientHello, shares: dict[int, KeyShare]) -> None:
        super().__init__(machine, _chosen_suite(machine, hello))
        self._offer = offer
        self._shares = shares
        self._retried = False

    def server_hello(self, message: Message, now: float) -> State:
        """Take the server's choice, or its request to be asked again."""
        hello = ServerHello.read(message.body)
        if _chosen_suite(self._machine, hello) is not self._suite:
            raise _illegal("another cipher suite than in the HelloRetryRequest")
        if hello.version != VERSION_1_2 or hello.session_id:
            raise _illegal(f"legacy version {hello.version:04x}, session id of {len(hello.session_id)} octets")
        version = hello.extension(extensions.SUPPORTED_VERSIONS)
        if version is None or extensions.read_number(version) != VERSION_1_3:
            raise _illegal("another version than in the HelloRetryRequest")
        if hello.random == HELLO_RETRY_REQUEST:
            return self._retry(hello, now)
        self._demand(hello.extensions, IN_SERVER_HELLO)
        value = hello.extension(extensions.KEY_SHARE)
        if value is None:
            raise _missing(extensions.KEY_SHARE)
        self.group, share = extensions.read_key_share(value)
        if self.group not in self._shares:
            raise _illegal(f"a share of group {self.group}, of which there is none of ours")
        try:
            shared = self._shares[self.group].shared(share)
        except ValueError as error:
            raise RemoteProtocolError(Misbehaviour.BAD_KEY_SHARE, str(error), Alert.ILLEGAL_PARAMETER) from None
        self._shares.clear()
        self._machine._peer_random = hello.random
        self._begin_encryption(shared)
        return State.WAIT_ENCRYPTED_EXTENSIONS

    def _retry(self, hello: ServerHello, now: float) -> State:
        """Ask again as the HelloRetryRequest wants it: with a share of its group, with its cookie (RFC 8446, 4.1.4)."""
        machine = self._machine
        if self._retried:
            raise unexpected(HandshakeType.SERVER_HELLO, machine.state)
        self._retried = True
        self._demand(hello.extensions, IN_RETRY_REQUEST)
        changes = dict(self._offer.extensions)
        value, cookie = hello.extension(extensions.KEY_SHARE), hello.extension(extensions.COOKIE)
        if value is not None:
            group = extensions.read_number(value)
            if group in self._shares or group not in machine.groups:
                raise _illegal(f"a HelloRetryRequest for group {group}")
            self._shares.clear()
            self._shares[group] = GROUPS[group](machine.entropy)
            changes[extensions.KEY_SHARE] = extensions.key_shares(((group, self._shares[group].public),))
        if cookie is not None:
            if len(extensions.read_cookie(cookie)) > MAXIMUM_COOKIE:
                raise _illegal("a cookie that is too long")
            changes[extensions.COOKIE] = cookie
        if value is None and cookie is None:
            raise _illegal("a HelloRetryRequest for nothing")
        self._forget_first_hello()
        self._offer = attrs.evolve(self._offer, extensions=tuple(changes.items()))
        machine._send_flight([machine._message(HandshakeType.CLIENT_HELLO, self._offer.octets())], now)
        return State.WAIT_SERVER_HELLO

    def encrypted_extensions(self, message: Message, now: float) -> State:
        """Take what else the server answers."""
        answers = EncryptedExtensions.read(message.body).extensions
        self._demand(answers, IN_ENCRYPTED_EXTENSIONS)
        self._machine._profile = chosen_profile(self._machine.profiles, dict(answers).get(extensions.USE_SRTP))
        return State.WAIT_CERTIFICATE_REQUEST

    def certificate_request(self, message: Message, now: float) -> State:
        """Take that the server wants our certificate."""
        request = CertificateRequest13.read(message.body)
        if request.context:
            raise _illegal("a certificate_request_context in the handshake")
        known = {kind for kind, _ in self._offer.extensions} - {extensions.SIGNATURE_ALGORITHMS}
        for kind, _ in request.extensions:
            # Here what we do not know is ignored, as it is in a ClientHello (RFC 8446, 4.2 and 4.3.2).
            if kind in known:
                raise _misplaced(kind)
        value = dict(request.extensions).get(extensions.SIGNATURE_ALGORITHMS)
        if value is None:
            raise _missing(extensions.SIGNATURE_ALGORITHMS)
        if OUR_SCHEME not in extensions.read_numbers(value):
            raise RemoteProtocolError(Misbehaviour.NO_COMMON_SIGNATURE, alert=Alert.HANDSHAKE_FAILURE)
        return State.WAIT_CERTIFICATE

    def finished(self, message: Message, now: float) -> State:
        """Take the server's Finished, and send all of our part; what follows may leave with it."""
        self._read_finished(message)
        self._derive_application_keys()
        flight = self._proof()
        self._begin_application()
        self._machine._send_flight(flight, now)
        return State.CONNECTED

    def connected(self) -> None:
        """Forget what only the handshake needed: our hello has a share of over a kilobyte."""
        super().connected()
        self._offer = attrs.evolve(self._offer, extensions=())

    def new_session_ticket(self, message: Message, now: float) -> State:
        """Take no ticket: no call resumes another."""
        return State.CONNECTED

    def _demand(self, answers: Extensions, allowed: frozenset[int]) -> None:
        """Refuse answers that we did not ask for, or that stand in the wrong message."""
        asked = tuple((kind, b"") for kind in allowed) if allowed is IN_RETRY_REQUEST else ()
        demand_solicited((*self._offer.extensions, *asked), answers)
        for kind, _ in answers:
            if kind not in allowed:
                raise _misplaced(kind)

    steps: ClassVar[Steps] = {
        State.WAIT_SERVER_HELLO: {HandshakeType.SERVER_HELLO: server_hello},
        State.WAIT_ENCRYPTED_EXTENSIONS: {HandshakeType.ENCRYPTED_EXTENSIONS: encrypted_extensions},
        State.WAIT_CERTIFICATE_REQUEST: {HandshakeType.CERTIFICATE_REQUEST: certificate_request},
        State.WAIT_CERTIFICATE: {HandshakeType.CERTIFICATE: Version13.certificate},
        State.WAIT_CERTIFICATE_VERIFY: {HandshakeType.CERTIFICATE_VERIFY: Version13.certificate_verify},
        State.WAIT_FINISHED: {HandshakeType.FINISHED: finished},
        State.CONNECTED: {
            HandshakeType.KEY_UPDATE: Version13.key_update,
            HandshakeType.NEW_SESSION_TICKET: new_session_ticket,
        },
    }


def _chosen_suite(machine: Handshake, hello: ServerHello) -> CipherSuite13:
    number = hello.cipher_suite
    if number not in machine.cipher_suites or number not in SUITES_13 or hello.compression_method != NULL_COMPRESSION:
        raise _illegal(f"cipher suite {number:04x}, compression {hello.compression_method}")
    return SUITES_13[number]


def _illegal(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)


def _misplaced(kind: int) -> RemoteProtocolError:
    return _illegal(f"extension {kind} in the wrong message")


def _missing(kind: int) -> RemoteProtocolError:
    return RemoteProtocolError(Misbehaviour.MISSING_EXTENSION, f"no extension {kind}", Alert.MISSING_EXTENSION)
