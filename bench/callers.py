"""Callers on loopback: each a whole one with a socket of its own, all in one plain loop that waits to the microsecond.

A caller (tests/harness/caller.py) checks, makes a DTLS handshake, protects what it says and authenticates what it hears. It says
a packet of 80 octets of payload every 20 ms, and begins at a random moment of those 20 ms, as people do.
"""

import http.client
import os
import random
import select
import socket
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from tests.harness.caller import FRAME, Caller
from trioice import dtls
from trioice.agenda import Agenda
from trioice.sansio import NEVER, Outbox

CALLS_OF_ONE_ADDRESS: Final = 20
"""Offers that signaling takes of one address at once; 127.0.0.0/8 has addresses enough."""

CONNECT: Final = 10.0
"""Seconds for one call to come about."""


class Callers:
    """Some callers and the loop that they live in: they do something only while `run` runs."""

    def __init__(self, count: int) -> None:
        certificate = dtls.Certificate.generate(os.urandom)
        self.lateness: list[float] = []
        """Seconds by which each packet left after its time: what the load itself could not keep up with."""
        self._agenda: Agenda[_Line] = Agenda()
        self._epoll = select.epoll()
        self._lines: dict[int, _Line] = {}
        for index in range(count):
            line = _Line(f"127.0.0.{2 + index // CALLS_OF_ONE_ADDRESS}", certificate, self.lateness)
            self._lines[line.socket.fileno()] = line
            self._epoll.register(line.socket, select.EPOLLIN)

    def connect(self, address: str) -> None:
        """Call the signaling at `address`, one after the other."""
        for line in self._lines.values():
            line.call(address)
            self._agenda.set(line, line.deadline)
            self.run(CONNECT, line.is_connected)
            assert line.is_connected(), f"not connected within {CONNECT} s: {line.caller.over}"

    def speak(self) -> None:
        """Speak from now on."""
        phases = random.Random(len(self._lines))
        for line in self._lines.values():
            line.speak_at = time.monotonic() + phases.uniform(0, FRAME)
            self._agenda.set(line, line.deadline)

    def hush(self) -> None:
        """Speak no more."""
        for line in self._lines.values():
            line.speak_at = NEVER

    def run(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        """Send and receive for so long, or until it is `done`."""
        agenda, lines, epoll = self._agenda, self._lines, self._epoll
        end = time.monotonic() + seconds
        while not done() and (now := time.monotonic()) < end:
            # epoll alone waits in whole milliseconds, which would make bursts of what people say at any time.
            select.select([epoll], [], [], max(0.0, min(agenda.deadline, end) - now))
            for descriptor, _ in epoll.poll(0):
                line = lines[descriptor]
                line.receive(time.monotonic())
                agenda.set(line, line.deadline)
            for line in agenda.due(time.monotonic()):
                line.expire(time.monotonic())
                agenda.set(line, line.deadline)

    def close(self) -> None:
        """Release the sockets."""
        for line in self._lines.values():
            line.socket.close()
        self._epoll.close()

    @property
    def spoken(self) -> int:
        """Packets that left."""
        return sum(line.caller.spoken for line in self._lines.values())

    @property
    def missing(self) -> int:
        """Packets whose echo has not come back."""
        return self.spoken - sum(line.caller.echoes for line in self._lines.values())

    @property
    def round_trips(self) -> list[float]:
        """Seconds from each packet to its echo."""
        return [trip for line in self._lines.values() for trip in line.round_trips()]


class _Line:
    """One caller and its socket."""

    def __init__(self, host: str, certificate: dtls.Certificate, lateness: list[float]) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.speak_at = NEVER
        self._host = host
        self._lateness = lateness
        self._outbox: Outbox = []
        self._spoke: list[float] = []
        # `talks=False`: a caller left to itself would begin when it is connected, all of them in step with their set-up.
        self.caller = Caller(entropy=os.urandom, outbox=self._outbox, certificate=certificate, talks=False)

    @property
    def deadline(self) -> float:
        return min(self.speak_at, self.caller.deadline)

    def is_connected(self) -> bool:
        return self.caller.connected_at < NEVER

    def call(self, address: str) -> None:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, source_address=(self._host, 0))
        connection.request("POST", "/calls", self.caller.offer(), {"Content-Type": "application/sdp"})
        response = connection.getresponse()
        answer = response.read().decode()
        connection.close()
        assert response.status == 201, answer
        self.caller.answered(answer, time.monotonic())

    def receive(self, now: float) -> None:
        try:
            while True:
                self.caller.receive(*self.socket.recvfrom(2048), now)
        except BlockingIOError:
            pass
        self._flush()

    def expire(self, now: float) -> None:
        if self.speak_at <= now:
            self._lateness.append(now - self.speak_at)
            self._spoke.append(now)
            self.speak_at += FRAME
            self.caller.speak(now)
        self.caller.expire(now)
        self._flush()

    def round_trips(self) -> list[float]:
        return [at - self._spoke[int(payload[:8]) - 1] for at, _, payload in self.caller.heard]

    def _flush(self) -> None:
        for datagram, to in self._outbox:
            assert isinstance(to, tuple)
            self.socket.sendto(datagram, to)
        self._outbox.clear()
