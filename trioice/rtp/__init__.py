"""RTP and RTCP: packets as octets, and one peer's statistics, reports and repairs.

RFC 3550, RFC 5761, RFC 8285, RFC 5506, RFC 4585, RFC 2198 and RFC 3611.
"""

from trioice.rtp.extended_reports import ExtendedReport
from trioice.rtp.extensions import block, element, extensions
from trioice.rtp.header import Header, build, initial_sequence, is_rtcp, read
from trioice.rtp.history import History
from trioice.rtp.reception import Reception
from trioice.rtp.red import build_red, read_red
from trioice.rtp.rtcp import (
    GenericNack,
    Goodbye,
    Packet,
    PictureLossIndication,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    Unknown,
    decode,
    encode,
)
from trioice.rtp.session import Drop, MediaBegan, RtpSession, SourceLeft
from trioice.rtp.stats import RtpStats
from trioice.rtp.transport_feedback import TransportFeedback

__all__ = [
    "Drop",
    "ExtendedReport",
    "GenericNack",
    "Goodbye",
    "Header",
    "History",
    "MediaBegan",
    "Packet",
    "PictureLossIndication",
    "ReceiverReport",
    "Reception",
    "ReportBlock",
    "RtpSession",
    "RtpStats",
    "SenderReport",
    "SourceDescription",
    "SourceLeft",
    "TransportFeedback",
    "Unknown",
    "block",
    "build",
    "build_red",
    "decode",
    "element",
    "encode",
    "extensions",
    "initial_sequence",
    "is_rtcp",
    "read",
    "read_red",
]
