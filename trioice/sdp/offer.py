"""What a browser offers, as far as we answer it (RFC 8829, 5.3; RFC 8839, 5; RFC 8842, 5; RFC 8843, 7.3; RFC 8122, 5).

An offer is read for the one section that we accept: the first audio section that carries Opus, or else G.711, over DTLS-SRTP with RTCP
on the same port. Attributes of the transport hold for a section when they stand in it, else when they stand in the session (RFC 8866, 5.13;
Firefox puts its fingerprint there). Sections that will be rejected are kept for the answer, and what is in them is not read.
"""

import re
from typing import Final, Literal, Self, TypeAlias, cast

import attrs

from trioice.dtls import Fingerprint
from trioice.sdp.parse import Attribute, Description, SdpError, Section, parse

Setup: TypeAlias = Literal["active", "passive"]
"""Which end of the DTLS association: active is its client."""

Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]

CodecName: TypeAlias = Literal["opus", "PCMU", "PCMA"]
"""The codecs that we answer, by their names in rtpmap: Opus wherever it is offered, of the others the first."""

ENCODINGS: Final[dict[CodecName, str]] = {"opus": "opus/48000/2", "PCMU": "PCMU/8000", "PCMA": "PCMA/8000"}
"""Their encodings (RFC 7587, 7; RFC 3551, 6)."""

AUDIO_LEVEL: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"  # RFC 6464
SDES_MID: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"  # RFC 8843, 15.1
EXTENSIONS: Final = (AUDIO_LEVEL, SDES_MID)
"""The header extensions that we answer. Accepting transport-cc or abs-send-time would promise feedback that nobody sends yet."""


SPED: Final = frozenset({"sped", "goog-sped-v1", "googspedv1"})
"""The names that the draft and libwebrtc have given to DTLS in STUN (`trioice.sped`) as an ICE option."""


class OfferRefused(SdpError):
    """The description is well-formed, but it offers nothing that we could answer."""


@attrs.frozen
class Extension:
    """A header extension: its number, its URI and the direction it is offered for (RFC 8285, 6 and 7)."""

    number: int
    uri: str
    direction: Direction

    @property
    def sends(self) -> bool:
        """Whether the client sends it."""
        return self.direction in ("sendrecv", "sendonly")


@attrs.frozen(kw_only=True)
class AudioSection:
    """The section that we accept: the one at `index`, with the codec that we choose of those it offers.

    `red` is the payload type of copies of the codec's payloads (RFC 2198), where they are offered; `receiver_rtt` whether the client
    wants to measure the round trip when it only listens (RFC 3611, 5.1).
    """

    index: int
    mid: str | None
    direction: Direction
    codec: CodecName
    payload_type: int
    red: int | None
    extensions: tuple[Extension, ...]
    rtcp_rsize: bool
    receiver_rtt: bool

    @property
    def level_extension(self) -> int | None:
        """The number of the header extension in which the client tells how loud it is (RFC 6464)."""
        return next((each.number for each in self.extensions if each.uri == AUDIO_LEVEL and each.sends), None)


@attrs.frozen(kw_only=True)
class Offer:
    """An offer that we can answer: the transport that the client wants, and the audio in it.

    `sped` are the names by which it offers DTLS in STUN, in its order; most offers have none.
    """

    ice_ufrag: str
    ice_pwd: str = attrs.field(repr=False)
    fingerprints: tuple[Fingerprint, ...]
    setup: Literal["actpass", "active", "passive"]
    sped: tuple[str, ...]
    audio: AudioSection
    bundle: tuple[str, ...]
    sections: tuple[Section, ...]

    @classmethod
    def read(cls, text: str) -> Self:
        """Read an offer. Raises `SdpError` for what is malformed, and its kind `OfferRefused` for what we cannot answer."""
        description = parse(text)
        lite = description.session.first("ice-lite")
        if lite is not None:
            raise OfferRefused(
                lite.line, "a=ice-lite is offered, but we are lite too, and somebody must send the checks"
            )
        mids = _mids(description)
        audio = _audio(description, mids)
        layers = (description.sections[audio.index], description.session)
        return cls(
            ice_ufrag=_credential(layers, "ice-ufrag", least=4),
            ice_pwd=_credential(layers, "ice-pwd", least=22),
            fingerprints=_fingerprints(layers),
            setup=_setup(layers),
            sped=_sped(layers),
            audio=audio,
            bundle=_bundle(description, audio.mid),
            sections=description.sections,
        )

    def answer_setup(self, preferred: Literal["auto", "active", "passive"] = "auto") -> Setup:
        """Tell which end of DTLS we answer to be: the one that the offer leaves us, `preferred` when it leaves both.

        Left to ourselves we are active: that saves the round trip in which a passive answerer waits (RFC 8842, 5.3). With DTLS in
        STUN the client's first check is its hello, so then it is who is passive that saves it.
        """
        match self.setup:
            case "active":
                return "passive"
            case "passive":
                return "active"
            case "actpass":
                if preferred == "auto":
                    return "passive" if self.sped else "active"
                return preferred


def _mids(description: Description) -> tuple[str | None, ...]:
    """Read each section's identification, which must be its own (RFC 5888, 4)."""
    lines: dict[str, int] = {}
    mids: list[str | None] = []
    for section in description.sections:
        mid = section.first("mid")
        if mid is not None:
            if not _MID.fullmatch(mid.value):
                raise SdpError(mid.line, "the mid is no token")
            if mid.value in lines:
                raise SdpError(mid.line, f"the mid stands in line {lines[mid.value]} already")
            lines[mid.value] = mid.line
        mids.append(mid.value if mid else None)
    return tuple(mids)


def _audio(description: Description, mids: tuple[str | None, ...]) -> AudioSection:
    """Find the first audio section that we can accept; where there is none, say what the first one lacks."""
    refused: OfferRefused | None = None
    for index, section in enumerate(description.sections):
        if section.media == "audio":
            try:
                codec, payload_type = _codec(section)
                return AudioSection(
                    index=index,
                    mid=mids[index],
                    direction=_direction((section, description.session)),
                    codec=codec,
                    payload_type=payload_type,
                    red=_red(section, payload_type),
                    extensions=_extensions(section),
                    rtcp_rsize=section.first("rtcp-rsize") is not None,
                    receiver_rtt=any("rcvr-rtt=all" in each.value.split() for each in section.all("rtcp-xr")),
                )
            except OfferRefused as refusal:
                refused = refused or refusal
    raise refused or OfferRefused(None, "no audio section")


def _codec(section: Section) -> tuple[CodecName, int]:
    """Choose a codec and read its payload type, refusing the section if it cannot be accepted."""
    if section.port == 0:
        # The offerer took it out of use; or it is bundle-only and a section that we reject holds its transport. To be
        # selected as the offerer-tagged section its port may not be zero, and without one there is no group (RFC 8843, 7.3.1).
        raise OfferRefused(
            section.line, "the audio section has port 0: out of use, or bundled with a section that we reject"
        )
    if section.protocol not in _PROTOCOLS:
        raise OfferRefused(section.line, f"the audio section is {section.protocol}, not UDP/TLS/RTP/SAVPF")
    if section.first("rtcp-mux") is None:
        raise OfferRefused(section.line, "no a=rtcp-mux in the audio section")
    encodings = _encodings(section)
    known = {encoding.lower(): name for name, encoding in ENCODINGS.items()}
    offered = [(known[encodings[number]], int(number)) for number in section.formats if encodings.get(number) in known]
    if not offered:
        raise OfferRefused(section.line, "neither Opus nor G.711 in the audio section")
    return next((each for each in offered if each[0] == "opus"), offered[0])


def _encodings(section: Section) -> dict[str, str]:
    """Read which encoding each payload type stands for, in lower case; without those that would be taken for RTCP."""
    encodings = {static: ENCODINGS[name].lower() for static, name in _STATIC.items()}
    for attribute in section.all("rtpmap"):
        number, _, encoding = attribute.value.partition(" ")
        if not _NUMBER.fullmatch(number) or int(number) > 127:
            raise SdpError(attribute.line, "the payload type is no number from 0 to 127")
        # 64 to 95 would be taken for RTCP on the same port (RFC 5761, 4).
        if not 64 <= int(number) <= 95:
            encodings[number] = encoding.lower()
    return encodings


def _red(section: Section, payload_type: int) -> int | None:
    """Find the payload type of copies whose every block is of the codec's payload type."""
    encodings = _encodings(section)
    for attribute in section.all("fmtp"):
        number, _, blocks = attribute.value.partition(" ")
        copies = set(blocks.strip().split("/")) == {str(payload_type)}
        if copies and number in section.formats and encodings.get(number, "").startswith("red/"):
            return int(number)
    return None


def _extensions(section: Section) -> tuple[Extension, ...]:
    """Read the header extensions that we know; others, and numbers that need the two-byte form, are left out of the answer."""
    extensions: dict[str, Extension] = {}
    for attribute in section.all("extmap"):
        found = _EXTMAP.fullmatch(attribute.value)
        if found is None:
            raise SdpError(attribute.line, "a=extmap needs a number and a URI")
        number, direction, uri = found.groups()
        if uri in EXTENSIONS and 1 <= int(number) <= 14:
            extensions.setdefault(uri, Extension(int(number), uri, cast("Direction", direction or "sendrecv")))
    return tuple(extensions.values())


_Layers: TypeAlias = tuple[Section, Section]  # the section, and the session behind it


def _attributes(layers: _Layers, name: str) -> list[Attribute]:
    section, session = layers
    return section.all(name) or session.all(name)


def _direction(layers: _Layers) -> Direction:
    for section in layers:
        for attribute in section.attributes:
            if attribute.name in MIRRORED:
                return cast("Direction", attribute.name)
    return "sendrecv"


def _credential(layers: _Layers, name: str, least: int) -> str:
    found = _attributes(layers, name)
    if not found:
        raise OfferRefused(layers[0].line, f"no a={name} for the audio section")
    return read_credential(found[0], least)


def read_credential(attribute: Attribute, least: int) -> str:
    """Check an ICE user name fragment or password: `least` to 256 of ICE's characters (RFC 8839, 5.4)."""
    if not least <= len(attribute.value) <= 256 or not _ICE_CHARS.fullmatch(attribute.value):
        raise SdpError(attribute.line, f"a={attribute.name} is not {least} to 256 letters, digits, '+' and '/'")
    return attribute.value


def _fingerprints(layers: _Layers) -> tuple[Fingerprint, ...]:
    """Read the fingerprints of hashes that we know; the peer's certificate need match only one (RFC 8122, 5)."""
    fingerprints = []
    for attribute in _attributes(layers, "fingerprint"):
        if attribute.value.partition(" ")[0].lower() in _HASHES:
            try:
                fingerprints.append(Fingerprint.read(attribute.value))
            except ValueError:
                raise SdpError(attribute.line, "the fingerprint does not fit its hash") from None
    if not fingerprints:
        raise OfferRefused(layers[0].line, "no fingerprint of sha-256, sha-384 or sha-512 for the audio section")
    return tuple(fingerprints)


def _setup(layers: _Layers) -> Literal["actpass", "active", "passive"]:
    found = _attributes(layers, "setup")
    if not found:
        raise OfferRefused(layers[0].line, "no a=setup for the audio section")
    match found[0].value:
        case "actpass" | "active" | "passive" as setup:
            return setup
        case "holdconn":
            raise OfferRefused(found[0].line, "a=setup:holdconn offers no connection")
        case _:
            raise SdpError(found[0].line, "a=setup is none of actpass, active and passive")


def _sped(layers: _Layers) -> tuple[str, ...]:
    """Read the names of DTLS in STUN among the ICE options. Those of section and session add up (RFC 8839, 5.6)."""
    options = [name for layer in layers for attribute in layer.all("ice-options") for name in attribute.value.split()]
    return tuple(dict.fromkeys(name for name in options if name in SPED))


def _bundle(description: Description, mid: str | None) -> tuple[str, ...]:
    """Find the BUNDLE group that the audio section is in; empty where it is in none."""
    for attribute in description.session.all("group"):
        match attribute.value.split():
            case ["BUNDLE", *mids] if mid in mids:
                return tuple(mids)
            case _:
                pass
    return ()


MIRRORED: Final[dict[str, Direction]] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}
"""What we answer to a direction (RFC 3264, 6.1)."""

# RFC 8829, 5.1.2: offers say UDP/TLS/RTP/SAVPF; the others that mean the same over DTLS and UDP are answered in kind.
_PROTOCOLS: Final = frozenset({"UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/SAVP"})
_STATIC: Final[dict[str, CodecName]] = {
    "0": "PCMU",
    "8": "PCMA",
}  # what these formats mean without rtpmap (RFC 3551, 6)
_HASHES: Final = frozenset({"sha-256", "sha-384", "sha-512"})
_MID: Final = re.compile(r"[!#-'*+\-.0-9A-Z^-~]+")
_NUMBER: Final = re.compile(r"[0-9]{1,3}")
_EXTMAP: Final = re.compile(r"([0-9]{1,4})(?:/(sendrecv|sendonly|recvonly|inactive))? (\S+)(?: .*)?")
_ICE_CHARS: Final = re.compile(r"[A-Za-z0-9+/]+")
