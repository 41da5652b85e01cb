"""The pacer: audio written as fast as a model makes it leaves one packet a step, for all calls of a port in one task.

Time is a grid of slots of 5 ms. A stream of 20 ms steps in every fourth of them, and keeps to its slots for life: its nth step is n
times 20 ms after the first, whatever happens in between. Its RTP timestamps go with the grid, so that they tell the length of a pause,
and the first packet after one carries the marker bit (RFC 3551, 4.1).

The wheel holds, for each slot to come, the streams that have something to send in it. A stream that is silent or closed stands nowhere
and costs nothing, and a pacer of such streams sleeps. What a slot sends leaves in one flush, but for what
is encoded in it: that leaves in several.
"""

import logging
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol, TypeAlias

import trio

from trioice.errors import LocalProtocolError, TrioiceError
from trioice.metrics import Sample
from trioice.mmsg import BURST
from trioice.sansio import NEVER
from trioice.timer import Timer, timer

SLOTS: Final = 200
"""Slots of a second. 5 ms spread a thousand calls of 20 ms over four times 250 packets; fewer than `BURST` calls need one of the four."""

LENGTHS: Final = (2, 4, 8, 12)
"""Slots from one step of a stream to its next: frames of 10, 20, 40 and 60 ms."""

REVOLUTION: Final = 24
"""Slots after which streams of every length stand where they stood: the least common multiple of `LENGTHS`."""

SOURCES: Final = 16
"""Streams with a source in one slot before others are used evenly, and in one flush: to encode so many payloads takes a millisecond."""

QUEUED: Final = 60.0
"""Seconds of audio that may wait in a stream: longer than a caller listens, and half a megabyte of Opus at 64 kb/s."""

CATCH_UP: Final = 12
"""Slots that are made good when the process was busy: 60 ms, which a jitter buffer forgives. Steps before them pass in silence."""


class Source(Protocol):
    """What a stream may take its payloads from instead of being written to. It is true while it has something to do at the next step."""

    def __bool__(self) -> bool:
        """Tell whether there is something to do."""

    def popleft(self) -> bytes | None:
        """Do a step: the payload that leaves, or None where it passes in silence."""

    def close(self) -> None:
        """Note that the stream is closed."""


Send: TypeAlias = Callable[[bytes, int, bool], None]
"""Takes a payload, its RTP timestamp and its marker bit, and does not wait: `trioice.Call.send`."""

logger = logging.getLogger(__name__)


class Full(TrioiceError):
    """`QUEUED` seconds of audio wait already; nothing was written."""


class Stream:
    """The paced audio of one call, made by `Pacer.open`. All verbs are synchronous."""

    __slots__ = (
        "_due",
        "_is_open",
        "_length",
        "_makes",
        "_marker",
        "_pacer",
        "_queue",
        "_samples",
        "_send",
        "_source",
        "_timestamp",
        "_waits",
    )

    def __init__(
        self,
        pacer: "Pacer",
        send: Send,
        *,
        length: int,
        samples: int,
        timestamp: int,
        due: int,
        source: Source | None = None,
    ) -> None:
        self._pacer = pacer
        self._send = send
        self._length = length  # of a step, in slots
        self._samples = samples  # of a step
        self._queue: deque[bytes] = deque()
        self._source: Source | deque[bytes] = self._queue if source is None else source
        self._makes = source is not None  # its payloads when they leave
        self._waits = False  # in the wheel, at the slot `_due`
        self._is_open = True
        self._due = due  # the slot of the next step, and what a packet would carry then
        self._timestamp = timestamp
        self._marker = True

    @property
    def waiting(self) -> float:
        """Seconds of audio that were written and have not been sent."""
        return len(self._queue) * self._length / SLOTS

    def write(self, payload: bytes) -> None:
        """Let `payload` leave at the first step to come after those of what waits.

        Raises `Full`. After `close` it is dropped, as what is sent to a call that has ended.
        """
        if not self._is_open:
            return
        if len(self._queue) * self._length >= QUEUED * SLOTS:
            raise Full(f"{QUEUED:.0f} s of audio wait already")
        self._queue.append(payload)
        self.wake()

    def wake(self) -> None:
        """Note that the source has something to do at the next step."""
        if not self._waits and self._is_open:
            self._pacer._join(self)

    def clear(self) -> int:
        """Drop what waits; how many payloads that were."""
        dropped = len(self._queue)
        self._queue.clear()
        return dropped

    def close(self) -> None:
        """Drop what waits, and send no more. Harmless when repeated."""
        self._queue.clear()
        if self._is_open:
            self._is_open = False
            self._pacer._leave(self)
            source, self._source = self._source, self._queue  # which is empty
            if not isinstance(source, deque):
                source.close()

    def _pause(self, slot: int) -> int:
        """Let the steps before `slot` pass in silence; how many those are."""
        steps = max(0, -((self._due - slot) // self._length))
        if steps:
            self._due += steps * self._length
            self._timestamp += steps * self._samples
            self._marker = True
        return steps


class Pacer:
    """Paces the streams of one port. `flush` is called once after the packets of a slot; `run` does the work."""

    def __init__(self, flush: Callable[[], None] = lambda: None) -> None:
        self.missed = 0  # steps that passed in silence, as the process was busy for longer than `CATCH_UP`
        self.broken = 0  # streams that were closed because their `send` raised
        self._flush = flush
        self._wheel: defaultdict[int, list[Stream]] = defaultdict(list)
        self._loads = [0] * REVOLUTION  # open streams that step in each slot
        self._sources = [0] * REVOLUTION  # those of them that have a source
        self._timer: Timer | None = None
        self._awaited = NEVER  # the slot that the timer is set to

    def open(
        self,
        send: Send,
        *,
        ptime: float = 0.02,
        clock_rate: int = 48000,
        timestamp: int = 0,
        source: Source | None = None,
    ) -> Stream:
        """Make a stream of payloads of `ptime` seconds, in slots that fill a burst or, when all are filled, in the emptiest.

        Those with a `source` stand apart earlier (`SOURCES`), as it takes time to make a payload, for which the slot's others wait.
        `timestamp` is that of its first step, which comes within `ptime`. RFC 3550 wants it random where it is not encrypted.
        A `send` or a `source` that raises closes its stream. Raises `LocalProtocolError` for a `ptime` other than 10, 20, 40 and
        60 ms, or one that is no whole number of samples.
        """
        length = round(ptime * SLOTS) if math.isfinite(ptime) else 0
        samples, rest = divmod(clock_rate * length, SLOTS)
        if length not in LENGTHS or abs(length - ptime * SLOTS) > 1e-6 or rest:
            raise LocalProtocolError(f"no steps of {ptime} s at {clock_rate} Hz")
        first = _slot() + 1
        due = min(range(first, first + length), key=lambda slot: self._cost(slot, length, makes=source is not None))
        self._count(due, length, 1, makes=source is not None)
        return Stream(
            self, send, length=length, samples=samples, timestamp=timestamp & 0xFFFFFFFF, due=due, source=source
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send what is due, until cancelled."""
        if self._timer is not None:
            raise LocalProtocolError("the pacer runs already")
        self._timer = timer()
        task_status.started()
        try:
            while True:
                self._awaited = min(self._wheel, default=NEVER)
                self._timer.set(self._awaited / SLOTS)
                await self._timer.wait()
                self._awaited = -1.0  # no callback need set the timer
                self._take(_slot())
        finally:
            self._timer.close()
            self._timer = None

    def samples(self) -> Iterator[Sample]:
        """Tell what went wrong, as Prometheus wants it."""
        for name, text, value in (
            (
                "paced_steps_missed_total",
                "Steps of paced audio that passed in silence, as the process was busy.",
                self.missed,
            ),
            ("paced_streams_broken_total", "Streams that were closed, as they could not send.", self.broken),
        ):
            yield Sample(name=f"trioice_{name}", kind="counter", help=text, value=value)

    def _take(self, now: int) -> None:
        """Do what is due until the slot `now`."""
        sent = False
        while (slot := min(self._wheel, default=NEVER)) <= now:
            streams = self._wheel.pop(int(slot))
            if slot > now - CATCH_UP:
                self._step(streams)
                sent = True
            else:
                for stream in streams:
                    stream._waits = bool(stream._source)
                    if stream._waits:
                        self.missed += stream._pause(now - CATCH_UP + 1)
                        self._wheel[stream._due].append(stream)
        if sent:
            self._flush()

    def _step(self, streams: list[Stream]) -> None:
        """Send one packet of each, and put those that have more where they step next."""
        wheel = self._wheel
        made = 0  # payloads of sources that have not been flushed
        for stream in streams:
            queue = stream._source
            if queue:
                timestamp = stream._timestamp
                stream._due += stream._length
                stream._timestamp = timestamp + stream._samples
                try:
                    payload = queue.popleft()
                    if payload is None:
                        stream._marker = True
                    else:
                        marker, stream._marker = stream._marker, False
                        stream._send(payload, timestamp & 0xFFFFFFFF, marker)
                        if stream._makes:
                            made += 1
                except Exception:
                    logger.exception("a stream is closed, as its send failed")
                    self.broken += 1
                    stream.close()
                    queue = stream._source
            if queue:
                wheel[stream._due].append(stream)
            else:
                stream._waits = False
            if made == SOURCES:
                self._flush()
                made = 0

    def _join(self, stream: Stream) -> None:
        """Take a stream into the wheel at its first step to come."""
        stream._waits = True
        stream._pause(_slot() + 1)
        self._wheel[stream._due].append(stream)
        if stream._due < self._awaited and self._timer is not None:
            self._awaited = stream._due
            self._timer.set(stream._due / SLOTS)

    def _leave(self, stream: Stream) -> None:
        """Take a stream out of the count. The wheel finds it silent."""
        self._count(stream._due, stream._length, -1, makes=stream._makes)

    def _cost(self, slot: int, length: int, *, makes: bool) -> tuple[int, int, int]:
        """Tell how dear one more stream would be there: in time, in whole bursts, and then by the room in the last."""
        load = max(self._loads[slot % length :: length])
        sources = max(self._sources[slot % length :: length]) if makes else 0
        return max(0, sources - SOURCES + 1), load // BURST, -load

    def _count(self, due: int, length: int, more: int, *, makes: bool) -> None:
        for slot in range(due % length, REVOLUTION, length):
            self._loads[slot] += more
            if makes:
                self._sources[slot] += more


def _slot() -> int:
    """Number the slot that began last. A clock may be a few nanoseconds short of the time that it was set to."""
    return int(trio.current_time() * SLOTS + 1e-6)
