"""ICE-lite, told as ladders."""

import pytest

from tests.harness.contract import Contract
from tests.harness.ladder import PEER, Ladder
from trioice import stun
from trioice.errors import Misbehaviour
from trioice.ice import (
    CONSENT,
    PATHS,
    REMEMBERED_CHECKS,
    Credentials,
    Drop,
    IceLite,
    PathForgotten,
    PathProven,
    PathSelected,
)
from trioice.sansio import Event, Failed, Outbox

OURS = Credentials("server", "server-password-of-22-plus", "peer")
NEXT = Credentials("server2", "another-password-of-22-plus", "peer2")
ELSEWHERE = ("198.51.100.9", 4444)
CONTROLLING = (stun.ICE_CONTROLLING, bytes(8))
NOMINATE = (stun.USE_CANDIDATE, b"")

_checks = 0


def check(*attributes: tuple[int, bytes], credentials: Credentials = OURS, pwd: str = "", number: int = 0) -> bytes:
    """A check as browsers send it; each has a transaction id of its own unless `number` says which."""
    global _checks
    _checks += 1
    return stun.encode(
        stun.BINDING_REQUEST,
        (number or _checks).to_bytes(12, "big"),
        [
            (stun.USERNAME, f"{credentials.ufrag}:{credentials.remote_ufrag}".encode()),
            *(attributes or (CONTROLLING,)),
            (stun.PRIORITY, bytes(4)),
        ],
        key=(pwd or credentials.pwd).encode(),
    )


def make(outbox: Outbox, events: list[Event]) -> IceLite:
    return IceLite(OURS, transport_address=lambda address: address, outbox=outbox, events=events, now=0.0)  # type: ignore[arg-type, return-value]


class Play(Ladder):
    def __init__(self) -> None:
        outbox: Outbox = []
        events: list[Event] = []
        self.ice = make(outbox, events)
        super().__init__(self.ice, outbox, events)

    def answers(self, to: object = PEER, pwd: str = OURS.pwd) -> stun.Message:
        message = self.sends(stun.decode, to)
        assert message.verify(pwd.encode())
        return message

    def proves(self, *attributes: tuple[int, bytes], source: object = PEER) -> None:
        """Receive a check from a new source, and claim what always comes of it."""
        first = self.ice.selected is None
        self.receives(check(*attributes), source)
        assert self.answers(source).kind == stun.BINDING_SUCCESS
        self.announces(PathProven(source))
        if first:
            self.announces(PathSelected(source))


@pytest.fixture
def ladder() -> Play:
    return Play()


def test_a_check_is_answered_at_once_with_the_source_that_it_came_from(ladder: Play) -> None:
    ladder.receives(request := check())
    answer = ladder.answers()
    asked = stun.decode(request)
    assert asked is not None
    assert (answer.kind, answer.transaction_id, answer.has_fingerprint) == (
        stun.BINDING_SUCCESS,
        asked.transaction_id,
        True,
    )
    assert stun.read_xor_address(answer.get(stun.XOR_MAPPED_ADDRESS) or b"", answer.transaction_id) == PEER
    ladder.announces(PathProven(PEER))
    ladder.announces(PathSelected(PEER))


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (check(pwd="not the password at all"), Drop.BAD_INTEGRITY),
        (check(credentials=Credentials("server", OURS.pwd, "somebody")), Drop.WRONG_USERNAME),
        (check(credentials=Credentials("other", OURS.pwd, "peer")), Drop.WRONG_USERNAME),
        (check(credentials=Credentials("server" * 80, OURS.pwd, "peer")), Drop.WRONG_USERNAME),
        (check()[:-1] + b"\x00\x00", Drop.MALFORMED),
        (check()[:-4] + b"\x00\x00\x00\x00", Drop.MALFORMED),
        (stun.encode(stun.BINDING_REQUEST, bytes(12), [(stun.USERNAME, b"server:peer")]), Drop.BAD_INTEGRITY),
        (stun.encode(stun.BINDING_REQUEST, bytes(12), []), Drop.WRONG_USERNAME),
        (
            stun.encode(stun.BINDING_INDICATION, bytes(12), [(stun.USERNAME, b"server:peer")], key=OURS.pwd.encode()),
            Drop.NOT_A_REQUEST,
        ),
        (
            stun.encode(stun.BINDING_SUCCESS, bytes(12), [(stun.USERNAME, b"server:peer")], key=OURS.pwd.encode()),
            Drop.NOT_A_REQUEST,
        ),
    ],
)
def test_what_is_not_an_authenticated_check_gets_silence_and_changes_nothing(
    ladder: Play, datagram: bytes, reason: Drop
) -> None:
    ladder.receives(datagram)
    ladder.silent()
    assert ladder.ice.dropped == {reason: 1}
    assert (ladder.ice.paths, ladder.ice.selected) == ({}, None)


def test_use_candidate_after_message_integrity_nominates_nothing(ladder: Play) -> None:
    ladder.proves()
    honest = check(number=777)
    forged = bytearray(honest[:-8])  # without its FINGERPRINT
    forged += b"\x00\x25\x00\x00"
    forged[2:4] = (len(forged) - 20).to_bytes(2, "big")
    ladder.receives(bytes(forged), ELSEWHERE)
    ladder.answers(ELSEWHERE)
    ladder.announces(PathProven(ELSEWHERE))
    assert ladder.ice.selected == PEER


def test_the_path_that_is_nominated_last_is_selected(ladder: Play) -> None:
    ladder.proves()
    ladder.proves(source=ELSEWHERE)
    ladder.receives(check(CONTROLLING, NOMINATE), ELSEWHERE)
    ladder.answers(ELSEWHERE)
    ladder.announces(PathSelected(ELSEWHERE))
    ladder.receives(check(CONTROLLING, NOMINATE))
    ladder.answers()
    ladder.announces(PathSelected(PEER))


def test_media_moves_the_path_between_proven_sources_only(ladder: Play) -> None:
    ladder.proves()
    ladder.does(ladder.ice.follow, ELSEWHERE)
    assert ladder.ice.selected == PEER
    ladder.proves(source=ELSEWHERE)
    ladder.does(ladder.ice.follow, ELSEWHERE)
    ladder.announces(PathSelected(ELSEWHERE))


def test_an_unknown_attribute_that_must_be_understood_is_answered_with_420(ladder: Play) -> None:
    ladder.receives(check(CONTROLLING, (0x7F01, b"")))
    answer = ladder.answers()
    assert answer.kind == stun.BINDING_ERROR
    assert stun.read_error_code(answer.get(stun.ERROR_CODE) or b"") == (420, "Unknown Attribute")
    assert answer.get(stun.UNKNOWN_ATTRIBUTES) == b"\x7f\x01"
    assert not ladder.ice.paths


def test_a_peer_that_also_wants_to_be_controlled_is_told_487_and_we_never_control(ladder: Play) -> None:
    for tie_breaker in (bytes(8), b"\xff" * 8):
        ladder.receives(check((stun.ICE_CONTROLLED, tie_breaker)))
        answer = ladder.answers()
        assert answer.kind == stun.BINDING_ERROR
        assert stun.read_error_code(answer.get(stun.ERROR_CODE) or b"") == (487, "Role Conflict")


def test_consent_lasts_thirty_seconds_from_the_last_check(ladder: Play) -> None:
    ladder.proves()
    ladder.waits_until(20)
    ladder.receives(check())
    ladder.answers()
    ladder.waits_until(1000)
    ladder.announces(PathForgotten(PEER))
    assert ladder.announces(Failed).error.reason is Misbehaviour.CONSENT_LOST
    assert ladder.now == 20 + CONSENT
    assert ladder.ice.selected is None


def test_a_peer_that_never_checks_fails_after_thirty_seconds(ladder: Play) -> None:
    ladder.waits_until(1000)
    assert ladder.announces(Failed).error.reason is Misbehaviour.NEVER_CONNECTED
    assert ladder.now == CONSENT


def test_when_the_selected_path_lapses_the_one_checked_last_takes_over(ladder: Play) -> None:
    ladder.proves(CONTROLLING, NOMINATE)
    ladder.waits_until(10)
    ladder.proves(source=ELSEWHERE)
    ladder.waits_until(1000)
    assert ladder.now == CONSENT
    ladder.announces(PathForgotten(PEER))
    ladder.announces(PathSelected(ELSEWHERE))


def test_each_path_lasts_thirty_seconds_from_its_own_last_check(ladder: Play) -> None:
    ladder.proves()
    ladder.waits_until(1)
    ladder.proves(source=ELSEWHERE)
    ladder.waits_until(20)
    ladder.receives(check())
    ladder.answers()
    ladder.waits_until(1000)
    ladder.announces(PathForgotten(ELSEWHERE))
    assert ladder.now == 1 + CONSENT
    assert ladder.ice.selected == PEER


def test_transaction_ids_are_remembered_in_bounds(ladder: Play) -> None:
    ladder.proves()
    for _ in range(3 * REMEMBERED_CHECKS):
        ladder.receives(check())
        ladder.answers()
    assert len(ladder.ice._remembered) == REMEMBERED_CHECKS


def test_paths_are_bounded_and_the_selected_one_stays(ladder: Play) -> None:
    ladder.proves()
    sources = [("198.51.100.1", port) for port in range(1, PATHS + 3)]
    for number, source in enumerate(sources):
        ladder.receives(check(), source)
        ladder.answers(source)
        ladder.announces(PathProven(source))
        if number + 2 > PATHS:
            ladder.announces(PathForgotten(sources[number + 1 - PATHS]))
    assert len(ladder.ice.paths) == PATHS
    assert ladder.ice.selected == PEER


def test_a_check_replayed_from_another_source_opens_no_path(ladder: Play) -> None:
    ladder.proves()
    ladder.receives(seen := check(CONTROLLING, NOMINATE))
    ladder.answers()
    ladder.receives(seen, ELSEWHERE)
    ladder.silent()
    assert ladder.ice.dropped == {Drop.REPLAYED: 1}
    ladder.receives(seen)  # a retransmission is answered
    ladder.answers()


def test_a_check_seen_before_selects_no_path_that_was_forgotten(ladder: Play) -> None:
    ladder.receives(seen := check(CONTROLLING, NOMINATE))
    ladder.answers()
    ladder.announces(PathProven(PEER))
    ladder.announces(PathSelected(PEER))
    ladder.waits_until(20)
    ladder.proves(source=ELSEWHERE)
    ladder.waits_until(1000)
    ladder.announces(PathForgotten(PEER))
    ladder.announces(PathSelected(ELSEWHERE))
    ladder.receives(seen)
    ladder.answers()
    ladder.silent()
    assert ladder.ice.selected == ELSEWHERE


def test_after_a_restart_the_old_credentials_serve_until_the_new_ones_are_used(ladder: Play) -> None:
    ladder.proves()
    ladder.does(ladder.ice.restart, NEXT)
    ladder.receives(check())
    ladder.answers()
    assert ladder.ice.selected == PEER
    ladder.receives(check(CONTROLLING, NOMINATE, credentials=NEXT), ELSEWHERE)
    ladder.answers(ELSEWHERE, NEXT.pwd)
    ladder.announces(PathProven(ELSEWHERE))
    ladder.announces(PathSelected(ELSEWHERE))
    ladder.receives(check(CONTROLLING, NOMINATE))  # late
    ladder.silent()
    assert ladder.ice.selected == ELSEWHERE
    assert ladder.ice.dropped == {Drop.WRONG_USERNAME: 1}


class TestIceLite(Contract):
    grows_by = 30_000

    def make(self, outbox: Outbox, events: list[Event]) -> IceLite:
        return make(outbox, events)

    def valid(self) -> list[bytes]:
        return [check(number=1), check(CONTROLLING, NOMINATE, number=2), check((0x7F01, b"abc"), number=3)]
