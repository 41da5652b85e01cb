"""Recorded speech and an agent's voice in a real Chromium, through the relay, over a network with a round trip and losses.

Short calls: the figures are those of `python -m bench lab`. It takes root, as tests/interop/test_lab.py does.
"""

import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest

from bench.lab import playing, sweep
from bench.lab.media import Media
from bench.lab.namespaces import Unavailable
from bench.lab.network import network
from bench.lab.playing import PLAYS, Played, play
from bench.lab.recorder import Recording
from bench.lab.speech import write_speech
from bench.lab.voice import VOICES, Heard, voice
from bench.lab.wire import Kind, Sighting
from trioice import rtp

RTT = 0.1
SECONDS = 10.0
SEED = 2

NEVER_LATE = 0.5
"""Seconds that a machine may hold a process up beyond what it is to take: these tests are of what is said, not of the machine."""


@pytest.fixture
def lab() -> None:
    """Skip where there can be no lab."""
    try:
        with network():
            pass
    except Unavailable as reason:
        pytest.skip(str(reason))
    if not (shutil.which("espeak-ng") and shutil.which("sox")):
        pytest.skip("no speech: apt-get install espeak-ng sox")


def hear(name: str) -> Heard:
    return voice(VOICES[name], rtt=RTT, seconds=SECONDS, seed=SEED)


def missed(heard: Heard, patience: float) -> int:
    """Frames for which no packet and no copy of it came in time."""
    return int(heard.microphones[str(patience)]["concealed"])


@pytest.mark.chromium
@pytest.mark.usefixtures("lab")
def test_a_patient_agent_misses_nothing_of_what_a_network_loses() -> None:
    heard = hear("voice")
    assert heard.media.lost > 0.03 * heard.media.sent  # a tenth, and a small sample
    assert heard.media.resent  # RED alone leaves a tenth of them
    # In a second each may be asked for again several times; each time it is lost one in five. Nobody asks after the end of the loss.
    assert missed(heard, 2.0) == missed(heard, 1.0) == 0
    # And who waits for less misses no more than what was lost twice: the packet, and the one with its copy.
    assert missed(heard, 0.06) < heard.media.lost / 2


@pytest.mark.chromium
@pytest.mark.usefixtures("lab")
def test_half_a_second_of_nothing_in_the_middle_of_a_word_is_heard_all_the_same() -> None:
    heard = hear("blackout")
    assert heard.media.lost >= 20
    assert heard.media.voiced_lost
    assert missed(heard, 2.0) == 0
    # Copies reach back by one packet, and who waits for less than a round trip has no other means.
    assert missed(heard, 0.06) > 10


@pytest.mark.chromium
@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("name", ["voice-aiortc", "blackout-aiortc"])
def test_what_the_network_loses_on_the_way_to_a_server_without_repair_is_lost(name: str) -> None:
    heard = hear(name)
    assert heard.reached is not None
    assert heard.media.sent - heard.reached == heard.media.lost > 0
    assert not heard.media.resent


def listen(name: str, seconds: float) -> Played:
    return play(attrs.evolve(PLAYS[name], others=0), rtt=RTT, seconds=seconds)


@pytest.mark.chromium
@pytest.mark.usefixtures("lab")
def test_an_agent_that_is_interrupted_falls_silent_and_knows_what_was_heard() -> None:
    cuts = listen("barge-in", SECONDS).cuts
    assert cuts
    best = min(cuts, key=lambda cut: cut.silence)
    assert best.wire < 1000 * NEVER_LATE  # it is 20 ms at most, on a machine that has nothing else to do
    assert best.silence < 1000 * (RTT / 2 + NEVER_LATE)
    # Eight seconds had been written.
    assert min(abs(cut.told - cut.played) for cut in cuts) < 1000 * NEVER_LATE


@pytest.mark.chromium
@pytest.mark.usefixtures("lab")
def test_what_was_written_ahead_is_played_to_its_end() -> None:
    said = listen("ahead-all", 21).said
    assert said
    best = min(said, key=lambda each: abs(each.longer))
    assert abs(best.longer) < 1000 * NEVER_LATE
    assert best.silent < 1000 * NEVER_LATE


# The lab's own means


def test_speech_is_the_same_each_time(tmp_path: Path) -> None:
    try:
        first, second = (write_speech(tmp_path / name, 5).read_bytes() for name in ("a.wav", "b.wav"))
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert first == second
    assert len(first) > 5 * 48000 * 2


def heard_sweep(seconds: float) -> sweep.Samples:
    heard: sweep.Samples = np.frombuffer(sweep.sweep(48000, seconds), "<i2") / 32768
    return heard


def test_a_sweep_tells_where_it_is() -> None:
    heard = heard_sweep(8.0)
    for at in (0.5, 1.0, 4.0, 7.9):
        assert sweep.position(heard, round(at * 48000)) == pytest.approx(at, abs=0.001)
    assert sweep.position(np.zeros(48000), 24000) is None
    assert sweep.position(heard, 10) is None


def test_utterances_are_parted_by_silence() -> None:
    second = np.concatenate([np.zeros(24000), heard_sweep(1.0), np.zeros(4800), heard_sweep(0.5), np.zeros(24000)])
    assert sweep.utterances(second, pause=0.3) == [pytest.approx((24000, 100800), abs=2 * sweep.HOP)]
    assert len(sweep.utterances(second, pause=0.05)) == 2
    assert sweep.utterances(np.zeros(48000), pause=0.3) == []


def test_a_gap_and_an_uneven_pace_are_seen() -> None:
    whole = heard_sweep(8.0)
    broken = np.concatenate([whole[:96000], np.zeros(2400), whole[100800:]])
    for heard, silent, uneven in ((whole, 0, 0), (broken, 50, 50)):
        silence = np.zeros(48000)
        recording = Recording(np.concatenate([silence, heard, silence, silence]), began=100.0)
        (said,) = playing._said([{"began": 100.9, "finished": 109.0}], recording)
        assert said.silent == pytest.approx(silent, abs=10)
        assert said.uneven == pytest.approx(uneven, abs=10)
        assert said.began == pytest.approx(100, abs=10)


def packet(sequence: int, at: float, arrived: bool, *, octets: int = 80, level: int | None = None) -> Sighting:
    payload = bytes(octets)
    extension = b"" if level is None else rtp.block([(1, bytes([level]))])
    head = rtp.build(111, False, sequence & 0xFFFF, (960 * sequence) & 0xFFFFFFFF, 7, b"")
    datagram = bytes([head[0] | (0x10 if extension else 0)]) + head[1:] + extension + payload
    return Sighting(
        from_client=True,
        departed=at,
        arrived=at + 0.05 if arrived else None,
        datagram=datagram,
        kind=Kind.SRTP,
    )


def test_what_was_lost_and_sent_again_is_counted_once() -> None:
    seen = [
        packet(0xFFFE, 1.00, True),
        packet(0xFFFF, 1.02, False, level=20),
        packet(0x10000, 1.04, False, level=127),
        packet(0x10001, 1.07, True),
        packet(0xFFFF, 1.14, True),
    ]
    media = Media(seen, from_client=True)
    assert (media.sent, media.lost, media.voiced_lost, media.resent) == (4, 2, 1, 1)
    assert sorted(media.lateness()) == pytest.approx([0, 0, 0, 10])
    assert media.between(1.03, 2.0).lost == 1
    assert Media(seen, from_client=False).sent == 0


def test_silence_is_no_sound() -> None:
    seen = [packet(1, 1.0, True), packet(2, 1.02, True, octets=13), packet(3, 2.0, True)]
    assert Media(seen, from_client=True).last_sound_before(1.9) == 1.0
    assert Media(seen, from_client=True).last_sound_before(0.9) is None
