"""A stage for remote agents: a real transceiver in virtual time, callers that talk, and a server that plays the agents."""

from array import array
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from tests.audio.stand_in import StandIn
from tests.harness.talker import Talker
from tests.harness.world import Dialled, RunningTransceiver, World
from tests.transceiver.agent_stand_in import Conversation, Server
from trioice.transceiver.call import Call
from trioice.transceiver.remote import RemoteAgent

RATE = 8000
STEP = 160
URL = "ws://agent.test:9000/voice?model=7"


class Stage:
    """A transceiver whose calls are led to a server."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.server = Server(nursery)
        self.agent = RemoteAgent(URL, rate=RATE, token="secret", connect=self.server.connect)
        self.world = World(nursery)
        self.running: RunningTransceiver | None = None
        self.returned = 0

    async def dial(self, **options: object) -> Dialled:
        async def with_stand_in(call: Call) -> None:
            call.codec = StandIn()
            await self.agent(call)
            self.returned += 1

        if self.running is None:
            self.running = await self.world.transceiver(direct=True, agent=with_stand_in)
        return await self.world.dial(self.running, make=Talker, **options)  # type: ignore[arg-type]

    async def begin(self) -> tuple[Dialled, Conversation]:
        dialled = await self.dial()
        return dialled, await self.server.conversation()


@pytest.fixture
async def stage(autojump_clock: MockClock, nursery: trio.Nursery) -> AsyncIterator[Stage]:
    with trio.fail_after(400):
        yield Stage(nursery)


def numbers(pcm: bytes | bytearray) -> list[int]:
    """The number of each frame of the stand-in codec, which is each of its samples."""
    samples = array("h", bytes(pcm))
    assert len(samples) % STEP == 0
    frames = [samples[at : at + STEP] for at in range(0, len(samples), STEP)]
    assert all(len(set(frame)) == 1 for frame in frames)
    return [frame[0] for frame in frames]


def speech(first: int, count: int) -> bytes:
    return b"".join(number.to_bytes(2, "little", signed=True) * STEP for number in range(first, first + count))


def is_whole(dialled: Dialled, pcm: bytes | bytearray) -> bool:
    """Whether it is all that the caller said, but for what was on its way when the call ended."""
    said = numbers(pcm)
    return said == list(range(1, len(said) + 1)) and len(said) >= dialled.caller.spoken - 5


def heard(dialled: Dialled) -> list[int]:
    """The numbers of the packets that the caller heard, without silence."""
    return [int(payload) for _, _, payload in dialled.caller.heard if int(payload)]
