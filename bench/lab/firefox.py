"""Firefox on a host of the lab, driven by Marionette, its own remote protocol over TCP: no driver program stands between.

A message is its length in decimal, a colon, and JSON: [0, number, command, parameters] there, [1, number, error, result] back.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.lab.namespaces import Unavailable
from bench.lab.network import Host

START: Final = 60.0
"""Seconds until Firefox listens: three, where nothing else runs."""
TONE: Final = 1000
"""Hertz that its own microphone hears."""
ANSWER: Final = 60.0
STOP: Final = 10.0
MARIONETTE: Final = 2828

PREFERENCES: Final[Mapping[str, object]] = {
    "marionette.port": MARIONETTE,
    "media.navigator.streams.fake": True,  # a microphone that hears a tone …
    "media.navigator.permission.disabled": True,  # … without a question …
    "media.devices.insecure.enabled": True,  # … and without TLS
    "media.getusermedia.insecure.enabled": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.autoplay.default": 0,
    "media.cubeb.force_mock_context": True,  # a loudspeaker, without which no AudioContext runs
    # Nobody is to be asked for anything: in the lab all questions end in a timeout.
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage": "about:blank",
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.push.connection.enabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "media.gmp-provider.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "",
    "startup.homepage_welcome_url": "about:blank",
    "toolkit.telemetry.enabled": False,
}

CALL: Final = """\
const done = arguments[arguments.length - 1];
(SCRIPT)(...[...arguments].slice(0, -1)).then((value) => done({ value }), (error) => done({ error: String(error) }));
"""


class Firefox:
    """A running Firefox with one page; made by `firefox`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._number = 0
        self._receive()  # it introduces itself
        self._ask("WebDriver:NewSession", {})
        self._ask("WebDriver:SetTimeouts", {"script": int(ANSWER * 1000)})

    def open(self, address: str) -> None:
        """Open a page, and wait until it is there."""
        self._ask("WebDriver:Navigate", {"url": address})

    def evaluate(self, script: str, *arguments: object) -> Any:
        """Call a function in the page; what its promise comes to."""
        body = CALL.replace("SCRIPT", script)
        answer = self._ask("WebDriver:ExecuteAsyncScript", {"script": body, "args": list(arguments), "sandbox": None})
        assert "error" not in answer["value"], answer
        return answer["value"].get("value")

    def _ask(self, command: str, parameters: Mapping[str, object]) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, command, parameters]).encode()
        self._connection.sendall(b"%d:%s" % (len(message), message))
        _, _, error, result = self._receive()
        assert error is None, error
        return result

    def _receive(self) -> Any:
        length = b""
        while (octet := self._stream.read(1)) != b":":
            assert octet, "Firefox has gone"
            length += octet
        return json.loads(self._stream.read(int(length)))


@contextmanager
def firefox(host: Host) -> Iterator[Firefox]:
    executable = shutil.which("firefox-esr") or shutil.which("firefox")
    if executable is None:
        raise Unavailable("no `firefox-esr` on this machine: apt-get install firefox-esr")
    with TemporaryDirectory(ignore_cleanup_errors=True) as home:
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items()]
        Path(home, "user.js").write_text("".join(lines))
        process = subprocess.Popen(
            [*host.command, executable, "--headless", "--marionette", "--no-remote", "--profile", home, "about:blank"],
            env=os.environ | {"HOME": home, "MOZ_HEADLESS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with _connect(host, process) as connection:
                connection.settimeout(ANSWER)
                yield Firefox(connection)
        finally:
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _connect(host: Host, process: "subprocess.Popen[bytes]") -> Any:
    deadline = time.monotonic() + START
    while True:
        try:
            return host.connect("127.0.0.1", MARIONETTE, 1.0)
        except OSError:
            assert process.poll() is None, f"Firefox ended with status {process.returncode}"
            assert time.monotonic() < deadline, f"Firefox does not listen after {START} s"
            time.sleep(0.1)
