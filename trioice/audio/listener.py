"""A listener: packets in, frames of PCM out, in order and without a hole in time."""

from collections.abc import Iterable
from typing import Final

from trioice.audio.codec import Codec, Frame
from trioice.audio.jitter_buffer import STEP, JitterBuffer, Patience, Unit

FRAME: Final = 0.02
"""Seconds: the length of the frames that stand for what was lost, or for a pause, before the first payload has told one."""


class Listener:
    """One listener to one caller: a jitter buffer, and a decoder of its own.

    A machine that is pulled: `receive` and `expire` let frames become ready, `read` decodes the next of them. What was lost and what
    was a pause is turned into frames when it is read, so that an hour of it takes no memory.
    """

    __slots__ = ("_clock_rate", "_decoder", "_frame", "_rest", "buffer", "concealed", "frames", "lost", "rate")

    def __init__(
        self,
        codec: Codec,
        payload_type: int,
        *,
        red: int | None = None,
        rate: int,
        patience: float | Patience = 0.25,
    ) -> None:
        self.buffer = JitterBuffer(codec, payload_type, red=red, patience=patience)
        self.rate = rate
        self.frames = 0
        self.lost = 0  # of the frames; and those that stand in for a packet that did not come
        self.concealed = 0
        self._decoder = codec.decoder(rate)
        self._clock_rate = codec.clock_rate
        self._frame = int(FRAME * codec.clock_rate)
        self._rest: Unit | None = None  # what is left of a loss or a pause

    @property
    def deadline(self) -> float:
        """When `expire` wants to be called; NEVER where nothing is waited for."""
        return self.buffer.deadline

    @property
    def is_ready(self) -> bool:
        """Whether `read` has one."""
        return self._rest is not None or bool(self.buffer.ready)

    def receive(self, packets: Iterable[bytes], now: float) -> None:
        """Take the plain RTP packets of one burst."""
        for packet in packets:
            self.buffer.receive(packet, now)

    def expire(self, now: float) -> None:
        """Give up what has been waited for long enough."""
        self.buffer.expire(now)

    def close(self, now: float) -> None:
        """Wait for nothing more: what is missing is lost."""
        self.buffer.close(now)

    def read(self) -> Frame | None:
        """Decode the next frame; None where none is ready."""
        unit = self._rest
        if unit is None:
            if not self.buffer.ready:
                return None
            unit = self.buffer.ready.popleft()
        self._rest = None
        timestamp, duration, payload, following, is_lost = unit
        self.frames += 1
        if payload is not None:
            self._frame = duration
            return Frame(pcm=self._decoder.decode(payload), rate=self.rate, timestamp=timestamp)
        if duration > self._frame:
            rest = duration - self._frame
            self._rest = timestamp + self._frame, rest, None, following, is_lost
            duration, following = self._frame, None
        if not is_lost:
            return Frame(pcm=bytes(2 * self._samples(timestamp, duration)), rate=self.rate, timestamp=timestamp)
        self.concealed += 1
        pcm = self._decoder.recover(following, duration) if following is not None else None
        if pcm is None:
            self.lost += 1
            return Frame(
                pcm=self._decoder.conceal(duration), rate=self.rate, timestamp=timestamp, lost=True, concealed=True
            )
        return Frame(pcm=pcm, rate=self.rate, timestamp=timestamp, concealed=True)

    def delay(self, quantile: float) -> float:
        """How long so many of the payloads were held back at most, in seconds; 0 where there were none."""
        above = self.buffer.received - int(quantile * self.buffer.received)
        for step, count in sorted(self.buffer.delays.items(), reverse=True):
            above -= count
            if above < 0:
                return (step + 1) * STEP
        return 0.0

    def stats(self) -> dict[str, float]:
        """Counters as plain numbers; times in seconds."""
        buffer = self.buffer
        return {
            "patience": buffer.patience,
            "frames": self.frames,
            "lost": self.lost,
            "concealed": self.concealed,
            "fec": self.concealed - self.lost,
            "repaired_by_red": buffer.repaired_by_red,
            "late": buffer.late,
            "unread": buffer.unread,
            "delay_p50": self.delay(0.5),
            "delay_p99": self.delay(0.99),
        }

    def _samples(self, timestamp: int, duration: int) -> int:
        """Count samples so that they add up, where the rate does not divide the clock evenly."""
        return (timestamp + duration) * self.rate // self._clock_rate - timestamp * self.rate // self._clock_rate
