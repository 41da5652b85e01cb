"""ICE-lite: the answering half of ICE (RFC 8445) for a server that anybody can reach, with consent (RFC 7675).

Theory of operation. A lite agent never sends a check. It answers each check that proves knowledge of its password, from whatever
source it comes: that proof makes the source a *path*, to which we may send. One path at a time is *selected* for what we send:

* the first one proven, at once: media and DTLS do not wait for nomination (RFC 8445, 12.1);
* then the one whose check carried USE-CANDIDATE last (RFC 8445, 8.1.1 and 7.3.1.5);
* and the one that authentic media came from last (`follow`), because a browser whose path changed sends media there up to two
  seconds before it nominates it.

Whatever does not prove knowledge of the password gets silence: an answer would make us a reflector, and tell a stranger which calls
exist. A check may be replayed by somebody who saw it, from another address; transaction ids are remembered so that this opens no path
and keeps none alive, and should it be older than that memory, the next authentic packet of the peer takes the path back.

A path that was not checked for thirty seconds is forgotten; when the last one goes, so does the peer's consent.

An ICE restart gives new credentials. The old ones stay good, and the old path keeps carrying media, until a check with the new ones comes.
"""

import enum
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from trioice import stun
from trioice.errors import Misbehaviour, RemoteProtocolError
from trioice.sansio import NEVER, Address, Event, Failed, Outbox

CONSENT: Final = 30.0
"""Seconds without a check after which a path may not be sent to (RFC 7675, 5.1). Browsers check every 2.7 s at most."""

PATHS: Final = 16
"""Paths of one peer. A browser with four interfaces in two families behind two NATs shows eight; the longest unchecked gives way."""

REMEMBERED_CHECKS: Final = 64
"""Transaction ids remembered against replay: at a browser's calm pace of a check every 2.7 s, about three minutes."""


@attrs.frozen
class PathProven(Event):
    """The peer's first authenticated check from `source`: it may be sent to."""

    source: Address


@attrs.frozen
class PathSelected(Event):
    """What we send goes to `to` from now on."""

    to: Address


@attrs.frozen
class PathForgotten(Event):
    """Checks from `source` ceased, or it gave way to a newer one."""

    source: Address


class Drop(enum.Enum):
    """Why a STUN message got silence."""

    MALFORMED = "not a well-formed STUN message"
    NOT_A_REQUEST = "not a Binding request"
    WRONG_USERNAME = "a username of another session or generation"
    BAD_INTEGRITY = "MESSAGE-INTEGRITY is missing or wrong"
    REPLAYED = "a check that had come from another source"


@attrs.frozen
class Credentials:
    """One generation: our username fragment and password, and the peer's username fragment (RFC 8445, 5.3)."""

    ufrag: str
    pwd: str = attrs.field(repr=False)
    remote_ufrag: str


@attrs.frozen(eq=False)
class Check:
    """An authenticated check, which waits for its answer. `is_new` is false for one that came before, which proves nothing again."""

    message: stun.Message
    credentials: Credentials
    source: Address
    is_new: bool


class IceLite:
    """Answers one peer's checks, and knows where to send. `receive` is `read` and `answer` in one.

    `transport_address` gives the IP address and port behind an `Address`, which the answer to a check must name. `now` starts the
    time within which the first check must come.
    """

    __slots__ = (
        "_consent_until",
        "_events",
        "_former",
        "_outbox",
        "_remembered",
        "_transport_address",
        "checks",
        "credentials",
        "dropped",
        "paths",
        "selected",
    )

    def __init__(
        self,
        credentials: Credentials,
        *,
        transport_address: Callable[[Address], tuple[str, int]],
        outbox: Outbox,
        events: list[Event],
        now: float,
    ) -> None:
        self.credentials = credentials
        self.selected: Address | None = None
        self.paths: dict[Address, float] = {}  # source → time of its last check, longest ago first
        self.dropped: Counter[Drop] = Counter()
        self.checks = 0
        self._former: Credentials | None = None
        self._remembered: dict[bytes, Address] = {}  # the oldest first
        self._transport_address = transport_address
        self._outbox = outbox
        self._events = events
        self._consent_until = now + CONSENT

    @property
    def deadline(self) -> float:
        """When the path that was checked longest ago runs out."""
        return self._consent_until

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        """Answer a check, or be silent."""
        check = self.read(datagram, source, now)
        if check is not None:
            self.answer(check)

    def read(self, datagram: bytes, source: Address, now: float) -> Check | None:
        """Take a check, and all that it proves, for `answer` to answer at once; None where silence or an error was the answer."""
        if self._consent_until == NEVER:
            return None
        message = stun.decode(datagram)
        if message is None:
            self.dropped[Drop.MALFORMED] += 1
        elif message.kind != stun.BINDING_REQUEST:
            self.dropped[Drop.NOT_A_REQUEST] += 1
        elif (credentials := self._credentials(message.get(stun.USERNAME))) is None:
            self.dropped[Drop.WRONG_USERNAME] += 1
        elif not message.verify(credentials.pwd.encode()):
            self.dropped[Drop.BAD_INTEGRITY] += 1
        elif source not in self.paths and self._remembered.get(message.transaction_id, source) != source:
            self.dropped[Drop.REPLAYED] += 1
        else:
            return self._check(message, credentials, source, now)
        return None

    def answer(self, check: Check, attributes: Iterable[tuple[int, bytes]] = ()) -> None:
        """Answer a check with success (RFC 8445, 7.3.1.3), and with `attributes` besides."""
        transaction_id = check.message.transaction_id
        mapped = stun.xor_address(self._transport_address(check.source), transaction_id)
        self._outbox.append(
            (
                stun.encode(
                    stun.BINDING_SUCCESS,
                    transaction_id,
                    [(stun.XOR_MAPPED_ADDRESS, mapped), *attributes],
                    key=check.credentials.pwd.encode(),
                ),
                check.source,
            )
        )

    def expire(self, now: float) -> None:
        """Forget the paths whose checks ceased."""
        if now < self._consent_until:
            return
        while self.paths and next(iter(self.paths.values())) + CONSENT <= now:
            self._forget(next(iter(self.paths)))
        if self.paths:
            self._consent_until = next(iter(self.paths.values())) + CONSENT
        else:
            reason = Misbehaviour.CONSENT_LOST if self.checks else Misbehaviour.NEVER_CONNECTED
            self.close(now)
            self._events.append(Failed(RemoteProtocolError(reason, f"no check for {CONSENT:.0f} s")))

    def close(self, now: float) -> None:
        """Be silent; ICE has no goodbye."""
        self._consent_until = NEVER
        self.selected = None
        self.paths.clear()

    def restart(self, credentials: Credentials, now: float) -> None:
        """Take new credentials; the old ones stay good until a check uses the new ones (RFC 8445, 9)."""
        self._former = self.credentials
        self.credentials = credentials

    def follow(self, source: Address, now: float) -> None:
        """Authentic and new media came from `source`: if it is a path, send there."""
        if source != self.selected and source in self.paths:
            self._select(source)

    def _credentials(self, username: bytes | None) -> Credentials | None:
        """Find the generation that a username belongs to (RFC 8445, 7.2.2)."""
        for credentials in (self.credentials, self._former):
            if credentials and username == f"{credentials.ufrag}:{credentials.remote_ufrag}".encode():
                return credentials
        return None

    def _check(self, message: stun.Message, credentials: Credentials, source: Address, now: float) -> Check | None:
        """Take an authenticated check (RFC 8445, 7.3).

        One that was seen before is answered as well, as its answer may have been lost, but it proves nothing again: whoever recorded
        it could otherwise keep a call alive whose peer is gone.
        """
        is_new = message.transaction_id not in self._remembered
        if is_new:
            self._remember(message.transaction_id, source)
        if unknown := message.unknown_required():
            # RFC 8489, 6.3.1: the only answer to what we must understand and do not.
            self._refuse(message, credentials, source, stun.error_code(420, "Unknown Attribute"), unknown)
            return None
        if message.get(stun.ICE_CONTROLLED) is not None:
            # RFC 8445, 7.3.1.1: two controlled agents. A lite agent cannot control, so the peer must.
            self._refuse(message, credentials, source, stun.error_code(487, "Role Conflict"))
            return None
        if credentials is self.credentials:
            self._former = None
        self.checks += 1
        if is_new:
            self._prove(source, now)
        if message.get(stun.USE_CANDIDATE) is not None and source in self.paths and source != self.selected:
            self._select(source)
        return Check(message, credentials, source, is_new)

    def _refuse(
        self,
        message: stun.Message,
        credentials: Credentials,
        source: Address,
        error: bytes,
        unknown: list[int] | None = None,
    ) -> None:
        attributes = [(stun.ERROR_CODE, error)]
        if unknown:
            attributes.append((stun.UNKNOWN_ATTRIBUTES, stun.unknown_attributes(unknown)))
        answer = stun.encode(stun.BINDING_ERROR, message.transaction_id, attributes, key=credentials.pwd.encode())
        self._outbox.append((answer, source))

    def _remember(self, transaction_id: bytes, source: Address) -> None:
        self._remembered[transaction_id] = source
        if len(self._remembered) > REMEMBERED_CHECKS:
            del self._remembered[next(iter(self._remembered))]

    def _prove(self, source: Address, now: float) -> None:
        new = self.paths.pop(source, None) is None
        self.paths[source] = now
        if new:
            self._events.append(PathProven(source))
            if len(self.paths) > PATHS:
                self._forget(next(path for path in self.paths if path != self.selected))
        if self.selected is None:
            self._select(source)
        self._consent_until = next(iter(self.paths.values())) + CONSENT

    def _select(self, to: Address) -> None:
        self.selected = to
        self._events.append(PathSelected(to))

    def _forget(self, source: Address) -> None:
        del self.paths[source]
        self._events.append(PathForgotten(source))
        if source == self.selected:
            self.selected = None
            if self.paths:  # the one that was checked last is the likeliest to be alive
                self._select(next(reversed(self.paths)))
