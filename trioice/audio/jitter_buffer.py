"""A jitter buffer: one listener's packets in order, and how long it waits for those that are missing.

Theory of operation
-------------------
Order is told by timestamps: they name the place of what comes in copies (RED) as well, and they run on through pauses. `_next` is the
timestamp that is wanted next. A packet that has it is ready at once, so nothing is held back on a clean network.

A packet that is ahead of `_next` waits. Either nothing is missing between, as the sequence numbers tell: the caller's codec made a pause.
Or something is: a gap, which may yet be repaired, by a copy, by a retransmission, or by a packet that was merely overtaken. How long it
may be is the patience, and the rule is that no packet that has come is held back for longer. So a gap is given up when the earliest packet
that waits behind it has waited for that long; a blackout, in which nothing comes at all, costs no patience.

The timestamps that come out count from the first frame, without rolling over. Where they say nothing, as another SSRC or another clock
begins, they go on by our own clock. Another clock is seen by a timestamp that moved too far, or by a new packet that says it is older than
what is ready. Of what came before the new beginning, nothing is taken any more.
"""

import enum
import math
from collections import Counter, deque
from typing import Final, Protocol, TypeAlias

from trioice.audio.codec import Codec
from trioice.errors import LocalProtocolError
from trioice.rtp import read, read_red
from trioice.sansio import NEVER
from trioice.sequence import extend

MOST_PATIENCE: Final = 3.0
"""Seconds: what Chromium keeps of its past to send again."""

HELD: Final = 1024
"""Packets that wait behind gaps: three seconds of the shortest that browsers send, 10 ms, three times over."""

READY: Final = 500
"""Units that wait for the listener: ten seconds of speech. One that does not read loses the oldest."""

JUMP: Final = 60.0
"""Seconds. Timestamps that move further tell of no pause that anybody fills, but of another clock; or of a pause that is skipped."""

STEP: Final = 0.005
"""Seconds between two delays that are counted apart."""

LONGEST: Final = int(MOST_PATIENCE / STEP)
"""Steps that are counted apart at most: nothing is held for longer, but where no packet and no reader came to let it go."""

GIVEN_UP: Final = 16
"""Losses that are remembered, to tell what comes too late from what comes twice: those of the last seconds."""

Unit: TypeAlias = tuple[int, int, bytes | None, bytes | None, bool]
"""A stretch of time: its timestamp; its duration; its payload, or None; the payload behind it, which may hold a copy of its end;
whether it was lost. One without a payload that was not lost is a pause. All in units of the codec's clock."""

_Waiting: TypeAlias = tuple[bytes, int, int, float]  # payload, duration, index of its packet, when it came


class Drop(enum.Enum):
    """Why a packet, or a copy in it, is of no use."""

    MALFORMED = "neither the codec's syntax nor RED's"
    OTHER = "of another payload type than the negotiated"
    EMPTY = "without a payload, as it only probes the path"
    DUPLICATE = "what it holds has come before"
    TOO_LATE = "what it holds was given up before"


class Patience(Protocol):
    """How long to wait, learnt from what came of waiting. Times are seconds since the first packet behind the gap came."""

    @property
    def seconds(self) -> float:
        """How long to wait for now."""

    def repaired(self, after: float) -> None:
        """Learn that something that was missing came so late, and in time."""

    def gave_up(self) -> None:
        """Learn that a gap was given up."""

    def came_too_late(self, after: float) -> None:
        """Learn that something that was given up came so late."""


class JitterBuffer:
    """One listener's. `ready` is for its owner to drain; `expire` is to be called at `deadline`.

    `patience` is in seconds, up to `MOST_PATIENCE`, or a strategy. `red` is the payload type of RED, if it was negotiated.
    """

    __slots__ = (
        "_arrived",
        "_codec",
        "_duration",
        "_first",
        "_former",
        "_given_up",
        "_highest",
        "_index",
        "_next",
        "_payload_type",
        "_red",
        "_shift",
        "_silent",
        "_ssrc",
        "_strategy",
        "_waiting",
        "deadline",
        "delays",
        "dropped",
        "late",
        "patience",
        "ready",
        "received",
        "repaired_by_red",
        "unread",
    )

    def __init__(
        self, codec: Codec, payload_type: int, *, red: int | None = None, patience: float | Patience = 0.25
    ) -> None:
        self._strategy = None if isinstance(patience, int | float) else patience
        self.patience = patience.seconds if not isinstance(patience, int | float) else patience
        if not 0 <= self.patience <= MOST_PATIENCE:
            raise LocalProtocolError(f"a patience of {self.patience} s is not within 0 and {MOST_PATIENCE:.0f}")
        self.ready: deque[Unit] = deque()
        self.deadline = NEVER
        self.dropped: Counter[Drop] = Counter()
        self.received = 0  # payloads that became ready, however they came
        self.repaired_by_red = 0
        self.late = 0  # payloads that came after a later one, for whatever reason, and in time
        self.unread = 0  # units that the listener lost, as it did not read them
        self.delays: Counter[int] = Counter()  # in steps of `STEP`: of payloads that were waited for, or waited
        self._codec = codec
        self._payload_type = payload_type
        self._red = red
        self._ssrc = -1
        self._former = -1, NEVER  # the SSRC before this one, and when this one began
        self._first = 0  # the index of this clock's first packet
        self._next = 0  # the timestamp wanted next, without roll-overs
        self._shift = 0  # from those timestamps to the ones that come out
        self._highest = 0  # the highest index of a packet, and that of the last that became ready
        self._index = 0
        self._duration = 0  # of the payload that became ready last
        self._arrived = -math.inf  # when the last payload came
        self._silent: set[int] = set()  # indices of packets without audio, above `_index`
        self._waiting: dict[int, _Waiting] = {}  # timestamp → what waits there, the first that came first
        self._given_up: deque[tuple[int, int, float]] = deque(
            maxlen=GIVEN_UP
        )  # losses: from, to, when each gap was seen

    def receive(self, packet: bytes, now: float) -> None:
        """Take a plain RTP packet."""
        header = read(packet)
        if header is None:
            self.dropped[Drop.MALFORMED] += 1
            return
        payload_type, _, sequence, timestamp, ssrc, start, end = header
        if ssrc != self._ssrc:
            if ssrc == self._former[0] and now < self._former[1] + MOST_PATIENCE:
                self.dropped[Drop.TOO_LATE] += 1  # a straggler of before, which must not take us back
                return
            self._former = self._ssrc, now
            self._begin(ssrc, sequence, timestamp, now)
        index = extend(sequence, self._highest)
        is_newest = index > self._highest
        if is_newest:
            self._highest = index
        copies: list[tuple[int, int, bytes]] = []
        payload = packet[start:end]
        if payload_type == self._red and payload:
            blocks = read_red(payload)
            if blocks is None:
                self._pass(index, Drop.MALFORMED)
                return
            payload_type, _, payload = blocks.pop()
            copies = blocks
        if payload_type != self._payload_type or not payload:
            self._pass(index, Drop.OTHER if payload else Drop.EMPTY)
            return
        duration = self._codec.duration(payload)
        if duration is None:
            self._pass(index, Drop.MALFORMED)
            return
        ahead = (timestamp - self._next + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        if not ahead and not self._waiting:
            self._arrived = now
            self._make_ready(self._next, payload, duration, index)  # in order: by far the most
            return
        if index < self._first:
            self.dropped[Drop.TOO_LATE] += 1
            return
        if abs(ahead) > JUMP * self._codec.clock_rate or (ahead < 0 and is_newest):
            self._begin(ssrc, sequence, timestamp, now)
            ahead, index = 0, sequence
        self._arrived = now
        at = self._next + ahead
        for earlier, (kind, offset, copy) in enumerate(copies, -len(copies)):
            if kind == self._payload_type and at - offset >= self._next:
                self._copy(at - offset, copy, index + earlier, now)
        self._place(at, payload, duration, index, now)
        self._advance(now)

    def renumber(self, payload_type: int, red: int | None) -> None:
        """Know the same codec by other payload types from now on."""
        self._payload_type, self._red = payload_type, red

    def expire(self, now: float) -> None:
        """Give up what has been waited for long enough."""
        if now >= self.deadline:
            self._advance(now)

    def close(self, now: float) -> None:
        """Give up all that is missing: nothing more comes."""
        while self._waiting:
            self._give_up()
            self._take_waiting(now)
        self.deadline = NEVER

    # -- placing ----------------------------------------------------------------------------------------------------

    def _place(self, at: int, payload: bytes, duration: int, index: int, now: float) -> None:
        """Let a packet's own payload wait in its place."""
        if at < self._next:
            self._note_late(at, now)
        elif at in self._waiting:
            self.dropped[Drop.DUPLICATE] += 1
        else:
            if index < self._highest:
                self.late += 1
                self._note_repaired(at, now)
            self._waiting[at] = payload, duration, index, now

    def _copy(self, at: int, payload: bytes, index: int, now: float) -> None:
        """Let a copy take the place of what is missing."""
        duration = self._codec.duration(payload)
        if at not in self._waiting and duration is not None:
            self.repaired_by_red += 1
            self._note_repaired(at, now)
            self._waiting[at] = payload, duration, index, now

    def _pass(self, index: int, why: Drop) -> None:
        """Note a packet that has no audio: nothing is missing where it stood."""
        self.dropped[why] += 1
        if index == self._index + 1:
            self._index = index
            while self._index + 1 in self._silent:
                self._index += 1
                self._silent.remove(self._index)
        elif index > self._index and len(self._silent) < HELD:
            self._silent.add(index)

    def _note_repaired(self, at: int, now: float) -> None:
        """Tell the strategy how long what comes now was waited for: since the first packet behind it came."""
        if self._strategy is not None:
            seen = min((came for later, (_, _, _, came) in self._waiting.items() if later > at), default=now)
            if seen < now:
                self._strategy.repaired(now - seen)
                self.patience = self._strategy.seconds

    def _note_late(self, at: int, now: float) -> None:
        for start, end, seen in self._given_up:
            if start <= at < end:
                self.dropped[Drop.TOO_LATE] += 1
                if self._strategy is not None:
                    self._strategy.came_too_late(now - seen)
                    self.patience = self._strategy.seconds
                return
        self.dropped[Drop.DUPLICATE] += 1

    # -- taking in order --------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Make ready what can be, and see until when the rest waits."""
        self._take_waiting(now)
        while self._waiting and (self._seen() + self.patience <= now or len(self._waiting) > HELD):
            self._give_up()
            self._take_waiting(now)
        self.deadline = self._seen() + self.patience if self._waiting else NEVER

    def _seen(self) -> float:
        """When the first of what waits came."""
        return next(iter(self._waiting.values()))[3]

    def _take_waiting(self, now: float) -> None:
        """Make ready what waits at the timestamp that is wanted next, or behind a pause."""
        while self._waiting:
            at = min(self._waiting)
            if at > self._next:
                if self._missing(self._waiting[at][2]) > 0:
                    return
                self._pause(at - self._next)
            delay = now - self._seen()
            payload, duration, index, _ = self._waiting.pop(at)
            if at < self._next:
                self.dropped[Drop.MALFORMED] += 1  # it began before the one before it ended
                continue
            if delay > 0:
                self.delays[min(int(delay / STEP), LONGEST)] += 1
            self._make_ready(at, payload, duration, index)

    def _missing(self, index: int) -> int:
        """Tell how many packets between the last that became ready and this one have not come."""
        between = index - self._index - 1
        if between > 0 and self._silent:
            between -= sum(self._index < silent < index for silent in self._silent)
        return between

    def _give_up(self) -> None:
        """Let the time up to the first that waits be lost; or a pause, as far as the missing packets do not account for it."""
        at = min(self._waiting)
        payload, _, index, _ = self._waiting[at]
        gap = at - self._next
        lost = min(gap, max(1, self._missing(index)) * self._duration)
        if gap > lost:
            self._pause(gap - lost)
        if lost > 0:
            self._append((self._next + self._shift, lost, None, payload, True))
            self._given_up.append((self._next, at, self._seen()))
            self._next = at
            if self._strategy is not None:
                self._strategy.gave_up()
                self.patience = self._strategy.seconds

    def _pause(self, duration: int) -> None:
        self._append((self._next + self._shift, duration, None, None, False))
        self._next += duration

    def _make_ready(self, at: int, payload: bytes, duration: int, index: int) -> None:
        self.received += 1
        self._append((at + self._shift, duration, payload, None, False))
        self._next = at + duration
        self._duration = duration
        if index > self._index:
            self._index = index
            if self._silent:
                self._silent = {silent for silent in self._silent if silent > index}

    def _append(self, unit: Unit) -> None:
        self.ready.append(unit)
        if len(self.ready) > READY:
            self.ready.popleft()
            self.unread += 1

    def _begin(self, ssrc: int, sequence: int, timestamp: int, now: float) -> None:
        """Begin with another SSRC or another clock, whose first packet is the one that came."""
        self.close(now)
        at = self._next + self._shift  # what comes out next
        self._next = timestamp
        self._highest = self._first = sequence
        self._index = sequence - 1
        self._silent.clear()
        self._given_up.clear()
        if self._arrived > -math.inf:
            silence = int((now - self._arrived) * self._codec.clock_rate) - self._duration
            # A frame more or less is jitter; the rest is how long nobody spoke, or nobody that we know of.
            if silence > self._duration:
                if silence <= JUMP * self._codec.clock_rate:
                    self._append((at, silence, None, None, False))
                at += silence
        self._shift = at - timestamp
        self._ssrc = ssrc
