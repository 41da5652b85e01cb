"""Load: callers on loopback who speak to an echo through a relay (`bench.callers`); CPU time per packet of relay and transceiver.

A packet is one datagram that the relay takes and sends on. The transceiver takes or sends that same datagram, so both costs have
one denominator, and a call is a hundred packets a second. Checks and reports are counted among them: under one in fifty.
"""

import gc
import time
from collections.abc import Sequence
from typing import Final

import attrs

from bench.callers import Callers
from bench.machine import LOAD_CORE, SERVER_CORE, busy_seconds, cpu_seconds, on_core, quantiles, spread, table
from bench.servers import Servers, count, servers

WARM_UP: Final = 2.0
"""Seconds of speech before the measurement begins, and of silence after it for the last echoes."""

FORWARDED: Final = "trioice_relay_forwarded_datagrams_total"


@attrs.frozen(kw_only=True)
class Round:
    """What one measurement gave; times in seconds, CPU time of each process between the same two moments."""

    profile: str
    calls: int
    seconds: float
    packets: int
    relay: float
    transceiver: float
    load: float
    others: float
    spoken: int
    missing: int
    lateness: list[float]
    round_trips: list[float]


def measure(profile: str, calls: int, seconds: float) -> Round:
    """Start servers, connect `calls` callers one after the other, let all speak for `seconds`."""
    with on_core(SERVER_CORE), servers("--srtp", profile) as both, on_core(LOAD_CORE):
        callers = Callers(calls)
        gc.disable()  # the load's own pauses would be counted as the servers' round trips
        try:
            callers.connect(both.transceiver.address)
            return _measure(both, callers, profile, calls, seconds)
        finally:
            gc.enable()
            callers.close()


def report(rounds: Sequence[Round]) -> str:
    """One row for each SRTP profile and number of calls, over its rounds."""
    kinds: dict[tuple[str, int], list[Round]] = {}
    for each in rounds:
        kinds.setdefault((each.profile, each.calls), []).append(each)
    head = (
        "SRTP profile",
        "calls",
        "packets/s",
        "relay µs/packet",
        "transceiver µs/packet",
        "missing",
        "round trip ms",
        "load's CPU",
        "others' CPU",
        "load late ms",
    )
    title = (
        f"CPU time per packet, {len(rounds) // len(kinds)} rounds of {rounds[0].seconds:.0f} s: median (least–most); "
        "round trip and lateness: 50 and 99 % quantile"
    )
    return table(title, head, [_row(*kind, group) for kind, group in kinds.items()])


def _row(profile: str, calls: int, rounds: list[Round]) -> tuple[object, ...]:
    return (
        profile,
        calls,
        f"{sum(each.packets for each in rounds) / sum(each.seconds for each in rounds):.0f}",
        spread([each.relay / each.packets * 1e6 for each in rounds]),
        spread([each.transceiver / each.packets * 1e6 for each in rounds]),
        f"{sum(each.missing for each in rounds)} of {sum(each.spoken for each in rounds)}",
        quantiles([trip * 1000 for each in rounds for trip in each.round_trips]),
        f"{sum(each.load for each in rounds) / sum(each.seconds for each in rounds):.0%}",
        f"{sum(each.others for each in rounds) / sum(each.seconds for each in rounds):.0%}",
        quantiles([late * 1000 for each in rounds for late in each.lateness]),
    )


def _measure(both: Servers, callers: Callers, profile: str, calls: int, seconds: float) -> Round:
    callers.speak()
    callers.run(WARM_UP)
    callers.lateness.clear()
    # Asking for the metrics costs a server some CPU time, so both answers are given outside of what is measured.
    packets = count(both.relay_metrics, FORWARDED)
    relay, transceiver = cpu_seconds(both.relay.pid), cpu_seconds(both.transceiver.pid)
    began, load, busy = time.monotonic(), time.process_time(), busy_seconds()
    callers.run(seconds)
    took, load = time.monotonic() - began, time.process_time() - load
    relay, transceiver = cpu_seconds(both.relay.pid) - relay, cpu_seconds(both.transceiver.pid) - transceiver
    others = busy_seconds() - busy - load - relay - transceiver
    packets = count(both.relay_metrics, FORWARDED) - packets
    lateness = callers.lateness.copy()
    callers.hush()
    callers.run(WARM_UP)
    return Round(
        profile=profile,
        calls=calls,
        seconds=took,
        packets=packets,
        relay=relay,
        transceiver=transceiver,
        load=load,
        others=max(others, 0.0),
        spoken=callers.spoken,
        missing=callers.missing,
        lateness=lateness,
        round_trips=callers.round_trips,
    )
