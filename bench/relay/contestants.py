"""The relays that are compared: how each is built and started, and its processes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import attrs

from bench.machine import cpu_seconds
from tests.interop.programs import CLUSTER, HOST, STOP

SHARD: Final = 7
C: Final = "C, recvmmsg/sendmmsg"
SOURCES: Final = Path(__file__).parent
ROOT: Final = SOURCES.parent.parent


@attrs.frozen
class Contestant:
    """One relay: `command` starts it, with the public port and the transceiver's put into it.

    One that `bundles` gets bundles from the transceiver, too.
    """

    name: str
    command: Sequence[str]
    bundles: bool = False

    def arguments(self, public: int, transceiver: int) -> list[str]:
        """The command line."""
        return [word.format(public=public, transceiver=transceiver) for word in self.command]


def contestants(folder: Path, key_file: Path) -> tuple[list[Contestant], list[str]]:
    """Build in `folder` what is to be built: the relays, and a sentence for each that is left out."""
    place = ("--public", f"{HOST}:{{public}}", "--route", f"{CLUSTER}/{SHARD}={HOST}:{{transceiver}}")
    ports = ("{public}", "{transceiver}")
    ours = (sys.executable, "-m", "trioice", "relay", *place, "--key-file", str(key_file), "--log", "warning")
    relays = [
        Contestant(C, (compile_c("forwarder", folder), *ports)),
        Contestant("trioice, no bundles", (*ours, "--no-bundles")),
        Contestant("trioice, bundles", ours, bundles=True),
    ]
    left_out = []
    if go := _compile_go("forwarder", folder):
        relays.append(Contestant("Go, net.UDPConn", (go, *ports)))
    else:
        left_out.append("The Go forwarder is left out: there is no go (Debian: golang-go).")
    relays.append(Contestant("naive trio.socket", (sys.executable, "-m", "bench.relay.naive", *ports)))
    return relays, left_out


def compile_c(name: str, folder: Path) -> str:
    """Compile a program of this folder into `folder`."""
    program = str(folder / name)
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", program, SOURCES / f"{name}.c"], check=True)
    return program


def _compile_go(name: str, folder: Path) -> str | None:
    if shutil.which("go") is None:
        return None
    program = str(folder / f"{name}-go")
    # One file of the standard library alone: no module, and nothing to fetch.
    environment = os.environ | {"GO111MODULE": "off", "CGO_ENABLED": "0"}
    subprocess.run(["go", "build", "-o", program, SOURCES / f"{name}.go"], check=True, env=environment)
    return program


@contextmanager
def running(arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a relay until the end of the block; it is ready when it has said "relay on". AssertionError if it ends by itself."""
    process = subprocess.Popen(
        arguments, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said = _read_until(process.stdout, "relay on")
        yield process
        assert process.poll() is None, f"{arguments[0]} ended with status {process.returncode}:\n{said}"
    finally:
        process.terminate()
        try:
            process.wait(STOP)
        finally:
            process.kill()  # of no effect on a process that has ended
            process.communicate()


def _read_until(output: IO[str] | None, ready: str) -> str:
    assert output is not None
    said = ""
    for line in output:
        said += line
        if line.startswith(ready):
            return said
    raise AssertionError(f"it did not say {ready!r}:\n{said}")


def tree_cpu_seconds(pid: int) -> float:
    """CPU time of a process and of those that it started and that still run: a relay may have workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid) + sum(tree_cpu_seconds(int(child)) for child in children)
