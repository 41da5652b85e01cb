"""The round trip, as RTCP tells it: each end says when it heard last what the other sent, and how long ago (RFC 3550, 6.4.1; RFC 3611)."""

from collections import deque
from typing import Final

from trioice.rtp.extended_reports import ExtendedReport

LIMIT: Final = 60.0
"""Seconds. A peer that tells more echoes a time that we did not send, by mistake or malice."""

NTP_EPOCH: Final = 2_208_988_800
"""Seconds from 1900, where NTP starts, to 1970 (RFC 3550, 4)."""

REFERENCES: Final = 16
"""SSRCs whose times are answered: as many as a peer may have."""


LATELY: Final = 4
"""Measurements that count as recent: ten seconds or two of a browser's reports."""


class RoundTrip:
    """Measured in seconds. `epoch` is wall time minus the clock that `now` comes from; `assumed` holds as long as nothing was measured."""

    __slots__ = ("_epoch", "_lately", "_references", "assumed")

    def __init__(self, epoch: float) -> None:
        self.assumed: float | None = None
        self._epoch = epoch
        self._lately: deque[float] = deque(maxlen=LATELY)
        self._references: dict[int, tuple[int, float]] = {}  # SSRC → the middle of the NTP time that it told, and when

    @property
    def seconds(self) -> float | None:
        """The round trip as it was measured last, if anything is known of it."""
        return self._lately[-1] if self._lately else self.assumed

    @property
    def least(self) -> float | None:
        """The shortest of late, that of the handshake with them: what an answer takes at least.

        A browser that was busy, or a queue, at the moment of one report would else slow repair down until the next, for seconds.
        """
        if self.assumed is None or len(self._lately) == LATELY:
            return min(self._lately, default=None)
        return min((self.assumed, *self._lately))

    def ntp(self, now: float) -> int:
        """Tell the NTP time in 32.32 bits."""
        return int((now + self._epoch + NTP_EPOCH) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF

    def measure(self, last: int, delay: int, now: float) -> None:
        """Learn that the peer heard, `delay` ago, what we sent at `last`: the middle of an NTP time, both in 1/65536 s; 0 is never."""
        if last:
            elapsed = (self.ntp(now) >> 16) - last & 0xFFFFFFFF
            seconds = (elapsed - delay) / 65536
            # Two clocks round down, so a very short way may seem to have taken less than nothing.
            if -0.001 <= seconds <= LIMIT:
                self._lately.append(max(seconds, 0.0))

    def hear(self, report: ExtendedReport, ssrc: int, now: float) -> None:
        """Take the time that the peer tells, to answer it, and its answers to that of our `ssrc`."""
        reference = report.reference_time
        if reference is not None and (report.ssrc in self._references or len(self._references) < REFERENCES):
            self._references[report.ssrc] = reference >> 16 & 0xFFFFFFFF, now
        for about, last, delay in report.delays:
            if about == ssrc:
                self.measure(last, delay, now)

    def answer(self, now: float) -> tuple[tuple[int, int, int], ...]:
        """Answer the times that the peer told since the last answer, as `ExtendedReport.since` takes them."""
        answer = tuple((ssrc, last, int((now - at) * 65536)) for ssrc, (last, at) in self._references.items())
        self._references.clear()
        return answer
