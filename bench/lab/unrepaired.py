"""The same caller and the same network, but a server without repair: aiortc at packet level (aiortc_listener.py)."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import Browser, Page

from bench.lab.clients import DESCRIBE, MAKE, SECURE
from bench.lab.network import ROOT, Host

PORT: Final = 8080
PATIENCE: Final = 10.0
"""Seconds for aiortc to answer, and to hear."""

TAKE: Final = "async (sdp) => trioice.pc.setRemoteDescription({ type: 'answer', sdp })"


class Unrepaired:
    """A call from a bare page to aiortc. Offer and answer cross the network; the page itself does not."""

    def __init__(self, browser: Browser, client: Host, server: Host) -> None:
        self._client, self._server = client, server
        self._page: Page = browser.new_page()
        self._page.route(
            f"{SECURE}**", lambda route: route.fulfill(body="<title>lab</title>", content_type="text/html")
        )
        self._page.goto(SECURE)
        self._page.evaluate(MAKE)

    def begin(self) -> None:
        """Call, and wait until the server has heard the caller."""
        self._page.evaluate(TAKE, self._ask("POST", "/calls", self._page.evaluate(DESCRIBE)))
        until = time.monotonic() + PATIENCE
        while not self.sequences():
            assert time.monotonic() < until, "aiortc heard nothing"
            self.pause(50)

    def pause(self, milliseconds: int) -> None:
        """Look after the browser meanwhile."""
        self._page.wait_for_timeout(milliseconds)

    def sequences(self) -> list[int]:
        """Ask which packets came, by their sequence numbers."""
        heard: list[int] = json.loads(self._ask("GET", "/heard"))
        return heard

    def _ask(self, verb: str, path: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection(self._server.address, PORT)
        connection.sock = self._client.connect(self._server.address, PORT, PATIENCE)
        try:
            connection.request(verb, path, body)
            return connection.getresponse().read().decode()
        finally:
            connection.close()


@contextmanager
def listener(host: Host) -> Iterator[None]:
    """Run aiortc on the server's host."""
    command = [*host.command, sys.executable, "-m", "bench.lab.aiortc_listener", host.address, str(PORT)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("http"), "aiortc did not start"
            yield
        finally:
            process.kill()
