"""What a page plays of what an agent wrote ahead: whether all of it and evenly, and how soon it falls silent when the agent is cut off."""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

import attrs
import numpy as np

from bench.lab import recorder
from bench.lab.clients import ChromiumClient, client
from bench.lab.direction import Conditions
from bench.lab.media import Media
from bench.lab.network import network
from bench.lab.others import others
from bench.lab.recorder import Recording
from bench.lab.report import quantile
from bench.lab.servers import Agent, Server, server
from bench.lab.sweep import HOP, LENGTH, QUIET, WINDOW, loudness, position, utterances
from bench.lab.wire import sightings
from bench.machine import LOAD_CORE, SERVER_CORE, cpu_seconds, on_core, spread
from tests.interop.browser import find_chromium

SETTLED: Final = 0.9
"""Seconds after a cut in which nothing new is said (`speaking.PAUSE`)."""

GAP: Final = 0.3
"""Seconds of silence that part two utterances."""

FADED: Final = 0.05
"""Seconds at either end of an utterance where its pitch is not looked at: it begins and ends there."""

GOODBYE: Final = 5.0
"""Seconds for what the agent told to come."""

PLAYED: Final = """async () => {
  const inbound = [...(await trioice.pc.getStats()).values()].find(({ type }) => type === "inbound-rtp");
  return {
    concealed: inbound.concealedSamples, silent: inbound.silentConcealedSamples,
    buffered: inbound.jitterBufferDelay / inbound.jitterBufferEmittedCount,
  };
}"""


@attrs.frozen(kw_only=True)
class PlayingCase:
    """A call to an `agent`, beside `others`."""

    title: str
    agent: Agent
    others: int = 0


PLAYS: Final = {
    "barge-in": PlayingCase(title="An agent that is interrupted", agent="is interrupted"),
    "ahead": PlayingCase(
        title="Eight seconds written in 0.1 s, agents speak half of the time", agent="converses", others=200
    ),
    "ahead-all": PlayingCase(
        title="Eight seconds written in 0.1 s, agents speak all the time", agent="speaks ahead", others=130
    ),
}


@attrs.frozen(kw_only=True)
class Cut:
    """One `clear`, in ms.

    From it until the last packet with sound left the server's host, and until the page fell silent; how much was heard by then, as the
    speaker `told`, which may err by `error`, and as the page had `played`.
    """

    wire: float
    silence: float
    told: float
    error: float
    played: float


@attrs.frozen(kw_only=True)
class Said:
    """One utterance that was played to the end, in ms.

    How long after its first write it began, how much longer it took than what was written, how far it ran from an even pace, and how
    much of it was silence.
    """

    began: float
    longer: float
    uneven: float
    silent: float


@attrs.frozen(kw_only=True)
class Played:
    """A call: its cuts, or its utterances, those of `told` that the page played while it was recorded.

    Also by how many ms after its place in time each packet left, how much of a core the transceiver took, and Chromium's own figures.
    """

    case: PlayingCase
    told: int
    cuts: list[Cut]
    said: list[Said]
    late: list[float]
    cpu: float
    page: dict[str, float]


def play(case: PlayingCase, *, rtt: float, seconds: float, seed: int = 1) -> Played:
    """Make one call of so many seconds. Raises Unavailable where there can be no lab, AssertionError where no call comes about."""
    with ExitStack() as stack:
        made = stack.enter_context(network(Conditions(delay=rtt / 2), seed=seed))
        with on_core(SERVER_CORE):
            running = stack.enter_context(server(made.server, case.agent, relayed=True))
        stack.enter_context(on_core(LOAD_CORE))
        stack.enter_context(others(made.server, running.page, case.others))
        who = stack.enter_context(client("chromium", made, running.page, chromium_at=find_chromium()))
        assert isinstance(who, ChromiumClient)
        who.open()
        who.begin()
        recorder.start(who.page)
        spent = cpu_seconds(running.program.pid)
        who.pause(round(seconds * 1000))
        spent = cpu_seconds(running.program.pid) - spent
        recording = recorder.stop(who.page)
        page = who.page.evaluate(PLAYED)
        name = who.page.evaluate("trioice.location.split('/').pop().slice(0, 10)")
        records = made.records()
        who.end()
        told = [each for each in _told(running) if each["call"] == name]
    media = Media(sightings(records), from_client=False)
    cut = case.agent == "is interrupted"
    return Played(
        case=case,
        told=len(told),
        cuts=[each for one in told if (each := _cut(one, recording, media))] if cut else [],
        said=[] if cut else _said(told, recording),
        late=media.lateness(),
        cpu=spent / seconds,
        page=page,
    )


def _told(running: Server) -> list[dict[str, Any]]:
    """Read what the agents told, once the last of it has come."""
    time.sleep(0.5)
    lines = [line for line in running.program.output if line.startswith("SAID ")]
    assert lines, f"the agent told nothing:\n{''.join(running.program.output)}"
    return [json.loads(line.removeprefix("SAID ")) for line in lines]


def _cut(told: dict[str, Any], recording: Recording, media: Media) -> Cut | None:
    """Look at one cut; None where the recording does not have all of it, or the page played nothing just then: its host was busy."""
    at = told["at"]
    sample = recording.sample(at)
    if sample < WINDOW or recording.sample(at + SETTLED) > len(recording.heard):
        return None
    last = media.last_sound_before(at + SETTLED)
    played = position(recording.heard, sample)
    if last is None or played is None:
        return None
    end = next(end for start, end in utterances(recording.heard, pause=GAP) if start <= sample < end)
    return Cut(
        wire=1000 * (last - at),
        silence=1000 * (recording.at(end) - at),
        told=told["heard_ms"],
        error=told["error_ms"],
        played=1000 * played,
    )


def _said(told: Sequence[dict[str, Any]], recording: Recording) -> list[Said]:
    """Look at each utterance that the recording has the whole of."""
    said = []
    for one in told:
        first, last = recording.sample(one["began"]), recording.sample(one["finished"] + SETTLED)
        if first < 0 or last > len(recording.heard):
            continue
        heard = recording.heard[first:last]
        loud = np.flatnonzero(loudness(heard) > QUIET)
        start, end = int(loud[0]) * HOP, int(loud[-1] + 1) * HOP
        inner = range(start + round(FADED * 48000), end - round(FADED * 48000), HOP)
        off = [place - middle / 48000 for middle in inner if (place := position(heard, middle)) is not None]
        said.append(
            Said(
                began=1000 * start / 48000,
                longer=1000 * ((end - start) / 48000 - LENGTH),
                uneven=1000 * (max(off) - min(off)),
                silent=1000 * ((end - start) // HOP - len(loud)) * HOP / 48000,
            )
        )
    return said


def report(played: Played, rtt: float) -> str:
    """Write a call's figures."""
    others = f", while {played.case.others} other calls run" if played.case.others else ""
    rows: list[tuple[str, list[float]]] = []
    if played.cuts:
        cuts = played.cuts
        rows += [
            ("clear() to the last packet with sound on the wire", [cut.wire for cut in cuts]),
            ("clear() to silence in the page", [cut.silence for cut in cuts]),
            ("heard, as told, less what was played by then", [cut.told - cut.played for cut in cuts]),
            ("… which may err by, as told", [cut.error for cut in cuts]),
        ]
    if played.said:
        said = played.said
        rows += [
            ("first write to sound in the page", [each.began for each in said]),
            ("longer than what was written", [each.longer for each in said]),
            ("silent within", [each.silent for each in said]),
            ("ran from an even pace by", [each.uneven for each in said]),
        ]
    count = len(played.cuts) or len(played.said)
    lines = [
        f"{played.case.title}{others}: RTT {1000 * rtt:.0f} ms, {count} of {played.told} times; ms: median (least–most)",
        "",
        "| | |",
        "| --- | ---: |",
    ]
    lines += [f"| {name} | {spread(values, 0)} |" for name, values in rows]
    lines.append(
        f"| packets left after their time, 50 and 99 % | {quantile(played.late, 0.5):.1f}, {quantile(played.late, 0.99):.1f} |"
    )
    lines.append(f"| in the page's jitter buffer, by its own count | {1000 * played.page['buffered']:.0f} |")
    lines.append(f"| the transceiver took, of a core | {played.cpu:.0%} |")
    return "\n".join(lines)
