"""Which engine does SRTP: libsrtp where it is there and can, else our own."""

from collections import Counter
from typing import Literal, Protocol, TypeAlias

from trioice.errors import LocalProtocolError
from trioice.srtp import libsrtp
from trioice.srtp.keys import MasterKey
from trioice.srtp.libsrtp import Room
from trioice.srtp.plain import PlainReceiver, PlainSender
from trioice.srtp.profiles import Profile
from trioice.srtp.streams import Drop, SrtpState

Engine: TypeAlias = Literal["auto", "plain", "libsrtp"]


class SrtpSender(Protocol):
    """One direction out. A transform: no clock, no I/O, nothing raised for any packet.

    An index belongs to one packet for ever; whoever may have to send it again keeps what was protected.
    """

    dropped: Counter[Drop]

    def protect(self, packet: bytes) -> bytes | None:
        """Protect an RTP packet; None, and a count in `dropped`, where that is refused."""

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """Protect a compound RTCP packet."""

    def export(self) -> SrtpState:
        """Write down keys and indices as plain data."""


class SrtpReceiver(Protocol):
    """One direction in. A transform: no clock, no I/O, nothing raised for any octets.

    Late packets are taken while they lie in the window and were not seen; nothing is remembered of what is not authentic.
    """

    dropped: Counter[Drop]

    def unprotect(self, packet: bytes) -> bytes | None:
        """Give back the RTP packet inside; None, and a count in `dropped`, where it is refused."""

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """Give back the compound RTCP packet inside."""

    def export(self) -> SrtpState:
        """Write down keys and indices as plain data."""


def sender(
    profile: Profile,
    master: MasterKey,
    state: SrtpState | None = None,
    engine: Engine = "auto",
    room: Room | None = None,
) -> SrtpSender:
    """Make the sender of one direction, new or continued from `state`, which only the plain engine can do.

    A `room` may be shared by all that one thread uses. LocalProtocolError: keys or state do not fit the profile, or libsrtp is
    asked for what it cannot do.
    """
    if _takes_libsrtp(profile, state, engine):
        return libsrtp.LibsrtpSender(profile, master, room)
    return PlainSender(profile, master, state)


def receiver(
    profile: Profile,
    master: MasterKey,
    state: SrtpState | None = None,
    engine: Engine = "auto",
    room: Room | None = None,
) -> SrtpReceiver:
    """Make the receiver of one direction, new or continued from `state`; else as `sender`."""
    if _takes_libsrtp(profile, state, engine):
        return libsrtp.LibsrtpReceiver(profile, master, room)
    return PlainReceiver(profile, master, state)


def _takes_libsrtp(profile: Profile, state: SrtpState | None, engine: Engine) -> bool:
    able = state is None and profile.number in libsrtp.ROADS
    if engine == "libsrtp" and not able:
        raise LocalProtocolError("libsrtp is not there, lacks this profile, or cannot continue a state")
    return able and engine != "plain"
