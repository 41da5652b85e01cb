"""The timeline of a call's set-up: when each step was, and how many round trips of the path it came to.

A session notes the steps as they happen, by the clock that drives it; here they become what people read. Round trips are a measured
time divided by a measured time, so they tell of lost datagrams and slow peers as well: a handshake that takes two by its nature, and
lost a flight, shows six. Where nothing was measured there is no count. The path's round trip is the least that the handshake showed, as
a peer's thinking is in each of them.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

FLIGHTS: Final = 16
"""Flights that are kept: DTLS 1.2 has four, or six with a cookie, and a peer may ask for three cookies more."""


class Step(enum.StrEnum):
    """A moment of the set-up, in the order in which they commonly come. The value is its name in logs, statistics and metrics."""

    OFFER = "offer"  # it is here, and not yet read
    ANSWER = "answer"  # it is made, and leaves now
    CHECK = "check"  # the first that proves knowledge of our password came, and its answer leaves now
    KEYS = "keys"  # packets may be sent
    CONNECTED = "connected"  # the handshake is over, and the peer has proven who it is
    RTP_IN = "rtp_in"  # the first authentic packet came
    RTP_OUT = "rtp_out"  # the first packet leaves


COUNTED: Final = (Step.KEYS, Step.RTP_IN, Step.RTP_OUT)
"""The steps that round trips are counted up to, from the first check on."""


@attrs.frozen
class Flight:
    """A flight of the DTLS handshake: when ours left for the first time, or when the first of the peer's that was new came."""

    ours: bool
    at: float


@attrs.frozen(kw_only=True)
class Timeline:
    """The set-up so far. Times are seconds of the session's clock, None for what has not happened; `rtt` is None if it was not measured.

    `flights` are those of the handshake in the order in which they began, at most `FLIGHTS`.
    """

    steps: Mapping[Step, float | None]
    flights: Sequence[Flight] = ()
    rtt: float | None = None

    @property
    def is_complete(self) -> bool:
        """Whether packets have gone both ways, after which nothing more is noted."""
        return None not in (self.after(Step.RTP_IN), self.after(Step.RTP_OUT))

    def after(self, step: Step, since: Step = Step.OFFER) -> float | None:
        """Seconds from one step to another, or None where one has not been reached."""
        start, end = self.steps.get(since), self.steps.get(step)
        return None if start is None or end is None else end - start

    def round_trips(self, step: Step) -> float | None:
        """Round trips of the path from the first check to a step, or None where it was not reached or the path not measured."""
        elapsed = self.after(step, Step.CHECK)
        return None if elapsed is None or not self.rtt else elapsed / self.rtt

    def plain(self) -> dict[str, object]:
        """All of it as plain data: seconds after the offer."""
        start = self.steps[Step.OFFER] or 0.0
        return {
            **{step.value: self.after(step) for step in Step if step is not Step.OFFER},
            "flights": [{"way": _way(flight), "at": flight.at - start} for flight in self.flights],
            "rtt": self.rtt,
            "round_trips": {step.value: self.round_trips(step) for step in COUNTED},
        }

    def line(self) -> str:
        """All of it for one line of a log: milliseconds after the offer, and a dash for what is not known."""
        start = self.steps[Step.OFFER] or 0.0
        flights = ",".join(f"{_way(flight)}:{_milliseconds(flight.at - start)}" for flight in self.flights)
        return " ".join(
            (
                *(f"{step}_ms={_milliseconds(self.after(step))}" for step in Step if step is not Step.OFFER),
                f"flights_ms={flights or '-'}",
                f"rtt_ms={_milliseconds(self.rtt)}",
                *(f"{step}_round_trips={_count(self.round_trips(step))}" for step in COUNTED),
            )
        )


class Notes:
    """What a session notes while its call comes up. `now` is when the offer came."""

    __slots__ = ("_flights", "_rtt", "_steps")

    def __init__(self, now: float) -> None:
        self._steps: dict[Step, float | None] = {Step.OFFER: now}
        self._flights: list[Flight] = []
        self._rtt: float | None = None

    def step(self, step: Step, now: float) -> None:
        """Note a step, the first time that it is reached."""
        self._steps.setdefault(step, now)

    def flights(self, now: float, *, heard: bool, answered: bool, rtt: float | None = None) -> None:
        """Note what a turn of the handshake began: the peer's flight, if something new was `heard`, and ours if it was `answered`.

        `rtt` is the round trip that the handshake showed last.
        """
        if rtt is not None and (self._rtt is None or rtt < self._rtt):
            self._rtt = rtt
        if Step.CONNECTED in self._steps:
            return
        if heard and (not self._flights or self._flights[-1].ours):
            self._flights.append(Flight(False, now))
        if answered:
            self._flights.append(Flight(True, now))
        del self._flights[FLIGHTS:]

    def timeline(self, rtp_in: float | None, rtp_out: float | None) -> Timeline:
        """Sum up. When media began is told by who counts it anyway."""
        media = {Step.RTP_IN: rtp_in, Step.RTP_OUT: rtp_out}
        return Timeline(steps=self._steps | media, flights=tuple(self._flights), rtt=self._rtt)


def _way(flight: Flight) -> str:
    return "out" if flight.ours else "in"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def _count(round_trips: float | None) -> str:
    return "-" if round_trips is None else f"{round_trips:.2f}"
