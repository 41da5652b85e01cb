"""Programs with workers, as real processes: any worker may be asked, any may die, and the calls go on."""

import http.client
import os
import re
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.harness.caller import Caller
from tests.harness.dial import HOST, PATIENCE, Telephone
from tests.interop.programs import PAGE, Program, fleet

CALLS = 50
WORKERS = 4
MOST = 400
"""Calls made until each worker has one: chance alone would leave one of four without with (3/4)^400."""
SDP = {"Content-Type": "application/sdp"}


def pid_of(program: Program, worker: int) -> int:
    """The latest process of a worker."""
    said = re.findall(rf"worker {worker} is process (\d+)", "".join(program.output))
    return int(said[-1])


def test_calls_go_on_when_a_worker_of_the_relay_is_killed(tmp_path: Path) -> None:
    with fleet(tmp_path, relay_options=("--workers", "2")) as running, ExitStack() as stack:
        telephones = [
            stack.enter_context(Telephone()) for _ in range(6)
        ]  # six ports: one in 32 times, all are one worker's
        for telephone in telephones:
            telephone.dial(f"{running.transceivers[0].address}/calls")
        for worker in range(2):
            os.kill(pid_of(running.relay, worker), signal.SIGKILL)
            for telephone in telephones:
                telephone.hears(25)
        assert running.relay.running


def test_all_processes_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = Program(("transceiver", "--workers", "2", "--udp", f"{HOST}:0", "--http", f"{HOST}:0"), ready=PAGE)
    program.kill()  # which waits for the end of the output, that the workers have as well


def test_calls_are_restarted_and_hung_up_by_whichever_worker_is_asked() -> None:
    udp = ("--udp", f"{HOST}:0", "--http", f"{HOST}:0")
    transceiver = Program(("transceiver", "--workers", str(WORKERS), *udp), ready=PAGE)
    try:
        host = transceiver.address.removeprefix("http://")
        caller = Caller(entropy=os.urandom, outbox=[])
        calls: list[tuple[str, str]] = []
        shards: Counter[str] = Counter()
        while len(calls) < CALLS or (len(shards) < WORKERS and len(calls) < MOST):
            address = f"127.0.{1 + len(calls) // 250}.{1 + len(calls) % 250}"  # each address may offer so often
            status, location = ask(host, address, "POST", "/calls", caller.offer())
            assert status == 201
            calls.append((address, location))
            shards[location.rpartition(".")[2]] += 1
        assert set(shards) == {format(1 + number, "x") for number in range(WORKERS)}, shards
        assert [ask(host, *call(each, "PATCH"), caller.offer())[0] for each in calls] == [200] * len(calls)
        assert [ask(host, *call(each, "DELETE"))[0] for each in calls] == [200] * len(calls)
        assert [ask(host, *call(each, "DELETE"))[0] for each in calls] == [404] * len(calls)
        assert transceiver.stop() == 0
    finally:
        transceiver.kill()


def call(each: tuple[str, str], method: str) -> tuple[str, str, str]:
    address, location = each
    return address, method, location


def ask(host: str, address: str, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    """Ask over a new connection from `address`, so that any worker may have it; the status, and the location if one is told."""
    connection = http.client.HTTPConnection(host, timeout=PATIENCE, source_address=(address, 0))
    try:
        connection.request(method, path, body, SDP if body else {})
        response = connection.getresponse()
        response.read()
        return response.status, response.headers.get("Location", "")
    finally:
        connection.close()
