"""A relay with two transceivers behind it, and what clients and transceivers say to it."""

from typing import cast

from tests.harness.ladder import PEER, Ladder
from trioice import stun
from trioice.relay.core import Directory, RelayCore
from trioice.relay.encapsulation import header
from trioice.relay.token import Route, TokenKey, TokenKeys
from trioice.sansio import Address, Outbox

CLIENT = PEER
STRANGER = ("198.51.100.66", 6666)
PROXY = ("203.0.113.10", 3478)
ALICE = ("10.0.0.1", 7000)
BOB = ("10.0.0.2", 7000)
ROUTES: dict[Route, Address] = {Route(1, 1): ALICE, Route(1, 2): BOB}
TO_ALICE, TO_BOB = ROUTES

KEYS = TokenKeys([TokenKey(3, bytes(range(16)))])
OTHER_KEYS = TokenKeys([TokenKey(3, bytes(range(1, 17)))])

DTLS = b"\x16\xfe\xfd" + bytes(40)
RTP = b"\x80\x6f\x00\x01" + bytes(100)


class Shards(dict[Route, Address]):
    """A directory that a test can change."""

    def find(self, route: Route) -> Address | None:
        return self.get(route)

    def __contains__(self, address: object) -> bool:
        return address in self.values()


def make_relay(
    inner: Outbox, outer: Outbox, *, directory: Directory | None = None, keys: TokenKeys = KEYS, limit: int = 100
) -> RelayCore:
    return RelayCore(
        keys=keys,
        directory=Shards(ROUTES) if directory is None else directory,
        proxy=lambda client: PROXY,
        transport_address=lambda address: cast("tuple[str, int]", address)[:2],
        make_address=lambda client, proxy: client,
        inner=inner,
        outer=outer,
        limit=limit,
    )


class World:
    """A relay on a ladder. Both of its outboxes are one list here: the addresses tell them apart."""

    def __init__(self, limit: int = 100) -> None:
        self.directory = Shards(ROUTES)
        outbox: Outbox = []
        self.relay = make_relay(outbox, outbox, directory=self.directory, limit=limit)
        self.ladder = Ladder(self.relay, outbox, [], source=CLIENT)

    def forwards(self, datagram: bytes, to: Address, source: tuple[str, int] = CLIENT) -> None:
        """The client says something, and the transceiver hears it with the client's address in front."""
        self.ladder.receives(datagram, source)
        assert self.ladder.sends(bytes, to) == from_client(datagram, source)
        self.ladder.silent()

    def returns(self, datagram: bytes, source: Address, to: tuple[str, int] = CLIENT) -> None:
        """The transceiver says something, and the client hears it."""
        self.ladder.does(self.relay.returned, from_client(datagram, to), source)
        assert self.ladder.sends(bytes, to) == datagram
        self.ladder.silent()

    def drops(self, datagram: bytes, source: tuple[str, int] = CLIENT) -> None:
        """The client says something, and nobody hears it; it is counted."""
        before = self.relay.dropped.total()
        self.ladder.receives(datagram, source)
        self.ladder.silent()
        assert self.relay.dropped.total() == before + 1

    def connects(self, route: Route = TO_ALICE, source: tuple[str, int] = CLIENT) -> None:
        """The client checks, its transceiver answers: its flow is confirmed."""
        self.forwards(check(route), ROUTES[route], source)
        self.returns(success(), ROUTES[route], source)


def ufrag(route: Route, keys: TokenKeys = KEYS) -> str:
    return keys.seal(route, b"nonce!")


def check(route: Route = TO_ALICE, keys: TokenKeys = KEYS) -> bytes:
    return request(f"{ufrag(route, keys)}:client".encode())


def request(username: bytes) -> bytes:
    return stun.encode(stun.BINDING_REQUEST, bytes(12), [(stun.USERNAME, username)], key=b"password")


def success() -> bytes:
    mapped = (stun.XOR_MAPPED_ADDRESS, stun.xor_address(CLIENT, bytes(12)))
    return stun.encode(stun.BINDING_SUCCESS, bytes(12), [mapped], key=b"password")


def from_client(datagram: bytes, client: tuple[str, int] = CLIENT) -> bytes:
    """As it goes between relay and transceiver, either way."""
    return header(client, PROXY) + datagram
