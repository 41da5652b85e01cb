"""DTLS in STUN: what rides on a check and its answer, held against a call between two browsers, and what a session makes of it."""

import zlib
from collections.abc import Sequence

import attrs
import pytest

from tests.harness.contract import Contract
from tests.harness.ladder import PEER, Ladder
from tests.harness.pair import CALLER, Pair, config, connected
from tests.harness.piggyback import State
from tests.test_captures import call
from trioice import dtls, stun
from trioice.carriage import DtlsRole
from trioice.ice import PathProven, PathSelected
from trioice.sansio import NEVER, Event, Outbox
from trioice.session import Session
from trioice.sped import ACKNOWLEDGED, BODY, MTU, PAUSE, PENDING, ROOM, Attributes, Drop, Sped, is_spoken

DATA = stun.META_DTLS_IN_STUN
ACK = stun.META_DTLS_IN_STUN_ACKNOWLEDGEMENT
CAPTURED = call("chromium-chromium-sped")
"""Two Chromium 156 with the field trial WebRTC-IceHandshakeDtls; 10.77.0.2 is the DTLS client."""
HELLO = [stun.decode(item.payload) for item in CAPTURED if item.is_stun and item.source[0] == "10.77.0.2"][:2]
"""The first two checks, which carry the two pieces of a ClientHello with a post-quantum share."""

ROLES: list[DtlsRole] = ["server", "client"]


def datagram(number: int, length: int = 100) -> bytes:
    """Octets that look like DTLS, different for each number."""
    return b"\x16\xfe\xfd" + number.to_bytes(4, "big") + bytes(length - 7)


def crc(*datagrams: bytes) -> bytes:
    return b"".join(zlib.crc32(item).to_bytes(4, "big") for item in datagrams)


def request(*attributes: tuple[int, bytes]) -> stun.Message:
    return stun.Message(stun.BINDING_REQUEST, bytes(12), attributes)


def writes(sped: Sped, *datagrams: bytes) -> None:
    sped.written += [(item, PEER) for item in datagrams]


def answer(sped: Sped, now: float = 0.0, allowance: float = NEVER) -> Attributes:
    return sped.answer(allowance, now)[0]


def sends(sped: Sped, now: float = 0.0) -> list[bytes]:
    outbox: Outbox = []
    sped.send(outbox, PEER, now)
    assert {to for _, to in outbox} <= {PEER}
    return [item for item, _ in outbox]


# Beside a real browser that answers as DTLS server


def test_our_answers_carry_what_the_answers_of_chromium_carry() -> None:
    """Chromium sends checks as well, and what our answer has no room for they carry; so for us it leaves by itself instead."""
    sped = Sped()
    requests = {}
    flight = list(dict.fromkeys(value for item in CAPTURED if (value := piece_of_server(item.payload, item.source[0]))))
    assert [len(item) for item in flight] == [900, 841]
    told = []
    bare = []
    start = CAPTURED[0].when
    for item in CAPTURED[:8]:
        now = item.when[0] - start[0] + (item.when[1] - start[1]) / 1e6
        message = stun.decode(item.payload) if item.is_stun else None
        if message is None:
            sped.hear(item.payload)
        elif message.kind == stun.BINDING_REQUEST and item.source[0] == "10.77.0.2":
            requests[message.transaction_id] = sped.take(message)
            if len(requests) == 2:
                writes(sped, *flight)
        elif message.kind == stun.BINDING_SUCCESS:
            told.append((answer(sped, now), [pair for pair in message.attributes if pair[0] in (DATA, ACK)]))
            bare += sends(sped, now)
    assert [ours for ours, _ in told] == [theirs for _, theirs in told]
    assert [len(ours) for ours, _ in told] == [1, 2, 2]
    assert [len(value or b"") for value in requests.values()] == [900, 563, 0]
    assert bare == flight[1:]
    assert sped.dropped == {Drop.REPEATED: 1}  # the second piece of the hello, by itself
    assert sped.hello_in_checks


def piece_of_server(payload: bytes, source: str) -> bytes | None:
    message = stun.decode(payload) if payload[0] < 4 else None
    return None if message is None or source != "10.77.0.1" else message.get(DATA)


# What comes in


def test_an_acknowledgement_is_the_crc_32_of_what_came_and_names_the_last_four_in_their_order() -> None:
    sped = Sped()
    assert answer(sped) == [(ACK, b"")]
    pieces = [datagram(number) for number in range(6)]
    for number, piece in enumerate(pieces):
        assert sped.take(request((DATA, piece))) == piece if number % 2 else sped.hear(piece)
        assert answer(sped) == [(ACK, crc(*pieces[: number + 1][-ACKNOWLEDGED:]))]


def test_the_first_checksums_of_the_captured_call_are_these() -> None:
    sped = Sped()
    for message in HELLO:
        assert message is not None
        sped.take(message)
    assert answer(sped) == [(ACK, bytes.fromhex("c733412c9a5b1491"))]


def test_a_datagram_is_taken_once_whichever_way_it_comes() -> None:
    sped = Sped()
    assert sped.take(request((DATA, datagram(1)))) == datagram(1)
    assert sped.take(request((DATA, datagram(1)))) is None
    assert not sped.hear(datagram(1))
    assert sped.hear(datagram(2))
    assert sped.take(request((DATA, datagram(2)))) is None
    assert sped.dropped == {Drop.REPEATED: 3}


def test_whether_all_came_in_checks_is_told_of_what_is_new() -> None:
    sped = Sped()
    sped.take(request((DATA, datagram(1))))
    sped.hear(datagram(1))
    told = [sped.hello_in_checks]
    sped.hear(datagram(2))
    told.append(sped.hello_in_checks)
    assert told == [True, False]


def test_another_datagram_with_the_same_checksum_does_not_keep_the_true_one_out() -> None:
    true = datagram(1)
    tail = forge(b"\x16 anything else", zlib.crc32(true))
    assert zlib.crc32(tail) == zlib.crc32(true)
    sped = Sped()
    assert sped.hear(tail)
    assert sped.take(request((DATA, true))) == true


def forge(octets: bytes, checksum: int) -> bytes:
    """Add four octets that give a checksum: CRC-32 run backwards."""
    table = [_table(number) for number in range(256)]
    state = checksum ^ 0xFFFFFFFF
    indexes = []
    for _ in range(4):
        index = next(number for number in range(256) if table[number] >> 24 == state >> 24)
        indexes.append(index)
        state = (state ^ table[index]) << 8 & 0xFFFFFFFF
    state = zlib.crc32(octets) ^ 0xFFFFFFFF
    tail = b""
    for index in reversed(indexes):
        tail += bytes([(state ^ index) & 0xFF])
        state = state >> 8 ^ table[index]
    return octets + tail


def _table(number: int) -> int:
    for _ in range(8):
        number = number >> 1 ^ (0xEDB88320 if number & 1 else 0)
    return number


def test_octets_that_are_no_dtls_are_dropped_and_not_acknowledged() -> None:
    sped = Sped()
    for first in (0, 19, 64, 128, 255):
        assert sped.take(request((DATA, bytes([first]) + bytes(20)))) is None
    assert sped.dropped == {Drop.NOT_DTLS: 5}
    assert sped.take(request((DATA, b""))) is None  # the draft's way to say that there is nothing
    assert answer(sped) == [(ACK, b"")]
    for first in (20, 63):
        assert sped.take(request((DATA, bytes([first]) + bytes(20)))) is not None


def test_what_is_acknowledged_is_not_sent_again_and_what_is_not_goes_in_turn() -> None:
    sped = Sped()
    pieces = [datagram(number) for number in range(3)]
    writes(sped, *pieces)
    assert answer(sped) == [(ACK, b""), (DATA, pieces[0])]
    assert sends(sped) == pieces[1:]
    carried = [answer(sped, now)[1][1] for now in (1.0, 2.0, 3.0, 4.0)]
    assert carried == [*pieces, pieces[0]]
    sped.take(request((ACK, crc(pieces[1], datagram(99)))))
    assert [answer(sped, now)[1][1] for now in (5.0, 6.0, 7.0)] == [pieces[2], pieces[0], pieces[2]]
    sped.take(request((ACK, crc(pieces[0], pieces[2]))))
    assert answer(sped, 8.0) == [(ACK, b"")]
    assert sends(sped) == []


def test_a_datagram_does_not_leave_twice_in_one_instant() -> None:
    sped = Sped()
    writes(sped, datagram(1))
    assert len(answer(sped)) == 2
    assert sends(sped) == []
    assert answer(sped, PAUSE * 0.9) == [(ACK, b"")]
    assert answer(sped, PAUSE) == [(ACK, b""), (DATA, datagram(1))]


def test_what_is_written_anew_takes_the_place_of_what_was_pending() -> None:
    sped = Sped()
    writes(sped, datagram(1), datagram(2))
    sends(sped)
    writes(sped, datagram(3))
    assert sends(sped) == [datagram(3)]
    assert answer(sped, 1.0) == [(ACK, b""), (DATA, datagram(3))]
    assert answer(sped, 2.0) == [(ACK, b""), (DATA, datagram(3))]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 15, 17, 20, 64_000])
def test_an_acknowledgement_of_a_wrong_length_acknowledges_nothing(length: int) -> None:
    sped = Sped()
    writes(sped, datagram(1))
    sends(sped)
    check = request((ACK, (crc(datagram(1)) * 16_000)[:length]), (DATA, datagram(2)))
    assert is_spoken(check)
    assert sped.take(check) == datagram(2)
    assert sped.dropped == {Drop.MALFORMED_ACKNOWLEDGEMENT: 1}
    assert (DATA, datagram(1)) in answer(sped, 1.0)


# What an answer has room for


def test_an_answer_with_the_longest_address_and_all_that_we_add_fits_its_body() -> None:
    sped = Sped()
    for number in range(ACKNOWLEDGED):
        sped.hear(datagram(number))
    fits = ROOM - 4 - 4 * ACKNOWLEDGED - 4
    writes(sped, datagram(9, fits))
    attributes = [(stun.XOR_MAPPED_ADDRESS, stun.xor_address(("2001:db8::1", 1), bytes(12))), *answer(sped)]
    assert [kind for kind, _ in attributes] == [stun.XOR_MAPPED_ADDRESS, ACK, DATA]
    message = stun.encode(stun.BINDING_SUCCESS, bytes(12), attributes, key=b"key")
    assert len(message) - 20 - 24 - 8 == BODY
    writes(sped, datagram(9, fits + 1))
    assert [kind for kind, _ in answer(sped)] == [ACK]
    assert sends(sped) == [datagram(9, fits + 1)]
    assert fits > MTU


def test_an_answer_costs_what_is_added_to_it_and_dtls_has_paid_for_what_leaves_the_first_time() -> None:
    sped = Sped()
    assert sped.answer(0, 0.0) == ([(ACK, b"")], 4)
    sped.hear(datagram(1))
    assert sped.answer(7, 0.0) == ([(ACK, b"")], 4)
    assert sped.answer(8, 0.0) == ([(ACK, crc(datagram(1)))], 8)
    writes(sped, datagram(2, 99))
    assert sped.answer(12, 0.0) == ([(ACK, crc(datagram(1)))], 8)
    assert sped.answer(13, 0.0) == ([(ACK, crc(datagram(1))), (DATA, datagram(2, 99))], 13)
    assert sped.answer(8 + 103, 1.0)[1] == 8
    assert sped.answer(8 + 104, 1.0) == ([(ACK, crc(datagram(1))), (DATA, datagram(2, 99))], 112)


def test_no_more_is_kept_than_a_flight_may_have() -> None:
    sped = Sped()
    writes(sped, *(datagram(number) for number in range(PENDING + 5)))
    assert len(sends(sped)) == PENDING + 5
    carried = {answer(sped, float(now))[1][1] for now in range(1, 100)}
    assert carried == {datagram(number) for number in range(PENDING)}


# The end


def test_when_dtls_is_connected_what_was_pending_has_been_heard() -> None:
    sped = Sped()
    writes(sped, datagram(1))
    sends(sped)
    sped.establish()
    assert answer(sped, 1.0) == []
    assert sped.is_complete


def test_a_last_flight_is_carried_until_it_is_acknowledged() -> None:
    sped = Sped()
    writes(sped, datagram(1))
    sends(sped)
    sped.establish()
    writes(sped, datagram(2))
    assert answer(sped, 1.0) == [(ACK, b""), (DATA, datagram(2))]
    sped.establish()  # of a later turn
    assert answer(sped, 2.0) == [(ACK, b""), (DATA, datagram(2))]
    sped.take(request((ACK, crc(datagram(2)))))
    assert answer(sped, 3.0) == []


def test_after_the_end_datagrams_leave_by_themselves_and_all_that_come_are_taken() -> None:
    sped = Sped()
    writes(sped, datagram(1))
    sends(sped)
    sped.finish()
    assert answer(sped, 1.0) == []
    writes(sped, datagram(2))
    assert answer(sped, 1.0) == []
    assert sends(sped) == [datagram(2)]
    assert sends(sped) == []
    assert sped.hear(datagram(3))
    assert sped.hear(datagram(3))


# A session


class Play(Ladder):
    """A session and the checks of a peer that speaks SPED."""

    def __init__(self, role: DtlsRole = "server") -> None:
        outbox: Outbox = []
        events: list[Event] = []
        caller, _ = Pair().dial(role=role, sped=True)
        self.config = attrs.evolve(config(caller, role=role), dtls_groups=tuple(dtls.GROUPS))
        self.session = Session(self.config, outbox=outbox, events=events, now=0.0)
        self.checks = 0
        super().__init__(self.session, outbox, events)

    def check(self, *attributes: tuple[int, bytes], pwd: str | None = None) -> bytes:
        self.checks += 1
        credentials = self.config.credentials
        return stun.encode(
            stun.BINDING_REQUEST,
            self.checks.to_bytes(12, "big"),
            [
                (stun.USERNAME, f"{credentials.ufrag}:{credentials.remote_ufrag}".encode()),
                (stun.ICE_CONTROLLING, bytes(8)),
                *attributes,
            ],
            key=(pwd or credentials.pwd).encode(),
        )

    def proves(self, *attributes: tuple[int, bytes]) -> Sequence[tuple[int, bytes]]:
        """Receive the first check; what the answer carries."""
        self.receives(self.check(*attributes))
        self.announces(PathProven(PEER))
        self.announces(PathSelected(PEER))
        return self.carries()

    def carries(self) -> list[tuple[int, bytes]]:
        """Claim an answer; what of this it carries."""
        message = self.sends(stun.decode)
        assert message.kind == stun.BINDING_SUCCESS
        assert message.verify(self.config.credentials.pwd.encode())
        assert message.attributes[0][0] == stun.XOR_MAPPED_ADDRESS
        return [pair for pair in message.attributes if pair[0] in (DATA, ACK)]


def hello(number: int) -> bytes:
    """A piece of the captured hello."""
    message = HELLO[number]
    assert message is not None
    return message.get(DATA) or pytest.fail("no piece")


def test_the_hello_of_chromium_comes_in_two_checks_and_our_flight_in_the_second_answer_and_behind_it() -> None:
    play = Play()
    assert play.proves((ACK, b""), (DATA, hello(0))) == [(ACK, crc(hello(0)))]
    play.receives(play.check((ACK, b""), (DATA, hello(1))))
    (_, acknowledged), (_, first) = play.carries()
    assert acknowledged == crc(hello(0), hello(1))
    assert len(first) == MTU
    rest = play.sends()
    assert rest[0] == 22
    play.announces(dtls.KeysDerived)
    play.silent()
    assert play.session._carriage.hello_in_checks


def test_the_pieces_of_a_hello_may_come_in_any_order_and_twice() -> None:
    play = Play()
    assert play.proves((ACK, b""), (DATA, hello(1))) == [(ACK, crc(hello(1)))]
    play.receives(play.check((ACK, b""), (DATA, hello(1))))
    assert play.carries() == [(ACK, crc(hello(1)))]
    play.receives(play.check((ACK, b""), (DATA, hello(0))))
    assert len(play.carries()) == 2
    play.sends()
    play.announces(dtls.KeysDerived)
    play.receives(play.check((ACK, b""), (DATA, hello(0))))
    assert play.carries() == [(ACK, crc(hello(1), hello(0)))]
    play.receives(hello(1))
    assert play.session._carriage.hello_in_checks


def test_a_piece_that_came_by_itself_is_acknowledged_but_the_hello_was_not_all_in_checks() -> None:
    play = Play()
    play.proves((ACK, b""), (DATA, hello(0)))
    play.receives(hello(1))
    play.sends()
    play.sends()
    play.announces(dtls.KeysDerived)
    assert not play.session._carriage.hello_in_checks
    play.now += 2 * PAUSE
    play.receives(play.check((ACK, b"")))
    (_, acknowledged), (_, repeated) = play.carries()
    assert acknowledged == crc(hello(0), hello(1))
    assert len(repeated) == MTU


def test_a_flight_that_is_repeated_by_its_timer_leaves_by_itself_and_rides_on_the_answers_that_follow() -> None:
    play = Play()
    play.proves((ACK, b""), (DATA, hello(0)))
    play.receives(play.check((ACK, b""), (DATA, hello(1))))
    play.carries()
    play.sends()
    play.announces(dtls.KeysDerived)
    play.waits_until(dtls.FIRST_TIMEOUT)
    again = [play.sends(), play.sends()]
    assert play.session.dtls is not None
    play.session.dtls.allowance = NEVER
    play.now += 2 * PAUSE
    for piece in again:
        play.receives(play.check((ACK, crc(hello(0)))))
        assert play.carries()[1] == (DATA, piece)
    play.receives(play.check((ACK, crc(*again))))
    assert [kind for kind, _ in play.carries()] == [ACK]


def test_as_dtls_client_our_hello_rides_on_the_first_answer_and_its_rest_behind() -> None:
    play = Play("client")
    (_, acknowledged), (_, first) = play.proves((ACK, b""))
    assert acknowledged == b""
    assert len(first) == MTU
    assert play.sends()[0] == 22


def test_a_peer_whose_first_check_has_neither_attribute_never_sees_one() -> None:
    play = Play()
    assert play.proves() == []
    play.receives(play.check((ACK, b""), (DATA, hello(0))))
    assert play.carries() == []
    assert not play.session._carriage.hello_in_checks
    play.receives(hello(0))
    play.receives(hello(1))
    assert len(play.sends()) > MTU
    play.sends()
    play.announces(dtls.KeysDerived)


@pytest.mark.parametrize("malformed", [b"\x00", bytes(20), bytes(60_000)])
def test_a_malformed_acknowledgement_does_not_cost_a_peer_its_check(malformed: bytes) -> None:
    play = Play()
    assert play.proves((ACK, malformed)) == [(ACK, b"")]


def test_a_check_that_came_before_brings_no_dtls_but_its_answer_still_says_that_we_speak_it() -> None:
    play = Play()
    play.proves((ACK, b""))
    play.receives(check := play.check((ACK, b""), (DATA, hello(0))))
    assert play.carries() == [(ACK, crc(hello(0)))]
    play.receives(play.check((ACK, b""), (DATA, hello(1))))
    first = play.carries()[1]
    play.sends()
    play.announces(dtls.KeysDerived)
    play.now += 2 * PAUSE
    play.receives(check)
    assert play.carries() == [(ACK, crc(hello(0), hello(1))), first]


def test_a_check_that_came_before_brings_no_dtls_even_where_its_piece_is_forgotten() -> None:
    play = Play()
    play.receives(seen := play.check((ACK, b""), (DATA, hello(0))))
    play.announces(PathProven(PEER))
    play.announces(PathSelected(PEER))
    play.carries()
    junk = [datagram(number) for number in range(ACKNOWLEDGED)]
    for piece in junk:
        play.receives(play.check((DATA, piece)))
        play.carries()
    play.receives(seen)
    assert play.carries() == [(ACK, crc(*junk))]


# A whole call


@pytest.mark.parametrize("role", ROLES)
def test_a_call_comes_up_and_the_attributes_cease(role: DtlsRole) -> None:
    pair, caller, session = connected(role=role, sped=True)
    assert caller.piggyback is not None
    assert caller.piggyback.state is State.COMPLETE
    caller.check(pair.link.now)
    check, _ = caller.outbox.pop()
    answers = pair.inject(check, (CALLER[0], CALLER[1] + 1))
    for message in (stun.decode(check), stun.decode(answers[0][0])):
        assert message is not None
        assert not is_spoken(message)
    assert session.stats(pair.link.now)["dtls"] == "1.3"


@pytest.mark.parametrize(("role", "versions", "sped", "speaks", "ours", "theirs"), [
    ("client", (0xFEFC, 0xFEFD), False, 1.0, 1.0, 1.5),
    ("server", (0xFEFC, 0xFEFD), False, 2.0, 2.0, 1.5),
    ("server", (0xFEFC, 0xFEFD), True, 0.0, 1.0, 0.5),
    ("client", (0xFEFC, 0xFEFD), True, 1.0, 1.0, 1.5),
    ("client", (0xFEFD,), False, 2.0, 2.0, 1.5),
    ("server", (0xFEFD,), False, 2.0, 2.0, 2.5),
    ("server", (0xFEFD,), True, 1.0, 1.0, 1.5),
])  # fmt: skip
def test_round_trips_from_the_first_check_that_came_until_we_may_speak_and_until_each_side_is_connected(
    role: DtlsRole, versions: tuple[int, ...], sped: bool, speaks: float, ours: float, theirs: float
) -> None:
    pair = Pair(delay=0.05)
    caller, session = pair.dial(role=role, sped=sped, versions=versions)
    steps: dict[str, float] = {}

    def done() -> bool:
        for name, is_reached in (("speaks", session.can_send), ("ours", session.connected)):
            if is_reached:
                steps.setdefault(name, pair.link.now)
        return session.connected and caller.connected_at < NEVER

    assert pair.link.run_until(5.0, done)
    steps["theirs"] = caller.connected_at
    round_trips = {name: (time - 0.05) / 0.1 for name, time in steps.items()}
    assert round_trips == pytest.approx({"speaks": speaks, "ours": ours, "theirs": theirs}, abs=0.03)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("versions", [(0xFEFC, 0xFEFD), (0xFEFD,)], ids=["1.3", "1.2"])
@pytest.mark.parametrize("seed", range(50))
def test_a_lost_doubled_or_reordered_piece_changes_nothing(
    role: DtlsRole, versions: tuple[int, ...], seed: int
) -> None:
    pair = Pair(seed, loss=0.3, jitter=0.05, duplication=0.2)
    caller, session = pair.dial(role=role, sped=True, versions=versions)
    assert pair.link.run_until(60.0, lambda: session.connected and bool(pair.media))
    assert caller.over is None


def recorded(role: DtlsRole) -> list[bytes]:
    """A whole call's datagrams as the server got them; with the same seeds it is the same call again."""
    pair = Pair()
    pair.dial(role=role, sped=True)
    pair.run(0.5)
    return pair.recorded


class TestSession(Contract):
    role: DtlsRole = "server"

    def make(self, outbox: Outbox, events: list[Event]) -> Session:
        caller, _ = Pair().dial(role=self.role, sped=True)
        return Session(config(caller, role=self.role), outbox=outbox, events=events, now=0.0)

    def valid(self) -> list[bytes]:
        return recorded(self.role)

    def test_the_recorded_call_comes_up_in_stun(self) -> None:
        first = stun.decode(self.valid()[0])
        assert first is not None
        assert is_spoken(first)
        events: list[Event] = []
        session = self.make([], events)
        for item in self.valid():
            session.receive(item, (CALLER[0], CALLER[1] + 1), 0.0)
        assert any(isinstance(event, dtls.Connected) for event in events)


class TestSessionAsDtlsClient(TestSession):
    role = "client"
