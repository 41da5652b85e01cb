"""What an attacker may try on a relay, by name. None of it may divert, stop or multiply another client's media."""

import random

import pytest

from tests.relay.world import (
    ALICE,
    BOB,
    CLIENT,
    DTLS,
    KEYS,
    OTHER_KEYS,
    RTP,
    STRANGER,
    TO_ALICE,
    TO_BOB,
    World,
    check,
    from_client,
    request,
    success,
    ufrag,
)
from trioice import stun
from trioice.relay.core import HOLD, Drop
from trioice.relay.token import Route, TokenKey, TokenKeys


@pytest.fixture
def world() -> World:
    return World()


# 18. Unknown ufrag, malformed STUN, non-STUN first packet


def test_a_flood_of_junk_is_dropped_and_leaves_nothing_behind(world: World) -> None:
    rng = random.Random(18)
    junk = [DTLS, RTP, b"\x00", b"\x00\x01", check()[:21], request(b"unknown:x"), request(b":"), rng.randbytes(200)]
    world.connects()
    for number in range(10_000):
        world.ladder.receives(rng.choice(junk), (f"198.51.100.{number % 256}", number))
    assert (world.relay.flows, world.relay.unconfirmed) == (1, 0)
    assert world.relay.dropped.total() == 10_000
    world.forwards(RTP, ALICE)


# 19. Forged routing token


def test_a_forged_token_cannot_choose_a_transceiver(world: World) -> None:
    rng = random.Random(19)
    token = ufrag(TO_ALICE)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for _ in range(2_000):
        forged = list(token)
        for position in rng.sample(range(23), rng.randrange(1, 5)):
            forged[position] = rng.choice(alphabet)
        if "".join(forged) != token:
            world.drops(request("".join(forged).encode() + b":x"), STRANGER)
    for rotation in range(7):
        keys = TokenKeys([TokenKey(rotation, rng.randbytes(16))])
        world.drops(check(TO_BOB, keys), STRANGER)
    assert set(world.relay.dropped) == {Drop.BAD_TOKEN}


def test_a_token_leads_to_the_directory_or_nowhere(world: World) -> None:
    for route in (Route(0, 0), Route(1, 0), Route(2, 1), Route(0xFFFF, 0xFFFFFFFF)):
        world.drops(check(route))
    assert world.relay.dropped == {Drop.NO_ROUTE: 4}


# 20. Flow-table flood


def test_a_flood_of_checks_from_forged_sources_displaces_no_confirmed_flow(world: World) -> None:
    world.connects()
    for number in range(10_000):
        world.forwards(check(TO_BOB), BOB, (f"198.51.100.{number % 256}", 1024 + number))
    assert (world.relay.flows, world.relay.unconfirmed) == (1, 99)
    world.forwards(RTP, ALICE)


def test_a_full_table_lets_a_new_client_in_beside_a_flood(world: World) -> None:
    for number in range(200):
        world.forwards(check(TO_BOB), BOB, ("198.51.100.1", number))
    world.forwards(check(TO_ALICE), ALICE)
    for number in range(50):  # what arrives within the client's round trip
        world.forwards(check(TO_BOB), BOB, ("198.51.100.2", number))
    world.returns(success(), ALICE)
    world.forwards(DTLS, ALICE)


def test_a_client_that_was_displaced_is_back_at_its_next_check(world: World) -> None:
    world.connects()
    for number in range(150):  # more calls than the table has room for, all of them real
        world.connects(TO_BOB, ("198.51.100.1", number))
    world.drops(RTP)
    world.connects()
    world.forwards(RTP, ALICE)


def test_a_rebound_client_is_back_at_its_next_check(world: World) -> None:
    rebound = (CLIENT[0], CLIENT[1] + 1)
    world.connects()
    world.drops(RTP, rebound)
    world.connects(source=rebound)
    world.forwards(RTP, ALICE, rebound)


# A forged source with a valid token of its own


def test_a_forged_check_without_the_password_does_not_divert_a_flow(world: World) -> None:
    world.connects(TO_ALICE)
    world.forwards(check(TO_BOB), BOB)  # Bob's transceiver is silent: the check is not authentic
    world.forwards(RTP, ALICE)
    world.ladder.waits_until(HOLD + 1)
    world.forwards(check(TO_BOB), BOB)
    world.forwards(RTP, ALICE)


def test_a_forged_source_with_a_valid_token_of_its_own_cannot_divert_a_victims_media(world: World) -> None:
    """The attacker has a call with Bob's transceiver, and knows its password: Bob answers his checks, to the victim."""
    world.connects(TO_ALICE)
    for second in range(1, 120):
        world.ladder.waits_until(float(second))
        if second % 6 == 0:  # the victim's own check (RFC 7675)
            world.connects(TO_ALICE)
        world.forwards(check(TO_BOB), BOB)
        world.returns(success(), BOB)
        world.forwards(RTP, ALICE)
    assert world.relay.flows == 1


def test_a_forged_source_cannot_hold_a_new_client_whose_transceiver_answers_first(world: World) -> None:
    world.forwards(check(TO_BOB), BOB)  # forged, and on its way to Bob
    world.connects(TO_ALICE)
    world.returns(success(), BOB)
    world.forwards(DTLS, ALICE)


def test_a_flow_whose_call_is_over_can_be_held_by_no_forger(world: World) -> None:
    """A forger can only move a flow that is not used any more; the next call of that address has it after `HOLD` seconds."""
    world.connects(TO_ALICE)
    world.ladder.waits_until(HOLD)
    world.connects(TO_BOB)
    world.ladder.waits_until(2 * HOLD)
    world.connects(TO_ALICE)
    world.forwards(RTP, ALICE)


# Reflection


def test_nothing_goes_to_a_client_that_no_transceiver_sent(world: World) -> None:
    rng = random.Random(12)
    valid = [check(TO_ALICE), check(TO_BOB), check(TO_ALICE, OTHER_KEYS), RTP, DTLS, success()]
    for _ in range(1_000):
        datagram = bytearray(rng.choice(valid))
        datagram[rng.randrange(len(datagram))] ^= 1 << rng.randrange(8)
        before = world.relay.inner_datagrams
        world.ladder.receives(bytes(datagram), STRANGER)
        if world.relay.inner_datagrams > before:
            assert world.ladder.sends(bytes, ALICE if KEYS.open(_ufrag(bytes(datagram))) == TO_ALICE else BOB)
    assert world.relay.outer_datagrams == 0


def test_an_outsider_on_the_inner_side_reaches_no_client(world: World) -> None:
    world.connects()
    world.forwards(check(TO_BOB), BOB, STRANGER)
    for address in (STRANGER, CLIENT, (ALICE[0], ALICE[1] + 1), ("10.0.0.3", 7000)):
        for datagram in (RTP, success()):
            world.ladder.does(world.relay.returned, from_client(datagram), address)
            world.ladder.does(world.relay.returned, from_client(datagram, STRANGER), address)
    assert world.relay.dropped == {Drop.UNKNOWN_TRANSCEIVER: 16}
    assert world.relay.unconfirmed == 1


def _ufrag(datagram: bytes) -> bytes:
    return stun.server_ufrag(datagram) or b""
