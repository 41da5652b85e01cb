"""libopus: where it is looked for, that nothing is loaded before it is needed, and what is said where there is none."""

import ctypes.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trioice.audio import CodecMissing, Opus, library

NEEDED_LATE = """
import sys
from trioice.audio import PCMU, Opus
assert PCMU.decoder(8000).decode(PCMU.encoder(8000).encode(bytes(320))) == bytes(320)
assert Opus().duration(b"\\xf8\\xff\\xfe") == 960
assert "opus" not in open("/proc/self/maps").read().replace("trioice/audio/opus", "")
Opus().decoder(24000)
assert "opus" in open("/proc/self/maps").read()
assert not {"av", "numpy", "soxr"} & set(sys.modules)
"""


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    library.opus.cache_clear()
    yield
    library.opus.cache_clear()


def test_nothing_is_loaded_before_it_is_needed_and_av_and_numpy_never_are() -> None:
    subprocess.run([sys.executable, "-c", NEEDED_LATE], check=True)


def test_without_libopus_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_in_wheel", list)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    for make in (Opus().decoder, Opus().encoder):
        with pytest.raises(CodecMissing, match=r"pip install 'trioice\[audio\]', or apt-get install libopus0"):
            make(24000)


def test_without_av_the_systems_libopus_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    (wheels,) = library._in_wheel()
    monkeypatch.setitem(sys.modules, "av", None)
    asked: list[str] = []

    def find_library(name: str) -> str:
        asked.append(name)
        return wheels

    monkeypatch.setattr(ctypes.util, "find_library", find_library)
    assert Opus().decoder(24000).conceal(960) == bytes(960)
    assert asked == ["opus"]


@pytest.mark.parametrize("octets", [b"", b"\x7fELF and no more"])
def test_what_is_no_library_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, octets: bytes) -> None:
    broken = tmp_path / "libopus.so"
    broken.write_bytes(octets)
    (good,) = library._in_wheel()
    monkeypatch.setattr(library, "_in_wheel", lambda: [str(broken), good])
    assert Opus().decoder(24000).conceal(960) == bytes(960)


def test_another_library_of_the_name_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    (good,) = library._in_wheel()
    monkeypatch.setattr(library, "_in_wheel", lambda: ["libc.so.6", good])
    assert Opus().decoder(24000).conceal(960) == bytes(960)
