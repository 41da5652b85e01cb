"""A real peer that is no browser: aiortc calls, in both DTLS roles, and hears its own tone."""

import asyncio
import math
from array import array
from fractions import Fraction
from typing import Final

import aioice.ice
import httpx
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from av import AudioFrame

from tests.interop.conftest import TONE, Programs
from tests.interop.programs import Program

RATE: Final = 48_000
FRAME: Final = 960  # samples: 20 ms
SECOND: Final = 50  # frames


class Tone(AudioStreamTrack):
    """A sine for ever, a frame every 20 ms."""

    def __init__(self, frequency: int) -> None:
        super().__init__()
        self._frequency = frequency
        self._sent = 0

    async def recv(self) -> AudioFrame:
        at = range(self._sent, self._sent + FRAME)
        frame = AudioFrame(format="s16", layout="mono", samples=FRAME)
        frame.planes[0].update(
            array("h", (round(8192 * math.sin(math.tau * self._frequency * i / RATE)) for i in at)).tobytes()
        )
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._sent, Fraction(1, RATE)
        await asyncio.sleep(FRAME / RATE)
        self._sent += FRAME
        return frame


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aioice gathers no candidate on 127.0.0.1 of its own accord."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])


@pytest.mark.parametrize(("role", "aiortcs"), [("active", "server"), ("passive", "client")])
def test_aiortc_hears_its_own_tone_in_both_dtls_roles(programs: Programs, role: str, aiortcs: str) -> None:
    transceiver = programs.fleet("--dtls-role", role).transceivers[0]
    heard, dtls_role = asyncio.run(asyncio.wait_for(call(transceiver), 30))
    assert dtls_role == aiortcs
    assert share_of(TONE, heard) > 0.9
    assert share_of(1000, heard) < 0.1


def test_aiortc_calls_a_transceiver_directly(programs: Programs) -> None:
    heard, _ = asyncio.run(asyncio.wait_for(call(programs.direct()), 30))
    assert share_of(TONE, heard) > 0.9


async def call(transceiver: Program) -> tuple["array[int]", str]:
    """A second of what came back, as samples of one channel; and aiortc's DTLS role."""
    client = RTCPeerConnection()
    echo: asyncio.Future[MediaStreamTrack] = asyncio.get_running_loop().create_future()
    client.on("track", echo.set_result)
    client.addTrack(Tone(TONE))
    await client.setLocalDescription(await client.createOffer())
    async with httpx.AsyncClient(base_url=transceiver.address) as http:
        sdp = {"Content-Type": "application/sdp"}
        answer = await http.post("/calls", content=client.localDescription.sdp, headers=sdp)
        assert answer.status_code == 201, answer.text
        await client.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        track = await echo
        heard = array("h")
        while not any(heard):  # the call comes about
            heard = samples(await track.recv())
        for _ in range(2 * SECOND):
            heard += samples(await track.recv())
        role = client.getTransceivers()[0].sender.transport._role
        await client.close()
        # Its close_notify ends the call: a request may overtake the datagram, but not for long.
        for _ in range(20):
            ended = await http.patch(answer.headers["Location"], content="", headers=sdp)
            if ended.status_code == 404:
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("the call goes on")
    return heard[-SECOND * FRAME :], role


def samples(frame: object) -> "array[int]":
    """The left channel of an Opus decoder's frame."""
    assert isinstance(frame, AudioFrame)
    both = array("h")
    both.frombytes(bytes(frame.planes[0])[: frame.samples * 4])
    return both[::2]


def share_of(frequency: int, heard: "array[int]") -> float:
    """How much of the sound's power is at `frequency`: 1 for a pure tone, about 0 for anything else."""
    cosine = sum(x * math.cos(math.tau * frequency * i / RATE) for i, x in enumerate(heard))
    sine = sum(x * math.sin(math.tau * frequency * i / RATE) for i, x in enumerate(heard))
    return 2 * (cosine * cosine + sine * sine) / len(heard) / max(1, sum(x * x for x in heard))
