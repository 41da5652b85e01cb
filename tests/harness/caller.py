"""A caller: the browser's end of a call as a machine, built on our own cores. For scenarios, attacks and load.

It checks as Chromium does (every 60 ms until answered, then every 2.5 s, nominating from the second check on), runs DTLS in either
role, and, once connected, sends a numbered payload every 20 ms and keeps what comes back.

With `sped` it speaks DTLS in STUN: the handshake begins before the first answer, and rides on the checks.
"""

import re
from collections.abc import Callable, Sequence

from tests.harness.piggyback import Piggyback
from trioice import dtls, rtp, srtp, stun
from trioice.sansio import NEVER, Address, Closed, Entropy, Event, Failed, Outbox

EAGER, CALM = 0.06, 2.5
FRAME = 0.02
SECOND, BRISK = 0.048, 0.9
"""Seconds between the first two checks with DTLS in STUN, and between those that follow the third answer while the handshake lasts.
A Chromium that makes the offer was seen to wait for 48 to 73 ms; with two networks at times for nothing."""
SPED_MTU = 900

OFFER = """\
v=0
o=- {origin} 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
m=audio 9 UDP/TLS/RTP/SAVPF {payload_type}
c=IN IP4 0.0.0.0
a=ice-ufrag:{ufrag}
a=ice-pwd:{pwd}
a=ice-options:{options}
a=fingerprint:{fingerprint}
a=setup:{setup}
a=mid:0
a=sendrecv
a=rtcp-mux
a=rtpmap:{payload_type} {encoding}
"""


def numbered(number: int) -> bytes:
    """What a caller says unless told otherwise: the number of the packet, and dots."""
    return b"%08d" % number + b"." * 72


class Caller:
    """One browser, at one address at a time. It speaks one codec, `encoding`, and says `words` of the number of each packet, from 1 on.
    `heard` holds (time, sequence, payload) of each RTP packet that came and was authentic."""

    def __init__(
        self,
        *,
        entropy: Entropy,
        outbox: Outbox,
        setup: str = "actpass",
        profiles: Sequence[srtp.Profile] = tuple(srtp.PROFILES.values()),
        certificate: dtls.Certificate | None = None,
        talks: bool = True,
        sped: bool = False,
        options: str | None = None,
        second: float = SECOND,
        groups: Sequence[int] = tuple(dtls.GROUPS),
        versions: Sequence[int] = dtls.VERSIONS,
        payload_type: int = 111,
        encoding: str = "opus/48000/2",
        words: Callable[[int], bytes] = numbered,
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
        self._payload_type, self._encoding, self._words = payload_type, encoding, words
        self._step = int(FRAME * int(encoding.split("/")[1]))
        self.piggyback = Piggyback() if sped else None
        self._options = options or ("trickle sped googspedv1" if sped else "trickle")
        self._second = second
        self._groups = groups
        self._versions = versions
        self._written: Outbox = []  # by DTLS, where it does not write into the outbox itself
        self._checked_at: dict[bytes, float] = {}
        self._rtt = 0.05
        self._again_at = NEVER  # when what is pending leaves again by itself
        self._entropy = entropy
        self._setup = setup
        self._profiles = profiles
        self._generation = 0
        self._to: Address = None
        self._server = ("", "")  # its ufrag and pwd
        self._answered = False
        self._checks = self._answers = 0
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
            options=self._options,
            payload_type=self._payload_type,
            encoding=self._encoding,
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
                versions=self._versions,
                groups=self._groups,
                peer=self._to,
                outbox=self.outbox if self.piggyback is None else self._written,
                mtu=1200 if self.piggyback is None else SPED_MTU,
                inbox=[],
                events=self.events,
            )
            if self.piggyback is not None and isinstance(self.dtls, dtls.DtlsClient):
                self.dtls.start(now)
                self._capture()

    @property
    def deadline(self) -> float:
        return min(self._check_at, self._speak_at, self._again_at, self.dtls.deadline if self.dtls else NEVER)

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        if self.over or not datagram or self.dtls is None:
            return
        if datagram[0] <= 3:
            self._checked(datagram, now)
        elif datagram[0] <= 63:
            if self.piggyback is not None:
                self.piggyback.hears(datagram)
            self.dtls.receive(datagram, source, now)
            self._notice(now)
        elif self._keys is not None and rtp.is_rtcp(datagram):
            packet = self._keys[1].unprotect_rtcp(datagram)
            if packet is not None:
                self.rtp.receive(packet, source, now)
        elif self._keys is not None:
            packet = self._keys[1].unprotect(datagram)
            if packet is not None:
                self.hears(packet, now)

    def hears(self, packet: bytes, now: float) -> None:
        """Take a plain RTP packet."""
        header = rtp.read(packet)
        if header is not None:
            payload = packet[header[5] : header[6]]
            self.heard.append((now, header[2], payload))
            self._different.add(payload)

    def expire(self, now: float) -> None:
        if self._check_at <= now:
            self.check(now)
            self._check_at = now + self._pace()
        if self._again_at <= now:
            self._repeat(now)
        if self._speak_at <= now:
            self._speak_at += FRAME
            self.speak(now)
        if self.dtls is not None:
            self.dtls.expire(now)
            self._notice(now)

    def close(self, now: float) -> None:
        self._check_at = self._speak_at = self._again_at = NEVER
        if self.dtls is not None:
            self.dtls.close(now)
            self._capture()

    def _pace(self) -> float:
        if self.piggyback is None or self._keys is not None:
            return CALM if self._answered else EAGER
        self._checks += 1
        if self._checks == 1:
            return self._second
        return EAGER if self._answers < 3 else BRISK

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
        if self.piggyback is not None:
            self._checked_at[transaction_id] = now
            attributes += self.piggyback.attributes(sum(4 + (len(value) + 3 & ~3) for _, value in attributes))
        self.outbox.append(
            (stun.encode(stun.BINDING_REQUEST, transaction_id, attributes, key=self._server[1].encode()), self._to)
        )

    def speak(self, now: float) -> None:
        """Send the next packet now."""
        if self._keys is None:
            return
        self.spoken += 1
        packet = rtp.build(
            self._payload_type,
            self.spoken == 1,
            self.spoken & 0xFFFF,
            self.spoken * self._step,
            self.ssrc,
            self._words(self.spoken),
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
        self._answers += 1
        if self.piggyback is not None:
            self._rides(message, now)
        if not self._answered:
            self._answered = True
            self._check_at = now + EAGER  # to nominate
            if self.piggyback is not None:
                self._repeat(now)
            elif isinstance(self.dtls, dtls.DtlsClient) and self._keys is None:
                self.dtls.start(now)

    def _rides(self, answer: stun.Message, now: float) -> None:
        """Take the DTLS that an answer carries."""
        assert self.piggyback is not None
        assert self.dtls is not None
        self._rtt = max(now - self._checked_at.pop(answer.transaction_id), 0.001)
        datagram = self.piggyback.takes(answer)
        if datagram:
            self.dtls.receive(datagram, self._to, now)
        self._notice(now)

    def _repeat(self, now: float) -> None:
        """Send what is pending by itself, now that we may, and again while it is."""
        assert self.piggyback is not None
        self.outbox += [(datagram, self._to) for datagram in self.piggyback.pending if not self.piggyback.is_over]
        again = self.piggyback.pending and not self.piggyback.is_over and not self.over
        self._again_at = now + max(0.05, 2 * self._rtt) if again else NEVER

    def _capture(self) -> None:
        """See where what DTLS wrote goes: into the next checks, and by itself as well where a check has been answered."""
        if self.piggyback is not None and self._written:
            self.piggyback.captures([datagram for datagram, _ in self._written])
            if self._answered:
                self.outbox += self._written
            self._written.clear()

    def _notice(self, now: float) -> None:
        self._capture()
        for event in self.events:
            if isinstance(event, dtls.Connected):
                profile = srtp.PROFILES[event.srtp_profile]
                assert self.dtls is not None
                client, server = srtp.split(profile, self.dtls.export(srtp.EXTRACTOR, srtp.material_length(profile)))
                ours, theirs = (client, server) if isinstance(self.dtls, dtls.DtlsClient) else (server, client)
                self._keys = (srtp.sender(profile, ours), srtp.receiver(profile, theirs))
                self.connected_at = now
                if self.piggyback is not None:
                    self.piggyback.connects()
                self._speak_at = now if self.talks else NEVER
            elif isinstance(event, Failed | Closed):
                self.over = event
                self._check_at = self._speak_at = self._again_at = NEVER
        self.events.clear()

    @property
    def echoes(self) -> int:
        """How many different packets came back."""
        return len(self._different)
