"""Chromium on a host of the lab: as the interop tests have it, but with a network instead of loopback."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from playwright.sync_api import Browser, Playwright

from bench.lab.network import Host
from tests.interop.browser import FLAGS, write_tone

TONE: Final = 440
SPED: Final = "WebRTC-IceHandshakeDtls/Enabled/"
"""The field trial that carries DTLS inside ICE's checks."""


@contextmanager
def chromium(playwright: Playwright, host: Host, *, executable: str, trial: str, secure: str) -> Iterator[Browser]:
    """Run a headless Chromium with a tone in its microphone; pages of the origin `secure` may use it without TLS."""
    flags = [flag for flag in FLAGS if flag != "--allow-loopback-in-peer-connection"]
    if trial:
        flags.append(f"--force-fieldtrials={trial}")
    flags.append(f"--unsafely-treat-insecure-origin-as-secure={secure}")
    with TemporaryDirectory() as folder:
        flags.append(f"--use-file-for-fake-audio-capture={write_tone(Path(folder, 'tone.wav'), TONE)}")
        wrapper = Path(folder, "chromium")
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(host.command)} {shlex.quote(executable)} "$@"\n')
        wrapper.chmod(0o755)
        browser = playwright.chromium.launch(executable_path=wrapper, args=flags, ignore_default_args=["--mute-audio"])
        try:
            yield browser
        finally:
            browser.close()
