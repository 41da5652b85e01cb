"""Which engine does SRTP: libsrtp where it is there and can, else our own."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from trioice.errors import LocalProtocolError
from trioice.srtp import libsrtp
from trioice.srtp.keys import MasterKey
from trioice.srtp.plain import PlainReceiver, PlainSender
from trioice.srtp.profiles import Profile
from trioice.srtp.streams import Drop, SrtpState

Engine: TypeAlias = Literal["auto", "plain", "libsrtp"]


class SrtpSender(Protocol):
    """One direction out. A transform: no clock, no I/O, nothing raised for any packet.

    An index belongs to one packet for ever; the same octets may be protected again while they lie in the window.
    """

    dropped: Counter[Drop]

    def protect(self, packet: bytes) -> bytes | None:
        """Protect an RTP packet; None, and a count in `dropped`, where that is refused."""

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """Protect a compound RTCP packet."""

    def protect_burst(self, buffers: Sequence[bytearray], lengths: Sequence[int]) -> list[int]:
        """Protect RTP packets in place, each with room for the profile's tag behind it; new lengths, 0 = refused."""

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

    def unprotect_burst(self, buffers: Sequence[bytearray], lengths: Sequence[int]) -> list[int]:
        """Unprotect SRTP packets in place; new lengths, 0 = refused. What a refused buffer holds is undefined."""

    def export(self) -> SrtpState:
        """Write down keys and indices as plain data."""


def sender(profile: Profile, master: MasterKey, state: SrtpState | None = None, engine: Engine = "auto") -> SrtpSender:
    """Make the sender of one direction, new or continued from `state`, which only the plain engine can do.

    LocalProtocolError: keys or state do not fit the profile, or libsrtp is asked for what it cannot do.
    """
    if _takes_libsrtp(profile, state, engine):
        return libsrtp.LibsrtpSender(profile, master)
    return PlainSender(profile, master, state)


def receiver(
    profile: Profile, master: MasterKey, state: SrtpState | None = None, engine: Engine = "auto"
) -> SrtpReceiver:
    """Make the receiver of one direction, new or continued from `state`; else as `sender`."""
    if _takes_libsrtp(profile, state, engine):
        return libsrtp.LibsrtpReceiver(profile, master)
    return PlainReceiver(profile, master, state)


def _takes_libsrtp(profile: Profile, state: SrtpState | None, engine: Engine) -> bool:
    able = state is None and profile.number in libsrtp.ROADS
    if engine == "libsrtp" and not able:
        raise LocalProtocolError("libsrtp is not there, lacks this profile, or cannot continue a state")
    return able and engine != "plain"
