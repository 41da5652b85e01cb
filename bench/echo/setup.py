"""Set-up compared: a call is an offer by HTTP, its answer, ICE, DTLS, and its end by close_notify and an HTTP DELETE.

Each round takes the servers one after the other, each started anew, and once at rest again. The callers' DTLS is ours, in Python,
and costs the load as much as it costs our server; so calls a second are told for the server's core, from its CPU time.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Final

import attrs

from bench.echo.calls import compile_load
from bench.echo.comparison import calling, workshop
from bench.echo.contestants import OURS, Contestant
from bench.machine import spread, table
from bench.relay.contestants import tree_cpu_seconds
from trioice import srtp

FIRST: Final = 10
"""Calls before those that count, as a program's first ones cost more."""
REST: Final = 1.0
"""Seconds for what a server still has to do when the last call has ended."""


@attrs.frozen(kw_only=True)
class Round:
    """One measurement of one server, in seconds."""

    server: str
    calls: int
    cpu: float = 0.0
    took: float = 0.0
    failed: str = ""


def measure(
    servers: Sequence[str], count: int, at_once: int, rounds: int, profile: srtp.Profile
) -> tuple[list[Round], list[str]]:
    """Set up `count` calls at each server, `at_once` at a time, and end them."""
    with workshop("setup", servers, profile.name) as (folder, echoes, left_out):
        if not echoes:
            return [], left_out
        library = compile_load(folder)
        return [_measure(echo, library, profile, count, at_once) for _ in range(rounds) for echo in echoes], left_out


def report(rounds: Sequence[Round], at_once: int, profile: srtp.Profile, left_out: Sequence[str]) -> str:
    """One row for each server."""
    if not rounds:
        return "\n".join(left_out)
    ours = [each for each in rounds if each.server == OURS]
    names = list(dict.fromkeys(each.server for each in rounds))
    rows = [_row([each for each in rounds if each.server == name], ours) for name in names]
    title = (
        f"Calls set up and ended (HTTP, SDP, ICE, DTLS, {profile.name}, DELETE), {rounds[0].calls} calls, {at_once} at a "
        f"time, {len(rounds) // len(names)} rounds: median (least–most); the ratio is to ours in the same round"
    )
    head = ("server", "CPU ms/call", "ratio to ours", "calls/s of a core", "reached/s with this load")
    return "\n".join((table(title, head, rows), *left_out))


def _row(rounds: Sequence[Round], ours: Sequence[Round]) -> tuple[object, ...]:
    if failed := next((each.failed for each in rounds if each.failed), ""):
        return (rounds[0].server, failed, "", "", "")
    ratios = [each.cpu / limit.cpu for each, limit in zip(rounds, ours, strict=False) if limit.cpu]
    return (
        rounds[0].server,
        spread([each.cpu / each.calls * 1000 for each in rounds], 2),
        spread(ratios, 2) if ratios else "",
        f"{statistics.median(each.calls / each.cpu for each in rounds):.0f}",
        f"{statistics.median(each.calls / each.took for each in rounds):.0f}",
    )


def _measure(server: Contestant, library: str, profile: srtp.Profile, count: int, at_once: int) -> Round:
    with calling(server, library, profile) as (process, calls):
        try:
            calls.connect(process.address, FIRST, at_once)
            calls.hang_up()
            time.sleep(REST)
            cpu, began = tree_cpu_seconds(process.pid), time.monotonic()
            calls.connect(process.address, count, at_once)
            took = time.monotonic() - began
        except LookupError as error:
            return Round(server=server.name, calls=count, failed=str(error))
        calls.hang_up()
        time.sleep(REST)
        return Round(server=server.name, calls=count, cpu=tree_cpu_seconds(process.pid) - cpu, took=took)
