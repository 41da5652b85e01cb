"""The contract of machines, for the client and for the server with and without cookies, at 1.2 and at 1.3 with and without ML-KEM."""

from typing import Any

from tests.dtls.pairs import ENCAPSULATE, Pair, make_client, make_server
from tests.harness.contract import Contract
from trioice.dtls import VERSION_1_2, VERSION_1_3, VERSIONS
from trioice.dtls.groups import GROUPS, X25519
from trioice.sansio import Event, Machine, Outbox


class DtlsContract(Contract):
    """Both sides of one way of speaking: the options that they have in common, and whether the server wants its cookie back."""

    both: dict[str, Any] = {"versions": (VERSION_1_2,)}  # noqa: RUF012 - nobody writes to it
    cookie = False

    def conversation(self) -> tuple[list[bytes], list[bytes]]:
        """What client and server say to each other until they are connected, and one piece of application data."""
        pair = Pair(server={"cookie": self.cookie}, **self.both)
        said: tuple[list[bytes], list[bytes]] = ([], [])
        from_client = pair.start()
        while from_client:
            said[0].extend(from_client)
            from_server = pair.to_server(from_client)
            said[1].extend(from_server)
            from_client = pair.to_client(from_server)
        assert pair.are_agreed
        pair.client.send(b"from the client", 0.0)
        pair.server.send(b"from the server", 0.0)
        said[0].extend(pair.from_client())
        said[1].extend(pair.from_server())
        return said


class ServerContract(DtlsContract):
    proves_source = True

    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        return make_server(outbox, events, cookie=self.cookie, **self.both)

    def valid(self) -> list[bytes]:
        return self.conversation()[0]


class ClientContract(DtlsContract):
    proves_source = True

    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        client = make_client(outbox, events, **self.both)
        client.start(0.0)
        return client

    def valid(self) -> list[bytes]:
        return self.conversation()[1]


NEW: dict[str, Any] = {"versions": (VERSION_1_3,), "groups": (X25519,)}
BOTH: dict[str, Any] = {"versions": VERSIONS, "groups": tuple(GROUPS), "encapsulate": ENCAPSULATE}


class TestDtlsServer(ServerContract):
    pass


class TestDtlsServerWithCookie(ServerContract):
    proves_source = False
    cookie = True


class TestDtlsClient(ClientContract):
    pass


class TestDtlsServer13(ServerContract):
    both = NEW


class TestDtlsServer13WithCookie(ServerContract):
    both = NEW
    proves_source = False
    cookie = True


class TestDtlsClient13(ClientContract):
    both = NEW


class TestDtlsServerOfBoth(ServerContract):
    both = BOTH


class TestDtlsServerOfBothWithCookie(ServerContract):
    both = BOTH
    proves_source = False
    cookie = True


class TestDtlsClientOfBoth(ClientContract):
    both = BOTH


class TestDtlsClientThatIsAskedAgain(ClientContract):
    both = BOTH
    cookie = True
