"""A caller: the browser's end of a call as a machine, built on our own cores. For scenarios, attacks and load.

It checks as Chromium does (every 60 ms until answered, then every 2.5 s, nominating from the second check on), runs DTLS in either
role, and, once connected, sends a numbered payload every 20 ms and keeps what comes back.
"""

import re
from collections.abc import Sequence

from trioice import dtls, rtp, srtp, stun
from trioice.sansio import NEVER, Address, Closed, Entropy, Event, Failed, Outbox

EAGER, CALM = 0.06, 2.5
FRAME = 0.02

OFFER = """\
v=0
o=- {origin} 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:{ufrag}
a=ice-pwd:{pwd}
a=ice-options:trickle
a=fingerprint:{fingerprint}
a=setup:{setup}
a=mid:0
a=sendrecv
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
"""


class Caller:
    """One browser, at one address at a time. `heard` holds (time, sequence, payload) of each RTP packet that came and was authentic."""

    def __init__(
        self,
        *,
        entropy: Entropy,
        outbox: Outbox,
        setup: str = "actpass",
        profiles: Sequence[srtp.Profile] = tuple(srtp.PROFILES.values()),
        certificate: dtls.Certificate | None = None,
        talks: bool = True,
    ) -> None:
        self.outbox = outbox
        self.events: list[Event] = []
        self.heard: list[tuple[float, int, bytes]] = []
        self._different: set[bytes] = set()
        self.spoken = 0
        self.connected_at = NEVER
        self.over: Failed | Closed | None = None
        self.certificate = certificate or dtls.Certificate.generate(entropy)
        self.ssrc = int.from_bytes(entropy(4), "big")
        self.rtp = rtp.RtpSession(ssrc=self.ssrc, cname="caller", epoch=0.0, entropy=entropy, outbox=[], events=[])
        self.talks = talks
        self._entropy = entropy
        self._setup = setup
        self._profiles = profiles
        self._generation = 0
        self._to: Address = None
        self._server = ("", "")  # its ufrag and pwd
        self._answered = False
        self._check_at = NEVER
        self._speak_at = NEVER
        self._pending: set[bytes] = set()
        self.dtls: dtls.DtlsClient | dtls.DtlsServer | None = None
        self._keys: tuple[srtp.SrtpSender, srtp.SrtpReceiver] | None = None

    @property
    def ufrag(self) -> str:
        return f"cllr{self._generation}"

    def offer(self) -> str:
        """An offer; each after the first restarts ICE."""
        self._generation += 1
        return OFFER.format(
            origin=1,
            ufrag=self.ufrag,
            pwd="callerPasswordOf22AndMore",
            fingerprint=self.certificate.fingerprint(),
            setup=self._setup,
        ).replace("\n", "\r\n")

    def answered(self, answer: str, now: float, to: Address = None) -> None:
        """Take the answer, and check the candidate that it names, or `to`."""

        def attribute(pattern: str) -> tuple[str, ...]:
            found = re.search(pattern, answer)
            assert found is not None, f"no {pattern} in {answer}"
            return found.groups()

        (ufrag,), (pwd,) = attribute(r"a=ice-ufrag:(\S+)"), attribute(r"a=ice-pwd:(\S+)")
        host, port = attribute(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host")
        (setup,) = attribute(r"a=setup:(\S+)")
        self._to = (host, int(port)) if to is None else to
        self._server = (ufrag, pwd)
        self._answered = False
        self._check_at = now
        if self.dtls is None:
            fingerprint = dtls.Fingerprint.read(attribute(r"a=fingerprint:(\S+ \S+)")[0])
            make = dtls.DtlsServer if setup == "active" else dtls.DtlsClient
            self.dtls = make(
                certificate=self.certificate,
                fingerprints=[fingerprint],
                profiles=[profile.number for profile in self._profiles],
                entropy=self._entropy,
                peer=self._to,
                outbox=self.outbox,
                inbox=[],
                events=self.events,
            )

    @property
    def deadline(self) -> float:
        return min(self._check_at, self._speak_at, self.dtls.deadline if self.dtls else NEVER)

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        if self.over or not datagram or self.dtls is None:
            return
        if datagram[0] <= 3:
            self._checked(datagram, now)
        elif datagram[0] <= 63:
            self.dtls.receive(datagram, source, now)
            self._notice(now)
        elif self._keys is not None and rtp.is_rtcp(datagram):
            packet = self._keys[1].unprotect_rtcp(datagram)
            if packet is not None:
                self.rtp.receive(packet, source, now)
        elif self._keys is not None:
            packet = self._keys[1].unprotect(datagram)
            header = rtp.read(packet) if packet is not None else None
            if packet is not None and header is not None:
                payload = packet[header[5] : header[6]]
                self.heard.append((now, header[2], payload))
                self._different.add(payload)

    def expire(self, now: float) -> None:
        if self._check_at <= now:
            self.check(now)
            self._check_at = now + (CALM if self._answered else EAGER)
        if self._speak_at <= now:
            self._speak_at += FRAME
            self.speak(now)
        if self.dtls is not None:
            self.dtls.expire(now)
            self._notice(now)

    def close(self, now: float) -> None:
        self._check_at = self._speak_at = NEVER
        if self.dtls is not None:
            self.dtls.close(now)

    def check(self, now: float) -> None:
        """Send a check now."""
        transaction_id = self._entropy(12)
        self._pending.add(transaction_id)
        attributes = [
            (stun.USERNAME, f"{self._server[0]}:{self.ufrag}".encode()),
            (stun.ICE_CONTROLLING, bytes(8)),
            (stun.PRIORITY, bytes(4)),
        ]
        if self._answered:
            attributes.append((stun.USE_CANDIDATE, b""))
        self.outbox.append(
            (stun.encode(stun.BINDING_REQUEST, transaction_id, attributes, key=self._server[1].encode()), self._to)
        )

    def speak(self, now: float) -> None:
        """Send the next packet now."""
        if self._keys is None:
            return
        self.spoken += 1
        packet = rtp.build(
            111,
            self.spoken == 1,
            self.spoken & 0xFFFF,
            self.spoken * 960,
            self.ssrc,
            b"%08d" % self.spoken + b"." * 72,
        )
        protected = self._keys[0].protect(packet)
        assert protected is not None
        self.outbox.append((protected, self._to))

    def _checked(self, datagram: bytes, now: float) -> None:
        message = stun.decode(datagram)
        if (
            message is None
            or message.transaction_id not in self._pending
            or not message.verify(self._server[1].encode())
        ):
            return
        self._pending.discard(message.transaction_id)
        if message.kind != stun.BINDING_SUCCESS:
            return
        if not self._answered:
            self._answered = True
            self._check_at = now + EAGER  # to nominate
            if isinstance(self.dtls, dtls.DtlsClient) and self._keys is None:
                self.dtls.start(now)

    def _notice(self, now: float) -> None:
        for event in self.events:
            if isinstance(event, dtls.Connected):
                profile = srtp.PROFILES[event.srtp_profile]
                assert self.dtls is not None
                client, server = srtp.split(profile, self.dtls.export(srtp.EXTRACTOR, srtp.material_length(profile)))
                ours, theirs = (client, server) if isinstance(self.dtls, dtls.DtlsClient) else (server, client)
                self._keys = (srtp.sender(profile, ours), srtp.receiver(profile, theirs))
                self.connected_at = now
                self._speak_at = now if self.talks else NEVER
            elif isinstance(event, Failed | Closed):
                self.over = event
                self._check_at = self._speak_at = NEVER
        self.events.clear()

    @property
    def echoes(self) -> int:
        """How many different packets came back."""
        return len(self._different)
