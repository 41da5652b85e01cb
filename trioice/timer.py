"""Timers: how a task waits for a moment when it does so hundreds of times a second.

`trio.sleep` unwinds an exception each time, and wakes with epoll, which counts whole milliseconds. A timerfd (timerfd_create(2))
is waited for like a socket: it wakes fifty microseconds late instead of half a millisecond, for two thirds of the CPU time. It
knows nothing of a simulated clock, so `timer` looks at the clock that trio runs with, and all else waits by trio's own deadlines.
"""

import ctypes
import io
import math
import os
import sys
import time
from typing import Final, Protocol

import trio

from trioice.sansio import NEVER

NANOSECONDS: Final = 1_000_000_000


class Timer(Protocol):
    """One moment to wait for. For one waiting task; anyone may set it meanwhile."""

    def set(self, deadline: float) -> None:
        """Let `wait` return at this time of `trio.current_time()`, past or future; `NEVER` for not at all."""

    async def wait(self) -> None:
        """Wait for the time that is set. It may return early after a `set` that came as it woke: look at the clock."""

    def close(self) -> None:
        """Release it; `wait` must have no waiter. Harmless when repeated."""


class ClockTimer:
    """By a deadline of trio's: on any clock, simulated ones above all."""

    def __init__(self) -> None:
        self._deadline = NEVER
        self._scope: trio.CancelScope | None = None

    def set(self, deadline: float) -> None:
        """Let `wait` return at this time."""
        self._deadline = deadline
        if self._scope is not None:
            self._scope.deadline = deadline

    async def wait(self) -> None:
        """Wait for the time that is set."""
        with trio.CancelScope(deadline=self._deadline) as self._scope:
            try:
                await trio.sleep_forever()
            finally:
                self._scope = None

    def close(self) -> None:
        """There is nothing to release."""


class KernelTimer:
    """By a timerfd: on the system's clock, on Linux."""

    def __init__(self) -> None:
        """Raises OSError if the system has none, or none left."""
        if _LIBC is None:
            raise OSError("this system has no timerfd")
        fd = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._file = io.FileIO(fd)
        self._spec = (ctypes.c_long * 4)()  # struct itimerspec: interval and value, each in seconds and nanoseconds
        self._pointer = ctypes.addressof(self._spec)

    def set(self, deadline: float) -> None:
        """Let `wait` return at this time."""
        nanoseconds = 0  # disarms it
        if deadline != NEVER:
            nanoseconds = max(1, math.ceil(max(0.0, deadline - trio.current_time()) * NANOSECONDS))
        self._spec[2], self._spec[3] = divmod(nanoseconds, NANOSECONDS)
        assert _LIBC is not None
        # It also forgets that it was due, so that nobody need read it.
        _LIBC.timerfd_settime(self._file.fileno(), 0, self._pointer, None)

    async def wait(self) -> None:
        """Wait for the time that is set."""
        await trio.lowlevel.wait_readable(self._file)

    def close(self) -> None:
        """Release the descriptor."""
        self._file.close()


def timer() -> Timer:
    """The best timer for the clock that trio runs with here."""
    clock = trio.lowlevel.current_clock()
    # A second of a simulated clock is not a second; of MockClock's, without a rate, it is for ever.
    is_real = abs(clock.deadline_to_sleep_time(clock.current_time() + 1.0) - 1.0) < 0.1
    return system_timer() if is_real else ClockTimer()


def system_timer() -> Timer:
    """The best timer for the system's clock, for those who know that trio runs with it."""
    try:
        return KernelTimer()
    except OSError:
        return ClockTimer()


def _load() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        libc.timerfd_settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        libc.timerfd_create.argtypes = (ctypes.c_int, ctypes.c_int)
    except AttributeError:
        return None
    return libc


_LIBC: Final = _load()
