"""Opus: what a payload tells of itself, PCM there and back, what is made up, and octets that are no Opus."""

from array import array

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.audio.voices import best_likeness, split, voice
from trioice.audio import RATES, Opus
from trioice.audio.library import opus as library
from trioice.audio.opus import LONGEST, Application, OpusDecoder, duration, has_fec
from trioice.errors import LocalProtocolError

SPEECH = voice(24000, 1.0)


def coded(rate: int = 24000, pcm: bytes = SPEECH, frame: float = 0.02, **settings: object) -> list[bytes]:
    encoder = Opus(**settings).encoder(rate)  # type: ignore[arg-type]  # each of its own type
    return [encoder.encode(each) for each in split(pcm, rate, frame)]


@pytest.mark.parametrize(
    ("payload", "units"),
    [
        ("00", 480),  # SILK, 10 ms
        ("18", 2880),  # SILK, 60 ms
        ("78", 960),  # hybrid, 20 ms
        ("80", 120),  # CELT, 2.5 ms
        ("f8", 960),  # CELT, 20 ms
        ("f9", 1920),  # two of the same size
        ("fa", 1920),  # two of different sizes
        ("fb03", 2880),  # three, told by the second octet
        ("fb86", 5760),  # six, of variable size
        ("fb", None),
        ("fb00", None),  # no frame at all
        ("fb07", None),  # 140 ms
        ("1b03", None),  # three of 60 ms
        ("", None),
    ],
)
def test_a_payloads_duration_is_told_by_its_first_octets(payload: str, units: int | None) -> None:
    assert duration(bytes.fromhex(payload)) == units


@given(payload=st.binary(min_size=1, max_size=8))
def test_libopus_counts_the_same_duration(payload: bytes) -> None:
    samples = library().opus_packet_get_nb_samples(payload, len(payload), 48000)
    assert duration(payload) == (samples if samples > 0 else None)


@pytest.mark.parametrize("rate", RATES)
def test_what_is_encoded_is_heard_again(rate: int) -> None:
    pcm = voice(rate, 0.5)
    decoder = Opus().decoder(rate)
    heard = b"".join(decoder.decode(payload) for payload in coded(rate, pcm))
    assert len(heard) == len(pcm)
    assert best_likeness(pcm[: rate // 2], heard, range(rate // 100)) > 0.95


@pytest.mark.parametrize("milliseconds", [2.5, 5, 10, 20, 40, 60])
def test_frames_of_every_length_are_coded(milliseconds: float) -> None:
    (frame,) = split(SPEECH[: round(48 * milliseconds)], 24000, milliseconds / 1000)
    payload = Opus().encoder(24000).encode(frame)
    assert Opus().duration(payload) == 48 * milliseconds
    assert len(Opus().decoder(24000).decode(payload)) == len(frame)


@pytest.mark.parametrize("octets", [0, 1, 958, 959, 961, 4 * 960])
def test_pcm_of_another_length_is_refused(octets: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"{octets} octets"):
        Opus().encoder(24000).encode(bytes(octets))


def test_other_rates_are_refused() -> None:
    for make in (Opus().decoder, Opus().encoder):
        with pytest.raises(LocalProtocolError, match="44100"):
            make(44100)


@pytest.mark.parametrize("application", ["lowdelay", "audio", "voip"])
def test_a_pause_is_an_empty_frame_that_decodes_to_silence(application: Application) -> None:
    encoder, decoder = Opus(application=application).encoder(24000), Opus().decoder(24000)
    for each in split(SPEECH, 24000) + [bytes(960)] * 2:
        decoder.decode(encoder.encode(each))
    pause = encoder.pause()
    assert pause is not None
    assert len(pause) == 1
    assert duration(pause) == 960
    assert max(map(abs, array("h", decoder.decode(pause)))) < 100  # of 6,000


def test_two_decoders_of_the_same_payloads_give_the_same_samples() -> None:
    payloads = coded()
    one, other = OpusDecoder(24000), OpusDecoder(24000)
    assert [one.decode(payload) for payload in payloads] == [other.decode(payload) for payload in payloads]


def test_a_missing_payload_is_made_up_and_fades_to_silence() -> None:
    decoder = OpusDecoder(24000)
    for payload in coded()[:20]:
        decoder.decode(payload)
    made_up = [decoder.conceal(960) for _ in range(8)]
    assert [len(pcm) for pcm in made_up] == [960] * 8
    loudness = [max(map(abs, array("h", pcm))) for pcm in made_up]
    assert loudness[0] > 500
    assert loudness[6:] == [0, 0]  # from 120 ms on


@pytest.mark.parametrize("units", [0, 120, 121, 960, 1000, LONGEST, LONGEST + 1, 100_000])
@pytest.mark.parametrize("rate", RATES)
def test_what_is_made_up_is_as_long_as_what_is_missing(rate: int, units: int) -> None:
    decoder = OpusDecoder(rate)
    assert len(decoder.conceal(units)) == units // (48000 // rate) * 2


def test_a_payload_with_a_coarse_copy_recovers_the_one_before_it() -> None:
    payloads = coded(application="voip", fec=True)
    at = next(number for number in range(25, 45) if has_fec(payloads[number + 1]))
    true, without, with_copy = (OpusDecoder(24000) for _ in range(3))
    for payload in payloads[:at]:
        true.decode(payload), without.decode(payload), with_copy.decode(payload)
    missing = true.decode(payloads[at])
    recovered = with_copy.recover(payloads[at + 1], 960)
    assert recovered is not None
    assert len(recovered) == len(missing)
    assert best_likeness(missing, recovered, range(1)) > 0.8
    assert best_likeness(missing, recovered, range(1)) > best_likeness(missing, without.conceal(960), range(1))


def test_no_copy_is_seen_where_there_is_none() -> None:
    assert not any(map(has_fec, coded()))  # CELT has none
    assert not any(map(has_fec, coded(application="voip", fec=False)))
    assert OpusDecoder(24000).recover(coded()[5], 960) is None


def test_a_copy_that_libopus_would_not_use_is_none() -> None:
    long = coded(16000, voice(16000, 1.0), 0.04, application="voip", fec=True)
    with_copy = next(payload for payload in long[10:] if has_fec(payload))
    decoder = OpusDecoder(24000)
    assert decoder.recover(with_copy, 1920) is not None
    assert decoder.recover(with_copy, 960) is None  # it is of 40 ms
    decoder.decode(coded()[5])
    assert decoder.recover(with_copy, 1920) is None  # nothing joins on to CELT


# Debian's libopus 1.3 cannot be asked; the one that comes with `av`, which is tried first, can.
@pytest.mark.skipif(not hasattr(library(), "opus_packet_has_lbrr"), reason="an older libopus does not tell")
def test_libopus_sees_the_same_copies() -> None:
    payloads = [*coded(application="voip", fec=True), *coded(application="voip"), *coded()]
    for size in (0.04, 0.06):
        encoder = Opus(application="voip", fec=True).encoder(16000)
        payloads += [encoder.encode(frame) for frame in split(voice(16000, 1.0), 16000, size)]
    seen = [bool(library().opus_packet_has_lbrr(payload, len(payload))) for payload in payloads]
    assert [has_fec(payload) for payload in payloads] == seen
    assert 0 < sum(seen) < len(seen)


@given(octets=st.binary(max_size=80), follows=st.binary(max_size=80), units=st.integers(0, 6000))
@example(octets=b"", follows=b"\x7b", units=960)
@settings(max_examples=300)
def test_no_octets_raise_and_all_pcm_is_as_long_as_it_should_be(octets: bytes, follows: bytes, units: int) -> None:
    decoder = OpusDecoder(16000)
    for _ in range(2):
        assert len(decoder.decode(octets)) == 2 * ((duration(octets) or 960) // 3)
        recovered = decoder.recover(follows, units)
        assert recovered is None or len(recovered) == 2 * (units // 3)


@given(number=st.integers(0, 49), at=st.integers(0, 79), bit=st.integers(0, 7), cut=st.integers(1, 80))
def test_payloads_that_were_tampered_with_do_not_raise(number: int, at: int, bit: int, cut: int) -> None:
    payload = bytearray(CODED[number])
    payload[at % len(payload)] ^= 1 << bit
    octets = bytes(payload[:cut])
    assert len(OpusDecoder(24000).decode(octets)) == 2 * ((duration(octets) or 960) // 2)


CODED = coded(application="voip", fec=True)
