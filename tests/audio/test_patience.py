"""The patience "auto" on simulated traces: it converges, is bounded, and does not wait for what never comes."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.stand_in import FRAME, StandIn, payload
from trioice.audio.jitter_buffer import JitterBuffer
from trioice.audio.patience import LEAST, MOST, UNKNOWN, AutoPatience
from trioice.rtp import build


def repairs(rng: random.Random, rtt: float, fails: float = 0.19, jitter: float = 0.01) -> Iterator[float]:
    """How long retransmissions take that are asked for again each round trip, of which so many fail, one way or the other."""
    while True:
        attempts = 1
        while rng.random() < fails:
            attempts += 1
        yield attempts * (rtt + 0.01) + rng.uniform(0, jitter)


def watch(patience: AutoPatience, times: Iterator[float], gaps: int) -> int:
    """Let gaps be repaired at these times; how many were given up too early."""
    missed = 0
    for _ in range(gaps):
        time = next(times)
        if time < patience.seconds:
            patience.repaired(time)
        else:
            missed += 1
            patience.gave_up()
            patience.came_too_late(time)
    return missed


def test_it_begins_with_what_the_round_trip_says() -> None:
    assert AutoPatience().seconds == UNKNOWN
    assert AutoPatience(0.05).seconds == pytest.approx(0.17)
    assert AutoPatience(0.0).seconds == LEAST
    assert AutoPatience(5.0).seconds == MOST


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rtt", [0.02, 0.1, 0.2])
def test_it_covers_almost_all_repairs_that_come(seed: int, rtt: float) -> None:
    patience, times = AutoPatience(), repairs(random.Random(seed), rtt)
    watch(patience, times, 200)
    assert watch(patience, times, 2000) <= 0.015 * 2000
    assert 2 * rtt <= patience.seconds <= min(MOST, 7 * (rtt + 0.02))


def test_it_grows_when_the_path_gets_longer_and_shrinks_when_it_gets_shorter() -> None:
    rng = random.Random(1)
    patience = AutoPatience(0.03)
    watch(patience, repairs(rng, 0.03, fails=0.0), 200)
    assert patience.seconds < 0.1
    far = repairs(rng, 0.3, fails=0.0)
    assert watch(patience, far, 50) <= 3
    assert 0.32 < patience.seconds < 0.36
    watch(patience, repairs(rng, 0.03, fails=0.0), 240)
    assert patience.seconds < 0.1


def test_one_slow_repair_is_forgotten_after_some_dozens() -> None:
    patience = AutoPatience(0.02)
    watch(patience, iter([0.03] * 200), 200)
    usual = patience.seconds
    patience.repaired(0.9)
    assert patience.seconds > 0.9
    watch(patience, iter([0.03] * 40), 40)
    assert patience.seconds == usual


def test_it_does_not_wait_for_what_never_comes() -> None:
    patience = AutoPatience()
    for _ in range(20):
        patience.gave_up()
    assert patience.seconds == LEAST


def test_it_waits_again_when_what_was_given_up_is_seen_to_come() -> None:
    patience = AutoPatience()
    for _ in range(1000):
        patience.gave_up()
    watch(patience, iter([0.11] * 10), 10)
    assert patience.seconds == pytest.approx(0.13)


def test_gaps_that_are_never_filled_do_not_change_how_long_the_others_are_waited_for() -> None:
    patience, rng = AutoPatience(), random.Random(2)
    times = repairs(rng, 0.05, fails=0.0, jitter=0.005)
    for _ in range(300):
        if rng.random() < 0.7:
            patience.gave_up()
        else:
            watch(patience, times, 1)
    assert 0.06 < patience.seconds <= 0.1


def test_what_comes_after_the_most_is_nothing_to_wait_for() -> None:
    patience = AutoPatience()
    for _ in range(100):
        patience.gave_up()
        patience.came_too_late(1.5)
    assert patience.seconds == LEAST


@given(seen=st.lists(st.tuples(st.integers(0, 2), st.floats(-1, 1e9)), max_size=200), rtt=st.none() | st.floats(0, 100))
def test_it_is_bounded_whatever_it_is_told(seen: list[tuple[int, float]], rtt: float | None) -> None:
    patience = AutoPatience(rtt)
    for kind, after in seen:
        if kind == 0:
            patience.repaired(after)
        elif kind == 1:
            patience.came_too_late(after)
        else:
            patience.gave_up()
        assert LEAST <= patience.seconds <= MOST


def test_hours_of_observations_leave_it_as_precise_as_before() -> None:
    patience = AutoPatience()
    for _ in range(30_000):
        patience.gave_up()
        patience.repaired(0.2)
    assert patience.seconds == pytest.approx(0.22)
    watch(patience, iter([0.04] * 240), 240)
    assert patience.seconds == pytest.approx(0.06)


@pytest.mark.parametrize(("rtt", "least", "most"), [(0.03, 0.05, 0.2), (0.15, 0.3, 0.9)])
def test_in_a_jitter_buffer_it_finds_the_patience_that_the_path_needs(rtt: float, least: float, most: float) -> None:
    """A tenth lost each way, and asked for again each round trip for up to a second."""
    rng = random.Random(7)
    times = repairs(rng, rtt)
    arrivals = []
    for number in range(30_000):
        late = next(times) if rng.random() < 0.1 else 0.0
        arrivals.append((number * 0.02 + rng.uniform(0, 0.005) + late, number))
    strategy = AutoPatience()
    buffer = JitterBuffer(StandIn(), 111, patience=strategy)
    lost = 0
    for now, number in sorted(arrivals):
        while buffer.deadline <= now:
            buffer.expire(buffer.deadline)
        buffer.receive(build(111, False, number, number * FRAME, 7, payload(number)), now)
        while buffer.ready:
            lost += buffer.ready.popleft()[4]
    assert least < strategy.seconds < most
    assert lost < 0.002 * 30_000
