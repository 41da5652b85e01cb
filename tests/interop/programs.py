"""trioice's programs as real processes on loopback: their command lines in one place, and each ended by its id."""

import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import attrs

START: Final = 20.0
"""Seconds that a program may take until it says that it is ready: it imports for half of one, on a machine with nothing else to do."""
STOP: Final = 5.0
"""Seconds that it may take to end after SIGTERM: it promises one, and a busy machine may be slow."""

HOST: Final = "127.0.0.1"
CLUSTER: Final = 1


class Program:
    """One running program. It is ready when a line of its output matches `ready`; the match's first group, if any, is `.address`.

    `prefix` is a command that runs it: in a network namespace, say. It must become the program, not stand between it and us.
    """

    def __init__(self, arguments: Sequence[str], *, ready: str, prefix: Sequence[str] = ()) -> None:
        self.arguments = arguments
        self.ready = ready
        self.prefix = prefix
        self.output: list[str] = []
        self.address = ""
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "trioice", *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(lines,))  # a pipe that nobody reads stops its writer
        self._reader.start()
        try:
            self.address = self._await_ready(lines)
        except BaseException:
            self.kill()
            raise

    def _read(self, lines: "queue.SimpleQueue[str | None]") -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                self.output.append(line)
                lines.put(line)
        lines.put(None)

    def _await_ready(self, lines: "queue.SimpleQueue[str | None]") -> str:
        deadline = time.monotonic() + START
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                raise AssertionError(f"{self} ended with status {self._process.wait()}:\n{''.join(self.output)}")
            if match := re.search(self.ready, line):
                return match[1] if match.groups() else ""
        raise AssertionError(f"{self} was not ready after {START} s:\n{''.join(self.output)}")

    def kill(self) -> None:
        """SIGKILL: what a crash is like. No goodbye, nothing written down."""
        self._process.kill()
        self._process.wait()
        self._reader.join(STOP)
        assert not self._reader.is_alive(), f"{self} is dead, and something that it started is not"

    def restart(self) -> None:
        """Start it again as it was started before."""
        self._start()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP)
        finally:
            self.kill()  # of no effect on a process that has ended

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def __str__(self) -> str:
        return " ".join(("trioice", *self.arguments))


PAGE: Final = r"^(http://127\.0\.0\.1:\d+)$"
"""How a program with signaling says that it is ready, and where."""


def serve(*options: str) -> Program:
    """`trioice serve`: everything in one process, as `make serve` has it, but on ports that are free."""
    ports = ("--http", f"{HOST}:0", "--relay", f"{HOST}:{free_port()}", "--udp", f"{HOST}:{free_port()}")
    return Program(("serve", *ports, *options), ready=PAGE)


def direct(*options: str) -> Program:
    """A transceiver without any relay: clients send to its own port."""
    return Program(("transceiver", "--udp", f"{HOST}:{free_port()}", "--http", f"{HOST}:0", *options), ready=PAGE)


@attrs.frozen
class Fleet:
    """A relay, and the transceivers behind it."""

    relay: Program
    relay_address: str
    transceivers: list[Program]


@contextmanager
def fleet(folder: Path, *options: str, transceivers: int = 1, relay_options: Sequence[str] = ()) -> Iterator[Fleet]:
    """Run a relay and transceivers apart, with a key file and a directory file in `folder`; `options` are for the transceivers."""
    key, directory = folder / "key", folder / "directory"
    key.write_text(key_line())
    addresses = {shard: f"{HOST}:{free_port()}" for shard in range(7, 7 + transceivers)}
    directory.write_text("".join(f"{CLUSTER} {shard} {address}\n" for shard, address in addresses.items()))
    with ExitStack() as stack:
        public = f"{HOST}:{free_port()}"
        relay = Program(
            (
                "relay",
                "--public",
                public,
                "--inner",
                f"{HOST}:0",
                "--key-file",
                str(key),
                "--directory",
                str(directory),
                *relay_options,
            ),
            ready=re.escape(public),
        )
        stack.callback(relay.stop)
        running = []
        for shard, address in addresses.items():
            place = ("--udp", address, "--http", f"{HOST}:0", "--cluster", str(CLUSTER), "--shard", str(shard))
            behind = ("--relay", public, "--trust-relay", f"{HOST}/32", "--key-file", str(key))
            running.append(Program(("transceiver", *place, *behind, *options), ready=PAGE))
            stack.callback(running[-1].stop)
        yield Fleet(relay, public, running)


@cache
def key_line() -> str:
    """What `trioice key` prints: one key does for all tests."""
    command = [sys.executable, "-m", "trioice", "key"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def free_port() -> int:
    """A UDP port that nobody has now. The kernel chooses at random among 28,000, so nobody will have it a moment later, either."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
