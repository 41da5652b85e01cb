"""Somebody who talks for a minute: speech for Chromium's microphone, made by espeak-ng and sox."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench.lab.namespaces import Unavailable

TEXT: Final = (
    "What is the capital of France, and how many people live there? I would like to book a table for four on Thursday at half past seven. "
    "My order number is nine three one, seven two two, five zero eight. Please repeat the last four digits. "
    "The quick brown fox jumps over the lazy dog, while sixteen sleepy sheep shuffle slowly past the old stone bridge. "
    "Could you tell me whether the train to Amsterdam leaves from platform two or from platform ten? Thank you, that is all. "
)
SECONDS: Final = 60


def write_speech(path: Path, seconds: float = SECONDS) -> Path:
    """Write so much speech as a WAV file of 48 kHz. Raises Unavailable without espeak-ng and sox."""
    for program in ("espeak-ng", "sox"):
        if shutil.which(program) is None:
            raise Unavailable(f"no {program} on this machine: apt-get install espeak-ng sox")
    spoken = path.with_suffix(".spoken.wav")
    # A text takes some 27 s.
    subprocess.run(["espeak-ng", "-s", "165", "-w", spoken, TEXT * (1 + int(seconds / 20))], check=True)
    # -R: the same dither each time.
    subprocess.run(
        ["sox", "-R", spoken, "-r", "48000", "-c", "1", "-b", "16", path, "trim", "0", str(seconds)], check=True
    )
    spoken.unlink()
    return path
