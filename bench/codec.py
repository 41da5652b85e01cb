"""Codecs: what a frame of 20 ms costs to decode and to encode, ours and as aiortc does it.

The payloads to decode are as browsers send them: Opus at 32 kb/s in its mode for speech, with in-band FEC. aiortc decodes to 48 kHz
stereo and encodes that, at 96 kb/s in the mode for speech, as it does when a track is sent back.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from bench.machine import SERVER_CORE, on_core, table
from tests.audio.voices import split, voice
from trioice.audio import PCMU, Codec, Opus
from trioice.audio.opus import Application

SECONDS: Final = 4.0
"""Of speech in one round."""
RATE: Final = 24000
APPLICATIONS: Final[tuple[Application, ...]] = ("lowdelay", "audio", "voip")


@attrs.frozen
class Cost:
    """CPU µs for a frame: the least of some rounds, as other work on the core only adds."""

    what: str
    decode: float
    encode: float


def measure(rounds: int) -> list[Cost]:
    """Measure all; what is not installed is left out."""
    browser = Opus(application="voip", fec=True).encoder(48000)
    payloads = [browser.encode(frame) for frame in split(voice(48000, SECONDS), 48000)]
    low = [PCMU.encoder(8000).encode(frame) for frame in split(voice(8000, SECONDS), 8000)]
    with on_core(SERVER_CORE):
        costs = [_ours(f"Opus {each}", Opus(application=each), payloads, rounds) for each in APPLICATIONS]
        costs.append(_ours("PCMU", PCMU, low, rounds))
        try:
            from aiortc.codecs.opus import OpusDecoder, OpusEncoder
            from aiortc.jitterbuffer import JitterFrame
        except ImportError:
            return costs
        frames = [JitterFrame(payload, 960 * number) for number, payload in enumerate(payloads)]
        decoder = OpusDecoder()
        decoded = [frame for each in frames for frame in decoder.decode(each)]
        decode = min(_once(OpusDecoder().decode, frames) for _ in range(rounds))
        encode = min(_once(OpusEncoder().encode, decoded) for _ in range(rounds))
    return [*costs, Cost("aiortc, Opus, 48 kHz stereo", decode, encode)]


def _ours(name: str, codec: Codec, payloads: Sequence[bytes], rounds: int) -> Cost:
    speech = split(voice(RATE, SECONDS), RATE)
    decode = min(_once(codec.decoder(RATE).decode, payloads) for _ in range(rounds))
    encode = min(_once(codec.encoder(RATE).encode, speech) for _ in range(rounds))
    return Cost(f"trioice, {name}, {RATE // 1000} kHz", decode, encode)


def _once(code: Callable[[Any], object], each: Sequence[object]) -> float:
    began = time.process_time()
    for one in each:
        code(one)
    return (time.process_time() - began) / len(each) * 1e6


def report(costs: Sequence[Cost]) -> str:
    """One row for each."""
    rows = [
        (each.what, f"{each.decode:.0f}", f"{each.encode:.0f}", f"{each.decode + each.encode:.0f}") for each in costs
    ]
    head = ("codec", "decode µs", "encode µs", "both")
    return table(f"A frame of 20 ms of speech, CPU; the least of some rounds of {SECONDS:.0f} s", head, rows)
