"""SRTP and SRTCP (RFC 3711, RFC 7714) keyed by DTLS (RFC 5764): two engines behind one interface."""

from trioice.srtp.engines import Engine, SrtpReceiver, SrtpSender, receiver, sender
from trioice.srtp.keys import EXTRACTOR, MasterKey, material_length, split
from trioice.srtp.libsrtp import Room
from trioice.srtp.profiles import (
    AEAD_AES_128_GCM,
    AEAD_AES_256_GCM,
    AES128_CM_SHA1_80,
    LONGEST_TAG,
    PROFILES,
    Profile,
    profile_by_name,
)
from trioice.srtp.streams import STREAMS, WINDOW, Drop, SrtpState

__all__ = [
    "AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM",
    "AES128_CM_SHA1_80",
    "EXTRACTOR",
    "LONGEST_TAG",
    "PROFILES",
    "STREAMS",
    "WINDOW",
    "Drop",
    "Engine",
    "MasterKey",
    "Profile",
    "Room",
    "SrtpReceiver",
    "SrtpSender",
    "SrtpState",
    "material_length",
    "profile_by_name",
    "receiver",
    "sender",
    "split",
]
