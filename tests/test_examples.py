"""Each example as a new user runs it: a real process, and a call over real sockets that hears its echo.

`examples/stun_server.py` has a file of its own, test_examples_stun.py.
"""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.harness.dial import PATIENCE, Telephone

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


@pytest.fixture
def run() -> Iterator[Run]:
    """Run Python with arguments until it prints an address; what is left of it at the end is ended by its id."""
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> tuple["subprocess.Popen[str]", str]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
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
    with Telephone(setup=setup) as telephone:
        telephone.dial(f"{address}/calls")
        telephone.hears(25)
        errors = end(process)
        telephone.is_hung_up_on()
    assert "agent failed" not in errors


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
