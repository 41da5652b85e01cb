"""The answer to an offer: one audio section, everything else rejected (RFC 8829, 5.3; RFC 8839, 5; RFC 8843, 7.3).

What BUNDLE asks for when sections are rejected (RFC 8843, 7.3.1 and 7.3.3): a rejected section has port 0, no ``a=bundle-only``,
and is not in the answer's group; the tag, the first of the group, passes to the next section that is accepted. We accept one, so
the group that we answer is that section alone, wherever it stood in the offer's group. What it needs of the transport it
carries itself, as an offer that makes a group puts it into every section with a port; a section without port is not accepted.

What the answer asks for to repair speech: retransmission (``nack``), copies of each payload in the next packet (``red`` before the
codec: browsers send what comes first), and Opus' coarse copies (``useinbandfec``). Browsers offer no ``nack`` for audio, and RFC 4585, 4.2
lets an answer only keep what was offered; but those that know it take it from an answer, both ways, and the others ignore the line.
"""

from collections.abc import Sequence
from typing import Final

import attrs

from trioice.dtls import Fingerprint
from trioice.errors import LocalProtocolError
from trioice.sdp.offer import ENCODINGS, MIRRORED, AudioSection, Offer, Setup
from trioice.sdp.parse import Section

HOST_PRIORITY: Final = 126 << 24 | 65535 << 8 | 255
"""Of the first component of a host candidate, with the local preference of an agent that has one address (RFC 8445, 5.1.2)."""

STREAM: Final = "trioice"
"""What a client sees as the id of the stream that our audio is in (RFC 8830)."""


@attrs.frozen
class Candidate:
    """A host candidate over UDP: an address that clients may send to."""

    address: str
    port: int
    foundation: str = "1"
    priority: int = HOST_PRIORITY

    @classmethod
    def of(cls, addresses: Sequence[tuple[str, int]]) -> "list[Candidate]":
        """Make the candidates of several addresses, the preferred first.

        Each has a foundation and a priority of its own (RFC 8445, 5.1.1.3 and 5.1.2.1).
        """
        return [
            cls(host, port, foundation=f"{number + 1}", priority=HOST_PRIORITY - (number << 8))
            for number, (host, port) in enumerate(addresses)
        ]

    def __str__(self) -> str:
        """Write the attribute's value (RFC 8839, 5.1)."""
        return f"candidate:{self.foundation} 1 udp {self.priority} {self.address} {self.port} typ host"


def answer(
    offer: Offer,
    *,
    ufrag: str,
    pwd: str,
    fingerprint: Fingerprint,
    setup: Setup,
    candidates: Sequence[Candidate],
    ssrc: int,
    cname: str,
    origin: int,
    version: int = 1,
    redundancy: bool = False,
) -> str:
    """Answer an offer, with CRLF after every line.

    `setup` is what `Offer.answer_setup` told. `origin` numbers the session, 63 bits at most; `version` counts its answers
    (RFC 8866, 5.2). With `redundancy`, copies of payloads are asked for where they are offered. Raises `LocalProtocolError` when `setup`
    is not open to an answer.
    """
    if setup == offer.setup:
        raise LocalProtocolError(f"both ends would be DTLS {setup}")
    audio = offer.audio
    lines = [
        "v=0",
        f"o=- {origin} {version} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        *([f"a=group:BUNDLE {audio.mid}"] if offer.bundle else []),
        "a=ice-lite",
        f"a=ice-options:{' '.join(('ice2', 'trickle', *offer.sped))}",  # both must name it, by the same name
    ]
    for index, section in enumerate(offer.sections):
        if index == audio.index:
            lines += _destination(section, audio, candidates, redundancy)
            lines += [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{pwd}", f"a=fingerprint:{fingerprint}", f"a=setup:{setup}"]
            lines += _media(audio, ssrc, cname, redundancy)
            lines += [f"a={candidate}" for candidate in candidates] + ["a=end-of-candidates"]
        else:
            lines += _rejected(section)
    return "".join(f"{line}\r\n" for line in lines)


def _destination(section: Section, audio: AudioSection, candidates: Sequence[Candidate], redundancy: bool) -> list[str]:
    """Write the section's head: where to send to without ICE is the first candidate's address (RFC 8839, 4.2.1.2)."""
    address, port = (candidates[0].address, candidates[0].port) if candidates else ("0.0.0.0", 9)
    red = f"{audio.red} " if redundancy and audio.red is not None else ""
    return [
        f"m=audio {port} {section.protocol} {red}{audio.payload_type}",
        f"c=IN {'IP6' if ':' in address else 'IP4'} {address}",
        *([f"a=mid:{audio.mid}"] if audio.mid else []),
    ]


def _media(audio: AudioSection, ssrc: int, cname: str, redundancy: bool) -> list[str]:
    direction, codec = MIRRORED[audio.direction], audio.payload_type
    lines = [f"a={direction}", "a=rtcp-mux"]
    if audio.rtcp_rsize:
        lines.append("a=rtcp-rsize")
    if audio.receiver_rtt:
        lines.append("a=rtcp-xr:rcvr-rtt=all")
    lines += [f"a=rtpmap:{codec} {ENCODINGS[audio.codec]}", f"a=rtcp-fb:{codec} nack"]
    if audio.codec == "opus":
        lines.append(f"a=fmtp:{codec} minptime=10;useinbandfec=1")
    if redundancy and audio.red is not None:
        lines += [
            f"a=rtpmap:{audio.red} red/{ENCODINGS[audio.codec].partition('/')[2]}",
            f"a=fmtp:{audio.red} {codec}/{codec}",
        ]
    for extension in audio.extensions:
        if extension.direction != "inactive":
            way = "" if extension.direction == "sendrecv" else f"/{MIRRORED[extension.direction]}"
            lines.append(f"a=extmap:{extension.number}{way} {extension.uri}")
    if direction in ("sendrecv", "sendonly"):
        lines += [f"a=msid:{STREAM} audio", f"a=ssrc:{ssrc} cname:{cname}"]
    return lines


def _rejected(section: Section) -> list[str]:
    """Reject a section: port 0, all else of its m= line as offered (RFC 3264, 6; RFC 8829, 5.3.1)."""
    mid = section.first("mid")
    return [
        f"m={section.media} 0 {section.protocol} {' '.join(section.formats)}",
        "c=IN IP4 0.0.0.0",
        *([f"a=mid:{mid.value}"] if mid else []),
        "a=inactive",
    ]
