/**
 * One call to trioice over WebRTC and plain HTTP: this file is all that a client needs, and knows nothing of the page.
 *
 *   POST   calls       application/sdp, an offer  → 201, the answer, and the call's own address in Location
 *   PATCH  Location    application/sdp, an offer with new ICE credentials → 200, the answer: the same call on a new path
 *   GET    Location    its counters and the steps of its set-up, as JSON
 *   DELETE Location    the end
 *
 * States: idle → microphone → calling → connecting → connected ⇄ reconnecting → ended. Each change is a "change" event.
 */

const RETRY = 1000; // ms between two attempts to reach a server that does not answer
const ASKING = 250; // ms between two looks at the server's steps, until there are all, and how often we look
const ASKED = 40;
const PATIENCE = 30_000; // ms: a server gives a silent client up after 30 s (RFC 7675, 5.1), so asking longer is in vain

export class Call extends EventTarget {
  pc = new RTCPeerConnection();
  state = "idle";
  location = null; // the call's own address, once the server has answered
  reason = ""; // why the call ended
  failed = false; // whether that is bad news
  times = {}; // ms from `clicked` to: microphone, offer, answer, check, path, sound
  setUp = null; // the server's own steps, once it has told them: seconds after the offer
  posted = null; // ms from `clicked` to when the POST left, and to when its answer began to come

  #audio;
  #token;
  #clicked;
  #microphone = null;
  #restarting = false;
  #listening = null;

  /** `audio` are the microphone's constraints, `token` the bearer token if the server wants one, `clicked` when it all began. */
  constructor({ audio = true, token = null, clicked = performance.now() } = {}) {
    super();
    this.#audio = audio;
    this.#token = token;
    this.#clicked = clicked;
  }

  async start() {
    try {
      this.#become("microphone");
      await this.#openMicrophone();
      if (this.state === "ended") return this.#release(); // hung up meanwhile
      this.#become("calling");
      const answer = await this.#offer();
      if (this.state === "ended") return await this.#delete();
      this.#become("connecting");
      await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      this.#end(explain(error), true);
    }
  }

  /**
   * Finds a new path for the same call: new ICE credentials, same keys, same sound.
   * The promise of a call that ends meanwhile is never settled, as none of a closed RTCPeerConnection is.
   */
  async restart() {
    if (this.#restarting || !["connected", "reconnecting"].includes(this.state)) return;
    this.#restarting = true;
    try {
      this.#become("reconnecting");
      this.pc.restartIce();
      await this.pc.setLocalDescription();
      const answer = await this.#patch();
      if (this.state !== "reconnecting") return;
      await this.pc.setRemoteDescription({ type: "answer", sdp: answer });
      if (this.pc.connectionState === "connected") this.#become("connected"); // else its change will say so
    } catch (error) {
      if (error.status === 404) this.#end("The server has ended the call.");
      else if (this.pc.connectionState === "connected") this.#become("connected"); // the old path has come back
      else this.#end(explain(error), true);
    } finally {
      this.#restarting = false;
    }
  }

  /** Ends the call here and at the server. The promise tells when the server knows. */
  async hangUp() {
    if (this.state === "ended") return;
    this.#end("You hung up.");
    await this.#delete();
  }

  /** What the call is like now: times in milliseconds, names as the browser gives them, null for what is not known yet. */
  async stats() {
    const reports = [...(await this.pc.getStats()).values()];
    const transport = reports.find(({ type }) => type === "transport");
    const pair = reports.find(({ id }) => id === transport?.selectedCandidatePairId);
    const remote = reports.find(({ id }) => id === pair?.remoteCandidateId);
    const inbound = reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "audio");
    const outbound = reports.find(({ type, kind }) => type === "outbound-rtp" && kind === "audio");
    return {
      state: this.state,
      connection: this.pc.connectionState,
      times: { ...this.times },
      roundTrip: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
      received: inbound?.packetsReceived ?? 0,
      lost: inbound?.packetsLost ?? 0,
      sent: outbound?.packetsSent ?? 0,
      dtls: { FEFD: "DTLS 1.2", FEFC: "DTLS 1.3" }[transport?.tlsVersion] ?? null,
      dtlsRole: transport?.tlsVersion ? transport.dtlsRole : null, // "client" or "server": this side's
      dtlsCipher: transport?.dtlsCipher ?? null,
      srtp: transport?.srtpCipher?.replace(/^SRTP_/, "").replace("AES_CM_128", "AES128_CM") ?? null, // as RFC 5764 and 7714, for any browser
      path: remote ? `${remote.address}:${remote.port}` : null, // where the packets go
    };
  }

  /** What the server counts of our speech: packets before repair and frames after it; null when it cannot be asked just now. */
  async quality() {
    if (this.state !== "connected") return null;
    try {
      return (await (await this.#send("GET", this.location)).json()).quality ?? null;
    } catch {
      return null;
    }
  }

  async #openMicrophone() {
    if (!navigator.mediaDevices) throw new Error("A browser opens the microphone only for https pages and for localhost.");
    this.#microphone = await navigator.mediaDevices.getUserMedia({ audio: this.#audio });
    this.#mark("microphone");
  }

  async #offer() {
    const { pc } = this;
    for (const track of this.#microphone.getAudioTracks()) pc.addTrack(track, this.#microphone);
    pc.ontrack = ({ track, receiver }) => this.#listen(track, receiver);
    pc.onconnectionstatechange = () => this.#connectionChanged();
    pc.oniceconnectionstatechange = () => ["connected", "completed"].includes(pc.iceConnectionState) && this.#mark("check");
    await pc.setLocalDescription();
    // A goodbye by DTLS (close_notify) shows on the transport alone: the connection's own state stays "connected".
    const dtls = pc.getSenders()[0].transport;
    dtls.onstatechange = () => dtls.state === "closed" && this.#end("The server has ended the call.");
    // The offer leaves at once, without our candidates: the server is ICE-lite, it learns where we are from our checks.
    this.#mark("offer");
    const response = await this.#send("POST", "calls", pc.localDescription.sdp);
    this.location = new URL(response.headers.get("Location"), response.url).href;
    const answer = await response.text();
    this.#mark("answer");
    // Without the time that the connection to the server took to open, where the browser tells it.
    const [post] = performance.getEntriesByName(response.url, "resource").slice(-1);
    this.posted = post?.requestStart
      ? { left: post.requestStart - this.#clicked, came: post.responseStart - this.#clicked }
      : { left: this.times.offer, came: this.times.answer };
    return answer;
  }

  /** The restart's question is asked until it is answered: a client without a path may well be without any network for now. */
  async #patch() {
    for (const until = performance.now() + PATIENCE; ; ) {
      try {
        return await (await this.#send("PATCH", this.location, this.pc.localDescription.sdp)).text();
      } catch (error) {
        const passing = error.status === undefined || error.status === 429 || error.status >= 500;
        if (!passing || performance.now() > until || this.state === "ended") throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY));
      }
    }
  }

  /** The server's steps are asked for until packets have gone both ways, which is when it has noted all. */
  async #ask() {
    for (let asked = 0; asked < ASKED && this.state !== "ended" && !(this.setUp?.rtp_in && this.setUp.rtp_out); asked++) {
      try {
        this.setUp = (await (await this.#send("GET", this.location)).json()).set_up ?? null;
        this.dispatchEvent(new Event("change"));
      } catch {
        // It tells no steps, or cannot be reached just now: the call goes on without.
      }
      await new Promise((resolve) => setTimeout(resolve, ASKING));
    }
  }

  async #delete() {
    // keepalive: it gets through even when the page is being left.
    if (this.location) await this.#send("DELETE", this.location, null, { keepalive: true }).catch(() => {}); // it may have ended first
  }

  async #send(method, address, sdp, options = {}) {
    const headers = {};
    if (sdp) headers["Content-Type"] = "application/sdp";
    if (this.#token) headers.Authorization = `Bearer ${this.#token}`;
    const response = await fetch(address, { method, headers, body: sdp, ...options });
    if (response.ok) return response;
    const reason = (await response.text()).trim() || response.statusText;
    throw Object.assign(new Error(`The server said ${response.status}: ${reason}`), { status: response.status });
  }

  #connectionChanged() {
    const connection = this.pc.connectionState;
    if (connection === "connected") {
      this.#mark("path");
      if (!this.#restarting) this.#become("connected");
    } else if (this.state === "connecting" && connection === "failed") {
      const blocked = this.pc.iceConnectionState === "failed";
      this.#end(blocked ? "No packets get through to the server: a firewall may be refusing UDP." : "The key exchange has failed.", true);
    } else if (connection === "disconnected" || connection === "failed") {
      this.restart();
    }
  }

  /**
   * The first sound is the first of the echo's packets that the browser has decoded and handed to the loudspeaker, whether
   * anybody was speaking or not. The receiver says so through its synchronization sources, which have no event; a packet
   * is 20 ms, so looking twice as often misses none.
   */
  #listen(track, receiver) {
    this.#listening = setInterval(() => {
      const [source] = receiver.getSynchronizationSources();
      if (!source) return;
      clearInterval(this.#listening);
      this.#mark("path"); // there must be one, though the event that says so may still be waiting
      this.#mark("sound");
    }, 10);
    this.dispatchEvent(Object.assign(new Event("echo"), { stream: new MediaStream([track]) }));
  }

  #mark(step) {
    if (step in this.times) return; // a restart changes nothing about the beginning
    this.times[step] = performance.now() - this.#clicked;
    if (step === "path") this.#ask();
    this.dispatchEvent(new Event("change"));
  }

  #become(state) {
    if (this.state === state || this.state === "ended") return;
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }

  #end(reason, failed = false) {
    if (this.state === "ended") return;
    this.reason = reason;
    this.failed = failed;
    this.#become("ended"); // first, as some browsers announce at once, from within close(), that all is closed
    this.#release();
  }

  #release() {
    clearInterval(this.#listening);
    for (const track of this.#microphone?.getTracks() ?? []) track.stop();
    this.pc.close();
  }
}

function explain(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The microphone is not allowed. Allow it for this page, in the browser's address bar, and call again.";
    case "NotFoundError":
      return "There is no microphone.";
    case "NotReadableError":
      return "The microphone is in use by another program.";
    case "TypeError": // what fetch throws when nobody answers
      return "The server cannot be reached.";
    default:
      return error.message;
  }
}
