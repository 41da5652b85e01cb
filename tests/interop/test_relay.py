"""Relays come and go, transceivers are several, paths change: the call goes on."""

from collections.abc import Callable

import pytest

from tests.interop.browser import Visit
from tests.interop.conftest import NEAR, OTHER_TONE, TONE, Programs

pytestmark = pytest.mark.chromium

NEXT_CHECK = 2.7
"""Seconds between two of Chromium's checks on a path that works: what the next relay has to wait for."""
MARGIN = 4.0
"""Seconds for two processes and a browser on a busy machine."""


def test_a_killed_relay_that_comes_back_carries_the_same_call_without_new_signaling(
    programs: Programs, visit: Callable[..., Visit]
) -> None:
    fleet = programs.fleet()
    page = visit(fleet.transceivers[0].address)
    page.call()
    fleet.relay.kill()
    fleet.relay.restart()
    before = page.stats()["received"]
    page.until(lambda stats: stats["received"] > before + 10, within=NEXT_CHECK + MARGIN)
    assert page.loudest_frequency() == pytest.approx(TONE, abs=NEAR)
    assert page.requests == ["POST"]
    assert page.text("state") == "connected"


def test_a_long_outage_is_shown_and_overcome_by_an_ice_restart(programs: Programs, visit: Callable[..., Visit]) -> None:
    fleet = programs.fleet()
    page = visit(fleet.transceivers[0].address)
    page.call()
    fleet.relay.kill()
    page.await_state("reconnecting", within=20)  # Chromium loses patience after 5 to 7.5 s
    fleet.relay.restart()
    page.await_state("connected")
    before = page.stats()["received"]
    page.until(lambda stats: stats["received"] > before + 10, within=NEXT_CHECK + MARGIN)
    assert page.loudest_frequency() == pytest.approx(TONE, abs=NEAR)
    assert "PATCH" in page.requests


def test_an_ice_restart_keeps_the_call_and_loses_nothing(programs: Programs, visit: Callable[..., Visit]) -> None:
    fleet = programs.fleet()
    page = visit(fleet.transceivers[0].address)
    page.call()
    before, ufrags = page.stats(), credentials(page)
    page.evaluate("trioice.restart()")
    page.await_state("connected")
    page.until(lambda stats: stats["received"] > before["received"] + 200, within=20)
    after = page.stats()
    assert not set(ufrags) & set(credentials(page))
    assert page.evaluate(PATH_UFRAG) == credentials(page)[0]  # and the packets go by the new ones
    assert (after["lost"], after["srtp"], after["path"]) == (0, before["srtp"], fleet.relay_address)
    assert page.requests == ["POST", "PATCH"]
    assert page.loudest_frequency() == pytest.approx(TONE, abs=NEAR)


def test_a_restart_of_a_call_that_the_server_has_not_ends_it(programs: Programs, visit: Callable[..., Visit]) -> None:
    fleet = programs.fleet()
    page = visit(fleet.transceivers[0].address)
    page.call()
    page.evaluate("void fetch(trioice.location, { method: 'DELETE' }).then(() => trioice.restart())")
    page.await_state("ended", within=10)
    assert page.text("status") == "The server has ended the call."


def test_two_calls_at_once_land_on_the_transceivers_that_answered_them(
    programs: Programs, visit: Callable[..., Visit]
) -> None:
    fleet = programs.fleet(transceivers=2)
    low = visit(fleet.transceivers[0].address, tone=TONE)
    high = visit(fleet.transceivers[1].address, tone=OTHER_TONE)
    low.call()
    high.call()
    for page, tone in [(high, OTHER_TONE), (low, TONE)]:
        assert page.loudest_frequency() == pytest.approx(tone, abs=NEAR)
        assert page.stats()["path"] == fleet.relay_address
        assert page.stats()["lost"] == 0
    fleet.transceivers[0].stop()
    low.await_state("ended", within=10)
    before = high.stats()["received"]
    high.until(lambda stats: stats["received"] > before + 50, within=10)


def credentials(page: Visit) -> tuple[str, str]:
    """The ICE user fragments in force, the browser's and the server's."""
    ours, theirs = page.evaluate(
        "[trioice.pc.localDescription, trioice.pc.remoteDescription].map(({ sdp }) => sdp.match(/a=ice-ufrag:(\\S+)/)[1])"
    )
    return ours, theirs


PATH_UFRAG = """(async () => {
  const reports = await trioice.pc.getStats();
  const transport = [...reports.values()].find(({ type }) => type === "transport");
  return transport.iceLocalUsernameFragment;
})()"""
