"""The agents of examples/agents as their readers run them: processes of their own, beside a real transceiver, on loopback."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.audio.voices import best_likeness
from tests.harness.dial import Telephone
from tests.harness.talker import Talker
from tests.harness.world import World
from tests.test_examples import PORTS, ROOT, SPEECH, Run, end, run, speech
from trioice.audio import Opus

__all__ = ["run"]

NODE = shutil.which("node")
ASYNCIO = [sys.executable, "examples/agents/asyncio_agent.py"]


class Agent:
    """An agent's process."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            [*command, "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"NODE_OPTIONS": ""}
        )
        self.url = self.line("ws://")

    def line(self, beginning: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(beginning):
                return line.strip()
        raise AssertionError("it ended")


@pytest.fixture
def agents() -> Iterator[list[Agent]]:
    agents: list[Agent] = []
    yield agents
    for agent in agents:
        agent.process.kill()
        agent.process.communicate()


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_callers_of_the_node_agent_hear_themselves(run: Run, agents: list[Agent]) -> None:
    assert NODE is not None
    agents.append(Agent(NODE, "examples/agents/agent.mjs"))
    process, address = run("-m", "trioice", "serve", "--agent", agents[0].url, *PORTS)
    with Telephone(words=speech) as telephone:
        telephone.dial(f"{address}/calls")
        telephone.hears(49)
        errors = end(process)
        telephone.is_hung_up_on()
    assert "agent" not in errors.replace("agents", "")
    decoder = Opus().decoder(24000)
    pcm = b"".join(decoder.decode(payload) for _, _, payload in telephone.caller.heard)
    assert best_likeness(pcm[len(pcm) // 2 :], SPEECH * 3, range(0, 24000, 3)) > 0.9


def test_callers_of_the_asyncio_agent_are_greeted_and_it_hears_their_end(run: Run, agents: list[Agent]) -> None:
    agents.append(Agent(*ASYNCIO))
    process, address = run("-m", "trioice", "serve", "--agent", agents[0].url, "--agent-rate", "16000", *PORTS)
    with Telephone(words=speech) as telephone:
        telephone.dial(f"{address}/calls")
        telephone.hears(5)
        telephone.hang_up()
        assert "ended: " in agents[0].line("ended")
    end(process)


def test_a_caller_whose_agent_is_not_there_is_hung_up_on(run: Run) -> None:
    process, address = run("-m", "trioice", "serve", "--agent", "ws://127.0.0.1:1/", "--agent-reconnect", "0.2", *PORTS)
    with Telephone(words=speech) as telephone:
        telephone.dials(f"{address}/calls")
        telephone.is_hung_up_on()
    assert "is hung up, as its agent at 127.0.0.1 failed" in end(process)


async def test_utterances_are_transcribed_whole(
    autojump_clock: MockClock,
    nursery: trio.Nursery,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = importlib.util.spec_from_file_location("transcribe", Path(ROOT) / "examples/transcribe.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.delenv("TRANSCRIBE", raising=False)

    async def at_once(function: Callable[..., str], *arguments: object) -> str:
        return function(*arguments)  # virtual time would run on beside a thread

    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    world = World(nursery, delay=0.02)
    running = await world.transceiver(direct=True, agent=example.agent)
    dialled = await world.dial(
        running, make=Talker, says=speech, level=lambda number: 20 if 100 < number <= 200 else 127
    )
    await trio.sleep(8)
    dialled.call.hang_up()
    (line,) = capsys.readouterr().out.splitlines()
    length = float(line.split(": ")[1].split()[0])
    assert 2.0 <= length <= 3.2
