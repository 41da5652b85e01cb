"""SRTP and SRTCP through libsrtp, in place on the packet's own buffer: the fast engine, and the plain one's second opinion.

Theory of operation
-------------------
libsrtp keeps roll-over counters and replay windows itself; pylibsrtp shows neither, nor the function that would set a
roll-over counter. So this engine

* counts the highest index of each SSRC beside libsrtp, by the same rule, only to write it down and to bound the SSRCs;
* cannot be restored: a state is continued by the plain engine.

pylibsrtp's public wrapper takes and makes `bytes` and costs twice what libsrtp does. Its private binding works in place. Being
private it may change, so both roads are tried at import, and what does not work is not taken.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs
import pylibsrtp

from trioice.srtp.keys import MasterKey
from trioice.srtp.plain import PlainReceiver
from trioice.srtp.profiles import AEAD_AES_128_GCM, AEAD_AES_256_GCM, AES128_CM_SHA1_80, PROFILES, Profile
from trioice.srtp.streams import (
    ENCRYPTED,
    HEADER,
    LONGEST,
    REPORT_HEADER,
    STREAMS,
    WINDOW,
    Drop,
    SentIndices,
    SrtpState,
    check_state,
    guess_index,
    payload_start,
    report_trailer,
)

ROOM: Final = 2048
"""Octets of a buffer of our own: `LONGEST` and the longest trailer that libsrtp knows, rounded up."""

REFUSALS: Final[Mapping[str, Drop]] = {
    "authentication failure": Drop.FORGED,
    "replay check failed (bad index)": Drop.REPLAYED,
    "replay check failed (index too old)": Drop.REPLAYED,
    "can't use key any more": Drop.EXHAUSTED,
}
"""What libsrtp's refusals are called here; all others are about the packet's form."""

DROPS: Final = {status: REFUSALS[text] for status, text in enumerate(pylibsrtp.ERRORS) if text in REFUSALS}


class Room:
    """Memory to work in, one for all the transforms of a thread: a call's own would have left the caches by its next packet."""

    __slots__ = ("length", "octets", "pointer", "view")

    def __init__(self) -> None:
        self.octets = bytearray(ROOM)
        self.view = memoryview(self.octets)
        self.pointer: Any = None  # what the private binding takes in place of `octets`,
        self.length: Any = None  # and where it reads and writes a length


class LibsrtpSender:
    """Protects one direction's packets; the same meaning as `PlainSender`."""

    __slots__ = ("_handle", "_indices", "_master", "_owner", "_profile", "_road", "_room", "dropped")

    def __init__(
        self, profile: Profile, master: MasterKey, room: Room | None = None, road: "Road | None" = None
    ) -> None:
        check_state(profile, master, None)
        self.dropped: Counter[Drop] = Counter()
        self._profile, self._master = profile, master
        self._indices = SentIndices(None, self.dropped)
        self._road = road or ROADS[profile.number]
        self._room = self._road.furnish(room or Room())
        self._owner, self._handle = self._road.open(_session(profile, master, outbound=True))

    def protect(self, packet: bytes) -> bytes | None:
        """Encrypt and authenticate an RTP packet; None, and a count in `dropped`, where that is refused."""
        if self._indices.use(packet) < 0:
            return None
        room = self._room
        length = len(packet)
        room.view[:length] = packet
        length = self._road.protect(self._handle, room, length)
        return room.view[:length].tobytes() if length > 0 else _refuse(self.dropped, length)

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """Encrypt and authenticate a compound RTCP packet under its sender's next index."""
        if self._indices.next_report(packet) < 0:
            return None
        room = self._room
        length = len(packet)
        room.view[:length] = packet
        length = self._road.protect_rtcp(self._handle, room, length)
        if length <= 0:
            return _refuse(self.dropped, length)
        # libsrtp counts SRTCP indices itself, from 1, where RFC 3711, 3.4 says 0.
        index = report_trailer(self._profile, room.octets, length) ^ ENCRYPTED
        self._indices.note_report(REPORT_HEADER.unpack_from(packet)[3], index)
        return room.view[:length].tobytes()

    def export(self) -> SrtpState:
        """Write down keys and indices, to go on from in another process once this one has fallen silent."""
        return self._indices.export(self._profile, self._master)


class LibsrtpReceiver:
    """Authenticates and decrypts one direction's packets; the same meaning as `PlainReceiver`."""

    __slots__ = (
        "_handle",
        "_highest",
        "_highest_reports",
        "_index",
        "_master",
        "_owner",
        "_profile",
        "_road",
        "_room",
        "_ssrc",
        "_tag",
        "dropped",
    )

    def __init__(
        self, profile: Profile, master: MasterKey, room: Room | None = None, road: "Road | None" = None
    ) -> None:
        check_state(profile, master, None)
        self.dropped: Counter[Drop] = Counter()
        self._profile, self._master = profile, master
        self._tag = profile.tag_length
        self._highest: dict[int, int] = {}  # of each SSRC,
        self._ssrc, self._index = -1, -1  # but of the one heard last it stands here
        self._highest_reports: dict[int, int] = {}
        self._road = road or ROADS[profile.number]
        self._room = self._road.furnish(room or Room())
        self._owner, self._handle = self._road.open(_session(profile, master, outbound=False))

    def unprotect(self, packet: bytes) -> bytes | None:
        """Give back the RTP packet inside; None, and a count in `dropped`, for what is malformed, forged or not new."""
        length = len(packet)
        if not 12 + self._tag <= length <= LONGEST or (
            packet[0] != 0x80 and not payload_start(packet, length - self._tag)
        ):
            self.dropped[Drop.MALFORMED] += 1
            return None
        _, _, sequence, _, ssrc = HEADER.unpack_from(packet)
        highest = self._index if ssrc == self._ssrc else self._highest.get(ssrc, -1)
        if highest < 0 and len(self._highest) >= STREAMS:
            self.dropped[Drop.TOO_MANY_STREAMS] += 1
            return None
        room = self._room
        room.view[:length] = packet
        length = self._road.unprotect(self._handle, room, length)
        if length <= 0:
            return _refuse(self.dropped, length)
        index = highest + 1 if sequence == highest + 1 & 0xFFFF else guess_index(sequence, highest)
        if ssrc != self._ssrc:
            self._highest = self._noted() | {ssrc: highest}
            self._ssrc, self._index = ssrc, highest
        if index > highest:
            self._index = index
        return room.view[:length].tobytes()

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """Give back the compound RTCP packet inside; None, and a count in `dropped`, as `unprotect`."""
        length = len(packet)
        if not 8 + 4 + self._tag <= length <= LONGEST or packet[0] >> 6 != 2:
            self.dropped[Drop.MALFORMED] += 1
            return None
        trailer = report_trailer(self._profile, packet, length)
        if not trailer & ENCRYPTED:
            self.dropped[Drop.UNENCRYPTED] += 1
            return None
        ssrc = REPORT_HEADER.unpack_from(packet)[3]
        highest = self._highest_reports.get(ssrc, -1)
        if highest < 0 and len(self._highest_reports) >= STREAMS:
            self.dropped[Drop.TOO_MANY_STREAMS] += 1
            return None
        room = self._room
        room.view[:length] = packet
        length = self._road.unprotect_rtcp(self._handle, room, length)
        if length <= 0:
            return _refuse(self.dropped, length)
        self._highest_reports[ssrc] = max(highest, trailer ^ ENCRYPTED)
        return room.view[:length].tobytes()

    def export(self) -> SrtpState:
        """Write down keys and indices; what is restored from it refuses every index up to the highest."""
        return SrtpState(
            profile=self._profile.number,
            key=self._master.key,
            salt=self._master.salt,
            rtp=self._noted(),
            rtcp=dict(self._highest_reports),
        )

    def _noted(self) -> dict[int, int]:
        """The highest index of each SSRC."""
        return self._highest | {self._ssrc: self._index} if self._highest else {}


def _refuse(dropped: Counter[Drop], status: int) -> bytes | None:
    dropped[DROPS.get(-status, Drop.MALFORMED)] += 1
    return None


Verb: TypeAlias = Callable[[Any, Room, int], int]
"""Works on the packet of that length in the room, given a session's handle; the new length, or minus libsrtp's status."""


@attrs.frozen(kw_only=True)
class Road:
    """A way to libsrtp's functions. `open` gives what keeps a session alive, and what the verbs take; `furnish` readies a room for them."""

    name: str
    open: Callable[[pylibsrtp.Session], tuple[Any, Any]]
    furnish: Callable[[Room], Room]
    protect: Verb
    protect_rtcp: Verb
    unprotect: Verb
    unprotect_rtcp: Verb


def private_road() -> Road:
    """Go through pylibsrtp's private binding, without a copy."""
    from pylibsrtp._binding import ffi, lib  # here, so that the self-test finds out when it is gone

    def furnish(room: Room) -> Room:
        if room.pointer is None:
            room.pointer, room.length = ffi.from_buffer(room.octets), ffi.new("int *")
        return room

    def verb(function: Any) -> Verb:
        def run(handle: Any, room: Room, length: int) -> Any:
            now_long = room.length
            now_long[0] = length
            status = function(handle, room.pointer, now_long)
            return -status if status else now_long[0]

        return run

    return Road(
        name="private",
        # Not the whole session: its buffer of 1,500 octets is for the wrapper.
        open=lambda session: (session._srtp, session._srtp[0]),
        furnish=furnish,
        protect=verb(lib.srtp_protect),
        protect_rtcp=verb(lib.srtp_protect_rtcp),
        unprotect=verb(lib.srtp_unprotect),
        unprotect_rtcp=verb(lib.srtp_unprotect_rtcp),
    )


def public_road() -> Road:
    """Go through pylibsrtp's public wrapper, which copies."""

    def verb(name: str) -> Verb:
        def run(session: pylibsrtp.Session, room: Room, length: int) -> int:
            try:
                packet = getattr(session, name)(bytes(room.octets[:length]))
            except pylibsrtp.Error as error:
                return -pylibsrtp.ERRORS.index(str(error))
            room.octets[: len(packet)] = packet
            return len(packet)

        return run

    return Road(
        name="public",
        open=lambda session: (session, session),
        furnish=lambda room: room,
        protect=verb("protect"),
        protect_rtcp=verb("protect_rtcp"),
        unprotect=verb("unprotect"),
        unprotect_rtcp=verb("unprotect_rtcp"),
    )


def _session(profile: Profile, master: MasterKey, *, outbound: bool) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy(
        key=master.key + master.salt,
        ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND if outbound else pylibsrtp.Policy.SSRC_ANY_INBOUND,
        srtp_profile={
            AEAD_AES_128_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
            AEAD_AES_256_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
            AES128_CM_SHA1_80: pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
        }[profile],
    )
    policy.window_size = WINDOW
    return pylibsrtp.Session(policy)


def _shortest_road(profile: Profile) -> Road | None:
    """Find the shortest road on which libsrtp and the plain engine understand each other; None where there is none."""
    master = MasterKey(bytes(range(profile.key_length)), bytes(range(profile.salt_length)))
    packet = HEADER.pack(0x80, 111, 1, 0, 1) + b"self-test"
    for build in (private_road, public_road):
        try:
            road = build()
            sealed = LibsrtpSender(profile, master, road=road).protect(packet)
            if (
                sealed is not None
                and PlainReceiver(profile, master).unprotect(sealed) == packet
                and LibsrtpReceiver(profile, master, road=road).unprotect(sealed) == packet
            ):
                return road
        except Exception:  # noqa: BLE001 - whatever a changed private interface does, the next road is tried
            continue
    return None


ROADS: Final[Mapping[int, Road]] = {
    number: road for number, profile in PROFILES.items() if (road := _shortest_road(profile)) is not None
}
"""By profile number, how libsrtp is reached; a profile that it lacks is not here."""
