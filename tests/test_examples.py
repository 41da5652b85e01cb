"""Each example as a new user runs it: a real process, and a call over real sockets that hears its echo.

`examples/stun_server.py` has a file of its own, test_examples_stun.py.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.audio.voices import best_likeness, split, voice
from tests.harness.dial import PATIENCE, Telephone
from trioice.audio import Frame, Opus

ROOT = Path(__file__).parent.parent
ANY = "127.0.0.1:0"
PORTS = ("--http", ANY, "--relay", ANY, "--udp", ANY)
ASYNCIO_ECHO = "examples/asyncio_echo.py"

WITHOUT_TRIO = f"""
import runpy, sys
class NoTrio:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("trio", "hypercorn", "starlette", "anyio"):
            raise ImportError(f"{{name}} is not to be imported here")
sys.meta_path.insert(0, NoTrio())
runpy.run_path("{ASYNCIO_ECHO}", run_name="__main__")
"""

Run = Callable[..., tuple["subprocess.Popen[str]", str]]

SPEECH = voice(24000, 1.0)
_encoder = Opus().encoder(24000)
WORDS = [_encoder.encode(frame) for frame in split(SPEECH, 24000)]


def speech(number: int) -> bytes:
    """The packets of a voice, which are real Opus."""
    return WORDS[number % len(WORDS)]


@pytest.fixture
def run() -> Iterator[Run]:
    """Run Python with arguments until it prints an address; what is left of it at the end is ended by its id."""
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str, cwd: Path = ROOT) -> tuple["subprocess.Popen[str]", str]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("http://"):
                return process, line.strip()
        raise AssertionError(f"{arguments} ended: {process.communicate()[1]}")

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def end(process: "subprocess.Popen[str]") -> str:
    """Ctrl-C; what the process had said on stderr."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "Traceback" not in errors
    return errors


@pytest.mark.parametrize("agent", ["examples/echo.py:echo", "examples/echo_async.py:agent"])
@pytest.mark.parametrize("setup", ["actpass", "active"])
def test_a_caller_of_an_agent_hears_itself_until_the_server_ends(run: Run, agent: str, setup: str) -> None:
    process, address = run("-m", "trioice", "serve", "--agent", agent, *PORTS)
    with Telephone(setup=setup, words=speech) as telephone:
        telephone.dial(f"{address}/calls")
        telephone.hears(25)
        errors = end(process)
        telephone.is_hung_up_on()
    assert "agent failed" not in errors


def test_the_echo_of_plain_audio_is_the_callers_voice(run: Run) -> None:
    process, address = run("-m", "trioice", "serve", "--agent", "examples/echo_async.py:agent", *PORTS)
    with Telephone(words=speech) as telephone:
        telephone.dial(f"{address}/calls")
        telephone.hears(49)  # of one second, whose packets differ
        end(process)
    decoder = Opus().decoder(24000)
    pcm = b"".join(decoder.decode(payload) for _, _, payload in telephone.caller.heard)
    assert best_likeness(pcm[len(pcm) // 2 :], SPEECH * 3, range(0, 24000, 3)) > 0.9


def test_a_recording_is_as_long_as_the_call_and_tells_its_gaps(run: Run, tmp_path: Path) -> None:
    process, address = run(
        "-m", "trioice", "serve", "--agent", f"{ROOT}/examples/record.py:agent", *PORTS, cwd=tmp_path
    )
    with Telephone(words=speech) as telephone:
        telephone.dials(f"{address}/calls")
        telephone.says(100)
        telephone.hang_up()
        assert process.stdout is not None
        line = process.stdout.readline()
    end(process)
    path, _, gaps = line.partition(": ")
    assert gaps == "0 gaps\n"
    with wave.open(str(tmp_path / path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        pcm = file.readframes(file.getnframes())
    spoken = telephone.caller.spoken
    assert 0 <= spoken * 640 - len(pcm) <= 640  # the last may have met a call that had ended
    decoder = Opus().decoder(16000)
    assert pcm == b"".join(decoder.decode(speech(number)) for number in range(1, 1 + len(pcm) // 640))
    told = json.loads((tmp_path / path).with_suffix(".json").read_text())
    assert told == {"rate": 16000, "seconds": len(pcm) / 32000, "gaps": []}


def test_a_recording_marks_what_is_missing_and_fills_what_was_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    record = importlib.import_module("record")
    recording = record.Recording(tmp_path / "deep" / "call.wav")
    pcm = b"\x01\x00" * 320
    for at, lost, concealed in (
        (0.0, False, False),
        (0.02, True, True),
        (0.04, True, True),
        (0.06, False, True),
        (5.0, False, False),
    ):
        recording.write(Frame(pcm=pcm, rate=16000, timestamp=0, lost=lost, concealed=concealed), at)
    recording.close()
    with wave.open(str(recording.path)) as file:
        assert file.readframes(100_000) == pcm * 4 + bytes(32000 * 5 - 4 * 640) + pcm
    assert json.loads(recording.path.with_suffix(".json").read_text())["gaps"] == [
        {"at": 0.02, "end": 0.06, "filling": "made up"},
        {"at": 0.06, "end": 0.08, "filling": "coarse copy"},
        {"at": 0.08, "end": 5.0, "filling": "skipped"},
    ]


def test_an_agent_of_ten_lines_has_ten_lines() -> None:
    source = (ROOT / "examples/echo.py").read_text()
    _, _, code = source.split('"""')
    assert len([line for line in code.splitlines() if line]) <= 10


@pytest.mark.parametrize("setup", ["actpass", "active", "passive"])
def test_a_caller_of_the_asyncio_example_hears_itself_until_it_ends(run: Run, setup: str) -> None:
    process, address = run(ASYNCIO_ECHO)
    with Telephone(setup=setup) as telephone:
        telephone.dial(address)
        telephone.hears(25)
        errors = end(process)
        telephone.is_hung_up_on()
    assert "Connected(" in errors
    assert "Closed(" in errors


def test_the_asyncio_example_needs_no_trio(run: Run) -> None:
    process, address = run("-c", WITHOUT_TRIO)
    with Telephone() as telephone:
        telephone.dial(address)
        telephone.hears(25)
    end(process)


def test_the_asyncio_example_carries_several_calls_and_forgets_those_that_hang_up(run: Run) -> None:
    process, address = run(ASYNCIO_ECHO)
    with Telephone() as one, Telephone() as two:
        one.dial(address)
        two.dial(address)
        one.hang_up()
        two.hears(10)
    errors = end(process)
    assert (errors.count("close_notify"), errors.count("hung up")) == (1, 1)


def test_the_asyncio_example_has_a_page_of_its_own_and_says_what_is_wrong_with_an_offer(run: Run) -> None:
    process, address = run(ASYNCIO_ECHO)
    with urllib.request.urlopen(address, timeout=PATIENCE) as page:
        assert page.headers["Content-Type"] == "text/html"
        assert b"<button>Call</button>" in page.read()
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(address, b"v=1\r\n", timeout=PATIENCE)
    with refused.value as response:
        assert response.status == 400
        assert b"line 1" in response.read()
    end(process)
