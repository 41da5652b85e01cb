"""Carriage: a session's DTLS association, the ways its datagrams take, and how many go to a peer that has yet to show that it hears us.

They come and go by themselves or, where the peer speaks SPED, with checks and their answers (`trioice.sped`). Which of both is known
with the first check that we answer, and so before there is an association.
"""

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from trioice import dtls, sped
from trioice.errors import Misbehaviour, RemoteProtocolError
from trioice.ice import Check
from trioice.sansio import NEVER, Address, Event, Failed, Outbox
from trioice.timeline import Notes, Step

HANDSHAKE_GRACE: Final = {"client": 12_000, "server": 1500}
"""Octets of DTLS that a peer may get before it has shown that it hears us, besides what it earns. A check proves that its sender knows
the password, not that its source address is its own: that is proven by the end of the handshake, which signs our random octets. As
server we answer, so a datagram more than what was earned is enough. As client we begin: eight times a ClientHello with a post-quantum
share, as often as one that is not answered is sent at all. It is the price of an offer, and offers are counted by address."""

HANDSHAKE_CREDIT: Final = 2
"""Octets of DTLS that each octet of the peer's checks and handshake earns it. With the answers to the checks that is under three."""

MTU: Final = 1200
"""Octets of a DTLS datagram that always goes by itself."""

SETUP: Final = 60.0
"""Seconds from the first check to the end of the handshake. A flight that is not answered gives up sooner; a peer that never begins
its own must not hold a call."""

DtlsRole = Literal["client", "server"]
Dtls: TypeAlias = dtls.DtlsClient | dtls.DtlsServer


class Carriage:
    """Begins with `start`, or with the first check where that speaks SPED.

    `make` makes the association when it is given `peer`, `outbox`, `mtu`, `first_timeout` and `allowance`.
    """

    __slots__ = ("_connect_by", "_events", "_made_at", "_make", "_notes", "_outbox", "_role", "association", "sped")

    def __init__(
        self,
        role: DtlsRole,
        make: Callable[..., Dtls],
        *,
        outbox: Outbox,
        events: list[Event],
        notes: Notes,
        now: float,
    ) -> None:
        self.association: Dtls | None = None
        self.sped: sped.Sped | None = None  # where the peer speaks it
        self._role = role
        self._make = make
        self._outbox = outbox
        self._events = events
        self._notes = notes
        self._made_at = now
        self._connect_by = NEVER

    @property
    def deadline(self) -> float:
        """When the association has something to do, or its time is up."""
        if self.association is None:
            return NEVER
        due = self.association.deadline
        return due if due < self._connect_by else self._connect_by  # noqa: FURB136 - asked for with each datagram

    def start(self, peer: Address, now: float) -> None:
        """Begin the handshake with a source that a check has proven; does nothing the second time."""
        if self.association is not None:
            return
        self._notes.step(Step.CHECK, now)
        self.association = self._make(
            peer=peer,
            outbox=self._outbox if self.sped is None else self.sped.written,
            mtu=MTU if self.sped is None else sped.MTU,
            first_timeout=self._first_timeout(now),
            allowance=HANDSHAKE_GRACE[self._role],
        )
        self._connect_by = now + SETUP
        if isinstance(self.association, dtls.DtlsClient):
            self.association.start(now)
            self._notes.flights(now, heard=False, answered=True)

    def take_check(self, check: Check, length: int, now: float) -> sped.Attributes:
        """Take the DTLS that a check of `length` octets carries; what the answer carries, behind which `follow` is to be called."""
        if self.association is None and sped.is_spoken(check.message):
            self.sped = sped.Sped()
            self.start(check.source, now)
        association = self.association
        if association is None:
            return []
        association.allowance += HANDSHAKE_CREDIT * length
        if self.sped is None:
            return []
        datagram = self.sped.take(check.message) if check.is_new else None
        if datagram is not None:
            self._take(association, datagram, check.source, now)
        attributes, cost = self.sped.answer(association.allowance, now)
        association.allowance -= cost
        return attributes

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        """Take a DTLS datagram that came by itself from a proven source."""
        association = self.association
        if association is None:
            return
        association.allowance += HANDSHAKE_CREDIT * len(datagram)
        if self.sped is None or self.sped.hear(datagram):
            self._take(association, datagram, source, now)
        self._send(association.peer, now)

    def follow(self, to: Address, now: float) -> None:
        """Send behind the answer to a check what it did not carry."""
        if self.sped is not None and self.association is not None:
            self.association.allowance -= self.sped.send(self._outbox, to, self.association.allowance, now)

    def _send(self, to: Address, now: float) -> None:
        """Send what DTLS wrote. Without SPED it writes into the outbox itself."""
        if self.sped is not None:
            self.sped.send(self._outbox, to, 0, now)

    def expire(self, now: float) -> None:
        """Do what is due, or give up."""
        if self.association is None:
            return
        self.association.expire(now)
        self._send(self.association.peer, now)
        if now >= self._connect_by:
            self._events.append(Failed(RemoteProtocolError(Misbehaviour.HANDSHAKE_TIMEOUT, f"in {SETUP:.0f} s")))

    def close(self, now: float) -> None:
        """Say goodbye in DTLS."""
        if self.association is not None:
            self.association.close(now)
            self._send(self.association.peer, now)

    @property
    def hello_in_checks(self) -> bool:
        """Whether all DTLS so far came with authenticated checks, and so from somebody who knows our password."""
        return self.sped is not None and self.sped.hello_in_checks

    def spend(self, octets: int) -> bool:
        """Tell whether so many octets may go to a peer that has yet to show that it hears us, and count them.

        What the handshake needs to be repeated is not for media.
        """
        if self.association is None or self.association.allowance < octets + self.association.flight_size:
            return False
        self.association.allowance -= octets
        return True

    def connected(self) -> None:
        """Note that the peer has proven who it is, and so that it hears us."""
        self._connect_by = NEVER
        if self.association is not None:
            self.association.allowance = NEVER

    def _take(self, association: Dtls, datagram: bytes, source: Address, now: float) -> None:
        begun, refused = association.flight, association.dropped.total()
        association.receive(datagram, source, now)
        is_heard, is_answered = association.dropped.total() == refused, association.flight > begun
        self._notes.flights(now, heard=is_heard, answered=is_answered, rtt=association.rtt)
        association.inbox.clear()  # application data: nothing reads it until there are data channels
        if self.sped is not None and association.state is dtls.State.CONNECTED:
            self.sped.establish()

    def _first_timeout(self, now: float) -> float:
        """Tell how long the first flight waits for its answer: twice what the client took from our answer to its first check.

        That is at least a round trip; but it may be minutes, as a client need not check at once, so it can only shorten the wait.
        """
        return min(max(2 * (now - self._made_at), dtls.LEAST_TIMEOUT), dtls.FIRST_TIMEOUT)
