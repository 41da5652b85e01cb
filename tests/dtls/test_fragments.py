"""Reassembly: any order, overlap and duplication, within bounds."""

import itertools
import random

import pytest

from trioice.dtls.drops import Drop
from trioice.dtls.fragments import AHEAD, MAXIMUM_HELD, MAXIMUM_MESSAGE, Fragment, Message, Reassembler
from trioice.errors import Malformed
from trioice.wire import Reader

BODY = bytes(range(100))
MESSAGE = Message(kind=11, sequence=0, body=BODY)


def piece(start: int, end: int, message: Message = MESSAGE) -> Fragment:
    return Fragment.read(Reader(message.fragment(start, end)))


def bodies(reassembler: Reassembler) -> list[bytes]:
    return [message.body for message in reassembler.messages()]


def test_a_fragment_survives_the_wire() -> None:
    octets = MESSAGE.fragment(10, 30)
    assert octets[:12].hex() == "0b 000064 0000 00000a 000014".replace(" ", "")
    assert piece(10, 30) == Fragment(kind=11, length=100, sequence=0, offset=10, octets=BODY[10:30])


@pytest.mark.parametrize("length", range(12))
def test_a_truncated_header_is_malformed(length: int) -> None:
    with pytest.raises(Malformed):
        Fragment.read(Reader(MESSAGE.octets()[:length]))


def test_fragments_come_in_any_order() -> None:
    cuts = [(0, 20), (20, 21), (21, 70), (70, 100)]
    for order in itertools.permutations(cuts):
        reassembler = Reassembler()
        for number, cut in enumerate(order):
            assert reassembler.add(piece(*cut), 0) is None
            assert bodies(reassembler) == ([BODY] if number == 3 else [])


def test_fragments_overlap_and_repeat() -> None:
    rng = random.Random(1)
    for _ in range(100):
        reassembler = Reassembler()
        covered: set[int] = set()
        while len(covered) < 100:
            start = rng.randrange(100)
            end = rng.randrange(start, 101)
            reassembler.add(piece(start, end), 0)
            covered |= set(range(start, end))
            assert bodies(reassembler) == ([BODY] if len(covered) == 100 else [])


def test_messages_interleave_and_come_out_in_order() -> None:
    reassembler = Reassembler()
    second = Message(kind=12, sequence=1, body=b"second")
    empty = Message(kind=14, sequence=2, body=b"")
    reassembler.add(piece(0, 0, empty), 0)
    reassembler.add(piece(3, 6, second), 0)
    reassembler.add(piece(0, 50), 0)
    reassembler.add(piece(0, 3, second), 0)
    assert bodies(reassembler) == []
    reassembler.add(piece(50, 100), 0)
    assert bodies(reassembler) == [BODY, b"second", b""]
    assert reassembler.next == 3


def test_a_fragment_that_contradicts_the_others_is_dropped() -> None:
    reassembler = Reassembler()
    reassembler.add(piece(0, 50), 0)
    other_kind = Message(kind=12, sequence=0, body=BODY)
    other_length = Message(kind=11, sequence=0, body=BODY + b"!")
    assert reassembler.add(piece(50, 100, other_kind), 0) is Drop.CONTRADICTION
    assert reassembler.add(piece(50, 100, other_length), 0) is Drop.CONTRADICTION
    beyond = Fragment(kind=11, length=100, sequence=0, offset=90, octets=bytes(11))
    assert reassembler.add(beyond, 0) is Drop.CONTRADICTION
    assert reassembler.add(piece(50, 100), 0) is None
    assert bodies(reassembler) == [BODY]


def test_an_authenticated_fragment_takes_the_place_of_a_forged_one() -> None:
    reassembler = Reassembler()
    forged = Message(kind=1, sequence=0, body=bytes(7))
    reassembler.add(piece(0, 3, forged), 0)
    assert reassembler.add(piece(0, 100), 1) is None
    assert reassembler.add(piece(3, 7, forged), 0) is Drop.CONTRADICTION
    assert bodies(reassembler) == [BODY]


def test_messages_too_far_ahead_are_dropped() -> None:
    reassembler = Reassembler()
    last = Message(kind=11, sequence=AHEAD - 1, body=b"x")
    beyond = Message(kind=11, sequence=AHEAD, body=b"x")
    assert reassembler.add(piece(0, 1, last), 0) is None
    assert reassembler.add(piece(0, 1, beyond), 0) is Drop.TOO_FAR


def test_what_messages_may_announce_is_bounded() -> None:
    reassembler = Reassembler()
    for length in (2**24 - 1, MAXIMUM_MESSAGE + 1):
        assert reassembler.add(Fragment(kind=11, length=length, sequence=0, offset=0, octets=b"x"), 0) is Drop.TOO_LONG
    kept = [
        reassembler.add(Fragment(kind=11, length=MAXIMUM_MESSAGE, sequence=sequence, offset=0, octets=b"x"), 0)
        for sequence in range(AHEAD)
    ]
    assert kept.count(None) == MAXIMUM_HELD // MAXIMUM_MESSAGE
    assert set(kept) == {None, Drop.TOO_LONG}


def test_a_fragment_of_nothing_is_refused_and_a_message_of_nothing_is_not() -> None:
    reassembler = Reassembler()
    assert reassembler.add(Fragment(kind=11, length=5, sequence=0, offset=0, octets=b""), 0) is Drop.EMPTY_FRAGMENT
    assert reassembler.add(Fragment(kind=14, length=0, sequence=0, offset=0, octets=b""), 0) is None
    assert [message.kind for message in reassembler.messages()] == [14]
