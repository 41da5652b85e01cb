"""The set-up of a call, step by step, as the page in a real Chromium and the log of a real transceiver tell it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.interop.browser import Visit
from tests.interop.conftest import Programs

pytestmark = pytest.mark.chromium

ROUND_TRIPS = re.compile(
    r"^Round trips of [\d.]+ ms from the first check: [\d.]+ to keys, [\d.]+ until .*, [\d.]+ until it spoke\.$"
    r"|^The handshake had to repeat its flights, .*\.$"  # the machine may have much else to do
)

LADDER = """async ([times, setUp, posted]) => {
  const { ladder, roundTrips } = await import("/page/ladder.js");
  return { rows: ladder({ times, setUp, posted }), sentence: roundTrips({ setUp }) };
}"""
"""What the page would show of a call whose steps were these."""

SET_UP = {
    "answer": 0.002,
    "check": 0.06,
    "keys": 0.16,
    "connected": 0.16,
    "rtp_in": 0.26,
    "rtp_out": None,
    "flights": [{"way": "out", "at": 0.06}, {"way": "in", "at": 0.16}, {"way": "out", "at": 0.16}],
    "rtt": 0.1,
    "round_trips": {"keys": 1.0, "rtp_in": 2.0, "rtp_out": None},
}
TIMES = {"microphone": 20, "offer": 30, "answer": 82}
POSTED = {"left": 30, "came": 80}


def rows(page: Visit) -> list[list[str]]:
    """The ladder as it stands in the page: what this browser did, when, and what the server did."""
    return [row.locator("td").all_inner_texts() for row in page.page.locator("#ladder tr").all()]


def await_set_up(page: Visit) -> None:
    """Wait until the server has told all of its steps, and see that the page counts their round trips."""
    page.until(lambda _: bool(page.evaluate("trioice.setUp?.rtp_in && trioice.setUp.rtp_out")), within=10)
    expect(page.page.locator("#round-trips")).to_have_text(ROUND_TRIPS)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(("role", "first"), [("active", "out"), ("passive", "in")])
def test_the_page_shows_what_both_sides_did_by_one_clock(
    programs: Programs, visit: Callable[..., Visit], role: str, first: str, version: str
) -> None:
    page = visit(programs.direct("--dtls-role", role, "--dtls-version", version).address)
    expect(page.page.locator("#set-up")).to_be_hidden()
    page.call()
    await_set_up(page)
    shown = rows(page)
    times = [int(time) for _, time, _ in shown]
    assert times == sorted(times)
    browser = ", ".join(ours for ours, _, _ in shown if ours).split(", ")
    server = ", ".join(theirs for _, _, theirs in shown if theirs).split(", ")
    assert browser[:3] == ["microphone open", "offer sent", "answer here"]
    assert set(browser[3:]) == {"path found", "handshake over", "first sound"}
    flights = [step for step in server if step.startswith("DTLS")]
    ways = [first, "in" if first == "out" else "out"] * 2
    assert flights == [f"DTLS flight {n} {way}" for n, way in enumerate(ways[: 4 if version == "1.2" else 3], 1)]
    assert [step for step in server if step not in flights] == [
        *("offer in", "answer out", "first check in", "keys", "first packet in", "first packet out")
    ]


def test_the_page_the_statistics_and_the_log_tell_the_same(programs: Programs, visit: Callable[..., Visit]) -> None:
    program = programs.direct()
    page = visit(program.address)
    page.call()
    await_set_up(page)
    page.until(lambda _: any("set-up" in line for line in program.output), within=5)
    set_up: dict[str, Any] = page.evaluate("trioice.setUp")
    stats = httpx.get(page.evaluate("trioice.location")).json()
    assert {**stats["set_up"], "rtt": None, "round_trips": None} == {**set_up, "rtt": None, "round_trips": None}
    (line,) = [line for line in program.output if "set-up" in line]
    assert f" keys_ms={set_up['keys'] * 1000:.1f} " in line
    assert f" rtp_out_ms={set_up['rtp_out'] * 1000:.1f} " in line
    text = httpx.get(f"{program.address}/metrics").text
    assert 'trioice_set_up_seconds_count{step="rtp_out",since="offer"} 1\n' in text
    assert 'trioice_set_up_round_trips_count{step="keys"} 1\n' in text


def test_the_steps_are_shown_where_a_token_is_wanted_and_anew_for_another_call(
    programs: Programs, visit: Callable[..., Visit], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("sesame\n")
    program = programs.direct("--token-file", str(tmp_path / "token"))
    page = visit(program.address, fragment="#token=sesame")
    page.call()
    await_set_up(page)
    assert httpx.get(page.evaluate("trioice.location")).status_code == 401
    page.hang_up()
    expect(page.page.locator("#round-trips")).to_have_text(ROUND_TRIPS)  # it is left standing
    before = page.evaluate("trioice.setUp")
    page.call()
    await_set_up(page)
    assert page.evaluate("trioice.setUp") != before


def test_what_is_not_known_is_not_shown(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.direct().address)

    def shown(times: object, set_up: object, posted: object) -> tuple[list[tuple[float, str, str]], str]:
        told = page.page.evaluate(LADDER, [times, set_up, posted])
        return [(row["at"], row["ours"], row["theirs"]) for row in told["rows"]], told["sentence"]

    assert shown({}, None, None) == ([], "")
    ours = [(20, "microphone open", ""), (30, "offer sent", ""), (82, "answer here", "")]
    assert shown(TIMES, None, None) == (ours, "")
    # The offer came half of what is left of the POST without the server's own two milliseconds after it left.
    assert shown(TIMES, SET_UP, POSTED) == (
        [
            *ours[:2],
            (54, "", "offer in"),
            (56, "", "answer out"),
            ours[2],
            (114, "", "first check in, DTLS flight 1 out"),
            (214, "", "DTLS flight 2 in, DTLS flight 3 out, keys"),
            (314, "", "first packet in"),
        ],
        "Round trips of 100 ms from the first check: 1.0 to keys, 2.0 until the server heard you.",
    )
    without = {**SET_UP, "rtt": None, "round_trips": {"keys": None, "rtp_in": None, "rtp_out": None}}
    assert "no round trip was measured" in shown(TIMES, without, POSTED)[1]
    assert shown(TIMES, {**SET_UP, "keys": None, "connected": None}, POSTED)[1] == ""


@pytest.mark.parametrize(("check", "arrived"), [(0.06, 54), (0.01, 72), (0.001, 78), (None, 54)])
def test_the_server_s_clock_is_placed_where_nothing_comes_before_its_cause(
    programs: Programs, visit: Callable[..., Visit], check: float | None, arrived: int
) -> None:
    page = visit(programs.direct().address)
    told = page.page.evaluate(LADDER, [TIMES, {**SET_UP, "check": check}, POSTED])
    assert [round(row["at"]) for row in told["rows"] if row["theirs"].startswith("offer in")] == [arrived]
