"""What a transceiver counts: its calls, and what their layers counted, summed over those that live and those that have ended."""

from collections import Counter
from collections.abc import Iterable, Iterator

from trioice.endpoint import Endpoint
from trioice.metrics import Sample
from trioice.session import Session


class Totals:
    """Counters since the start. Those of a call are added when it ends, and read from its session until then."""

    def __init__(self) -> None:
        self.answered = 0
        self.ended: Counter[str] = Counter()  # reason → calls
        self._counts: Counter[tuple[str, str, str]] = Counter()  # (metric, label, value) → what ended calls counted

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
            counts["dropped_total", "endpoint", drop.name.lower()] += count
        yield Sample(name="trioice_calls", kind="gauge", help="Calls that live.", value=live)
        yield _counter("calls_total", "Calls answered.", self.answered)
        for reason, count in self.ended.items():
            yield _counter("calls_ended_total", "Calls that ended, by reason.", count, reason=reason)
        for (name, layer, reason), count in sorted(counts.items()):
            labels = {"layer": layer, "reason": reason} if reason else {}
            yield _counter(name, _HELP[name], count, **labels)


_HELP = {
    "dropped_total": "Datagrams and packets refused, by layer and reason.",
    "received_packets_total": "RTP packets of callers, authentic and new.",
    "lost_packets_total": "RTP packets of callers that never came.",
    "sent_packets_total": "RTP packets sent to callers.",
}


def _counts(session: Session, now: float) -> Iterator[tuple[tuple[str, str, str], int]]:
    stats = session.rtp.stats(now)
    yield ("received_packets_total", "", ""), stats.packets_received
    yield ("lost_packets_total", "", ""), max(0, stats.packets_lost)
    yield ("sent_packets_total", "", ""), stats.packets_sent
    for layer, dropped in session.drops():
        for drop, count in dropped.items():
            yield ("dropped_total", layer, drop.name.lower()), count


def _counter(name: str, text: str, value: float, **labels: str) -> Sample:
    return Sample(name=f"trioice_{name}", kind="counter", help=text, value=value, labels=labels)
