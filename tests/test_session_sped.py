"""A session whose peer carries DTLS in STUN, told as ladders, and whole calls with it."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from tests.harness.contract import Contract
from tests.harness.ladder import PEER, Ladder
from tests.harness.pair import CALLER, Pair, config, connected
from tests.harness.piggyback import State
from tests.test_sped import ACK, DATA, HELLO, crc, datagram
from trioice import dtls, stun
from trioice.carriage import DtlsRole
from trioice.dtls.groups import X25519
from trioice.ice import PathProven, PathSelected
from trioice.sansio import NEVER, Event, Outbox
from trioice.session import Session
from trioice.sped import ACKNOWLEDGED, MTU, PAUSE, is_spoken

ROLES: list[DtlsRole] = ["server", "client"]


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
    play.receives(play.check((ACK, crc(hello(0)))))
    assert play.carries()[1] == (DATA, again[0])
    assert play.sends() == again[1]  # behind the answer, as it may be long until the next check
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


BOTH, OLD = (0xFEFC, 0xFEFD), (0xFEFD,)
ONE_PIECE = {"sped": True, "groups": (X25519,)}
TWO_PIECES = {"sped": True}
AT_ONCE = {"sped": True, "second": 0.002}


@pytest.mark.parametrize(("role", "versions", "caller_options", "speaks", "ours", "theirs"), [
    ("client", BOTH, {}, 1.0, 1.0, 1.5),
    ("server", BOTH, {}, 2.0, 2.0, 1.5),
    ("server", BOTH, ONE_PIECE, 0.0, 1.0, 0.5),
    ("server", BOTH, AT_ONCE, 0.02, 1.02, 0.52),
    ("server", BOTH, TWO_PIECES, 0.48, 1.48, 0.98),
    ("client", BOTH, TWO_PIECES, 1.0, 1.0, 1.5),
    ("client", OLD, {}, 2.0, 2.0, 1.5),
    ("server", OLD, {}, 2.0, 2.0, 2.5),
    ("server", OLD, ONE_PIECE, 1.0, 1.0, 1.5),
])  # fmt: skip
def test_round_trips_from_the_first_check_that_came_until_we_may_speak_and_until_each_side_is_connected(
    role: DtlsRole,
    versions: tuple[int, ...],
    caller_options: dict[str, Any],
    speaks: float,
    ours: float,
    theirs: float,
) -> None:
    """At 100 ms. The second piece of a hello waits for a browser's second check, 48 ms, unless it has two networks to check from."""
    pair = Pair(delay=0.05)
    caller, session = pair.dial(role=role, versions=versions, **caller_options)
    steps: dict[str, float] = {}

    def done() -> bool:
        for name, is_reached in (("speaks", session.can_send), ("ours", session.connected)):
            if is_reached:
                steps.setdefault(name, pair.link.now)
        return session.connected and caller.connected_at < NEVER

    assert pair.link.run_until(5.0, done)
    steps["theirs"] = caller.connected_at
    round_trips = {name: (time - 0.05) / 0.1 for name, time in steps.items()}
    assert round_trips == pytest.approx({"speaks": speaks, "ours": ours, "theirs": theirs}, abs=0.001)


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


def test_where_a_quarter_is_lost_nineteen_calls_in_twenty_are_up_within_eight_round_trips() -> None:
    took = []
    for seed in range(200):
        pair = Pair(seed, delay=0.05, loss=0.25)
        caller, session = pair.dial(role="server", sped=True)
        assert pair.link.run_until(60.0, lambda s=session, c=caller: s.connected and c.connected_at < NEVER)  # type: ignore[misc]
        took.append(pair.link.now / 0.1)
    assert sorted(took)[len(took) * 19 // 20] < 8


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
