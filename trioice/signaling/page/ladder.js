/** The set-up of a call as two people would tell it: what this browser did and what the server did, by one clock. */

const OURS = {
  microphone: "microphone open",
  offer: "offer sent",
  answer: "answer here",
  check: "path found",
  path: "handshake over",
  sound: "first sound",
};

const THEIRS = {
  answer: "answer out",
  check: "first check in",
  keys: "keys",
  connected: "handshake over",
  rtp_in: "first packet in",
  rtp_out: "first packet out",
};

/**
 * Rows in the order of time, { at, ours, theirs }: `at` in ms after the click, and what happened on either side, "" for nothing.
 * What one side did within one millisecond is one row.
 */
export function ladder({ times, setUp, posted }) {
  const moments = Object.entries(OURS).filter(([step]) => step in times).map(([step, text]) => ({ at: times[step], side: "ours", text }));
  if (setUp && posted) moments.push(...theirs(setUp, offerArrived(setUp, posted, times)));
  moments.sort((one, other) => one.at - other.at); // a stable sort: what is at one time stays in the order above
  const rows = [];
  for (const { at, side, text } of moments) {
    const last = rows[rows.length - 1];
    if (last && last[side] && Math.round(last.at) === Math.round(at)) last[side] += `, ${text}`;
    else rows.push({ at, ours: "", theirs: "", [side]: text });
  }
  return rows;
}

/** The round trips that the set-up came to, as a sentence; "" as long as there is nothing to count. */
export function roundTrips({ setUp }) {
  if (!setUp?.keys) return "";
  if (!setUp.rtt) return "The handshake had to repeat its flights, so no round trip was measured and none are counted.";
  const { keys, rtp_in: heard, rtp_out: spoke } = setUp.round_trips;
  const parts = [`${keys.toFixed(1)} to keys`];
  if (heard !== null) parts.push(`${heard.toFixed(1)} until the server heard you`);
  if (spoke !== null) parts.push(`${spoke.toFixed(1)} until it spoke`);
  return `Round trips of ${duration(setUp.rtt)} from the first check: ${parts.join(", ")}.`;
}

/**
 * When the offer reached the server, by this browser's clock: so that its way there was as long as the answer's way back, but not so
 * late that the answer would have been here before it left, and not so early that our first check would have left before the answer came.
 */
function offerArrived(setUp, { left, came }, times) {
  const latest = came - (setUp.answer ?? 0) * 1000;
  const earliest = setUp.check === null ? left : Math.max(left, times.answer - setUp.check * 1000);
  return Math.min(latest, Math.max(earliest, (left + latest) / 2));
}

/** The server's moments, which it tells in seconds after the offer. */
function theirs(setUp, arrived) {
  const moments = [{ at: 0, text: "offer in" }];
  const step = (name) => setUp[name] !== null && moments.push({ at: setUp[name], text: THEIRS[name] });
  step("answer");
  step("check");
  setUp.flights.forEach(({ way, at }, index) => moments.push({ at, text: `DTLS flight ${index + 1} ${way}` }));
  step("keys");
  if (setUp.connected !== setUp.keys) step("connected");
  step("rtp_in");
  step("rtp_out");
  return moments.map(({ at, text }) => ({ at: arrived + at * 1000, side: "theirs", text }));
}

function duration(seconds) {
  const ms = seconds * 1000;
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}
