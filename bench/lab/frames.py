"""What the bridge saw: frames with their times, and the UDP datagrams and TCP segments in them (RFC 791, 768 and 9293)."""

import attrs

ETHERNET = 14
UDP, TCP = 17, 6


@attrs.define(eq=False)
class Record:
    """One frame: whether the client's host sent it, when it left there, when its copies were due and came out at the other end.

    Times are seconds of the monotonic clock, which all processes of a machine share. No copies: it was lost.
    """

    from_client: bool
    departed: float
    due: list[float]
    arrived: list[float]
    frame: bytes

    @property
    def settled(self) -> bool:
        """Whether all its copies have come out."""
        return len(self.arrived) == len(self.due)

    @property
    def late(self) -> float:
        """Seconds by which the first copy came out after its time: what the bridge itself added."""
        return self.arrived[0] - self.due[0] if self.arrived else 0.0


@attrs.frozen
class Segment:
    """What an IPv4 frame carried."""

    protocol: int
    payload: bytes


def read(frame: bytes) -> Segment | None:
    """Read a frame; None for anything but whole UDP and TCP over IPv4. No checksum is looked at: the hosts' kernels do that."""
    packet = frame[ETHERNET:]
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    header, total = 4 * (packet[0] & 0x0F), int.from_bytes(packet[2:4], "big")
    protocol, rest = packet[9], packet[header:total]
    if protocol == UDP and len(rest) >= 8:
        return Segment(UDP, rest[8:])
    if protocol == TCP and len(rest) >= 20:
        return Segment(TCP, rest[4 * (rest[12] >> 4) :])
    return None
