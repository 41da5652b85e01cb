"""libopus, found and loaded when it is first needed.

It is looked for in the `av` wheel, which carries a recent one and whose Python part is not imported, and then on the system.
"""

import ctypes
import ctypes.util
import functools
import importlib.util
from pathlib import Path

from trioice.errors import TrioiceError


class CodecMissing(TrioiceError):
    """There is no libopus on this machine."""


@functools.cache
def opus() -> ctypes.CDLL:
    """Load libopus. Raises CodecMissing."""
    for name in (*_in_wheel(), ctypes.util.find_library("opus")):
        if name is not None:
            try:
                return _declared(ctypes.CDLL(name))
            except (OSError, AttributeError):  # not loadable here, or something else of this name
                continue
    raise CodecMissing("no libopus: pip install 'trioice[audio]', or apt-get install libopus0")


def _in_wheel() -> list[str]:
    spec = importlib.util.find_spec("av")
    if spec is None or spec.origin is None:
        return []
    return [str(path) for path in sorted((Path(spec.origin).parent.parent / "av.libs").glob("libopus*.so*"))]


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """Declare what we call: the state and the samples are memory of ours, so pointers; payloads and PCM to read are bytes."""
    state, out, octets, number = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, arguments in {
        "opus_decoder_get_size": (number,),
        "opus_decoder_init": (state, number, number),
        "opus_decode": (state, octets, number, out, number, number),
        "opus_encoder_get_size": (number,),
        "opus_encoder_init": (state, number, number, number),
        "opus_encode": (state, octets, number, out, number),
        "opus_encoder_ctl": (state, number),  # and, as it is variadic, one number more
    }.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, number
    return library
