"""The server: from the ClientHello to the version that answers it (RFC 6347, 4.2.1; RFC 9147, 5.1 and 5.3)."""

import hmac
from typing import Final

import attrs

from trioice.dtls import extensions
from trioice.dtls.alerts import Alert
from trioice.dtls.association import State
from trioice.dtls.ciphers import VERSION_1_2
from trioice.dtls.drops import Drop
from trioice.dtls.fragments import Message
from trioice.dtls.handshake import VERSION_1_3, VERSIONS, Handshake, Steps
from trioice.dtls.messages import ClientHello, HandshakeType, HelloVerifyRequest
from trioice.dtls.server12 import Server12
from trioice.dtls.server13 import Server13
from trioice.errors import Misbehaviour, RemoteProtocolError

VERSION_1_0: Final = 0xFEFF
DTLS: Final = 0xFE00
"""Where the versions of DTLS begin; they count downwards from 1.0, and below are those of TLS."""


@attrs.define(eq=False, repr=False, kw_only=True)
class DtlsServer(Handshake):
    """The passive side. With `cookie` the client first has to show that it hears what is sent to it."""

    cookie: bool = False
    _secret: bytes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.state = State.WAIT_CLIENT_HELLO
        self._secret = self.entropy(32)

    @classmethod
    def _hello_steps(cls) -> Steps:
        return {State.WAIT_CLIENT_HELLO: {HandshakeType.CLIENT_HELLO: cls._client_hello}}

    def _client_hello(self, message: Message, now: float) -> State:
        hello = ClientHello.read(message.body)
        if self._choose_version(hello) == VERSION_1_3:
            version = Server13(self, hello, self._cookie if self.cookie else None)
            self._version = version
            return version.client_hello(message, now)
        if self.cookie and not hmac.compare_digest(hello.cookie, expected := self._cookie(hello)):
            self._transcript.clear()
            if message.sequence == 0:
                self._flight_2(expected, now)
            else:
                # A guess: whoever got our cookie has the right one. The message that is due is still to come.
                self.dropped[Drop.BAD_COOKIE] += 1
                self._incoming.next -= 1
            return State.WAIT_CLIENT_HELLO
        self._version = Server12(self, hello)
        return self._version.answer(hello, now)

    def _choose_version(self, hello: ClientHello) -> int:
        """Choose the newest version that both speak: to a client of 1.3 any other is a downgrade (RFC 8446, 4.1.3 and 4.2.1)."""
        value = hello.extension(extensions.SUPPORTED_VERSIONS)
        if value is not None:
            offered = extensions.read_numbers(value, size=1)
        else:
            offered = [VERSION_1_2] if DTLS <= hello.version <= VERSION_1_2 else []
        for version in VERSIONS:
            if version in self.versions and version in offered:
                return version
        raise RemoteProtocolError(Misbehaviour.NO_COMMON_VERSION, alert=Alert.PROTOCOL_VERSION)

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
