"""The voice-AI media edge: WebRTC from a browser or phone in, plain audio to an agent out.

The names below are the public ones; nothing else is stable. They load when first used, so that a protocol core can be imported
without trio.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trioice.endpoint import Endpoint
    from trioice.errors import LocalProtocolError, Misbehaviour, RemoteProtocolError, TrioiceError
    from trioice.ice import Credentials, IceLite
    from trioice.programs import RelaySettings, TransceiverSettings, run_relay, run_serve, run_transceiver
    from trioice.session import Session, SessionConfig
    from trioice.transceiver.call import Call
    from trioice.transceiver.server import Transceiver, TransceiverConfig

__version__: Final = "0.1.0"

_HOMES: Final = {
    "Call": "trioice.transceiver.call",
    "Credentials": "trioice.ice",
    "Endpoint": "trioice.endpoint",
    "IceLite": "trioice.ice",
    "LocalProtocolError": "trioice.errors",
    "Misbehaviour": "trioice.errors",
    "RelaySettings": "trioice.programs",
    "RemoteProtocolError": "trioice.errors",
    "Session": "trioice.session",
    "SessionConfig": "trioice.session",
    "Transceiver": "trioice.transceiver.server",
    "TransceiverConfig": "trioice.transceiver.server",
    "TransceiverSettings": "trioice.programs",
    "TrioiceError": "trioice.errors",
    "run_relay": "trioice.programs",
    "run_serve": "trioice.programs",
    "run_transceiver": "trioice.programs",
}

__all__ = [
    "Call",
    "Credentials",
    "Endpoint",
    "IceLite",
    "LocalProtocolError",
    "Misbehaviour",
    "RelaySettings",
    "RemoteProtocolError",
    "Session",
    "SessionConfig",
    "Transceiver",
    "TransceiverConfig",
    "TransceiverSettings",
    "TrioiceError",
    "__version__",
    "run_relay",
    "run_serve",
    "run_transceiver",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used (PEP 562)."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'trioice' has no attribute {name!r}")
