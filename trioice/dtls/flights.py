"""Flights: all that one side says before it waits, sent again until it is answered (RFC 6347, 4.2.4 and 4.1.1; RFC 9147, 5.8 and 7).

Theory of operation. Both sides take turns, and each flight is the acknowledgement of the one before. A flight is kept as
messages, not as records: every transmission cuts and seals them anew under new sequence numbers, packed into few datagrams.

Three things make a flight go out. `send` is its first time. `expire` is the timer: it doubles, and gives up in the end.
`repeat` answers a flight that the *peer* sent again: it has not heard ours, so why wait. What triggers a repetition can be forged
before there are keys, so repetitions are limited in rate and number, and leave the timer alone: a storm neither prolongs
nor shortens a handshake.

The final flight of a handshake, and a HelloVerifyRequest, have no timer: the peer asks again if they were lost.

DTLS 1.3 adds acknowledgements, of records: what they carried need not be sent again, and what they left out is sent at once.
Of a flight that is acknowledged in full nothing is sent again; where an answer is due, its timer still says how long we wait for it.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from trioice.dtls.fragments import Message
from trioice.dtls.packing import ChangeCipherSpec, Piece, RecordNumber, pack, without
from trioice.dtls.record import RecordLayer
from trioice.sansio import NEVER

FIRST_TIMEOUT: Final = 0.25
# Deviation: RFC 6347, 4.2.4.1 wants 1 s. A caller waits meanwhile, a flight is small, and the path was proven just before.

LEAST_TIMEOUT: Final = 0.05
"""Seconds. As browsers have it: below, the peer's own computing looks like a loss."""

MOST_TIMEOUT: Final = 3.0
"""Seconds. As browsers have it: nobody waits for a call for the 60 s that RFC 6347, 4.2.4.1 allows."""

TRANSMISSIONS: Final = 8
"""How often a flight goes to a peer that never answered: 16 s with the first timeout, and then there is nobody."""

TRANSMISSIONS_TO_THE_PRESENT: Final = 24
"""How often it goes to a peer that has answered before. Where 40 % is lost each way, eight attempts at one exchange fail in
one handshake of 35, and 24 in one of 40,000; it takes a minute."""

REPETITIONS: Final = 16
"""How often at most a flight goes out because the peer repeats its own: twice what a peer like us would ask."""

AMPLIFICATION: Final = 3
"""Octets that may answer one of a peer that has not shown that it is there (RFC 9000, 8.1 has the same)."""

SENT: Final = 128
"""Records of a flight of which we know what was in them, the newest: an acknowledgement of an older one is of no use any more."""

Flight: TypeAlias = Sequence[Message | ChangeCipherSpec]


class Flights:
    """The flight that is on its way, its timer, and the round-trip time that it shows. Returns datagrams."""

    __slots__ = (
        "_awaits_answer",
        "_first_timeout",
        "_is_measured",
        "_left",
        "_mtu",
        "_peer_is_present",
        "_records",
        "_repetitions",
        "_sent",
        "_sent_at",
        "_timeout",
        "_transmissions",
        "count",
        "deadline",
        "rtt",
        "size",
    )

    def __init__(self, records: RecordLayer, first_timeout: float, mtu: int) -> None:
        self.deadline = NEVER
        self.rtt: float | None = None
        """Seconds from a flight to its answer, by the last flight that went out only once (Karn's rule)."""
        self.count = 0
        """How many flights were begun."""
        self._records = records
        self._mtu = mtu
        self._first_timeout = first_timeout
        self._timeout = first_timeout
        self._left: list[Piece] = []  # of the flight, what was not acknowledged
        self._sent: dict[RecordNumber, list[Piece]] = {}  # what was in which record; the oldest first
        self._awaits_answer = False
        self._is_measured = True
        self._peer_is_present = False
        self._transmissions = 0
        self._repetitions = 0
        self._sent_at = 0.0
        self.size = 0  # of the latest transmission

    def send(self, flight: Flight, now: float, *, awaits_answer: bool = True) -> list[bytes]:
        """Begin a flight, which takes the place of the one before."""
        self.count += 1
        self._left = [(item, 0, len(item.body)) for item in flight]
        self._sent.clear()
        self._awaits_answer = awaits_answer
        self._is_measured = not awaits_answer
        self._transmissions = 1
        self._repetitions = 0
        if self.rtt is not None:
            self._timeout = min(max(2 * self.rtt, LEAST_TIMEOUT), MOST_TIMEOUT)
        else:
            self._timeout = self._first_timeout
        self.deadline = now + self._timeout if awaits_answer else NEVER
        return self._datagrams(now)

    def heard(self, now: float) -> None:
        """Note that something new came from the peer: it lives, and a flight that went out once shows the round trip."""
        self._peer_is_present |= self._transmissions > 0
        if not self._is_measured:
            self._is_measured = True
            self.rtt = now - self._sent_at

    @property
    def is_exhausted(self) -> bool:
        """Tell whether the flight has gone out as often as it may."""
        return self._transmissions >= (TRANSMISSIONS_TO_THE_PRESENT if self._peer_is_present else TRANSMISSIONS)

    def expire(self, now: float) -> list[bytes]:
        """Send the flight again because no answer came in time."""
        self._is_measured = True
        self._transmissions += 1
        self._timeout = min(2 * self._timeout, MOST_TIMEOUT)
        self.deadline = now + self._timeout
        return self._datagrams(now)

    def repeat(self, now: float, octets: int) -> list[bytes]:
        """Send the flight again because the peer repeats its own, in `octets`; not twice within `LEAST_TIMEOUT`."""
        if now - self._sent_at < LEAST_TIMEOUT:
            return []
        # A flight without a timer needs no limit in number, but one in size: it asks a peer for its cookie that may not be there.
        if not self._awaits_answer and self.size > AMPLIFICATION * octets:
            return []
        if self._awaits_answer and self._repetitions >= REPETITIONS:
            return []
        self._is_measured = True
        self._repetitions += 1
        return self._datagrams(now)

    def acknowledge(self, numbers: Iterable[RecordNumber], now: float) -> list[bytes]:
        """Take out what the peer acknowledged, and send the rest again (RFC 9147, 7.2).

        Each acknowledgement that brings a repetition makes the flight smaller, which bounds them.
        """
        left = self._left
        for number in numbers:
            for piece in self._sent.pop(number, ()):
                left = [rest for whole in left for rest in without(whole, piece)]
        if left == self._left:
            return []  # of an earlier flight, acknowledged already, or never sent
        self.heard(now)
        self._left = left
        self._is_measured = True
        return self._datagrams(now)

    @property
    def epochs(self) -> set[int]:
        """The epochs that what may have to be sent again belongs to."""
        return {item.epoch for item, _, _ in self._left}

    @property
    def is_under_way(self) -> bool:
        """Tell whether something of the flight may have to be sent again."""
        return bool(self._left)

    @property
    def timeout(self) -> float:
        """Seconds from the latest transmission to the next."""
        return self._timeout

    def end(self) -> None:
        """Forget the flight: it was answered, and nothing follows, or all is over."""
        self._left = []
        self._sent.clear()
        self.deadline = NEVER

    def _datagrams(self, now: float) -> list[bytes]:
        self._sent_at = now
        packed = pack(self._left, self._records, self._mtu)
        self._sent |= packed.contents
        while len(self._sent) > SENT:
            del self._sent[next(iter(self._sent))]
        self.size = sum(map(len, packed.datagrams))
        return packed.datagrams
