/** The received sound, drawn: its level now as a bar, and the last seconds of it as a wave that scrolls to the left. */

const FLOOR = -60; // dBFS: below it is silence to the eye
const BAR = 3; // CSS pixels, and as many between two bars
const STEP = 60; // ms that a bar stands for
const RELEASE = 1.5; // what the level may fall by in a second, of its whole range: the eye wants it slower than the ear

export class Meter {
  #canvas;
  #meter;
  #history = [];
  #level = 0;
  #peak = 0;
  #stepped = 0;
  #context = null;
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(canvas, meter) {
    this.#canvas = canvas;
    this.#meter = meter;
    new ResizeObserver(() => this.#draw(0)).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw(0));
  }

  start(stream) {
    this.#context = new AudioContext();
    const analyser = new AnalyserNode(this.#context, { fftSize: 2048 });
    this.#context.createMediaStreamSource(stream).connect(analyser); // and no further: an <audio> element plays it
    const samples = new Float32Array(analyser.fftSize);
    let before = performance.now();
    const frame = (now) => {
      if (!this.#context) return;
      requestAnimationFrame(frame);
      analyser.getFloatTimeDomainData(samples);
      this.#level = Math.max(loudness(samples), this.#level - (RELEASE * (now - before)) / 1000);
      before = now;
      this.#scroll(now);
    };
    requestAnimationFrame(frame);
  }

  stop() {
    this.#context?.close();
    this.#context = null;
    this.#level = 0;
    this.#show();
    this.#draw(0);
  }

  #scroll(now) {
    this.#show();
    if (this.#still.matches) return; // the bar alone tells enough
    this.#peak = Math.max(this.#peak, this.#level);
    if (now - this.#stepped > STEP) {
      this.#history.unshift(this.#peak);
      this.#history.length = Math.min(this.#history.length, 1000);
      this.#peak = 0;
      this.#stepped = now - this.#stepped > 2 * STEP ? now : this.#stepped + STEP;
    }
    this.#draw((now - this.#stepped) / STEP);
  }

  #show() {
    this.#meter.firstElementChild.style.transform = `scaleX(${this.#level})`;
    const decibels = Math.round(FLOOR * (1 - this.#level));
    if (this.#meter.ariaValueNow !== String(decibels)) this.#meter.ariaValueNow = decibels;
  }

  /** Bars from the right edge to the left, `part` of a step on its way. Silence is a row of dots. */
  #draw(part) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const pen = this.#canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = getComputedStyle(this.#canvas).color;
    pen.beginPath();
    for (let i = 0, x = width - part * 2 * BAR; x > -BAR; i++, x -= 2 * BAR) {
      const tall = Math.max(BAR, (this.#history[i] ?? 0) * height);
      pen.roundRect(x, (height - tall) / 2, BAR, tall, BAR / 2);
    }
    pen.fill();
  }
}

/** Root mean square of the samples, from 0 (FLOOR and below) to 1 (full scale). */
function loudness(samples) {
  const square = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  const decibels = 10 * Math.log10(square + 1e-12);
  return Math.min(1, Math.max(0, 1 - decibels / FLOOR));
}
