"""What a remote agent says to the caller, counted as the agent counts it: in samples of all the audio that it has sent."""

from collections import deque
from typing import Final

from trioice.audio import Playout
from trioice.transceiver.agent_messages import Blunder
from trioice.transceiver.pacer import Full
from trioice.transceiver.speaker import Mark, Speaker

AHEAD: Final = 300.0
"""Seconds that an agent may be ahead of what has been said: longer than any answer, and 14 MB at 24 kHz. The connection is read on all
the same when it is more, as a `clear` may be behind it; so what is more is dropped."""


class Voice:
    """A speaker whose positions go on over clears and over what was dropped."""

    def __init__(self, speaker: Speaker) -> None:
        self.received = 0
        self.overrun = 0
        self._speaker = speaker
        self._begun = 0  # the position at the last clear
        self._dropped: deque[tuple[int, int]] = deque()  # behind how many samples since then how many were dropped

    def write(self, pcm: bytes) -> int:
        """Say PCM; how many samples of it were dropped, as too much waits. Raises Blunder for half a sample."""
        if len(pcm) % 2:
            raise Blunder("a binary message ends within a sample")
        samples = len(pcm) // 2
        try:
            self._speaker.write_nowait(pcm)
        except Full:
            at = self.received - self._begun - sum(dropped for _, dropped in self._dropped)
            before = self._dropped.pop()[1] if self._dropped and self._dropped[-1][0] == at else 0
            self._dropped.append((at, before + samples))
            self.received += samples
            self.overrun += samples
            return samples
        self.received += samples
        return 0

    def clear(self, fade_ms: float) -> dict[str, int]:
        """Fall silent; how far it had come."""
        told = self._told(self._speaker.clear(fade_ms))
        self._begun = self.received
        self._dropped.clear()
        return told

    def mark(self, name: str) -> Mark:
        """Mark what was received so far. Raises Blunder where too many wait."""
        try:
            return self._speaker.mark(name)
        except Full as full:
            raise Blunder(str(full)) from None

    def playout(self) -> dict[str, int]:
        """Tell how far it has come."""
        return self._told(self._speaker.playout())

    def _told(self, playout: Playout) -> dict[str, int]:
        return {
            "heard": self._position(playout.heard_ms),
            "sent": self._position(playout.sent_ms),
            "received": self.received,
            "error_ms": playout.error_ms,
        }

    def _position(self, milliseconds: int) -> int:
        said = milliseconds * self._speaker.rate // 1000
        dropped = sum(samples for at, samples in self._dropped if at <= said)
        return min(self._begun + said + dropped, self.received)
