"""The transceiver: one port, all its calls, and the agents behind them."""

import base64
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Literal

import attrs
import trio

from trioice import dtls, rtp, sdp, srtp
from trioice.audio import CODECS
from trioice.driver import Driver
from trioice.endpoint import Broke, Endpoint, Events, Media
from trioice.errors import LocalProtocolError, TrioiceError
from trioice.ice import Credentials
from trioice.metrics import Sample
from trioice.ports import Port, transport_address
from trioice.relay.token import NONCE_LENGTH, Route, TokenKeys
from trioice.sansio import Closed, Entropy, Failed, Outbox
from trioice.session import Session, SessionConfig
from trioice.transceiver.call import Call, PacketAgent
from trioice.transceiver.echo import echo
from trioice.transceiver.pacer import Pacer, Source, Stream
from trioice.transceiver.totals import Totals

logger = logging.getLogger(__name__)

Agent = Callable[[Call], Awaitable[None]]
"""An agent as a task of its own: the call ends when it returns."""

GRACE: Final = 5.0
"""Seconds that an agent's task may go on after its call has ended."""

CALLS: Final = 1000
"""Calls of one transceiver unless told otherwise: what one core carries."""

CALLS_PER_OWNER: Final = 100
"""Calls of one network address unless told otherwise: an office, but not a tenth of the callers of all."""

PROFILES: Final = tuple(srtp.PROFILES.values())
"""SRTP profiles unless told otherwise, the cheapest first."""


class Exhausted(TrioiceError):
    """The limit of calls is reached, or the transceiver is stopping: try another, or later."""


class Crowded(TrioiceError):
    """Whoever asks has as many calls as one may have."""


@attrs.frozen(kw_only=True)
class TransceiverConfig:
    """What a transceiver is told at start.

    `candidates` are the addresses that clients are told to send to: the relay's, or its own. The `route` and `keys` make the routing
    tokens; a relay needs the same keys, and a directory that leads the route here. `redundancy` is whether clients are asked for copies of
    each payload in the next packet (RED), which whoever takes packets has to read; by default they are where agents are tasks only.
    """

    candidates: Sequence[sdp.Candidate]
    route: Route
    keys: TokenKeys = attrs.field(repr=False)
    certificate: dtls.Certificate = attrs.field(repr=False)
    dtls_role: Literal["auto", "active", "passive"] = "auto"
    dtls_versions: Sequence[int] = dtls.VERSIONS
    dtls_groups: Sequence[int] = tuple(dtls.GROUPS)
    profiles: Sequence[srtp.Profile] = PROFILES
    redundancy: bool | None = None
    calls: int = CALLS
    calls_per_owner: int = CALLS_PER_OWNER
    entropy: Entropy = attrs.field(default=os.urandom, repr=False)


class Transceiver:
    """Owns the calls of one port. `run` drives it; every other verb is synchronous, and belongs to the same thread."""

    def __init__(
        self,
        config: TransceiverConfig,
        port: Port,
        *,
        packet_agent: PacketAgent | None = None,
        agent: Agent | None = None,
    ) -> None:
        self.config = config
        self.calls: dict[str, Call] = {}
        self._totals = Totals()
        self._owners: Counter[str] = Counter()  # owner → calls that live
        self._packet_agent = packet_agent if packet_agent or agent else echo
        self._agent = agent
        self._redundancy = config.redundancy if config.redundancy is not None else self._packet_agent is None
        self._media: Media = []
        self._events: Events = []
        outbox: Outbox = []
        self.endpoint = Endpoint(outbox=outbox, media=self._media, events=self._events)
        self._driver = Driver(self.endpoint, port, outbox, self._react)
        self._pacer = Pacer(self._driver.flush)
        self._nursery: trio.Nursery | None = None
        self._now: float | None = None  # while agents are handed what a burst brought
        self._epoch = 0.0
        self._stopping = False

    @property
    def candidates(self) -> Sequence[sdp.Candidate]:
        """The addresses that clients are told to send to."""
        return self.config.candidates

    @property
    def running(self) -> bool:
        """Whether new calls are taken: from the start of `run` until a stop is announced."""
        return self._nursery is not None and not self._stopping

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve calls until cancelled; then every peer is told goodbye."""
        self._epoch = time.time() - trio.current_time()
        async with trio.open_nursery() as self._nursery:
            await self._nursery.start(self._pacer.run)
            try:
                await self._driver.run(task_status)
            finally:
                self._nursery = None

    def announce_stop(self) -> None:
        """Take no new calls from now on; those that live go on until `run` is cancelled."""
        self._stopping = True

    def answer(self, offer: str, *, session: object = None, owner: str = "") -> Call:
        """Make a call of an offer. Raises `sdp.SdpError`, `Exhausted` or `Crowded`.

        `session` is kept for the agent. The calls of one `owner`, commonly a network address, are counted; nobody's ("") are not.
        """
        if not self.running:
            raise Exhausted("no new calls are taken")
        if len(self.calls) >= self.config.calls:
            raise Exhausted(f"all {self.config.calls} calls are taken")
        if owner and self._owners[owner] >= self.config.calls_per_owner:
            raise Crowded(f"this address has {self.config.calls_per_owner} calls already")
        now = trio.current_time()
        return self._make_call(sdp.Offer.read(offer), session, owner, now)

    def restart(self, call: Call, offer: str) -> str:
        """Restart a call's ICE with a new offer; the new answer. Raises `sdp.SdpError`, or `LocalProtocolError` after its end."""
        new = sdp.Offer.read(offer)
        if set(new.fingerprints) != set(call.media.config.fingerprints):
            raise sdp.OfferRefused(None, "a restart keeps the DTLS association, but another fingerprint is offered")
        if new.setup == _setup(call.media.config):
            raise sdp.OfferRefused(None, f"a restart keeps the DTLS roles, but a=setup:{new.setup} is offered")
        if new.audio.codec != call.codec.name:
            raise sdp.OfferRefused(
                None, f"a restart keeps the codec, which is {call.codec.name}, not {new.audio.codec}"
            )
        self._restart(call, new.ice_ufrag)
        call.agree(new.audio, redundancy=self._redundancy)
        call.answers += 1
        call.answer = self._answer(call.media.config, call.media.ice.credentials, new, call.origin, call.answers)
        return call.answer

    def restart_ice(self, call: Call, ufrag: str, pwd: str) -> tuple[str, str]:
        """Restart a call's ICE with the client's new credentials; ours, as (ufrag, pwd).

        The client's password is of no use here: a lite agent sends no checks.
        """
        self._restart(call, ufrag)
        credentials = call.media.ice.credentials
        return credentials.ufrag, credentials.pwd

    def find(self, call_id: str) -> Call | None:
        """Find a live call."""
        return self.calls.get(call_id)

    def send(self, call: Call, packet: bytes) -> None:
        """Send a plain RTP packet to a call (see `Call.send`)."""
        now = self._now
        if now is not None:  # within a turn, which flushes at its end
            call.media.send(packet, now)
        else:
            call.media.send(packet, trio.current_time())
            self._driver.flush()

    def pace(self, call: Call, ptime: float, source: Source | None = None) -> Stream:
        """Make a stream of payloads for a call (see `Call.stream` and `Call.speaker`)."""

        def send(payload: bytes, timestamp: int, marker: bool) -> None:
            call.media.send(call.packet(payload, timestamp, marker), trio.current_time())  # the pacer flushes

        clock_rate, timestamp = call.media.config.clock_rate, int.from_bytes(self.config.entropy(4), "big")
        return self._pacer.open(send, ptime=ptime, clock_rate=clock_rate, timestamp=timestamp, source=source)

    def hang_up(self, call: Call) -> None:
        """End a call (see `Call.hang_up`)."""
        self.endpoint.hang_up(call.media, trio.current_time())
        self._announce()
        self._driver.flush()

    def metrics(self) -> Iterable[Sample]:
        """Tell what is counted, for the whole port and summed over its calls."""
        live = ((call.media, call.quality()) for call in self.calls.values())
        yield from self._totals.samples(live, self.endpoint, trio.current_time())
        yield from self._pacer.samples()

    def _make_call(self, offer: sdp.Offer, offered: object, owner: str, now: float) -> Call:
        config, entropy = self.config, self.config.entropy
        setup = offer.answer_setup(config.dtls_role)
        session_config = SessionConfig(
            credentials=self._credentials(offer.ice_ufrag),
            dtls_role="client" if setup == "active" else "server",
            dtls_versions=config.dtls_versions,
            dtls_groups=config.dtls_groups,
            certificate=config.certificate,
            fingerprints=offer.fingerprints,
            profiles=config.profiles,
            ssrc=int.from_bytes(entropy(4), "big"),
            cname=_word(entropy(9)),
            clock_rate=CODECS[offer.audio.codec].clock_rate,
            red=offer.audio.red if self._redundancy else None,
            rtcp_reduced_size=offer.audio.rtcp_rsize,
            receiver_rtt=offer.audio.receiver_rtt,
            entropy=entropy,
            epoch=self._epoch,
            transport_address=transport_address,
        )
        session = self.endpoint.admit(session_config, now)
        origin = int.from_bytes(entropy(4), "big")
        call = Call(
            self,
            session,
            call_id=f"rtc_{_word(entropy(18))}.{config.route.shard:x}",  # where it is, for whom a request about it reaches
            owner=owner,
            audio=offer.audio,
            redundancy=self._redundancy,
            offered=offered,
            origin=origin,
            answer=self._answer(session_config, session_config.credentials, offer, origin, 1),
            etag=_word(entropy(9)),
        )
        self.calls[call.id] = session.owner = call
        self._totals.answered += 1
        self._owners[owner] += 1
        self._driver.flush()  # the driver must learn of the new deadline
        if self._agent is not None and self._nursery is not None:
            self._nursery.start_soon(self._run_agent, call, self._agent)
        session.answered(trio.current_time())
        logger.info("call %s offered; we are DTLS %s", call.name, session_config.dtls_role)
        return call

    def _restart(self, call: Call, remote_ufrag: str) -> None:
        if call.ended.is_set():
            raise LocalProtocolError("the call has ended")
        self.endpoint.restart(call.media, self._credentials(remote_ufrag), trio.current_time())
        call.etag = _word(self.config.entropy(9))

    def _credentials(self, remote_ufrag: str) -> Credentials:
        entropy = self.config.entropy
        while True:
            ufrag = self.config.keys.seal(self.config.route, entropy(NONCE_LENGTH))
            if not self.endpoint.has_ufrag(ufrag):
                return Credentials(ufrag, base64.b64encode(entropy(24)).decode(), remote_ufrag)

    def _answer(
        self, config: SessionConfig, credentials: Credentials, offer: sdp.Offer, origin: int, version: int
    ) -> str:
        return sdp.answer(
            offer,
            ufrag=credentials.ufrag,
            pwd=credentials.pwd,
            fingerprint=config.certificate.fingerprint(),
            setup=_setup(config),
            candidates=self.candidates,
            ssrc=config.ssrc,
            cname=config.cname,
            origin=origin,
            version=version,
            redundancy=self._redundancy,
        )

    def _react(self, now: float) -> None:
        """Hand a burst's media to the agents, then its changes of state to whom they concern."""
        if self._media:
            bursts: dict[Session, list[bytes]] = {}
            for session, packet in self._media:
                if session in bursts:
                    bursts[session].append(packet)
                else:
                    bursts[session] = [packet]
            self._media.clear()
            self._now = now
            for session, packets in bursts.items():
                if session.owner is not None:
                    self._hand_over(session.owner, packets, now)
            self._now = None
        if self._events:
            self._announce()

    def _hand_over(self, call: Call, packets: list[bytes], now: float) -> None:
        try:  # a call is a fault boundary, what listens to it included
            if self._packet_agent is not None:
                self._packet_agent(call, packets)
            if self._agent is not None:
                call.deliver(packets, now)
        except Exception:
            logger.exception("call %s: its agent failed", call.name)
            call.hang_up()

    def _announce(self) -> None:
        events = self._events.copy()
        self._events.clear()
        for session, event in events:
            call: Call | None = session.owner
            if call is None:
                continue
            match event:
                case dtls.KeysDerived():
                    if session.can_send:
                        call.begin()
                case dtls.Connected():
                    version, group = dtls.VERSION_NAMES[event.version], dtls.GROUP_NAMES[event.group]
                    profile = srtp.PROFILES[event.srtp_profile].name
                    call.agreed = f"dtls={version} group={group} srtp={profile}"
                    call.begin()
                case rtp.MediaBegan():
                    self._tell_set_up(call)
                case Broke(error):
                    logger.error("call %s broke", call.name, exc_info=error)
                case Failed(error):
                    self._end(call, str(error), error.reason.name.lower())
                case Closed(reason):
                    self._end(call, reason, "closed")
                case _:
                    pass

    def _tell_set_up(self, call: Call) -> None:
        timeline = call.media.timeline
        self._totals.set_up(timeline)
        logger.info("call %s set-up: %s %s", call.name, call.agreed, timeline.line())

    def _end(self, call: Call, why: str, reason: str) -> None:
        del self.calls[call.id]
        call.media.owner = None
        self._owners[call.owner] -= 1
        if not self._owners[call.owner]:
            del self._owners[call.owner]
        try:
            if not call.media.timeline.is_complete:  # else it was told when it became so
                self._tell_set_up(call)
            quality = call.quality()
            self._totals.end(call.media, reason, quality, trio.current_time())
            logger.info("call %s quality: %s", call.name, quality.line())
        except Exception:  # what broke a session may have broken its counters
            logger.exception("call %s: its counters are lost", call.name)
        try:
            call.end(why)
        except Exception:
            logger.exception("call %s: what listened to it has failed", call.name)
        logger.info("call %s ended: %s", call.name, why)

    async def _run_agent(self, call: Call, agent: Agent) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, call, nursery.cancel_scope)
                await agent(call)
                nursery.cancel_scope.cancel()
        except Exception:
            logger.exception("call %s: its agent failed", call.name)
        finally:
            call.hang_up()


async def _cancel_after(call: Call, scope: trio.CancelScope) -> None:
    await call.ended.wait()
    scope.deadline = trio.current_time() + GRACE


def _setup(config: SessionConfig) -> sdp.Setup:
    return "active" if config.dtls_role == "client" else "passive"


def _word(octets: bytes) -> str:
    """Random octets as a word that may stand in a URL, three in four characters."""
    return base64.urlsafe_b64encode(octets).decode()
