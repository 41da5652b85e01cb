"""A real Chromium over a network that loses: it takes what the answer asks for, says again what we miss, and asks for what it misses."""

import random
import re
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.interop.browser import Visit
from tests.interop.conftest import Programs
from tests.interop.programs import HOST, free_port

pytestmark = pytest.mark.chromium

AGENT: Final = """\
async def echo(call):
    speaker = call.speaker()
    async for frame in call.microphone(patience=1.0):
        await speaker.write(frame.pcm)
"""
LOSS: Final = 0.2

STATS: Final = """async () => {
  const stats = [...(await trioice.pc.getStats()).values()];
  const one = (type) => stats.find((each) => each.type === type && each.kind === "audio") ?? {};
  const [outbound, inbound, remote] = ["outbound-rtp", "inbound-rtp", "remote-inbound-rtp"].map(one);
  return { ...outbound, received: inbound.packetsReceived,
    asked: inbound.nackCount, missed: inbound.packetsLost, fractionLost: remote.fractionLost };
}"""


class Lossy:
    """A port in front of a program's: what is SRTP or SRTCP is lost, one datagram in five, either way. Everybody has a port behind it."""

    def __init__(self, behind: int) -> None:
        self.lost = 0
        self._random = random.Random(7)
        self._behind = (HOST, behind)
        self._front = self._socket()
        self.port: int = self._front.getsockname()[1]
        self._backs: dict[tuple[str, int], socket.socket] = {}
        self._ends, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((HOST, 0))
        return made

    def _run(self) -> None:
        while True:
            readable, _, _ = select.select([self._front, self._ends, *self._backs.values()], [], [])
            if self._ends in readable:
                return
            for ready in readable:
                datagram, source = ready.recvfrom(2048)
                if 128 <= datagram[0] <= 191 and self._random.random() < LOSS:
                    self.lost += 1
                elif ready is self._front:
                    if source not in self._backs:
                        self._backs[source] = self._socket()
                    self._backs[source].sendto(datagram, self._behind)
                else:
                    to = next(client for client, back in self._backs.items() if back is ready)
                    self._front.sendto(datagram, to)

    def close(self) -> None:
        self._end.close()
        self._thread.join()
        for made in (self._front, self._ends, *self._backs.values()):
            made.close()


@pytest.fixture
def lossy() -> Iterator[Lossy]:
    made = Lossy(free_port())
    yield made
    made.close()


def metric(address: str, name: str) -> float:
    found = re.search(rf"^trioice_{re.escape(name)} (\S+)$", httpx.get(address + "/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_what_is_lost_of_a_call_comes_after_all_either_way(
    programs: Programs, visit: Callable[..., Visit], lossy: Lossy, tmp_path: Path
) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT)
    behind, front = f"{HOST}:{lossy._behind[1]}", f"{HOST}:{lossy.port}"
    program = programs.direct("--udp", behind, "--announce", front, "--agent", f"{agent}:echo")
    page = visit(program.address)
    page.call()
    page.until(lambda stats: stats["received"] >= 600, within=30)
    stats: dict[str, Any] = page.evaluate(STATS)
    # What we asked for, as no copy brought it, was said again; and what the browser asked for, by us.
    assert stats["retransmittedPacketsSent"] > 0
    assert stats["nackCount"] > 0
    assert stats["asked"] > 0
    assert stats["missed"] < 0.02 * stats["received"]
    # The loss that is told is the network's, by which Opus decides on coarse copies; it costs no bitrate.
    assert 0.05 < stats["fractionLost"] < 0.4
    assert stats["targetBitrate"] == 32000
    # On loopback an answer may come sooner than it seems possible, and then counts as late.
    red, nack, late = (
        metric(program.address, f'repaired_packets_total{{by="{way}"}}') for way in ("red", "nack", "late")
    )
    assert min(red, nack + late, metric(program.address, "retransmitted_packets_total")) > 0
    assert metric(program.address, "missed_packets_total") - red - nack - late <= 10  # those of this moment
    assert metric(program.address, 'heard_frames_total{of="lost"}') <= 1
