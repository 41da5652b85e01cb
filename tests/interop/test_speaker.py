"""What a real Chromium plays of an agent's speech, and when, beside what the agent is told of it."""

import statistics
from collections.abc import Callable

import pytest

from bench import heard
from bench.heard_agent import PULSES
from tests.interop.browser import Visit
from tests.interop.conftest import Programs

pytestmark = pytest.mark.chromium

NEAR = 60.0
"""Milliseconds by which what is told to be heard may be off."""

BUSY = 60.0
"""What is added: three packets more in the jitter buffer, which a browser holds when tests beside it keep it from running in time."""


def test_how_much_was_heard_is_told_and_a_cut_is_soon_silence(programs: Programs, visit: Callable[..., Visit]) -> None:
    program = programs.serve("--agent", heard.AGENT)
    call = heard.listen(visit(program.address, probed=True), program, cuts=1)
    assert len(call.first) == PULSES - 1
    assert abs(statistics.median(call.first)) < NEAR + BUSY
    assert abs(statistics.median(call.marks)) < NEAR + BUSY
    (cut,) = call.cuts
    assert abs(cut.error) < NEAR + BUSY
    assert 0 < cut.told < NEAR
    # At most 20 ms to the next packet, 10 of fading, 80 in buffers and the output.
    assert 0 < cut.silent < 110 + BUSY
    assert call.concealed < 0.1  # pauses, which are most of the call, are not taken for loss
