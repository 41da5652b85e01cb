"""What a page plays, recorded in an AudioWorklet (recorder.js): samples, and when each was played."""

import base64
import time
from pathlib import Path
from typing import Final

import attrs
import numpy as np
from playwright.sync_api import Page

from bench.lab.sweep import Samples

SCRIPT: Final = Path(__file__).with_name("recorder.js")
BLOCK: Final = 128
"""Samples that a worklet takes at a time."""

START: Final = """async (script) => {
  const context = new AudioContext({ sampleRate: 48000 });
  await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(script)}`);
  const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  const blocks = [];
  recorder.port.onmessage = ({ data }) => blocks.push(data);
  const track = trioice.pc.getReceivers()[0].track;
  const source = context.createMediaStreamSource(new MediaStream([track]));
  source.connect(recorder);
  window.recording = { context, source, recorder, blocks };
}"""

STOP: Final = """async () => {
  const { context, blocks } = window.recording;
  await context.close();
  const samples = new Int16Array(blocks.length * 128);
  blocks.forEach(([, , heard], block) => heard.forEach((value, at) => {
    samples[block * 128 + at] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
  }));
  const octets = new Uint8Array(samples.buffer);
  let text = "";
  for (let at = 0; at < octets.length; at += 32768) text += String.fromCharCode(...octets.subarray(at, at + 32768));
  return { samples: btoa(text), times: blocks.map(([frame, time]) => [frame, time]) };
}"""


@attrs.frozen
class Recording:
    """Samples at 48 kHz, from -1 to 1; `began` is when the first was played, in seconds of the monotonic clock."""

    heard: Samples
    began: float

    def at(self, sample: float) -> float:
        """When a sample was played, to some milliseconds: a page plays in blocks of ten."""
        return self.began + sample / 48000

    def sample(self, moment: float) -> int:
        """Which sample was played at a moment."""
        return round((moment - self.began) * 48000)


def start(page: Page) -> None:
    """Begin to record what the page's call plays."""
    page.evaluate(START, SCRIPT.read_text())


def stop(page: Page) -> Recording:
    """End it."""
    recorded = page.evaluate(STOP)
    blocks = np.frombuffer(base64.b64decode(recorded["samples"]), "<i2").reshape(-1, BLOCK) / 32768
    assert len(blocks), "the page's worklet heard nothing"
    frames, times = np.array(recorded["times"], dtype=np.float64).T
    first = int(frames.min())
    heard = np.zeros(int(frames.max()) - first + BLOCK)  # what the page skipped, if it did, is silence
    for frame, block in zip(frames.astype(int), blocks, strict=True):
        heard[frame - first : frame - first + BLOCK] = block
    wall = time.time() - time.monotonic()
    return Recording(heard, float(np.median(times / 1000 - (frames - first) / 48000)) - wall)
