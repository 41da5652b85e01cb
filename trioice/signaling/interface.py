"""What signaling needs of a transceiver and of its calls: `trioice.transceiver` has it, and so has a test's stand-in."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import trio

from trioice import sdp
from trioice.metrics import Sample


class Call(Protocol):
    """A call as signaling sees it. Whoever knows its id may end it, so the id is unguessable and not logged here."""

    @property
    def id(self) -> str:
        """A word that may stand in a URL."""

    @property
    def answer(self) -> str:
        """The latest answer, as SDP."""

    @property
    def etag(self) -> str:
        """A word that names the ICE session: another one after each restart."""

    @property
    def ended(self) -> trio.Event:
        """Set when the call is over, whoever ended it."""

    @property
    def why(self) -> str:
        """Why it is over."""

    def hang_up(self) -> None:
        """End the call; harmless when it has ended."""

    def stats(self) -> dict[str, object]:
        """Tell counters as plain data."""


C = TypeVar("C", bound=Call)


class Transceiver(Protocol[C]):
    """Owns the calls. All verbs are synchronous; those that read a description raise `sdp.SdpError`."""

    @property
    def running(self) -> bool:
        """Whether new calls are taken: false before the start, and from the moment that a stop is announced."""

    @property
    def candidates(self) -> Sequence[sdp.Candidate]:
        """The addresses that clients are told to send to."""

    def answer(self, offer: str, *, session: object = None, owner: str = "") -> C:
        """Make a call for `owner`; raises `Exhausted` when no more are taken, `Crowded` when this owner has too many."""

    def restart(self, call: C, offer: str) -> str:
        """Restart ICE by a whole offer; the new answer."""

    def restart_ice(self, call: C, ufrag: str, pwd: str) -> tuple[str, str]:
        """Restart ICE by the client's new credentials; ours."""

    def find(self, call_id: str) -> C | None:
        """Find a live call."""

    def metrics(self) -> Iterable[Sample]:
        """Tell the counters."""
