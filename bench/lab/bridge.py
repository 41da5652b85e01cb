"""The bridge between the two hosts, in a process of its own: it carries frames from one packet socket (packet(7)) to the other.

This is a userspace netem, as many kernels have none. Frames come out within a fraction of a millisecond of their time because

* a frame's delay counts from the kernel's time stamp, taken within the sender's own system call, not from when we were woken;
* the process has a real-time priority, where it may: what the hosts compute cannot hold it up;
* nothing else runs here: whoever wants to see the frames asks for the list of them, between two calls.

It is spoken to over a pair of sockets (`multiprocessing.connection`): `Conditions` for both directions change them, `True` asks for
the records of what has come out since the last time, and the end of the stream ends it.
"""

import gc
import heapq
import itertools
import os
import select
import signal
import socket
import sys
import time
from multiprocessing.connection import Connection
from typing import Final

from bench.lab.direction import Conditions, Direction
from bench.lab.frames import Record

SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h; the socket module has no name for it
STAMP: Final = socket.CMSG_SPACE(16)
FRAME: Final = 1 << 16
RECORDS: Final = 200_000
"""Records kept: half an hour of a call. Frames after these are carried, but not recorded."""

IDLE: Final = 1.0
"""Seconds to sleep while nothing is on its way: any number would do."""


class Bridge:
    """Carries frames between two ports, until `control` is closed."""

    def __init__(self, control: Connection, ports: tuple[socket.socket, socket.socket], seed: int) -> None:
        self._control = control
        self._ports = ports  # the client's and the server's
        self._directions = (Direction(Conditions(), seed), Direction(Conditions(), seed + 1))
        self._records: list[Record] = []
        self._flying: list[tuple[float, int, Record]] = []
        self._order = itertools.count()

    def run(self) -> None:
        """Carry frames, and do what we are told."""
        readable: list[socket.socket | Connection] = [*self._ports, self._control]
        while True:
            self._release()
            wait = self._flying[0][0] - time.monotonic() if self._flying else IDLE
            for ready in select.select(readable, [], [], max(0.0, wait))[0]:
                if isinstance(ready, socket.socket):
                    self._take(ready)
                elif not self._obey():
                    return

    def _release(self) -> None:
        while self._flying and self._flying[0][0] <= time.monotonic():
            _, _, record = heapq.heappop(self._flying)
            try:
                self._ports[record.from_client].send(record.frame)
            except OSError:
                pass  # the host's buffer is full, or the host has gone: lost, as a network would
            record.arrived.append(time.monotonic())

    def _take(self, ready: socket.socket) -> None:
        from_client = ready is self._ports[0]
        direction = self._directions[not from_client]
        while True:
            try:
                frame, ancillary, _, _ = ready.recvmsg(FRAME, STAMP)
            except BlockingIOError:
                return
            now = time.monotonic()
            departed = now - _age(ancillary)
            record = Record(from_client, departed, direction.carry(len(frame), departed), [], frame)
            if len(self._records) < RECORDS:
                self._records.append(record)
            for due in record.due:
                heapq.heappush(self._flying, (due, next(self._order), record))

    def _obey(self) -> bool:
        """Do what the other end of the control wants; False when it has gone."""
        try:
            wanted = self._control.recv()
        except (EOFError, OSError):
            return False
        if wanted is True:
            settled = [record for record in self._records if record.settled]
            self._records = [record for record in self._records if not record.settled]
            self._control.send(settled)
        else:
            self._directions[0].conditions, self._directions[1].conditions = wanted
            self._control.send(None)
        return True


def _age(ancillary: list[tuple[int, int, bytes]]) -> float:
    """Seconds since the kernel stamped a frame; its stamp is in wall time."""
    for level, kind, stamp in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = (int.from_bytes(stamp[at : at + 8], sys.byteorder) for at in (0, 8))
            return max(0.0, (time.time_ns() - seconds * 10**9 - nanoseconds) / 1e9)
    return 0.0


def main(control: int, client: int, server: int, seed: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; whoever started us ends us
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass  # it works all the same, only not as punctually
    gc.disable()
    ports = socket.socket(fileno=client), socket.socket(fileno=server)
    for port in ports:
        port.setblocking(False)
    Bridge(Connection(control), ports, seed).run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
