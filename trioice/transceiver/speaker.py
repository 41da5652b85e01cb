"""The speaker: an agent's PCM, written as fast as it is made, said in time, and cut when the caller speaks."""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import trio

from trioice.audio import Codec
from trioice.audio.pcm_queue import PcmQueue
from trioice.audio.playout import Playout, Sent, latency
from trioice.transceiver.pacer import Full, Stream

BOUND: Final = 30.0
"""Seconds that may wait, unless told otherwise: more than anybody listens to at a stretch, and 1.4 MB at 24 kHz."""

MARKS: Final = 1000
"""Marks that may wait: one for each word of several minutes."""

PTIME: Final = 0.02
"""Seconds of a packet."""

FADE: Final = 10.0
"""Milliseconds of fade-out: enough that a cut does not click."""


class Path(Protocol):
    """What a speaker needs to know of the way to the caller."""

    def __call__(self) -> tuple[float | None, float]:
        """Tell the round trip, if it is known, and the jitter that the caller reports, in seconds."""


class Mark:
    """A point in what is said. `name` is for whoever made it."""

    def __init__(self, speaker: "Speaker", name: str, position: int) -> None:
        self.name = name
        self.position = position
        self._speaker = speaker
        self._sent_at = 0.0
        self._was_sent = False
        self._settled = trio.Event()

    async def reached(self) -> bool:
        """Wait until the caller has heard all up to here, as far as can be told; False when it was cleared, or the call has ended."""
        await self._settled.wait()
        if not self._was_sent:
            return False
        delay, _ = self._speaker.latency()
        await trio.sleep_until(self._sent_at + delay)
        self._speaker._hear(self.position)
        return True

    def _settle(self, sent_at: float | None) -> None:
        if sent_at is not None:
            self._sent_at, self._was_sent = sent_at, True
        self._settled.set()


class Speaker:
    """A call's voice, made by `Call.speaker`. PCM is mono, of signed 16-bit samples in little-endian order, at `rate`.

    All verbs but `write` and `finished` are synchronous, and take effect before they return.
    """

    def __init__(
        self,
        codec: Codec,
        rate: int,
        *,
        path: Path,
        pace: Callable[["Speaker"], Stream],
        bound: float = BOUND,
    ) -> None:
        self.clears = 0
        self.clear_ms = 0.0  # how long the last `clear` took until nothing was left but silence, and the longest of all
        self.longest_clear_ms = 0.0
        self._pcm = PcmQueue(codec, rate, PTIME)
        self._path = path
        self._bound = int(bound * rate)
        self._sent = Sent(rate)
        self._heard = (
            0  # the position that is estimated to be heard, which never goes back when the estimate of the path does
        )
        self._begun = 0  # the position at which this utterance began
        self._over = Playout(written_ms=0, sent_ms=0, heard_ms=0, error_ms=0)  # the one before, as it ended
        self._marks: deque[Mark] = deque()
        self._room: trio.Event | None = None  # while a writer waits for it
        self._cleared_at: float | None = None
        self._is_open = True
        self._stream = pace(self)

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self._pcm.rate

    @property
    def queued(self) -> float:
        """Seconds that were written and have not been sent."""
        return self._pcm.waiting / self._pcm.rate

    async def write(self, pcm: bytes) -> None:
        """Say PCM of any length after all that was written before.

        Returns at once while less than the speaker's bound waits, and else waits until it does. Cancelled while it waits, it has taken
        nothing. After the call's end what is written is dropped. An odd octet waits for its other half in the next write.
        """
        await trio.lowlevel.checkpoint()
        while self._is_open and self._pcm.waiting >= self._bound:
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()
        self._write(pcm)

    def write_nowait(self, pcm: bytes) -> None:
        """Say PCM as `write` does; raises `Full` where that would wait, and has then taken nothing."""
        if self._is_open and self._pcm.waiting >= self._bound:
            raise Full(f"{self.queued:.1f} s of audio wait already")
        self._write(pcm)

    def clear(self, fade_ms: float = FADE) -> Playout:
        """Fall silent within one packet's time, and forget what waits; how far what was said had come.

        The next packet fades what is being said out, over 20 ms at most; after it there is silence.
        """
        now = trio.current_time()
        if self._pcm.was_voiced:
            self._cleared_at = now
            self.clears += 1
        written = self._pcm.written
        faded = self._pcm.clear(fade_ms / 1000)
        over = self._playout(now, written)
        if faded:
            self._sent.advance(faded, now)
        self._begun = self._pcm.taken
        self._over = over
        self._drop_marks()
        self._wake_writer()
        self._wake()
        return over

    def mark(self, name: str = "") -> Mark:
        """Mark the end of what was written so far. Raises `Full` where `MARKS` wait already."""
        mark = Mark(self, name, self._pcm.written)
        if not self._is_open:
            mark._settle(None)
        elif not self._pcm.waiting:
            mark._settle(self._sent.when(mark.position))
        elif len(self._marks) >= MARKS:
            raise Full(f"{MARKS} marks wait already")
        else:
            self._marks.append(mark)
        return mark

    async def finished(self) -> Playout:
        """Wait until the caller has heard all that was written so far, or it was cleared; how far it had come."""
        mark = self.mark()
        if not await mark.reached() or mark.position <= self._begun:  # cleared, or told already
            return self._over
        playout = self.playout()
        if not self._pcm.waiting:
            self._begun = self._pcm.taken
        self._over = playout
        return playout

    def pause(self, fade_ms: float = FADE) -> None:
        """Fall silent within one packet's time, and keep what waits."""
        self._pcm.pause(fade_ms / 1000)
        self._wake()

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self._pcm.resume()
        self._wake()

    def playout(self) -> Playout:
        """Tell how far what is being said has come."""
        return self._playout(trio.current_time(), self._pcm.written)

    def latency(self) -> tuple[float, float]:
        """Tell how long what is sent takes to the caller's ear, and by how much that may err, in seconds (`trioice.audio.playout`)."""
        return latency(*self._path(), self._sent.position / self._pcm.rate)

    def stats(self) -> dict[str, float]:
        """Figures as plain numbers: seconds, and milliseconds of what is being said."""
        playout = self.playout()
        return {
            "queued": self.queued,
            "written_ms": playout.written_ms,
            "sent_ms": playout.sent_ms,
            "heard_ms": playout.heard_ms,
            "error_ms": playout.error_ms,
            "clears": self.clears,
            "clear_ms": self.clear_ms,
            "longest_clear_ms": self.longest_clear_ms,
        }

    # -- for the pacer, whose source of payloads this is ---------------------------------------------------------------

    def __bool__(self) -> bool:
        return bool(self._pcm)

    def popleft(self) -> bytes | None:
        """Take the payload of a step, or None for silence."""
        now = trio.current_time()
        before, fades = self._pcm.taken, self._pcm.fades
        payload = self._pcm.take()
        taken = self._pcm.taken - before
        if taken:
            self._sent.advance(taken, now)
            if self._marks and self._marks[0].position <= self._pcm.taken:
                self._reach_marks()
            if self._pcm.waiting < self._bound:
                self._wake_writer()
        if self._cleared_at is not None:
            self.clear_ms = 1000 * (now - self._cleared_at) if fades else 0.0
            self.longest_clear_ms = max(self.longest_clear_ms, self.clear_ms)
            self._cleared_at = None
        return payload

    def close(self) -> None:
        """Say nothing more, as the call has ended (for the call), or something of ours failed (for the pacer)."""
        if self._is_open:
            self._is_open = False
            written = self._pcm.written
            self._pcm.clear(0.0)
            self._over = self._playout(trio.current_time(), written)
            self._drop_marks()
            self._wake_writer()
            self._stream.close()

    def _write(self, pcm: bytes) -> None:
        if self._is_open:
            self._pcm.write(pcm)
            self._wake()

    def _wake(self) -> None:
        if self._pcm:
            self._stream.wake()

    def _wake_writer(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _playout(self, now: float, written: int) -> Playout:
        delay, error = self.latency()
        begun, scale = self._begun, 1000 / self._pcm.rate
        sent = self._sent.position
        self._hear(self._sent.played(now - delay))
        heard = max(begun, self._heard)
        return Playout(
            written_ms=round((written - begun) * scale),
            sent_ms=round((sent - begun) * scale),
            heard_ms=round((heard - begun) * scale),
            error_ms=round(error * 1000),
        )

    def _hear(self, position: int) -> None:
        self._heard = max(self._heard, position)

    def _reach_marks(self) -> None:
        """Tell the marks in what was sent that they are on their way."""
        while self._marks and self._marks[0].position <= self._pcm.taken:
            mark = self._marks.popleft()
            mark._settle(self._sent.when(mark.position))

    def _drop_marks(self) -> None:
        while self._marks:
            self._marks.popleft()._settle(None)
