"""The relay as a machine: how flows are made, confirmed, kept, moved and forgotten."""

import pytest

from tests.harness.contract import Contract
from tests.harness.ladder import PEER
from tests.relay.world import (
    ALICE,
    BOB,
    CLIENT,
    DTLS,
    KEYS,
    OTHER_KEYS,
    ROUTES,
    RTP,
    STRANGER,
    TO_ALICE,
    TO_BOB,
    Shards,
    World,
    check,
    from_client,
    make_relay,
    request,
    success,
    ufrag,
)
from trioice import stun
from trioice.relay.core import HOLD, IDLE, REFRESH, Drop, RelayCore
from trioice.relay.token import Route, TokenKeys
from trioice.sansio import NEVER, Address, Event, Machine, Outbox

INDICATION = stun.encode(stun.BINDING_INDICATION, bytes(12))


@pytest.fixture
def world() -> World:
    return World()


# The two ways


def test_a_check_goes_where_its_token_says(world: World) -> None:
    world.forwards(check(TO_ALICE), ALICE)
    world.forwards(check(TO_BOB), BOB, STRANGER)


@pytest.mark.parametrize("datagram", [DTLS, RTP, b"\x80", b"\x01", INDICATION, success(), request(b"no colon")])
def test_everything_without_a_token_follows_a_confirmed_flow(world: World, datagram: bytes) -> None:
    world.connects()
    world.forwards(datagram, ALICE)


def test_what_a_transceiver_says_goes_to_the_client_that_its_header_names(world: World) -> None:
    world.connects()
    for datagram in (DTLS, RTP, success(), b"\x01"):
        world.returns(datagram, ALICE)


def test_the_way_back_needs_no_flow(world: World) -> None:
    world.returns(RTP, ALICE)
    assert (world.relay.flows, world.relay.unconfirmed) == (0, 0)


def test_both_ways_are_counted(world: World) -> None:
    world.connects()
    world.forwards(RTP, ALICE)
    world.returns(DTLS, ALICE)
    relay = world.relay
    assert (relay.inner_datagrams, relay.inner_octets) == (2, len(check()) + len(RTP))
    assert (relay.outer_datagrams, relay.outer_octets) == (2, len(success()) + len(DTLS))
    assert relay.dropped.total() == 0


def test_an_ipv6_client_is_one_like_others(world: World) -> None:
    source = ("2001:db8::7", 50000)
    world.connects(source=source)
    world.forwards(RTP, ALICE, source)
    world.returns(RTP, ALICE, source)


# Confirmation


def test_a_flow_carries_nothing_before_a_transceiver_answered(world: World) -> None:
    world.forwards(check(), ALICE)
    world.drops(DTLS)
    world.drops(INDICATION)
    assert world.relay.dropped == {Drop.UNCONFIRMED: 2}
    world.returns(success(), ALICE)
    world.forwards(DTLS, ALICE)


@pytest.mark.parametrize(
    "datagram",
    [
        DTLS,
        RTP,
        b"\x01\x01",
        success()[:8].replace(stun.MAGIC_COOKIE, bytes(4)) + success()[8:],
        stun.encode(stun.BINDING_ERROR, bytes(12)),
    ],
)
def test_only_a_success_response_confirms(world: World, datagram: bytes) -> None:
    world.forwards(check(), ALICE)
    world.returns(datagram, ALICE)
    assert (world.relay.flows, world.relay.unconfirmed) == (0, 1)
    world.drops(DTLS)


def test_checks_and_answers_of_one_client_confirm_no_other(world: World) -> None:
    world.forwards(check(), ALICE)
    world.connects(source=STRANGER)
    world.drops(RTP)


def test_a_success_response_makes_no_flow(world: World) -> None:
    world.returns(success(), ALICE)
    assert (world.relay.flows, world.relay.unconfirmed) == (0, 0)
    world.drops(RTP)


def test_the_flow_leads_to_the_transceiver_that_answered(world: World) -> None:
    world.forwards(check(TO_ALICE), ALICE)
    world.forwards(check(TO_BOB), BOB)
    world.returns(success(), BOB)
    world.forwards(RTP, BOB)


# Moving


def test_a_flow_moves_once_its_transceiver_no_longer_answers(world: World) -> None:
    world.connects(TO_ALICE)
    world.ladder.waits_until(HOLD)
    world.forwards(check(TO_BOB), BOB)
    world.forwards(RTP, ALICE)
    world.returns(success(), BOB)
    world.forwards(RTP, BOB)
    assert world.relay.flows == 1


def test_a_flow_moves_at_once_from_a_transceiver_that_left_the_directory(world: World) -> None:
    world.connects(TO_ALICE)
    world.directory[TO_ALICE] = BOB
    world.forwards(check(TO_ALICE), BOB)
    world.returns(success(), BOB)
    world.forwards(RTP, BOB)


def test_a_check_goes_where_its_token_says_whatever_the_flow(world: World) -> None:
    world.connects(TO_ALICE)
    world.forwards(check(TO_BOB), BOB)
    world.forwards(RTP, ALICE)


# What is dropped, and nothing else


@pytest.mark.parametrize(
    ("datagram", "drop"),
    [
        (b"", Drop.EMPTY),
        (RTP, Drop.UNKNOWN_CLIENT),
        (INDICATION, Drop.UNKNOWN_CLIENT),
        (request(b"no colon"), Drop.UNKNOWN_CLIENT),
        (check()[:-1], Drop.UNKNOWN_CLIENT),
        (request(b"short:client"), Drop.BAD_TOKEN),
        (check(TO_ALICE, OTHER_KEYS), Drop.BAD_TOKEN),
        (check(Route(1, 3)), Drop.NO_ROUTE),
    ],
)
def test_a_client_without_a_good_token_is_dropped_and_not_remembered(world: World, datagram: bytes, drop: Drop) -> None:
    world.drops(datagram)
    assert world.relay.dropped == {drop: 1}
    assert (world.relay.flows, world.relay.unconfirmed) == (0, 0)


def test_a_bad_token_does_not_follow_the_flow(world: World) -> None:
    world.connects()
    world.drops(check(TO_ALICE, OTHER_KEYS))
    world.drops(b"")


@pytest.mark.parametrize(
    ("datagram", "source", "drop"),
    [
        (from_client(RTP), STRANGER, Drop.UNKNOWN_TRANSCEIVER),
        (from_client(RTP), (ALICE[0], 7001), Drop.UNKNOWN_TRANSCEIVER),
        (RTP, ALICE, Drop.MALFORMED_HEADER),
        (b"", ALICE, Drop.MALFORMED_HEADER),
        (from_client(b"")[:-1], ALICE, Drop.MALFORMED_HEADER),
        (from_client(b""), ALICE, Drop.EMPTY),
    ],
)
@pytest.mark.parametrize("connected", [False, True])
def test_what_is_not_of_a_transceiver_is_dropped(
    world: World, datagram: bytes, source: Address, drop: Drop, *, connected: bool
) -> None:
    if connected:
        world.connects()
    world.ladder.does(world.relay.returned, datagram, source)
    world.ladder.silent()
    assert world.relay.dropped == {drop: 1}


def test_a_transceiver_that_left_the_directory_is_not_heard(world: World) -> None:
    world.connects()
    del world.directory[TO_ALICE]
    world.ladder.does(world.relay.returned, from_client(RTP), ALICE)
    world.ladder.silent()


# The table


def test_a_silent_client_is_forgotten(world: World) -> None:
    world.connects()
    assert world.relay.deadline == IDLE
    world.ladder.waits_until(IDLE - 1)
    assert world.relay.flows == 1
    world.ladder.waits_until(IDLE)
    assert (world.relay.flows, world.relay.deadline) == (0, NEVER)
    world.drops(RTP)


def test_a_client_that_was_never_answered_is_forgotten(world: World) -> None:
    world.forwards(check(), ALICE)
    world.ladder.waits_until(IDLE)
    assert (world.relay.unconfirmed, world.relay.deadline) == (0, NEVER)


@pytest.mark.parametrize("datagram", [RTP, check(), INDICATION])
def test_a_client_that_speaks_is_remembered(world: World, datagram: bytes) -> None:
    world.connects()
    for _ in range(10):
        world.ladder.waits_until(world.ladder.now + IDLE - REFRESH)
        world.forwards(datagram, ALICE)
    assert world.relay.flows == 1


def test_a_busy_flow_is_remembered_for_nearly_the_whole_time(world: World) -> None:
    world.connects()
    world.ladder.waits_until(REFRESH)
    world.forwards(RTP, ALICE)  # too soon to be noted
    world.ladder.waits_until(IDLE - 0.001)
    world.forwards(RTP, ALICE)
    world.ladder.waits_until(2 * IDLE - 0.002)
    assert world.relay.flows == 1


def test_a_flow_is_remembered_from_its_confirmation_on(world: World) -> None:
    world.forwards(check(), ALICE)
    world.ladder.waits_until(10)
    world.connects(source=STRANGER)
    world.ladder.waits_until(20)
    world.returns(success(), ALICE)
    assert world.relay.deadline == 10 + IDLE
    world.ladder.waits_until(10 + IDLE)
    assert (world.relay.flows, world.relay.deadline) == (1, 20 + IDLE)


def test_an_unconfirmed_client_that_checks_again_outlives_one_that_does_not() -> None:
    world = World(limit=2)
    world.forwards(check(), ALICE)
    world.forwards(check(), ALICE, STRANGER)
    world.forwards(check(), ALICE)
    world.forwards(check(), ALICE, ("192.0.2.8", 5000))  # in place of the stranger
    world.returns(success(), ALICE, STRANGER)
    world.returns(success(), ALICE)
    world.drops(RTP, STRANGER)
    world.forwards(RTP, ALICE)


@pytest.mark.parametrize("sign_of_life", [RTP, check(), INDICATION])
def test_a_full_table_forgets_the_unconfirmed_first_and_then_the_longest_idle(sign_of_life: bytes) -> None:
    world = World(limit=3)
    clients = [(f"192.0.2.{number}", 5000) for number in range(6)]
    world.connects(source=clients[0])
    world.connects(source=clients[1])
    world.forwards(check(), ALICE, clients[2])
    world.forwards(check(), ALICE, clients[3])  # in place of 2
    world.drops(RTP, clients[2])
    assert world.relay.dropped == {Drop.UNKNOWN_CLIENT: 1}
    world.returns(success(), ALICE, clients[3])
    world.ladder.waits_until(REFRESH + 1)
    world.forwards(sign_of_life, ALICE, clients[0])
    world.connects(source=clients[4])  # in place of 1, for 0 has spoken since
    world.drops(RTP, clients[1])
    for client in (clients[0], clients[3], clients[4]):
        world.forwards(RTP, ALICE, client)
    assert (world.relay.flows, world.relay.unconfirmed) == (3, 0)


def test_addresses_that_look_the_same_in_a_header_share_one_flow(world: World) -> None:
    # Two zones of a link-local address: the header has no place for them.
    for zone in (2, 3, 2, 3):
        world.relay.receive(check(), ("fe80::7", 5000, 0, zone), 0.0)
    assert world.relay.unconfirmed == 1
    world.relay.expire(IDLE)
    assert world.relay.unconfirmed == 0


# Draining, closing, restarting, rotating


def test_a_draining_relay_takes_no_new_clients_and_keeps_the_others(world: World) -> None:
    world.connects()
    world.forwards(check(), ALICE, STRANGER)
    world.ladder.does(world.relay.drain)
    world.drops(check(), ("198.51.100.1", 1))
    assert world.relay.dropped == {Drop.DRAINING: 1}
    world.forwards(RTP, ALICE)
    world.forwards(check(), ALICE)
    world.returns(success(), ALICE, STRANGER)
    world.forwards(RTP, ALICE, STRANGER)


def test_a_closed_relay_counts_what_it_does_not_forward(world: World) -> None:
    world.connects()
    world.ladder.does(world.relay.close)
    world.drops(RTP)
    world.drops(check())
    world.ladder.does(world.relay.returned, from_client(RTP), ALICE)
    assert world.relay.dropped == {Drop.CLOSED: 3}


def test_a_restarted_relay_learns_from_the_next_check() -> None:
    before, after = World(), World()
    before.connects()
    before.forwards(RTP, ALICE)
    after.drops(RTP)
    after.returns(RTP, ALICE)
    after.connects()
    after.forwards(RTP, ALICE)


def test_keys_can_be_replaced(world: World) -> None:
    world.drops(check(TO_ALICE, OTHER_KEYS))
    world.relay.keys = OTHER_KEYS
    world.forwards(check(TO_ALICE, OTHER_KEYS), ALICE)


# The contract, on each side


VALID = [check(TO_ALICE), DTLS, RTP, check(TO_BOB), INDICATION, request(f"{ufrag(TO_ALICE)}:other".encode())]


class TestTheClientsSide(Contract):
    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        # Nothing goes to a client here: what is bounded is what goes to transceivers, headers and all.
        return make_relay(outbox, outbox)

    def valid(self) -> list[bytes]:
        return VALID


class TestTheClientsSideOnceConfirmed(Contract):
    proves_source = True

    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        relay = make_relay(outbox, outbox)
        relay.receive(check(), PEER, 0.0)
        relay.returned(from_client(success()), ALICE, 0.0)
        outbox.clear()
        return relay

    def valid(self) -> list[bytes]:
        return VALID


class TestTheTransceiversSide(Contract):
    proves_source = True

    def make(self, outbox: Outbox, events: list[Event]) -> Machine:
        relay = _Returning(outbox, KEYS)
        relay.core.receive(check(), CLIENT, 0.0)
        outbox.clear()
        return relay

    def valid(self) -> list[bytes]:
        return [from_client(datagram, client) for datagram in (success(), RTP, DTLS) for client in (CLIENT, STRANGER)]


class _Returning:
    """A relay seen from the inner side, to which every address is a transceiver's."""

    def __init__(self, outbox: Outbox, keys: TokenKeys) -> None:
        self.core: RelayCore = make_relay(outbox, outbox, directory=_Everybody(ROUTES), keys=keys)
        self.expire = self.core.expire
        self.close = self.core.close

    @property
    def deadline(self) -> float:
        return self.core.deadline

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        self.core.returned(datagram, source, now)


class _Everybody(Shards):
    def __contains__(self, address: object) -> bool:
        return True
