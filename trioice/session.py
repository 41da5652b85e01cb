"""A session: one peer's whole WebRTC state, demultiplexed by the first octet of each datagram (RFC 7983).

    datagram ─┬─ 0..3      STUN ─────▶ IceLite ── proves sources, selects the path; may carry DTLS as well
              ├─ 20..63    DTLS ─────▶ Carriage ──▶ DtlsClient or DtlsServer ── yields the SRTP keys
              └─ 128..191  SRTP ─────▶ SrtpReceiver ──▶ RtpSession ──▶ a plain RTP packet, returned

Everything but STUN counts only from a source that a check has proven. The handshake starts with the first such check. Media goes to
the path that ICE selected, and ICE follows it: a packet that is authentic, and newer than all before, moves the path to where it came from.
"""

import enum
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

from trioice import dtls, rtp, srtp
from trioice.carriage import Carriage, Dtls, DtlsRole
from trioice.errors import LocalProtocolError
from trioice.ice import Credentials, IceLite, PathProven, PathSelected
from trioice.sansio import NEVER, Address, Closed, Entropy, Event, Failed, Outbox
from trioice.timeline import Notes, Step, Timeline


@attrs.frozen(kw_only=True)
class SessionConfig:
    """What offer and answer agreed on, and what the session is given to work with.

    `profiles` are SRTP protection profiles, `dtls_versions` versions of DTLS, and `dtls_groups` groups of its key exchange, each in our
    order of preference. `red` is the payload type of the peer's packets that carry copies of others, `rtcp_reduced_size` whether it takes
    feedback without a report, `receiver_rtt` whether it measures the round trip by XR. `epoch` is wall time minus monotonic time, in
    seconds; `transport_address` gives the IP address and port behind an `Address`.
    """

    credentials: Credentials
    dtls_role: DtlsRole
    dtls_versions: Sequence[int] = dtls.VERSIONS
    dtls_groups: Sequence[int] = tuple(dtls.GROUPS)
    certificate: dtls.Certificate = attrs.field(repr=False)
    fingerprints: Sequence[dtls.Fingerprint]
    profiles: Sequence[srtp.Profile]
    ssrc: int
    cname: str
    clock_rate: int = 48000
    red: int | None = None
    rtcp_reduced_size: bool = False
    receiver_rtt: bool = False
    entropy: Entropy = attrs.field(repr=False)
    epoch: float
    transport_address: Callable[[Address], tuple[str, int]] = attrs.field(repr=False)
    engine: srtp.Engine = "auto"


class Drop(enum.Enum):
    """Why a session refused a datagram before a layer saw it, or could not send a packet."""

    UNKNOWN_FIRST_OCTET = "neither STUN nor DTLS nor SRTP"
    UNPROVEN_SOURCE = "from a source that no check has proven"
    BEFORE_KEYS = "media before the handshake was complete"
    UNSENT = "a packet of ours before there was a path and a key"


class Session:
    """One peer. A machine (`trioice.sansio.Machine`); `receive` returns the plain RTP packet that a datagram held.

    `room` is memory for SRTP to work in, which sessions of one thread may share.
    """

    __slots__ = (
        "_carriage",
        "_history",
        "_notes",
        "_outbox",
        "_receiver",
        "_reports",
        "_room",
        "_sender",
        "_to",
        "config",
        "connected",
        "dropped",
        "ended",
        "events",
        "ice",
        "owner",
        "rtp",
        "stirred",
    )

    def __init__(
        self,
        config: SessionConfig,
        *,
        outbox: Outbox,
        events: list[Event],
        now: float,
        room: srtp.Room | None = None,
    ) -> None:
        self.config = config
        self.owner: Any = None  # whatever our owner wants to find again with what comes from here
        self.dropped: Counter[Drop] = Counter()
        self.connected = False
        self.ended = False
        self.stirred = False  # a packet of media may have brought the deadline nearer; for our owner to reset
        self.ice = IceLite(
            config.credentials, transport_address=config.transport_address, outbox=outbox, events=events, now=now
        )
        self._outbox = outbox
        self.events = events
        self._to: Address | None = None  # where ICE says that we send
        self._room = room
        self._notes = Notes(now)
        self._carriage = Carriage(
            config.dtls_role, self._association(), outbox=outbox, events=events, notes=self._notes, now=now
        )
        self._receiver: srtp.SrtpReceiver | None = None
        self._sender: srtp.SrtpSender | None = None
        self._history = rtp.History()
        self._reports: Outbox = []
        self.rtp = rtp.RtpSession(
            ssrc=config.ssrc,
            cname=config.cname,
            clock_rate=config.clock_rate,
            red=config.red,
            reduced_size=config.rtcp_reduced_size,
            receiver_rtt=config.receiver_rtt,
            epoch=config.epoch,
            entropy=config.entropy,
            outbox=self._reports,
            events=events,
        )

    @property
    def deadline(self) -> float:
        """The earliest of the layers' deadlines."""
        if self.ended:
            return NEVER
        reports = self.rtp.deadline if self.connected else NEVER
        return min(self.ice.deadline, self._carriage.deadline, reports)

    @property
    def dtls(self) -> Dtls | None:
        """The DTLS association, from the first check on."""
        return self._carriage.association

    @property
    def can_send(self) -> bool:
        """Whether packets may be sent: once there is a path, and keys for it."""
        return self._sender is not None and self._to is not None

    def receive(self, datagram: bytes, source: Address, now: float) -> bytes | None:
        """Take a datagram from anywhere; the plain RTP packet that it held, if it did."""
        first = datagram[0] if datagram else 256
        if 128 <= first <= 191:
            if source in self.ice.paths:  # ended sessions have none
                return self.receive_media(datagram, source, now)
            self.dropped[Drop.UNPROVEN_SOURCE] += 1
            return None
        if self.ended:
            return None
        mark = len(self.events)
        if first <= 3:
            check = self.ice.read(datagram, source, now)
            if check is not None:
                self.ice.answer(check, self._carriage.take_check(check, len(datagram), now))
                self._carriage.follow(source, now)
        elif 20 <= first <= 63:
            if source in self.ice.paths:
                self._carriage.receive(datagram, source, now)
            else:
                self.dropped[Drop.UNPROVEN_SOURCE] += 1
        else:
            self.dropped[Drop.UNKNOWN_FIRST_OCTET] += 1
        if len(self.events) > mark:
            self._notice(mark, now)
        return None

    def receive_media(self, datagram: bytes, source: Address, now: float) -> bytes | None:
        """Take a datagram of SRTP or SRTCP from a path of this session; else as `receive`."""
        receiver = self._receiver
        if receiver is None:
            self.dropped[Drop.BEFORE_KEYS] += 1
            return None
        if rtp.is_rtcp(datagram):
            report = receiver.unprotect_rtcp(datagram)
            if report is not None:
                mark = len(self.events)
                self.rtp.receive(report, source, now)
                if self.rtp.asked:
                    self._send_again(now)
                self._notice(mark, now)
            return None
        packet = receiver.unprotect(datagram)
        if packet is None:
            return None
        carried = self._carriage.sped
        if carried is not None and not carried.is_complete and self.config.dtls_role == "server":
            # A client that sends media has all of our handshake. A server may speak before it has (`dtls.KeysDerived`).
            carried.finish()
        is_newer = self.rtp.hear(packet, now)
        if is_newer is None:
            return None
        if self.rtp.stirred:
            self.rtp.stirred = False
            self.stirred = True
            self._send_reports()
        if is_newer and source is not self._to and source != self._to:
            # Only what is newer than all before: a straggler, or a packet replayed, must not take the path back.
            mark = len(self.events)
            self.ice.follow(source, now)
            self._notice(mark, now)
        return packet

    def expire(self, now: float) -> None:
        """Do what is due in each layer."""
        if self.ended:
            return
        mark = len(self.events)
        self.ice.expire(now)
        if self.ice.deadline != NEVER:  # else the peer's consent is gone, and nothing more may be said
            self._carriage.expire(now)
        self._notice(mark, now)
        if self.connected:
            self.rtp.expire(now)
            self._send_reports()

    def close(self, now: float) -> None:
        """Say goodbye in RTCP and DTLS, then be silent."""
        if self.ended:
            return
        if self.connected:
            self.rtp.close(now)
            self._send_reports()
        self._carriage.close(now)
        self._end(now)

    def abandon(self, now: float) -> None:
        """End without a word, whatever state a mistake of ours left: nothing comes in or goes out any more."""
        self._end(now)

    def restart(self, credentials: Credentials, now: float) -> None:
        """Take new ICE credentials (RFC 8445, 9); DTLS, the keys and the old path stay."""
        if self.ended:
            raise LocalProtocolError("the session has ended")
        self.ice.restart(credentials, now)

    def send(self, packet: bytes, now: float) -> None:
        """Protect a plain RTP packet and send it to the selected path; without one, or without keys, it is dropped and counted.

        Raises LocalProtocolError where it is no RTP packet of the session's own SSRC.
        """
        to, sender = self._to, self._sender
        if sender is None or to is None:
            self.dropped[Drop.UNSENT] += 1
            return
        if not self.connected and not self._carriage.spend(len(packet) + srtp.LONGEST_TAG):
            self.dropped[Drop.UNSENT] += 1
            return
        self.rtp.sent(packet, now)  # first, as it may raise
        protected = sender.protect(packet)
        if protected is not None:
            self._outbox.append((protected, to))
            self._history.packets.append(protected)

    def drops(self) -> Iterator[tuple[str, Counter[Any]]]:
        """What each layer refused, by reason."""
        yield "session", self.dropped
        yield "ice", self.ice.dropped
        if self.dtls is not None:
            yield "dtls", self.dtls.dropped
        if self._carriage.sped is not None:
            yield "sped", self._carriage.sped.dropped
        if self._receiver is not None:
            yield "srtp", self._receiver.dropped

    def answered(self, now: float) -> None:
        """Note that the answer to the offer leaves (for the timeline)."""
        self._notes.step(Step.ANSWER, now)

    @property
    def timeline(self) -> Timeline:
        """The steps of the set-up so far. The offer is taken to have come when the session was made."""
        return self._notes.timeline(self.rtp.first_heard, self.rtp.first_sent)

    def stats(self, now: float) -> dict[str, object]:
        """Counters of the session as plain data, times in seconds."""
        stats = attrs.asdict(self.rtp.stats(now)) | {"set_up": self.timeline.plain()}
        if self.dtls is not None and self.connected:
            stats |= {
                "dtls": dtls.VERSION_NAMES[self.dtls.version],
                "srtp": srtp.PROFILES[self.dtls.srtp_profile].name,
                "handshake_rtt": self.dtls.rtt,
            }
        stats["dropped"] = {
            layer: {drop.name.lower(): count for drop, count in dropped.items()} for layer, dropped in self.drops()
        }
        return stats

    def _notice(self, mark: int, now: float) -> None:
        """React to what the layers announced since `mark`; the events stay where they are, for our owner."""
        self._to = self.ice.selected
        for event in self.events[mark:]:
            match event:
                case PathProven(source):
                    self._carriage.start(source, now)
                case PathSelected(to):
                    if self.dtls is not None:
                        self.dtls.peer = to
                case dtls.KeysDerived(profile):
                    if self._carriage.hello_in_checks:
                        # The client has yet to prove who it is; but its hello came from somebody who knows our password.
                        self._sender, _ = self._keys(profile)
                        self._notes.step(Step.KEYS, now)
                case dtls.Connected():
                    if self.dtls is not None and self.dtls.state is dtls.State.CONNECTED:
                        self._connect(event.srtp_profile, now)  # else the same datagram said goodbye as well
                case Failed() | Closed():
                    # Without a word: DTLS has said its own, and to a peer without consent nothing may be sent (RFC 7675, 5.1).
                    self._end(now)
                case _:
                    pass

    def _association(self) -> Callable[..., Dtls]:
        """What makes the DTLS association, but for what its carriage knows."""
        config = self.config
        return functools.partial(
            dtls.DtlsClient if config.dtls_role == "client" else dtls.DtlsServer,
            certificate=config.certificate,
            fingerprints=config.fingerprints,
            profiles=[profile.number for profile in config.profiles],
            versions=config.dtls_versions,
            groups=config.dtls_groups,
            entropy=config.entropy,
            inbox=[],
            events=self.events,
        )

    def _connect(self, profile: int, now: float) -> None:
        """Let media flow both ways."""
        sender, self._receiver = self._keys(profile)
        if self._sender is None:  # not anew, if packets were sent already: no index is used twice
            self._sender = sender
        self.connected = True
        self._notes.step(Step.KEYS, now)
        self._notes.step(Step.CONNECTED, now)
        self._carriage.connected()
        self.rtp.round_trip.assumed = None if self.dtls is None else self.dtls.rtt
        self.rtp.start(now)

    def _keys(self, number: int) -> tuple[srtp.SrtpSender, srtp.SrtpReceiver]:
        """Derive the SRTP keys of both directions (RFC 5764, 4.2)."""
        assert self.dtls is not None
        profile = srtp.PROFILES[number]
        material = self.dtls.export(srtp.EXTRACTOR, srtp.material_length(profile))
        client, server = srtp.split(profile, material)
        ours, theirs = (client, server) if self.config.dtls_role == "client" else (server, client)
        engine, room = self.config.engine, self._room
        return (
            srtp.sender(profile, ours, engine=engine, room=room),
            srtp.receiver(profile, theirs, engine=engine, room=room),
        )

    def _send_again(self, now: float) -> None:
        """Send what the peer asked for once more, the same octets, to the path that is selected now."""
        if self._to is not None:
            going = self._history.again(self.rtp.asked, self.rtp.round_trip.least or 0.0, now)
            self._outbox.extend((packet, self._to) for packet in going)
            self.rtp.retransmitted += len(going)
        self.rtp.asked.clear()

    def _send_reports(self) -> None:
        to = self._to
        for report, _ in self._reports:
            if self._sender is not None and to is not None:
                protected = self._sender.protect_rtcp(report)
                if protected is not None:
                    self._outbox.append((protected, to))
        self._reports.clear()

    def _end(self, now: float) -> None:
        self.ended = True
        self.connected = False
        self.ice.close(now)  # without paths nothing comes in, and nothing goes out
        self._to = None
