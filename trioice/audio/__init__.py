"""Audio: PCM frames, the codecs that make them of payloads and payloads of them, and what stands between packets and frames.

PCM is always mono, of signed 16-bit samples in little-endian order, at one of `RATES`.
"""

from trioice.audio.codec import RATES, Codec, Decoder, Encoder, Frame
from trioice.audio.g711 import G711, PCMA, PCMU
from trioice.audio.library import CodecMissing
from trioice.audio.opus import Opus
from trioice.audio.resample import Resampler

__all__ = ["G711", "PCMA", "PCMU", "RATES", "Codec", "CodecMissing", "Decoder", "Encoder", "Frame", "Opus", "Resampler"]
