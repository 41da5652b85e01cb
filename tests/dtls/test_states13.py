"""The tables of DTLS 1.3: each message that a state does not have, in the epoch where it would belong, and each in a wrong one."""

import pytest

from tests.dtls.pairs import Pair, Pair13, failure, handshake, in_turn, opened_by, plain_records, said_by, under_way
from trioice.dtls import DtlsClient, DtlsServer, State
from trioice.dtls.association import OVER
from trioice.dtls.client12 import Client12
from trioice.dtls.client13 import Client13
from trioice.dtls.drops import Drop
from trioice.dtls.fragments import Message
from trioice.dtls.groups import SECP256R1, X25519
from trioice.dtls.handshake import Handshake
from trioice.dtls.messages import HandshakeType
from trioice.dtls.record import ALERT
from trioice.dtls.server12 import Server12
from trioice.dtls.server13 import Server13
from trioice.errors import Misbehaviour
from trioice.sansio import NEVER

OPEN = {State.WAIT_CLIENT_HELLO, State.WAIT_SERVER_HELLO}
KINDS = (*HandshakeType, 5, 6, 9, 10, 21, 25, 255)
"""Those that have a name, and others: end_of_early_data, connection ids, and what nobody knows."""


def reached(side: str, state: State, *, retried: bool = False) -> tuple[Pair, Handshake, Handshake]:
    """A pair of which one side is in `state`; that side, and its peer."""
    pair = Pair13(client={"groups": (X25519, SECP256R1)}, server={"groups": (SECP256R1 if retried else X25519,)})
    ours, peer = (pair.client, pair.server) if side == "client" else (pair.server, pair.client)
    said = pair.start()
    if retried:
        said = pair.to_client(pair.to_server(said)) if state is State.WAIT_CLIENT_HELLO or side == "client" else said
    if state in OPEN:
        return pair, ours, peer
    pair.to_server(said)
    for message in under_way(pair.server):
        if pair.client.state is state and side == "client":
            return pair, ours, peer
        pair.to_client([said_by(pair.server, message)])
    for message in under_way(pair.client) if side == "server" else ():
        if pair.server.state is state:
            return pair, ours, peer
        pair.to_server([said_by(pair.client, message)])
    assert ours.state is state
    return pair, ours, peer


TABLES = {
    ("client", False): {**DtlsClient._hello_steps(), **Client13.steps},
    ("client", True): {State.WAIT_SERVER_HELLO: Client13.steps[State.WAIT_SERVER_HELLO]},
    ("server", False): {**Server13.steps, **DtlsServer._hello_steps()},
    ("server", True): {State.WAIT_CLIENT_HELLO: Server13.steps[State.WAIT_CLIENT_HELLO]},
}

MISSING = [
    pytest.param(side, state, retried, int(kind), id=f"{side}-{state.name}{'-again' if retried else ''}-{int(kind)}")
    for (side, retried), steps in TABLES.items()
    for state in steps
    for kind in KINDS
    if kind not in (DtlsClient._hello_steps() if side == "client" and not retried and state in OPEN else steps)[state]
]


@pytest.mark.parametrize(("side", "state", "retried", "kind"), MISSING)
def test_a_message_that_the_table_does_not_have_ends_the_association(
    side: str, state: State, retried: bool, kind: int
) -> None:
    pair, ours, peer = reached(side, state, retried=retried)
    events = pair.client_events if side == "client" else pair.server_events
    before = len(events)
    pair.client_outbox.clear()
    pair.server_outbox.clear()
    epoch = 0 if state in OPEN else 3 if state is State.CONNECTED else 2
    if epoch == 0:
        ours.receive(handshake(kind, ours._incoming.next, b""), "peer", 0.0)
    else:
        ours.receive(said_by(peer, in_turn(kind, ours, epoch=epoch)), "peer", 0.0)
    said = [datagram for datagram, _ in ours.outbox]
    if epoch == 0 and kind == HandshakeType.FINISHED and not retried:
        # A Finished in plaintext is nobody's: it ends nothing.
        assert (ours.state, said, ours.dropped) == (state, [], {Drop.PLAINTEXT_HANDSHAKE: 1})
        return
    assert failure(events) is Misbehaviour.UNEXPECTED_MESSAGE
    assert len(events) == before + 1
    assert (ours.state, ours.deadline) == (State.FAILED, NEVER)
    # The alert is in the newest epoch there is; who has no keys yet tells it in plaintext.
    [alert] = plain_records(said[0]) if epoch == 0 else opened_by(reading(peer, ours), said)
    assert (alert.kind, alert.payload) == (ALERT, b"\x02\x0a")
    assert alert.epoch == ours._records.epoch == (0 if epoch == 0 else 2 if side == "client" and epoch == 2 else 3)


def reading(peer: Handshake, ours: Handshake) -> Handshake:
    """A peer that has all keys: a client gets those of epoch 3 by the end of the server's flight."""
    if not peer._records.reads(ours._records.epoch):
        for message in under_way(ours):
            peer.receive(said_by(ours, message), "us", 0.0)
    return peer


def test_the_tables_have_a_row_for_every_state_that_waits() -> None:
    tables = [DtlsServer._hello_steps(), DtlsClient._hello_steps(), Client12.steps, Server12.steps]
    tables += [Client13.steps, Server13.steps]
    assert set(State) - {state for steps in tables for state in steps} - OVER == {State.IDLE}


# Epochs

STATES = [
    *(("client", state) for state in Client13.steps if state not in OPEN),
    *(("server", state) for state in Server13.steps if state not in OPEN),
]


def due(side: str, state: State) -> int:
    """A message that the state waits for."""
    return next(iter((Client13 if side == "client" else Server13).steps[state]))


@pytest.mark.parametrize(("side", "state"), STATES, ids=lambda value: getattr(value, "name", value))
def test_a_message_that_is_due_counts_for_nothing_in_plaintext(side: str, state: State) -> None:
    pair, ours, _ = reached(side, state)
    kind = due(side, state)
    for forged in (
        handshake(kind, ours._incoming.next, b"forged"),
        handshake(kind, ours._incoming.next + 1, b"forged"),
    ):
        ours.receive(forged, "anybody", 0.0)
    assert ours.state is state
    assert ours.dropped == {Drop.PLAINTEXT_HANDSHAKE: 2}
    assert failure(pair.client_events) is failure(pair.server_events) is None
    if state is not State.CONNECTED:
        pair.to_server(pair.to_client([said_by(pair.server, *under_way(pair.server))]))
        if side == "server":
            pair.to_server([said_by(pair.client, *under_way(pair.client))])
        assert pair.are_agreed


@pytest.mark.parametrize("side", ["client", "server"])
def test_what_follows_a_handshake_has_no_place_in_the_epoch_of_the_handshake(side: str) -> None:
    pair, ours, peer = reached(side, State.CONNECTED)
    ours.receive(said_by(peer, in_turn(HandshakeType.KEY_UPDATE, ours, b"\x00", epoch=2)), "peer", 0.0)
    assert failure(pair.client_events if side == "client" else pair.server_events) is Misbehaviour.UNEXPECTED_MESSAGE


def test_messages_of_the_handshake_in_the_epoch_after_it_connect_nobody() -> None:
    pair = Pair13(groups=(X25519,))
    pair.server_waits()
    pair.to_server([said_by(pair.client, *under_way(pair.client), epoch=3)])
    assert pair.server.state.name == "WAIT_CERTIFICATE"
    # They are kept for later, and later is never: what is due stays due.
    pair.to_server([said_by(pair.client, *under_way(pair.client)[:2])])
    assert pair.server.state.name == "WAIT_FINISHED"


def test_a_message_may_not_span_two_epochs() -> None:
    _, ours, peer = reached("server", State.WAIT_CERTIFICATE)
    certificate, *_ = under_way(peer)
    first, rest = certificate.fragment(0, 100), certificate.fragment(100, len(certificate.body))
    states = []
    for epoch, fragment in ((2, first), (3, rest), (2, rest)):
        ours.receive(peer._records.seal(22, epoch, fragment), "peer", 0.0)
        states.append(ours.state)
    assert states == [State.WAIT_CERTIFICATE, State.WAIT_CERTIFICATE, State.WAIT_CERTIFICATE_VERIFY]


def test_what_stands_behind_a_hello_in_its_record_is_not_believed() -> None:
    pair = Pair13(groups=(X25519,))
    pair.to_server(pair.start())
    hello, extensions, *others = under_way(pair.server)
    forged = Message(kind=HandshakeType.ENCRYPTED_EXTENSIONS, sequence=1, body=b"\0\0")
    pair.to_client([pair.server._records.seal(22, 0, hello.octets() + forged.octets())])
    assert pair.client.state is State.WAIT_ENCRYPTED_EXTENSIONS
    pair.to_server(pair.to_client([said_by(pair.server, extensions, *others)]))
    assert pair.are_agreed


@pytest.mark.parametrize("side", ["client", "server"])
def test_application_data_has_no_place_in_the_epoch_of_the_handshake(side: str) -> None:
    table = Client13.steps if side == "client" else Server13.steps
    for state in [state for state in table if state not in OPEN]:
        pair, ours, peer = reached(side, state)
        ours.receive(peer._records.seal(23, 2, b"too early"), "peer", 0.0)
        assert (
            failure(pair.client_events if side == "client" else pair.server_events) is Misbehaviour.UNEXPECTED_MESSAGE
        )
        assert ours.inbox == []
