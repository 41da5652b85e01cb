"""The page in a real Chromium, as a person uses it; and a tone for its microphone.

Playwright's sync API: these tests are plain functions beside real processes. What has to be waited for is waited for by
Playwright's `expect` or by `until`; `wait_for_function` would need an eval that the page's Content-Security-Policy forbids.
"""

import math
import shutil
import time
import wave
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, expect

T = TypeVar("T")

RATE: Final = 48_000
CONNECT: Final = 15.0
"""Seconds for a call to come about: Chromium itself gives a path up after as many."""

FLAGS: Final = (
    "--no-sandbox",  # root in a container has none
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-ui-for-media-stream",  # the microphone is allowed without a question …
    "--use-fake-device-for-media-stream",  # … and is a file
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",  # all here is on 127.0.0.1
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)


def find_chromium() -> str:
    """Debian's Chromium. None installed: the test fails, and says what to do."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.fail(
            "no `chromium` on this machine: apt-get install chromium, or leave these tests out with WITHOUT_CHROMIUM=1",
            pytrace=False,
        )
    return executable


def launch(playwright: Playwright, executable: str, microphone: Path, *more: str) -> Browser:
    """A headless Chromium that hears `microphone` over and over, with `more` flags."""
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone}", *more]
    return playwright.chromium.launch(executable_path=executable, args=flags, ignore_default_args=["--mute-audio"])


def write_tone(path: Path, frequency: int) -> Path:
    """Two seconds of a sine, a quarter of full scale. Both are whole numbers of periods, so that the repetition has no click."""
    samples = array("h", (round(8192 * math.sin(math.tau * frequency * i / RATE)) for i in range(2 * RATE)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return path


LOUDEST: Final = """async () => {
  const context = new AudioContext();
  const track = trioice.pc.getReceivers()[0].track;
  const analyser = new AnalyserNode(context, { fftSize: 16384, smoothingTimeConstant: 0 });
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const bins = new Float32Array(analyser.frequencyBinCount);
  await wait(500); // 16,384 samples are a third of a second
  let loudest = 0;
  for (let turn = 0; turn < 50; turn++) {
    analyser.getFloatFrequencyData(bins);
    loudest = bins.indexOf(Math.max(...bins));
    if (bins[loudest] > -50) break; // decibels: below is silence, and its loudest frequency means nothing
    await wait(100);
  }
  const heard = bins[loudest] > -50 ? (loudest * context.sampleRate) / analyser.fftSize : null;
  await context.close();
  return heard;
}"""


class Visit:
    """The page, open at `address`; with `raw`, the microphone is taken as it is; with `probed`, its policy lets probes in."""

    def __init__(
        self, browser: Browser, address: str, *, raw: bool = True, fragment: str = "", probed: bool = False
    ) -> None:
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.page: Page = browser.new_page(bypass_csp=probed)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("request", self._request)
        self.page.goto(f"{address}/{'?raw' if raw else ''}{fragment}")

    def _console(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or message.type == "warning":
            self.faults.append(message.text)

    def _request(self, request: Request) -> None:
        if request.method != "GET":
            self.requests.append(request.method)

    def call(self) -> None:
        """Click, and wait until the call stands and its first sound is here."""
        self.page.get_by_role("button", name="Call").click()
        self.await_state("connected")
        expect(self.page.locator("#first-sound")).to_contain_text("ms", timeout=CONNECT * 1000)

    def hang_up(self) -> None:
        self.page.get_by_role("button", name="Hang up").click()
        self.await_state("ended")

    def await_state(self, state: str, within: float = CONNECT) -> None:
        expect(self.page.locator("body")).to_have_attribute("data-state", state, timeout=within * 1000)

    def text(self, element: str) -> str:
        return self.page.locator(f"#{element}").inner_text()

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self.page.evaluate("trioice.stats()")
        return stats

    def loudest_frequency(self) -> float | None:
        """The loudest frequency of what the page receives, in Hz, to within 3; None for silence."""
        heard: float | None = self.page.evaluate(LOUDEST)
        return heard

    def until(self, condition: Callable[[dict[str, Any]], bool], within: float) -> dict[str, Any]:
        """The first stats that fulfil `condition`."""
        deadline = time.monotonic() + within
        while not condition(stats := self.stats()):
            assert time.monotonic() < deadline, f"not within {within} s: {stats}"
            self.page.wait_for_timeout(50)  # looks after the browser's events meanwhile, which a plain sleep would not
        return stats

    def evaluate(self, script: str) -> Any:
        return self.page.evaluate(script)
