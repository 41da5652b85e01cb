"""Supervision, with real processes of a few lines: what dies is started again, and all end together."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trioice.workers import LATEST, SOONEST, VARIABLE, NotStarted, Supervisor, Worker, describe

PATIENCE = 30.0

CHILD = """
import json, os
told = json.loads(os.environ["TRIOICE_WORKER"])
def report():
    os.write(told["sockets"]["report"], b"%d %d\\n" % (told["number"], os.getpid()))
def ready():
    os.write(told["ready"], b"!")
def work():
    os.read(told["alive"], 1)  # for ever, that is until the supervisor's end
"""
WORKS = CHILD + "report(); ready(); work()"


class Reports:
    """A pipe on which workers say their numbers and process ids; it ends when the last of them has."""

    def __init__(self, stack: ExitStack) -> None:
        reader, self.writer = os.pipe()
        self._pipe = stack.enter_context(os.fdopen(reader))
        self._stack = stack
        stack.callback(self.close)

    def close(self) -> None:
        """Close our own end."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def workers(self, count: int) -> list[Worker]:
        return [
            Worker(number=number, count=count, folder="", sockets={"report": self.writer}) for number in range(count)
        ]

    async def next(self) -> tuple[int, int]:
        """The number and the process id that the next worker says."""
        return await trio.to_thread.run_sync(self.now)

    def now(self) -> tuple[int, int]:
        """The same, for a test without trio."""
        number, pid = map(int, self._pipe.readline().split())
        return number, pid

    def rest(self) -> str:
        """What is said until the last worker has ended."""
        self.close()
        return self._pipe.read()


@pytest.fixture
def reports() -> Iterator[Reports]:
    with ExitStack() as stack:
        yield Reports(stack)


def supervisor(program: str, workers: list[Worker]) -> Supervisor:
    return Supervisor([sys.executable, "-I", "-S", "-c", program], workers)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_worker_that_dies_is_started_again_and_the_others_stay(reports: Reports) -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor(WORKS, reports.workers(3)).run)
            pids = dict([await reports.next() for _ in range(3)])
            assert sorted(pids) == [0, 1, 2]
            os.kill(pids[1], signal.SIGKILL)
            number, pid = await reports.next()
            assert number == 1
            assert pid != pids[1]
            assert not is_there(pids[1])
            assert is_there(pids[0])
            assert is_there(pids[2])
            nursery.cancel_scope.cancel()
    assert not any(map(is_there, [*pids.values(), pid]))
    assert reports.rest() == ""


async def test_it_starts_when_all_are_ready(reports: Reports) -> None:
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(PATIENCE) as scope:
            late = CHILD + "told['number'] == 1 and (report(), work()); ready(); work()"
            ready = trio.Event()

            async def run() -> None:
                await nursery.start(supervisor(late, reports.workers(3)).run)
                ready.set()

            nursery.start_soon(run)
            await reports.next()
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert not ready.is_set()
        assert not scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_the_first_that_never_was_ready_ends_all_and_no_other_is_started(reports: Reports) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(NotStarted, match="exit status 3"), flatten_subgroups=True):
        await supervisor(CHILD + "report(); raise SystemExit(3)", reports.workers(3)).run()
    assert reports.rest().count("\n") == 1


async def test_a_worker_that_dies_again_and_again_is_started_less_and_less_often(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, reports: Reports
) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor(CHILD + "report(); ready(); raise SystemExit(1)", reports.workers(1)).run)
        for _ in range(9):
            await reports.next()
        nursery.cancel_scope.cancel()
    waits = [record.message.rpartition("started again ")[2] for record in caplog.records if "ended" in record.message]
    assert waits[:8] == [
        "at once",
        f"in {SOONEST} s",
        "in 1.0 s",
        "in 2.0 s",
        "in 4.0 s",
        "in 8.0 s",
        *["in 10.0 s"] * 2,
    ]
    assert f"in {LATEST} s" == waits[7]
    assert "worker 0 ended: exit status 1" in caplog.text


async def test_a_system_that_can_start_no_process_just_now_ends_no_other_worker(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True, True]
    start: Any = trio.run_process

    async def run_process(*args: Any, **options: Any) -> Any:
        if dead and full:
            full.pop()
            raise BlockingIOError(errno.EAGAIN, "no more processes")
        return await start(*args, **options)

    dead = False
    monkeypatch.setattr(trio, "run_process", run_process)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor(WORKS, reports.workers(2)).run)
        pids = dict([await reports.next() for _ in range(2)])
        dead = True
        os.kill(pids[0], signal.SIGKILL)
        number, pid = await reports.next()
        assert (number, full) == (0, [])
        assert is_there(pid)
        assert is_there(pids[1])
        nursery.cancel_scope.cancel()
    assert caplog.text.count("it could not be started") == 2


async def test_a_worker_that_does_not_end_is_killed(autojump_clock: MockClock, reports: Reports) -> None:
    stubborn = CHILD + "import signal, time; signal.signal(15, signal.SIG_IGN); report(); ready(); time.sleep(600)"
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor(stubborn, reports.workers(1)).run)
        _, pid = await reports.next()
        nursery.cancel_scope.cancel()
    assert not is_there(pid)


def test_workers_end_when_their_supervisor_is_killed(reports: Reports) -> None:
    program = f"""
import sys, trio
from trioice.workers import Supervisor, Worker
workers = [Worker(number=n, count=2, folder="", sockets={{"report": {reports.writer}}}) for n in range(2)]
trio.run(Supervisor([sys.executable, "-I", "-S", "-c", {WORKS!r}], workers).run)
"""
    process = subprocess.Popen([sys.executable, "-c", program], pass_fds=[reports.writer])
    try:
        for _ in range(2):
            reports.now()
    finally:
        process.kill()
        process.wait()
    assert reports.rest() == ""  # which it would not be before the workers' end


async def test_what_a_worker_is_told_is_taken_out_of_the_environment_and_not_inherited_further() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    worker = Worker(number=2, count=4, folder="/x", sockets={"udp": writer}, ready=reader, alive=reader)
    environment = {VARIABLE: worker.words, "OTHER": "1"}
    assert Worker.take(environment) == worker
    assert environment == {"OTHER": "1"}
    assert not os.get_inheritable(writer)
    assert Worker.take(environment) is None
    os.close(reader)
    os.close(writer)


def test_an_exit_status_is_said_in_words() -> None:
    assert describe(2) == "exit status 2"
    assert describe(-signal.SIGSEGV) == "killed by SIGSEGV"
    assert describe(-60) == "killed by signal 60"
