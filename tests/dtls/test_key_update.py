"""Keys renewed after a handshake of DTLS 1.3, by either side, asked for or not, over bad networks and against the rules (RFC 9147, 8)."""

import pytest

from tests.dtls.pairs import Pair, Pair13, failure, in_turn, opened_by, said_by, under_way
from trioice.dtls import State
from trioice.dtls.drops import Drop
from trioice.dtls.flights import TRANSMISSIONS_TO_THE_PRESENT
from trioice.dtls.fragments import LAST_SEQUENCE, Message
from trioice.dtls.groups import X25519
from trioice.dtls.handshake import VERSION_1_3, Handshake
from trioice.dtls.messages import HandshakeType
from trioice.dtls.packing import RecordNumber
from trioice.dtls.record import ACK, APPLICATION_DATA, HANDSHAKE, WORN
from trioice.dtls.version13 import Version13
from trioice.errors import Misbehaviour
from trioice.sansio import NEVER

KEY_UPDATE = HandshakeType.KEY_UPDATE


def connected() -> Pair:
    return Pair13(groups=(X25519,)).run()


def renew_and_ask(machine: Handshake, now: float) -> None:
    """Take new keys, and want the peer to do the same, which our machines never do by themselves."""
    assert isinstance(machine._version, Version13)
    machine._version._is_updating = True
    machine._send_flight([machine._message(KEY_UPDATE, b"\x01", epoch=machine._records.epoch)], now)


def epochs(pair: Pair) -> tuple[int, int]:
    """The epochs that client and server write in."""
    return pair.client._records.epoch, pair.server._records.epoch


def talks(pair: Pair) -> bool:
    """Tell whether application data passes both ways."""
    pair.client.inbox.clear()
    pair.server.inbox.clear()
    pair.client.send(b"question", pair.now)
    pair.server.send(b"answer", pair.now)
    pair.run()
    return (pair.server.inbox, pair.client.inbox) == ([b"question"], [b"answer"])


def test_keys_renewed_by_one_side_a_thousand_times_leave_nothing_behind() -> None:
    pair = Pair(versions=(VERSION_1_3,)).run()
    for _ in range(1000):
        pair.client._renew(1.0)
        pair.run()
    pair.client.send(b"under the newest", 1.0)
    pair.server.send(b"under the first", 1.0)
    pair.run()
    assert (pair.server.inbox, pair.client.inbox) == ([b"under the newest"], [b"under the first"])
    for machine in (pair.client, pair.server):
        assert len(machine._records.sequences) <= 4


def test_each_direction_has_epochs_of_its_own() -> None:
    pair = connected()
    pair.server._renew(0.0)
    pair.run()
    assert epochs(pair) == (3, 4)
    assert talks(pair)
    for _ in range(6):
        pair.client._renew(0.0)
        pair.run()
        assert talks(pair)
    assert epochs(pair) == (9, 4)
    assert pair.client.dropped == pair.server.dropped == {}


def test_updates_that_cross_are_both_made() -> None:
    pair = connected()
    pair.client._renew(0.0)
    pair.server._renew(0.0)
    pair.run()
    assert epochs(pair) == (4, 4)
    assert talks(pair)


def test_an_update_that_is_asked_for_is_answered_with_one() -> None:
    pair = connected()
    renew_and_ask(pair.client, 0.0)
    [asked] = pair.from_client()
    answer = pair.to_server([asked])
    records = opened_by(pair.client, answer)
    assert [(item.kind, item.epoch) for item in records] == [(HANDSHAKE, 3), (ACK, 3)]
    assert Message(kind=KEY_UPDATE, sequence=6, body=b"\x00").octets() == records[0].payload  # and does not ask in turn
    pair.to_server(pair.to_client(answer))
    assert epochs(pair) == (4, 4)
    assert talks(pair)


def test_new_keys_are_used_when_the_update_is_acknowledged_and_the_old_ones_until_then() -> None:
    pair = connected()
    pair.client._renew(0.0)
    update = pair.from_client()
    pair.client.send(b"under the old keys", 0.0)
    late = pair.from_client()
    acknowledgement = pair.to_server(update)
    assert opened_by(pair.server, late)[0].epoch == 3
    pair.to_client(acknowledgement)
    pair.client.send(b"under the new keys", 0.0)
    [new] = pair.from_client()
    assert opened_by(pair.server, [new])[0].epoch == 4
    pair.to_server([new, *late])
    assert pair.server.inbox == [b"under the new keys", b"under the old keys"]


def test_an_update_whose_acknowledgement_is_lost_is_repeated_under_the_old_keys() -> None:
    pair = connected()
    pair.client._renew(0.0)
    pair.to_server(pair.from_client())
    pair.now = pair.client.deadline
    pair.client.expire(pair.now)
    repeated = pair.from_client()
    [record] = opened_by(pair.server, repeated)
    assert (record.kind, record.epoch) == (HANDSHAKE, 3)
    [acknowledgement] = pair.to_server(repeated)
    assert opened_by(pair.client, [acknowledgement])[0].kind == ACK
    pair.to_client([acknowledgement])
    assert epochs(pair) == (4, 3)
    assert pair.client.deadline == NEVER
    assert talks(pair)


def test_an_update_that_is_never_acknowledged_ends_the_association() -> None:
    pair = connected()
    pair.client._renew(0.0)
    transmissions = len(pair.from_client())
    while pair.client.state is State.CONNECTED:
        pair.client.expire(pair.client.deadline)
        transmissions += len(pair.from_client())
    assert transmissions == TRANSMISSIONS_TO_THE_PRESENT
    assert failure(pair.client_events) is Misbehaviour.HANDSHAKE_TIMEOUT


@pytest.mark.parametrize("seed", range(40))
def test_keys_are_renewed_over_a_bad_network_while_data_passes(seed: int) -> None:
    pair = Pair13(seed, groups=(X25519,))
    link = pair.link(seed, loss=0.3, duplication=0.1, jitter=0.1)
    pair.client.start(0.0)
    assert pair.connects(link, 60.0)
    for turn in range(1, 6):
        renew_and_ask((pair.client, pair.server)[(seed + turn) % 2], link.now)
        for number in range(5):
            pair.client.send(bytes((turn, number)), link.now)
            pair.server.send(bytes((turn, number)), link.now)
        assert link.run_until(link.now + 60, lambda: pair.client.deadline == pair.server.deadline == NEVER)
        assert epochs(pair) == (3 + turn, 3 + turn)
        link.run_until(link.now + 1)  # what is still flying comes down
    assert pair.are_agreed
    for machine in (pair.client, pair.server):
        assert machine.dropped[Drop.WRONG_EPOCH] == machine.dropped[Drop.BAD_RECORD] == 0
        assert len(machine.inbox) > 5


def test_what_was_said_before_an_update_stays_unreadable_to_who_sees_the_secrets_after_it() -> None:
    pair = connected()
    before = pair.client.key_log_lines()
    assert len(before) == 5
    pair.client._renew(0.0)
    pair.run()
    for machine in (pair.client, pair.server):
        left = machine.key_log_lines()
        assert left == before[:2]  # of the handshake
        assert all("_TRAFFIC_SECRET_0" not in line and "EXPORTER" not in line for line in left)


# When it is time


def test_a_worn_key_is_replaced_once() -> None:
    pair = connected()
    pair.client._records._epochs[3].sequence = WORN - 2
    pair.server._records._epochs[3].window.highest = WORN - 3
    pair.client.send(b"not yet", 0.0)
    assert len(pair.client_outbox) == 1
    for _ in range(5):  # while the update is on its way, more is sent under the worn key
        pair.client.send(b"worn", 0.0)
    pair.run()
    assert epochs(pair) == (4, 3)
    assert pair.client._next_message == 5  # hello, certificate, its proof, Finished, and one KeyUpdate
    assert len(pair.server.inbox) == 6
    assert talks(pair)


def test_message_numbers_do_not_begin_again_so_that_requests_are_ignored_in_the_end() -> None:
    pair = connected()
    pair.server._next_message = pair.client._incoming.next = LAST_SEQUENCE
    renew_and_ask(pair.client, 0.0)
    pair.run()
    assert epochs(pair) == (4, 4)
    renew_and_ask(pair.client, 0.0)
    pair.run()
    assert epochs(pair) == (5, 4)
    assert talks(pair)


# Against the rules


def test_a_server_that_takes_new_keys_before_it_has_heard_our_finished_does_not_keep_us_from_repeating_it() -> None:
    pair = Pair13(groups=(X25519,))
    pair.server_waits()  # what the client answers is lost
    pair.server._renew(0.0)
    pair.server._flights.end()
    pair.to_client([said_by(pair.server, in_turn(KEY_UPDATE, pair.client, b"\x00", epoch=3))])
    assert pair.client.state is State.CONNECTED
    pair.now = pair.client.deadline
    pair.client.expire(pair.now)
    assert [message.kind for message in under_way(pair.client)] == [11, 15, 20]
    assert pair.client_outbox
    pair.to_client(pair.to_server(pair.from_client()))
    assert pair.are_connected


@pytest.mark.parametrize(
    ("body", "reason", "alert"),
    [
        (b"\x02", Misbehaviour.ILLEGAL_PARAMETER, 47),
        (b"\xff", Misbehaviour.ILLEGAL_PARAMETER, 47),
        (b"", Misbehaviour.MALFORMED_HANDSHAKE, 50),
        (b"\x00\x00", Misbehaviour.MALFORMED_HANDSHAKE, 50),
    ],
    ids=str,
)
def test_an_update_of_no_known_kind_ends_the_association(body: bytes, reason: Misbehaviour, alert: int) -> None:
    for side in ("client", "server"):
        pair = connected()
        ours, peer = (pair.client, pair.server) if side == "client" else (pair.server, pair.client)
        ours.receive(said_by(peer, in_turn(KEY_UPDATE, ours, body, epoch=3)), "peer", 0.0)
        assert failure(pair.client_events if side == "client" else pair.server_events) is reason
        [record] = opened_by(peer, [datagram for datagram, _ in ours.outbox])
        assert record.payload == bytes((2, alert))


def test_an_update_is_the_last_message_of_its_epoch() -> None:
    for kind in (KEY_UPDATE, HandshakeType.NEW_SESSION_TICKET):
        pair = connected()
        pair.to_client([said_by(pair.server, in_turn(KEY_UPDATE, pair.client, b"\x00", epoch=3))])
        assert pair.client.state is State.CONNECTED
        pair.to_client([said_by(pair.server, in_turn(kind, pair.client, b"\x00", epoch=3))])
        assert failure(pair.client_events) is Misbehaviour.UNEXPECTED_MESSAGE


def test_an_update_before_finished_is_unexpected() -> None:
    pair = Pair13(groups=(X25519,))
    flight = pair.to_server(pair.start())
    [hello] = [message for message in under_way(pair.server) if message.kind == HandshakeType.SERVER_HELLO]
    pair.to_client([said_by(pair.server, hello)])
    assert pair.client.state is State.WAIT_ENCRYPTED_EXTENSIONS
    pair.to_client([said_by(pair.server, in_turn(KEY_UPDATE, pair.client, b"\x00", epoch=2))])
    assert failure(pair.client_events) is Misbehaviour.UNEXPECTED_MESSAGE
    assert flight


def test_records_of_an_epoch_that_no_update_announced_are_dropped() -> None:
    pair = connected()
    pair.client._renew(0.0)
    pair.from_client()  # nobody hears of it
    assert isinstance(pair.client._version, Version13)
    pair.client._flights.end()
    pair.client._version.flight_acknowledged(0.0)
    pair.client.send(b"too new", 0.0)
    pair.to_server(pair.from_client())
    assert pair.server.inbox == []
    assert pair.server.dropped == {Drop.WRONG_EPOCH: 1}


def test_keys_of_two_updates_ago_are_gone() -> None:
    pair = connected()
    pair.client.send(b"very late", 0.0)
    late = pair.from_client()
    for _ in range(2):
        pair.client._renew(0.0)
        pair.run()
    pair.to_server(late)
    assert pair.server.inbox == []
    assert pair.server.dropped == {Drop.WRONG_EPOCH: 1}


def test_a_flood_of_updates_costs_an_answer_each_and_one_update_at_a_time() -> None:
    pair = connected()
    version = pair.client._version
    assert isinstance(version, Version13)
    sent: dict[RecordNumber, int] = {}
    for number in range(2000):
        update = in_turn(KEY_UPDATE, pair.server, b"\x01", epoch=pair.client._records.epoch)
        answer = pair.to_server([said_by(pair.client, update)])
        # A hostile client that goes on at once, and acknowledges nothing.
        version._is_updating = True
        version.flight_acknowledged(0.0)
        assert len(answer) <= 2
        for item in opened_by(pair.client, answer) if number < 20 else ():
            sent[item.epoch, item.sequence] = item.kind
    assert list(sent.values()).count(HANDSHAKE) == 1
    assert len(under_way(pair.server)) == 1
    assert len(pair.server._records.sequences) <= 4
    assert pair.server.state is State.CONNECTED
    pair.client.send(b"still here", 0.0)
    pair.to_server(pair.from_client())
    assert pair.server.inbox == [b"still here"]


def test_a_repeated_update_is_acknowledged_and_changes_nothing() -> None:
    pair = connected()
    pair.client._renew(0.0)
    [update] = under_way(pair.client)
    for _ in range(5):
        [acknowledgement] = pair.to_server([said_by(pair.client, update)])
        assert opened_by(pair.client, [acknowledgement])[0].kind == ACK
    pair.to_server([said_by(pair.client, update, epoch=3)])
    assert isinstance(pair.server._version, Version13)
    assert pair.server._version._reading_epoch == 4
    assert pair.server.dropped == {Drop.REPEATED: 5}


def test_application_data_under_new_keys_needs_no_more_than_the_update() -> None:
    pair = connected()
    pair.client._renew(0.0)
    pair.run()
    pair.client.send(b"new", 0.0)
    [record] = opened_by(pair.server, [datagram for datagram, _ in pair.client_outbox])
    assert (record.kind, record.epoch, record.sequence) == (APPLICATION_DATA, 4, 0)
