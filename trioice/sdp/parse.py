"""Session descriptions as lines, sections and attributes (RFC 8866, 5 and 9), within bounds.

The parser is strict about form and knows nothing of meaning: the letters must come in their order, the fields of ``v= o= t= c=
m=`` must be there, and attribute names must be tokens. What an attribute says is for its reader to judge, so an attribute that
nobody reads is never an error. Every error names the line that it was found in, counted from 1.
"""

import re
from typing import Final

import attrs

from trioice.errors import TrioiceError

MAX_OCTETS: Final = 64 * 1024
"""Of a whole description. Chromium 156 with audio, video and data needs 8 KiB; py-libp2p settled on 32 KiB after an attack."""

MAX_LINE: Final = 2048
"""Characters of a line. The longest that browsers write is the video m= line or an fmtp, below 200."""

MAX_LINES: Final = 2048
"""Lines of a description. Chromium 156 with audio, video and data needs 207; a fuzzer found Janus without a limit."""

MAX_SECTIONS: Final = 64
"""Media sections. We accept one; each other costs an answer of five lines, and browsers keep the ones they once used."""

MAX_CANDIDATES: Final = 256
"""Candidates of all sections. We read none, but a host with ten interfaces and three sections may well offer 100."""


class SdpError(TrioiceError):
    """A description that could not be read: `line` is where, counted from 1, `reason` what is wrong there."""

    def __init__(self, line: int | None, reason: str) -> None:
        super().__init__(line, reason)
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return self.reason if self.line is None else f"line {self.line}: {self.reason}"


@attrs.frozen
class Attribute:
    """An ``a=`` line; a flag such as ``a=rtcp-mux`` has an empty value."""

    line: int
    name: str
    value: str


@attrs.frozen(kw_only=True)
class Section:
    """A media description: its ``m=`` line and the attributes below it. Section 0 of RFC 8866, the session, has no media."""

    line: int
    media: str = ""
    port: int = 0
    protocol: str = ""
    formats: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()

    def all(self, name: str) -> list[Attribute]:
        """Return the attributes of that name, in order."""
        return [attribute for attribute in self.attributes if attribute.name == name]

    def first(self, name: str) -> Attribute | None:
        """Return the first attribute of that name."""
        return next((attribute for attribute in self.attributes if attribute.name == name), None)


@attrs.frozen
class Description:
    """A whole description: what holds for the session, and its media sections in order."""

    session: Section
    sections: tuple[Section, ...]


def parse(text: str) -> Description:
    """Read a session description; raises `SdpError`."""
    lines = scan(text)
    starts = [place for place, (_, letter, _) in enumerate(lines) if letter == "m"]
    if len(starts) > MAX_SECTIONS:
        raise SdpError(lines[starts[MAX_SECTIONS]][0], f"more than {MAX_SECTIONS} media sections")
    ends = [*starts[1:], len(lines)]
    head = lines[: starts[0]] if starts else lines
    return Description(_session(head), tuple(_media(lines[start:end]) for start, end in zip(starts, ends, strict=True)))


def scan(text: str) -> list[tuple[int, str, str]]:
    """Split `text` into (number, letter, value), a line each; CRLF and LF both end a line. Raises `SdpError`."""
    # What is longer in characters is longer in octets too, so nothing large is ever encoded.
    if len(text) > MAX_OCTETS or len(text.encode(errors="replace")) > MAX_OCTETS:
        raise SdpError(None, f"longer than {MAX_OCTETS} octets")
    raw = text.removesuffix("\n").split("\n", MAX_LINES)
    if len(raw) > MAX_LINES:
        raise SdpError(MAX_LINES + 1, f"more than {MAX_LINES} lines")
    lines = []
    candidates = 0
    for number, line in enumerate(raw, 1):
        found = _LINE.fullmatch(line.removesuffix("\r"))
        if found is None:
            raise SdpError(number, "not a letter, '=' and text")
        if len(line) > MAX_LINE:
            raise SdpError(number, f"longer than {MAX_LINE} characters")
        candidates += line.startswith("a=candidate:")
        if candidates > MAX_CANDIDATES:
            raise SdpError(number, f"more than {MAX_CANDIDATES} candidates")
        lines.append((number, found[1], found[2]))
    return lines


def read_attribute(number: int, value: str) -> Attribute:
    """Read what stands behind ``a=``."""
    name, _, rest = value.partition(":")
    if not _TOKEN.fullmatch(name):
        raise SdpError(number, "the attribute's name is no token")
    return Attribute(number, name, rest)


def read_media(number: int, value: str) -> Section:
    """Read what stands behind ``m=``: media, port, protocol and at least one format."""
    match value.split(" "):
        case [media, port, protocol, *formats] if formats and all(map(_FIELD.fullmatch, [media, protocol, *formats])):
            if not _PORT.fullmatch(port) or int(port) > 0xFFFF:
                raise SdpError(number, "the port is no number from 0 to 65535")
            return Section(line=number, media=media, port=int(port), protocol=protocol, formats=tuple(formats))
        case _:
            raise SdpError(number, "m= needs a media type, a port, a protocol and a format")


_LINE: Final = re.compile(r"([a-z])=([^\x00\r\n\ud800-\udfff]*)")
_TOKEN: Final = re.compile(r"[!#-'*+\-.0-9A-Z^-~]+")  # RFC 8866, 9: token
_FIELD: Final = re.compile(r"[!#-'*+\-./0-9A-Z^-~]+")  # tokens between slashes, as in UDP/TLS/RTP/SAVPF
_PORT: Final = re.compile(r"[0-9]{1,5}")

# What each letter must look like (RFC 8866, 5). Letters that are not here may hold any text.
_FORMS: Final = {
    "v": re.compile(r"0"),
    "o": re.compile(r"\S+ [0-9]+ [0-9]+ IN IP[46] \S+"),
    "c": re.compile(r"IN IP[46] \S+"),
    "b": re.compile(r"[^:\s]+:[0-9]+"),
    "t": re.compile(r"[0-9]+ [0-9]+"),
}
_SESSION_ORDER: Final = {
    letter: rank
    for rank, letters in enumerate(("v", "o", "s", "i", "u", "e", "p", "c", "b", "trz", "k", "a"))
    for letter in letters
}
_MEDIA_ORDER: Final = {letter: rank for rank, letter in enumerate("micbka")}
_ONCE: Final = frozenset("vosiukm")


def _session(lines: list[tuple[int, str, str]]) -> Section:
    attributes = _attributes(lines, _SESSION_ORDER)
    letters = {letter for _, letter, _ in lines}
    for letter in "vost":
        if letter not in letters:
            raise SdpError(lines[-1][0] if lines else 1, f"the session has no {letter}= line")
    return Section(line=lines[0][0], attributes=attributes)


def _media(lines: list[tuple[int, str, str]]) -> Section:
    number, _, value = lines[0]
    return attrs.evolve(read_media(number, value), attributes=_attributes(lines, _MEDIA_ORDER))


def _attributes(lines: list[tuple[int, str, str]], order: dict[str, int]) -> tuple[Attribute, ...]:
    """Check the letters of one section against their `order` and their forms, and return its attributes."""
    attributes = []
    before = ""
    for number, letter, value in lines:
        if letter not in order:
            raise SdpError(number, f"{letter}= has no place here")
        if before and order[letter] < order[before]:
            raise SdpError(number, f"{letter}= may not follow {before}=")
        if letter == before and letter in _ONCE:
            raise SdpError(number, f"a second {letter}= line")
        if letter in _FORMS and not _FORMS[letter].fullmatch(value):
            raise SdpError(number, f"{letter}= is not in its form")
        if letter == "a":
            attributes.append(read_attribute(number, value))
        before = letter
    return tuple(attributes)
