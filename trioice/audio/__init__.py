"""Audio: PCM frames, the codecs that make them of payloads and payloads of them, and what stands between packets and frames.

PCM is always mono, of signed 16-bit samples in little-endian order, at one of `RATES`.
"""

from trioice.audio.activity import Activity, SpeechStarted, SpeechStopped
from trioice.audio.codec import RATES, Codec, Decoder, Encoder, Frame
from trioice.audio.jitter_buffer import Patience
from trioice.audio.library import CodecMissing
from trioice.audio.listener import Listener
from trioice.audio.opus import Opus
from trioice.audio.patience import AutoPatience

__all__ = [
    "RATES",
    "Activity",
    "AutoPatience",
    "Codec",
    "CodecMissing",
    "Decoder",
    "Encoder",
    "Frame",
    "Listener",
    "Opus",
    "Patience",
    "SpeechStarted",
    "SpeechStopped",
]
