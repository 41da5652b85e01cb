"""The echoes that are compared: how each is built and started, its CPU time and its memory."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import attrs

from bench.relay.contestants import ROOT
from tests.interop.programs import HOST, START, STOP, free_port

OURS: Final = "trioice"
SERVERS: Final = (OURS, "pion", "aiortc")
SOURCES: Final = Path(__file__).parent
PAGE: Final = r"^(http://127\.0\.0\.1:\d+)$"
MANY: Final = "4000"
"""Calls that ours takes at once, here where one machine makes them all."""
GOCODE: Final = Path("/usr/share/gocode")
"""Where Debian puts the sources of Go packages."""


@attrs.frozen
class Contestant:
    """One echo: `command` makes its command line, anew for each start."""

    name: str
    command: Callable[[], Sequence[str]]


@attrs.frozen
class Running:
    """A server that runs: its process, and what it said, of which the ready line's first group is the `address`."""

    pid: int
    address: str


def contestants(names: Sequence[str], folder: Path, profile: str) -> tuple[list[Contestant], list[str]]:
    """Build in `folder` what is to be built: the echoes, and a sentence for each that is left out."""
    echoes, left_out = [], []
    if OURS in names:
        echoes.append(Contestant(OURS, lambda: ours(profile)))
    if "pion" in names:
        if pion := _compile_pion(folder):
            echoes.append(Contestant("Pion", lambda: (pion, str(free_port()), "0", profile)))
        else:
            left_out.append(
                "Pion is left out: it takes go and its sources (Debian: golang-go golang-github-pion-webrtc.v3-dev)."
            )
    if "aiortc" in names:
        if importlib.util.find_spec("aiortc"):
            command = (sys.executable, "-m", "bench.echo.aiortc_server", profile)
            echoes.append(Contestant("aiortc", lambda: command))
        else:
            left_out.append("aiortc is left out: it is not installed (pip install aiortc).")
    return echoes, left_out


def ours(profile: str, *options: str, port: int = 0) -> list[str]:
    """Make the command line of a transceiver with its own echo."""
    place = ("--udp", f"{HOST}:{port or free_port()}", "--http", f"{HOST}:0", "--srtp", profile)
    limits = ("--calls", MANY, "--calls-per-address", MANY, "--log", "warning")
    return [sys.executable, "-m", "trioice", "transceiver", *place, *limits, *options]


def compile_mirror(folder: Path) -> str:
    """Compile mirror.c into `folder`."""
    program = str(folder / "mirror")
    subprocess.run(
        ["gcc", "-O2", "-Wall", "-Wextra", "-Wno-unused-function", "-o", program, SOURCES / "mirror.c"], check=True
    )
    return program


def _compile_pion(folder: Path) -> str | None:
    if shutil.which("go") is None or not (GOCODE / "src/github.com/pion/webrtc").is_dir():
        return None
    # Without modules, Go finds ".../webrtc/v3" in ".../webrtc" only for a package that is a module itself.
    source = folder / "gopath/src/pion"
    source.mkdir(parents=True)
    shutil.copy(SOURCES / "pion.go", source)
    (source / "go.mod").write_text("module pion\n")
    program = str(folder / "pion-go")
    environment = os.environ | {"GO111MODULE": "off", "CGO_ENABLED": "0", "GOPATH": f"{folder / 'gopath'}:{GOCODE}"}
    subprocess.run(["go", "build", "-o", program, "."], check=True, env=environment, cwd=source)
    return program


@contextmanager
def running(arguments: Sequence[str], ready: str = PAGE) -> Iterator[Running]:
    """Run a server until the end of the block; it is ready when a line of its output matches. AssertionError if it ends by itself."""
    with TemporaryFile("w+") as output:
        process = subprocess.Popen(
            arguments, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + START
            while (found := re.search(ready, _said(output.fileno()), re.MULTILINE)) is None:
                assert process.poll() is None, f"{arguments} ended:\n{_said(output.fileno())}"
                assert time.monotonic() < deadline, f"{arguments} was not ready after {START} s"
                time.sleep(0.02)
            yield Running(process.pid, found[1] if found.groups() else "")
            assert process.poll() is None, f"{arguments} ended:\n{_said(output.fileno())}"
        finally:
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _said(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 20, 0).decode(errors="replace")


def memory(pid: int) -> float:
    """Octets of memory that are a process's and its children's own: PSS (proc(5), smaps_rollup)."""
    found = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found[1]) * 1024 + sum(memory(int(child)) for child in children)
