"""How long waiting is worth it: the patience "auto"."""

from typing import Final

LEAST: Final = 0.02
"""Seconds: what was overtaken by the next packet is waited for in any case."""

MOST: Final = 1.0
"""Seconds: whoever talks notices half of that; more is for who asks for it by a number."""

UNKNOWN: Final = 0.25
"""Seconds to begin with where the round trip is not known: two attempts over a path half around the world."""

ATTEMPTS: Final = 3
"""Round trips to begin with: of packets on a path that loses one in ten each way, three attempts leave one in 1,500 unrepaired."""

COVERED: Final = 0.99
"""How many of the repairs are waited for. Of a loss of one packet in ten, what the other hundredth leaves is one frame in a thousand."""

KEPT: Final = 0.98
"""How much of an observation's weight is left at the next one: about fifty count, and a path that changed is known after 200 at most."""

WORTH: Final = 0.05
"""How many of the gaps must be repaired at all for waiting to be worth it."""

STEP: Final = 0.01
"""Seconds between two times that are told apart."""

_HEAVY: Final = 1e9


class AutoPatience:
    """A patience (`trioice.audio.Patience`) that covers all but a hundredth of the repairs that do come, and no more.

    The rule: of the times that repairs took of late, counted from the first packet behind the gap, `seconds` is the 99th percentile, and a
    step of margin. Repairs that came with that very packet (copies) needed no waiting, and do not count. Each observation weighs 1, and
    98 % of its weight at the next, so bad news counts at once, one slow repair in fifty being more than a hundredth, and good news when the
    bad is forgotten.

    Why a percentile of what came, and not a multiple of the round trip: repairs come by several ways, as retransmissions after one
    round trip or after several, or as packets that were merely overtaken, and all that matters is when. Why not of all gaps: those that
    nothing repairs would drive it to the maximum, for nothing. They only count against the rest: where fewer than one in twenty is
    repaired at all, waiting is given up down to `LEAST`. What comes too late is seen nevertheless, and makes the patience grow again;
    that is why packets are asked for up to `MOST` seconds, whatever the patience is.

    On a clean network nothing is waited for, so nothing need shrink. It begins with three round trips, which weigh as one observation.
    """

    __slots__ = ("_came", "_never", "_unit", "seconds")

    def __init__(self, rtt: float | None = None) -> None:
        self._came = [0.0] * round(MOST / STEP)  # weights, by time in steps
        self._never = 0.0  # the weight of gaps that were given up, and that nothing filled since
        self._unit = 1.0  # what an observation weighs now; it grows, which is cheaper than that all others shrink
        start = UNKNOWN if rtt is None else LEAST + ATTEMPTS * rtt
        self._came[min(int(start / STEP), len(self._came) - 1)] = 1.0
        self.seconds = max(LEAST, min(start, MOST))

    def repaired(self, after: float) -> None:
        """Learn that something that was missing came so late, and in time."""
        self._learn(after)

    def gave_up(self) -> None:
        """Learn that a gap was given up."""
        self._age()
        self._never += self._unit
        self._decide()

    def came_too_late(self, after: float) -> None:
        """Learn that something that was given up came so late."""
        if after < MOST:
            self._never = max(0.0, self._never - self._unit)
            self._learn(after)

    def _learn(self, after: float) -> None:
        self._age()
        self._came[max(0, min(int(after / STEP), len(self._came) - 1))] += self._unit
        self._decide()

    def _age(self) -> None:
        self._unit /= KEPT
        if self._unit > _HEAVY:
            self._came = [weight / self._unit for weight in self._came]
            self._never /= self._unit
            self._unit = 1.0

    def _decide(self) -> None:
        came = sum(self._came)
        if came < WORTH * (came + self._never):
            self.seconds = LEAST
            return
        beyond = (1 - COVERED) * came
        for step in range(len(self._came) - 1, -1, -1):
            beyond -= self._came[step]
            if beyond < 0:
                self.seconds = max(LEAST, min((step + 2) * STEP, MOST))
                return
