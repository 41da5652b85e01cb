"""One direction of a bad network: when each frame comes out at the other end, if it does. No clock, no socket: it is told the time."""

import random
from typing import Final

import attrs

QUEUE: Final = 1.0
"""Seconds of traffic that wait where there is a rate, as in a router with a deep buffer; what comes when it is full is lost."""


@attrs.frozen(kw_only=True)
class Conditions:
    """What a direction does to frames: `delay` and `jitter` in seconds, `loss` and `duplication` as probabilities, `rate` in bit/s.

    Jitter is added evenly between nothing and itself, so frames overtake each other. Rate 0 is no limit. A direction that is
    not `up` loses all.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    rate: float = 0.0
    up: bool = True


class Direction:
    """Carries frames under `conditions`, which may be changed at any time; the same seed draws the same fates."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self.conditions = conditions
        self._random = random.Random(seed)
        self._busy_until = 0.0

    def carry(self, length: int, now: float) -> list[float]:
        """Say when the copies of a frame of so many octets come out: none when it is lost."""
        conditions = self.conditions
        lost = self._random.random() < conditions.loss
        copies = 2 if self._random.random() < conditions.duplication else 1
        if lost or not conditions.up:
            return []
        sent = now
        if conditions.rate:
            begins = max(now, self._busy_until)
            if begins - now > QUEUE:
                return []
            sent = self._busy_until = begins + length * 8 / conditions.rate
        return [sent + conditions.delay + self._random.uniform(0, conditions.jitter) for _ in range(copies)]
