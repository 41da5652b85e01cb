/** What the network lost of this caller's speech, and what the server missed of it all the same: per second, for the last minute. */

const SECONDS = 60;
const LEAST = 0.1; // of all: the height that the plot has at least, so that one packet lost is no mountain

export class Quality {
  #canvas;
  #points = []; // the newest first: { before, after }, as parts of a second's speech
  #last = null; // the counters of the look before

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Forgets the call before. */
  clear() {
    this.#points = [];
    this.#last = null;
    this.#draw();
  }

  /** Takes the server's counters, once a second; what they came to, as a sentence, "" as long as there is nothing to tell. */
  take(quality) {
    if (!quality?.expected) return "";
    if (this.#last) {
      const since = (name) => quality[name] - this.#last[name];
      this.#points.unshift({ before: part(since("missed"), since("expected")), after: part(since("lost"), since("frames")) });
      this.#points.length = Math.min(this.#points.length, SECONDS);
    }
    this.#last = quality;
    this.#draw();
    const { missed, expected, red, nack, late, fec, lost, frames } = quality;
    if (!missed) return `None of ${expected.toLocaleString("en")} packets came late or not at all.`;
    const repairs = Object.entries({ "a copy in the next packet": red, "asking again": nack, "a little patience": late, "a coarse copy": fec });
    const by = repairs.filter(([, count]) => count).map(([how, count]) => `${count.toLocaleString("en")} by ${how}`);
    const left = lost ? `${percent(lost, frames)} of the speech was lost.` : "No word was lost.";
    return `${percent(missed, expected)} of the packets did not come in time; repaired ${by.join(", ") || "none"}. ${left}`;
  }

  /** The loss on the way as bars, from the right edge to the left, and before them what was left of it. */
  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = devicePixelRatio;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    const pen = this.#canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(this.#canvas);
    const step = width / SECONDS;
    const top = Math.max(LEAST, ...this.#points.map(({ before, after }) => Math.max(before, after)));
    for (const [name, colour] of [["before", style.getPropertyValue("--step-2")], ["after", style.getPropertyValue("--bad")]]) {
      pen.fillStyle = colour;
      this.#points.forEach((point, index) => {
        const tall = (point[name] / top) * (height - 2);
        pen.fillRect(width - (index + 1) * step, height - tall, step - 1, tall);
      });
    }
    pen.fillStyle = style.getPropertyValue("--edge");
    pen.fillRect(0, height - 1, width, 1);
    this.#canvas.ariaLabel = `Loss in the last minute, per second; the scale ends at ${percent(top, 1)}.`;
  }
}

function part(count, of) {
  return of > 0 ? Math.min(1, Math.max(0, count / of)) : 0;
}

function percent(count, of) {
  const value = 100 * part(count, of);
  return `${value && value < 1 ? value.toFixed(2) : value.toFixed(value < 10 ? 1 : 0)} %`;
}
