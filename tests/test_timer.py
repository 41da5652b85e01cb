"""Timers: a moment to wait for, by the kernel or by trio's clock."""

import math

import pytest
import trio
import trio.testing

from trioice import timer as module
from trioice.sansio import NEVER
from trioice.timer import ClockTimer, KernelTimer, system_timer, timer

has_timerfd = pytest.mark.skipif(module._LIBC is None, reason="this system has no timerfd")

KINDS = [pytest.param(KernelTimer, marks=has_timerfd), ClockTimer]


async def test_a_simulated_clock_is_waited_for_exactly(autojump_clock: trio.testing.MockClock) -> None:
    it = timer()
    for deadline in (0.1, 0.3, 3600.0, 3600.005):
        it.set(deadline)
        await it.wait()
        assert trio.current_time() == pytest.approx(deadline, abs=1e-9)
    it.close()


async def test_a_simulated_clock_gets_no_timer_of_the_kernel(autojump_clock: trio.testing.MockClock) -> None:
    assert isinstance(timer(), ClockTimer)


@has_timerfd
async def test_the_system_s_clock_gets_a_timer_of_the_kernel() -> None:
    it = timer()
    assert isinstance(it, KernelTimer)
    it.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_timer_is_never_early(kind: type[KernelTimer] | type[ClockTimer]) -> None:
    it = kind()
    with trio.fail_after(5):
        for _ in range(20):
            deadline = trio.current_time() + 0.001
            it.set(deadline)
            await it.wait()
            assert trio.current_time() >= deadline - 1e-8  # what trio's clock rounds off
    it.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_time_that_has_passed_is_not_waited_for(kind: type[KernelTimer] | type[ClockTimer]) -> None:
    it = kind()
    with trio.fail_after(5):
        for deadline in (trio.current_time(), trio.current_time() - 7, -math.inf):
            it.set(max(deadline, 0.0))
            await it.wait()
    it.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_waiting_task_is_woken_by_a_nearer_time(
    kind: type[KernelTimer] | type[ClockTimer], nursery: trio.Nursery
) -> None:
    it = kind()
    woken = trio.Event()

    async def wait() -> None:
        await it.wait()
        woken.set()

    it.set(NEVER)
    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert not woken.is_set()
    it.set(trio.current_time())
    with trio.fail_after(5):
        await woken.wait()
    it.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancelled_wait_leaves_a_timer_as_good_as_new(kind: type[KernelTimer] | type[ClockTimer]) -> None:
    it = kind()
    it.set(NEVER)
    with trio.move_on_after(0.01) as scope:
        await it.wait()
    assert scope.cancelled_caught
    it.set(trio.current_time() + 0.001)
    with trio.fail_after(5):
        await it.wait()
    it.set(NEVER)  # what was due once is forgotten
    with trio.move_on_after(0.01) as scope:
        await it.wait()
    assert scope.cancelled_caught
    it.close()


@has_timerfd
async def test_a_closed_timer_touches_no_descriptor_of_others() -> None:
    it, other = KernelTimer(), KernelTimer()
    it.close()
    it.close()
    with pytest.raises(ValueError, match="closed"):
        it.set(1.0)
    other.set(0.0)
    with trio.fail_after(5):
        await other.wait()
    other.close()


async def test_a_system_without_timerfd_waits_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIBC", None)
    assert isinstance(system_timer(), ClockTimer)
    assert isinstance(timer(), ClockTimer)
