"""How much of an agent's speech was heard, as told and as really played by Chromium; and how long a cut takes to be silence there.

The agent says pulses, and tells when it thinks that each is heard. The page listens to what it plays in an AudioWorklet, and tells when
each really left the browser by the output's own clock (`AudioContext.getOutputTimestamp`). Both share the machine's clock.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import attrs
from playwright.sync_api import Browser, sync_playwright

from bench.lab import chromium as lab
from bench.lab.direction import Conditions
from bench.lab.network import network
from bench.lab.servers import server
from bench.machine import table
from tests.interop.browser import Visit, find_chromium, launch, write_tone
from tests.interop.programs import Program, serve

AGENT: Final = str(Path(__file__).parent / "heard_agent.py:agent")

NETWORKS: Final = (None, Conditions(delay=0.05), Conditions(delay=0.05, jitter=0.02))
"""Loopback without any, and the lab's."""

CUTS: Final = 3
"""Utterances that are cut in a call, each after one that is said whole."""

WITHIN: Final = 60.0
"""Seconds for them all to be said: four or five each."""

FAR: Final = 145.0
"""Milliseconds from which on a pulse is another one: half of what lies between two."""

PROBE: Final = """
const LOUD = 0.15, STILL = 0.003; // the hum between pulses is at 0.015
registerProcessor("probe", class extends AudioWorkletProcessor {
  #low = 0; // samples since the last loud one
  #still = 0; // samples without any sound
  #sounds = false;
  process([[samples]]) {
    for (let i = 0; i < (samples?.length ?? 0); i++) {
      const level = Math.abs(samples[i]);
      if (level < LOUD) this.#low++;
      else {
        if (this.#low > sampleRate / 10) this.port.postMessage(["pulse", currentFrame + i]);
        this.#low = 0;
      }
      if (level >= STILL) {
        this.#still = 0;
        this.#sounds = true;
      } else if (++this.#still > sampleRate / 10 && this.#sounds) {
        this.#sounds = false;
        this.port.postMessage(["end", currentFrame + i - this.#still]);
      }
    }
    return true;
  }
});
"""

LISTEN: Final = """async (probe) => {
  const context = new AudioContext({ latencyHint: 0 });
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([probe], { type: "text/javascript" })));
  const node = new AudioWorkletNode(context, "probe");
  const played = (window.played = { pulse: [], end: [] });
  node.port.onmessage = ({ data: [what, frame] }) => {
    const { contextTime, performanceTime } = context.getOutputTimestamp();
    const since = (frame / context.sampleRate - contextTime) * 1000;
    played[what].push((Date.now() - performance.now() + performanceTime + since) / 1000);
  };
  const stream = new MediaStream([trioice.pc.getReceivers()[0].track]);
  context.createMediaStreamSource(stream).connect(node).connect(context.destination);
}"""

CONCEALED: Final = """async () => {
  const stats = [...(await trioice.pc.getStats()).values()];
  const { concealedSamples, totalSamplesReceived } = stats.find(({ type }) => type === "inbound-rtp");
  return concealedSamples / totalSamplesReceived;
}"""


@attrs.frozen(kw_only=True)
class Cut:
    """One `clear`: the error of the heard position, what that may be as told, and when the page was silent; in milliseconds."""

    error: float
    told: float
    silent: float


@attrs.frozen(kw_only=True)
class Heard:
    """One call, in milliseconds: by how much each mark was told after (or, negative, before) it was played, and the cuts.

    Those of the first utterance are apart: a browser's buffer begins large. `concealed` is the part of what was played that was made up.
    """

    first: list[float]
    marks: list[float]
    cuts: list[Cut]
    rtt: float
    jitter: float
    concealed: float


def listen(visit: Visit, program: Program, cuts: int = CUTS) -> Heard:
    """Listen to the agent on a page that was opened `probed`, until it was cut so often."""
    visit.page.get_by_role("button", name="Call").click()
    visit.await_state("connected")
    visit.page.evaluate(LISTEN, PROBE)
    deadline = time.monotonic() + WITHIN
    while len(told := _told(program, "over")) < 2 * cuts:
        assert time.monotonic() < deadline, program.output
        visit.page.wait_for_timeout(200)
    visit.page.wait_for_timeout(300)  # 100 ms of silence tell the end of a sound
    played = visit.evaluate("played")
    concealed = visit.evaluate(CONCEALED)
    visit.hang_up()
    marks = [(mark["turn"], mark, _nearest(played["pulse"], mark["at"])) for mark in _told(program, "reached")]
    late = [(turn, 1000 * (mark["at"] - at)) for turn, mark, at in marks if at is not None]
    return Heard(
        first=[each for turn, each in late if turn == 0],
        marks=[each for turn, each in late if turn > 0],
        cuts=[
            _cut(cut, [(mark["ms"], at) for turn, mark, at in marks if turn == cut["turn"] and at], played["end"])
            for cut in _told(program, "cleared")
        ],
        rtt=1000 * told[-1]["rtt"],
        jitter=1000 * told[-1]["jitter"],
        concealed=concealed,
    )


def _cut(cut: dict[str, Any], marks: Sequence[tuple[float, float]], ends: Sequence[float]) -> Cut:
    position, at = max((mark for mark in marks if mark[1] <= cut["at"]), key=lambda mark: mark[1])
    really = position + 1000 * (cut["at"] - at)
    silent = min((end for end in ends if end > cut["at"] - 0.05), default=float("inf"))
    return Cut(error=cut["heard"] - really, told=cut["error"], silent=1000 * (silent - cut["at"]))


def _nearest(times: Sequence[float], at: float) -> float | None:
    nearest = min(times, key=lambda time: abs(time - at), default=float("inf"))
    return nearest if abs(nearest - at) * 1000 < FAR else None


def _told(program: Program, event: str) -> list[dict[str, Any]]:
    """What the agent has told of one kind so far."""
    told = [json.loads(line) for line in program.output if line.startswith('{"event": ')]
    return [each for each in told if each["event"] == event]


def measure(rounds: int) -> list[tuple[Conditions | None, list[Heard]]]:
    """Call so often over each network. Raises `bench.lab.namespaces.Unavailable` where there can be no lab."""
    return [(conditions, [_call(conditions) for _ in range(rounds)]) for conditions in NETWORKS]


def _call(conditions: Conditions | None) -> Heard:
    with _browser_and_program(conditions) as (browser, program):
        visit = Visit(browser, program.address, probed=True)
        return listen(visit, program)


@contextmanager
def _browser_and_program(conditions: Conditions | None) -> Iterator[tuple[Browser, Program]]:
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        if conditions is None:
            folder = stack.enter_context(TemporaryDirectory())
            program = serve("--agent", AGENT)
            stack.callback(program.stop)
            browser = launch(playwright, find_chromium(), write_tone(Path(folder, "tone.wav"), lab.TONE))
            stack.callback(browser.close)
            yield browser, program
            return
        made = stack.enter_context(network(conditions))
        running = stack.enter_context(server(made.server, "is heard"))
        found = find_chromium()
        yield (
            stack.enter_context(
                lab.chromium(playwright, made.client, executable=found, trial="", policy={}, secure=running.page)
            ),
            running.program,
        )


def report(measured: Sequence[tuple[Conditions | None, Sequence[Heard]]]) -> str:
    """One row for each network."""
    head = ("network", "jitter told", "first utterance", "marks", "heard at a cut", "told ±", "silent after", "made up")
    rows = []
    for conditions, calls in measured:
        cuts = [cut for call in calls for cut in call.cuts]
        rows.append(
            (
                "loopback"
                if conditions is None
                else f"RTT {2000 * conditions.delay:.0f} ms, jitter to {1000 * conditions.jitter:.0f}",
                _range([call.jitter for call in calls]),
                _range([each for call in calls for each in call.first]),
                _range([each for call in calls for each in call.marks]),
                _range([cut.error for cut in cuts]),
                _range([cut.told for cut in cuts]),
                _range([cut.silent for cut in cuts]),
                f"{max(call.concealed for call in calls):.1%}",
            )
        )
    title = "Heard, as told against as played by Chromium, and from clear() to silence there; ms: median (5–95 %)"
    return table(title, head, rows)


def _range(values: Sequence[float]) -> str:
    ordered = sorted(values)
    last = len(ordered) - 1
    low, middle, high = (ordered[round(last * part)] for part in (0.05, 0.5, 0.95))
    return f"{middle:.0f} ({low:.0f}–{high:.0f})"
