"""What is said to an agent over connections that may break: in order, once each, and kept until it is known to have come.

Audio and events stand in one queue, so that the agent has them in the order in which they came to be. What was sent is kept until the
agent's end of the connection has confirmed it; when the connection breaks, it is sent again over the next one. Positions count samples of
the caller's audio, and events are numbered, so that the agent can tell what it has already.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final

from trioice.transceiver.agent_messages import event

WINDOW: Final = 3.0
"""Seconds of audio that are sent without a confirmation. What a slow agent has not read waits here, where it can be dropped, and not in
the sockets' buffers, which hold minutes and can only be waited for."""

EVENTS: Final = 1000
"""Events that wait: a minute of everything that there is to tell."""


class Item:
    """Audio that begins at `position`, or an event."""

    __slots__ = ("fields", "kind", "message", "pcm", "position")

    def __init__(self, pcm: bytes | None, position: int, kind: str, fields: Mapping[str, object]) -> None:
        self.pcm = pcm
        self.position = position
        self.kind = kind
        self.fields = fields
        self.message: str | bytes | None = pcm  # of an event when it was numbered

    @property
    def samples(self) -> int:
        """How many of audio; an event has none."""
        return len(self.pcm) // 2 if self.pcm is not None else 0


class Backlog:
    """The queue. `kept` is how many seconds of audio wait to be sent; of more, the oldest is dropped, and the agent is told of a gap.

    `take` gives the next message, `confirm` forgets what has come, and `rewind` begins again with what has not.
    """

    def __init__(self, rate: int, kept: float) -> None:
        self.dropped = 0  # samples
        self.taken = 0  # messages, and each of them anew when it was taken anew
        self.events = 0  # that were numbered
        self.position = (
            0  # of the audio that is taken next, and where it stood when all that is confirmed had been taken
        )
        self._rate = rate
        self._kept = int(kept * rate)
        self._window = int(WINDOW * rate)
        self._waiting: deque[Item] = deque()
        self._sent: deque[Item] = deque()
        self._confirmed = 0  # messages; and where they end, in positions and events
        self._start = 0
        self._told = 0
        self._samples_waiting = 0
        self._samples_sent = 0
        self._events_waiting = 0

    def __bool__(self) -> bool:
        """Whether `take` has a message."""
        return bool(self._waiting) and self._samples_sent < self._window

    @property
    def is_empty(self) -> bool:
        """Whether all was taken."""
        return not self._waiting

    @property
    def is_full(self) -> bool:
        """Whether no more is sent before a confirmation."""
        return self._samples_sent >= self._window

    @property
    def waiting(self) -> float:
        """Seconds of audio that were not taken."""
        return self._samples_waiting / self._rate

    def add_audio(self, position: int, pcm: bytes) -> None:
        """Say PCM, which begins at a position. Where that is behind the end of the audio before, the agent is told of a gap."""
        item = Item(pcm, position, "", {})
        self._waiting.append(item)
        self._samples_waiting += item.samples
        while self._samples_waiting > self._kept:
            self._drop_audio()

    def add_event(self, kind: str, fields: Mapping[str, object]) -> None:
        """Say an event. Of more than `EVENTS` the oldest are dropped."""
        self._waiting.append(Item(None, 0, kind, fields))
        self._events_waiting += 1
        if self._events_waiting > EVENTS:
            oldest = next(item for item in self._waiting if item.pcm is None)
            self._waiting.remove(oldest)
            self._events_waiting -= 1

    def take(self) -> str | bytes | None:
        """Take the next message; None where there is none, or too much is unconfirmed."""
        if not self:
            return None
        item = self._waiting[0]
        if item.pcm is not None and item.position > self.position:
            samples = item.position - self.position
            item = Item(None, 0, "gap", {"position": self.position, "samples": samples, "kind": "dropped"})
            self.dropped += samples
            self.position += samples
        else:
            self._waiting.popleft()
            self._samples_waiting -= item.samples
            self._samples_sent += item.samples
            self._events_waiting -= item.pcm is None
            self.position = max(self.position + item.samples, _end_of_gap(item))
        if item.message is None:
            self.events += 1
            item.message = event(item.kind, {"event": self.events, **item.fields})
        self._sent.append(item)
        self.taken += 1
        return item.message

    def confirm(self, taken: int) -> None:
        """Forget what was taken when `taken` was so much."""
        while self._confirmed < taken and self._sent:
            item = self._sent.popleft()
            self._confirmed += 1
            self._samples_sent -= item.samples
            self._told += item.pcm is None
            self._start = max(self._start + item.samples, _end_of_gap(item))

    def rewind(self) -> tuple[int, int]:
        """Begin again with the first that was not confirmed: at which position, and behind how many events."""
        for item in self._sent:
            self._samples_waiting += item.samples
            self._events_waiting += item.pcm is None
        self._waiting.extendleft(reversed(self._sent))
        self.taken -= len(self._sent)
        self._sent.clear()
        self._samples_sent = 0
        self.position = self._start
        return self._start, self._told

    def _drop_audio(self) -> None:
        """Drop the oldest audio that was not taken, and keep the events before it."""
        events: list[Item] = []
        while self._waiting[0].pcm is None:
            events.append(self._waiting.popleft())
        self._samples_waiting -= self._waiting.popleft().samples
        self._waiting.extendleft(reversed(events))


def _end_of_gap(item: Item) -> int:
    if item.kind != "gap" or item.fields["kind"] != "dropped":
        return 0
    position, samples = item.fields["position"], item.fields["samples"]
    assert isinstance(position, int)
    assert isinstance(samples, int)
    return position + samples
