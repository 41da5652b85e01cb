"""Records each call: a WAV file with all that was heard, as long as the caller's own clock says, and beside it a JSON with what is missing.

trioice serve --agent examples/record.py:agent

Call, speak, hang up, and look into the directory `recordings`. With two seconds of patience there is seldom anything to mark.
"""

import json
import wave
from pathlib import Path

import trio

from trioice import Call
from trioice.audio import Frame

DIRECTORY = Path("recordings")
RATE = 16000
PATIENCE = 2.0


class Recording:
    """A WAV file, and its gaps: each with its place and its length in seconds, and what fills it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.gaps: list[dict[str, float | str]] = []
        self._samples = 0
        self._file = wave.open(str(path), "wb")  # noqa: SIM115 - it is open as long as the call is
        self._file.setparams((1, 2, RATE, 0, "NONE", ""))

    def write(self, frame: Frame, at: float) -> None:
        """Add a frame that begins `at` seconds. Where the time moved on without one, there is silence."""
        skipped = round(at * RATE) - self._samples
        if skipped > 0:
            self._mark("skipped", skipped)
            while skipped > 0:
                self._add(bytes(2 * min(skipped, RATE)))
                skipped -= RATE
        if frame.concealed:
            self._mark("made up" if frame.lost else "coarse copy", len(frame.pcm) // 2)
        self._add(frame.pcm)

    def close(self) -> None:
        """Write what is missing of the header, and the gaps."""
        self._file.close()
        told = {"rate": RATE, "seconds": self._samples / RATE, "gaps": self.gaps}
        self.path.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")

    def _add(self, pcm: bytes) -> None:
        self._file.writeframesraw(pcm)
        self._samples += len(pcm) // 2

    def _mark(self, filling: str, samples: int) -> None:
        at, seconds = round(self._samples / RATE, 3), round(samples / RATE, 3)
        last = self.gaps[-1] if self.gaps else None
        if last and last["filling"] == filling and last["end"] == at:
            last["end"] = round(at + seconds, 3)
        else:
            self.gaps.append({"at": at, "end": round(at + seconds, 3), "filling": filling})


async def agent(call: Call) -> None:
    with call.microphone(RATE, PATIENCE) as microphone:
        recording = await trio.to_thread.run_sync(Recording, DIRECTORY / f"{call.name}.wav")
        try:
            async for frame in microphone:
                recording.write(frame, frame.timestamp / call.codec.clock_rate)
        finally:
            recording.close()
            print(f"{recording.path}: {len(recording.gaps)} gaps", flush=True)
