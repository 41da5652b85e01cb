"""Other callers, who listen, so that agents speak to somebody beside the call that is looked at: `python -m bench.lab.others PAGE COUNT`.

They say that they are `ready`, and go on until their standard input is closed.
"""

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.callers import Callers
from bench.lab.network import ROOT, Host

TURN: Final = 1.0
"""Seconds between two looks at whether it is over."""


@contextmanager
def others(host: Host, page: str, count: int) -> Iterator[None]:
    """Let so many callers on the server's own host listen meanwhile."""
    if not count:
        yield
        return
    command = [*host.command, sys.executable, "-m", "bench.lab.others", page, str(count)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the other callers did not connect"
            yield
            assert process.poll() is None, "the other callers ended early"
        finally:
            process.kill()


def main(page: str, count: int) -> None:
    callers = Callers(count)
    callers.connect(page)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        callers.run(TURN)
    callers.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
