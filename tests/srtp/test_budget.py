"""What a packet costs, in calls: exact, whatever else the machine is doing."""

import pytest

from tests.harness.clockwork import calls
from tests.srtp.packets import ENGINES, master, protected, rtp
from trioice.srtp import AEAD_AES_128_GCM, AES128_CM_SHA1_80, Profile

BUDGET = [
    ("plain", AEAD_AES_128_GCM, 8, 7),
    ("plain", AES128_CM_SHA1_80, 18, 18),
    ("libsrtp", AEAD_AES_128_GCM, 9, 6),
    ("libsrtp", AES128_CM_SHA1_80, 9, 6),
]


@pytest.mark.parametrize(("name", "profile", "protect", "unprotect"), BUDGET)
def test_calls_per_packet(name: str, profile: Profile, protect: int, unprotect: int) -> None:
    [engine] = [engine for engine in ENGINES if engine.name == name]
    out, into = engine.sender(profile, master(profile)), engine.receiver(profile, master(profile))
    for packet in protected(out, range(10)):
        into.unprotect(packet)
    plain = rtp(10)
    sealed = out.protect(plain)
    assert sealed is not None
    plain = rtp(11)
    assert (calls(lambda: out.protect(plain)), calls(lambda: into.unprotect(sealed))) == (protect, unprotect)
