"""An endpoint: one port and all its sessions. Admits, routes, and keeps one agenda of deadlines.

A session is admitted by the owner, when signaling made the call; a datagram never makes one. STUN is routed by the username fragment
that it addresses, everything else by its source, once a check has proven that source. A source can be proven to several sessions: a
client with a session of its own may forge the address of another. Then each of them gets what comes from it, and only the one whose
keys fit takes it; nobody loses a packet.
"""

import enum
from collections import Counter
from collections.abc import Iterable
from typing import Final, TypeAlias

import attrs

from trioice import srtp, stun
from trioice.agenda import Agenda
from trioice.errors import LocalProtocolError, Misbehaviour, RemoteProtocolError
from trioice.ice import Credentials, PathForgotten, PathProven
from trioice.sansio import NEVER, Address, Closed, Event, Failed, Outbox
from trioice.session import Session, SessionConfig

CLAIMANTS: Final = 4
"""Sessions that may share one source. Two, for a moment, when a browser reuses a port; more only by forgery, and the eldest stay."""

Media: TypeAlias = list[tuple[Session, bytes]]
Events: TypeAlias = list[tuple[Session, Event]]


class Drop(enum.Enum):
    """Why a datagram reached no session."""

    UNKNOWN_UFRAG = "a STUN message that addresses no session"
    UNKNOWN_SOURCE = "from a source that no check has proven"


@attrs.frozen(eq=False)
class _Admitted:
    """What the endpoint keeps beside a session."""

    events: list[Event]
    ufrags: list[str]  # the newest last
    sources: set[Address] = attrs.field(factory=set)


@attrs.frozen(eq=False)
class Broke(Event):
    """An error of our own ended the session; the others go on. For the log."""

    error: Exception


class Endpoint:
    """One port's machine. Appends plain RTP packets to `media` and changes of state to `events`, each with its session."""

    def __init__(self, *, outbox: Outbox, media: Media, events: Events) -> None:
        self.dropped: Counter[Drop] = Counter()
        self.sessions: dict[Session, _Admitted] = {}
        self._by_ufrag: dict[bytes, Session] = {}
        self._by_source: dict[Address, list[Session]] = {}
        self._sole: dict[Address, Session] = {}  # the same, of sources that one session claims: nearly all of them
        self._agenda: Agenda[Session] = Agenda()
        self._room = srtp.Room()
        self._outbox = outbox
        self._media = media
        self._events = events

    @property
    def deadline(self) -> float:
        """The earliest deadline of all sessions."""
        return self._agenda.deadline

    def admit(self, config: SessionConfig, now: float) -> Session:
        """Make a session. Its username fragment must be unique among those that live."""
        self._claim(config.credentials.ufrag)
        ufrag = config.credentials.ufrag
        events: list[Event] = []
        session = Session(config, outbox=self._outbox, events=events, now=now, room=self._room)
        self.sessions[session] = _Admitted(events, [ufrag])
        self._by_ufrag[ufrag.encode()] = session
        self._agenda.set(session, session.deadline)
        return session

    def restart(self, session: Session, credentials: Credentials, now: float) -> None:
        """Restart a session's ICE with new credentials; the former generation stays routable, those before it do not."""
        self._claim(credentials.ufrag)
        session.restart(credentials, now)
        ufrags = self.sessions[session].ufrags
        ufrags.append(credentials.ufrag)
        self._by_ufrag[credentials.ufrag.encode()] = session
        while len(ufrags) > 2:
            del self._by_ufrag[ufrags.pop(0).encode()]

    def has_ufrag(self, ufrag: str) -> bool:
        """Tell whether a live session is addressed by `ufrag`."""
        return ufrag.encode() in self._by_ufrag

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        """Route a datagram to the session that it belongs to."""
        if datagram and datagram[0] <= 3:
            session = self._by_ufrag.get(stun.server_ufrag(datagram) or b"")
            if session is None:
                self.dropped[Drop.UNKNOWN_UFRAG] += 1
            else:
                self._deliver(session, datagram, source, now)
            return
        sessions = self._by_source.get(source)
        if sessions is None:
            self.dropped[Drop.UNKNOWN_SOURCE] += 1
        elif len(sessions) == 1:
            self._deliver(sessions[0], datagram, source, now)
        else:
            for session in sessions.copy():
                self._deliver(session, datagram, source, now)

    def receive_burst(self, burst: Iterable[tuple[bytes, Address]], now: float) -> None:
        """Take many datagrams, each with its source: the same as `receive` of one after the other, at less cost for media."""
        sole, media = self._sole, self._media
        for datagram, source in burst:
            session = sole.get(source)
            if session is None or not 128 <= (datagram[0] if datagram else 0) <= 191:
                self.receive(datagram, source, now)
                continue
            try:
                packet = session.receive_media(datagram, source, now)
            except Exception as error:  # noqa: BLE001 - a session is a fault boundary
                self._break(session, error, now)
                packet = None
            if packet is not None:
                # Media brings no deadline nearer, so the agenda need not hear of it; but for a gap, which may have to be asked for.
                media.append((session, packet))
            if packet is None or session.events or session.stirred:
                self._settle(session, now)

    def expire(self, now: float) -> None:
        """Do what is due in each session."""
        for session in self._agenda.due(now):
            try:
                session.expire(now)
            except Exception as error:  # noqa: BLE001 - a session is a fault boundary
                self._break(session, error, now)
            self._settle(session, now)

    def close(self, now: float) -> None:
        """Close every session."""
        for session in list(self.sessions):
            self.hang_up(session, now)

    def hang_up(self, session: Session, now: float) -> None:
        """Close one session: its goodbyes go into the outbox, and it is forgotten."""
        if session not in self.sessions:
            return
        try:
            session.close(now)
        except Exception as error:  # noqa: BLE001
            self._break(session, error, now)
        else:
            self.sessions[session].events.append(Closed("hung up"))
        self._settle(session, now)

    def _deliver(self, session: Session, datagram: bytes, source: Address, now: float) -> None:
        try:
            packet = session.receive(datagram, source, now)
        except Exception as error:  # noqa: BLE001 - a session is a fault boundary
            self._break(session, error, now)
            packet = None
        if packet is not None:
            self._media.append((session, packet))
        self._settle(session, now)

    def _settle(self, session: Session, now: float) -> None:
        """Learn what a session announced, pass it on, and note its deadline."""
        admitted = self.sessions[session]
        over = False
        for event in admitted.events:
            match event:
                case PathProven(source):
                    claimants = self._by_source.setdefault(source, [])
                    if len(claimants) < CLAIMANTS:
                        claimants.append(session)
                        admitted.sources.add(source)
                        self._note_sole(source, claimants)
                case PathForgotten(source):
                    self._disclaim(session, admitted, source)
                case Failed() | Closed():
                    over = True
                case _:
                    pass
            self._events.append((session, event))
        admitted.events.clear()
        session.stirred = False
        if over:
            self._forget(session)
        else:
            self._agenda.set(session, session.deadline)

    def _break(self, session: Session, error: Exception, now: float) -> None:
        """End a session that raised; whatever state it is in, nothing more comes out of it."""
        session.abandon(now)
        self.sessions[session].events.extend(
            (Broke(error), Failed(RemoteProtocolError(Misbehaviour.INTERNAL, f"{type(error).__name__}: {error}")))
        )

    def _forget(self, session: Session) -> None:
        admitted = self.sessions.pop(session)
        for ufrag in admitted.ufrags:
            del self._by_ufrag[ufrag.encode()]
        for source in list(admitted.sources):
            self._disclaim(session, admitted, source)
        self._agenda.set(session, NEVER)

    def _disclaim(self, session: Session, admitted: _Admitted, source: Address) -> None:
        if source in admitted.sources:
            admitted.sources.remove(source)
            claimants = self._by_source[source]
            claimants.remove(session)
            self._note_sole(source, claimants)
            if not claimants:
                del self._by_source[source]

    def _note_sole(self, source: Address, claimants: list[Session]) -> None:
        if len(claimants) == 1:
            self._sole[source] = claimants[0]
        else:
            self._sole.pop(source, None)

    def _claim(self, ufrag: str) -> None:
        if self.has_ufrag(ufrag):
            raise LocalProtocolError(f"a live session has the ufrag {ufrag}")
