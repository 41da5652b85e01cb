"""What both engines remember of each SSRC: roll-over, replay, and which indices are used (RFC 3711, 3.3).

Theory of operation
-------------------
A packet carries 16 bits of its 48-bit index; the rest, the roll-over counter, each end counts for itself. A receiver guesses
the index nearest to the highest it has authenticated; the tag proves the guess, because the counter goes into it. So nothing
is remembered of a packet, and no SSRC at all, before its tag was right.

Every SSRC has an index of its own for the life of the keys: one that goes silent and comes back goes on where it was.

The cipher's nonce is made of SSRC and index, so the sender keeps one rule, in both engines: **an index belongs to one packet
for ever**, and is refused a second time. A packet needs an index above the highest, or one that was left out inside the window.
Whoever may have to retransmit keeps what was protected. After a restore every index up to the highest exported counts as used, on
both sides.
"""

import enum
import struct
from collections import Counter
from collections.abc import Mapping
from typing import Final

import attrs

from trioice.errors import LocalProtocolError
from trioice.sequence import MAXIMUM_INDEX, ReplayWindow, extend
from trioice.srtp.keys import MasterKey
from trioice.srtp.profiles import PROFILES, Profile

WINDOW: Final = 1024
"""How late a packet may be, in packets: Chromium resends audio up to 3 s late, 150 packets of 20 ms; video needs more."""

REPORT_WINDOW: Final = 128
"""The same for SRTCP. It is what libsrtp has built in; reports are seconds apart."""

STREAMS: Final = 16
"""SSRCs a direction, for RTP and RTCP each. A caller has one or two; a hostile one that is authentic must not fill memory."""

LONGEST: Final = 1500
"""Octets of a protected packet: Ethernet's MTU, and the room in libsrtp's Python wrapper."""

LONGEST_PLAIN: Final = 1352
"""Octets of a packet to be protected: the room that the wrapper leaves before the longest trailer libsrtp knows."""

ENCRYPTED: Final = 0x80000000
"""The E flag, in front of the SRTCP index (RFC 3711, 3.4)."""

LAST_REPORT_INDEX: Final = 0x7FFFFFFF
"""SRTCP indices have 31 bits (RFC 3711, 3.4); after the last one the keys are spent (9.2)."""

HEADER: Final = struct.Struct("!BBHII")
"""RFC 3550, 5.1: V P X CC, M PT, sequence, timestamp, SSRC."""

REPORT_HEADER: Final = struct.Struct("!BBHI")
"""RFC 3550, 6.4: V P RC, PT, length, SSRC of the sender. It stays in the clear (RFC 3711, 3.4)."""


class Drop(enum.Enum):
    """Why a packet was refused. The value is for the operator."""

    MALFORMED = "it is no RTP or RTCP packet, or too long"
    FORGED = "its tag is wrong"
    REPLAYED = "its index was seen before, or lies before the window"
    TOO_MANY_STREAMS = "its SSRC is one too many"
    UNENCRYPTED = "it is SRTCP without encryption"
    REUSED = "its index was used before"
    EXHAUSTED = "the keys have no index left"


@attrs.frozen(kw_only=True)
class SrtpState:
    """One direction of SRTP written down: keys, and the highest index of each SSRC. Its `repr` shows no keys."""

    profile: int
    key: bytes = attrs.field(repr=False)
    salt: bytes = attrs.field(repr=False)
    rtp: Mapping[int, int]
    rtcp: Mapping[int, int]


def check_state(profile: Profile, master: MasterKey, state: SrtpState | None) -> None:
    """Demand that `state`, where there is one, was exported under these keys; an index means nothing under others."""
    if profile.number not in PROFILES:
        raise LocalProtocolError(f"no SRTP profile {profile.number}")
    if state is not None and (state.profile, state.key, state.salt) != (profile.number, master.key, master.salt):
        raise LocalProtocolError("the state belongs to other keys")


def payload_start(packet: bytes | bytearray, length: int) -> int:
    """Find where the payload starts: after the CSRCs and the extension. 0 for what is no RTP packet of `length` octets."""
    if length < 12 or packet[0] >> 6 != 2:
        return 0
    start = 12
    if packet[0] & 0x1F:
        start += 4 * (packet[0] & 0x0F)
        if packet[0] & 0x10:
            start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4], "big")
        if start > length:
            return 0
    return start


def guess_index(sequence: int, highest: int) -> int:
    """Guess the index of `sequence`, where `highest` is the highest index of its SSRC, or -1 before the first packet.

    Before the first cycle there is none, so a guess there is taken to lie ahead, as libsrtp takes it.
    """
    index = extend(sequence, highest)
    return index if index >= 0 else index + 0x10000


class SentIndices:
    """The sender's side: which indices are used."""

    __slots__ = ("_reports", "_ssrc", "_window", "_windows", "dropped")

    def __init__(self, state: SrtpState | None, dropped: Counter[Drop]) -> None:
        self.dropped = dropped
        self._windows: dict[int, ReplayWindow] = {}
        self._ssrc = -1  # the one used last,
        self._window: ReplayWindow | None = None  # and which of its indices are used
        self._reports: dict[int, int] = {}
        if state is not None:
            self._windows = {ssrc: ReplayWindow(WINDOW, highest) for ssrc, highest in state.rtp.items()}
            self._reports.update(state.rtcp)

    def use(self, packet: bytes) -> int:
        """Use up the index of a plain RTP packet; -1, and a count, where the rule forbids it."""
        length = len(packet)
        if not 12 <= length <= LONGEST_PLAIN or (packet[0] != 0x80 and not payload_start(packet, length)):
            return self._refuse(Drop.MALFORMED)
        _, _, sequence, _, ssrc = HEADER.unpack_from(packet)
        window = self._window if ssrc == self._ssrc else self._windows.get(ssrc)
        if window is None:
            return self._start(ssrc, sequence)
        self._ssrc, self._window = ssrc, window
        index = window.highest + 1
        if sequence != index & 0xFFFF:  # seldom
            index = guess_index(sequence, window.highest)
            if index <= MAXIMUM_INDEX and not window.admits(index):
                return self._refuse(Drop.REUSED)
        if index > MAXIMUM_INDEX:
            return self._refuse(Drop.EXHAUSTED)
        window.note(index)
        return index

    def next_report(self, packet: bytes) -> int:
        """Use up the next SRTCP index of this packet's SSRC; -1, and a count, where there is none (RFC 3711, 3.4)."""
        if not 8 <= len(packet) <= LONGEST_PLAIN or packet[0] >> 6 != 2:
            return self._refuse(Drop.MALFORMED)
        ssrc = REPORT_HEADER.unpack_from(packet)[3]
        index = self._reports.get(ssrc, -1) + 1
        if not index and len(self._reports) >= STREAMS:
            return self._refuse(Drop.TOO_MANY_STREAMS)
        if index > LAST_REPORT_INDEX:
            return self._refuse(Drop.EXHAUSTED)
        self._reports[ssrc] = index
        return index

    def note_report(self, ssrc: int, index: int) -> None:
        """Correct the SRTCP index of `ssrc` to the one that was really used, by an engine that counts for itself."""
        self._reports[ssrc] = index

    def export(self, profile: Profile, master: MasterKey) -> SrtpState:
        """Write down keys and indices."""
        return SrtpState(
            profile=profile.number,
            key=master.key,
            salt=master.salt,
            rtp={ssrc: window.highest for ssrc, window in self._windows.items()},
            rtcp=dict(self._reports),
        )

    def _start(self, ssrc: int, sequence: int) -> int:
        """Use the first index of an SSRC. Those below it are not used any more: a stream begins with its first packet."""
        if len(self._windows) >= STREAMS:
            return self._refuse(Drop.TOO_MANY_STREAMS)
        index = guess_index(sequence, -1)
        self._windows[ssrc] = ReplayWindow(WINDOW, index)
        return index

    def _refuse(self, drop: Drop) -> int:
        self.dropped[drop] += 1
        return -1


def report_trailer(profile: Profile, packet: bytes | bytearray, length: int) -> int:
    """Read the word with E flag and SRTCP index: last with an AEAD (RFC 7714, 9.2), before the tag else (RFC 3711, 3.4)."""
    end = length if profile.is_aead else length - profile.tag_length
    return int.from_bytes(packet[end - 4 : end], "big")
