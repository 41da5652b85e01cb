"""Handshakes of DTLS 1.3 over bad networks: loss, reordering, duplication and small datagrams, seeded; and one datagram lost at a time."""

from functools import partial
from typing import Any

import pytest

from tests.dtls.pairs import Pair, Pair13, failure, opened_by, said_by, under_way
from tests.harness.ladder import Ladder
from trioice.dtls import LEAST_TIMEOUT, VERSION_1_2, VERSIONS, State
from trioice.dtls.ciphers13 import Protection13
from trioice.dtls.flights import TRANSMISSIONS_TO_THE_PRESENT
from trioice.dtls.groups import SECP256R1, X25519, X25519MLKEM768
from trioice.dtls.record import ACK
from trioice.errors import Misbehaviour
from trioice.sansio import NEVER, Failed

BAD: dict[str, Any] = {"duplication": 0.1, "jitter": 0.1}


def is_quiet(pair: Pair) -> bool:
    return pair.client.deadline == pair.server.deadline == NEVER


@pytest.mark.parametrize("first", range(0, 500, 50))
def test_a_handshake_at_forty_percent_loss_completes_within_a_minute(first: int) -> None:
    for seed in range(first, first + 50):
        pair = Pair13(seed, mtu=600, groups=(X25519,))
        pair.client.start(0.0)
        link = pair.link(seed, mtu=600, loss=0.4, **BAD)
        assert pair.connects(link, 60.0), f"seed {seed}"
        assert (len(pair.client_events), len(pair.server_events)) == (1, 2), f"seed {seed}"
        assert link.run_until(120.0, partial(is_quiet, pair)), f"seed {seed}"


@pytest.mark.parametrize("mtu", [256, 600, 1200])
def test_a_handshake_with_a_post_quantum_group_completes_too(mtu: int) -> None:
    for seed in range(40):
        pair = Pair13(seed, mtu=mtu)
        pair.client.start(0.0)
        assert pair.connects(pair.link(seed, mtu=mtu, loss=0.4, **BAD), 60.0), f"seed {seed}"
        assert pair.client.group == X25519MLKEM768


def test_a_handshake_with_cookie_and_another_group_completes_over_a_bad_network() -> None:
    # Nobody repeats a lost HelloRetryRequest but the client, eight times at most: 40 % would be too much to ask.
    for seed in range(60):
        pair = Pair13(seed, mtu=600, server={"cookie": seed % 2 == 0, "groups": (SECP256R1,)})
        pair.client.start(0.0)
        assert pair.connects(pair.link(seed, mtu=600, loss=0.2, **BAD), 60.0), f"seed {seed}"
        assert pair.client.group == SECP256R1


@pytest.mark.parametrize(("client", "server"), [(VERSIONS, (VERSION_1_2,)), ((VERSION_1_2,), VERSIONS)], ids=str)
def test_mixed_versions_find_each_other_over_a_bad_network(client: tuple[int, ...], server: tuple[int, ...]) -> None:
    for seed in range(40):
        pair = Pair13(seed, mtu=600, client={"versions": client}, server={"versions": server})
        pair.client.start(0.0)
        assert pair.connects(pair.link(seed, mtu=600, loss=0.4, **BAD), 60.0), f"seed {seed}"
        assert pair.client.version == VERSION_1_2


@pytest.mark.parametrize("server", [{}, {"cookie": True}, {"groups": (SECP256R1,)}], ids=str)
def test_any_one_datagram_of_the_handshake_may_be_lost(server: dict[str, Any]) -> None:
    total, number = 0, -1
    while number < total:
        number += 1
        carried: list[bytes] = []

        def carries(datagram: bytes, *_: object, carried: list[bytes] = carried, number: int = number) -> bool:
            carried.append(datagram)
            return len(carried) - 1 != number

        pair = Pair13(mtu=400, server=server)
        link = pair.link(mtu=400)
        link.carries = carries
        pair.client.start(0.0)
        assert pair.connects(link, 2.0), f"datagram {number}"
        assert link.run_until(3.0, partial(is_quiet, pair)), f"datagram {number}"
        total = max(total, len(carried))
    assert total > 10


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mtu", [256, 300, 600, 1200])
def test_datagrams_of_a_flight_come_in_any_order(reverse: bool, mtu: int) -> None:
    pair = Pair13(mtu=mtu)
    order = -1 if reverse else 1
    said = pair.start()
    for _ in range(3):
        answers = pair.to_server(said[::order])
        said = pair.to_client(answers[::order])
    assert pair.are_agreed


def test_records_of_a_flight_come_in_any_order() -> None:
    for turn in range(6):
        pair = Pair13(groups=(X25519,))
        pair.to_server(pair.start())
        hello, *others = under_way(pair.server)
        sealed = [said_by(pair.server, message) for message in others]
        hello_record = said_by(pair.server, hello)
        shuffled = sealed[turn:] + sealed[:turn]
        shuffled.insert(turn, hello_record)  # what comes before the hello is kept until there are keys
        pair.to_client(shuffled[: turn + 1])
        pair.to_client(shuffled[turn + 1 :])
        assert pair.client.state is State.CONNECTED, turn


def test_all_is_well_when_everything_is_doubled() -> None:
    pair = Pair13(mtu=600)
    pair.client.start(0.0)
    link = pair.link(mtu=600, duplication=1.0)
    assert pair.connects(link, 1.0)
    link.run_until(10.0)
    # What the network doubles is a replay or a message that was read, not a reason to talk.
    assert link.sent <= 12
    assert is_quiet(pair)


# Flights, one by one


def test_the_final_flight_is_repeated_until_it_is_acknowledged() -> None:
    pair = Pair13(groups=(X25519,))
    pair.server_waits()
    for _ in range(5):
        pair.now = pair.client.deadline
        pair.client.expire(pair.now)
        pair.from_client()  # lost as well
    pair.now = pair.client.deadline
    pair.client.expire(pair.now)
    answer = pair.to_server(pair.from_client())
    assert pair.are_agreed
    assert pair.client.deadline < NEVER
    pair.to_client(answer)
    assert pair.client.deadline == NEVER


def test_a_server_whose_flight_is_not_answered_says_it_again_and_gives_up_in_the_end() -> None:
    pair = Pair13(groups=(X25519,))
    pair.to_server(pair.start())
    times = []
    while not any(isinstance(event, Failed) for event in pair.server_events):
        times.append(pair.server.deadline)
        pair.server.expire(pair.server.deadline)
    assert times == [0.25, 0.75, 1.75, 3.75, 6.75, 9.75, 12.75, 15.75]
    assert failure(pair.server_events) is Misbehaviour.HANDSHAKE_TIMEOUT
    assert len(pair.from_server()) == 7


def test_a_client_that_is_never_acknowledged_gives_up_within_a_minute_or_so() -> None:
    pair = Pair13(groups=(X25519,))
    sent = len(pair.server_waits())
    while pair.client.state is State.CONNECTED:
        pair.now = pair.client.deadline
        pair.client.expire(pair.now)
        sent += len(pair.from_client())
    assert sent == TRANSMISSIONS_TO_THE_PRESENT
    assert 55 < pair.now < 65
    assert failure(pair.client_events) is Misbehaviour.HANDSHAKE_TIMEOUT


def test_a_hello_under_loss_is_answered_by_what_was_said_before() -> None:
    pair = Pair13(groups=(X25519,))
    hello = pair.start()
    first = pair.to_server(hello)
    pair.now = 0.25
    pair.client.expire(pair.now)
    again = pair.to_server(pair.from_client())
    for datagrams in (first, again):
        other = Pair13(groups=(X25519,))
        other.start()
        other.to_client(datagrams)
        assert other.client.state is State.CONNECTED
    assert set(first).isdisjoint(again)  # sealed under new numbers


def test_a_server_that_hears_the_flight_but_not_its_end_asks_for_the_rest() -> None:
    pair = Pair13(groups=(X25519,), mtu=300)
    *heard, lost = pair.server_waits()
    pair.now = 0.1
    assert pair.to_server(heard) == []
    ladder = Ladder(pair.server, pair.server_outbox, pair.server_events, source=pair.server.peer, now=pair.now)
    pair.server_events.clear()
    ladder.waits_until(1.0)
    assert ladder.now == pytest.approx(0.1 + pair.server._flights.timeout / 4)
    [record] = opened_by(pair.client, [ladder.sends()])
    assert record.kind == ACK
    pair.now = ladder.now + 0.01
    pair.to_server([lost])
    assert pair.are_agreed


@pytest.mark.parametrize(("rtt", "timeout"), [(0.0, 0.05), (0.01, 0.05), (0.1, 0.2), (0.2, 0.4)], ids=str)
def test_the_final_flight_waits_twice_the_round_trip_that_the_hello_showed(rtt: float, timeout: float) -> None:
    pair = Pair13(groups=(X25519,))
    flight = pair.to_server(pair.start())
    pair.now = rtt
    pair.to_client(flight)
    assert pair.client.deadline == pytest.approx(rtt + timeout)
    assert pair.client.deadline - rtt >= LEAST_TIMEOUT


def test_no_number_is_used_twice_under_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[int, bytes]] = []
    seal = Protection13.seal

    def noted(protection: Protection13, sequence: int, header: bytes, inner: bytes) -> bytes:
        used.append((sequence, protection._key + protection._iv.to_bytes(12, "big")))
        return seal(protection, sequence, header, inner)

    monkeypatch.setattr(Protection13, "seal", noted)
    for seed in range(20):
        pair = Pair13(seed, mtu=300, groups=(X25519,))
        pair.client.start(0.0)
        link = pair.link(seed, mtu=300, loss=0.4, **BAD)
        assert pair.connects(link, 60.0)
        for machine in (pair.client, pair.server):
            machine._renew(link.now)
            machine.send(b"data", link.now)
        assert link.run_until(link.now + 60, partial(is_quiet, pair))
        for machine in (pair.client, pair.server):
            machine.send(b"data", link.now)
            machine.close(link.now)
    assert len(used) == len(set(used)) > 500
