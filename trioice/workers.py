"""Several processes of one program: a supervisor that holds the sockets, starts the workers, and starts again what dies.

The supervisor opens every socket before the first worker starts, and holds it to the end. So the death of a worker closes nothing: what
is sent to it waits in the socket for the next one, and the kernel goes on giving each client to the same socket. (Where workers open
their own with SO_REUSEPORT, the kernel spreads the clients anew whenever one comes or goes, and all calls lose packets.)

A worker is the same command again. An environment variable tells it which worker it is, and which descriptors it inherits. Through one
pipe it says that it is ready; at the end of another it sees that the supervisor is gone, whatever ended it, and ends as well.
"""

import json
import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Final

import attrs
import trio

logger = logging.getLogger(__name__)

VARIABLE: Final = "TRIOICE_WORKER"

STEADY: Final = 10.0
"""Seconds after which a worker that dies has worked: what killed it was a call or the machine, not its start."""

SOONEST: Final = 0.5
"""Seconds until a worker starts for the third time, if its second life was short as well; doubled from then on. To start takes
half a second of a core, which the calls of the other workers need."""

LATEST: Final = 10.0
"""Seconds between two starts at most: what was wrong may have been put right meanwhile."""

GRACE: Final = 2.0
"""Seconds that a worker has to end in order, twice what the programs promise; then it is killed."""


class NotStarted(Exception):
    """A worker ended before it was ever ready, and has said why. `status` is its exit status, negative for a signal."""

    def __init__(self, status: int) -> None:
        super().__init__(f"a worker did not start: {describe(status)}")
        self.status = status


@attrs.frozen(kw_only=True)
class Worker:
    """What a worker is told: which of how many it is, where it meets the others, and which descriptors it inherits.

    `folder` is a directory that only the workers' own user can enter. `sockets` are descriptors by name. `ready` is a pipe's end to
    write to when it is ready, `alive` one that is closed at the other end when the supervisor dies.
    """

    number: int
    count: int
    folder: str
    sockets: dict[str, int] = attrs.field(factory=dict)
    ready: int = -1
    alive: int = -1

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> "Worker | None":
        """Take what the supervisor said out of the environment; None in a process that is nobody's worker.

        Neither it nor the descriptors are passed on to what the worker itself may start.
        """
        text = environment.pop(VARIABLE, None)
        if text is None:
            return None
        worker = cls(**json.loads(text))
        for descriptor in worker.inherited:
            os.set_inheritable(descriptor, False)
        return worker

    @property
    def words(self) -> str:
        """What `take` reads."""
        return json.dumps(attrs.asdict(self))

    @property
    def inherited(self) -> tuple[int, ...]:
        """All descriptors that it inherits."""
        return (*self.sockets.values(), self.ready, self.alive)

    def is_ready(self) -> None:
        """Tell the supervisor so, once."""
        os.write(self.ready, b"!")
        os.close(self.ready)

    async def orphaned(self) -> None:
        """Wait for the supervisor's end."""
        async with trio.lowlevel.FdStream(self.alive) as pipe:
            await pipe.receive_some(1)


class Supervisor:
    """Runs `command` once for each of `workers`; `environment` is what each gets beside our own."""

    def __init__(
        self, command: Sequence[str], workers: Sequence[Worker], environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._workers = workers
        self._environment = {**os.environ, **(environment or {})}
        self._alive = -1

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the workers running until cancelled, then end them; starts when all are ready. Raises `NotStarted`, in a group."""
        self._alive, held = os.pipe()
        try:
            async with trio.open_nursery() as nursery:
                first, *others = self._workers
                await nursery.start(self._keep, first)  # alone, so that a mistake that all would make is told once
                async with trio.open_nursery() as starting:
                    for worker in others:
                        starting.start_soon(nursery.start, self._keep, worker)
                task_status.started()
        finally:
            os.close(held)
            os.close(self._alive)

    async def _keep(self, worker: Worker, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep one worker running."""
        was_ready = False

        def ready() -> None:
            nonlocal was_ready
            if not was_ready:
                was_ready = True
                task_status.started()

        wait = 0.0
        while True:
            began = trio.current_time()
            ended = ""
            try:
                status = await self._live(worker, ready)
                if not was_ready:
                    raise NotStarted(status)
                ended = describe(status)
            except* OSError as errors:  # the system has no more processes or descriptors: it may have some later
                if not was_ready:
                    raise
                ended = f"it could not be started: {errors.exceptions[0]}"
            if trio.current_time() - began >= STEADY:
                wait = 0.0
            again = f"in {wait:.1f} s" if wait else "at once"
            logger.error("worker %d ended: %s; it is started again %s", worker.number, ended, again)
            await trio.sleep(wait)
            wait = min(max(SOONEST, 2 * wait), LATEST)

    async def _live(self, worker: Worker, ready: Callable[[], None]) -> int:
        """Run one process to its end; its exit status."""
        reader, writer = os.pipe()
        async with trio.lowlevel.FdStream(reader) as said, trio.open_nursery() as nursery:
            try:
                told = attrs.evolve(worker, ready=writer, alive=self._alive)
                process = await nursery.start(
                    partial(
                        trio.run_process,
                        self._command,
                        stdin=subprocess.DEVNULL,
                        check=False,
                        env={**self._environment, VARIABLE: told.words},
                        pass_fds=told.inherited,
                        process_group=0,  # so that Ctrl-C is for us alone, and ends all in order
                        deliver_cancel=_end,
                    )
                )
            finally:
                os.close(writer)
            logger.info("worker %d is process %d", worker.number, process.pid)
            if await said.receive_some(1):
                ready()
        status: int = process.returncode
        return status


async def _end(process: trio.Process) -> None:
    """Ask a process to end, and kill it when it does not; trio cancels us when it has ended."""
    process.terminate()
    await trio.sleep(GRACE)
    logger.error("process %d did not end within %g s, and is killed", process.pid, GRACE)
    process.kill()


def describe(status: int) -> str:
    """Say an exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"killed by signal {-status}"
