"""Chromium with DTLS in STUN, which it has behind a field trial, through the relay."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.interop.browser import Visit, find_chromium, launch, write_tone
from tests.interop.conftest import NEAR, TONE, Programs

pytestmark = pytest.mark.chromium

TRIAL = "--force-fieldtrials=WebRTC-IceHandshakeDtls/Enabled/"
CARRIED = b"\xc0\x70\x03\x84\x16\xfe"
"""The attribute that carries a datagram of 900 octets which begins with a handshake record: half a hello, or half of its answer."""


@pytest.fixture(scope="module")
def chromium_with_sped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    tone = write_tone(tmp_path_factory.mktemp("tones") / "tone.wav", TONE)
    with sync_playwright() as playwright:
        browser = launch(playwright, find_chromium(), tone, TRIAL)
        yield browser
        browser.close()


@pytest.mark.parametrize(("role", "chromiums"), [("auto", "client"), ("active", "server")])
def test_the_handshake_rides_on_checks_and_answers(
    programs: Programs, chromium_with_sped: Browser, tmp_path: Path, role: str, chromiums: str
) -> None:
    trace = tmp_path / "trace.pcapng"
    fleet = programs.fleet("--dtls-role", role, "--trace", str(trace))
    visit = Visit(chromium_with_sped, fleet.transceivers[0].address)
    visit.call()
    assert (visit.stats()["dtls"], visit.stats()["dtlsRole"]) == ("DTLS 1.3", chromiums)
    assert visit.loudest_frequency() == pytest.approx(TONE, abs=NEAR)
    assert CARRIED in trace.read_bytes()
    visit.hang_up()
    visit.page.close()
    assert visit.faults == []
