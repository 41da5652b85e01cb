"""Network namespaces that are ours alone: made, entered and removed, those of a run that died included.

A name tells who made it, `trioice-lab-PID-START-ROLE`: a process number may come again, but not with the same start. So a later
run knows whose namespaces nobody will remove any more. All processes in a namespace of ours were started by us, or by what we
started; at its end those that are left are ended one by one.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

PREFIX: Final = "trioice-lab"
NAMED: Final = Path("/run/netns")
"""Where `ip` keeps the namespaces that have a name (ip-netns(8))."""

PATIENCE: Final = 5.0
"""Seconds in which killed processes must have left a namespace: it lives on while one is in it."""

CLONE_NEWNET: Final = 0x40000000  # linux/sched.h; the os module has setns only from Python 3.12 on

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """No lab can be made here; the message says why, in one line."""


def ip(*arguments: str, commands: str | None = None) -> str:
    """Run `ip`, with `commands` for its -batch; what it printed. Raises Unavailable with its own complaint."""
    executable = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if executable is None:
        raise Unavailable("the lab needs `ip`: apt-get install iproute2")
    done = subprocess.run([executable, *arguments], input=commands, capture_output=True, text=True, check=False)
    if done.returncode:
        complaint = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        raise Unavailable(f"ip {' '.join(arguments)}: {complaint}")
    return done.stdout


@contextmanager
def namespaces(*roles: str) -> Iterator[tuple[str, ...]]:
    """Make a namespace for each role, and remove them whatever happens. Raises Unavailable where that cannot be."""
    if os.geteuid() != 0:
        raise Unavailable("the lab makes network namespaces, which takes root: sudo make lab")
    remove_leftovers()
    names = tuple(f"{PREFIX}-{os.getpid()}-{_start(os.getpid())}-{role}" for role in roles)
    with ExitStack() as stack:
        for name in names:
            stack.callback(remove, name)  # first, as we may be interrupted between the two
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        yield names


def remove(name: str) -> None:
    """End what still runs in a namespace, and remove it; harmless when there is none."""
    if not (NAMED / name).exists():
        return
    deadline = time.monotonic() + PATIENCE
    while (pids := ip("netns", "pids", name).split()) and time.monotonic() < deadline:
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself
        time.sleep(0.02)
    ip("netns", "delete", name)


def remove_leftovers() -> None:
    """Remove the namespaces of runs that died without doing so."""
    for name in sorted(path.name for path in NAMED.glob(f"{PREFIX}-*")):
        pid, start = name.removeprefix(f"{PREFIX}-").split("-")[:2]
        if _start(int(pid)) != start:
            remove(name)


def inside(name: str, work: Callable[[], T]) -> T:
    """Do some work in a namespace, in a thread that ends with it. A socket belongs for life to the namespace it was made in."""

    def enter_and_work() -> T:
        descriptor = os.open(NAMED / name, os.O_RDONLY)
        try:
            if _libc.setns(descriptor, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {name}")
        finally:
            os.close(descriptor)
        return work()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(enter_and_work).result()


def command(name: str) -> tuple[str, ...]:
    """What stands before a command line to run it in a namespace."""
    return ("ip", "netns", "exec", name)


def _start(pid: int) -> str:
    """When a process started, in the kernel's ticks (proc(5), field 22 of stat); empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
