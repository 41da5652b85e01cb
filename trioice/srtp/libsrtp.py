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
from collections.abc import Callable, Mapping, Sequence
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


class LibsrtpSender:
    """Protects one direction's packets; the same meaning as `PlainSender`."""

    def __init__(self, profile: Profile, master: MasterKey, road: "RoadMaker | None" = None) -> None:
        check_state(profile, master, None)
        self.dropped: Counter[Drop] = Counter()
        self._profile, self._master = profile, master
        self._indices = SentIndices(None, self.dropped)
        self._road = (road or ROADS[profile.number])(_session(profile, master, outbound=True))
        self._buffer = bytearray(ROOM)
        self._octets = self._road.octets(self._buffer)

    def protect(self, packet: bytes) -> bytes | None:
        """Encrypt and authenticate an RTP packet; None, and a count in `dropped`, where that is refused."""
        if self._indices.use(packet) < 0:
            return None
        length = len(packet)
        self._buffer[:length] = packet
        length = self._road.protect(self._octets, length)
        return bytes(self._buffer[:length]) if length > 0 else _refuse(self.dropped, length)

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """Encrypt and authenticate a compound RTCP packet under its sender's next index."""
        if self._indices.next_report(packet) < 0:
            return None
        length = len(packet)
        self._buffer[:length] = packet
        length = self._road.protect_rtcp(self._octets, length)
        if length <= 0:
            return _refuse(self.dropped, length)
        # libsrtp counts SRTCP indices itself, from 1, where RFC 3711, 3.4 says 0.
        index = report_trailer(self._profile, self._buffer, length) ^ ENCRYPTED
        self._indices.note_report(REPORT_HEADER.unpack_from(packet)[3], index)
        return bytes(self._buffer[:length])

    def protect_burst(self, buffers: Sequence[bytearray], lengths: Sequence[int]) -> list[int]:
        """Protect the RTP packets in front of `buffers` in place; their new lengths, 0 where refused."""
        return [self._protect_in_place(*item) for item in zip(buffers, lengths, strict=True)]

    def export(self) -> SrtpState:
        """Write down keys and indices, to go on from in another process once this one has fallen silent."""
        return self._indices.export(self._profile, self._master)

    def _protect_in_place(self, buffer: bytearray, length: int) -> int:
        # libsrtp writes the tag behind the packet whatever the buffer's size, so this check guards memory.
        if not 0 <= length <= len(buffer) - self._profile.tag_length:
            self.dropped[Drop.MALFORMED] += 1
            return 0
        if self._indices.use(bytes(buffer[:length])) < 0:
            return 0
        length = self._road.protect(self._road.octets(buffer), length)
        if length <= 0:
            _refuse(self.dropped, length)
            return 0
        return length


class LibsrtpReceiver:
    """Authenticates and decrypts one direction's packets; the same meaning as `PlainReceiver`."""

    def __init__(self, profile: Profile, master: MasterKey, road: "RoadMaker | None" = None) -> None:
        check_state(profile, master, None)
        self.dropped: Counter[Drop] = Counter()
        self._profile, self._master = profile, master
        self._highest: dict[int, int] = {}
        self._highest_reports: dict[int, int] = {}
        self._road = (road or ROADS[profile.number])(_session(profile, master, outbound=False))
        self._buffer = bytearray(ROOM)
        self._octets = self._road.octets(self._buffer)

    def unprotect(self, packet: bytes) -> bytes | None:
        """Give back the RTP packet inside; None, and a count in `dropped`, for what is malformed, forged or not new."""
        length = len(packet)
        if length > LONGEST:
            self.dropped[Drop.MALFORMED] += 1
            return None
        self._buffer[:length] = packet
        length = self._unprotect(packet, self._octets, length)
        return bytes(self._buffer[:length]) if length else None

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """Give back the compound RTCP packet inside; None, and a count in `dropped`, as `unprotect`."""
        length = len(packet)
        if not 8 + 4 + self._profile.tag_length <= length <= LONGEST or packet[0] >> 6 != 2:
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
        self._buffer[:length] = packet
        length = self._road.unprotect_rtcp(self._octets, length)
        if length <= 0:
            return _refuse(self.dropped, length)
        self._highest_reports[ssrc] = max(highest, trailer ^ ENCRYPTED)
        return bytes(self._buffer[:length])

    def unprotect_burst(self, buffers: Sequence[bytearray], lengths: Sequence[int]) -> list[int]:
        """Unprotect the SRTP packets in front of `buffers` in place; their new lengths, 0 where refused."""
        return [
            self._unprotect(buffer, self._road.octets(buffer), length if 0 <= length <= len(buffer) else 0)
            for buffer, length in zip(buffers, lengths, strict=True)
        ]

    def export(self) -> SrtpState:
        """Write down keys and indices; what is restored from it refuses every index up to the highest."""
        return SrtpState(
            profile=self._profile.number,
            key=self._master.key,
            salt=self._master.salt,
            rtp=dict(self._highest),
            rtcp=dict(self._highest_reports),
        )

    def _unprotect(self, packet: bytes | bytearray, octets: Any, length: int) -> int:
        if length > LONGEST or not payload_start(packet, length - self._profile.tag_length):
            self.dropped[Drop.MALFORMED] += 1
            return 0
        _, _, sequence, _, ssrc = HEADER.unpack_from(packet)
        highest = self._highest.get(ssrc, -1)
        if highest < 0 and len(self._highest) >= STREAMS:
            self.dropped[Drop.TOO_MANY_STREAMS] += 1
            return 0
        length = self._road.unprotect(octets, length)
        if length <= 0:
            _refuse(self.dropped, length)
            return 0
        index = guess_index(sequence, highest)
        if index > highest:
            self._highest[ssrc] = index
        return length


def _refuse(dropped: Counter[Drop], status: int) -> bytes | None:
    dropped[DROPS.get(-status, Drop.MALFORMED)] += 1
    return None


Verb: TypeAlias = Callable[[Any, int], int]
"""Works in place on a packet of that length; the new length, or minus libsrtp's status."""


@attrs.frozen(kw_only=True)
class Road:
    """A way to libsrtp's functions for one session. `octets` makes of a buffer what the verbs take."""

    session: pylibsrtp.Session  # owns the memory behind the verbs
    octets: Callable[[bytearray], Any]
    protect: Verb
    protect_rtcp: Verb
    unprotect: Verb
    unprotect_rtcp: Verb


RoadMaker: TypeAlias = Callable[[pylibsrtp.Session], Road]


def private_road(session: pylibsrtp.Session) -> Road:
    """Go through pylibsrtp's private binding, without a copy."""
    from pylibsrtp._binding import ffi, lib  # here, so that the self-test finds out when it is gone

    handle, written = session._srtp[0], ffi.new("int *")

    def verb(function: Any) -> Verb:
        def run(octets: Any, length: int) -> int:
            written[0] = length
            status: int = function(handle, octets, written)
            if status:
                return -status
            now_long: int = written[0]
            return now_long

        return run

    return Road(
        session=session,
        octets=ffi.from_buffer,
        protect=verb(lib.srtp_protect),
        protect_rtcp=verb(lib.srtp_protect_rtcp),
        unprotect=verb(lib.srtp_unprotect),
        unprotect_rtcp=verb(lib.srtp_unprotect_rtcp),
    )


def public_road(session: pylibsrtp.Session) -> Road:
    """Go through pylibsrtp's public wrapper, which copies."""

    def verb(function: Callable[[bytes], bytes]) -> Verb:
        def run(octets: bytearray, length: int) -> int:
            try:
                packet = function(bytes(octets[:length]))
            except pylibsrtp.Error as error:
                return -pylibsrtp.ERRORS.index(str(error))
            octets[: len(packet)] = packet
            return len(packet)

        return run

    return Road(
        session=session,
        octets=lambda buffer: buffer,
        protect=verb(session.protect),
        protect_rtcp=verb(session.protect_rtcp),
        unprotect=verb(session.unprotect),
        unprotect_rtcp=verb(session.unprotect_rtcp),
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
    policy.allow_repeat_tx = True  # `SentIndices` has seen to it that what is repeated is the same packet
    return pylibsrtp.Session(policy)


def _shortest_road(profile: Profile) -> RoadMaker | None:
    """Find the shortest road on which libsrtp and the plain engine understand each other; None where there is none."""
    master = MasterKey(bytes(range(profile.key_length)), bytes(range(profile.salt_length)))
    packet = HEADER.pack(0x80, 111, 1, 0, 1) + b"self-test"
    makers: tuple[RoadMaker, ...] = (private_road, public_road)
    for maker in makers:
        try:
            sealed = LibsrtpSender(profile, master, maker).protect(packet)
            if (
                sealed is not None
                and PlainReceiver(profile, master).unprotect(sealed) == packet
                and LibsrtpReceiver(profile, master, maker).unprotect(sealed) == packet
            ):
                return maker
        except Exception:  # noqa: BLE001 - whatever a changed private interface does, the next road is tried
            continue
    return None


ROADS: Final[Mapping[int, RoadMaker]] = {
    number: road for number, profile in PROFILES.items() if (road := _shortest_road(profile)) is not None
}
"""By profile number, how libsrtp is reached; a profile that it lacks is not here."""
