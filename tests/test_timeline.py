"""The timeline of a call's set-up: what sessions note, and what it tells."""

from itertools import pairwise

import pytest

from tests.harness.pair import Pair
from trioice import dtls, rtp
from trioice.carriage import DtlsRole
from trioice.session import Session
from trioice.timeline import COUNTED, FLIGHTS, Flight, Notes, Step, Timeline

DELAY = 0.05
RTT = 2 * DELAY


ROLES: list[DtlsRole] = ["client", "server"]
VERSIONS = {"DTLS 1.2": dtls.VERSION_1_2, "DTLS 1.3": dtls.VERSION_1_3}
FLIGHTS_OF = {"DTLS 1.2": 4, "DTLS 1.3": 3}


def up(role: DtlsRole = "client", version: str = "DTLS 1.3", seed: int = 0, **network: float) -> tuple[Pair, Session]:
    """A call whose session has heard the caller."""
    pair = Pair(seed, **{"delay": DELAY, **network})
    _, session = pair.dial(role=role, versions=[VERSIONS[version]])
    assert pair.link.run_until(60.0, lambda: bool(pair.media))
    return pair, session


def speak(pair: Pair, session: Session, number: int = 1) -> None:
    session.send(rtp.build(111, False, number, number * 960, 1, b"ours"), pair.link.now)


# What a session notes


@pytest.mark.parametrize(
    ("version", "role", "round_trips"),
    [("DTLS 1.2", "client", 2), ("DTLS 1.2", "server", 2), ("DTLS 1.3", "client", 1), ("DTLS 1.3", "server", 2)],
)
def test_each_step_is_noted_with_the_round_trips_that_it_took(version: str, role: DtlsRole, round_trips: int) -> None:
    pair, session = up(role, version)
    session.answered(0.001)
    speak(pair, session)
    timeline = session.timeline
    assert {step: timeline.after(step) for step in Step} == pytest.approx(
        {
            Step.OFFER: 0.0,
            Step.ANSWER: 0.001,
            Step.CHECK: DELAY,
            Step.KEYS: DELAY + round_trips * RTT,
            Step.CONNECTED: DELAY + round_trips * RTT,
            Step.RTP_IN: pair.link.now,
            Step.RTP_OUT: pair.link.now,
        }
    )
    assert timeline.rtt == pytest.approx(RTT)
    assert timeline.round_trips(Step.KEYS) == pytest.approx(round_trips)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("role", "ways", "round_trips"),
    [("client", [True, False, True, False], [0, 1, 1, 2]), ("server", [False, True, False, True], [1, 1, 2, 2])],
)
def test_each_flight_of_the_handshake_is_noted_once(
    version: str, role: DtlsRole, ways: list[bool], round_trips: list[float]
) -> None:
    _, session = up(role, version)
    flights, count = session.timeline.flights, FLIGHTS_OF[version]
    assert [flight.ours for flight in flights] == ways[:count]
    assert [(flight.at - DELAY) / RTT for flight in flights] == pytest.approx(round_trips[:count], abs=0.001)


def test_a_handshake_inside_checks_has_the_same_steps_and_keys_before_its_end() -> None:
    pair = Pair(delay=DELAY)
    _, session = pair.dial(role="server", sped=True, second=0.002)
    assert pair.link.run_until(60.0, lambda: bool(pair.media))
    timeline = session.timeline
    assert [flight.ours for flight in timeline.flights] == [False, True, False]
    assert timeline.after(Step.KEYS, Step.CHECK) == pytest.approx(0.0, abs=0.005)
    assert timeline.after(Step.CONNECTED, Step.CHECK) == pytest.approx(RTT, abs=0.005)
    assert timeline.rtt == pytest.approx(RTT, abs=0.005)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("seed", range(20))
def test_what_is_repeated_doubled_or_late_begins_no_flight(version: str, role: DtlsRole, seed: int) -> None:
    _, session = up(role, version, seed, loss=0.3, duplication=0.3, jitter=0.1)
    flights, first = session.timeline.flights, role == "client"
    assert [flight.ours for flight in flights] == [first, not first, first, not first][: FLIGHTS_OF[version]]
    for before, after in pairwise(flights):
        # What answers ours cannot be there within a round trip, and what repeats an earlier one can.
        assert after.at - before.at >= (RTT if before.ours else 0.0)


def test_the_first_packet_each_way_is_noted_and_no_later_one() -> None:
    pair, session = up()
    before = session.timeline
    assert (before.after(Step.RTP_OUT), before.is_complete) == (None, False)
    speak(pair, session)
    first = session.timeline
    assert first.is_complete
    pair.run(1.0)
    speak(pair, session, 2)
    assert session.timeline == first


def test_that_packets_have_gone_both_ways_is_announced_once() -> None:
    pair, session = up()
    speak(pair, session)
    pair.run(1.0)
    speak(pair, session, 2)
    pair.run(1.0)
    assert [event for _, event in pair.events].count(rtp.MediaBegan()) == 1


def test_a_packet_that_could_not_leave_is_not_the_first_out() -> None:
    pair = Pair()
    _, session = pair.dial()
    speak(pair, session)
    assert session.timeline.after(Step.RTP_OUT) is None


def test_a_second_path_and_a_restart_change_no_step() -> None:
    pair, session = up()
    speak(pair, session)
    before = session.timeline.steps
    session.receive(pair.recorded[0], ("192.0.2.1", 9), pair.link.now + 1)
    assert session.timeline.steps == before


# What it tells


def test_without_a_measured_path_there_is_no_count() -> None:
    steps = {Step.OFFER: 0.0, Step.CHECK: 1.0, Step.KEYS: 2.0}
    for rtt in (None, 0.0):
        timeline = Timeline(steps=steps, rtt=rtt)
        assert [timeline.round_trips(step) for step in COUNTED] == [None] * 3


def test_a_step_that_was_not_reached_is_told_as_such() -> None:
    timeline = Timeline(steps={Step.OFFER: 5.0, Step.ANSWER: 5.002}, rtt=0.1)
    assert timeline.round_trips(Step.KEYS) is None
    assert timeline.plain() == {
        "answer": pytest.approx(0.002),
        "check": None,
        "keys": None,
        "connected": None,
        "rtp_in": None,
        "rtp_out": None,
        "flights": [],
        "rtt": 0.1,
        "round_trips": {"keys": None, "rtp_in": None, "rtp_out": None},
    }
    assert timeline.line() == (
        "answer_ms=2.0 check_ms=- keys_ms=- connected_ms=- rtp_in_ms=- rtp_out_ms=- flights_ms=- rtt_ms=100.0"
        " keys_round_trips=- rtp_in_round_trips=- rtp_out_round_trips=-"
    )


def test_times_are_told_from_the_offer_on() -> None:
    notes = Notes(7.0)
    notes.flights(7.031, heard=False, answered=True)
    notes.flights(7.0565, heard=True, answered=True, rtt=0.0255)
    for step, at in ((Step.ANSWER, 7.0005), (Step.CHECK, 7.031), (Step.KEYS, 7.082), (Step.CONNECTED, 7.0825)):
        notes.step(step, at)
    timeline = notes.timeline(rtp_in=7.096, rtp_out=7.097)
    assert timeline.line() == (
        "answer_ms=0.5 check_ms=31.0 keys_ms=82.0 connected_ms=82.5 rtp_in_ms=96.0 rtp_out_ms=97.0"
        " flights_ms=out:31.0,in:56.5,out:56.5 rtt_ms=25.5"
        " keys_round_trips=2.00 rtp_in_round_trips=2.55 rtp_out_round_trips=2.59"
    )
    plain = timeline.plain()
    assert plain["flights"] == [
        {"way": "out", "at": pytest.approx(0.031)},
        {"way": "in", "at": pytest.approx(0.0565)},
        {"way": "out", "at": pytest.approx(0.0565)},
    ]
    assert plain["round_trips"] == {
        "keys": pytest.approx(2.0),
        "rtp_in": pytest.approx(2.55, abs=0.01),
        "rtp_out": pytest.approx(2.59, abs=0.01),
    }


def test_a_step_counts_the_first_time_and_flights_end_with_the_handshake() -> None:
    notes = Notes(0.0)
    notes.step(Step.CONNECTED, 1.0)
    notes.step(Step.CONNECTED, 2.0)
    notes.flights(3.0, heard=True, answered=True)
    timeline = notes.timeline(None, None)
    assert (timeline.after(Step.CONNECTED), timeline.flights) == (1.0, ())


def test_the_least_round_trip_counts_even_if_it_was_measured_after_the_handshake() -> None:
    notes = Notes(0.0)
    notes.flights(1.0, heard=True, answered=True)
    notes.step(Step.CONNECTED, 1.0)
    for rtt in (None, 0.2, 0.1, 0.3, None):
        notes.flights(2.0, heard=True, answered=False, rtt=rtt)
    assert notes.timeline(None, None).rtt == 0.1


def test_flights_are_bounded_whatever_a_peer_asks_for() -> None:
    notes = Notes(0.0)
    for number in range(100):
        notes.flights(float(number), heard=True, answered=True)
    assert len(notes.timeline(None, None).flights) == FLIGHTS
    assert notes.timeline(None, None).flights[:2] == (Flight(False, 0.0), Flight(True, 0.0))
