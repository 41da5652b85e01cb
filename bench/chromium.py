"""Call set-up in a real Chromium on loopback, through the relay: how long from the click, and from the POST, to the echo.

The page's own marks and Chromium's resource timing give all but one moment. When the first echoed packet *came* has no mark: the page
notices it when it has been decoded. It follows from Chromium's count of packets, and from when the last of them came, as they
come 20 ms apart: good to some milliseconds.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import attrs
from playwright.sync_api import Browser, sync_playwright

from bench.machine import spread, table
from bench.servers import servers
from tests.interop.browser import Visit, find_chromium, launch, write_tone

TONE: Final = 440

REMEMBER_CLICK: Final = (
    "addEventListener('click', ({ timeStamp }) => { window.clicked = timeStamp; }, { capture: true })"
)

FIRST_PACKET: Final = """async () => {
  for (;;) {
    const reports = window.trioice ? [...(await trioice.pc.getStats()).values()] : [];
    const inbound = reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
    if (inbound?.packetsReceived) {
      const last = inbound.lastPacketReceivedTimestamp - performance.timeOrigin;
      return last - (inbound.packetsReceived - 1) * 20 - window.clicked;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}"""
"""Milliseconds from the click to the arrival of the first echoed packet."""

POSTED: Final = """() => {
  const [post] = performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/calls"));
  return post.startTime - window.clicked;
}"""
"""Milliseconds from the click to the POST."""


@attrs.frozen(kw_only=True)
class Run:
    """One call: milliseconds from the click to each moment."""

    posted: float
    answer: float
    path: float
    packet: float
    sound: float
    stats: dict[str, Any]


def measure(runs: int) -> list[Run]:
    """Call `runs` times from new pages of one browser, after one time that is not counted."""
    with TemporaryDirectory() as folder, sync_playwright() as playwright, servers() as both:
        browser = launch(playwright, find_chromium(), write_tone(Path(folder, "tone.wav"), TONE))
        try:
            return [_run(browser, both.transceiver.address) for _ in range(runs + 1)][1:]
        finally:
            browser.close()


def report(runs: list[Run]) -> str:
    """One row for each moment: from the POST, and from the click."""
    rows: list[tuple[str, str, str]] = []
    for name, moments in (
        ("POST", [run.posted for run in runs]),
        ("answer", [run.answer for run in runs]),
        ("path and keys", [run.path for run in runs]),
        ("first echoed RTP packet", [run.packet for run in runs]),
        ("first sound", [run.sound for run in runs]),
    ):
        since = [moment - run.posted for moment, run in zip(moments, runs, strict=True)]
        rows.append((name, spread(since, 0) if name != "POST" else "0", spread(moments, 0)))
    agreed = {(run.stats["dtls"], run.stats["dtlsRole"], run.stats["srtp"]) for run in runs}
    what = "; ".join(f"{dtls}, Chromium is its {role}, {srtp}" for dtls, role, srtp in sorted(agreed))
    title = f"Call set-up in Chromium through the relay ({what}), {len(runs)} runs, ms: median (least–most)"
    return table(title, ("until", "from the POST", "from the click"), rows)


def _run(browser: Browser, address: str) -> Run:
    visit = Visit(browser, address)
    try:
        visit.evaluate(REMEMBER_CLICK)
        visit.page.get_by_role("button", name="Call").click()
        packet = visit.evaluate(FIRST_PACKET)
        stats = visit.until(lambda stats: "sound" in stats["times"], within=10)
        times = stats["times"]
        posted = visit.evaluate(POSTED)
        visit.hang_up()
        return Run(
            posted=posted, answer=times["answer"], path=times["path"], packet=packet, sound=times["sound"], stats=stats
        )
    finally:
        visit.page.close()
