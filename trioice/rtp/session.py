"""One peer's RTP and RTCP: statistics of what comes, reports in time, the peer's reports of ours (RFC 3550, 6).

Theory of operation
-------------------
Everything here is plain: the owner unprotects what comes and protects what goes. Media passes through: it is counted and
returned. RTCP ends here.

Reports are timed by a rule simpler than RFC 3550's (6.2), which shares 5 % of a bandwidth among thousands: we are two. The
first goes out half a second to a second after the start, so that both ends soon know loss and round trip; the next ones 1 to
2.5 s apart, drawn anew each time, so that many calls that start together drift apart. A report of 80 to 100 octets at that pace
is under 500 bit/s, within 5 % of the slowest speech.

A report is an SR if media went out since the report before the last one, else an RR (6.4); it has a block for each SSRC
heard since the last, and always our CNAME (6.1). The round trip is told by the peer's blocks about our SR: now, minus when we
sent it, minus how long the peer held it (6.4.1).
"""

import enum
from collections import Counter
from collections.abc import Sequence
from typing import Final

import attrs

from trioice.errors import LocalProtocolError
from trioice.rtp import rtcp
from trioice.rtp.extended_reports import ExtendedReport
from trioice.rtp.header import HEADER, is_rtcp, read
from trioice.rtp.reception import Reception
from trioice.rtp.repair import Repair
from trioice.rtp.round_trip import RoundTrip
from trioice.rtp.rtcp import (
    CNAME,
    GenericNack,
    Goodbye,
    PictureLossIndication,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
)
from trioice.rtp.stats import RtpStats
from trioice.sansio import NEVER, Address, Entropy, Event, Outbox

SOURCES: Final = 16
"""SSRCs that statistics are kept of: as many as SRTP lets through in a direction. A source that says BYE makes room."""

FIRST_REPORT: Final = (0.5, 1.0)
REPORT_INTERVAL: Final = (1.0, 2.5)
"""Seconds, least and most. libwebrtc's audio reports come every 2.5 to 7.5 s; ours feed its loss adaptation sooner."""


class Drop(enum.Enum):
    """Why a packet was refused. The value is for the operator."""

    MALFORMED = "it follows the syntax of neither RTP nor RTCP"
    TOO_MANY_SOURCES = "its SSRC is one too many"


@attrs.frozen
class SourceLeft(Event):
    """The peer said BYE for an SSRC that we heard."""

    ssrc: int


@attrs.frozen
class MediaBegan(Event):
    """Packets have gone both ways: the peer was heard, and something was sent to it. Announced once."""


class RtpSession:
    """One peer: `ssrc` and `cname` are ours. A machine (`trioice.sansio.Machine`) whose `receive` returns media.

    `epoch` is wall time minus the clock that `now` comes from, in seconds. `peer` is where reports are addressed to. `red` is the payload
    type of packets with copies of others. With `reduced_size` the peer takes feedback without a report (RFC 5506), with `receiver_rtt`
    both ends may measure the round trip without sending media (RFC 3611).
    """

    __slots__ = (
        "_clock_rate",
        "_closed",
        "_current",
        "_description",
        "_entropy",
        "_events",
        "_hearing",
        "_left",
        "_nacks",
        "_nacks_sent",
        "_octets",
        "_outbox",
        "_packets",
        "_packets_before",
        "_plis",
        "_receiver_rtt",
        "_red",
        "_reduced_size",
        "_remote",
        "_repair",
        "_reports_received",
        "_reports_sent",
        "_sent_at",
        "_sources",
        "_ssrc",
        "_timestamp",
        "asked",
        "dropped",
        "first_heard",
        "first_sent",
        "peer",
        "report_at",
        "retransmitted",
        "round_trip",
        "stirred",
    )

    def __init__(
        self,
        *,
        ssrc: int,
        cname: str,
        epoch: float,
        entropy: Entropy,
        outbox: Outbox,
        events: list[Event],
        clock_rate: int = 48000,
        red: int | None = None,
        reduced_size: bool = False,
        receiver_rtt: bool = False,
        peer: Address = None,
    ) -> None:
        self.peer = peer
        self.dropped: Counter[Drop] = Counter()
        self.report_at = NEVER
        self.stirred = False  # a packet that was heard may have brought the deadline nearer; for the owner to reset
        self.asked: list[int] = []  # sequences of ours that the datagram taken last asks for; for the owner to resend
        self.retransmitted = 0  # how many of those went again; for the owner to count
        self.round_trip = RoundTrip(epoch)
        self.first_heard: float | None = None  # when the first packet came, and when our first went out
        self.first_sent: float | None = None
        self._ssrc, self._clock_rate, self._entropy = ssrc, clock_rate, entropy
        self._description = SourceDescription(((ssrc, ((CNAME, cname.encode()),)),))
        self._outbox, self._events = outbox, events
        self._closed = False
        self._sources: dict[int, Reception] = {}
        self._hearing = -1  # the SSRC heard last, or none any more; and what was heard
        self._current: Reception | None = None
        self._left = (0, 0, 0)  # packets, octets and losses of sources that said BYE
        self._packets = self._octets = 0  # what we sent; then the last packet's timestamp, and when it went
        self._timestamp, self._sent_at = 0, 0.0
        self._packets_before = (0, 0)  # `_packets` at the report before the last, and at the last
        self._remote: ReportBlock | None = None
        self._red, self._reduced_size, self._receiver_rtt = red, reduced_size, receiver_rtt
        self._repair: Repair | None = None
        self._nacks = self._nacks_sent = self._plis = self._reports_received = self._reports_sent = 0

    @property
    def deadline(self) -> float:
        """When the next report or question is due, or NEVER before the start."""
        return self.report_at if self._repair is None else min(self.report_at, self._repair.deadline)

    @property
    def repair_window(self) -> float:
        """For how many seconds what is missing is asked for, from when the gap was seen on; 0 for not at all."""
        return 0.0 if self._repair is None else self._repair.window

    @repair_window.setter
    def repair_window(self, window: float) -> None:
        if self._repair is not None:
            self._repair.window = window
        elif window > 0:
            self._repair = Repair(window, red=self._red)

    def start(self, now: float) -> None:
        """Begin to report, before any media; the first packet either way begins it too."""
        if self.report_at == NEVER and not self._closed:
            self.report_at = now + self._draw(*FIRST_REPORT)

    def receive(self, datagram: bytes, source: Address, now: float) -> bytes | None:
        """Take a plain packet: RTP is counted and returned, RTCP ends here."""
        if not is_rtcp(datagram):
            return None if self.hear(datagram, now) is None else datagram
        if not self._closed:
            self._reports(datagram, now)
        return None

    def hear(self, packet: bytes, now: float) -> bool | None:
        """Count a plain RTP packet: True if it is newer than all before it of its SSRC, None if it is refused."""
        if self._closed:
            return None
        header = read(packet)
        if header is None:
            self.dropped[Drop.MALFORMED] += 1
            return None
        _, _, sequence, timestamp, ssrc, start, end = header
        reception = self._current if ssrc == self._hearing else self._switch(ssrc, sequence, timestamp, now)
        if reception is None:
            return None
        if self._repair is None:
            return reception.note(sequence, timestamp, end - start, now)
        before, former = reception.highest, reception.timestamp
        is_newer = reception.note(sequence, timestamp, end - start, now)
        if reception.highest != before + 1:
            # It is not the one that was expected: see what is missing, or has come after all.
            repair, by_nack, rtt = self._repair, self._repair.by_nack, self.round_trip.least
            if rtt is not None:
                repair.rtt = rtt
            repair.note(reception.highest, before, former, packet, header, now)
            reception.repeated += repair.by_nack - by_nack
            self._ask(repair, now)
            self.stirred = True
        return is_newer

    def _ask(self, repair: Repair, now: float) -> None:
        """Ask for what is to be asked for now."""
        missing = repair.due(now) if repair.deadline <= now and not self._closed else ()
        if missing:
            nack = GenericNack(self._ssrc, self._hearing, tuple(index & 0xFFFF for index in missing))
            self._nacks_sent += 1
            # Without reduced size, a compound begins with a report and names its sender (RFC 3550, 6.1; RFC 5506, 4).
            head = () if self._reduced_size else (ReceiverReport(self._ssrc), self._description)
            self._outbox.append((rtcp.encode((*head, nack)), self.peer))

    def _switch(self, ssrc: int, sequence: int, timestamp: int, now: float) -> Reception | None:
        """Hear another SSRC than before; None where it is one too many."""
        reception = self._sources.get(ssrc)
        if reception is None:
            if len(self._sources) >= SOURCES:
                self.dropped[Drop.TOO_MANY_SOURCES] += 1
                return None
            reception = self._sources[ssrc] = Reception(self._clock_rate, sequence, timestamp, now)
            if self.first_heard is None:
                self.first_heard = now
                self._begin(now)
        if self._repair is not None:
            self._repair.clear()
        self._hearing, self._current = ssrc, reception
        return reception

    def sent(self, packet: bytes, now: float) -> None:
        """Count a plain RTP packet of ours that went out. LocalProtocolError where it is none, or of another SSRC."""
        # Without CSRCs, extension and padding, as most are, the header has 12 octets.
        octets = len(packet) - 12 if packet[:1] == b"\x80" else _payload_length(packet)
        if octets < 0:
            raise LocalProtocolError("what was sent is no RTP packet")
        _, _, _, timestamp, ssrc = HEADER.unpack_from(packet)
        if ssrc != self._ssrc:
            raise LocalProtocolError("what was sent is of another SSRC than ours")
        if self._closed:
            return
        if self._packets == 0:
            self.first_sent = now
            self._begin(now)
        self._packets += 1
        self._octets += octets
        self._timestamp, self._sent_at = timestamp, now

    def _begin(self, now: float) -> None:
        """Note the first packet of a direction."""
        self.start(now)
        if self.first_heard is not None and self.first_sent is not None:
            self._events.append(MediaBegan())

    def expire(self, now: float) -> None:
        """Report, and ask for what is missing, if that is due."""
        if self._repair is not None:
            self._ask(self._repair, now)
        if now >= self.report_at:
            self._report(now)
            self.report_at = now + self._draw(*REPORT_INTERVAL)

    def close(self, now: float) -> None:
        """Say BYE, if we ever said anything (RFC 3550, 6.3.7), and be silent."""
        if not self._closed and (self._packets or self._reports_sent):
            self._report(now, Goodbye((self._ssrc,)))
        self._closed = True
        self.report_at = NEVER
        if self._repair is not None:
            self._repair.clear()

    def stats(self, now: float) -> RtpStats:
        """Sum up, over all of the peer's SSRCs; the jitter is that of the one heard last."""
        repair = self._repair or Repair(0.0)
        packets, octets, lost = self._left
        for reception in self._sources.values():
            packets += reception.packets
            octets += reception.octets
            lost += reception.packets_lost
        return RtpStats(
            packets_received=packets,
            octets_received=octets,
            packets_lost=lost,
            jitter=self._current.jitter / self._clock_rate if self._current else 0.0,
            packets_sent=self._packets,
            octets_sent=self._octets,
            remote_lost=self._remote.packets_lost if self._remote else 0,
            remote_jitter=self._remote.jitter / self._clock_rate if self._remote else 0.0,
            rtt=self.round_trip.seconds,
            retransmitted=self.retransmitted,
            nacks=self._nacks,
            nacks_sent=self._nacks_sent,
            packets_missed=repair.missed,
            repaired_by_red=repair.by_red,
            repaired_by_nack=repair.by_nack,
            late=repair.late,
            unrepaired=repair.unrepaired,
            plis=self._plis,
            reports_received=self._reports_received,
            reports_sent=self._reports_sent,
        )

    # -- RTCP in ----------------------------------------------------------------------------------------------------

    def _reports(self, datagram: bytes, now: float) -> None:
        self.asked.clear()
        packets = rtcp.decode(datagram)
        if packets is None:
            self.dropped[Drop.MALFORMED] += 1
            return
        self._reports_received += 1
        for packet in packets:
            match packet:
                case SenderReport(ssrc=ssrc, ntp=ntp, reports=blocks):
                    if ssrc in self._sources:
                        self._sources[ssrc].note_report(ntp, now)
                    self._blocks(blocks, now)
                case ReceiverReport(reports=blocks):
                    self._blocks(blocks, now)
                case Goodbye(ssrcs=ssrcs):
                    self._goodbye(ssrcs)
                case GenericNack(media=self._ssrc, lost=lost):
                    self._nacks += 1
                    self.asked += lost  # which a datagram has room for some thousands of
                case ExtendedReport():
                    self.round_trip.hear(packet, self._ssrc, now)
                case PictureLossIndication(media=self._ssrc):
                    self._plis += 1
                case _:
                    pass  # known by its length alone, and of no use to us

    def _blocks(self, blocks: Sequence[ReportBlock], now: float) -> None:
        for block in blocks:
            if block.ssrc == self._ssrc:
                self._remote = block
                self.round_trip.measure(block.last_report, block.delay, now)

    def _goodbye(self, ssrcs: Sequence[int]) -> None:
        for ssrc in ssrcs:
            reception = self._sources.pop(ssrc, None)
            if reception is not None:
                packets, octets, lost = self._left
                self._left = packets + reception.packets, octets + reception.octets, lost + reception.packets_lost
                if ssrc == self._hearing:
                    self._hearing = -1
                    if self._repair is not None:
                        self._repair.clear()
                self._events.append(SourceLeft(ssrc))

    # -- RTCP out ---------------------------------------------------------------------------------------------------

    def _report(self, now: float, *more: rtcp.Packet) -> None:
        blocks = tuple(reception.report(ssrc, now) for ssrc, reception in self._sources.items() if reception.heard)
        report: SenderReport | ReceiverReport
        if self._packets > self._packets_before[0]:
            # The timestamp that media would have at this very moment (RFC 3550, 6.4.1).
            timestamp = self._timestamp + int((now - self._sent_at) * self._clock_rate)
            report = SenderReport(
                ssrc=self._ssrc,
                ntp=self.round_trip.ntp(now),
                timestamp=timestamp & 0xFFFFFFFF,
                packets=self._packets & 0xFFFFFFFF,
                octets=self._octets & 0xFFFFFFFF,
                reports=blocks,
            )
        else:
            report = ReceiverReport(self._ssrc, blocks)
            if self._receiver_rtt:  # there is no SR whose delay the peer could tell
                more = (ExtendedReport.reference(self._ssrc, self.round_trip.ntp(now)), *more)
        if answer := self.round_trip.answer(now):
            more = (ExtendedReport.since(self._ssrc, answer), *more)
        self._packets_before = self._packets_before[1], self._packets
        self._reports_sent += 1
        self._outbox.append((rtcp.encode((report, self._description, *more)), self.peer))

    def _draw(self, least: float, most: float) -> float:
        return least + (most - least) * int.from_bytes(self._entropy(2), "big") / 0xFFFF


def _payload_length(packet: bytes) -> int:
    """Octets of payload; below zero for what is no RTP packet."""
    header = read(packet)
    return -1 if header is None else header[6] - header[5]
