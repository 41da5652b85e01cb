"""What an agent hears of a caller who talks in Chromium, over a network that loses: one call, and what was missed with each patience."""

import json
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import attrs

from bench.lab.clients import client
from bench.lab.direction import Conditions
from bench.lab.frames import Record
from bench.lab.network import Network, network
from bench.lab.servers import Server, server
from bench.lab.speech import write_speech
from bench.lab.wire import Kind, sightings
from tests.interop.browser import find_chromium

GOODBYE: Final = 10.0
"""Seconds for the agent to tell its figures, once the page was left."""


@attrs.frozen(kw_only=True)
class VoiceCase:
    """A call over `loss`, each way; with a `blackout` of so many seconds in the middle."""

    title: str
    loss: float = 0.0
    blackout: float = 0.0


VOICES: Final = {
    "voice-clean": VoiceCase(title="no loss"),
    "voice": VoiceCase(title="10 % loss each way", loss=0.1),
    "voice-blackout": VoiceCase(title="a blackout of 500 ms", blackout=0.5),
}


@attrs.frozen(kw_only=True)
class Heard:
    """What became of a call: the caller's media packets that left and that the network lost, and what the agent told."""

    case: VoiceCase
    sent: int
    lost: int
    microphones: dict[str, dict[str, float]]
    rtp: dict[str, Any]


def voice(case: VoiceCase, *, rtt: float, seconds: float, seed: int = 1) -> Heard:
    """Make one call of so many seconds. Raises Unavailable where there can be no lab, AssertionError where no call comes about."""
    fair = Conditions(delay=rtt / 2)
    records: list[Record] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        microphone = write_speech(folder / "speech.wav", seconds + 5)
        made = stack.enter_context(network(fair, seed=seed))
        running = stack.enter_context(server(made.server, "listens", relayed=True))
        who = stack.enter_context(
            client("chromium", made, running.page, chromium_at=find_chromium(), microphone=microphone)
        )
        who.open()
        who.begin()
        records += made.records()
        began = len(records)
        made.shape(attrs.evolve(fair, loss=case.loss))
        start = time.monotonic()
        dark = start + seconds / 2 if case.blackout else float("inf")
        while (now := time.monotonic()) < start + seconds:
            if now >= dark:
                made.shape(attrs.evolve(fair, up=False))
                who.pause(round(case.blackout * 1000))
                made.shape(attrs.evolve(fair, loss=case.loss))
                dark = float("inf")
            who.pause(100)
            records += made.records()
        sent, lost = _counted(records[began:])
        made.shape(fair)
        who.pause(3500)  # what is missing may still be repaired, before the goodbye
        records += made.records()
        who.end()
        told = _told(running, made)
    return Heard(case=case, sent=sent, lost=lost, microphones=told["microphones"], rtp=told["rtp"])


def _counted(records: Iterable[Record]) -> tuple[int, int]:
    """Count the client's media packets that left for the first time, and those of them that the network lost."""
    fates: dict[int, bool] = {}
    for sighting in sightings(records):
        if sighting.from_client and sighting.kind is Kind.SRTP:
            fates.setdefault(int.from_bytes(sighting.datagram[2:4], "big"), sighting.arrived is None)
    return len(fates), sum(fates.values())


def _told(running: Server, made: Network) -> dict[str, Any]:
    until = time.monotonic() + GOODBYE
    while time.monotonic() < until:
        for line in running.program.output:
            if line.startswith("HEARD "):
                told: dict[str, Any] = json.loads(line.removeprefix("HEARD "))
                return told
        made.records()
        time.sleep(0.05)
    raise AssertionError(f"the agent told no figures:\n{''.join(running.program.output)}")


def report(heard: Heard) -> str:
    """Write a call's table."""
    rtp = heard.rtp
    network = f"the network lost {heard.lost} of {heard.sent} packets of the caller ({percent(heard.lost, heard.sent)})"
    repairs = f"{rtp['repaired_by_red']} by RED, {rtp['repaired_by_nack']} by NACK, {rtp['late']} late, {rtp['unrepaired']} not in time"
    lines = [
        f"{heard.case.title}: {network}",
        f"missed {rtp['packets_missed']}: {repairs}; {rtp['nacks_sent']} NACKs, RTT {1000 * rtp['rtt']:.0f} ms",
        "",
        "| patience | frames | no packet | of these by FEC | lost | added delay p50 | p99 |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for patience, told in heard.microphones.items():
        concealed, lost, frames = int(told["concealed"]), int(told["lost"]), int(told["frames"])
        lines.append(
            f"| {float(patience) * 1000:.0f} ms | {frames} | {concealed} ({percent(concealed, frames)}) | {concealed - lost} "
            f"| {lost} ({percent(lost, frames)}) | {1000 * told['delay_p50']:.0f} ms | {1000 * told['delay_p99']:.0f} ms |"
        )
    return "\n".join(lines)


def percent(count: int, of: int) -> str:
    """Write a part of a whole."""
    return f"{100 * count / max(of, 1):.2f} %"
