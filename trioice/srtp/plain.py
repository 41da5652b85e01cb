"""SRTP and SRTCP over `cryptography`, packet by packet: the reference engine (RFC 3711, 3; RFC 7714, 8-10).

The engine is the same for every profile: look at the header, guess the index, ask the window, ask the cipher, and only then
remember. A cipher is four functions of a packet and its index, without memory.
"""

import hmac
from collections import Counter
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from trioice.sequence import MAXIMUM_INDEX, ReplayWindow
from trioice.srtp.keys import MasterKey, SessionKeys, session_keys
from trioice.srtp.profiles import Profile
from trioice.srtp.streams import (
    ENCRYPTED,
    HEADER,
    LONGEST,
    REPORT_HEADER,
    REPORT_WINDOW,
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


class PlainSender:
    """Protects one direction's packets."""

    __slots__ = ("_cipher", "_indices", "_master", "_profile", "dropped")

    def __init__(self, profile: Profile, master: MasterKey, state: SrtpState | None = None) -> None:
        check_state(profile, master, state)
        self.dropped: Counter[Drop] = Counter()
        self._profile, self._master = profile, master
        self._indices = SentIndices(state, self.dropped)
        self._cipher = cipher(profile, *session_keys(profile, master))

    def protect(self, packet: bytes) -> bytes | None:
        """Encrypt and authenticate an RTP packet; None, and a count in `dropped`, where that is refused."""
        index = self._indices.use(packet)
        if index < 0:
            return None
        start = 12 if packet[0] == 0x80 else payload_start(packet, len(packet))
        return self._cipher.seal(packet, start, index)

    def protect_rtcp(self, packet: bytes) -> bytes | None:
        """Encrypt and authenticate a compound RTCP packet under its sender's next index."""
        index = self._indices.next_report(packet)
        return None if index < 0 else self._cipher.seal_report(packet, index)

    def export(self) -> SrtpState:
        """Write down keys and indices, to go on from in another process once this one has fallen silent."""
        return self._indices.export(self._profile, self._master)


class PlainReceiver:
    """Authenticates and decrypts one direction's packets."""

    __slots__ = (
        "_cipher",
        "_master",
        "_profile",
        "_report_windows",
        "_ssrc",
        "_tag",
        "_window",
        "_windows",
        "dropped",
    )

    def __init__(self, profile: Profile, master: MasterKey, state: SrtpState | None = None) -> None:
        check_state(profile, master, state)
        self.dropped: Counter[Drop] = Counter()
        self._profile, self._master = profile, master
        self._tag = profile.tag_length
        self._windows: dict[int, ReplayWindow] = {}
        self._report_windows: dict[int, ReplayWindow] = {}
        if state is not None:
            self._windows = {ssrc: ReplayWindow(WINDOW, index) for ssrc, index in state.rtp.items()}
            self._report_windows = {ssrc: ReplayWindow(REPORT_WINDOW, index) for ssrc, index in state.rtcp.items()}
        self._ssrc = -1  # the one heard last,
        self._window: ReplayWindow | None = None  # and what of it was heard
        self._cipher = cipher(profile, *session_keys(profile, master))

    def unprotect(self, packet: bytes) -> bytes | None:
        """Give back the RTP packet inside; None, and a count in `dropped`, for what is malformed, forged or not new."""
        length = len(packet) - self._tag
        start = 12 if packet[:1] == b"\x80" else payload_start(packet, length)
        if not start or not 12 <= length <= LONGEST - self._tag:
            return self._refuse(Drop.MALFORMED)
        _, _, sequence, _, ssrc = HEADER.unpack_from(packet)
        window = self._window if ssrc == self._ssrc else self._windows.get(ssrc)
        if window is None:
            return self._first(packet, start, sequence, ssrc)
        index = window.highest + 1
        if sequence != index & 0xFFFF:
            index = guess_index(sequence, window.highest)
            if not window.admits(index):
                return self._refuse(Drop.REPLAYED)
        if index > MAXIMUM_INDEX:
            return self._refuse(Drop.REPLAYED)
        plain = self._cipher.open(packet, start, index)
        if plain is None:
            return self._refuse(Drop.FORGED)
        window.note(index)
        self._ssrc, self._window = ssrc, window
        return plain

    def unprotect_rtcp(self, packet: bytes) -> bytes | None:
        """Give back the compound RTCP packet inside; None, and a count in `dropped`, as `unprotect`."""
        length = len(packet)
        if not 8 + 4 + self._profile.tag_length <= length <= LONGEST or packet[0] >> 6 != 2:
            return self._refuse(Drop.MALFORMED)
        trailer = report_trailer(self._profile, packet, length)
        if not trailer & ENCRYPTED:
            # No profile that DTLS agrees on leaves SRTCP in the clear (RFC 5764, 4.1.2), so no honest peer does.
            return self._refuse(Drop.UNENCRYPTED)
        index = trailer ^ ENCRYPTED
        ssrc = REPORT_HEADER.unpack_from(packet)[3]
        window = self._report_windows.get(ssrc)
        if window is None and len(self._report_windows) >= STREAMS:
            return self._refuse(Drop.TOO_MANY_STREAMS)
        if window is not None and not window.admits(index):
            return self._refuse(Drop.REPLAYED)
        plain = self._cipher.open_report(packet, index)
        if plain is None:
            return self._refuse(Drop.FORGED)
        if window is None:
            window = self._report_windows[ssrc] = ReplayWindow(REPORT_WINDOW)
        window.note(index)
        return plain

    def export(self) -> SrtpState:
        """Write down keys and indices; what is restored from it refuses every index up to the highest."""
        return SrtpState(
            profile=self._profile.number,
            key=self._master.key,
            salt=self._master.salt,
            rtp={ssrc: window.highest for ssrc, window in self._windows.items()},
            rtcp={ssrc: window.highest for ssrc, window in self._report_windows.items()},
        )

    def _first(self, packet: bytes, start: int, sequence: int, ssrc: int) -> bytes | None:
        """Take the first packet of an SSRC; nothing is remembered of the SSRC before."""
        if len(self._windows) >= STREAMS:
            return self._refuse(Drop.TOO_MANY_STREAMS)
        index = guess_index(sequence, -1)
        plain = self._cipher.open(packet, start, index)
        if plain is None:
            return self._refuse(Drop.FORGED)
        self._windows[ssrc] = ReplayWindow(WINDOW)
        self._windows[ssrc].note(index)
        return plain

    def _refuse(self, drop: Drop) -> bytes | None:
        self.dropped[drop] += 1
        return None


class Cipher(Protocol):
    """What a profile does to one packet. `open` and `open_report` give None for a wrong tag."""

    def seal(self, packet: bytes, start: int, index: int) -> bytes:
        """Protect an RTP packet whose payload starts at `start`."""

    def open(self, packet: bytes, start: int, index: int) -> bytes | None:
        """Undo `seal`."""

    def seal_report(self, packet: bytes, index: int) -> bytes:
        """Protect a compound RTCP packet."""

    def open_report(self, packet: bytes, index: int) -> bytes | None:
        """Undo `seal_report`."""


def cipher(profile: Profile, rtp: SessionKeys, rtcp: SessionKeys) -> Cipher:
    """Make the cipher of `profile`."""
    return _Aead(rtp, rtcp) if profile.is_aead else _CounterMode(rtp, rtcp, profile.tag_length)


class _Aead:
    """AES-GCM (RFC 7714): header and trailer are associated data, the nonce is SSRC and index under the salt."""

    __slots__ = ("_report_salt", "_rtcp", "_rtp", "_salt", "_salted", "_ssrc")

    def __init__(self, rtp: SessionKeys, rtcp: SessionKeys) -> None:
        self._rtp, self._rtcp = AESGCM(rtp.encryption), AESGCM(rtcp.encryption)
        self._salt, self._report_salt = int.from_bytes(rtp.salt, "big"), int.from_bytes(rtcp.salt, "big")
        self._ssrc, self._salted = b"", 0

    def seal(self, packet: bytes, start: int, index: int) -> bytes:
        header = packet[:start]
        if header[8:12] != self._ssrc:
            self._switch(header[8:12])
        return header + self._rtp.encrypt((self._salted ^ index).to_bytes(12, "big"), packet[start:], header)

    def open(self, packet: bytes, start: int, index: int) -> bytes | None:
        header = packet[:start]
        if header[8:12] != self._ssrc:
            self._switch(header[8:12])
        try:
            return header + self._rtp.decrypt((self._salted ^ index).to_bytes(12, "big"), packet[start:], header)
        except InvalidTag:
            return None

    def _switch(self, ssrc: bytes) -> None:
        """Go over to another SSRC than before: all of the nonce but the index is the same for all its packets."""
        self._ssrc, self._salted = ssrc, int.from_bytes(_nonce(self._salt, ssrc, 0), "big")

    def seal_report(self, packet: bytes, index: int) -> bytes:
        header, trailer = packet[:8], (ENCRYPTED | index).to_bytes(4, "big")
        nonce = _nonce(self._report_salt, packet[4:8], index)
        return header + self._rtcp.encrypt(nonce, packet[8:], header + trailer) + trailer

    def open_report(self, packet: bytes, index: int) -> bytes | None:
        header, trailer = packet[:8], packet[-4:]
        nonce = _nonce(self._report_salt, packet[4:8], index)
        try:
            return header + self._rtcp.decrypt(nonce, packet[8:-4], header + trailer)
        except InvalidTag:
            return None


def _nonce(salt: int, ssrc: bytes, index: int) -> bytes:
    # RFC 7714, 8.1 and 9.1: two zero octets, SSRC, 48 bits of index (RTCP: 31), all under the salt.
    return (salt ^ int.from_bytes(ssrc, "big") << 48 ^ index).to_bytes(12, "big")


class _CounterMode:
    """AES in counter mode, then HMAC-SHA1 over all that is sent and the roll-over counter (RFC 3711, 4.1.1 and 4.2.1)."""

    def __init__(self, rtp: SessionKeys, rtcp: SessionKeys, tag_length: int) -> None:
        # One context each, given a new counter per packet: making one costs eight times as much. Decrypting is encrypting.
        self._rtp = BlockCipher(AES(rtp.encryption), CTR(bytes(16))).encryptor()
        self._rtcp = BlockCipher(AES(rtcp.encryption), CTR(bytes(16))).encryptor()
        self._salt, self._report_salt = int.from_bytes(rtp.salt, "big"), int.from_bytes(rtcp.salt, "big")
        self._authentication, self._report_authentication = rtp.authentication, rtcp.authentication
        self._tag_length = tag_length

    def seal(self, packet: bytes, start: int, index: int) -> bytes:
        self._rtp.reset_nonce(_counter(self._salt, packet[8:12], index))
        sealed = packet[:start] + self._rtp.update(packet[start:])
        return sealed + self._tag(sealed, index)

    def open(self, packet: bytes, start: int, index: int) -> bytes | None:
        sealed, tag = packet[: -self._tag_length], packet[-self._tag_length :]
        if not hmac.compare_digest(self._tag(sealed, index), tag):
            return None
        self._rtp.reset_nonce(_counter(self._salt, packet[8:12], index))
        return sealed[:start] + self._rtp.update(sealed[start:])

    def seal_report(self, packet: bytes, index: int) -> bytes:
        self._rtcp.reset_nonce(_counter(self._report_salt, packet[4:8], index))
        sealed = packet[:8] + self._rtcp.update(packet[8:]) + (ENCRYPTED | index).to_bytes(4, "big")
        return sealed + self._report_tag(sealed)

    def open_report(self, packet: bytes, index: int) -> bytes | None:
        sealed, tag = packet[: -self._tag_length], packet[-self._tag_length :]
        if not hmac.compare_digest(self._report_tag(sealed), tag):
            return None
        self._rtcp.reset_nonce(_counter(self._report_salt, packet[4:8], index))
        return packet[:8] + self._rtcp.update(sealed[8:-4])

    def _tag(self, sealed: bytes, index: int) -> bytes:
        octets = sealed + (index >> 16).to_bytes(4, "big")
        return hmac.digest(self._authentication, octets, "sha1")[: self._tag_length]

    def _report_tag(self, sealed: bytes) -> bytes:
        return hmac.digest(self._report_authentication, sealed, "sha1")[: self._tag_length]


def _counter(salt: int, ssrc: bytes, index: int) -> bytes:
    # RFC 3711, 4.1.1: 112 bits of salt, SSRC and index, and 16 bits that count blocks.
    return ((salt ^ int.from_bytes(ssrc, "big") << 48 ^ index) << 16).to_bytes(16, "big")
