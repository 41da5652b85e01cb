"""What each frame of a call was, and when each host saw it: STUN, DTLS, SRTP and SRTCP told apart by their first octets (RFC 7983)."""

import enum
from collections.abc import Hashable, Iterable, Iterator
from typing import Final

import attrs

from bench.lab import frames
from bench.lab.dtlswire import Piece, pieces
from trioice import rtp, stun

META_DTLS_IN_STUN: Final = 0xC070
META_DTLS_IN_STUN_ACKNOWLEDGEMENT: Final = 0xC071


class Kind(enum.Enum):
    """What a datagram is."""

    CHECK = "check"
    RESPONSE = "response"
    DTLS = "DTLS"
    SRTP = "SRTP"
    SRTCP = "SRTCP"
    OTHER = "something else"


@attrs.frozen(kw_only=True)
class Sighting:
    """One datagram: which host sent it, when it left there, and when it first came in at the other, or None where it was lost."""

    from_client: bool
    departed: float
    arrived: float | None
    datagram: bytes
    kind: Kind
    marks: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()

    @property
    def steps(self) -> set[Hashable]:
        """What of the call's beginning it carries: a check, a response, media, and steps of the handshake."""
        steps: set[Hashable] = {piece.step for piece in self.pieces if piece.step is not None}
        if self.kind in (Kind.CHECK, Kind.RESPONSE, Kind.SRTP):
            steps.add(self.kind)
        return steps

    def seen(self, by_client: bool) -> float | None:
        """When a host saw it, leaving or coming in."""
        return self.departed if by_client is self.from_client else self.arrived

    def __str__(self) -> str:
        what = [piece.text for piece in self.pieces]
        if self.kind is not Kind.DTLS:
            what = [self.kind.value, *self.marks, *(f"[{text}]" for text in what)]
        return f"{', '.join(what)}; {len(self.datagram)} octets"


def sightings(records: Iterable[frames.Record]) -> Iterator[Sighting]:
    """Read all UDP datagrams of the records."""
    for record in records:
        segment = frames.read(record.frame)
        if segment is None or segment.protocol != frames.UDP:
            continue
        kind, marks, found = _read(segment.payload)
        yield Sighting(
            from_client=record.from_client,
            departed=record.departed,
            arrived=min(record.arrived, default=None),
            datagram=segment.payload,
            kind=kind,
            marks=marks,
            pieces=found,
        )


def request_left(records: Iterable[frames.Record], start: bytes) -> float | None:
    """When the client first sent a TCP segment that begins like this: an HTTP request."""
    for record in records:
        segment = frames.read(record.frame)
        if record.from_client and segment and segment.protocol == frames.TCP and segment.payload.startswith(start):
            return record.departed
    return None


def _read(datagram: bytes) -> tuple[Kind, tuple[str, ...], tuple[Piece, ...]]:
    first = datagram[0] if datagram else 256
    if first <= 3:
        return _read_stun(datagram)
    if 20 <= first <= 63:
        return Kind.DTLS, (), tuple(pieces(datagram))
    if 128 <= first <= 191:
        return Kind.SRTCP if rtp.is_rtcp(datagram) else Kind.SRTP, (), ()
    return Kind.OTHER, (), ()


def _read_stun(datagram: bytes) -> tuple[Kind, tuple[str, ...], tuple[Piece, ...]]:
    message = stun.decode(datagram)
    kinds = {stun.BINDING_REQUEST: Kind.CHECK, stun.BINDING_SUCCESS: Kind.RESPONSE}
    if message is None or message.kind not in kinds:
        return Kind.OTHER, (), ()
    marks = []
    if message.get(stun.USE_CANDIDATE) is not None:
        marks.append("nominated")
    acknowledged = message.get(META_DTLS_IN_STUN_ACKNOWLEDGEMENT)
    if acknowledged is not None:
        marks.append(f"{len(acknowledged) // 4} acknowledged")
    embedded = message.get(META_DTLS_IN_STUN)
    return kinds[message.kind], tuple(marks), tuple(pieces(embedded)) if embedded else ()
