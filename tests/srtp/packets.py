"""Plain packets to protect, and every way to make an engine."""

from collections.abc import Callable, Iterator
from typing import Final

import attrs

from trioice.srtp import MasterKey, Profile, SrtpReceiver, SrtpSender, receiver, sender
from trioice.srtp.libsrtp import LibsrtpReceiver, LibsrtpSender, public_road
from trioice.srtp.streams import HEADER, REPORT_HEADER

SSRC: Final = 0xDECAFBAD


def rtp(sequence: int, ssrc: int = SSRC, payload: bytes = b"speech, twenty milliseconds of it") -> bytes:
    return HEADER.pack(0x80, 111, sequence & 0xFFFF, sequence * 960 & 0xFFFFFFFF, ssrc) + payload


def rtcp(ssrc: int = SSRC, rest: bytes = bytes(20)) -> bytes:
    return REPORT_HEADER.pack(0x80, 200, 6, ssrc) + rest


def master(profile: Profile, first: int = 1) -> MasterKey:
    octets = bytes(number & 0xFF for number in range(first, first + profile.key_length + profile.salt_length))
    return MasterKey(octets[: profile.key_length], octets[profile.key_length :])


@attrs.frozen
class Engine:
    """A sender and a receiver of one engine."""

    name: str
    sender: Callable[[Profile, MasterKey], SrtpSender]
    receiver: Callable[[Profile, MasterKey], SrtpReceiver]


ENGINES: Final = [
    Engine("plain", lambda p, m: sender(p, m, engine="plain"), lambda p, m: receiver(p, m, engine="plain")),
    Engine("libsrtp", lambda p, m: sender(p, m, engine="libsrtp"), lambda p, m: receiver(p, m, engine="libsrtp")),
    Engine(
        "public",
        lambda p, m: LibsrtpSender(p, m, road=public_road()),
        lambda p, m: LibsrtpReceiver(p, m, road=public_road()),
    ),
]


def protected(out: SrtpSender, sequences: Iterator[int] | range | list[int], ssrc: int = SSRC) -> list[bytes]:
    """Protect a packet for each of `sequences`; none may be refused."""
    packets = [out.protect(rtp(sequence, ssrc)) for sequence in sequences]
    assert None not in packets
    return [packet for packet in packets if packet is not None]


def flipped(packet: bytes, position: int = -1) -> bytes:
    """Spoil one bit."""
    spoilt = bytearray(packet)
    spoilt[position] ^= 1
    return bytes(spoilt)
