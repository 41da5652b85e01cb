"""Fixtures of real processes and real browsers; what they start, they end."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.interop.browser import Visit, find_chromium, launch, write_tone
from tests.interop.programs import Fleet, Program, direct, fleet, serve

TONE = 440
OTHER_TONE = 1000
NEAR = 25.0
"""Hertz by which a tone may be off: a browser stretches sound by some per cent while its jitter buffer settles. The tones are 560 apart."""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Browser]]:
    """Chromium with a tone in its microphone: one browser a tone, for as long as a module.

    Not longer: while Playwright's sync API lives, its event loop counts as the thread's running one, and `asyncio.run` of another
    module would refuse to start.
    """
    executable = find_chromium()
    folder = tmp_path_factory.mktemp("tones")
    browsers: dict[int, Browser] = {}
    with sync_playwright() as playwright:

        def with_tone(frequency: int) -> Browser:
            if frequency not in browsers:
                browsers[frequency] = launch(playwright, executable, write_tone(folder / f"{frequency}.wav", frequency))
            return browsers[frequency]

        yield with_tone
        for browser in browsers.values():
            browser.close()


@pytest.fixture
def visit(chromium: Callable[[int], Browser]) -> Iterator[Callable[..., Visit]]:
    """Open the page. At the end no visit may have seen an uncaught error, a warning or an offence against the page's own policy."""
    visits: list[Visit] = []

    def visit(address: str, *, tone: int = TONE, raw: bool = True, fragment: str = "", probed: bool = False) -> Visit:
        visits.append(Visit(chromium(tone), address, raw=raw, fragment=fragment, probed=probed))
        return visits[-1]

    yield visit
    for each in visits:
        each.page.close()
    assert [fault for each in visits for fault in each.faults] == []


@pytest.fixture
def programs(tmp_path: Path) -> Iterator["Programs"]:
    with ExitStack() as stack:
        yield Programs(tmp_path, stack)


class Programs:
    """Starts trioice's programs, and ends them when the test has ended."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def serve(self, *options: str) -> Program:
        program = serve(*options)
        self._stack.callback(program.stop)
        return program

    def direct(self, *options: str) -> Program:
        program = direct(*options)
        self._stack.callback(program.stop)
        return program

    def fleet(self, *options: str, transceivers: int = 1) -> Fleet:
        return self._stack.enter_context(fleet(self._folder, *options, transceivers=transceivers))
