"""Offers: what real browsers offer is read, and what we cannot answer is refused with a reason."""

import random
import re
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioice import sdp
from trioice.dtls import Fingerprint
from trioice.sdp.offer import SPED

VECTORS = Path(__file__).parent / "vectors" / "offers"
NAMES = (
    "chromium-156-audio-data",
    "chromium-156-audio-video-data",
    "firefox-153-audio-data",
    "firefox-153-audio-video-data",
)
FINGERPRINT = Fingerprint("sha-256", bytes(range(32)))


def real(name: str) -> str:
    return (VECTORS / f"{name}.sdp").read_bytes().decode()


CHROMIUM = real("chromium-156-audio-data")
FIREFOX = real("firefox-153-audio-data")


def without(start: str, text: str = CHROMIUM) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(start))


def answered(offer: sdp.Offer) -> str:
    return sdp.answer(
        offer,
        ufrag="trio",
        pwd="a-password-that-is-long",
        fingerprint=FINGERPRINT,
        setup=offer.answer_setup(),
        candidates=[sdp.Candidate("192.0.2.1", 3478)],
        ssrc=1,
        cname="cname",
        origin=1,
    )


def test_chromium_offers_what_we_read() -> None:
    offer = sdp.Offer.read(CHROMIUM)
    assert (offer.ice_ufrag, offer.ice_pwd) == ("DemR", "OMceMp2lHZJJWQHhxX1TD3fa")
    (fingerprint,) = offer.fingerprints
    assert fingerprint.algorithm == "sha-256"
    assert fingerprint.digest.hex().startswith("72f44e88aa3e")
    assert offer.setup == "actpass"
    assert offer.bundle == ("0", "1")
    assert [section.media for section in offer.sections] == ["audio", "application"]
    audio = offer.audio
    assert (audio.index, audio.mid, audio.direction, audio.payload_type) == (0, "0", "sendrecv", 111)
    assert [extension.number for extension in audio.extensions] == [1, 4]
    assert audio.rtcp_rsize


def test_firefox_has_its_fingerprint_at_session_level() -> None:
    offer = sdp.Offer.read(FIREFOX)
    assert offer.fingerprints[0].digest.hex().startswith("44c47b5b080b")
    assert (offer.audio.payload_type, [extension.number for extension in offer.audio.extensions]) == (109, [1, 3])
    assert not offer.audio.rtcp_rsize


def test_what_stands_in_the_section_goes_before_what_stands_in_the_session() -> None:
    session = "a=ice-ufrag:session\r\na=setup:passive\r\na=inactive\r\na=group:"
    offer = sdp.Offer.read(CHROMIUM.replace("a=group:", session))
    assert (offer.ice_ufrag, offer.setup, offer.audio.direction) == ("DemR", "actpass", "sendrecv")


@pytest.mark.parametrize("attribute", ["ice-ufrag", "ice-pwd", "fingerprint", "setup"])
def test_what_stands_in_the_session_holds_for_the_section(attribute: str) -> None:
    line = next(line for line in CHROMIUM.splitlines(keepends=True) if line.startswith(f"a={attribute}:"))
    moved = without(f"a={attribute}:").replace("a=group:", line + "a=group:")
    assert attr_free(sdp.Offer.read(moved)) == attr_free(sdp.Offer.read(CHROMIUM))


def attr_free(offer: sdp.Offer) -> tuple[object, ...]:
    return offer.ice_ufrag, offer.ice_pwd, offer.fingerprints, offer.setup, offer.audio


@pytest.mark.parametrize("name", NAMES)
def test_an_offer_without_candidates_is_an_offer(name: str) -> None:
    assert sdp.Offer.read(without("a=candidate:", real(name))).audio.payload_type


def test_fingerprints_of_known_hashes_are_all_kept_and_others_ignored() -> None:
    line = next(line for line in CHROMIUM.splitlines(keepends=True) if line.startswith("a=fingerprint:"))
    more = "a=fingerprint:SHA-384 " + ":".join(["0a"] * 48) + "\r\n" + "a=fingerprint:md5 00\r\n"
    algorithms = [
        fingerprint.algorithm for fingerprint in sdp.Offer.read(CHROMIUM.replace(line, line + more)).fingerprints
    ]
    assert algorithms == ["sha-256", "sha-384"]


OPUS_ALONE = re.sub(r"SAVPF 111 [0-9 ]+", "SAVPF 111", CHROMIUM)
AUDIO = CHROMIUM[CHROMIUM.index("m=audio") : CHROMIUM.index("m=application")]
REFUSED = {
    "ice-lite": (CHROMIUM.replace("a=group:", "a=ice-lite\r\na=group:"), "line 5: a=ice-lite is offered"),
    "holdconn": (CHROMIUM.replace("setup:actpass", "setup:holdconn"), "line 23: a=setup:holdconn"),
    "no setup": (without("a=setup:"), "line 8: no a=setup"),
    "no audio": (CHROMIUM.replace(AUDIO, ""), "no audio section"),
    "no rtcp-mux": (without("a=rtcp-mux"), "line 8: no a=rtcp-mux"),
    "no fingerprint": (without("a=fingerprint:"), "line 8: no fingerprint of"),
    "a weak fingerprint only": (CHROMIUM.replace("a=fingerprint:sha-256", "a=fingerprint:sha-1"), "no fingerprint of"),
    "no user name": (without("a=ice-ufrag:"), "line 8: no a=ice-ufrag"),
    "no password": (without("a=ice-pwd:"), "line 8: no a=ice-pwd"),
    "no codec of ours": (OPUS_ALONE.replace("opus/48000/2", "speex/16000"), "line 8: neither Opus nor G.711"),
    "Opus that is not listed": (OPUS_ALONE.replace("SAVPF 111", "SAVPF 63"), "line 8: neither Opus nor G.711"),
    "Opus where RTCP would be": (
        OPUS_ALONE.replace("SAVPF 111", "SAVPF 72").replace("rtpmap:111", "rtpmap:72"),
        "line 8: neither Opus nor G.711",
    ),
    "plain RTP": (CHROMIUM.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "line 8: the audio section is RTP/AVP"),
    "audio switched off": (CHROMIUM.replace("m=audio 49773", "m=audio 0"), "line 8: the audio section has port 0"),
}


def test_what_chromium_offers_to_repair_speech_is_read() -> None:
    audio = sdp.Offer.read(CHROMIUM).audio
    assert (audio.codec, audio.payload_type, audio.red) == ("opus", 111, 63)
    assert (audio.receiver_rtt, audio.level_extension) == (True, 1)


@pytest.mark.parametrize("blocks", ["111/0", "0/111", "111/111x", ""])
def test_copies_of_anything_but_the_codec_are_not_taken_up(blocks: str) -> None:
    assert sdp.Offer.read(CHROMIUM.replace("fmtp:63 111/111", f"fmtp:63 {blocks}")).audio.red is None


def test_a_level_that_only_we_would_send_is_none() -> None:
    assert sdp.Offer.read(CHROMIUM.replace("extmap:1 ", "extmap:1/recvonly ")).audio.level_extension is None


@pytest.mark.parametrize(
    ("formats", "codec", "payload_type"),
    [
        ("0 8 111", "opus", 111),
        ("9 8 0", "PCMA", 8),
        ("13 0 8", "PCMU", 0),
    ],
)
def test_opus_is_chosen_wherever_it_stands_and_else_the_first_of_g711(
    formats: str, codec: str, payload_type: int
) -> None:
    text = CHROMIUM.replace("SAVPF 111 63 9 0 8 13 110 126", f"SAVPF {formats}")
    for offer in (text, re.sub(r"a=rtpmap:[08] .*\r\n", "", text)):  # these two need no rtpmap
        audio = sdp.Offer.read(offer).audio
        assert (audio.codec, audio.payload_type) == (codec, payload_type)


def test_g711_under_another_number_is_found_by_its_name() -> None:
    text = OPUS_ALONE.replace("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 pcmu/8000")
    audio = sdp.Offer.read(text).audio
    assert (audio.codec, audio.payload_type) == ("PCMU", 111)


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_an_offer_that_we_cannot_answer_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(sdp.OfferRefused) as caught:
        sdp.Offer.read(text)
    assert reason in str(caught.value)


MALFORMED = {
    "a short user name": CHROMIUM.replace("ufrag:DemR", "ufrag:Dem"),
    "a long user name": CHROMIUM.replace("ufrag:DemR", "ufrag:" + "x" * 257),
    "a user name with a space": CHROMIUM.replace("ufrag:DemR", "ufrag:De mR"),
    "a user name in another alphabet": CHROMIUM.replace("ufrag:DemR", "ufrag:ДемР"),
    "a short password": CHROMIUM.replace("OMceMp2lHZJJWQHhxX1TD3fa", "OMceMp2lHZJJWQHhxX1TD"),
    "a password with a dash": CHROMIUM.replace("OMceMp2lHZJJWQHhxX1TD3fa", "OMceMp2lHZJJ-QHhxX1TD3fa"),
    "a fingerprint cut short": CHROMIUM.replace(":7F:78:9A:55", ":7F:78:9A"),
    "a fingerprint in words": CHROMIUM.replace("72:F4:4E", "no:hex:at"),
    "an unknown setup": CHROMIUM.replace("setup:actpass", "setup:maybe"),
    "a payload type too high": CHROMIUM.replace("rtpmap:111", "rtpmap:128"),
    "a payload type in words": CHROMIUM.replace("rtpmap:111", "rtpmap:opus"),
    "an extension without URI": CHROMIUM.replace("extmap:1 urn", "extmap:urn"),
    "a mid twice": CHROMIUM.replace("a=mid:1", "a=mid:0"),
    "a mid with a space": CHROMIUM.replace("a=mid:0", "a=mid:0 0"),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_attribute_is_named_by_its_line(text: str) -> None:
    broken = next(
        number
        for number, (new, old) in enumerate(zip(text.splitlines(), CHROMIUM.splitlines(), strict=True), 1)
        if new != old
    )
    with pytest.raises(sdp.SdpError) as caught:
        sdp.Offer.read(text)
    assert not isinstance(caught.value, sdp.OfferRefused)
    assert caught.value.line == broken


def test_no_error_repeats_the_password() -> None:
    with pytest.raises(sdp.SdpError) as caught:
        sdp.Offer.read(MALFORMED["a short password"])
    assert "OMceMp" not in str(caught.value)
    assert "OMceMp" not in repr(sdp.Offer.read(CHROMIUM)).partition("sections=")[0]


@pytest.mark.parametrize("preferred", ["auto", "active", "passive"])
@pytest.mark.parametrize(("offered", "left"), [("active", "passive"), ("passive", "active")])
def test_a_setup_that_leaves_no_choice_is_followed(
    preferred: Literal["auto", "active", "passive"], offered: str, left: str
) -> None:
    offer = sdp.Offer.read(CHROMIUM.replace("setup:actpass", f"setup:{offered}"))
    assert offer.answer_setup(preferred) == left


def test_a_setup_that_leaves_the_choice_gets_what_we_prefer() -> None:
    offer = sdp.Offer.read(CHROMIUM)
    assert offer.answer_setup() == "active"
    assert offer.answer_setup("active") == "active"
    assert offer.answer_setup("passive") == "passive"


# What Chromium 156 offers with the field trial WebRTC-IceHandshakeDtls, in every section.
WITH_SPED = CHROMIUM.replace("a=ice-options:trickle", "a=ice-options:trickle sped googspedv1")


def test_dtls_in_stun_is_offered_by_any_of_its_names_and_all_are_kept_in_their_order() -> None:
    assert sdp.Offer.read(CHROMIUM).sped == ()
    assert sdp.Offer.read(WITH_SPED).sped == ("sped", "googspedv1")
    for options in ("sped", "trickle goog-sped-v1", "googspedv1 trickle", "a-sped goog-sped-v1 sped-b goog-sped-v1"):
        offer = sdp.Offer.read(CHROMIUM.replace("ice-options:trickle", f"ice-options:{options}"))
        assert offer.sped == tuple(dict.fromkeys(name for name in options.split() if name in SPED))
        assert len(offer.sped) == 1
    for options in ("", "trickle", "SPED", "spedx", "trickle,sped", "sped/1"):
        assert sdp.Offer.read(CHROMIUM.replace("ice-options:trickle", f"ice-options:{options}")).sped == ()


def test_ice_options_of_the_session_hold_beside_those_of_the_section() -> None:
    session = "a=ice-options:goog-sped-v1\r\na=group:"
    assert sdp.Offer.read(CHROMIUM.replace("a=group:", session)).sped == ("goog-sped-v1",)
    assert sdp.Offer.read(WITH_SPED.replace("a=group:", session)).sped == ("sped", "googspedv1", "goog-sped-v1")
    other = CHROMIUM.replace(AUDIO, "") + AUDIO
    only_data = other.replace("a=ice-options:trickle", "a=ice-options:sped", 1)
    assert sdp.Offer.read(only_data).sped == ()  # of a section that we reject


def test_with_dtls_in_stun_we_prefer_to_be_passive_and_whoever_runs_us_may_prefer_otherwise() -> None:
    offer = sdp.Offer.read(WITH_SPED)
    assert offer.answer_setup() == "passive"
    assert offer.answer_setup("active") == "active"
    assert offer.answer_setup("passive") == "passive"
    assert sdp.Offer.read(WITH_SPED.replace("setup:actpass", "setup:passive")).answer_setup() == "active"


def test_the_second_audio_section_is_taken_where_the_first_cannot_be() -> None:
    other = AUDIO.replace("a=mid:0", "a=mid:5").replace("SAVPF 111 63 9 0 8", "SAVPF 9")
    offer = sdp.Offer.read(CHROMIUM.replace(AUDIO, other + AUDIO))
    assert (offer.audio.index, offer.audio.mid) == (1, "0")


def test_extensions_of_two_byte_numbers_are_left_out() -> None:
    offer = sdp.Offer.read(CHROMIUM.replace("a=extmap:4 ", "a=extmap:20 ").replace("a=extmap:1 ", "a=extmap:0 "))
    assert offer.audio.extensions == ()


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 1 << 32))
def test_a_mutated_offer_is_answered_or_refused(name: str, seed: int) -> None:
    chance = random.Random(seed)
    lines = real(name).splitlines()
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, lines[chance.randrange(len(lines))])
            case 2:
                lines[place] = lines[place][: chance.randrange(len(lines[place]) + 1)]
            case 3:
                at = chance.randrange(len(lines[place]) + 1)
                lines[place] = (
                    lines[place][:at] + chr(chance.choice([0, 9, 32, 45, 58, 0x663, 0xD800])) + lines[place][at:]
                )
            case _:
                head, _, _ = lines[place].partition(":")
                lines[place] = head + ":" + chance.choice(["", " ", "0", "9" * 30, "a b", "/" * 9])
    with suppress(sdp.SdpError):
        offer = sdp.Offer.read("\n".join(lines) + "\n")
        assert answered(offer).isascii()
