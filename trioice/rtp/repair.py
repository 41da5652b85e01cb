"""Repair: which packets of a source are missing, and when to ask for them again (RFC 4585, 6.2.1).

Theory of operation
-------------------
A gap is seen when a packet comes that is newer than the one expected. What that packet brings copies of (RED) is there already; the rest is
asked for at once, as on a path with little reordering it is lost. It is asked for again when the answer would have come: after a round
trip and a margin, since a libwebrtc that was asked ignores to be asked again within a round trip and 5 ms. That goes on as long as
an answer can be of use, which is for `window` seconds after the gap was seen; then the packet counts as unrepaired.

What comes sooner than a retransmission could was merely overtaken. Such a path is given more time before the first question, as much as
it was seen to need, up to `OVERTAKEN`; and less again with each packet that really was lost.
"""

from typing import Final

from trioice.rtp.header import Header
from trioice.rtp.red import read_red
from trioice.sansio import NEVER
from trioice.sequence import extend

MISSING: Final = 250
"""Packets that may be missing at a time, the newest: five seconds of 20 ms, more than browsers keep of their past."""

RTT: Final = 0.1
"""Seconds: the round trip as long as none was measured."""

MARGIN: Final = 0.01
"""Seconds above a round trip before a packet is asked for again, and an eighth of the round trip if that is more."""

SOONEST: Final = 0.02
"""Seconds between two questions for one packet, at least: on a path without delay, a browser that needs a moment is not pressed."""

OVERTAKEN: Final = 0.04
"""Seconds that a path which reorders is given before the first question, at most: what is lost waits for as long."""

TOGETHER: Final = 0.005
"""Seconds: questions that are due so soon are asked with those that are due now."""


class Repair:
    """The missing packets of one source, by their indices. `rtt` is to be kept right by the owner.

    After each turn, `due` tells what is to be asked for now. Counters are of packets.
    """

    __slots__ = (
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
        # index → when the gap was seen, when it was asked for first (or NEVER), and when it will be next
        self._missing: dict[int, tuple[float, float, float]] = {}

    def note(self, highest: int, before: int, packet: bytes, header: Header, now: float) -> None:
        """Take a packet that does not follow the newest one `before`; `highest` is the index of the newest with it."""
        if highest > before:
            index = highest
            self._open_gap(before + 1, index, now)
        else:
            index = extend(header[2], before)
            self._fill_gap(index, now)
        self._take_copies(index, packet, header)
        while len(self._missing) > MISSING:
            self._missing.pop(next(iter(self._missing)))
            self.unrepaired += 1
        self._look()

    def _open_gap(self, first: int, index: int, now: float) -> None:
        self.missed += index - first
        if index - first > MISSING:
            self.unrepaired += index - first - MISSING
            first = index - MISSING
        for number in range(first, index):
            self._missing[number] = now, NEVER, now + self._wait

    def _fill_gap(self, index: int, now: float) -> None:
        missing = self._missing.pop(index, None)
        if missing is None:
            return
        seen, asked, _ = missing
        if asked != NEVER and now - asked >= 0.9 * self.rtt:
            self.by_nack += 1
            self._wait *= 0.75
        else:
            self.late += 1
            self._wait = min(max(self._wait, 1.25 * (now - seen)), OVERTAKEN)

    def due(self, now: float) -> list[int]:
        """Give up what is of no use any more, and list the indices that are to be asked for now. They count as asked."""
        asking: list[int] = []
        for index, (seen, asked, again) in list(self._missing.items()):
            if now >= seen + self.window:
                del self._missing[index]
                self.unrepaired += 1
            elif again <= now + TOGETHER:
                asking.append(index)
                again = now + max(SOONEST, self.rtt + max(MARGIN, self.rtt / 8))
                useful = again + self.rtt < seen + self.window
                self._missing[index] = seen, min(asked, now), again if useful else NEVER
        self.asked += len(asking)
        self._look()
        return asking

    def clear(self) -> None:
        """Forget what is missing, as the source is another."""
        self.unrepaired += len(self._missing)
        self._missing.clear()
        self.deadline = NEVER

    def _take_copies(self, index: int, packet: bytes, header: Header) -> None:
        """Take what a packet holds copies of for there: they are of the packets just before it."""
        if self._missing and header[0] == self._red:
            blocks = read_red(packet[header[5] : header[6]])
            for earlier in range(1, len(blocks) if blocks else 0):
                if self._missing.pop(index - earlier, None) is not None:
                    self.by_red += 1

    def _look(self) -> None:
        """See when something is to be done next."""
        deadline = NEVER
        for seen, _, again in self._missing.values():
            deadline = min(deadline, again, seen + self.window)
        self.deadline = deadline
