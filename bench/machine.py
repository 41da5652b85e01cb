"""The machine that figures come from: its cores and speed, CPU time of other processes, and the tables to print."""

import atexit
import ctypes
import os
import platform
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOAD_CORE: Final = min(os.sched_getaffinity(0))
SERVER_CORE: Final = max(os.sched_getaffinity(0))
"""Where there are two cores, the load does not run on the server's."""

ECHOES: Final = 20_000
"""Datagrams of the probe: about a tenth of a second of work."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


def describe() -> str:
    """One line about this machine, with its speed and how busy it is just now."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}; "
        f"load average {os.getloadavg()[0]:.2f}; a bare datagram over loopback costs {loopback_cost():.1f} µs"
    )


def loopback_cost() -> float:
    """CPU µs of one sendto and one recvfrom of 130 octets over loopback: what no Python program can go below here.

    The speed of a virtual machine drifts by a quarter and more; figures of two days are compared as ratios to this.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        to, datagram = sock.getsockname(), bytes(130)
        began = time.process_time()
        for _ in range(ECHOES):
            sock.sendto(datagram, to)
            sock.recvfrom(2048)
        return (time.process_time() - began) / ECHOES * 1e6


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far, to the nanosecond; /proc/PID/stat has hundredths. OSError when there is none.

    The kernel's part is not told apart: it is guessed by where the kernel's ticks fall, and wake-ups fall beside them.
    """
    clock = ctypes.c_int()
    if error := _libc.clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(error, f"process {pid}: {os.strerror(error)}")
    return time.clock_gettime(clock.value)


def busy_seconds() -> float:
    """CPU time that all cores have spent on anything so far, stolen time included, in hundredths of a second (proc(5))."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def prioritize(niceness: int) -> None:
    """Give this process, and what it starts from now on, a priority from -20 to 19; PermissionError where that is not ours to choose.

    Where the kernel groups processes by session (sched(7), autogroup), it is the group's priority that others feel. It is set back
    at the end, as a shell may share it.
    """
    os.setpriority(os.PRIO_PROCESS, 0, niceness)
    autogroup = Path("/proc/self/autogroup")
    if autogroup.exists():
        before = autogroup.read_text().split()[-1]  # "/autogroup-7 nice 0"
        autogroup.write_text(str(niceness))
        atexit.register(autogroup.write_text, before)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this thread on one core, and with it every process that it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median, and in brackets the least and the most."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def quantiles(values: Sequence[float]) -> str:
    """Give the median and the 99 % quantile."""
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2]:.2f}, {ordered[len(ordered) * 99 // 100]:.2f}"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out rows under a head: the first column to the left, the others to the right."""
    cells = [tuple(map(str, row)) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join((f"\n{title}", rule, lines[0], rule, *lines[1:], rule))
