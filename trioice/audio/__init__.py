"""Audio: PCM frames, the codecs that make them of payloads and payloads of them, and what stands between packets and frames.

PCM is always mono, of signed 16-bit samples in little-endian order, at one of `RATES`.
"""

from collections.abc import Mapping
from typing import Final

from trioice.audio.activity import Activity, SpeechStarted, SpeechStopped
from trioice.audio.codec import RATES, Codec, Decoder, Encoder, Frame
from trioice.audio.detector import Detector, DetectorMissing
from trioice.audio.g711 import G711, PCMA, PCMU
from trioice.audio.jitter_buffer import Patience
from trioice.audio.library import CodecMissing
from trioice.audio.listener import Listener
from trioice.audio.opus import Opus
from trioice.audio.patience import AutoPatience
from trioice.audio.playout import Playout
from trioice.audio.resample import Resampler

__all__ = [
    "CODECS",
    "G711",
    "PCMA",
    "PCMU",
    "RATES",
    "Activity",
    "AutoPatience",
    "Codec",
    "CodecMissing",
    "Decoder",
    "Detector",
    "DetectorMissing",
    "Encoder",
    "Frame",
    "Listener",
    "Opus",
    "Patience",
    "Playout",
    "Resampler",
    "SpeechStarted",
    "SpeechStopped",
]

CODECS: Final[Mapping[str, Codec]] = {codec.name: codec for codec in (Opus(), PCMU, PCMA)}
"""What calls are answered with, by the names in SDP."""
