"""Chromium on a host of the lab: as the interop tests have it, but with a network instead of loopback."""

import json
import shlex
from collections.abc import Iterator, Mapping
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

NO_POLICY: Final[Mapping[str, bool]] = {}
CLASSIC: Final = {"WebRtcPostQuantumKeyAgreement": False}
"""The policy that leaves the post-quantum key share out of its ClientHello, which then fits one check."""


@contextmanager
def chromium(
    playwright: Playwright,
    host: Host,
    *,
    executable: str,
    trial: str,
    policy: Mapping[str, bool],
    secure: str,
    microphone: Path | None = None,
) -> Iterator[Browser]:
    """Run a headless Chromium that hears the WAV file `microphone` over and over, or else a tone.

    Pages of the origin `secure` may use it without TLS.
    """
    flags = [flag for flag in FLAGS if flag != "--allow-loopback-in-peer-connection"]
    if trial:
        flags.append(f"--force-fieldtrials={trial}")
    flags.append(f"--unsafely-treat-insecure-origin-as-secure={secure}")
    with TemporaryDirectory() as folder:
        heard = microphone or write_tone(Path(folder, "tone.wav"), TONE)
        flags.append(f"--use-file-for-fake-audio-capture={heard}")
        wrapper = Path(folder, "chromium")
        wrapper.write_text(_script(host, executable, policy))
        wrapper.chmod(0o755)
        browser = playwright.chromium.launch(executable_path=wrapper, args=flags, ignore_default_args=["--mute-audio"])
        try:
            yield browser
        finally:
            browser.close()


def _script(host: Host, executable: str, policy: Mapping[str, bool]) -> str:
    """Write what starts Chromium on a host. A policy is a file that only this Chromium sees: `ip netns exec` has mounts of its own."""
    start = f'exec {shlex.quote(executable)} "$@"'
    if policy:
        file = "/etc/chromium/policies/managed/lab.json"
        start = (
            "mount -t tmpfs tmpfs /etc/chromium && mkdir -p /etc/chromium/policies/managed && "
            f"echo {shlex.quote(json.dumps(policy))} >{file} && {start}"
        )
    # Playwright gives it a session of its own, and with that a group of its own (sched(7), autogroup), which would have no priority.
    group = "[ -w /proc/self/autogroup ] && nice >/proc/self/autogroup"
    return f'#!/bin/sh\n{group}\nexec {shlex.join(host.command)} sh -c {shlex.quote(start)} sh "$@"\n'
