"""What was received of one SSRC: loss and jitter, counted as RFC 3550, A.3 and A.8 count them.

Deviation from A.1: a source is valid from its first packet on. Ours are authentic (SRTP), so there is nobody to sort out.
Deviation from A.8: a packet that arrives late or again is left out of the jitter. A retransmission is late by a round trip,
which says nothing of the path's variation.
"""

from trioice.rtp.rtcp import ReportBlock
from trioice.sequence import extend


class Reception:
    """Statistics of one SSRC, from its first packet on, which is then noted like the others.

    Times are seconds; `clock_rate` is of the RTP timestamp, in Hz.
    """

    __slots__ = (
        "_arrived",
        "_base",
        "_clock_rate",
        "_expected_before",
        "_last_report",
        "_last_report_at",
        "_received_before",
        "highest",
        "jitter",
        "octets",
        "packets",
        "repeated",
        "timestamp",
    )

    def __init__(self, clock_rate: int, sequence: int, timestamp: int, now: float) -> None:
        self.highest = sequence - 1  # the first packet is still to be noted
        """The highest sequence, extended by roll-overs."""
        self.packets = 0
        self.octets = 0
        self.jitter = 0.0
        """In units of the timestamp, as it is reported."""
        self.repeated = 0
        """Packets that came because we had asked for them again; for the owner to count."""
        self._base = sequence
        self._clock_rate = clock_rate
        self.timestamp = timestamp  # of the highest
        self._arrived = now
        self._expected_before = self._received_before = 0
        self._last_report = 0
        self._last_report_at = 0.0

    def note(self, sequence: int, timestamp: int, octets: int, now: float) -> bool:
        """Count a packet with `octets` of payload; tells whether it is newer than all before."""
        self.packets += 1
        self.octets += octets
        index = self.highest + 1
        if sequence != index & 0xFFFF:  # seldom
            index = extend(sequence, self.highest)
            if index <= self.highest:
                if index < self._base:
                    self._base = index  # the first to arrive was not the first sent
                return False
        self.highest = index
        # RFC 3550, 6.4.1: the difference of two packets' spacing on arrival and on sending. Timestamps roll over too.
        spacing = ((timestamp - self.timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000
        variation = (now - self._arrived) * self._clock_rate - spacing
        self.jitter += ((variation if variation >= 0 else -variation) - self.jitter) / 16
        self.timestamp = timestamp
        self._arrived = now
        return True

    @property
    def packets_lost(self) -> int:
        """How many of those expected did not come; below zero where some came twice."""
        return self.highest - self._base + 1 - self.packets

    @property
    def heard(self) -> bool:
        """Whether anything came since the last report."""
        return self.packets - self.repeated > self._received_before

    def note_report(self, ntp: int, now: float) -> None:
        """Remember the source's sender report, to let it measure the round trip."""
        self._last_report, self._last_report_at = ntp >> 16 & 0xFFFFFFFF, now

    def report(self, ssrc: int, now: float) -> ReportBlock:
        """Report, and start the next interval (RFC 3550, A.3)."""
        expected = self.highest - self._base + 1
        expected_since = expected - self._expected_before
        # Deviation: the fraction is what the network lost, although retransmissions brought it after all, while RFC 3550, 6.4.1 counts
        # all that came. By the fraction libopus decides on coarse copies, which are for the first moment, when a retransmission is not
        # here yet. The cumulative number is the RFC's.
        received = self.packets - self.repeated
        lost_since = expected_since - (received - self._received_before)
        self._expected_before, self._received_before = expected, received
        fraction = min(lost_since * 256 // expected_since, 255) if expected_since > 0 and lost_since > 0 else 0
        delay = (now - self._last_report_at) * 65536 if self._last_report else 0
        return ReportBlock(
            ssrc=ssrc,
            fraction_lost=fraction,
            packets_lost=max(-0x800000, min(self.packets_lost, 0x7FFFFF)),
            highest=self.highest & 0xFFFFFFFF,
            jitter=min(int(self.jitter), 0xFFFFFFFF),
            last_report=self._last_report,
            delay=min(int(delay), 0xFFFFFFFF),
        )
