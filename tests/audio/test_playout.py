"""How much was heard, by what was sent and by what RTCP tells."""

import pytest

from trioice.audio.playout import KEPT, Sent, latency


def test_a_piece_is_played_from_when_it_left_on() -> None:
    sent = Sent(1000)
    assert sent.played(5.0) == 0
    sent.advance(20, 1.0)
    sent.advance(20, 1.02)
    assert [sent.played(at) for at in (0.5, 1.0, 1.005, 1.02, 1.03, 1.04, 9.0)] == [0, 0, 5, 20, 30, 40, 40]


def test_a_pause_between_pieces_is_no_progress() -> None:
    sent = Sent(1000)
    sent.advance(20, 1.0)
    sent.advance(20, 3.0)
    assert [sent.played(at) for at in (1.02, 2.0, 3.0, 3.01)] == [20, 20, 20, 30]


def test_what_is_long_past_is_forgotten() -> None:
    sent = Sent(1000)
    for number in range(100_000):
        sent.advance(20, number * 0.02)
    assert len(sent._log) <= KEPT / 0.02 + 2
    assert sent.played(0.0) == sent.position - 20 * len(sent._log)  # the earliest that is known


def test_the_way_and_the_browsers_buffer_delay_what_is_heard() -> None:
    near, near_error = latency(0.0, 0.0)
    far, far_error = latency(0.2, 0.0)
    shaky, shaky_error = latency(0.2, 0.02)
    assert far - near == pytest.approx(0.1)
    assert shaky - far == pytest.approx(0.04)
    assert near_error < far_error < shaky_error
    assert latency(None, 0.0) == latency(0.0, 0.0)


def test_a_browser_holds_more_at_first() -> None:
    assert latency(0.0, 0.0, 1.9)[0] == pytest.approx(latency(0.0, 0.0, 2.0)[0] + 0.015)
    assert latency(0.0, 0.02, 0.0) == latency(0.0, 0.02)  # which needs more anyway
