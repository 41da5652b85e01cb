/**
 * The page: one button, one call at a time, and what there is to know about it.
 *
 * In the address: `#token=…` is the bearer token (behind the #, so it reaches no server's log), and `?raw` asks for the microphone
 * as it is, without the browser's echo canceller, noise suppression and gain control: for music, and for tests with tones.
 *
 * For the console and for tests, `window.trioice` is the present or last call:
 *   pc         the RTCPeerConnection            location   the call's address at the server
 *   restart()  finds it a new path              hangUp()   ends it
 *   stats()    its figures, as a promise        state, reason, times, setUp
 */

import { Call } from "./call.js";
import { ladder, roundTrips } from "./ladder.js";
import { Meter } from "./meter.js";
import { Quality } from "./quality.js";

const REFRESH = 250; // ms between two looks at the figures
const SECOND = 1000; // ms between two looks at what the server lost

const SENTENCES = {
  idle: "It takes one click and your microphone.",
  microphone: "Asking for the microphone…",
  calling: "Calling…",
  connecting: "Finding a path…",
  connected: "You should hear yourself.",
  reconnecting: "The path is lost. Finding another…",
};

const $ = (id) => document.getElementById(id);
const meter = new Meter($("wave"), $("meter"));
const quality = new Quality($("losses"));
const speaker = Object.assign(new Audio(), { autoplay: true });
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const audio = new URLSearchParams(location.search).has("raw") ? plain : true;

let call = null;
const live = () => call !== null && call.state !== "ended";

$("button").addEventListener("click", ({ timeStamp }) => (live() ? call.hangUp() : begin(timeStamp)));
addEventListener("online", () => call?.restart()); // another network: do not wait to notice that the old path is dead
addEventListener("pagehide", () => call?.hangUp());

function begin(clicked) {
  call = window.trioice = new Call({ audio, token, clicked });
  call.addEventListener("change", show);
  call.addEventListener("echo", ({ stream }) => {
    speaker.srcObject = stream;
    meter.start(stream);
  });
  call.start();
  refresh(call);
  watch(call);
}

/** What changes at a moment: state, sentence, button, and the steps of the set-up. */
function show() {
  const { state, times } = call;
  document.body.dataset.state = state;
  $("state").textContent = state;
  $("verb").textContent = live() ? "Hang up" : "Call again";
  say($("status"), call.failed ? "" : (SENTENCES[state] ?? call.reason));
  $("problem").hidden = !call.failed;
  say($("problem"), call.failed ? call.reason : "");
  $("first-sound").textContent = milliseconds(times.sound);
  let before = 0;
  for (const step of $("steps").children) {
    const until = times[step.dataset.step];
    const took = until === undefined ? null : until - before;
    step.classList.toggle("done", took !== null);
    step.style.flexGrow = Math.max(1, took ?? 1);
    step.querySelector("b").textContent = milliseconds(took);
    before = until ?? before;
  }
  const rows = ladder(call);
  $("set-up").hidden = !rows.length;
  $("ladder").replaceChildren(...rows.map(row));
  $("round-trips").textContent = roundTrips(call);
  if (state === "ended") {
    meter.stop();
    speaker.srcObject = null;
  }
}

function row({ at, ours, theirs }) {
  const row = document.createElement("tr");
  for (const text of [ours, Math.round(at), theirs]) row.insertCell().textContent = text;
  return row;
}

/** What changes all the time: asked for while the call lives, and left standing when it has ended. */
async function refresh(mine) {
  while (mine === call && live()) {
    const { roundTrip, received, lost, dtls, dtlsRole, srtp } = await mine.stats();
    if (mine !== call || !live()) break;
    $("round-trip").textContent = roundTrip === 0 ? "< 1 ms" : milliseconds(roundTrip); // the browser counts whole ones
    $("lost").textContent = received ? lost : "–";
    $("received").textContent = received ? `of ${(received + lost).toLocaleString("en")} sent back` : "on the way back";
    $("dtls").textContent = dtls ?? "–";
    $("dtls-role").textContent = dtls ? `the browser is ${dtlsRole}` : "both sides proven";
    const [cipher, authentication] = readable(srtp);
    $("srtp").textContent = cipher;
    $("authentication").textContent = authentication;
    await new Promise((resolve) => setTimeout(resolve, REFRESH));
  }
}

/** What the server tells of the speech that it got: asked for once a second while the call lives. */
async function watch(mine) {
  quality.clear();
  $("quality").hidden = true;
  while (mine === call && live()) {
    const sentence = quality.take(await mine.quality());
    if (mine !== call) return;
    if (sentence) {
      $("quality").hidden = false;
      $("repairs").textContent = sentence;
    }
    await new Promise((resolve) => setTimeout(resolve, SECOND));
  }
}

/** A screen reader speaks what is written anew, even when it is the same. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function milliseconds(ms) {
  return typeof ms === "number" ? `${Math.round(ms)} ms` : "–";
}

/** AEAD_AES_128_GCM → AES-128-GCM; AES128_CM_HMAC_SHA1_80 → AES-128-CM with HMAC-SHA1-80. */
function readable(srtp) {
  if (srtp === null) return ["–", "each packet sealed"];
  const aead = srtp.match(/^AEAD_AES_(\d+)_GCM$/);
  if (aead) return [`AES-${aead[1]}-GCM`, "each packet sealed"];
  const counter = srtp.match(/^AES(\d+)_CM_HMAC_SHA1_(\d+)$/);
  if (counter) return [`AES-${counter[1]}-CM`, `with HMAC-SHA1-${counter[2]}`];
  return [srtp, "each packet sealed"];
}

say($("status"), SENTENCES.idle);
