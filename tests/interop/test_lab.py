"""Real browsers over a network with a round trip: what agrees with what, and in how many trips, counted on the datagrams.

It takes root, as the lab is made of network namespaces; without, or where they are not allowed, these tests are skipped.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from bench.lab import chromium, firefox, namespaces
from bench.lab.calls import Made, calls
from bench.lab.cases import CASES
from bench.lab.direction import Conditions
from bench.lab.namespaces import NAMED, PREFIX, Unavailable
from bench.lab.network import ROOT, network
from tests.interop.conftest import NEAR

pytestmark = pytest.mark.chromium

RTT = 0.06


@attrs.frozen(kw_only=True)
class Expected:
    """What a case comes to: `trips` says on which trip through the network each came in first, the check being the first.

    `tone` is what the client's microphone hears, in hertz.
    """

    version: str
    group: str
    srtp: str
    trips: Mapping[str, int]
    tone: int = chromium.TONE


ACTIVE = {"check": 1, "response": 2, "ClientHello": 2, "ServerHello": 3}
"""We are the client of DTLS: our hello leaves with the response."""

# Ours is not among them: on a busy machine the agent may come to speak when the client has already been heard.
DTLS_1_3 = Expected(
    version="1.3",
    group="X25519MLKEM768",
    srtp="AES128_CM_HMAC_SHA1_80",  # Chromium, as server, takes this first
    trips=ACTIVE | {"client's SRTP": 5},
)
IN_CHECKS = {"check": 1, "ClientHello": 1, "response": 2}
SPED = Expected(
    version="1.3",
    group="X25519MLKEM768",
    srtp="AEAD_AES_128_GCM",
    trips=IN_CHECKS,  # the rest of its hello comes with the second check, and when that leaves is Chromium's affair
)
EXPECTED: Mapping[str, Expected] = {
    "1.2": Expected(
        version="1.2",
        group="X25519",
        srtp="AES128_CM_HMAC_SHA1_80",
        trips=ACTIVE | {"ClientKeyExchange": 4, "client's SRTP": 5},
    ),
    "default": DTLS_1_3,
    "relay": DTLS_1_3,
    "sped": SPED,
    "sped-classic": Expected(
        version="1.3",
        group="X25519",
        srtp="AEAD_AES_128_GCM",
        trips=IN_CHECKS | {"ServerHello": 2, "client's SRTP": 3},
    ),
    "sped-relay": SPED,
    "firefox": attrs.evolve(DTLS_1_3, srtp="AEAD_AES_128_GCM", tone=firefox.TONE),
}


@pytest.fixture(scope="module", autouse=True)
def lab() -> None:
    """Skip where there can be no lab."""
    try:
        with network():
            pass
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_call_is_set_up_in_as_few_trips_as_can_be_and_is_heard_both_ways(name: str) -> None:
    made = call(name)
    expected = EXPECTED[name]
    agreed = made.ladder.agreed()
    assert (agreed.version, agreed.group, made.stats["srtp"]) == (expected.version, expected.group, expected.srtp)
    assert made.stats["dtls"] == f"DTLS {expected.version}"
    trips = made.ladder.first_trips()
    assert {step: trips.get(step) for step in expected.trips} == expected.trips, made.ladder.draw()
    # What the client says is a tone, and what it hears is the agent, who has become an echo.
    assert made.heard == pytest.approx(expected.tone, abs=NEAR)


def call(name: str) -> Made:
    try:
        with calls(CASES[name], rtt=RTT, agent="speaks") as make:
            return make(listen=True)
    except Unavailable as reason:
        pytest.skip(str(reason))


def test_two_chromiums_agree_on_what_one_agrees_on_with_us() -> None:
    agreed = call("pair").ladder.agreed()
    assert (agreed.version, agreed.group) == (DTLS_1_3.version, DTLS_1_3.group)


# The lab itself


def ours(pid: int) -> list[str]:
    """The namespaces that a process made."""
    return sorted(path.name for path in NAMED.glob(f"{PREFIX}-{pid}-*"))


def test_nothing_leads_out_of_the_lab_and_nothing_is_left_of_it() -> None:
    with network(Conditions(delay=0.001)) as made:
        for host in (made.client, made.server):
            routes = namespaces.ip("-n", host.namespace, "route").splitlines()
            assert [route.split()[:3] for route in routes] == [["10.77.0.0/24", "dev", "eth0"]]
        assert len(ours(os.getpid())) == 3
    assert ours(os.getpid()) == []


def test_what_runs_in_a_namespace_ends_with_it() -> None:
    with network() as made:
        sleeper = subprocess.Popen([*made.client.command, "sleep", "1000"])
    assert sleeper.wait(10) == -signal.SIGKILL


def test_the_namespaces_of_a_dead_run_are_removed_and_those_of_a_living_one_are_not() -> None:
    dead, alive = f"{PREFIX}-{os.getpid()}-1-client", f"{PREFIX}-1-{namespaces._start(1)}-client"
    for name in (dead, alive):
        namespaces.ip("netns", "add", name)
    try:
        namespaces.remove_leftovers()
        assert not (NAMED / dead).exists()
        assert (NAMED / alive).exists()
    finally:
        for name in (dead, alive):
            namespaces.remove(name)


@pytest.fixture
def running() -> Iterator[subprocess.Popen[str]]:
    """`python -m bench lab`, in the middle of its calls."""
    command = [sys.executable, "-m", "bench", "lab", "--case", "default", "--runs", "1000"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "the first call is made" in line:
                break
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_nothing(running: subprocess.Popen[str], number: int) -> None:
    names = ours(running.pid)
    assert len(names) == 3
    inside = [pid for name in names for pid in namespaces.ip("netns", "pids", name).split()]
    assert inside
    running.send_signal(number)
    assert running.wait(30) == 128 + number
    assert ours(running.pid) == []
    assert [pid for pid in inside if _runs(pid)] == []


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
