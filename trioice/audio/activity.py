"""When the caller speaks, told from how loud the client says its packets are (RFC 6464), without decoding any.

The level that a packet carries is that of its audio in -dBov, 0 for the loudest and 127 for silence. The flag beside it, by which a client
may say that this is voice, is not read: libwebrtc sets it on all that is not comfort noise, which without DTX is everything.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import attrs

from trioice.errors import LocalProtocolError
from trioice.rtp import element, read
from trioice.sansio import NEVER, Event

ON: Final = 0.06
OFF: Final = 0.5
"""Seconds of voice that make speech, and of none that end it: three packets, so that a click is no barge-in; and longer than one waits
between two words."""

ABOVE: Final = 12.0
LEAST: Final = -50.0
"""How much louder than the noise a voice is, in dB, and how loud at least, in dBov: an amplified microphone's voices are at -15 to -40."""

DIP: Final = 6.0
"""How much quieter a voice may become while it speaks, in dB, as the ends of words are; half of `above` is enough then."""

BLOCK: Final = 0.5
BLOCKS: Final = 6
"""The noise is as loud as the quietest moment of the last three seconds, in steps of half a second. Who speaks pauses more often."""

PACKET: Final = 0.02
STRIDE: Final = 0.06
"""Seconds that a packet counts for: as many as it is later than the one before, so that it stands for the lost between, up to the longest
that browsers send. Behind more than that is a pause, and then it counts as the usual packet does."""

SET_BACK: Final = 3.0
"""Seconds. What is older than that is no late packet, as nothing is repaired any more, but another clock."""

UNREAD: Final = 100
"""Changes that wait for who listens. The oldest are forgotten first."""


@attrs.frozen
class SpeechStarted(Event):
    """The caller began to speak. `at` is when the first of what was loud came, in seconds of the monotonic clock."""

    at: float


@attrs.frozen
class SpeechStopped(Event):
    """The caller ceased to speak. `at` is when the last of what was loud came, in seconds of the monotonic clock."""

    at: float


class Hysteresis:
    """Speech from moments of voice: on when `on` seconds of voice outweigh what is between them, off after `off` seconds without.

    Moments are told with their place in the stream, in seconds, so that it does not matter how they were delayed on their way; `deadline`
    is for when none come any more.
    """

    __slots__ = (
        "_began",
        "_heard",
        "_off",
        "_on",
        "_position",
        "_voiced",
        "_weight",
        "changes",
        "deadline",
        "speaking",
    )

    def __init__(self, on: float = ON, off: float = OFF) -> None:
        if not (on >= 0 and off > 0):
            raise LocalProtocolError(f"speech that is on after {on} s and off after {off} s")
        self.speaking = False
        self.deadline = NEVER
        self.changes: deque[SpeechStarted | SpeechStopped] = deque(maxlen=UNREAD)
        self._on, self._off = on, off
        self._weight = 0.0  # seconds of voice more than of none
        self._began = 0.0  # when the first of that voice came, and the last of any
        self._heard = 0.0
        self._position = 0.0  # of the last moment, and of the last voice
        self._voiced = 0.0

    def note(self, is_voice: bool, position: float, duration: float, now: float) -> None:
        """Take the next moment: `duration` seconds at `position`."""
        self._position = position
        if is_voice:
            if self._weight <= 0.0:
                self._began = now
            self._heard, self._voiced = now, position + duration
            if self.speaking:
                self.deadline = now + self._off
            else:
                self._weight += duration
                if self._weight >= self._on - 1e-9:
                    self.speaking = True
                    self.deadline = now + self._off
                    self.changes.append(SpeechStarted(self._began))
        elif self.speaking:
            if position + duration - self._voiced >= self._off - 1e-9:
                self._stop()
        else:
            self._weight = max(0.0, self._weight - duration)

    def expire(self, now: float) -> None:
        """Notice that nothing came for long enough."""
        if now >= self.deadline:
            self._stop()

    def close(self) -> None:
        """Nothing more comes: who spoke speaks no more."""
        if self.speaking:
            self._stop()

    def _stop(self) -> None:
        self.speaking = False
        self.deadline = NEVER
        self._weight = 0.0
        self.changes.append(SpeechStopped(self._heard))


class NoiseFloor:
    """How loud it is where the caller is while nobody speaks, in dBov."""

    __slots__ = ("_blocks", "_ends", "_least")

    def __init__(self) -> None:
        self._blocks: deque[float] = deque(maxlen=BLOCKS - 1)  # the least of each; and of the one that is not over
        self._least = 0.0
        self._ends = BLOCK

    def note(self, loudness: float, duration: float) -> None:
        """Take a moment's loudness, in dBov."""
        self._least = min(self._least, loudness)
        self._ends -= duration
        if self._ends <= 0:
            self._blocks.append(self._least)
            self._least, self._ends = 0.0, BLOCK

    @property
    def level(self) -> float:
        """The floor: silence, until there was time to know."""
        return min(self._least, *self._blocks) if len(self._blocks) == BLOCKS - 1 else -127.0


class Told:
    """What tells of speech by way of a `Hysteresis`: how it is pulled. `expire` is to be called at `deadline`."""

    __slots__ = ("_stream",)

    def __init__(self, on: float, off: float) -> None:
        self._stream = Hysteresis(on, off)

    @property
    def speaking(self) -> bool:
        """Whether the caller speaks, as far as was told."""
        return self._stream.speaking

    @property
    def deadline(self) -> float:
        """When `expire` wants to be called: when speech is over if nothing more is heard."""
        return self._stream.deadline

    @property
    def is_ready(self) -> bool:
        """Whether `read` has something."""
        return bool(self._stream.changes)

    def expire(self, now: float) -> None:
        """Notice that nothing came for long enough."""
        self._stream.expire(now)

    def close(self, now: float) -> None:
        """Nothing more comes: who spoke speaks no more."""
        self._stream.close()

    def read(self) -> SpeechStarted | SpeechStopped | None:
        """Tell the next change; None where there is none."""
        changes = self._stream.changes
        return changes.popleft() if changes else None


class Activity(Told):
    """Speech from the audio levels of one caller's packets: `read` tells the changes, `expire` is to be called at `deadline`.

    `extension` numbers the header extension that has the level; None, or a client that does not send it, and nothing is ever told. `on`
    and `off` are in seconds, as in `Hysteresis`. A voice is `above` dB louder than the noise around, and louder than `least` dBov.
    """

    __slots__ = ("_above", "_clock_rate", "_extension", "_floor", "_last", "_least", "_ssrc", "_time")

    def __init__(
        self,
        extension: int | None,
        clock_rate: int = 48000,
        *,
        on: float = ON,
        off: float = OFF,
        above: float = ABOVE,
        least: float = LEAST,
    ) -> None:
        super().__init__(on, off)
        self._extension = extension
        self._clock_rate = clock_rate
        self._above, self._least = above, least
        self._floor = NoiseFloor()
        self._ssrc = -1
        self._time = 0.0  # seconds of the stream up to the last packet, and that packet's timestamp
        self._last = 0

    def receive(self, packets: Iterable[bytes], now: float) -> None:
        """Take the plain RTP packets of one burst. What comes late, or twice, or without a level, changes nothing."""
        if self._extension is None:
            return
        for packet in packets:
            level = element(packet, self._extension)
            if level:
                self._note(packet, -float(level[0] & 0x7F), now)

    def renumber(self, extension: int | None) -> None:
        """Find the level in another header extension from now on."""
        self._extension = extension

    def _note(self, packet: bytes, loudness: float, now: float) -> None:
        header = read(packet)
        if header is None:
            return
        _, _, _, timestamp, ssrc, start, end = header
        if start == end:
            return  # it only probes the path
        ahead = ((timestamp - self._last + 0x80000000 & 0xFFFFFFFF) - 0x80000000) / self._clock_rate
        if ssrc != self._ssrc or ahead < -SET_BACK:
            self._ssrc, ahead = ssrc, PACKET
        elif ahead <= 0:
            return
        self._last = timestamp
        self._time += ahead
        stride = ahead if ahead <= STRIDE else PACKET
        stream = self._stream
        if stream.speaking:
            threshold = max(self._least - DIP, self._floor.level + self._above / 2)
        else:
            threshold = max(self._least, self._floor.level + self._above)
        stream.note(loudness > threshold, self._time - stride, stride, now)
        self._floor.note(loudness, stride)
