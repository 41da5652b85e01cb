"""The server's part in DTLS 1.3 (RFC 9147, 5.1, 5.3 and figure 6; RFC 8446, 4.1-4.4)."""

import hmac
from collections.abc import Callable
from typing import ClassVar

from trioice.dtls import extensions
from trioice.dtls.alerts import Alert
from trioice.dtls.association import State
from trioice.dtls.certificate import SCHEMES_13
from trioice.dtls.choice import choose_profile, demand_our_signature, offered
from trioice.dtls.ciphers import VERSION_1_2
from trioice.dtls.ciphers13 import SUITES_13, CipherSuite13
from trioice.dtls.drops import Drop
from trioice.dtls.extensions import UseSrtp
from trioice.dtls.fragments import Message
from trioice.dtls.groups import respond
from trioice.dtls.handshake import VERSION_1_3, Handshake, KeysDerived, Steps
from trioice.dtls.messages import NULL_COMPRESSION, ClientHello, HandshakeType, ServerHello
from trioice.dtls.messages13 import HELLO_RETRY_REQUEST, CertificateRequest13, EncryptedExtensions
from trioice.dtls.version13 import Version13
from trioice.errors import Misbehaviour, RemoteProtocolError
from trioice.wire import numbers, opaque, uint

MUST_OFFER = (extensions.SUPPORTED_GROUPS, extensions.KEY_SHARE, extensions.SIGNATURE_ALGORITHMS)
"""Extensions that a ClientHello without pre-shared keys has to have (RFC 8446, 9.2)."""


class Server13(Version13):
    """Answers a ClientHello that DTLS 1.3 was chosen for. `cookie` makes one for a hello, where we want it back."""

    OURS: ClassVar[bytes] = b"server"
    THEIRS: ClassVar[bytes] = b"client"
    NO_CERTIFICATE: ClassVar[Alert] = Alert.CERTIFICATE_REQUIRED

    def __init__(self, machine: Handshake, hello: ClientHello, cookie: Callable[[ClientHello], bytes] | None) -> None:
        super().__init__(machine, _choose_suite(machine, hello))
        self._make_cookie = cookie
        self._cookie = b""  # the one that we want back
        self._retried = False

    def client_hello(self, message: Message, now: float) -> State:
        """Answer a hello, or ask once for another with what is missing: a share of a group that we speak, or our cookie."""
        machine = self._machine
        hello = ClientHello.read(message.body)
        if self._retried and self._cookie and not hmac.compare_digest(_cookie(hello), self._cookie):
            # A guess: whoever got our cookie has the right one. The message that is due is still to come.
            machine.dropped[Drop.BAD_COOKIE] += 1
            machine._incoming.next -= 1
            machine._transcript.pop()
            return State.WAIT_CLIENT_HELLO
        self._check(hello)
        machine._peer_random = hello.random
        machine._profile = choose_profile(machine.profiles, hello)
        shares = self._shares(hello)
        group = self._choose_group(hello, shares)
        if not self._retried and (group not in shares or self._make_cookie is not None):
            self._retry(hello, 0 if group in shares else group, now)
            return State.WAIT_CLIENT_HELLO
        if group not in shares or (self.group and set(shares) != {self.group}):
            raise _illegal("a second ClientHello with other shares than the one that was asked for")
        self.group = group
        self._answer(shares[group], now)
        return State.WAIT_CERTIFICATE

    def _check(self, hello: ClientHello) -> None:
        for kind in MUST_OFFER:
            if hello.extension(kind) is None:
                raise RemoteProtocolError(
                    Misbehaviour.MISSING_EXTENSION, f"no extension {kind}", Alert.MISSING_EXTENSION
                )
        if hello.compression_methods != bytes((NULL_COMPRESSION,)):
            raise _illegal("a compression method")
        if hello.cookie:
            raise _illegal("a cookie where DTLS 1.2 has it")  # RFC 9147, 5.3
        versions = hello.extension(extensions.SUPPORTED_VERSIONS)
        if versions is None or VERSION_1_3 not in extensions.read_numbers(versions, size=1):
            raise _illegal("a second ClientHello without the version of the first")
        if _choose_suite(self._machine, hello) is not self._suite:
            raise _illegal("a second ClientHello with other cipher suites than the first")
        if self._retried and hello.random != self._machine._peer_random:
            raise _illegal("a second ClientHello with another random than the first")
        demand_our_signature(hello)

    def _shares(self, hello: ClientHello) -> dict[int, bytes]:
        shares = dict(extensions.read_key_shares(hello.extension(extensions.KEY_SHARE) or b""))
        if not set(shares) <= set(offered(hello, extensions.SUPPORTED_GROUPS)):
            raise _illegal("a key share of a group that is not offered")
        return shares

    def _choose_group(self, hello: ClientHello, shares: dict[int, bytes]) -> int:
        """Choose a group that the client has sent a share of if we can: asking for another costs a round trip."""
        theirs = offered(hello, extensions.SUPPORTED_GROUPS)
        for group in self._machine.groups:
            if group in shares:
                return group
        for group in self._machine.groups:
            if group in theirs:
                return group
        raise RemoteProtocolError(Misbehaviour.NO_COMMON_GROUP, alert=Alert.HANDSHAKE_FAILURE)

    def _retry(self, hello: ClientHello, group: int, now: float) -> None:
        """Send a HelloRetryRequest. The transcript begins again with a hash of the first hello (RFC 8446, 4.4.1)."""
        machine = self._machine
        self._retried, self.group = True, group
        answers = [(extensions.SUPPORTED_VERSIONS, uint(2, VERSION_1_3))]
        if group:
            answers.append((extensions.KEY_SHARE, uint(2, group)))
        if self._make_cookie is not None:
            self._cookie = self._make_cookie(hello)
            answers.append((extensions.COOKIE, opaque(2, self._cookie)))
        self._forget_first_hello()
        request = self._server_hello(HELLO_RETRY_REQUEST, tuple(answers))
        # The client asks again if it is lost, so it needs no timer.
        machine._send_flight([machine._message(HandshakeType.SERVER_HELLO, request.octets())], now, awaits_answer=False)

    def _server_hello(self, random: bytes, answers: extensions.Extensions) -> ServerHello:
        # Deviation from TLS: the session id is not echoed (RFC 9147, 5.3).
        return ServerHello(version=VERSION_1_2, random=random, cipher_suite=self.cipher_suite, extensions=answers)

    def _answer(self, peer_share: bytes, now: float) -> None:
        """Send all of our part of the handshake, after which we have keys for all that follows it."""
        machine = self._machine
        try:
            share, shared = respond(self.group, peer_share, machine.entropy, machine.encapsulate)
        except ValueError as error:
            raise RemoteProtocolError(Misbehaviour.BAD_KEY_SHARE, str(error), Alert.ILLEGAL_PARAMETER) from None
        answers = (
            (extensions.KEY_SHARE, extensions.key_share(self.group, share)),
            (extensions.SUPPORTED_VERSIONS, uint(2, VERSION_1_3)),
        )
        hello = machine._message(HandshakeType.SERVER_HELLO, self._server_hello(machine._random, answers).octets())
        self._begin_encryption(shared)
        srtp = ((extensions.USE_SRTP, UseSrtp((machine._profile,)).octets()),) if machine._profile else ()
        request = CertificateRequest13(b"", ((extensions.SIGNATURE_ALGORITHMS, numbers(SCHEMES_13)),))
        flight = [
            hello,
            self._message(HandshakeType.ENCRYPTED_EXTENSIONS, EncryptedExtensions(srtp).octets()),
            self._message(HandshakeType.CERTIFICATE_REQUEST, request.octets()),
            *self._proof(),
        ]
        self._derive_application_keys()
        self._begin_application()
        machine._send_flight(flight, now)
        machine.events.append(KeysDerived(machine._profile))

    def finished(self, message: Message, now: float) -> State:
        """Take the client's Finished, which an acknowledgement answers."""
        self._read_finished(message)
        self._machine._flights.end()
        return State.CONNECTED

    steps: ClassVar[Steps] = {
        State.WAIT_CLIENT_HELLO: {HandshakeType.CLIENT_HELLO: client_hello},
        State.WAIT_CERTIFICATE: {HandshakeType.CERTIFICATE: Version13.certificate},
        State.WAIT_CERTIFICATE_VERIFY: {HandshakeType.CERTIFICATE_VERIFY: Version13.certificate_verify},
        State.WAIT_FINISHED: {HandshakeType.FINISHED: finished},
        State.CONNECTED: {HandshakeType.KEY_UPDATE: Version13.key_update},
    }


def _choose_suite(machine: Handshake, hello: ClientHello) -> CipherSuite13:
    for number in machine.cipher_suites:
        if number in hello.cipher_suites and number in SUITES_13:
            return SUITES_13[number]
    raise RemoteProtocolError(Misbehaviour.NO_COMMON_CIPHER_SUITE, alert=Alert.HANDSHAKE_FAILURE)


def _cookie(hello: ClientHello) -> bytes:
    value = hello.extension(extensions.COOKIE)
    return b"" if value is None else extensions.read_cookie(value)


def _illegal(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)
