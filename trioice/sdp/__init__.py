"""The offers that browsers make and the answers that we give (RFC 8866, 8829, 8843, 8839, 8842, 8840)."""

from trioice.sdp.answer import Candidate, answer
from trioice.sdp.fragment import Fragment, accepted_mid, fragment, read_fragment
from trioice.sdp.offer import AudioSection, Extension, Offer, OfferRefused, Setup
from trioice.sdp.parse import Attribute, SdpError, Section

__all__ = [
    "Attribute",
    "AudioSection",
    "Candidate",
    "Extension",
    "Fragment",
    "Offer",
    "OfferRefused",
    "SdpError",
    "Section",
    "Setup",
    "accepted_mid",
    "answer",
    "fragment",
    "read_fragment",
]
