"""The command line, as real processes: each mistake is one line and status 2, and a signal ends everything in order."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.harness.dial import Telephone
from trioice import cli
from trioice.programs import RelaySettings, TransceiverSettings
from trioice.relay.token import TokenKeys

ANY = "127.0.0.1:0"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trioice", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text("0 000102030405060708090a0b0c0d0e0f\n")
    return str(path)


def test_key_makes_a_key_of_the_rotation_asked_for() -> None:
    one, two = run("key"), run("key", "--rotation", "3")
    assert one.returncode == two.returncode == 0
    TokenKeys.read(one.stdout + two.stdout)
    assert two.stdout.startswith("3 ")


@pytest.mark.parametrize("command", ["", "serve", "relay", "transceiver", "key"])
def test_help_explains_itself(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert "usage: trioice" in done.stdout
    for option in re.findall(r"^  (--[a-z-]+)(?: .*)?$", done.stdout, re.MULTILINE):
        assert re.search(rf"{option}.*(\n\s+)?\S+ \S+", done.stdout), f"{option} is not explained"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("relay", "--directory or --route"),
        ("relay --route 1/7=127.0.0.1:7000", "--key-file"),
        ("relay --route 1/7=127.0.0.1:7000 --directory x", "contradict"),
        ("relay --route 1/7=nowhere --key-file KEY", "nowhere"),
        ("relay --directory /does/not/exist --key-file KEY", "/does/not/exist"),
        ("relay --inner [::1]:0 --route 1/7=127.0.0.1:7000 --key-file KEY", "one IP version"),
        ("relay --public 0.0.0.0:3478 --route 1/7=127.0.0.1:7000 --key-file KEY", "--announce"),
        ("relay --public somewhere --route 1/7=127.0.0.1:7000", "somewhere"),
        ("relay --key-file /does/not/exist --route 1/7=127.0.0.1:7000", "/does/not/exist"),
        ("transceiver --relay 127.0.0.1:3478", "--key-file"),
        ("transceiver --relay 127.0.0.1:3478 --announce 127.0.0.1:1 --key-file KEY", "contradict"),
        ("transceiver --relay 0.0.0.0:3478 --key-file KEY", "--relay"),
        ("transceiver --trust-relay 10.0.0.0/8", "--trust-relay"),
        ("transceiver --trust-relay 10.0.0.1/8 --relay 127.0.0.1:3478 --key-file KEY", "host bits"),
        ("transceiver --relay 127.0.0.1:3478 --relay [::]:3478 --key-file KEY", "cannot send to [::]:3478"),
        ("serve --relay 0.0.0.0:3478", "--relay 0.0.0.0:3478: all on one machine is for one address"),
        ("serve --udp [::]:7000", "--udp [::]:7000: all on one machine is for one address"),
        ("transceiver --relay 127.0.0.1:3478 --relay 127.0.0.1:3478 --key-file KEY", "--relay names an address twice"),
        ("transceiver --udp 0.0.0.0:7000", "--announce or --relay"),
        ("transceiver --udp [::]:7000 --announce 127.0.0.1:1 --announce [::]:1", "cannot send to ::"),
        ("transceiver --announce 127.0.0.1:1 --announce 127.0.0.1:1", "--announce names an address twice"),
        ("transceiver --tls-key KEY", "--tls-certificate and --tls-key"),
        ("transceiver --dtls-certificate KEY", "--dtls-certificate and --dtls-key"),
        ("transceiver --dtls-certificate KEY --dtls-key KEY", "KEY"),
        ("transceiver --srtp ROT13", "ROT13"),
        ("transceiver --srtp AEAD_AES_128_GCM,AEAD_AES_128_GCM", "twice"),
        ("transceiver --shard 4294967296", "4294967296"),
        ("transceiver --cluster -1", "cluster"),
        ("transceiver --calls 0", "0"),
        ("transceiver --workers 0", "--workers"),
        ("transceiver --workers 2 --trace /tmp/trace", "--workers 1"),
        ("transceiver --workers 2 --udp 127.0.0.1:65535", "--udp 127.0.0.1:65535 leaves no ports for 2 workers"),
        ("transceiver --workers 2 --announce 192.0.2.1:65535", "--announce"),
        ("transceiver --workers 2 --shard 4294967295", "--shard 4294967295 leaves no shards"),
        ("transceiver --workers 2 --udp 127.0.0.1:0 --http 127.0.0.1:0 --log error --agent nowhere:agent", "nowhere"),
        ("relay --workers 2 --inner 127.0.0.1:65535 --route 1/7=127.0.0.1:7000 --key-file KEY", "--inner"),
        ("transceiver --dtls-role both", "both"),
        ("transceiver --agent nowhere:agent", "nowhere"),
        ("transceiver --agent trioice:nothing", "nothing"),
        ("transceiver --agent ws://", "'ws://' is no address like ws://host:port/path"),
        ("serve --agent ws://user:password@127.0.0.1/", "no place for a password"),
        ("serve --agent ws://127.0.0.1/ --agent-rate 44100", "44100"),
        ("serve --agent ws://127.0.0.1/ --agent-patience 4", "'4' is not a number from 0 to 3"),
        ("serve --agent ws://127.0.0.1/ --agent-reconnect nan", "'nan' is not a number from 0 to 60"),
        ("serve --agent-rate 8000", "for a WebSocket agent"),
        ("transceiver --agent ws://127.0.0.1/ --agent-token-file /does/not/exist", "/does/not/exist"),
        ("transceiver --token-file /does/not/exist", "/does/not/exist"),
        ("key --rotation 7", "7"),
        ("serve --http 127.0.0.1", "127.0.0.1"),
        ("dance", "dance"),
    ],
)
def test_a_wrong_option_is_one_clear_line_and_status_2(arguments: str, complaint: str, key_file: str) -> None:
    done = run(*arguments.replace("KEY", key_file).split())
    assert done.returncode == 2, done.stderr
    *usage, line = done.stderr.strip().splitlines()
    assert complaint.replace("KEY", key_file if "certificate KEY" not in arguments else "") in line
    assert "Traceback" not in done.stderr
    assert all(text.startswith(("usage:", "  ")) for text in usage)


def test_a_key_in_the_environment_and_in_a_file_contradict(key_file: str) -> None:
    done = run("relay", "--route", "1/7=127.0.0.1:7000", "--key-file", key_file, TRIOICE_KEYS="0 " + "00" * 16)
    assert (done.returncode, "contradict" in done.stderr) == (2, True)


def test_an_empty_secret_in_the_environment_is_no_secret() -> None:
    for variable in ("TRIOICE_TOKEN", "TRIOICE_KEYS"):
        done = run("transceiver", **{variable: ""})
        assert (done.returncode, f"{variable} is empty" in done.stderr) == (2, True)


def test_secrets_are_no_options() -> None:
    for command in ("relay", "transceiver", "serve"):
        assert not re.search(r"--(token|key|keys|secret)[ =]", run(command, "--help").stdout)


@pytest.fixture
def programs() -> Iterator["Programs"]:
    programs = Programs()
    yield programs
    programs.end()


class Programs:
    """Real processes, each ended by its id."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> tuple[subprocess.Popen[str], list[str]]:
        """Start a program, and read what it says until it is ready."""
        process = subprocess.Popen(
            [sys.executable, "-m", "trioice", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._processes.append(process)
        assert process.stdout is not None
        lines: list[str] = []
        ready = "relay on" if arguments[0] == "relay" else "http"
        while not (lines and lines[-1].startswith(ready)):
            line = process.stdout.readline()
            assert line, f"{arguments} ended: {process.stderr.read() if process.stderr else ''}"
            lines.append(line.strip())
        return process, lines

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "command",
    [
        ["serve", "--http", ANY, "--relay", ANY, "--udp", ANY],
        ["relay", "--public", ANY, "--inner", ANY, "--route", "1/7=127.0.0.1:7000", "--key-file", "KEY"],
        ["transceiver", "--udp", ANY, "--http", ANY, "--websocket", ANY],
        ["relay", "--workers", "2", "--public", ANY, "--route", "1/7=127.0.0.1:7000", "--key-file", "KEY"],
        ["transceiver", "--workers", "2", "--udp", ANY, "--http", ANY, "--websocket", ANY],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_signal_ends_it_in_order_within_a_second(
    programs: Programs, command: list[str], number: signal.Signals, key_file: str
) -> None:
    process, _ = programs.start(*(key_file if word == "KEY" else word for word in command))
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in errors
    # The promise is a second; the machines that run this may be slow, so what fails here is a program that hangs.
    assert time.monotonic() - began < 5


def test_serve_says_last_where_the_page_is(programs: Programs) -> None:
    _, lines = programs.start("serve", "--http", ANY, "--relay", ANY, "--udp", ANY)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", lines[-1])


def test_workers_say_where_all_of_them_are(programs: Programs, key_file: str) -> None:
    _, lines = programs.start("transceiver", "--workers", "2", "--udp", ANY, "--http", ANY, "--websocket", ANY)
    here = r"127\.0\.0\.1:\d+"
    assert re.fullmatch(rf"transceiver on ({here}, {here}), clients are told \1", lines[0])
    assert re.fullmatch(rf"ws://{here}", lines[1])
    assert re.fullmatch(rf"http://{here}", lines[2])
    options = ["--public", ANY, "--metrics", ANY, "--route", "1/7=127.0.0.1:7000", "--key-file", key_file]
    _, lines = programs.start("relay", "--workers", "2", *options)
    assert re.fullmatch(rf"metrics on http://{here}/metrics", lines[0])
    assert re.fullmatch(rf"relay on {here}, inner {here}, {here}", lines[1])
    with urllib.request.urlopen(lines[0].removeprefix("metrics on "), timeout=20) as response:
        text = response.read().decode()
    for worker in range(2):
        assert f'trioice_relay_flows{{state="confirmed",worker="{worker}"}} 0' in text


def test_a_public_port_that_another_relay_has_is_not_shared_with_it(programs: Programs, key_file: str) -> None:
    options = ["--workers", "2", "--route", "1/7=127.0.0.1:7000", "--key-file", key_file]
    _, lines = programs.start("relay", "--public", ANY, *options)
    taken = lines[-1].removeprefix("relay on ").partition(",")[0]
    done = run("relay", "--public", taken, *options)
    assert done.returncode == 1
    assert done.stderr.strip() == f"trioice relay: cannot listen on UDP {taken}: Address already in use"


def test_plain_sockets_are_asked_for(monkeypatch: pytest.MonkeyPatch, key_file: str) -> None:
    settings: list[RelaySettings | TransceiverSettings] = []
    monkeypatch.setattr(trio, "run", lambda program, *arguments: settings.append(arguments[0]))
    relay = ["relay", "--route", "1/7=127.0.0.1:7000", "--key-file", key_file]
    for command in (["serve"], ["transceiver"], relay):
        for plain in ([], ["--plain-sockets"]):
            assert cli.main([*command, *plain]) == 0
    assert [one.plain for one in settings] == [False, True] * 3


def test_plain_sockets_carry_a_call(programs: Programs) -> None:
    _, lines = programs.start("serve", "--http", ANY, "--relay", ANY, "--udp", ANY, "--plain-sockets")
    with Telephone() as telephone:
        telephone.dial(f"{lines[-1]}/calls")
        telephone.hears(10)


def test_a_port_that_is_taken_is_one_clear_line_and_status_1(programs: Programs) -> None:
    _, lines = programs.start("serve", "--http", ANY, "--relay", ANY, "--udp", ANY)
    taken = lines[-1].removeprefix("http://")
    done = run("serve", "--http", taken, "--relay", ANY, "--udp", ANY)
    assert done.returncode == 1
    assert done.stderr.strip() == f"trioice serve: cannot listen on TCP {taken}: Address already in use"
