"""The client: a ClientHello that offers every version, and the ServerHello that chooses one (RFC 6347, 4.2; RFC 9147, 5.3)."""

import functools
from typing import Final

import attrs

from trioice.dtls import extensions
from trioice.dtls.alerts import Alert
from trioice.dtls.association import State
from trioice.dtls.certificate import SCHEMES
from trioice.dtls.ciphers import SUITES, VERSION_1_2
from trioice.dtls.ciphers13 import SUITES_13
from trioice.dtls.client12 import Client12
from trioice.dtls.client13 import Client13
from trioice.dtls.extensions import UseSrtp
from trioice.dtls.fragments import Message
from trioice.dtls.groups import CURVES, GROUPS, KeyShare
from trioice.dtls.handshake import VERSION_1_3, Handshake, Steps, unexpected
from trioice.dtls.messages import ClientHello, HandshakeType, HelloVerifyRequest, ServerHello
from trioice.dtls.messages13 import DOWNGRADED, DOWNGRADED_FURTHER, HELLO_RETRY_REQUEST
from trioice.errors import LocalProtocolError, Misbehaviour, RemoteProtocolError
from trioice.wire import numbers, opaque

COOKIES: Final = 4
"""How many HelloVerifyRequests we follow: one is usual, two where the server's secret changed in between."""


@attrs.define(eq=False, repr=False, kw_only=True)
class DtlsClient(Handshake):
    """The active side: `start` sends the first flight."""

    _hello: ClientHello = attrs.field(init=False)
    _cookies: int = attrs.field(init=False, default=0)
    _shares: dict[int, KeyShare] = attrs.field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if VERSION_1_3 in self.versions:
            # Of the groups that we prefer, one of each kind: a server without key encapsulation need not ask for a curve.
            curve = next((group for group in self.groups if group in CURVES), None)
            shown = [group for group in self.groups if group not in CURVES or group == curve]
            self._shares = {group: GROUPS[group](self.entropy) for group in shown}
        suites = {number for version in self.versions for number in (SUITES_13 if version == VERSION_1_3 else SUITES)}
        self._hello = ClientHello(
            version=VERSION_1_2,
            random=self._random,
            cipher_suites=tuple(number for number in self.cipher_suites if number in suites),
            extensions=(*_offers(tuple(self.versions), tuple(self.groups), tuple(self.profiles)), *self._key_shares()),
        )

    def start(self, now: float) -> None:
        """Send flight 1. Raises LocalProtocolError the second time."""
        if self.state is not State.IDLE:
            raise LocalProtocolError(f"no start in {self.state.name}")
        self.state = State.WAIT_SERVER_HELLO
        self._send_hello(now)

    @classmethod
    def _hello_steps(cls) -> Steps:
        return {
            State.WAIT_SERVER_HELLO: {
                HandshakeType.HELLO_VERIFY_REQUEST: cls._hello_verify_request,
                HandshakeType.SERVER_HELLO: cls._server_hello,
            }
        }

    def _send_hello(self, now: float) -> None:
        self._send_flight([self._message(HandshakeType.CLIENT_HELLO, self._hello.octets())], now)

    def _key_shares(self) -> extensions.Extensions:
        shares = tuple((group, share.public) for group, share in self._shares.items())
        return ((extensions.KEY_SHARE, extensions.key_shares(shares)),) if shares else ()

    def _hello_verify_request(self, message: Message, now: float) -> State:
        """Begin again with the server's cookie, and with a new transcript (RFC 6347, 4.2.1). This is flight 3 of DTLS 1.2."""
        request = HelloVerifyRequest.read(message.body)
        if VERSION_1_2 not in self.versions:
            raise unexpected(message.kind, self.state)
        self._cookies += 1
        if self._cookies > COOKIES:
            raise RemoteProtocolError(
                Misbehaviour.UNEXPECTED_MESSAGE, f"over {COOKIES} cookies", Alert.UNEXPECTED_MESSAGE
            )
        self._transcript.clear()
        self._hello = attrs.evolve(self._hello, cookie=request.cookie)
        self._send_hello(now)
        return State.WAIT_SERVER_HELLO

    def _server_hello(self, message: Message, now: float) -> State:
        hello = ServerHello.read(message.body)
        if self._chosen_version(hello) == VERSION_1_3:
            version = Client13(self, hello, self._hello, self._shares)
            self._version = version
            return version.server_hello(message, now)
        self._shares = {}
        self._version = Client12(self, hello)
        return self._version.server_hello(hello, self._hello)

    def _connect(self) -> None:
        super()._connect()
        self._hello = attrs.evolve(self._hello, extensions=())  # among them a share of over a kilobyte

    def _chosen_version(self, hello: ServerHello) -> int:
        """Read which version the server chose, and refuse one that we could have bettered together (RFC 8446, 4.1.3 and 4.2.1)."""
        value = hello.extension(extensions.SUPPORTED_VERSIONS)
        version = hello.version
        if value is None and hello.random == HELLO_RETRY_REQUEST and VERSION_1_3 in self.versions:
            detail = "no supported_versions in a HelloRetryRequest"
            raise RemoteProtocolError(Misbehaviour.MISSING_EXTENSION, detail, Alert.MISSING_EXTENSION)
        if value is not None and VERSION_1_3 in self.versions:
            version = extensions.read_number(value)
            if version != VERSION_1_3:
                detail = f"version {version:04x} in supported_versions"
                raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)
            if self._hello.cookie:
                detail = "a HelloVerifyRequest before version 1.3"
                raise RemoteProtocolError(Misbehaviour.ILLEGAL_PARAMETER, detail, Alert.ILLEGAL_PARAMETER)
            return version
        if version != VERSION_1_2 or version not in self.versions:
            detail = f"version {version:04x}"
            raise RemoteProtocolError(Misbehaviour.NO_COMMON_VERSION, detail, Alert.PROTOCOL_VERSION)
        if VERSION_1_3 in self.versions and hello.random.endswith((DOWNGRADED, DOWNGRADED_FURTHER)):
            raise RemoteProtocolError(Misbehaviour.DOWNGRADED, alert=Alert.ILLEGAL_PARAMETER)
        return version


@functools.lru_cache(maxsize=16)
def _offers(versions: tuple[int, ...], groups: tuple[int, ...], profiles: tuple[int, ...]) -> extensions.Extensions:
    """Write the extensions of a ClientHello that are the same for all calls of a program."""
    curves = tuple(group for group in groups if group in CURVES)
    offers = [
        (extensions.EXTENDED_MASTER_SECRET, b""),
        (extensions.RENEGOTIATION_INFO, extensions.NO_RENEGOTIATION),
        (extensions.SUPPORTED_GROUPS, numbers(groups if VERSION_1_3 in versions else curves)),
        (extensions.EC_POINT_FORMATS, opaque(1, bytes((extensions.UNCOMPRESSED,)))),
        (extensions.SIGNATURE_ALGORITHMS, numbers(tuple(SCHEMES))),
    ]
    if profiles:
        offers.append((extensions.USE_SRTP, UseSrtp(profiles).octets()))
    # Without supported_versions: that is how one says 1.2 and nothing newer.
    if VERSION_1_3 in versions:
        offers.append((extensions.SUPPORTED_VERSIONS, opaque(1, numbers(versions)[2:])))
    return tuple(offers)
