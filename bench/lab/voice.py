"""What an agent hears of a caller who talks in Chromium, over a network that loses: one call, and what was missed with each patience.

The same call to a server without repair tells what there was to repair.
"""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

import attrs
from playwright.sync_api import sync_playwright

from bench.lab.chromium import NO_POLICY, chromium
from bench.lab.clients import SECURE, client
from bench.lab.direction import Conditions
from bench.lab.frames import Record
from bench.lab.media import Media
from bench.lab.network import Network, network
from bench.lab.servers import Server, server
from bench.lab.speech import write_speech
from bench.lab.unrepaired import Unrepaired, listener
from bench.lab.wire import sightings
from tests.interop.browser import find_chromium

GOODBYE: Final = 10.0
"""Seconds for the agent to tell its figures, once the page was left."""

SETTLED: Final = 3.5
"""Seconds without loss at the end, in which what is missing may still be repaired, before the goodbye: Chromium keeps three."""

GRACE: Final = 0.2
"""Seconds before the loss ends: what left by then was subject to it, whatever came of it later."""


@attrs.frozen(kw_only=True)
class VoiceCase:
    """A call over `loss`, each way; with a `blackout` of so many seconds in the middle; to us, or to a server without repair."""

    title: str
    loss: float = 0.0
    blackout: float = 0.0
    repaired: bool = True


VOICES: Final = {
    "voice-clean": VoiceCase(title="no loss"),
    "voice": VoiceCase(title="loss each way", loss=0.1),
    "voice-aiortc": VoiceCase(title="loss each way, aiortc at packet level", loss=0.1, repaired=False),
    "blackout": VoiceCase(title="a blackout of 500 ms", blackout=0.5),
    "blackout-aiortc": VoiceCase(title="a blackout of 500 ms, aiortc at packet level", blackout=0.5, repaired=False),
}


@attrs.frozen(kw_only=True)
class Heard:
    """What became of a call: what the network did to the caller's packets, and what the agent told.

    Of a server without repair it is `reached`: how many of the packets that left came in there.
    """

    case: VoiceCase
    media: Media
    microphones: dict[str, dict[str, float]] = attrs.field(factory=dict)
    rtp: dict[str, Any] = attrs.field(factory=dict)
    reached: int | None = None


class Talker(Protocol):
    """Who talks."""

    def begin(self) -> None:
        """Call, and wait until the first sound has come in."""

    def pause(self, milliseconds: int) -> None:
        """Let some time pass."""


def voice(case: VoiceCase, *, rtt: float, seconds: float, seed: int = 1) -> Heard:
    """Make one call of so many seconds. Raises Unavailable where there can be no lab, AssertionError where no call comes about."""
    fair = Conditions(delay=rtt / 2)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        microphone = write_speech(folder / "speech.wav", seconds + 5)
        made = stack.enter_context(network(fair, seed=seed))
        if not case.repaired:
            return _unrepaired(case, made, microphone, fair, seconds)
        running = stack.enter_context(server(made.server, "listens", relayed=True))
        who = stack.enter_context(
            client("chromium", made, running.page, chromium_at=find_chromium(), microphone=microphone)
        )
        who.open()
        media = _talk(who, made, case, fair, seconds)
        who.end()
        told = _told(running, made)
    return Heard(case=case, media=media, microphones=told["microphones"], rtp=told["rtp"])


def _unrepaired(case: VoiceCase, made: Network, microphone: Path, fair: Conditions, seconds: float) -> Heard:
    with ExitStack() as stack:
        stack.enter_context(listener(made.server))
        playwright = stack.enter_context(sync_playwright())
        browser = stack.enter_context(
            chromium(
                playwright,
                made.client,
                executable=find_chromium(),
                trial="",
                policy=NO_POLICY,
                secure=SECURE,
                microphone=microphone,
            )
        )
        who = Unrepaired(browser, made.client, made.server)
        media = _talk(who, made, case, fair, seconds)
        came = set(who.sequences())
    return Heard(case=case, media=media, reached=sum(each & 0xFFFF in came for each in media.packets))


def _talk(who: Talker, made: Network, case: VoiceCase, fair: Conditions, seconds: float) -> Media:
    """Call, and talk for so long while the network loses; what it did to the caller's media in that time."""
    bad = attrs.evolve(fair, loss=case.loss)
    records: list[Record] = []
    made.records()
    who.begin()
    made.shape(bad)
    start = time.monotonic()
    if case.blackout:
        who.pause(round(seconds * 500))
        made.shape(attrs.evolve(bad, up=False))
        who.pause(round(case.blackout * 1000))
        made.shape(bad)
    who.pause(round(1000 * max(0.0, start + seconds - time.monotonic())))
    end = time.monotonic() - GRACE
    made.shape(fair)
    who.pause(round(1000 * SETTLED))
    records += made.records()
    return Media(sightings(records), from_client=True).between(start, end)


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
    media, rtp = heard.media, heard.rtp
    first = (
        f"{heard.case.title}: the network lost {media.lost} of {media.sent} packets of the caller ({percent(media.lost, media.sent)}), "
        f"{media.voiced_lost} of them with speech; {media.resent} were sent again"
    )
    if heard.reached is not None:
        missed = media.sent - heard.reached
        return f"{first}; {missed} ({percent(missed, media.sent)}) never reached the server"
    repairs = f"{rtp['repaired_by_red']} by RED, {rtp['repaired_by_nack']} by NACK, {rtp['late']} late, {rtp['unrepaired']} not in time"
    lines = [
        first,
        f"missed {rtp['packets_missed']}: {repairs}; {rtp['nacks_sent']} NACKs, RTT {1000 * rtp['rtt']:.0f} ms",
        "",
        "| patience | no packet | of these by FEC | lost | added delay p50 | p99 |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    of = media.sent
    for patience, told in sorted(heard.microphones.items(), key=lambda each: -float(each[0])):
        concealed, lost = int(told["concealed"]), int(told["lost"])
        lines.append(
            f"| {float(patience) * 1000:.0f} ms | {concealed} ({percent(concealed, of)}) | {concealed - lost} "
            f"| {lost} ({percent(lost, of)}) | {1000 * told['delay_p50']:.0f} ms | {1000 * told['delay_p99']:.0f} ms |"
        )
    return "\n".join(lines)


def percent(count: int, of: int) -> str:
    """Write a part of a whole."""
    return f"{100 * count / max(of, 1):.2f} %"
