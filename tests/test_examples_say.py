"""`examples/say_wav.py`: a file is said ahead of time, whole to who is quiet, and cut by who speaks."""

import importlib.util
import wave
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.audio.voices import best_likeness, voice
from tests.harness.talker import Talker
from tests.harness.world import Dialled, World
from trioice.audio import Opus

WAV_RATE = 44100


@pytest.fixture
def said() -> bytes:
    return voice(24000, 3.0)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = tmp_path / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(WAV_RATE)
        file.writeframes(voice(WAV_RATE, 3.0))
    monkeypatch.setenv("WAV", str(path))
    spec = importlib.util.spec_from_file_location("say_wav", Path(__file__).parent.parent / "examples/say_wav.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def call(nursery: trio.Nursery, example: ModuleType, **options: Any) -> Dialled:
    world = World(nursery, delay=0.02)
    running = await world.transceiver(direct=True, agent=example.agent)
    dialled = await world.dial(running, make=Talker, **options)
    await dialled.call.ended.wait()
    return dialled


async def test_who_is_quiet_hears_it_all(
    autojump_clock: MockClock,
    nursery: trio.Nursery,
    example: ModuleType,
    said: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dialled = await call(nursery, example, level=lambda number: 127)
    decoder = Opus().decoder(24000)
    heard = b"".join(decoder.decode(payload) for _, _, payload in dialled.caller.heard)
    assert best_likeness(said[24000:72000], heard[24000:], range(400)) > 0.95
    told, within = capsys.readouterr().out.split(" heard ")[1].split(" ms, within ")
    assert told == "3000 of 3000"
    assert 0 < int(within) < 100
    nursery.cancel_scope.cancel()


async def test_who_speaks_up_interrupts_it(
    autojump_clock: MockClock, nursery: trio.Nursery, example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    dialled = await call(nursery, example, level=lambda number: 20 if number > 50 else 127)
    heard, written = map(int, capsys.readouterr().out.split(" heard ")[1].split(" ms")[0].split(" of "))
    assert written == 3000
    assert 900 < heard < 1400
    assert len(dialled.caller.heard) < 75
    nursery.cancel_scope.cancel()
