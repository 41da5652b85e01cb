"""Handshakes between our own client and server: over good and bad networks, reproduced, and driven out of turn."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.dtls.pairs import (
    CLIENT_CERTIFICATE,
    PROFILES,
    SERVER,
    SERVER_CERTIFICATE,
    Pair,
    failure,
    handshake,
    make_client,
    one_by_one,
    plain_records,
    plaintext,
    vector,
)
from tests.harness.ladder import Ladder
from trioice.dtls import Connected, DtlsClient, DtlsServer, State
from trioice.dtls.association import OVER
from trioice.dtls.ciphers import SUITES
from trioice.dtls.client12 import Client12
from trioice.dtls.drops import Drop
from trioice.dtls.extensions import USE_SRTP, UseSrtp
from trioice.dtls.flights import REPETITIONS, TRANSMISSIONS_TO_THE_PRESENT
from trioice.dtls.fragments import Fragment, Message
from trioice.dtls.groups import CURVES
from trioice.dtls.handshake import Handshake
from trioice.dtls.messages import HandshakeType, ServerHello
from trioice.dtls.packing import LEAST_FRAGMENT
from trioice.dtls.record import ALERT, CHANGE_CIPHER_SPEC, HANDSHAKE, RESERVED
from trioice.dtls.server12 import Server12
from trioice.errors import LocalProtocolError, Misbehaviour
from trioice.sansio import NEVER, Closed, Event, Failed, Outbox
from trioice.wire import Reader

# A clean handshake


@pytest.mark.parametrize("cookie", [False, True])
def test_client_and_server_connect_and_agree(cookie: bool) -> None:
    pair = Pair(server={"cookie": cookie}).run()
    assert pair.are_agreed
    assert pair.client_events == pair.server_events == [Connected(0xFEFD, 0xC02B, 29, 7)]
    assert pair.client.peer_certificate == SERVER_CERTIFICATE.der
    assert pair.server.peer_certificate == CLIENT_CERTIFICATE.der
    assert pair.client.deadline == pair.server.deadline == NEVER
    assert pair.client.export(b"label", 20) != pair.client.export(b"other", 20)


def test_what_only_the_handshake_needed_is_forgotten() -> None:
    """A call lasts for an hour after it: the parsed key of a certificate alone takes two kilobytes."""
    pair = Pair().run()
    for ours in (pair.client, pair.server):
        assert ours.state is State.CONNECTED
        assert (ours._transcript, ours._share, ours._peer_key, ours._early) == ([], None, None, [])


@pytest.mark.parametrize("suite", [number for number in SUITES if SUITES[number].authentication == "ecdsa"], ids=hex)
@pytest.mark.parametrize("group", sorted(CURVES))
def test_client_and_server_agree_on_every_suite_and_group(suite: int, group: int) -> None:
    pair = Pair(client={"cipher_suites": (suite,), "groups": (group,)}).run()
    assert pair.are_agreed
    assert pair.client.cipher_suite == suite


def test_the_server_chooses_by_its_own_order() -> None:
    pair = Pair(
        client={"profiles": (1, 7, 8), "cipher_suites": (0xC02B, 0xC02C, 0xCCA9)},
        server={"profiles": (8, 7), "cipher_suites": (0xCCA9, 0xC02B)},
    ).run()
    assert pair.server_events == [Connected(0xFEFD, 0xCCA9, 29, 8)]


def test_without_srtp_none_is_negotiated() -> None:
    pair = Pair(profiles=()).run()
    assert pair.are_agreed
    assert pair.client_events == [Connected(0xFEFD, 0xC02B, 29, 0)]


def test_a_handshake_takes_two_round_trips_and_four_datagrams() -> None:
    pair = Pair()
    link = pair.link(delay=0.05)
    pair.client.start(0.0)
    assert pair.connects(link, 1.0)
    assert link.now == pytest.approx(0.2)
    assert link.sent == 4
    assert pair.client.rtt == pytest.approx(0.1)
    assert pair.server.rtt == pytest.approx(0.1)


def test_records_of_a_flight_share_datagrams() -> None:
    pair = Pair()
    flight_4 = pair.to_server(pair.start())
    assert [len(plain_records(datagram)) for datagram in flight_4] == [5]
    flight_5 = pair.to_client(flight_4)
    assert [[record.kind for record in plain_records(datagram)] for datagram in flight_5] == [
        [HANDSHAKE, HANDSHAKE, HANDSHAKE, CHANGE_CIPHER_SPEC, HANDSHAKE]
    ]


@pytest.mark.parametrize("mtu", [256, 300, 600, 1200])
def test_no_datagram_is_longer_than_the_mtu(mtu: int) -> None:
    pair = Pair(mtu=mtu)
    pair.client.start(0.0)
    assert pair.connects(pair.link(mtu=mtu), 1.0)


@pytest.mark.parametrize("mtu", range(256, 400, 7))
def test_no_crumbs_are_left_at_the_end_of_a_datagram(mtu: int) -> None:
    flight_4 = Pair(mtu=mtu).to_server(Pair(mtu=mtu).start())
    for datagram in one_by_one(flight_4):
        fragment = Fragment.read(Reader(datagram[13:]))
        is_last = fragment.offset + len(fragment.octets) == fragment.length
        assert is_last or len(fragment.octets) >= LEAST_FRAGMENT


def test_the_peer_may_move_during_the_handshake() -> None:
    pair = Pair()
    pair.client.start(0.0)
    pair.from_client()
    pair.client.peer = "elsewhere"
    pair.client.expire(0.25)
    assert pair.client_outbox[0][1] == "elsewhere"


def test_application_data_and_close_notify_pass() -> None:
    pair = Pair().run()
    pair.client.send(b"question", 1.0)
    pair.server.send(b"", 1.0)
    pair.run()
    assert (pair.server.inbox, pair.client.inbox) == ([b"question"], [b""])
    pair.client.close(2.0)
    pair.run()
    assert pair.server_events[1:] == [Closed("close_notify")]
    assert pair.client_events[1:] == []


def test_what_the_state_forbids_is_a_local_error() -> None:
    pair = Pair()
    for forbidden in (lambda: pair.client.send(b"", 0.0), lambda: pair.client.export(b"label", 1)):
        with pytest.raises(LocalProtocolError):
            forbidden()
    pair.run()
    with pytest.raises(LocalProtocolError):
        pair.client.start(0.0)
    with pytest.raises(LocalProtocolError):
        pair.client.send(bytes(1200), 0.0)
    pair.client.close(1.0)
    for forbidden in (lambda: pair.client.send(b"", 0.0), lambda: pair.client.export(b"label", 1)):
        with pytest.raises(LocalProtocolError):
            forbidden()


@pytest.mark.parametrize(
    "options",
    [{"cipher_suites": (0x1304,)}, {"groups": (25,)}, {"mtu": 100}, {"versions": ()}, {"versions": (0xFEFF,)}],
)
def test_options_that_make_no_sense_are_value_errors(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        make_client([], [], **options)


# Bad networks


@pytest.mark.parametrize("first", range(0, 500, 50))
def test_a_handshake_at_forty_percent_loss_completes_within_a_minute(first: int) -> None:
    for seed in range(first, first + 50):
        pair = Pair(seed, mtu=600)
        pair.client.start(0.0)
        link = pair.link(seed, mtu=600, loss=0.4, duplication=0.1, jitter=0.1)
        assert pair.connects(link, 60.0), f"seed {seed}"
        assert len(pair.client_events) == len(pair.server_events) == 1, f"seed {seed}"


def test_a_handshake_with_cookie_completes_over_a_bad_network() -> None:
    # Nobody repeats a lost HelloVerifyRequest but the client, eight times at most: 40 % would be too much to ask.
    for seed in range(100):
        pair = Pair(seed, mtu=600, server={"cookie": True})
        pair.client.start(0.0)
        link = pair.link(seed, mtu=600, loss=0.2, duplication=0.1, jitter=0.1)
        assert pair.connects(link, 60.0), f"seed {seed}"


def test_any_one_datagram_of_the_handshake_may_be_lost() -> None:
    total = 0
    number = -1
    while number < total:
        number += 1
        carried: list[bytes] = []

        def carries(datagram: bytes, *_: object, carried: list[bytes] = carried, number: int = number) -> bool:
            carried.append(datagram)
            return len(carried) - 1 != number

        pair = Pair(mtu=400, server={"cookie": True})
        link = pair.link(mtu=400)
        link.carries = carries
        pair.client.start(0.0)
        assert pair.connects(link, 2.0), f"datagram {number}"
        total = max(total, len(carried))
    assert total > 10


@pytest.mark.parametrize("reverse", [False, True])
def test_records_of_a_flight_come_in_any_order(reverse: bool) -> None:
    pair = Pair(mtu=300)
    datagrams = one_by_one(pair.to_server(pair.start()))
    flight_5 = one_by_one(pair.to_client(datagrams[::-1] if reverse else datagrams))
    flight_6 = one_by_one(pair.to_server(flight_5[::-1] if reverse else flight_5))
    pair.to_client(flight_6[::-1] if reverse else flight_6)
    assert pair.are_agreed


def test_application_data_that_overtakes_the_final_flight_is_held_until_finished() -> None:
    pair = Pair()
    flight_5 = pair.to_client(pair.to_server(pair.start()))
    flight_6 = pair.to_server(flight_5)
    pair.server.send(b"early", 0.0)
    early = pair.from_server()
    pair.to_client(early)
    assert pair.client.inbox == []
    pair.to_client(flight_6)
    assert pair.are_agreed
    assert pair.client.inbox == [b"early"]
    pair.to_client(early)
    assert pair.client.inbox == [b"early"]


# Timers


def test_an_unanswered_flight_goes_out_eight_times_and_then_no_more() -> None:
    outbox: Outbox = []
    events: list[Event] = []
    machine = make_client(outbox, events)
    ladder = Ladder(machine, outbox, events, source=SERVER)
    ladder.does(machine.start)
    sent_at = []
    while not events:
        ladder.sends()
        sent_at.append(ladder.now)
        ladder.waits_until(60)
    assert sent_at == [0, 0.25, 0.75, 1.75, 3.75, 6.75, 9.75, 12.75]
    assert ladder.now == 15.75
    assert ladder.announces(Failed).error.reason is Misbehaviour.HANDSHAKE_TIMEOUT
    ladder.waits_until(1000)
    assert machine.deadline == NEVER


def test_a_flight_to_a_present_peer_goes_out_more_often_for_about_a_minute() -> None:
    pair = Pair()
    pair.to_client(pair.to_server(pair.start()))
    transmissions = 1
    while not pair.client_events:
        pair.now = pair.client.deadline
        pair.client.expire(pair.now)
        transmissions += len(pair.from_client())
    assert transmissions == TRANSMISSIONS_TO_THE_PRESENT
    assert failure(pair.client_events) is Misbehaviour.HANDSHAKE_TIMEOUT
    assert 55 < pair.now < 65


@pytest.mark.parametrize(("rtt", "timeout"), [(0.0, 0.05), (0.01, 0.05), (0.1, 0.2), (0.2, 0.4), (0.24, 0.48)], ids=str)
def test_the_second_flight_waits_twice_the_round_trip_that_the_first_showed(rtt: float, timeout: float) -> None:
    pair = Pair()
    flight_4 = pair.to_server(pair.start())
    pair.now = rtt
    pair.to_client(flight_4)
    assert pair.client.deadline == pytest.approx(rtt + timeout)


def test_a_round_trip_of_a_repeated_flight_is_not_believed() -> None:
    pair = Pair()
    pair.start()
    pair.now = 0.25
    pair.client.expire(pair.now)
    flight_4 = pair.to_server(pair.from_client())
    pair.now = 0.26
    pair.to_client(flight_4)
    assert pair.client.rtt is None
    assert pair.client.deadline == pytest.approx(0.26 + 0.25)


def test_a_round_trip_of_a_flight_that_the_peer_asked_for_again_is_not_believed() -> None:
    pair = Pair()
    flight_1 = pair.start()
    flight_4 = pair.to_server(flight_1)
    pair.now = 0.1
    assert pair.to_server(flight_1)
    pair.to_server(pair.to_client(flight_4))
    assert pair.server.rtt is None


def test_a_long_round_trip_is_capped() -> None:
    pair = Pair(first_timeout=10.0)
    flight_4 = pair.to_server(pair.start())
    pair.now = 5.0
    pair.to_client(flight_4)
    assert pair.client.deadline == 8.0


def test_a_repeated_flight_of_the_peer_is_answered_at_once() -> None:
    pair = Pair()
    flight_1 = pair.start()
    first = pair.to_server(flight_1)
    assert pair.to_server(flight_1) == []  # a duplicate of the network, too soon after the answer
    pair.now = 0.1
    [again] = pair.to_server(flight_1)
    deadline = pair.server.deadline
    assert [record.payload for record in plain_records(again)] == [record.payload for record in plain_records(first[0])]
    assert {record.sequence for record in plain_records(again)}.isdisjoint(
        record.sequence for record in plain_records(first[0])
    )
    assert deadline == 0.25  # the timer is left alone


def test_a_repeated_message_in_the_middle_of_a_flight_is_not_answered() -> None:
    pair = Pair()
    certificate, *_ = one_by_one(pair.to_client(pair.to_server(pair.start())))
    pair.to_server([certificate])
    pair.now = 0.1
    assert pair.to_server([certificate]) == []
    assert pair.server.dropped == {Drop.REPEATED: 1}


def test_a_late_finished_makes_the_server_repeat_its_final_flight() -> None:
    pair = Pair()
    pair.to_server(pair.to_client(pair.to_server(pair.start())))  # flight 6 is lost
    assert pair.server.state is State.CONNECTED
    pair.now = pair.client.deadline
    pair.client.expire(pair.now)
    assert pair.server.deadline == NEVER
    pair.to_client(pair.to_server(pair.from_client()))
    assert pair.are_agreed


# The same seed, the same octets


def test_a_seeded_handshake_is_reproduced_octet_by_octet() -> None:
    assert transcript() == transcript() == vector("dtls12_handshake.hex")


def transcript() -> list[bytes]:
    """All datagrams of the handshake of seed 7, in turn."""
    pair = Pair(7)
    datagrams = []
    from_client = pair.start()
    while from_client:
        from_server = pair.to_server(from_client)
        datagrams += from_client + from_server
        from_client = pair.to_client(from_server)
    assert pair.are_agreed
    return datagrams


# The captured ClientHello of browsers


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_browser_that_prefers_dtls_1_3_is_answered_with_1_2(browser: str, reverse: bool, profile: int) -> None:
    pair = Pair(server={"profiles": (profile,)})
    datagrams = vector(f"client_hello_{browser}.hex")
    [flight_4] = pair.to_server(datagrams[::-1] if reverse else datagrams)
    hello = ServerHello.read(Fragment.read(Reader(plain_records(flight_4)[0].payload)).octets)
    assert (hello.version, hello.cipher_suite) == (0xFEFD, 0xC02B)
    value = hello.extension(USE_SRTP)
    assert value is not None
    assert UseSrtp.read(value).profiles == (profile,)
    assert pair.server.state is State.WAIT_CERTIFICATE


# The state table

Reach = Callable[[State], tuple[Handshake, Handshake, list[Event], Outbox]]


def reached_server(state: State) -> tuple[Handshake, Handshake, list[Event], Outbox]:
    """A server in `state`, its client, its events and its outbox."""
    pair = Pair()
    datagrams = one_by_one(pair.start())
    while pair.server.state is not state:
        if not datagrams:
            datagrams = one_by_one(pair.to_client(pair.from_server()))
        pair.server.receive(datagrams.pop(0), SERVER, 0.0)
    if pair.client.state is State.WAIT_SERVER_HELLO:
        pair.to_client(pair.from_server())
    pair.from_server()
    return pair.server, pair.client, pair.server_events, pair.server_outbox


def reached_client(state: State) -> tuple[Handshake, Handshake, list[Event], Outbox]:
    """A client in `state`, its server, its events and its outbox."""
    pair = Pair()
    datagrams = one_by_one(pair.to_server(pair.start()))
    while pair.client.state is not state:
        if not datagrams:
            datagrams = one_by_one(pair.to_server(pair.from_client()))
        pair.client.receive(datagrams.pop(0), SERVER, 0.0)
    pair.to_server(pair.from_client())
    return pair.client, pair.server, pair.client_events, pair.client_outbox


SERVER_STEPS = {**DtlsServer._hello_steps(), **Server12.steps}
CLIENT_STEPS = {**DtlsClient._hello_steps(), **Client12.steps}

MISSING = [
    pytest.param(reach, state, kind, id=f"{name}-{state.name}-{kind.name}")
    for name, reach, steps in (("server", reached_server, SERVER_STEPS), ("client", reached_client, CLIENT_STEPS))
    for state in steps
    for kind in HandshakeType
    if state is not State.IDLE and kind not in steps[state]
]


@pytest.mark.parametrize(("reach", "state", "kind"), MISSING)
def test_a_message_that_the_table_does_not_have_ends_the_handshake(
    reach: Reach, state: State, kind: HandshakeType
) -> None:
    ours, peer, events, outbox = reach(state)
    before = len(events)
    message = Message(kind=kind, sequence=ours._incoming.next, body=b"")
    if state in (State.WAIT_FINISHED, State.CONNECTED, State.WAIT_CERTIFICATE_VERIFY) and peer._records.reads(1):
        epoch = 1 if state is not State.WAIT_CERTIFICATE_VERIFY or kind == HandshakeType.FINISHED else 0
    else:
        epoch = 0
    ours.receive(peer._records.seal(HANDSHAKE, epoch, message.octets()), "peer", 0.0)
    if kind == HandshakeType.FINISHED and epoch == 0:
        # A Finished in plaintext is nobody's: it ends nothing.
        assert (ours.state, outbox, len(events)) == (state, [], before)
        assert ours.dropped == {Drop.PLAINTEXT_HANDSHAKE: 1}
        return
    assert failure(events) is Misbehaviour.UNEXPECTED_MESSAGE
    assert ours.state is State.FAILED
    assert ours.deadline == NEVER
    assert [plain_records(datagram)[0].kind for datagram, _ in outbox] == [ALERT]


def test_the_tables_have_a_row_for_every_state_that_waits() -> None:
    assert set(State) - set(SERVER_STEPS) - set(CLIENT_STEPS) - OVER == {State.IDLE, State.WAIT_ENCRYPTED_EXTENSIONS}


def test_a_message_in_the_wrong_epoch_ends_the_handshake() -> None:
    ours, peer, events, _ = reached_server(State.WAIT_CERTIFICATE_VERIFY)
    [verify] = [m for m, _, _ in peer._flights._left if getattr(m, "kind", 0) == HandshakeType.CERTIFICATE_VERIFY]
    assert isinstance(verify, Message)
    ours.receive(peer._records.seal(HANDSHAKE, 1, verify.octets()), "peer", 0.0)
    assert failure(events) is Misbehaviour.UNEXPECTED_MESSAGE


def test_renegotiation_is_declined_in_silence() -> None:
    pair = Pair().run()
    for asked, asking, kind in (
        (pair.client, pair.server, HandshakeType.HELLO_REQUEST),
        (pair.server, pair.client, HandshakeType.CLIENT_HELLO),
    ):
        message = Message(kind=kind, sequence=asked._incoming.next, body=b"")
        asked.receive(asking._records.seal(HANDSHAKE, 1, message.octets()), "peer", 0.0)
        assert asked.dropped == {Drop.RENEGOTIATION: 1}
    assert pair.are_agreed
    assert pair.client_outbox == pair.server_outbox == []


# Endings


def test_a_fatal_alert_under_keys_ends_the_association_without_an_answer() -> None:
    pair = Pair().run()
    pair.server.receive(pair.client._records.seal(ALERT, 1, b"\x02\x28"), "peer", 1.0)
    assert failure(pair.server_events) is Misbehaviour.BAD_ALERT
    assert "handshake_failure" in str(pair.server_events[1])
    assert pair.server_outbox == []


def test_a_warning_is_counted() -> None:
    pair = Pair().run()
    pair.server.receive(pair.client._records.seal(ALERT, 1, b"\x01\x5a"), "peer", 1.0)
    assert pair.server.dropped == {Drop.WARNING: 1}
    assert pair.are_agreed


def test_a_handshake_timeout_tells_of_a_plaintext_alert() -> None:
    pair = Pair()
    pair.start()
    pair.to_client([plaintext(ALERT, b"\x02\x28")])
    while not pair.client_events:
        pair.client.expire(pair.client.deadline)
    assert failure(pair.client_events) is Misbehaviour.HANDSHAKE_TIMEOUT
    assert "handshake_failure" in str(pair.client_events[0])


def test_a_message_that_cannot_be_read_ends_the_handshake_with_decode_error() -> None:
    pair = Pair()
    pair.start()
    [answer] = pair.to_client([handshake(HandshakeType.SERVER_HELLO, 0, b"junk")])
    assert failure(pair.client_events) is Misbehaviour.MALFORMED_HANDSHAKE
    assert answer[13:] == b"\x02\x32"


def test_a_server_hello_done_with_content_is_malformed() -> None:
    pair = Pair()
    pair.to_client(one_by_one(pair.to_server(pair.start()))[:-1])
    pair.to_client([handshake(HandshakeType.SERVER_HELLO_DONE, 4, b"x")])
    assert failure(pair.client_events) is Misbehaviour.MALFORMED_HANDSHAKE


def test_closing_a_handshake_says_nothing() -> None:
    pair = Pair()
    pair.start()
    pair.client.close(0.0)
    assert (pair.client_outbox, pair.client_events, pair.client.deadline) == ([], [], NEVER)


def test_what_repeats_flights_stays_within_the_numbers_reserved_for_it() -> None:
    records_of_a_flight = 10
    assert (REPETITIONS + TRANSMISSIONS_TO_THE_PRESENT) * records_of_a_flight < RESERVED
