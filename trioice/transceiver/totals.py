"""What a transceiver counts: its calls, and what their layers counted, summed over those that live and those that have ended."""

import enum
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from trioice.endpoint import Endpoint
from trioice.metrics import Histogram, Sample
from trioice.session import Session
from trioice.timeline import COUNTED, Step, Timeline

SECONDS: Final = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
"""Buckets of the time that a set-up takes: fine where a path across a continent and one across an ocean differ, and up to the time
after which a call without a check is given up."""

ROUND_TRIPS: Final = (0.5, 1.1, 1.6, 2.1, 2.6, 3.1, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0)
"""Buckets of round trips: a little above each half that a handshake takes by its nature, then what losses add."""

TIMED: Final = (Step.CHECK, *COUNTED)
"""The steps that metrics tell the times of."""


_Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name without its prefix, and the labels of one of its series."""


class Totals:
    """Counters since the start. Those of a call are added when it ends, and read from its session until then."""

    def __init__(self) -> None:
        self.answered = 0
        self.ended: Counter[str] = Counter()  # reason → calls
        self._seconds = Histogram(
            "trioice_set_up_seconds",
            "Seconds from the offer, or from the first check, to each step of a call.",
            SECONDS,
        )
        self._round_trips = Histogram(
            "trioice_set_up_round_trips",
            "Round trips of the path from the first check to each step of a call.",
            ROUND_TRIPS,
        )
        self._counts: Counter[_Series] = Counter()  # what ended calls counted

    def set_up(self, timeline: Timeline) -> None:
        """Count a call's set-up, once: when it is complete, or with the steps that it reached when the call ends before."""
        for step in TIMED:
            for since in (Step.OFFER, Step.CHECK):
                seconds = timeline.after(step, since)
                if seconds is not None and step is not since:
                    self._seconds.observe(seconds, step=step.value, since=since.value)
        for step in COUNTED:
            round_trips = timeline.round_trips(step)
            if round_trips is not None:
                self._round_trips.observe(round_trips, step=step.value)

    def end(self, session: Session, reason: str, now: float) -> None:
        """Add up a session that has ended."""
        self.ended[reason] += 1
        self._counts.update(dict(_counts(session, now)))

    def samples(self, sessions: Iterable[Session], endpoint: Endpoint, now: float) -> Iterator[Sample]:
        """Tell everything, as Prometheus wants it. `sessions` are those that live."""
        counts = self._counts.copy()
        live = 0
        for session in sessions:
            live += 1
            counts.update(dict(_counts(session, now)))
        for drop, count in endpoint.dropped.items():
            counts[_dropped("endpoint", drop)] += count
        yield Sample(name="trioice_calls", kind="gauge", help="Calls that live.", value=live)
        yield _counter("calls_total", "Calls answered.", self.answered)
        for reason, count in self.ended.items():
            yield _counter("calls_ended_total", "Calls that ended, by reason.", count, reason=reason)
        for (name, labels), count in sorted(counts.items()):
            yield _counter(name, _HELP[name], count, **dict(labels))
        yield from self._seconds.samples()
        yield from self._round_trips.samples()


_HELP = {
    "dropped_total": "Datagrams and packets refused, by layer and reason.",
    "received_packets_total": "RTP packets of callers, authentic and new.",
    "lost_packets_total": "RTP packets of callers that never came.",
    "sent_packets_total": "RTP packets sent to callers.",
}


def _counts(session: Session, now: float) -> Iterator[tuple[_Series, float]]:
    stats = session.rtp.stats(now)
    yield ("received_packets_total", ()), stats.packets_received
    yield ("lost_packets_total", ()), max(0, stats.packets_lost)
    yield ("sent_packets_total", ()), stats.packets_sent
    for layer, dropped in session.drops():
        for drop, count in dropped.items():
            yield _dropped(layer, drop), count


def _dropped(layer: str, drop: enum.Enum) -> _Series:
    return "dropped_total", (("layer", layer), ("reason", drop.name.lower()))


def _counter(name: str, text: str, value: float, **labels: str) -> Sample:
    return Sample(name=f"trioice_{name}", kind="counter", help=text, value=value, labels=labels)
