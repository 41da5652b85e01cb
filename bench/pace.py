"""The pacer: how late its packets leave, and what they cost, with a send that does nothing: of payloads, and of speech to encode."""

import math
import time
from collections.abc import Sequence
from functools import partial

import attrs
import trio

from bench.machine import SERVER_CORE, on_core, quantiles, table
from tests.audio.voices import voice
from trioice.audio import Opus
from trioice.transceiver.pacer import SLOTS, Pacer
from trioice.transceiver.speaker import Speaker

PTIME = 0.02
RATE = 24000
WARM_UP = 0.2


@attrs.frozen
class Paced:
    """What one measurement gave: CPU seconds, and the lateness of each packet in seconds, when its slot has been flushed."""

    kind: str
    streams: int
    cpu: float
    seconds: float
    missed: int
    late: list[float]


def measure(streams: int, seconds: float, *, speak: bool = False) -> Paced:
    """Write everything at once into so many streams, or as speech into so many speakers, and let them pace it out."""
    with on_core(SERVER_CORE):
        return trio.run(_measure, streams, seconds, voice(RATE, seconds + WARM_UP) if speak else None)


async def _measure(streams: int, seconds: float, speech: bytes | None) -> Paced:
    sent: list[list[float]] = [[] for _ in range(streams)]  # when each packet left, by the grid of its stream's first
    slot: list[tuple[int, int]] = []  # the packets of the slot that is being sent
    samples = round(PTIME * 48000)

    def send(number: int, payload: bytes, timestamp: int, marker: bool) -> None:
        slot.append((number, timestamp))

    def flush() -> None:
        now = trio.current_time()
        for number, timestamp in slot:
            sent[number].append(now - timestamp // samples * PTIME)
        slot.clear()

    pacer = Pacer(flush)
    async with trio.open_nursery() as nursery:
        await nursery.start(pacer.run)
        for number in range(streams):
            if speech is None:
                stream = pacer.open(partial(send, number), ptime=PTIME)
                for _ in range(round((seconds + WARM_UP) / PTIME)):
                    stream.write(b"")
            else:
                pace = partial(pacer.open, partial(send, number), ptime=PTIME)
                speaker = Speaker(
                    Opus(), RATE, path=lambda: (None, 0.0), pace=lambda source, pace=pace: pace(source=source)
                )
                speaker.write_nowait(speech)
        await trio.sleep(WARM_UP)
        for times in sent:
            times.clear()
        began, cpu = trio.current_time(), time.process_time()
        await trio.sleep(seconds)
        cpu, took = time.process_time() - cpu, trio.current_time() - began
        nursery.cancel_scope.cancel()
    late = [each - math.floor(min(times) * SLOTS) / SLOTS for times in sent for each in times]
    return Paced("payloads" if speech is None else "speakers", streams, cpu, took, pacer.missed, late)


def report(measured: Sequence[Paced]) -> str:
    """One row for each number of streams."""
    head = ("of", "streams", "packets/s", "CPU µs/packet", "of a core", "late ms", "steps missed")
    rows = [
        (
            each.kind,
            each.streams,
            f"{len(each.late) / each.seconds:.0f}",
            f"{each.cpu / max(len(each.late), 1) * 1e6:.1f}",
            f"{each.cpu / each.seconds:.0%}",
            quantiles([late * 1000 for late in each.late]),
            each.missed,
        )
        for each in measured
    ]
    return table("Paced packets, sent to nobody; late: 50 and 99 % quantile, after the slot", head, rows)
