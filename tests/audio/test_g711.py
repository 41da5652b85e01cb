"""G.711: the values of the recommendation, PCM there and back at each rate, what is made up, and octets of any kind."""

import sys
from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.voices import best_likeness, likeness, split, voice
from trioice.audio import PCMA, PCMU, RATES, CodecMissing
from trioice.audio.g711 import FADE, G711, LONGEST
from trioice.errors import LocalProtocolError

LAWS = pytest.mark.parametrize("law", [PCMU, PCMA], ids=lambda law: law.name)

# ITU-T G.711, tables 2a and 1a: the character signals of positive values, and the values at the decoder output, of 14 and 13 bits. The
# even bits of the A-law are inverted on the wire.
MU_LAW = {0x80: 8031, 0x8F: 4191, 0x9F: 2079, 0xAF: 1023, 0xBF: 495, 0xCF: 231, 0xDF: 99, 0xEF: 33, 0xFE: 2, 0xFF: 0}
A_LAW = {0xFF: 4032, 0xF0: 2112, 0xE0: 1056, 0xD0: 528, 0xC0: 264, 0xB0: 132, 0xA0: 66, 0x80: 1}
VALUES = [(PCMU, octet, 4 * value) for octet, value in MU_LAW.items()]
VALUES += [(PCMA, octet ^ 0x55, 8 * value) for octet, value in A_LAW.items()]


def samples(pcm: bytes) -> list[int]:
    return array("h", pcm).tolist()


def pcm(*values: int) -> bytes:
    return array("h", values).tobytes()


@pytest.mark.parametrize(("law", "octet", "value"), VALUES)
def test_octets_stand_for_the_values_of_the_recommendation_and_the_values_for_the_octets(
    law: G711, octet: int, value: int
) -> None:
    assert samples(law.decoder(8000).decode(bytes([octet, octet ^ 0x80]))) == [value, -value]
    assert law.encoder(8000).encode(pcm(value)) == bytes([octet])
    if value:
        assert law.encoder(8000).encode(pcm(-value)) == bytes([octet ^ 0x80])


@LAWS
def test_every_sample_comes_back_to_within_half_a_step_of_its_own_and_symmetrically(law: G711) -> None:
    decoder, encoder = law.decoder(8000), law.encoder(8000)
    heard = {
        value: near
        for values in (range(start, start + 256) for start in range(-32768, 32768, 256))
        for value, near in zip(values, samples(decoder.decode(encoder.encode(pcm(*values)))), strict=True)
    }
    loudest = max(heard.values())
    for value in range(1, loudest + 1):
        # Steps double with each segment, from 8 (PCMU) and 16 (PCMA) on.
        step = (value + 132).bit_length() - 5 if law is PCMU else max(value.bit_length() - 5, 4)
        assert abs(heard[value] - value) <= 2**step / 2
        assert heard[-value] == -heard[value]


@LAWS
def test_every_octet_comes_back_as_itself(law: G711) -> None:
    octets = bytes(range(256))
    again = law.encoder(8000).encode(law.decoder(8000).decode(octets))
    different = [octet for octet, other in zip(octets, again, strict=True) if octet != other]
    assert different == ([0x7F] if law is PCMU else [])  # its zero has two signs


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the audioop of older Pythons is the other implementation")
@pytest.mark.filterwarnings("ignore:'audioop':DeprecationWarning")
@LAWS
def test_another_implementation_agrees(law: G711) -> None:
    import audioop

    encode, decode = (audioop.lin2ulaw, audioop.ulaw2lin) if law is PCMU else (audioop.lin2alaw, audioop.alaw2lin)
    octets = bytes(range(256))
    assert law.decoder(8000).decode(octets) == decode(octets, 2)
    for frame in split(pcm(*range(32768)), 8000):  # it rounds negative ones towards minus infinity
        assert law.encoder(8000).encode(frame) == encode(frame, 2)


@LAWS
@pytest.mark.parametrize("rate", RATES)
def test_what_is_encoded_is_heard_again(law: G711, rate: int) -> None:
    speech = voice(rate, 0.3)
    encoder, decoder = law.encoder(rate), law.decoder(rate)
    coded = [encoder.encode(frame) for frame in split(speech, rate)]
    assert {len(octets) for octets in coded} == {160}
    heard = b"".join(map(decoder.decode, coded))
    assert len(heard) == len(speech)
    lag = 0 if rate == 8000 else 4 * rate // 1000  # 2 ms each way
    assert best_likeness(speech, heard, range(max(0, lag - 6), lag + 1)) > 0.998


@pytest.mark.parametrize("rate", RATES)
def test_silence_stays_silence(rate: int) -> None:
    octets = PCMU.encoder(rate).encode(bytes(rate // 25))
    assert octets == b"\xff" * 160
    assert PCMU.decoder(rate).decode(octets) == bytes(rate // 25)


@pytest.mark.parametrize("rate", RATES[1:])
def test_the_loudest_does_not_wrap_around(rate: int) -> None:
    square = pcm(*([32767] * 40 + [-32768] * 40) * 8)
    heard = samples(PCMU.decoder(rate).decode(PCMU.encoder(8000).encode(square)))
    assert max(heard) == 32767
    assert min(heard) == -32768
    assert all(abs(after - before) < 32768 for before, after in pairwise(heard))


def test_a_missing_payload_is_the_last_20_ms_again_and_fades() -> None:
    decoder = PCMU.decoder(8000)
    encoder = PCMU.encoder(8000)
    frames = split(voice(8000, 0.4), 8000)
    heard = [decoder.decode(encoder.encode(frame)) for frame in frames[:13]][-1]
    made_up = [decoder.conceal(160) for _ in range(5)]
    assert [len(frame) for frame in made_up] == [320] * 5
    assert likeness(heard, made_up[0]) > 0.98
    loudness = [max(map(abs, samples(frame))) for frame in made_up]
    assert loudness[0] > loudness[1] > loudness[2] > 0
    assert loudness[3:] == [0, 0]
    decoder.decode(encoder.encode(frames[18]))
    assert max(map(abs, samples(decoder.conceal(160)))) > 0  # and begins anew


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("missing", [0, 1, 80, 160, FADE, FADE + 1, 3000])
@pytest.mark.parametrize("before", [b"", b"\x90", b"\x90" * 80, bytes(range(256))])
def test_what_is_made_up_is_as_long_as_what_is_missing(rate: int, missing: int, before: bytes) -> None:
    decoder = PCMA.decoder(rate)
    decoder.decode(before)
    for _ in range(2):
        assert len(decoder.conceal(missing)) == missing * 2 * (rate // 8000)
    assert decoder.recover(b"\x90" * 160, 160) is None


@given(octets=st.binary(max_size=1500))
def test_any_octets_are_decoded(octets: bytes) -> None:
    assert len(PCMU.decoder(8000).decode(octets)) == 2 * len(octets)
    assert len(PCMA.decoder(24000).decode(octets)) == 6 * len(octets)
    assert PCMU.duration(octets) == (len(octets) if 0 < len(octets) <= LONGEST else None)


@pytest.mark.parametrize(
    ("rate", "octets"), [(8000, 0), (8000, 321), (8000, 2 * 961), (24000, 958), (24000, 2), (48000, 6)]
)
def test_pcm_of_no_whole_number_of_samples_or_of_too_many_is_refused(rate: int, octets: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"{octets} octets"):
        PCMU.encoder(rate).encode(bytes(octets))


@LAWS
def test_other_rates_are_refused(law: G711) -> None:
    for make in (law.decoder, law.encoder):
        with pytest.raises(LocalProtocolError, match="44100"):
            make(44100)


def test_without_numpy_8_khz_works_and_other_rates_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert PCMU.decoder(8000).decode(b"\xff") == bytes(2)
    for make in (PCMU.decoder, PCMU.encoder):
        with pytest.raises(CodecMissing, match=r"numpy.*trioice\[audio\]"):
            make(24000)
