import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioice.sequence import MAXIMUM_INDEX, ReplayWindow, extend


@given(st.integers(0, MAXIMUM_INDEX), st.integers(-0x7FFF, 0x7FFF))
def test_extend_finds_every_index_nearer_than_half_a_cycle(highest: int, distance: int) -> None:
    assert extend((highest + distance) & 0xFFFF, highest) == highest + distance


@pytest.mark.parametrize("highest", [0, 1, 0x7FFF, 0x8000, 0xFFFF, 5 << 16])
def test_of_two_indices_equally_near_extend_takes_the_one_in_the_cycle_of_the_highest(highest: int) -> None:
    index = extend((highest + 0x8000) & 0xFFFF, highest)
    assert abs(index - highest) == 0x8000
    assert index >> 16 == highest >> 16


def test_a_window_admits_each_index_once() -> None:
    window = ReplayWindow(64)
    for index in (5, 3, 4, 90):
        assert window.admits(index)
        window.note(index)
        assert not window.admits(index)


def test_a_window_refuses_what_lies_behind_it() -> None:
    window = ReplayWindow(64)
    window.note(100)
    assert window.admits(100 - 63)
    assert not window.admits(100 - 64)
    assert not window.admits(-1)


def test_a_window_restored_at_its_highest_refuses_all_up_to_it() -> None:
    window = ReplayWindow(64, highest=100)
    assert [index for index in range(200) if window.admits(index)] == list(range(101, 200))
    window.note(101)
    assert [index for index in range(110) if window.admits(index)] == list(range(102, 110))


@pytest.mark.parametrize("seed", range(20))
def test_a_window_is_a_set_of_what_was_seen(seed: int) -> None:
    rng = random.Random(seed)
    window, seen, highest = ReplayWindow(32), set[int](), -1
    for _ in range(2000):
        index = max(0, highest + rng.randrange(-40, 40))
        expected = index not in seen and index > highest - 32
        assert window.admits(index) == expected
        if expected:
            window.note(index)
            seen.add(index)
            highest = max(highest, index)
