"""The contract of machines, for the client and for the server with and without cookies."""

from tests.dtls.pairs import Pair, make_client, make_server
from tests.harness.contract import Contract
from trioice.sansio import Event, Machine, Outbox


def conversation(**server: object) -> tuple[list[bytes], list[bytes]]:
    """What client and server say to each other until they are connected, and one piece of application data."""
    pair = Pair(server=server)
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


class TestDtlsServer(Contract):
    proves_source = True

    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        return make_server(outbox, events)

    def valid(self) -> list[bytes]:
        return conversation()[0]


class TestDtlsServerWithCookie(Contract):
    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        return make_server(outbox, events, cookie=True)

    def valid(self) -> list[bytes]:
        return conversation(cookie=True)[0]


class TestDtlsClient(Contract):
    proves_source = True

    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        client = make_client(outbox, events)
        client.start(0.0)
        return client

    def valid(self) -> list[bytes]:
        return conversation()[1]
