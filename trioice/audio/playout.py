"""How much of what was said has been heard: by what was sent, and by how long that takes to the listener's ear."""

from collections import deque
from typing import Final

import attrs

KEPT: Final = 5.0
"""Seconds of the past in which it is known how much had been sent: longer than any path and buffer take."""

OUTPUT: Final = 0.025
"""Seconds that a browser's output takes: 20 of its own, as measured in Chromium, and a sound card's. Loudspeakers on Bluetooth take 0.2."""

BUFFER: Final = 0.04
"""Seconds that a browser's jitter buffer holds on a path without jitter: two packets."""

JITTERS: Final = 2.0
"""How many times the reported jitter, which is a mean deviation, comes to that: as measured."""

FIRST_BUFFER: Final = 0.055
"""Seconds that it holds at first, on average: it starts at 80 ms …"""

FIRST: Final = 2.0
"""… and comes down after so many seconds of audio."""

UNCERTAIN: Final = 0.035
"""Seconds that the estimate may err by on a clean path."""

UNCERTAIN_JITTERS: Final = 2.0
"""How many times the reported jitter it may err by beside that."""


@attrs.frozen(kw_only=True)
class Playout:
    """How far an utterance has come, in milliseconds of its audio.

    `heard_ms` is an estimate that may err by `error_ms`. All count from the first write after the last `clear`, or after the end of
    what was said before.
    """

    written_ms: int
    sent_ms: int
    heard_ms: int
    error_ms: int


def latency(rtt: float | None, jitter: float, sent: float = FIRST) -> tuple[float, float]:
    """Tell how long it takes from when a packet leaves to when its first sample is heard, and by how much that may err, in seconds.

    `rtt` is the round trip, `jitter` what the listener reports (RFC 3550, 6.4.1), and `sent` how many seconds of audio were sent until now.
    The way there is taken to be as long as the way back; browsers do not tell what they buffer, so that is taken to be what they were
    measured to hold at such a jitter.
    """
    buffer = BUFFER + JITTERS * jitter
    if sent < FIRST:
        buffer = max(buffer, FIRST_BUFFER)
    one_way = (rtt or 0.0) / 2
    return one_way + buffer + OUTPUT, UNCERTAIN + UNCERTAIN_JITTERS * jitter + one_way / 4


class Sent:
    """How much had been sent at which time. Positions count samples at `rate`, and only grow."""

    __slots__ = ("_log", "_rate", "position")

    def __init__(self, rate: int) -> None:
        self.position = 0
        self._rate = rate
        self._log: deque[tuple[float, int, int]] = deque()  # when a piece left; the positions of its start and its end

    def advance(self, samples: int, now: float) -> None:
        """Note that so much was sent now, to be played from then on."""
        start = self.position
        self.position += samples
        self._log.append((now, start, self.position))
        while self._log[0][0] < now - KEPT:
            self._log.popleft()

    def when(self, position: int) -> float:
        """Tell when a position of the last piece is played, if that is played when it leaves; of an earlier one, when the last left."""
        if not self._log:
            return 0.0
        left, start, end = self._log[-1]
        return left + max(0, min(position, end) - start) / self._rate

    def played(self, time: float) -> int:
        """Tell up to where it had been played at a `time`, if each piece is played when it leaves."""
        played = self._log[0][1] if self._log else self.position
        for left, start, end in self._log:
            if left > time:
                break
            played = min(end, start + round((time - left) * self._rate))
        return played
