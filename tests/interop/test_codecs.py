"""Calls from a real Chromium to an agent that hears and speaks PCM, over each codec that it can be made to prefer."""

from collections.abc import Callable

import pytest

from tests.interop.browser import Visit
from tests.interop.conftest import NEAR, TONE, Programs

pytestmark = pytest.mark.chromium

AGENT = "bench/echo/agent.py:echo"

ONLY = """name => {
  const addTrack = RTCPeerConnection.prototype.addTrack;
  RTCPeerConnection.prototype.addTrack = function (...parameters) {
    const sender = addTrack.apply(this, parameters);
    const codecs = RTCRtpReceiver.getCapabilities("audio").codecs.filter((codec) => codec.mimeType === `audio/${name}`);
    this.getTransceivers().find((transceiver) => transceiver.sender === sender).setCodecPreferences(codecs);
    return sender;
  };
}"""

USED = """async () => {
  const stats = [...(await trioice.pc.getStats()).values()];
  return stats.filter((each) => each.type === "codec").map((each) => each.mimeType);
}"""


@pytest.mark.parametrize("codec", ["opus", "PCMU", "PCMA"])
def test_a_tone_is_decoded_and_encoded_and_comes_back(
    programs: Programs, visit: Callable[..., Visit], codec: str
) -> None:
    page = visit(programs.serve("--agent", AGENT).address)
    page.page.evaluate(ONLY, codec)
    page.call()
    assert page.loudest_frequency() == pytest.approx(TONE, abs=NEAR)
    assert set(page.evaluate(USED)) == {f"audio/{codec}"}
