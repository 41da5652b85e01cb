"""A call from the page, in a real Chromium, through a real relay to a real transceiver."""

import re
import time
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from tests.interop.browser import Visit
from tests.interop.conftest import NEAR, OTHER_TONE, TONE, Programs

pytestmark = pytest.mark.chromium

IN_FLIGHT = 3
"""Packets that may be on their way at the moment of counting."""


@pytest.mark.parametrize("tone", [TONE, OTHER_TONE])
def test_a_tone_in_the_microphone_comes_back_through_the_relay(
    programs: Programs, visit: Callable[..., Visit], tone: int
) -> None:
    fleet = programs.fleet()
    page = visit(fleet.transceivers[0].address, tone=tone)
    page.call()
    assert page.loudest_frequency() == pytest.approx(tone, abs=NEAR)
    assert page.stats()["path"] == fleet.relay_address


def test_the_program_of_make_serve_echoes_a_tone(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.serve().address)
    page.call()
    assert page.loudest_frequency() == pytest.approx(TONE, abs=NEAR)


def test_serve_says_where_its_page_is_in_its_last_line(programs: Programs) -> None:
    program = programs.serve()
    assert program.address in program.output[-1]
    for path in ("/", "/metrics", "/healthz"):
        assert httpx.get(program.address + path).status_code == 200


def test_a_microphone_as_people_have_it_is_heard(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.serve().address, raw=False)  # with echo canceller, noise suppression and gain control
    page.call()
    page.until(lambda stats: stats["received"] >= 50, within=20)


def test_ten_seconds_on_loopback_lose_no_packet(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.fleet().transceivers[0].address)
    page.call()
    # Fifty packets a second. Lost on the way back is what the browser misses; lost on the way there, what was sent and is not back.
    stats = page.until(
        lambda stats: stats["received"] >= 500 and stats["sent"] - stats["received"] <= IN_FLIGHT, within=20
    )
    assert stats["lost"] == 0
    assert page.text("lost") == "0"


def test_the_page_shows_the_figures_of_its_call(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.serve().address)
    assert page.text("state") == "idle"
    page.call()
    assert page.text("state") == "connected"
    for figure, shown in {
        "first-sound": r"^\d+ ms$",
        "round-trip": r"^(< 1|\d+) ms$",
        "lost": r"^0$",
        "dtls": r"^DTLS 1\.3$",
        "srtp": r"^AES-128-(GCM|CM)$",
    }.items():
        expect(page.page.locator(f"#{figure}")).to_have_text(re.compile(shown))
    expect(page.page.locator("#repairs")).to_have_text(
        re.compile(r"^None of [\d,]+ packets came late or not at all\.$")
    )
    times = page.stats()["times"]
    assert 0 < times["microphone"] < times["answer"] < times["path"] <= times["sound"]
    expect(page.page.get_by_role("meter")).not_to_have_attribute("aria-valuenow", "-60")


def test_hanging_up_in_the_page_ends_the_call_at_the_server(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.fleet().transceivers[0].address)
    page.call()
    location = page.evaluate("trioice.location")
    assert knows(location)
    page.hang_up()
    assert page.text("status") == "You hung up."
    await_gone(location)


def test_leaving_the_page_ends_the_call_at_the_server(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.serve().address)
    page.call()
    location = page.evaluate("trioice.location")
    page.page.goto("about:blank")
    await_gone(location)


def test_the_server_hangs_up_and_the_page_says_so(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.fleet().transceivers[0].address)
    page.call()
    assert httpx.delete(page.evaluate("trioice.location")).is_success
    page.await_state("ended", within=5)  # by close_notify: Chromium's own patience is longer than that
    assert page.text("status") == "The server has ended the call."


def test_a_transceiver_that_stops_says_goodbye_to_its_calls(programs: Programs, visit: Callable[..., Visit]) -> None:
    fleet = programs.fleet()
    page = visit(fleet.transceivers[0].address)
    page.call()
    assert fleet.transceivers[0].stop() == 0  # which waits for its end, in bounds
    page.await_state("ended", within=5)


def test_the_same_page_calls_again_after_its_call_has_ended(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.serve().address)
    page.call()
    page.hang_up()
    page.call()
    assert page.loudest_frequency() == pytest.approx(TONE, abs=NEAR)


def test_a_refusal_is_shown_with_its_reason(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.serve("--calls", "1").address)
    other = visit(page.page.url.partition("/?")[0])
    page.call()
    other.page.get_by_role("button", name="Call").click()
    other.await_state("ended")
    assert other.text("problem").startswith("The server said 503: ")


def knows(location: str) -> bool:
    """Whether the server has a call there: it reads, and refuses, an empty offer for a call that it has."""
    return httpx.patch(location, content="", headers={"Content-Type": "application/sdp"}).status_code != 404


def await_gone(location: str) -> None:
    deadline = time.monotonic() + 10
    while knows(location):
        assert time.monotonic() < deadline, "the server still has the call"
