"""Answers: the whole text for real offers, and the rules of rejection, bundling and mirroring."""

from pathlib import Path

import pytest

from tests.test_sdp_offer import CHROMIUM, FINGERPRINT, NAMES, WITH_SPED, real
from trioice import sdp
from trioice.errors import LocalProtocolError
from trioice.sdp.parse import parse

ANSWERS = Path(__file__).parent / "vectors" / "answers"


def answer(offer: str, *candidates: sdp.Candidate, setup: sdp.Setup = "active", redundancy: bool = False) -> str:
    return sdp.answer(
        sdp.Offer.read(offer),
        ufrag="QVZbPqKzWm3sR0d/1fYxNQk",
        pwd="4X+n7yQbRzVhT2mK/cWpLdS8",
        fingerprint=FINGERPRINT,
        setup=setup,
        candidates=candidates or (sdp.Candidate("192.0.2.1", 3478),),
        ssrc=3735928559,
        cname="T0lDRQ",
        origin=4242,
        version=2,
        redundancy=redundancy,
    )


def swapped(offer: str) -> str:
    """The offer with its sections in reverse order, the BUNDLE group too."""
    head, *sections = offer.split("m=")
    group = next(line for line in head.splitlines() if line.startswith("a=group:BUNDLE "))
    mids = group.removeprefix("a=group:BUNDLE ").split()
    head = head.replace(group, "a=group:BUNDLE " + " ".join(reversed(mids)))
    return "m=".join([head, *reversed(sections)])


@pytest.mark.parametrize("name", NAMES)
def test_a_real_offer_has_its_answer(name: str) -> None:
    assert answer(real(name)) == (ANSWERS / f"{name}.sdp").read_bytes().decode()


def test_dtls_in_stun_is_answered_by_the_names_that_it_was_offered_by() -> None:
    plain, sped = answer(CHROMIUM).splitlines(), answer(WITH_SPED).splitlines()
    changed = [(one, other) for one, other in zip(plain, sped, strict=True) if one != other]
    assert changed == [("a=ice-options:ice2 trickle", "a=ice-options:ice2 trickle sped googspedv1")]


def test_each_candidate_has_a_foundation_and_a_priority_of_its_own_and_the_first_is_preferred() -> None:
    one, other = sdp.Candidate.of([("192.0.2.1", 3478), ("2001:db8::1", 3479)])
    assert str(one) == str(sdp.Candidate("192.0.2.1", 3478))
    assert str(other) == f"candidate:2 1 udp {one.priority - 256} 2001:db8::1 3479 typ host"
    lines = answer(real(NAMES[0]), one, other).splitlines()
    assert [line for line in lines if line.startswith("a=candidate")] == [f"a={one}", f"a={other}"]
    assert "c=IN IP4 192.0.2.1" in lines


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_itself_well_formed_and_has_all_sections_in_order(name: str) -> None:
    offered = sdp.Offer.read(real(name)).sections
    answered = parse(answer(real(name))).sections
    assert [section.media for section in answered] == [section.media for section in offered]
    assert [section.protocol for section in answered] == [section.protocol for section in offered]
    assert [section.all("mid")[0].value for section in answered] == [section.all("mid")[0].value for section in offered]
    assert [section.media for section in answered if section.port] == ["audio"]


@pytest.mark.parametrize("name", NAMES)
def test_a_rejected_section_that_is_first_in_the_bundle_group_hands_the_tag_on(name: str) -> None:
    offer = swapped(real(name))
    assert sdp.Offer.read(offer).bundle[0] != "0"
    lines = answer(offer).splitlines()
    assert "a=group:BUNDLE 0" in lines
    assert [line.split()[0] for line in lines if line.startswith("m=")][-1] == "m=audio"
    assert not any(line.startswith("a=bundle-only") for line in lines)
    assert sdp.accepted_mid(answer(offer)) == "0"


def test_an_offer_that_bundles_nothing_is_answered_without_group() -> None:
    offer = CHROMIUM.replace("a=group:BUNDLE 0 1\r\n", "")
    assert "group" not in answer(offer)
    assert "group" not in answer(CHROMIUM.replace("BUNDLE 0 1", "BUNDLE 1"))
    assert "group" not in answer(CHROMIUM.replace("group:BUNDLE 0 1", "group:LS 0 1"))


def test_a_section_without_mid_is_answered_without_mid() -> None:
    lines = answer(CHROMIUM.replace("a=mid:0\r\n", "")).splitlines()
    assert [line for line in lines if line.startswith("a=mid:")] == ["a=mid:1"]
    assert sdp.accepted_mid("\n".join(lines)) is None


@pytest.mark.parametrize(
    ("offered", "mirrored"),
    [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_a_direction_is_mirrored_and_a_source_named_where_we_send(offered: str, mirrored: str) -> None:
    lines = answer(CHROMIUM.replace("a=sendrecv", f"a={offered}")).splitlines()
    accepted = lines[: lines.index("a=end-of-candidates")]
    assert f"a={mirrored}" in accepted
    assert any(line.startswith(("a=msid:", "a=ssrc:")) for line in accepted) == mirrored.startswith("send")


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("1", "a=extmap:1 "),
        ("1/sendonly", "a=extmap:1/recvonly "),
        ("1/recvonly", "a=extmap:1/sendonly "),
        ("1/inactive", None),
    ],
)
def test_a_header_extensions_direction_is_mirrored(offered: str, answered: str | None) -> None:
    text = answer(CHROMIUM.replace("extmap:1 ", f"extmap:{offered} "))
    assert (answered is None) == ("ssrc-audio-level" not in text)
    assert answered is None or answered in text


def test_no_feedback_is_promised_that_nobody_sends() -> None:
    text = answer(CHROMIUM)
    for word in ("transport-cc", "transport-wide-cc", "abs-send-time"):
        assert word in CHROMIUM
        assert word not in text


def test_what_repairs_speech_is_asked_for() -> None:
    plain, redundant = answer(CHROMIUM).splitlines(), answer(CHROMIUM, redundancy=True).splitlines()
    assert "a=rtcp-fb:111 nack" in plain  # though it is not offered
    assert "a=rtcp-xr:rcvr-rtt=all" in plain
    assert not any("red/" in line for line in plain)
    assert [line for line in redundant if line not in plain] == [
        "m=audio 3478 UDP/TLS/RTP/SAVPF 63 111",
        "a=rtpmap:63 red/48000/2",
        "a=fmtp:63 111/111",
    ]


def test_copies_that_are_not_offered_are_not_asked_for() -> None:
    offer = CHROMIUM.replace("a=fmtp:63 111/111\r\n", "").replace("a=rtcp-xr:rcvr-rtt=all\r\n", "")
    text = answer(offer, redundancy=True)
    assert "red/" not in text
    assert "rtcp-xr" not in text
    assert "SAVPF 111\r\n" in text


def test_g711_is_answered_where_there_is_no_opus() -> None:
    lines = answer(CHROMIUM.replace("SAVPF 111 63 9 0", "SAVPF 9 0")).splitlines()
    assert "m=audio 3478 UDP/TLS/RTP/SAVPF 0" in lines
    assert "a=rtpmap:0 PCMU/8000" in lines
    assert not any(line.startswith("a=fmtp") for line in lines)


def test_candidates_are_all_listed_and_the_first_is_the_default_destination() -> None:
    text = answer(CHROMIUM, sdp.Candidate("2001:db8::7", 443, "6", 7), sdp.Candidate("192.0.2.1", 3478))
    assert "m=audio 443 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP6 2001:db8::7\r\n" in text
    assert "a=candidate:6 1 udp 7 2001:db8::7 443 typ host\r\n" in text
    assert "a=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host\r\na=end-of-candidates\r\n" in text


def test_two_ends_of_the_same_setup_are_a_misuse() -> None:
    with pytest.raises(LocalProtocolError):
        answer(CHROMIUM.replace("setup:actpass", "setup:active"))
    assert "a=setup:passive" in answer(CHROMIUM.replace("setup:actpass", "setup:active"), setup="passive")
