"""The browser's end of DTLS in STUN, as libwebrtc does it: written apart from `trioice.sped`, so that each holds the other to the wire."""

import enum
import zlib

from trioice import stun

DTLS_IN_STUN = 0xC070
ACKNOWLEDGEMENT = 0xC071
BODY = 1168


class State(enum.Enum):
    TENTATIVE = enum.auto()  # nothing is known of the peer
    CONFIRMED = enum.auto()  # it speaks this
    PENDING = enum.auto()  # our handshake is done
    COMPLETE = enum.auto()  # and so is the peer's
    OFF = enum.auto()  # the peer speaks no such thing


class Piggyback:
    """What one browser knows. `pending` are the datagrams of its last flight that were not acknowledged, the next to send first."""

    def __init__(self) -> None:
        self.state = State.TENTATIVE
        self.pending: list[bytes] = []
        self.received: list[int] = []
        self.carried: list[int] = []  # how many octets each message carried

    @property
    def is_over(self) -> bool:
        return self.state in (State.COMPLETE, State.OFF)

    def captures(self, flight: list[bytes]) -> None:
        """DTLS has written a flight."""
        if flight and not self.is_over:
            self.pending = list(flight)

    def connects(self) -> None:
        if self.state is not State.OFF:
            self.state = State.PENDING

    def attributes(self, taken: int) -> list[tuple[int, bytes]]:
        """What the next request carries behind `taken` octets of other attributes."""
        if self.is_over:
            return []
        checksums = b"".join(checksum.to_bytes(4, "big") for checksum in self.received)
        if taken + 4 + len(checksums) > BODY:
            checksums = b""
        attributes = [(ACKNOWLEDGEMENT, checksums)]
        if self.pending:
            datagram = self.pending.pop(0)
            self.pending.append(datagram)
            if taken + 8 + len(checksums) + len(datagram) <= BODY:
                attributes.append((DTLS_IN_STUN, datagram))
                self.carried.append(len(datagram))
        return attributes

    def takes(self, answer: stun.Message) -> bytes | None:
        """Read an answer: the DTLS datagram that it carries."""
        if self.is_over:
            return None
        checksums, datagram = answer.get(ACKNOWLEDGEMENT), answer.get(DTLS_IN_STUN)
        if checksums is None and datagram is None:
            if self.state in (State.TENTATIVE, State.PENDING):
                self.state = State.OFF if self.state is State.TENTATIVE else State.COMPLETE
            return None
        if self.state is State.TENTATIVE:
            self.state = State.CONFIRMED
        assert len(checksums or b"") in (0, 4, 8, 12, 16)
        known = {(checksums or b"")[at : at + 4] for at in range(0, len(checksums or b""), 4)}
        self.pending = [item for item in self.pending if zlib.crc32(item).to_bytes(4, "big") not in known]
        if datagram:
            self.hears(datagram)
        if self.state is State.PENDING and not self.pending:
            self.state = State.COMPLETE
        return datagram

    def hears(self, datagram: bytes) -> None:
        """A DTLS datagram came, by either way."""
        checksum = zlib.crc32(datagram)
        if checksum not in self.received and not self.is_over:
            self.received = [*self.received, checksum][-4:]
