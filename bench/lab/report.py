"""The lab's table, in Markdown."""

import math
import statistics
from collections.abc import Callable, Sequence

import attrs

from bench.lab.calls import Made
from bench.lab.cases import Case
from bench.machine import spread

HEAD = ("case", "DTLS, group", "SRTP", "until", "ms", "95 %", "round trips", "counted")

EXPLAINED = """\
At each host, from the first check that it sent or got until …: median (least–most) and the 95 % quantile in ms; the median
in round trips by the clock, and as counted on the datagrams."""


@attrs.frozen(kw_only=True)
class Measured:
    """The calls of a case to an agent that speaks at once, and to an echo; `failed` did not come about."""

    case: Case
    made: list[Made]
    echoed: list[Made]
    failed: int


def report(measured: Sequence[Measured], rtt: float) -> str:
    """One row for each case and moment."""
    rows = [row for each in measured for row in _rows(each, rtt)]
    late = sorted(late * 1000 for each in measured for made in each.made + each.echoed for late in made.late)
    lines = [
        f"RTT {rtt * 1000:.0f} ms. {EXPLAINED}",
        "",
        *(f"| {' | '.join(row)} |" for row in (HEAD, ("---",) * 4 + ("---:",) * 4, *rows)),
    ]
    if late:
        at = [late[len(late) * part // 1000] for part in (500, 990, 999)]
        lines += ["", f"The bridge itself was late by {at[0]:.2f} ms; 99 %: {at[1]:.2f}; 99.9 %: {at[2]:.2f}."]
    return "\n".join(lines)


def quantile(values: Sequence[float], part: float) -> float:
    """The least value that so large a part of all does not exceed."""
    return sorted(values)[math.ceil(part * len(values)) - 1]


def _rows(each: Measured, rtt: float) -> list[tuple[str, ...]]:
    calls = len(each.made) + each.failed
    title = each.case.title + (f", {each.case.loss:.0%} loss each way" if each.case.loss else "")
    title += f"; {len(each.made)} of {calls} calls" if each.failed else f"; {calls} calls"
    moments: list[tuple[str, list[Made], Callable[[Made], float | None], Callable[[Made], float] | None]] = [
        (
            "client's first SRTP leaves",
            each.made,
            lambda made: made.ladder.speaks(client=True),
            lambda made: made.ladder.round_trips_until_it_speaks(client=True),
        ),
        (
            "server's first SRTP comes in at the client",
            each.made,
            lambda made: made.ladder.hears(client=True),
            lambda made: made.ladder.round_trips_until_it_hears(client=True),
        ),
        (
            "at the server: its first SRTP leaves",
            each.made,
            lambda made: made.ladder.speaks(client=False),
            lambda made: made.ladder.round_trips_until_it_speaks(client=False),
        ),
        (
            "at the server: client's first SRTP comes in",
            each.made,
            lambda made: made.ladder.hears(client=False),
            lambda made: made.ladder.round_trips_until_it_hears(client=False),
        ),
        ("client: last of the handshake to first SRTP", each.made, lambda made: made.ladder.waited(client=True), None),
        ("from the POST: first echoed SRTP comes in", each.echoed, lambda made: made.post_to_media, None),
        ("from the click: first echoed sound", each.echoed, lambda made: made.click_to_sound, None),
    ]
    rows: list[tuple[str, ...]] = []
    for moment, calls_made, figure, count in moments:
        values = [value for made in calls_made if (value := figure(made)) is not None]
        if values:
            counted = f"{statistics.median([count(made) for made in calls_made]):g}" if count else ""
            rows.append((title, *_agreed(calls_made), moment, *_figures(values, rtt), counted))
    return rows


def _figures(values: Sequence[float], rtt: float) -> tuple[str, str, str]:
    milliseconds = [value * 1000 for value in values]
    return (
        spread(milliseconds, 0),
        f"{quantile(milliseconds, 0.95):.0f}",
        f"{statistics.median(values) / rtt:.2f}",
    )


def _agreed(calls: Sequence[Made]) -> tuple[str, str]:
    """What was agreed on in these calls; more than one, where it differed."""
    handshakes = {f"{agreed.version}, {agreed.group}" for agreed in (made.ladder.agreed() for made in calls)}
    return " or ".join(sorted(handshakes)), " or ".join(sorted({made.stats["srtp"] for made in calls}))
