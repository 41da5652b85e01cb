"""Who calls in the lab: Chromium or Firefox on the client's host, with the server's own page; or Chromium another Chromium.

Each makes one call at a time: `open`, `begin`, which comes back when sound has come in, `stats`, `end`.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from playwright.sync_api import Browser, Page, sync_playwright

from bench.lab.chromium import NO_POLICY, chromium
from bench.lab.firefox import Firefox, firefox
from bench.lab.network import Network
from tests.interop.browser import CONNECT, LOUDEST, Visit

ClientName = Literal["chromium", "firefox", "pair"]

SECURE: Final = "https://lab.invalid/"
"""A page that Playwright answers for, so nobody asks the network for it: for calls without a server."""

STATES: Final = """async (state, patience) => {
  const until = performance.now() + patience;
  while (document.body.dataset.state !== state || (state === "connected" && !trioice.times.sound)) {
    if (performance.now() > until) throw new Error(`still ${document.body.dataset.state}, not ${state}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}"""

MAKE: Final = """async () => {
  const pc = new RTCPeerConnection();
  window.trioice = { pc };
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  pc.addTrack(microphone.getAudioTracks()[0], microphone);
  pc.ontrack = ({ track }) => {
    window.speaker = Object.assign(new Audio(), { srcObject: new MediaStream([track]), autoplay: true });
  };
}"""

DESCRIBE: Final = """async () => {
  const { pc } = trioice;
  await pc.setLocalDescription();
  while (pc.iceGatheringState !== "complete") await new Promise((resolve) => setTimeout(resolve, 10));
  return pc.localDescription.sdp;
}"""

HEARD: Final = """async () => {
  const { pc } = trioice;
  for (let turn = 0; turn < 1500; turn++) {
    if (pc.getReceivers()[0].getSynchronizationSources().length) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("no sound");
}"""

FIGURES: Final = """async () => {
  const reports = [...(await trioice.pc.getStats()).values()];
  const find = (wanted) => reports.find(({ type }) => type === wanted);
  const { tlsVersion, dtlsRole, dtlsCipher, srtpCipher } = find("transport");
  return {
    dtls: { FEFD: "DTLS 1.2", FEFC: "DTLS 1.3" }[tlsVersion], dtlsRole, dtlsCipher,
    srtp: srtpCipher.replace(/^SRTP_/, "").replace("AES_CM_128", "AES128_CM"),
    received: find("inbound-rtp").packetsReceived, sent: find("outbound-rtp").packetsSent,
  };
}"""


class Client(Protocol):
    """One who calls; what does not come about in time is an AssertionError."""

    def open(self) -> None:
        """Get ready to call."""

    def begin(self) -> None:
        """Call, and wait until the first sound has come in."""

    def pause(self, milliseconds: int) -> None:
        """Let some time pass."""

    def stats(self) -> dict[str, Any]:
        """What `trioice.stats()` of the page says, or as much of it as there is."""

    def heard(self) -> float | None:
        """The loudest frequency of what comes in, in Hz; None for silence."""

    def end(self) -> None:
        """Hang up, if there is anything to hang up."""


@contextmanager
def client(
    name: ClientName,
    network: Network,
    page: str,
    *,
    chromium_at: str,
    trial: str = "",
    policy: Mapping[str, bool] = NO_POLICY,
    microphone: Path | None = None,
) -> Iterator[Client]:
    """Start one, for the page of a server; with a field `trial`, a `policy` and a `microphone` of Chromium's."""
    with ExitStack() as stack:
        if name == "firefox":
            yield FirefoxClient(stack.enter_context(firefox(network.client)), page)
            return
        playwright = stack.enter_context(sync_playwright())
        hosts = (network.client,) if name == "chromium" else (network.client, network.server)
        browsers = [
            stack.enter_context(
                chromium(
                    playwright,
                    host,
                    executable=chromium_at,
                    trial=trial,
                    policy=policy,
                    secure=page,
                    microphone=microphone,
                )
            )
            for host in hosts
        ]
        yield ChromiumClient(browsers[0], page) if name == "chromium" else Pair(*browsers)


class ChromiumClient:
    """The server's page in Chromium."""

    def __init__(self, browser: Browser, page: str) -> None:
        self._browser = browser
        self._page = page
        self._visit: Visit | None = None

    @property
    def page(self) -> Page:
        """The page that is open."""
        assert self._visit is not None
        return self._visit.page

    def open(self) -> None:
        """Open the page."""
        self._visit = Visit(self._browser, self._page, probed=True)  # for the recorder's worklet

    def begin(self) -> None:
        """Click, and wait for sound."""
        assert self._visit is not None
        self._visit.call()

    def pause(self, milliseconds: int) -> None:
        """Look after the browser meanwhile."""
        assert self._visit is not None
        self._visit.page.wait_for_timeout(milliseconds)

    def stats(self) -> dict[str, Any]:
        """The page's own figures."""
        assert self._visit is not None
        return self._visit.stats()

    def heard(self) -> float | None:
        """The loudest frequency."""
        assert self._visit is not None
        return self._visit.loudest_frequency()

    def end(self) -> None:
        """Leave the page, which hangs up."""
        if self._visit is not None:
            self._visit.page.close(run_before_unload=False)


class FirefoxClient:
    """The server's page in Firefox."""

    def __init__(self, browser: Firefox, page: str) -> None:
        self._browser = browser
        self._page = page

    def open(self) -> None:
        """Open the page."""
        self._browser.open(f"{self._page}/?raw")

    def begin(self) -> None:
        """Click, and wait for sound."""
        self._browser.evaluate("async () => document.getElementById('button').click()")
        self._browser.evaluate(STATES, "connected", CONNECT * 1000)

    def pause(self, milliseconds: int) -> None:
        """Let the page wait."""
        self._browser.evaluate("(ms) => new Promise((resolve) => setTimeout(resolve, ms))", milliseconds)

    def stats(self) -> dict[str, Any]:
        """The page's own figures."""
        stats: dict[str, Any] = self._browser.evaluate("() => trioice.stats()")
        return stats

    def heard(self) -> float | None:
        """The loudest frequency."""
        heard: float | None = self._browser.evaluate(LOUDEST)
        return heard

    def end(self) -> None:
        """Leave the page, which hangs up."""
        self._browser.open("about:blank")


class Pair:
    """Two Chromiums, one on each host; offer and answer are carried between them outside of the network, at once."""

    def __init__(self, offerer: Browser, answerer: Browser) -> None:
        self._browsers = (offerer, answerer)
        self._pages: list[Page] = []

    def open(self) -> None:
        """Open a page in each, with a connection and a microphone."""
        self._pages = [browser.new_page() for browser in self._browsers]
        for page in self._pages:
            page.route(f"{SECURE}**", lambda route: route.fulfill(body="<title>lab</title>", content_type="text/html"))
            page.goto(SECURE)
            page.evaluate(MAKE)

    def begin(self) -> None:
        """Carry offer and answer, and wait for sound in both."""
        offerer, answerer = self._pages
        take = "async ([type, sdp]) => trioice.pc.setRemoteDescription({ type, sdp })"
        answerer.evaluate(take, ["offer", offerer.evaluate(DESCRIBE)])
        offerer.evaluate(take, ["answer", answerer.evaluate(DESCRIBE)])
        for page in self._pages:
            page.evaluate(HEARD)

    def pause(self, milliseconds: int) -> None:
        """Look after the browsers meanwhile."""
        self._pages[0].wait_for_timeout(milliseconds)

    def stats(self) -> dict[str, Any]:
        """The offerer's figures."""
        stats: dict[str, Any] = self._pages[0].evaluate(FIGURES)
        return stats

    def heard(self) -> float | None:
        """The loudest frequency that the offerer hears."""
        heard: float | None = self._pages[0].evaluate(LOUDEST)
        return heard

    def end(self) -> None:
        """Close both pages."""
        for page in self._pages:
            page.close()
