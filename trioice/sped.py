"""SPED, DTLS in STUN (draft-hancke-webrtc-sped-00, and what libwebrtc does on the wire): a handshake that rides on checks and answers.

Theory of operation. A check may carry one DTLS datagram, and so may its answer; both carry the checksums of the datagrams that came
last, so each side knows what it need not say again. The handshake so begins with the first check and not with its answer, which saves
a round trip, and it is repeated as often as checks are, which is more often than DTLS would by itself. What an answer has no room for
leaves behind it as a datagram of its own: the answer has told the peer that it may send, so it reads those as well.

A peer says that it speaks this with the first check that we answer, by either attribute, be it empty. If it does not, nothing of this
is made, and it never learns that we could. (The draft's states: TENTATIVE is before that check, OFF is no `Sped`, the rest is below.)
It ends when the handshake is over and the peer has acknowledged all of ours, or has sent media; then the attributes cease.

What is in a check counts as the check does: only with a right MESSAGE-INTEGRITY, and only once. A checksum is no proof of anything: an
acknowledgement ends a repetition, and moves nothing on.
"""

import enum
import math
import zlib
from collections import Counter
from typing import Final, TypeAlias

from trioice import stun
from trioice.sansio import Address, Outbox

MTU: Final = 900
"""Octets of a DTLS datagram, as browsers have it: the hello with a post-quantum share takes two, and each leaves a check its room."""

BODY: Final = 1200 - 24 - 8
"""Octets of a message without its header, MESSAGE-INTEGRITY and FINGERPRINT: as libwebrtc counts, so that it fits every path."""

ROOM: Final = BODY - 24
"""Octets of an answer's body that are left beside XOR-MAPPED-ADDRESS, whose value has 20 with IPv6."""

ACKNOWLEDGED: Final = 4
"""Datagrams that are acknowledged, the newest: as many as the draft's attribute may name."""

PENDING: Final = 16
"""Datagrams of ours that are kept to be repeated: more than a flight has, and it is our own flights that count here."""

PAUSE: Final = 0.04
"""Seconds before a datagram leaves again: checks that come at one instant do not repeat it, those of a browser that waits
(every 48 ms) do, although its acknowledgement may be on its way: it cannot be told from one that is lost."""

Attributes: TypeAlias = list[tuple[int, bytes]]

UNSENT: Final = -math.inf


class Drop(enum.Enum):
    """Why something that came with a check, or a datagram, was of no use."""

    MALFORMED_ACKNOWLEDGEMENT = "an acknowledgement of a length that no list of four checksums has"
    NOT_DTLS = "octets in a check that are no DTLS"
    REPEATED = "a datagram that came before, by either way"


class Sped:
    """One peer's DTLS datagrams on their way in and out. DTLS writes to `written`; its owner calls `answer` or `send` after each turn."""

    __slots__ = ("_heard", "_is_established", "_pending", "dropped", "hello_in_checks", "is_complete", "written")

    def __init__(self) -> None:
        self.written: Outbox = []
        self.dropped: Counter[Drop] = Counter()
        self.is_complete = False
        self.hello_in_checks = True
        """Whether every datagram so far came in a check, and so from somebody who knows our password."""
        self._is_established = False
        self._heard: dict[int, bytes] = {}  # checksum → datagram, the newest last
        self._pending: dict[
            int, tuple[bytes, float]
        ] = {}  # checksum → datagram, and when it left; the longest ago first

    # What comes in

    def take(self, check: stun.Message) -> bytes | None:
        """Take an authenticated check that did not come before; the DTLS datagram that it carries, if that is new."""
        if self._is_established and not is_spoken(check):
            self.finish()
        acknowledgement = check.get(stun.META_DTLS_IN_STUN_ACKNOWLEDGEMENT) or b""
        if len(acknowledgement) % 4 or len(acknowledgement) > 4 * ACKNOWLEDGED:
            self.dropped[Drop.MALFORMED_ACKNOWLEDGEMENT] += 1
        else:
            for at in range(0, len(acknowledgement), 4):
                self._pending.pop(int.from_bytes(acknowledgement[at : at + 4], "big"), None)
        datagram = check.get(stun.META_DTLS_IN_STUN)
        if not datagram:  # the draft fills in an empty one where there is nothing to carry
            return None
        if not 20 <= datagram[0] <= 63:
            self.dropped[Drop.NOT_DTLS] += 1
            return None
        return datagram if self._hear(datagram) else None

    def hear(self, datagram: bytes) -> bool:
        """Note a DTLS datagram that came by itself, to acknowledge it; False if it came before."""
        is_new = self._hear(datagram)
        self.hello_in_checks &= not is_new
        return is_new

    def _hear(self, datagram: bytes) -> bool:
        if self.is_complete:
            return True
        checksum = zlib.crc32(datagram)
        # By its octets, not by its checksum: with another datagram of the same checksum one could keep the true one out.
        if self._heard.get(checksum) == datagram:
            self.dropped[Drop.REPEATED] += 1
            return False
        self._heard[checksum] = datagram
        if len(self._heard) > ACKNOWLEDGED:
            del self._heard[next(iter(self._heard))]
        return True

    def establish(self) -> None:
        """Note that DTLS is connected: the peer has heard all that was written before this turn. Does nothing the second time."""
        if not self._is_established:
            self._is_established = True
            self._pending.clear()

    def finish(self) -> None:
        """End it, as the handshake is over and the peer knows: what DTLS writes from now on leaves by itself."""
        self.is_complete = True
        self._heard.clear()
        self._pending.clear()

    # What goes out

    def answer(self, allowance: float, now: float) -> tuple[Attributes, int]:
        """Tell what an answer carries, and how many octets that costs above what DTLS has paid for: `allowance` at most, or the least."""
        self._collect()
        if self.is_complete:
            return [], 0
        acknowledgement = b"".join(checksum.to_bytes(4, "big") for checksum in self._heard)
        if _length(acknowledgement) > min(ROOM, allowance):
            acknowledgement = b""
        attributes = [(stun.META_DTLS_IN_STUN_ACKNOWLEDGEMENT, acknowledgement)]
        cost = room = _length(acknowledgement)
        if self._pending:
            checksum, (datagram, left) = next(iter(self._pending.items()))
            room += _length(datagram)
            price = cost + _length(datagram) - (len(datagram) if left == UNSENT else 0)
            if room <= ROOM and price <= allowance and now - left >= PAUSE:
                attributes.append((stun.META_DTLS_IN_STUN, datagram))
                cost = price
                self._leaves(checksum, now)
        return attributes, cost

    def send(self, outbox: Outbox, to: Address, allowance: float, now: float) -> int:
        """Send what was written and has not left with an answer; and again, for `allowance` octets at most, what is not acknowledged.

        Again behind an answer only: a browser checks often until it hears us, and seldom afterwards, so each check may be the last for
        long. Returns what that costs, as DTLS has paid for the first time only.
        """
        self._collect()
        cost = 0
        for checksum, (datagram, left) in list(self._pending.items()):
            if left != UNSENT:
                if now - left < PAUSE or cost + len(datagram) > allowance:
                    continue
                cost += len(datagram)
            outbox.append((datagram, to))
            self._leaves(checksum, now)
        if self.is_complete:
            self._pending.clear()
        for checksum in list(self._pending)[PENDING:]:
            del self._pending[checksum]
        return cost

    def _collect(self) -> None:
        """Let what DTLS has written take the place of what was pending: it answers, repeats or ends that."""
        if self.written:
            self._pending = {zlib.crc32(datagram): (datagram, UNSENT) for datagram, _ in self.written}
            self.written.clear()
        elif self._is_established and not self._pending:
            self.finish()

    def _leaves(self, checksum: int, now: float) -> None:
        datagram, _ = self._pending.pop(checksum)
        self._pending[checksum] = datagram, now


def is_spoken(check: stun.Message) -> bool:
    """Tell whether who sent a check speaks SPED."""
    return any(check.get(kind) is not None for kind in (stun.META_DTLS_IN_STUN, stun.META_DTLS_IN_STUN_ACKNOWLEDGEMENT))


def _length(value: bytes) -> int:
    """Tell how many octets an attribute takes."""
    return 4 + (len(value) + 3 & ~3)
