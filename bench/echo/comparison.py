"""The comparison: each echo in its turn on a core of its own, before one load on another core, round after round.

A round takes the servers one after the other, so that a slow minute of the machine touches all of them, and its ratios are to ours
of the same round. A server is started anew for each number of calls. Every call is made by HTTP, ICE and DTLS; then all speak, 50
packets of 80 to 120 octets a second each, at moments of their own.

An echoed packet is one that came in, and one that went out. Its cost is CPU time of the server's processes, user's and system's,
until the last echo has come, over the echoes that came. On loopback it includes the receiver's half of the kernel's work.
"""

import os
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from bench.echo.calls import LATE, Calls, Outcome, compile_load
from bench.echo.contestants import OURS, Contestant, Running, compile_mirror, contestants, memory, running
from bench.machine import LOAD_CORE, SERVER_CORE, busy_seconds, on_core, spread, table
from bench.relay.contestants import tree_cpu_seconds
from tests.interop.programs import HOST, free_port
from trioice import srtp

WARM_UP: Final = 1.0
"""Seconds of speech before the measurement begins."""
SETTLE: Final = 1.0
"""Seconds without speech before the memory of idle calls is taken."""
MARGIN: Final = 1.5
"""Of the most calls asked for: what the load must be able to do before a mirror."""
ONE_LOST_IN: Final = 100
"""At the mirror that loses packets, by which the load is seen to count."""
LOSS, DELAY = 0.001, 0.05
"""A server holds a number of calls when it loses less than that, and 99 % of the echoes come within so many seconds."""


@attrs.frozen(kw_only=True)
class Round:
    """One measurement of one server. CPU and time in seconds, memory in octets for a call."""

    server: str
    calls: int
    cpu: float = 0.0
    load: float = 0.0
    others: float = 0.0
    took: float = 0.0
    idle: float = 0.0
    spoken: float = 0.0
    """Memory before the first packet, and after the last."""
    outcome: Outcome = attrs.field(factory=Outcome)
    failed: str = ""

    @property
    def cost(self) -> float:
        """CPU µs of the server for an echoed packet."""
        return self.cpu / max(self.outcome.echoed, 1) * 1e6

    @property
    def holds(self) -> bool:
        """Whether it served all calls well."""
        return not self.failed and self.outcome.on_time and self.outcome.lost < LOSS and self.outcome.echo_99 < DELAY


@attrs.frozen(kw_only=True)
class Comparison:
    """All measurements in the order in which they were made, the load's own, and what was left out."""

    profile: str
    seconds: float
    alone: list[Round] = attrs.field(factory=list)
    rounds: list[list[Round]] = attrs.field(factory=list)
    left_out: list[str]


@contextmanager
def workshop(figure: str, servers: Sequence[str], profile: str) -> Iterator[tuple[Path, list[Contestant], list[str]]]:
    """Build what is to be compared in a folder of its own: the folder, the servers, and a sentence for each that is left out."""
    if LOAD_CORE == SERVER_CORE:
        yield Path(), [], [f"{figure} is not taken: that takes two cores, one for the load."]
    elif shutil.which("gcc") is None:
        yield Path(), [], [f"{figure} is not taken: the load is made with gcc, and there is none."]
    else:
        with TemporaryDirectory() as folder:
            yield Path(folder), *contestants(servers, Path(folder), profile)


@contextmanager
def calling(server: Contestant, library: str, profile: srtp.Profile) -> Iterator[tuple[Running, Calls]]:
    """Run a server on its core until the end of the block, which runs on the load's."""
    with on_core(SERVER_CORE), running(server.command()) as process, on_core(LOAD_CORE):
        calls = Calls(library, profile)
        try:
            yield process, calls
        finally:
            calls.close()


def compare(
    servers: Sequence[str], calls: Sequence[int], rounds: int, seconds: float, profile: srtp.Profile
) -> Comparison:
    """Measure all servers for all numbers of `calls`, and the load alone for half as many again as the most of them."""
    with workshop("echo", servers, profile.name) as (folder, echoes, left_out):
        if not echoes:
            return Comparison(profile=profile.name, seconds=seconds, left_out=left_out)
        library = compile_load(folder)
        alone = [
            _mirror(folder, library, profile, int(max(calls) * MARGIN), seconds, loss) for loss in (0, ONE_LOST_IN)
        ]
        outcomes = [
            [_echo(echo, library, profile, count, seconds) for count in calls for echo in echoes] for _ in range(rounds)
        ]
    return Comparison(profile=profile.name, seconds=seconds, alone=alone, rounds=outcomes, left_out=left_out)


def report(comparison: Comparison) -> str:
    """The load alone; then a row for each number of calls and server; then what each server holds."""
    if not comparison.rounds:
        return "\n".join(comparison.left_out)
    every = [each for group in comparison.rounds for each in group]
    kinds = sorted(dict.fromkeys((each.calls, each.server) for each in every), key=lambda kind: kind[0])
    groups = {kind: [each for each in every if (each.calls, each.server) == kind] for kind in kinds}
    head = (
        "server",
        "calls",
        "µs/echo",
        "ratio to ours",
        "lost",
        "of its core",
        "echo ms",
        "kB/call idle, after",
        "wrong",
        "load late ms",
        "load's CPU",
        "others' CPU",
    )
    title = (
        f"Echo of encrypted audio on one core, {comparison.profile}, {len(comparison.rounds)} rounds of "
        f"{comparison.seconds:.0f} s{_priority()}: median (least–most); the ratio is to ours in the same round"
    )
    alone = "The load alone, before a mirror in C that knows no crypto, and before one that loses 1 in 100"
    notes = [
        "echo, late: 50 and 99 % quantile; lost: on the server's side",
        f"late: so many rounds in which 1 % of the load's own packets left over {LATE * 1000:.0f} ms late; such a round holds nothing",
        "kB/call: PSS over the server's before the first call; without media, and after it",
        "wrong: echoes that were not authentic, not the caller's own, or came twice",
        f"lost by the load itself: {sum(each.outcome.lost_here for each in every)}",
        *(_limit(server, groups) for server in dict.fromkeys(each.server for each in every)),
    ]
    return "\n".join(
        (
            table(alone, head, [_row([each], []) for each in comparison.alone]),
            table(title, head, [_row(group, groups.get((calls, OURS), [])) for (calls, _), group in groups.items()]),
            *notes,
            *comparison.left_out,
        )
    )


def _limit(server: str, groups: dict[tuple[int, str], list[Round]]) -> str:
    held = [
        calls
        for (calls, name), group in groups.items()
        if name == server and sum(each.holds for each in group) * 2 > len(group)
    ]
    what = f"under {LOSS:.1%} lost and 99 % of echoes within {DELAY * 1000:.0f} ms"
    return f"{server}: {what} at {', '.join(map(str, held)) or 'none of these numbers of'} calls (most rounds)"


def _row(group: list[Round], ours: list[Round]) -> tuple[object, ...]:
    first = group[0]
    if failed := next((each.failed for each in group if each.failed), ""):
        return (first.server, first.calls, failed, *[""] * 9)
    outcomes = [each.outcome for each in group]
    memories = [(each.idle, each.spoken) for each in group]
    ratios = [each.cost / limit.cost for each, limit in zip(group, ours, strict=False) if not limit.failed]
    return (
        first.server,
        first.calls,
        spread([each.cost for each in group]),
        spread(ratios, 2) if ratios else "",
        f"{statistics.median(each.lost for each in outcomes):.2%}",
        f"{statistics.median(each.cpu / each.took for each in group):.0%}",
        _milliseconds([(each.echo_50, each.echo_99) for each in outcomes]),
        ", ".join(f"{statistics.median(column) / 1000:.0f}" for column in zip(*memories, strict=True)),
        sum(each.forged + each.strange + each.twice for each in outcomes),
        _milliseconds([(each.late_50, each.late_99) for each in outcomes])
        + (f" ({late} late)" if (late := sum(not each.on_time for each in outcomes)) else ""),
        f"{statistics.median(each.load / each.took for each in group):.0%}",
        f"{statistics.median(each.others / each.took for each in group):.0%}",
    )


def _milliseconds(times: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{statistics.median(column) * 1000:.1f}" for column in zip(*times, strict=True))


def _priority() -> str:
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    return f", all at nice {priority}" if priority else ""


def _mirror(folder: Path, library: str, profile: srtp.Profile, count: int, seconds: float, loss: int) -> Round:
    port = free_port()
    command = (compile_mirror(folder), str(port), str(loss))
    name = f"mirror, loses 1 in {loss}" if loss else "mirror"
    with on_core(SERVER_CORE), running(command, "^mirror$") as process, on_core(LOAD_CORE):
        calls = Calls(library, profile)
        try:
            calls.mirror((HOST, port), count)
            calls.open()
            return measure(name, process, calls, seconds)
        finally:
            calls.close()


def _echo(server: Contestant, library: str, profile: srtp.Profile, count: int, seconds: float) -> Round:
    with calling(server, library, profile) as (process, calls):
        before = memory(process.pid)
        try:
            calls.connect(process.address, count)
        except LookupError as error:
            return Round(server=server.name, calls=count, failed=str(error))
        calls.open()
        calls.run(SETTLE)
        idle = (memory(process.pid) - before) / count
        measured = measure(server.name, process, calls, seconds)
        return attrs.evolve(measured, idle=idle, spoken=(memory(process.pid) - before) / count)


def measure(name: str, process: Running, calls: Calls, seconds: float) -> Round:
    """Let all calls speak for so long."""
    count = len(calls.lines)
    calls.begin(count)
    calls.run(WARM_UP)
    calls.hush()
    calls.begin(count)
    cpu, load, busy = tree_cpu_seconds(process.pid), time.process_time(), busy_seconds()
    began = time.monotonic()
    calls.run(seconds)
    took = calls.hush() - began
    cpu, load = tree_cpu_seconds(process.pid) - cpu, time.process_time() - load
    others = busy_seconds() - busy - cpu - load
    return Round(
        server=name,
        calls=count,
        cpu=cpu,
        load=load,
        others=max(others, 0.0),
        took=took,
        outcome=calls.outcome(),
    )
