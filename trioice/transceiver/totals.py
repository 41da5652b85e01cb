"""What a transceiver counts: its calls, and what their layers counted, summed over those that live and those that have ended."""

import enum
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from trioice.endpoint import Endpoint
from trioice.metrics import Histogram, Sample
from trioice.session import Session
from trioice.timeline import COUNTED, Step, Timeline
from trioice.transceiver.quality import Quality

SECONDS: Final = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
"""Buckets of the time that a set-up takes: fine where a path across a continent and one across an ocean differ, and up to the time
after which a call without a check is given up."""

ROUND_TRIPS: Final = (0.5, 1.1, 1.6, 2.1, 2.6, 3.1, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0)
"""Buckets of round trips: a little above each half that a handshake takes by its nature, then what losses add."""

DELAYS: Final = (0.0, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 3.0)
"""Buckets of round trips, and of the time that speech was held back: nothing, a packet, and up to the longest patience."""

BARGE_IN: Final = (0.005, 0.01, 0.015, 0.02, 0.03, 0.05)
"""Buckets of the time from a `clear` to the last sound on the wire: a packet's time is the promise."""

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
        self._delay = Histogram(
            "trioice_added_delay_seconds",
            "Seconds that 99 % of a call's speech was held back at most, behind what was missing; of each call that has ended.",
            DELAYS,
        )
        self._rtt = Histogram(
            "trioice_rtt_seconds", "The round trip of each call that has ended, as last measured.", DELAYS
        )
        self._barge_in = Histogram(
            "trioice_barge_in_seconds",
            "Seconds from clearing what is said to the last sound of it on the wire; the longest of each call that has ended.",
            BARGE_IN,
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

    def end(self, session: Session, reason: str, quality: Quality, now: float) -> None:
        """Add up a session that has ended, and how its call sounded."""
        self.ended[reason] += 1
        self._counts.update(dict(_counts(session, quality, now)))
        if quality.frames and quality.patience:
            self._delay.observe(quality.delay_p99)
        if quality.rtt is not None:
            self._rtt.observe(quality.rtt)
        if quality.clears:
            self._barge_in.observe(quality.longest_clear_ms / 1000)

    def samples(self, calls: Iterable[tuple[Session, Quality]], endpoint: Endpoint, now: float) -> Iterator[Sample]:
        """Tell everything, as Prometheus wants it. `calls` are those that live."""
        counts = self._counts.copy()
        live = 0
        for session, quality in calls:
            live += 1
            counts.update(dict(_counts(session, quality, now)))
        for drop, count in endpoint.dropped.items():
            counts[_dropped("endpoint", drop)] += count
        yield Sample(name="trioice_calls", kind="gauge", help="Calls that live.", value=live)
        yield _counter("calls_total", "Calls answered.", self.answered)
        for reason, count in self.ended.items():
            yield _counter("calls_ended_total", "Calls that ended, by reason.", count, reason=reason)
        for (name, labels), count in sorted(counts.items()):
            yield _counter(name, _HELP[name], count, **dict(labels))
        yield from self._seconds.samples()
        for histogram in (self._round_trips, self._delay, self._rtt, self._barge_in):
            yield from histogram.samples()


_HELP = {
    "dropped_total": "Datagrams and packets refused, by layer and reason.",
    "received_packets_total": "RTP packets of callers, authentic and new.",
    "lost_packets_total": "RTP packets of callers that never came.",
    "sent_packets_total": "RTP packets sent to callers.",
    "missed_packets_total": "RTP packets of callers that were not there when a later one was, where they are repaired.",
    "repaired_packets_total": "Of those, the ones that came after all, by what brought them.",
    "heard_frames_total": "Frames that agents heard, by what they were made of: coarse is in-band FEC, lost is made up.",
    "unread_frames_total": "Frames that agents lost, as they did not read them.",
    "retransmitted_packets_total": "RTP packets sent to callers once more, as they asked for them.",
    "remote_lost_packets_total": "RTP packets to callers that never came, as they last reported.",
}


def _counts(session: Session, quality: Quality, now: float) -> Iterator[tuple[_Series, float]]:
    stats = session.rtp.stats(now)
    yield ("received_packets_total", ()), stats.packets_received
    yield ("lost_packets_total", ()), max(0, stats.packets_lost)
    yield ("sent_packets_total", ()), stats.packets_sent
    yield ("missed_packets_total", ()), quality.missed
    for way, count in (("red", quality.red), ("nack", quality.nack), ("late", quality.late)):
        yield ("repaired_packets_total", (("by", way),)), count
    if quality.patience:
        whole = quality.frames - quality.fec - quality.lost
        for made_of, count in (("packet", whole), ("coarse", quality.fec), ("lost", quality.lost)):
            yield ("heard_frames_total", (("of", made_of),)), count
    yield ("unread_frames_total", ()), quality.unread
    yield ("retransmitted_packets_total", ()), quality.retransmitted
    yield ("remote_lost_packets_total", ()), quality.remote_lost
    for layer, dropped in session.drops():
        for drop, count in dropped.items():
            yield _dropped(layer, drop), count


def _dropped(layer: str, drop: enum.Enum) -> _Series:
    return "dropped_total", (("layer", layer), ("reason", drop.name.lower()))


def _counter(name: str, text: str, value: float, **labels: str) -> Sample:
    return Sample(name=f"trioice_{name}", kind="counter", help=text, value=value, labels=labels)
