"""The wheel as a user gets it: built, installed away from the source tree, and served from there."""

import os
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "trioice/signaling/page"
PATIENCE = 20.0
MARK = "<!-- the installed copy -->"


def pip(*arguments: str | Path) -> None:
    """Run pip without any network: what it needs is in the environment of the tests."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content alone."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-index", "--no-deps", "--target", folder, wheel)
    return folder


def python(installed: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Run Python where only the installed copy can be found, and the packages that it depends on."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=installed.parent,
        env=os.environ | {"PYTHONPATH": str(installed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def address(installed: Path) -> Iterator[str]:
    """Where `trioice serve` of the installed copy has its page."""
    any_port = "127.0.0.1:0"
    process = python(installed, "-m", "trioice", "serve", "--http", any_port, "--relay", any_port, "--udp", any_port)
    try:
        assert process.stdout is not None
        line = ""
        while not line.startswith("http://"):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
        yield line.strip()
    finally:
        process.kill()
        process.communicate()


def fetch(url: str) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return response.headers.get_content_type(), response.read().decode()


def test_the_wheel_holds_the_package_its_types_and_its_page_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "trioice").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert {f"trioice/signaling/page/{name}" for name in ("index.html", "page.js", "page.css")} <= names
    assert "trioice/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_installed_copy_is_the_one_that_runs(installed: Path) -> None:
    output, errors = python(installed, "-c", "import trioice; print(trioice.__file__)").communicate(timeout=PATIENCE)
    assert output.strip() == str(installed / "trioice/__init__.py"), errors


def test_the_installed_copy_serves_its_own_page(installed: Path, address: str) -> None:
    kind, index = fetch(address)
    assert kind == "text/html"
    assert "page.js" in index
    for name in ("page.js", "page.css"):
        assert fetch(f"{address}/{name}")[1] == (PAGE / name).read_text()
    assert fetch(f"{address}/healthz")[1].strip() == "ok"


def test_what_is_served_is_not_the_source_trees(installed: Path, request: pytest.FixtureRequest) -> None:
    page = installed / "trioice/signaling/page/index.html"
    page.write_text(page.read_text() + MARK)
    assert MARK in fetch(request.getfixturevalue("address"))[1]


def test_the_installed_command_runs(installed: Path) -> None:
    script = (installed / "bin/trioice").read_text()
    output, errors = python(installed, "-c", script, "--version").communicate(timeout=PATIENCE)
    assert output.startswith("trioice "), errors
