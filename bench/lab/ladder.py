"""The ladder of a call's beginning: how long each host waited for media, and how many trips through the network came before it.

Times are the clock's, and each host's count from the first check that it saw, whether it sent that or got it. Trips are counted on
the datagrams instead, so they hold on the slowest machine: a datagram comes one trip after the last step that had reached its sender
when it left. A step is what a beginning cannot do without, once each way: the first check, the first response, each piece of the
handshake. Whatever is sent again, and whatever else is sent, such as further checks, acknowledgements and reports, counts nothing;
media comes after steps, but nothing has to wait for it.
"""

from collections.abc import Hashable, Iterable
from typing import Final

from bench.lab import dtlswire
from bench.lab.wire import Kind, Sighting

LINES: Final = 60
"""Lines of a drawing at most: a beginning without loss has twenty."""

AFTER: Final = 6
"""Lines drawn after the first media of both sides."""


class Ladder:
    """The datagrams of one call, in the order in which they left."""

    def __init__(self, sightings: Iterable[Sighting]) -> None:
        self.sightings = sorted(sightings, key=lambda sighting: sighting.departed)
        self.trips = _count(self.sightings)

    @property
    def complete(self) -> bool:
        """Whether media has come in at both hosts."""
        return all(self._first(Kind.SRTP, from_client, came_in=True) for from_client in (True, False))

    @property
    def began(self) -> float:
        """When the first check left, whichever host sent it."""
        return next(sighting.departed for sighting in self.sightings if sighting.kind is Kind.CHECK)

    def began_at(self, client: bool) -> float:
        """When a host first saw a check, leaving or coming in."""
        checks = [sighting for sighting in self.sightings if sighting.kind is Kind.CHECK]
        return min(seen for sighting in checks if (seen := sighting.seen(client)) is not None)

    def speaks(self, client: bool) -> float:
        """Seconds until a host's first media left it."""
        first = self._first(Kind.SRTP, client)
        assert first is not None, "no media"
        return first.departed - self.began_at(client)

    def hears(self, client: bool) -> float:
        """Seconds until the other host's first media came in at a host."""
        first = self._first(Kind.SRTP, not client, came_in=True)
        assert first is not None, "no media"
        assert first.arrived is not None
        return first.arrived - self.began_at(client)

    def round_trips_until_it_speaks(self, client: bool) -> float:
        """Round trips until a host's first media left it, counted from where `speaks` begins."""
        return (self._media_trip(client) - 1 - self._began_after(client)) / 2

    def round_trips_until_it_hears(self, client: bool) -> float:
        """Round trips until the other host's first media came in at a host, counted from where `hears` begins."""
        return (self._media_trip(not client) - self._began_after(client)) / 2

    def first_trips(self) -> dict[str, int]:
        """Say on which trip each kind of step first came in, by its name: "check", "ClientHello", …, "client's SRTP"."""
        found: dict[str, int] = {}
        for sighting, trip in self.trips:
            names = [piece.text.split(" ")[0] for piece in sighting.pieces if piece.fragment]
            if sighting.kind is Kind.SRTP:
                names.append("client's SRTP" if sighting.from_client else "server's SRTP")
            elif sighting.kind is not Kind.DTLS:
                names.append(sighting.kind.value)
            for name in names:
                found[name] = min(trip, found.get(name, trip))
        return found

    def waited(self, client: bool) -> float:
        """Seconds from the last step of the handshake that came in at a host until its first media: what it took by itself."""
        first = self._first(Kind.SRTP, client)
        assert first is not None, "no media"
        came = [
            sighting.arrived
            for sighting, _ in self.trips
            if sighting.from_client is not client
            and sighting.arrived is not None
            and sighting.arrived <= first.departed
            and any(piece.step is not None for piece in sighting.pieces)
        ]
        return first.departed - max(came)

    def agreed(self) -> dtlswire.Agreed:
        """What the DTLS server chose, from whichever host it was."""
        return dtlswire.agreed(
            piece.fragment for sighting in self.sightings for piece in sighting.pieces if piece.fragment is not None
        )

    def draw(self) -> str:
        """Draw it: when each host saw each datagram, in ms since the first check left, and at the end of which trip it came in."""
        media = [self.sightings.index(first) for way in (True, False) if (first := self._first(Kind.SRTP, way))]
        trips = {id(sighting): trip for sighting, trip in self.trips}
        lines = ["client ms        server ms  trips"]
        for sighting in self.sightings[: min(max(media, default=LINES) + AFTER, LINES)]:
            times = [
                "" if seen is None else f"{(seen - self.began) * 1000:.1f}"
                for seen in map(sighting.seen, (True, False))
            ]
            arrow = (
                ("───▶" if sighting.from_client else "◀───")
                if sighting.arrived
                else ("──✗ " if sighting.from_client else " ✗──")
            )
            lines.append(f"{times[0]:>9}  {arrow}  {times[1]:>9}  {trips.get(id(sighting), ''):>5}  {sighting}")
        return "\n".join(lines)

    def _media_trip(self, from_client: bool) -> int:
        return next(
            trip for sighting, trip in self.trips if sighting.kind is Kind.SRTP and sighting.from_client is from_client
        )

    def _began_after(self, client: bool) -> int:
        """Trips before the moment that a host's times count from: one where the first check had to reach it."""
        return int(self.began_at(client) > self.began)

    def _first(self, kind: Kind, from_client: bool, *, came_in: bool = False) -> Sighting | None:
        of_kind = [each for each in self.sightings if each.kind is kind and each.from_client is from_client]
        if came_in:
            return min((each for each in of_kind if each.arrived), key=lambda each: each.arrived or 0.0, default=None)
        return next(iter(of_kind), None)


def _count(sightings: list[Sighting]) -> list[tuple[Sighting, int]]:
    """The datagrams that carried a step for the first time, of those that came in, each with the number of its trip."""
    counted: list[tuple[Sighting, int]] = []
    known: set[tuple[bool, Hashable]] = set()
    for sighting in sightings:
        steps = {(sighting.from_client, step) for step in sighting.steps}
        if sighting.arrived is None or steps <= known:
            continue
        known |= steps
        before = [
            trip
            for each, trip in counted
            if each.kind is not Kind.SRTP
            and each.from_client is not sighting.from_client
            and each.arrived is not None
            and each.arrived <= sighting.departed
        ]
        counted.append((sighting, 1 + max(before, default=0)))
    return counted
