"""Fragments of descriptions that trickle candidates and restart ICE (RFC 8840, 9; RFC 9725, 4.3).

A fragment is attributes, and below pseudo ``m=`` lines more attributes. A lite agent sends no checks, so what a client's candidates
say is of no use to us: they are counted against their bound, and let go.
"""

from collections.abc import Sequence

import attrs

from trioice.sdp.answer import Candidate
from trioice.sdp.offer import read_credential
from trioice.sdp.parse import Attribute, SdpError, parse, read_attribute, read_media, scan


@attrs.frozen(kw_only=True)
class Fragment:
    """What a client trickled: its credentials, where it names them, and the candidates as written."""

    ice_ufrag: str | None
    ice_pwd: str | None = attrs.field(repr=False)
    mid: str | None
    candidates: tuple[str, ...] = attrs.field(repr=False)


def read_fragment(text: str) -> Fragment:
    """Read a fragment; raises `SdpError`."""
    attributes: list[Attribute] = []
    for number, letter, value in scan(text):
        match letter:
            case "a":
                attributes.append(read_attribute(number, value))
            case "m":
                read_media(number, value)
            case _:
                raise SdpError(number, f"{letter}= has no place in a fragment")
    # With BUNDLE all sections share a transport: whichever of them repeats the credentials repeats the same ones.
    found = {attribute.name: attribute for attribute in reversed(attributes)}
    ufrag, pwd, mid = found.get("ice-ufrag"), found.get("ice-pwd"), found.get("mid")
    return Fragment(
        ice_ufrag=read_credential(ufrag, least=4) if ufrag else None,
        ice_pwd=read_credential(pwd, least=22) if pwd else None,
        mid=mid.value if mid else None,
        candidates=tuple(attribute.value for attribute in attributes if attribute.name == "candidate"),
    )


def fragment(ufrag: str, pwd: str, candidates: Sequence[Candidate], *, mid: str | None = None) -> str:
    """Write our side of an ICE restart: credentials, and the candidates of the section `mid`, with CRLF after every line."""
    lines = ["a=ice-lite", "a=ice-options:ice2 trickle", f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{pwd}"]
    lines += ["m=audio 9 UDP/TLS/RTP/SAVPF 0", *([f"a=mid:{mid}"] if mid else [])]
    lines += [f"a={candidate}" for candidate in candidates] + ["a=end-of-candidates"]
    return "".join(f"{line}\r\n" for line in lines)


def accepted_mid(answer: str) -> str | None:
    """Tell the mid of the section that an answer of ours accepts."""
    accepted = next(section for section in parse(answer).sections if section.port)
    mid = accepted.first("mid")
    return mid.value if mid else None
