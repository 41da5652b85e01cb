"""Repair: which packets of a source are missing, and when to ask for them again (RFC 4585, 6.2.1).

Theory of operation
-------------------
A gap is seen when a packet comes that is newer than the one expected. What that packet brings copies of (RED) is there already; the rest is
asked for at once, as on a path with little reordering it is lost. It is asked for again when the answer would have come: after a round
trip and a margin, since a libwebrtc that was asked ignores to be asked again within a round trip and 5 ms. That goes on as long as
an answer can be of use, which is for `window` seconds after the gap was seen; then the packet counts as unrepaired.

What comes sooner than a retransmission could was merely overtaken. Such a path is given more time before the first question, as much as
it was seen to need, up to `OVERTAKEN` and half a round trip, as questions cost little where answers are near; and less again with each
packet that really was lost.

A copy is known by its timestamp. That of a missing packet is guessed from its neighbours', as packets of a stream last equally long; where
they do not, as at a pause, none is known, and a packet is asked for that may be there. The other way round, it would be lost.
"""

from typing import Final

from trioice.rtp.header import Header
from trioice.rtp.red import BLOCKS, read_red
from trioice.sansio import NEVER
from trioice.sequence import extend

MISSING: Final = 250
"""Packets that may be missing at a time, the newest: five seconds of 20 ms, more than browsers keep of their past."""

FASTEST: Final = 200
"""Packets a second that are asked for in the long run, twice as many as any browser sends; after a blackout `MISSING` at once. A peer whose
sequences jump at each packet would else be asked for hundreds of packets for each that it sends."""

RTT: Final = 0.1
"""Seconds: the round trip as long as none was measured."""

MARGIN: Final = 0.01
"""Seconds above a round trip before a packet is asked for again, and an eighth of the round trip if that is more."""

SOONEST: Final = 0.02
"""Seconds between two questions for one packet, at least: on a path without delay, a browser that needs a moment is not pressed."""

OVERTAKEN: Final = 0.04
"""Seconds that a path which reorders is given before the first question, at most: what is lost waits for as long."""

THINKING: Final = 0.005
"""Seconds that the other end may have been slow when the round trip was measured: an answer may come so much sooner."""

TOGETHER: Final = 0.005
"""Seconds: questions that are due so soon are asked with those that are due now."""


class Repair:
    """The missing packets of one source, by their indices. `rtt` is to be kept right by the owner; too short a one does less harm.

    After each turn, `due` tells what is to be asked for now. Counters are of packets.
    """

    __slots__ = (
        "_credit",
        "_credited_at",
        "_missing",
        "_red",
        "_wait",
        "asked",
        "by_nack",
        "by_red",
        "deadline",
        "late",
        "missed",
        "rtt",
        "unrepaired",
        "window",
    )

    def __init__(self, window: float, *, red: int | None = None, rtt: float = RTT) -> None:
        self.window = window
        self.rtt = rtt
        self.deadline = NEVER
        self.missed = 0  # those that were not there when a newer one was
        self.by_red = 0  # … of which a copy came in another packet
        self.by_nack = 0  # … that came again as we had asked for it
        self.late = 0  # … that had been overtaken
        self.unrepaired = 0  # … that did not come in time
        self.asked = 0  # questions, counted for each packet
        self._red = red
        self._wait = 0.0  # seconds before the first question
        self._credit, self._credited_at = float(MISSING), 0.0  # packets that may become missing now
        # index → when the gap was seen, when it was asked for first (or NEVER), when it will be next, and its timestamp
        self._missing: dict[int, tuple[float, float, float, int]] = {}

    def note(self, highest: int, before: int, former: int, packet: bytes, header: Header, now: float) -> None:
        """Take a packet that does not follow the newest one.

        `before` is the index of the newest one without it, `former` its timestamp; `highest` is the index of the newest with it.
        """
        if highest > before:
            index = highest
            self._open_gap(before, former, index, header[3], now)
        else:
            index = extend(header[2], before)
            self._fill_gap(index, now)
        if self._missing and header[0] == self._red:
            self._take_copies(index, packet, header)
        self._look()

    def _open_gap(self, before: int, former: int, index: int, timestamp: int, now: float) -> None:
        count = index - before - 1
        self.missed += count
        self._credit = min(self._credit + (now - self._credited_at) * FASTEST, MISSING)
        self._credited_at = now
        asking = min(count, int(self._credit))
        self._credit -= asking
        self.unrepaired += count - asking
        step = (timestamp - former & 0xFFFFFFFF) // (count + 1)
        for number in range(index - asking, index):
            at = former + step * (number - before) & 0xFFFFFFFF
            self._missing[number] = now, NEVER, now + self._wait, at
        while len(self._missing) > MISSING:
            self._missing.pop(next(iter(self._missing)))
            self.unrepaired += 1

    def _fill_gap(self, index: int, now: float) -> None:
        missing = self._missing.pop(index, None)
        if missing is None:
            return
        seen, asked, _, _ = missing
        if asked != NEVER and now - asked >= 0.9 * self.rtt - THINKING:
            self.by_nack += 1
            self._wait *= 0.75
        else:
            self.late += 1
            limit = min(OVERTAKEN, self.rtt / 2)
            if now - seen <= limit:  # else it would be asked for in any case
                self._wait = min(max(self._wait, 1.25 * (now - seen)), limit)

    def due(self, now: float) -> list[int]:
        """Give up what is of no use any more, and list the indices that are to be asked for now. They count as asked."""
        asking: list[int] = []
        for index, (seen, asked, again, at) in list(self._missing.items()):
            if now >= seen + self.window:
                del self._missing[index]
                self.unrepaired += 1
            elif again <= now + TOGETHER:
                asking.append(index)
                again = now + max(SOONEST, self.rtt + max(MARGIN, self.rtt / 8))
                useful = again + self.rtt < seen + self.window
                self._missing[index] = seen, min(asked, now), again if useful else NEVER, at
        self.asked += len(asking)
        self._look()
        return asking

    def clear(self) -> None:
        """Forget what is missing, as the source is another."""
        self.unrepaired += len(self._missing)
        self._missing.clear()
        self.deadline = NEVER

    def _take_copies(self, index: int, packet: bytes, header: Header) -> None:
        """Take what a packet holds copies of for there: they are of packets not far before it."""
        blocks = read_red(packet[header[5] : header[6]]) or ()
        copied = {header[3] - offset & 0xFFFFFFFF for _, offset, _ in blocks if offset}
        if copied:
            for earlier in range(index - 1, index - BLOCKS, -1):
                missing = self._missing.get(earlier)
                if missing is not None and missing[3] in copied:
                    del self._missing[earlier]
                    self.by_red += 1

    def _look(self) -> None:
        """See when something is to be done next."""
        deadline = NEVER
        for seen, _, again, _ in self._missing.values():
            deadline = min(deadline, again, seen + self.window)
        self.deadline = deadline
