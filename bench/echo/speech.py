"""The echo in PCM compared: speech decoded and encoded again, by an agent of ours at 24 kHz and by aiortc's own tracks.

The load is that of the packet-level echo, but says Opus as browsers do: 32 kb/s in the mode for speech, with in-band FEC. What comes
back is counted, and not listened to.
"""

import importlib.util
import statistics
import sys
from collections.abc import Sequence
from typing import Final

import attrs

from bench.echo.calls import compile_load
from bench.echo.comparison import Round, calling, measure, workshop
from bench.echo.contestants import OURS, Contestant, memory, ours
from bench.machine import spread, table
from tests.audio.voices import split, voice
from trioice import srtp
from trioice.audio import Opus

SECONDS: Final = 4.0
"""Of speech that differs."""
CALLS: Final = (5, 50)
AGENT: Final = "bench/echo/agent.py:echo"


@attrs.frozen
class Speech:
    """All measurements, in the order in which they were made."""

    rounds: list[Round]
    left_out: list[str]


def compare(servers: Sequence[str], calls: Sequence[int], rounds: int, seconds: float, profile: srtp.Profile) -> Speech:
    """Measure those of `servers` that there are for all numbers of `calls`."""
    with workshop("speech", (), profile.name) as (folder, _, left_out):
        if left_out:
            return Speech([], left_out)
        library = compile_load(folder)
        echoes = [Contestant(OURS, lambda: ours(profile.name, "--agent", AGENT))] if OURS in servers else []
        if "aiortc" in servers and importlib.util.find_spec("aiortc"):
            command = (sys.executable, "-m", "bench.echo.aiortc_server", profile.name, "tracks")
            echoes.append(Contestant("aiortc", lambda: command))
        measured = [
            _echo(echo, library, profile, count, seconds) for _ in range(rounds) for count in calls for echo in echoes
        ]
    return Speech(measured, left_out)


def report(speech: Speech) -> str:
    """A row for each number of calls and server."""
    if not speech.rounds:
        return "\n".join(speech.left_out)
    kinds = dict.fromkeys((each.calls, each.server) for each in speech.rounds)
    rows = []
    for calls, server in kinds:
        group = [each for each in speech.rounds if (each.calls, each.server) == (calls, server)]
        if failed := next((each.failed for each in group if each.failed), ""):
            rows.append((server, calls, failed, *[""] * 6))
            continue
        costs = [_share(each) for each in group]
        rows.append(
            (
                server,
                calls,
                spread(costs, 2),
                f"{100 / statistics.median(costs):.0f}",
                f"{statistics.median(each.cpu / each.took for each in group):.0%}",
                f"{statistics.median(each.took for each in group):.1f}",
                f"{statistics.median(each.outcome.echoed / max(each.outcome.sent, 1) for each in group):.1%}",
                f"{statistics.median(each.spoken for each in group) / 1000:.0f}",
                f"{statistics.median(each.others / each.took for each in group):.0%}",
            )
        )
    head = (
        "server",
        "calls",
        "% of a core a call",
        "calls a core",
        "of its core",
        "took s",
        "echoed",
        "kB/call",
        "others' CPU",
    )
    return table("Echo of speech, decoded and encoded again: median (least–most)", head, rows)


def _share(measured: Round) -> float:
    """Hundredths of a core that a call takes: 50 packets each second."""
    return measured.cost * 50 / 1e4


def _echo(server: Contestant, library: str, profile: srtp.Profile, count: int, seconds: float) -> Round:
    encoder = Opus(application="voip", fec=True).encoder(48000)
    words = [encoder.encode(frame) for frame in split(voice(48000, SECONDS), 48000)]
    with calling(server, library, profile) as (process, calls):
        before = memory(process.pid)
        try:
            calls.connect(process.address, count)
        except LookupError as error:
            return Round(server=server.name, calls=count, failed=str(error))
        calls.open()
        calls.say(words)
        measured = measure(server.name, process, calls, seconds)
        return attrs.evolve(measured, spoken=(memory(process.pid) - before) / count)
