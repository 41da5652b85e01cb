"""A caller on a real socket: dials a real program over HTTP and UDP, and listens. Blocking, for tests beside real processes."""

import os
import socket
import time
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import Final

from tests.harness.caller import Caller, numbered

HOST: Final = "127.0.0.1"
PATIENCE: Final = 20.0
"""Seconds until a test gives up: a call takes a few hundredths of one, but the machine may have much else to do."""


class Telephone:
    """A `Caller` with a UDP socket of its own. It lives only within its verbs: between them, nothing is sent or heard.

    Of the addresses in the answer it takes the first, or `to`, and then it hears nobody else.
    """

    def __init__(
        self,
        *,
        setup: str = "actpass",
        to: tuple[str, int] | None = None,
        words: Callable[[int], bytes] = numbered,
    ) -> None:
        self.caller = Caller(entropy=os.urandom, outbox=[], setup=setup, words=words)
        self.answer = ""
        self._to = to
        self._socket = socket.socket(socket.AF_INET6 if to and ":" in to[0] else socket.AF_INET, socket.SOCK_DGRAM)
        if to is None:
            self._socket.bind((HOST, 0))
        else:
            self._socket.connect(to)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it calls from."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def dial(self, url: str) -> None:
        """As `dials`, and wait for the first packet that comes back."""
        self.dials(url)
        self.hears(1)

    def dials(self, url: str) -> None:
        """POST an offer and take the answer."""
        offer = self.caller.offer().encode()
        request = urllib.request.Request(url, offer, {"Content-Type": "application/sdp"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            assert response.status == 201
            self.answer = response.read().decode()
        self.caller.answered(self.answer, time.monotonic(), to=self._to)

    def hears(self, more: int) -> None:
        """Talk until so many more different packets came back."""
        goal = self.caller.echoes + more
        self._run(lambda: self.caller.echoes >= goal)

    def says(self, words: int) -> None:
        """Talk until so many packets were said."""
        self._run(lambda: self.caller.spoken >= words)

    def hang_up(self) -> None:
        """Say goodbye."""
        self.caller.close(time.monotonic())
        self._flush()

    def is_hung_up_on(self) -> None:
        """Talk until the other end says goodbye."""
        self._run(lambda: self.caller.over is not None)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Telephone":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, until: Callable[[], bool]) -> None:
        caller, end = self.caller, time.monotonic() + PATIENCE
        while not until():
            now = time.monotonic()
            assert now < end, f"not within {PATIENCE} s: {caller.spoken} spoken, {caller.echoes} heard, {caller.over}"
            if caller.deadline <= now:
                caller.expire(now)
            self._flush()
            self._socket.settimeout(max(0.001, min(caller.deadline, end) - now))
            try:
                datagram, source = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            caller.receive(datagram, source, time.monotonic())
        self._flush()

    def _flush(self) -> None:
        for datagram, to in self.caller.outbox:
            assert isinstance(to, tuple)
            self._socket.sendto(datagram, to)
        self.caller.outbox.clear()
