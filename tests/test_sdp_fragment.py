"""Fragments: what WHIP clients trickle and restart with, and what we answer."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioice import sdp
from trioice.sdp.parse import MAX_CANDIDATES

# RFC 9725, 4.3.2 and 4.3.3 show these two in their examples.
TRICKLE = """\
a=group:BUNDLE 0 1
m=audio 9 UDP/TLS/RTP/SAVPF 111
a=mid:0
a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1
a=candidate:3471623853 1 udp 2122194687 198.51.100.2 61765 typ host generation 0 ufrag EsAw network-id 2
a=end-of-candidates
"""
RESTART = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n"


def test_a_trickled_fragment_has_candidates_and_the_credentials_they_belong_to() -> None:
    fragment = sdp.read_fragment(TRICKLE)
    assert (fragment.ice_ufrag, fragment.ice_pwd, fragment.mid) == ("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1", "0")
    assert [candidate.split()[0] for candidate in fragment.candidates] == ["1387637174", "3471623853"]


def test_a_restart_needs_credentials_only() -> None:
    fragment = sdp.read_fragment(RESTART)
    assert (fragment.ice_ufrag, fragment.ice_pwd) == ("ysXw", "vw5LmwG4y/e6dPP/zAP9Gp5k")
    assert (fragment.mid, fragment.candidates) == (None, ())
    assert "vw5L" not in repr(fragment)


def test_our_fragment_can_be_read_back() -> None:
    text = sdp.fragment("trio", "p" * 24, [sdp.Candidate("192.0.2.1", 3478)], mid="0")
    assert text.startswith("a=ice-lite\r\n")
    fragment = sdp.read_fragment(text)
    assert (fragment.ice_ufrag, fragment.ice_pwd, fragment.mid) == ("trio", "p" * 24, "0")
    assert fragment.candidates == ("1 1 udp 2130706431 192.0.2.1 3478 typ host",)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("v=0\n", 1),
        ("a=ice-ufrag:abc\n", 1),
        (RESTART.replace("vw5L", ""), 2),
        (TRICKLE.replace("m=audio 9", "m=audio"), 2),
        (TRICKLE + "a=candidate:\n" * MAX_CANDIDATES, 8 + MAX_CANDIDATES - 1),
    ],
)
def test_a_malformed_fragment_names_the_line(text: str, line: int) -> None:
    with pytest.raises(sdp.SdpError) as caught:
        sdp.read_fragment(text)
    assert caught.value.line == line


@given(st.lists(st.sampled_from([*TRICKLE.splitlines(), "a=", "m=", "a=mid", "a=ice-pwd:"])))
def test_any_fragment_is_read_or_refused(lines: list[str]) -> None:
    with suppress(sdp.SdpError):
        sdp.read_fragment("\n".join(lines))
