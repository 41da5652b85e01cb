"""One call in the lab, and what was seen of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import attrs

from bench.lab.cases import Case
from bench.lab.clients import Client, client
from bench.lab.direction import Conditions
from bench.lab.frames import Record
from bench.lab.ladder import Ladder
from bench.lab.network import Network, network
from bench.lab.servers import Agent, Server, server
from bench.lab.wire import request_left, sightings
from tests.interop.browser import find_chromium

TURN: Final = 50
"""Milliseconds between two looks at what the bridge saw."""

TURNS: Final = 200
"""Looks at most: ten seconds after the first sound came in, as the other direction may have lost all of its first media."""


@attrs.frozen(kw_only=True)
class Made:
    """A call that came about: its ladder, what the page and the server's log say of it, and the bridge's own lateness, in seconds.

    `heard` is the loudest frequency that the client heard, in Hz, where that was asked for. `click_to_sound` is the page's figure.
    Without a server and its page, the text is empty and the figures are None.
    """

    ladder: Ladder
    stats: dict[str, Any]
    heard: float | None
    click_to_sound: float | None
    post_to_media: float | None
    late: list[float]


@contextmanager
def calls(case: Case, *, rtt: float, agent: Agent, seed: int = 1) -> Iterator[Callable[..., Made]]:
    """Set everything up for one case: a function that makes one call of it. What does not come about is an AssertionError.

    `rtt` is in seconds. Raises Unavailable where there can be no lab.
    """
    fair = Conditions(delay=rtt / 2)
    with ExitStack() as stack:
        made = stack.enter_context(network(fair, seed=seed))
        running: Server | None = None
        if case.client != "pair":
            running = stack.enter_context(server(made.server, agent, *case.options, relayed=case.relayed))
        who = stack.enter_context(
            client(
                case.client,
                made,
                "" if running is None else running.page,
                chromium_at="" if case.client == "firefox" else find_chromium(),
                trial=case.trial,
                policy=case.policy,
            )
        )
        bad = attrs.evolve(fair, loss=case.loss)

        def call(*, listen: bool = False) -> Made:
            try:
                made.shape(fair)
                who.open()
                made.shape(bad)  # the call, not the page that it is made from
                return _call(made, who, running, listen)
            finally:
                made.shape(fair)
                who.end()

        yield call


def _call(network: Network, who: Client, server: Server | None, listen: bool) -> Made:
    network.records()
    who.begin()
    records: list[Record] = []
    for _ in range(TURNS):
        records += network.records()
        ladder = Ladder(sightings(records))
        if ladder.complete:
            break
        who.pause(TURN)
    else:
        raise AssertionError("no media came in at both hosts")
    stats = who.stats()
    times = stats.get("times")
    posted = request_left(records, b"POST /calls")
    return Made(
        ladder=ladder,
        stats=stats,
        heard=who.heard() if listen else None,
        click_to_sound=times["sound"] / 1000 if times else None,
        post_to_media=None if posted is None else ladder.began_at(client=True) + ladder.hears(client=True) - posted,
        late=[record.late for record in records if record.arrived],
    )
