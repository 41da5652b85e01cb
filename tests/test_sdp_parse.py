"""The parser's form and bounds: what is malformed is refused, and the error names the line."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioice.sdp.parse import MAX_CANDIDATES, MAX_LINE, MAX_LINES, MAX_OCTETS, MAX_SECTIONS, SdpError, parse, scan

OFFERS = sorted((Path(__file__).parent / "vectors" / "offers").glob("*-data.sdp"))

SMALL = """\
v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=mid:0
a=rtcp-mux
"""


def with_line(number: int, line: str) -> str:
    """SMALL with another line in place of the one of that number."""
    lines = SMALL.splitlines()
    lines[number - 1] = line
    return "\n".join(lines) + "\n"


def test_sections_and_attributes_keep_their_order_and_know_their_lines() -> None:
    description = parse(SMALL)
    assert [attribute.name for attribute in description.session.attributes] == ["group"]
    (section,) = description.sections
    assert (section.line, section.media, section.port) == (6, "audio", 9)
    assert (section.protocol, section.formats) == ("UDP/TLS/RTP/SAVPF", ("111",))
    assert [(attribute.line, attribute.name, attribute.value) for attribute in section.attributes] == [
        (8, "mid", "0"),
        (9, "rtcp-mux", ""),
    ]


@pytest.mark.parametrize("offer", OFFERS, ids=lambda path: path.stem)
def test_lf_and_crlf_read_the_same(offer: Path) -> None:
    text = offer.read_bytes().decode()
    assert "\r\n" in text
    assert parse(text) == parse(text.replace("\r\n", "\n")) == parse(text.removesuffix("\r\n"))


MALFORMED = {
    "no equals sign": (5, "group"),
    "an empty line": (5, ""),
    "a capital letter": (5, "A=group"),
    "an unknown letter": (5, "y=1"),
    "a space before": (5, " a=group"),
    "a carriage return inside": (5, "a=group\rb"),
    "a null": (5, "a=group\0"),
    "half a surrogate pair": (5, "a=group:\ud800"),
    "another version": (1, "v=1"),
    "an origin without address": (2, "o=- 1 1 IN IP4"),
    "an origin with a word for its number": (2, "o=- one 1 IN IP4 127.0.0.1"),
    "a second session name": (4, "s=-"),
    "a time in words": (4, "t=now never"),
    "a time before the name": (2, "t=0 0"),
    "an attribute without name": (5, "a=:x"),
    "an attribute name with a space": (5, "a=gr oup:x"),
    "a time below media": (8, "t=0 0"),
    "a connection behind attributes": (9, "c=IN IP4 0.0.0.0"),
    "a connection of another network": (7, "c=ATM IP4 0.0.0.0"),
    "a bandwidth without colon": (7, "b=AS"),
    "a media line without format": (6, "m=audio 9 UDP/TLS/RTP/SAVPF"),
    "a media line with two spaces": (6, "m=audio 9 UDP/TLS/RTP/SAVPF  111"),
    "a port in words": (6, "m=audio nine UDP/TLS/RTP/SAVPF 111"),
    "a port too high": (6, "m=audio 65536 UDP/TLS/RTP/SAVPF 111"),
    "a negative port": (6, "m=audio -1 UDP/TLS/RTP/SAVPF 111"),
    "a port in other digits": (6, "m=audio ٩ UDP/TLS/RTP/SAVPF 111"),
    "several ports": (6, "m=audio 9/2 UDP/TLS/RTP/SAVPF 111"),
    "a format that is no token": (6, "m=audio 9 UDP/TLS/RTP/SAVPF <script>"),
}


@pytest.mark.parametrize(("line", "text"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_line_is_named_by_its_number(line: int, text: str) -> None:
    with pytest.raises(SdpError) as caught:
        parse(with_line(line, text))
    # A line that takes the place of the one before it may first be missed there.
    assert caught.value.line in (line, line + 1)
    assert str(caught.value).startswith(f"line {caught.value.line}: ")


@pytest.mark.parametrize("letter", "vost")
def test_a_session_without_one_of_its_lines_is_malformed(letter: str) -> None:
    text = "".join(line for line in SMALL.splitlines(keepends=True) if not line.startswith(f"{letter}="))
    with pytest.raises(SdpError, match=f"the session has no {letter}= line"):
        parse(text)


@pytest.mark.parametrize("text", ["", "\n", "\r\n", "m=audio 9 RTP/AVP 0\n", "v=0"])
def test_too_little_is_malformed(text: str) -> None:
    with pytest.raises(SdpError):
        parse(text)


def test_an_attack_with_too_many_octets_is_refused() -> None:
    assert scan("s=" + "x" * 10)
    for filling in ("x", "é"):
        lines = ("s=" + filling * (MAX_LINE - 2) + "\n") * (MAX_OCTETS // MAX_LINE // len(filling.encode()) + 1)
        with pytest.raises(SdpError, match="longer than 65536 octets"):
            scan(lines)


def test_an_attack_with_a_long_line_is_refused() -> None:
    assert scan("s=" + "x" * (MAX_LINE - 2))
    with pytest.raises(SdpError, match="line 1: longer than 2048 characters"):
        scan("s=" + "x" * (MAX_LINE - 1))


def test_an_attack_with_sdp_lines_without_end_is_refused() -> None:
    assert len(scan("a=x\n" * MAX_LINES)) == MAX_LINES
    with pytest.raises(SdpError, match=f"line {MAX_LINES + 1}: more than {MAX_LINES} lines"):
        scan("a=x\n" * (MAX_LINES + 1))


def test_an_attack_with_candidates_without_end_is_refused() -> None:
    head = len(SMALL.splitlines())
    assert parse(SMALL + "a=candidate:\n" * MAX_CANDIDATES).sections
    with pytest.raises(SdpError, match=f"line {head + MAX_CANDIDATES + 1}: more than {MAX_CANDIDATES} candidates"):
        parse(SMALL + "a=candidate:\n" * (MAX_CANDIDATES + 1))


def test_an_attack_with_media_sections_without_end_is_refused() -> None:
    media = "m=video 9 RTP/AVP 0\n"
    assert len(parse(SMALL + media * (MAX_SECTIONS - 1)).sections) == MAX_SECTIONS
    with pytest.raises(SdpError, match=f"more than {MAX_SECTIONS} media sections"):
        parse(SMALL + media * MAX_SECTIONS)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(SdpError):
        parse(text)
