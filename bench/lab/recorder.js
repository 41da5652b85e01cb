// All that comes in at the page, sample by sample, and when: Date.now() is the only clock that a worklet has beside its own frames.
class Recorder extends AudioWorkletProcessor {
  process([input]) {
    const heard = input[0] ? input[0].slice() : new Float32Array(128);
    this.port.postMessage([currentFrame, Date.now(), heard], [heard.buffer]);
    return true;
  }
}
registerProcessor("recorder", Recorder);
