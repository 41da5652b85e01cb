"""The load of bench/echo, before a mirror that gives back what it is told to: it must count what is missing, late or not its own."""

import itertools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.echo.calls import Calls, compile_load, phases
from bench.echo.contestants import compile_mirror, running
from tests.interop.programs import HOST, free_port
from trioice import srtp

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or sys.platform != "linux", reason="the load is made with gcc, for Linux"
)

COUNT = 5
PROFILE = srtp.AEAD_AES_128_GCM


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compile_load(tmp_path_factory.mktemp("load"))


@pytest.fixture
def calls(library: str) -> Iterator[Calls]:
    made = Calls(library, PROFILE)
    yield made
    made.close()


def speak(calls: Calls, folder: Path, lost: int) -> None:
    port = free_port()
    with running((compile_mirror(folder), str(port), str(lost)), "^mirror$"):
        calls.mirror((HOST, port), COUNT)
        calls.open()
        calls.begin(COUNT)
        calls.run(0.3)
        calls.hush()


def test_every_packet_that_a_mirror_sends_back_is_counted_once(calls: Calls, tmp_path: Path) -> None:
    speak(calls, tmp_path, lost=0)
    outcome = calls.outcome()
    assert outcome.sent >= COUNT
    assert (outcome.echoed, outcome.twice, outcome.forged, outcome.strange) == (outcome.sent, 0, 0, 0)


def test_what_a_mirror_loses_is_missing(calls: Calls, tmp_path: Path) -> None:
    speak(calls, tmp_path, lost=2)
    outcome = calls.outcome()
    # Among what the mirror counts is also a check now and then.
    assert abs(outcome.sent - 2 * outcome.echoed) <= 2 * COUNT
    assert outcome.echoed < outcome.sent


def test_calls_speak_at_moments_of_their_own() -> None:
    # 1,000 that spoke at once would make bursts that no server ever sees, and ones that batch would look the better for it.
    moments = phases(1000)
    assert moments == sorted(moments)
    assert moments[0] < 0.02
    assert moments[-1] > 0.98
    assert max(later - earlier for earlier, later in itertools.pairwise(moments)) < 0.02


def test_echoes_under_another_key_are_forged(calls: Calls, tmp_path: Path) -> None:
    port = free_port()
    with running((compile_mirror(tmp_path), str(port), "0"), "^mirror$"):
        calls.mirror((HOST, port), COUNT)
        stranger = srtp.MasterKey(bytes(PROFILE.key_length), bytes(PROFILE.salt_length))
        calls.lines[0].keys = (calls.lines[0].keys[0], stranger)
        calls.open()
        calls.begin(COUNT)
        calls.run(0.3)
        calls.hush()
    outcome = calls.outcome()
    assert outcome.forged > 0
    assert outcome.echoed + outcome.forged == outcome.sent
