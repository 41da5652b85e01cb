"""Chromium prefers DTLS 1.3 and has an opinion about SRTP; it must get along with all that we are, in both roles."""

from collections.abc import Callable

import pytest

from tests.interop.browser import Visit
from tests.interop.conftest import NEAR, TONE, Programs

pytestmark = pytest.mark.chromium

CIPHERS = {
    "AEAD_AES_128_GCM": "AEAD_AES_128_GCM",
    "AEAD_AES_256_GCM": "AEAD_AES_256_GCM",
    "AES128_CM_SHA1_80": "AES128_CM_HMAC_SHA1_80",
}
"""Our names of the profiles, which are IANA's, and the page's."""


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("profile", CIPHERS)
@pytest.mark.parametrize(("role", "chromiums"), [("active", "server"), ("passive", "client")])
def test_chromium_agrees_on_each_profile_in_each_role(
    programs: Programs, visit: Callable[..., Visit], role: str, chromiums: str, profile: str, version: str
) -> None:
    """As the DTLS client we get a profile by offering it alone; as the server we choose it from all that Chromium offers."""
    fleet = programs.fleet("--dtls-role", role, "--dtls-version", version, "--srtp", profile)
    page = visit(fleet.transceivers[0].address)
    page.call()
    stats = page.stats()
    assert (stats["dtls"], stats["dtlsRole"], stats["srtp"]) == (f"DTLS {version}", chromiums, CIPHERS[profile])
    assert page.loudest_frequency() == pytest.approx(TONE, abs=NEAR)


def test_as_server_we_choose_by_our_own_order(programs: Programs, visit: Callable[..., Visit]) -> None:
    fleet = programs.fleet(
        "--dtls-role", "passive", "--srtp", "AEAD_AES_256_GCM,AES128_CM_SHA1_80"
    )  # Chromium's is the other way round
    page = visit(fleet.transceivers[0].address)
    page.call()
    assert page.stats()["srtp"] == "AEAD_AES_256_GCM"


def test_by_default_we_are_the_client_which_saves_a_round_trip(programs: Programs, visit: Callable[..., Visit]) -> None:
    page = visit(programs.fleet().transceivers[0].address)
    page.call()
    assert page.stats()["dtlsRole"] == "server"  # Chromium
