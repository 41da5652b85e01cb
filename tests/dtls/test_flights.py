"""Flights on their own: cut into records that fit, taken apart by acknowledgements, repeated within bounds (RFC 9147, 5.5, 5.8 and 7.2)."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioice.dtls.ciphers13 import SUITES_13
from trioice.dtls.flights import LEAST_TIMEOUT, MOST_TIMEOUT, REPETITIONS, TRANSMISSIONS, Flights
from trioice.dtls.fragments import Fragment, Message, Reassembler
from trioice.dtls.keys13 import KeySchedule
from trioice.dtls.packing import LEAST_FRAGMENT, ChangeCipherSpec, Piece, pack, without
from trioice.dtls.record import Record, RecordLayer, split
from trioice.sansio import NEVER
from trioice.wire import Reader

MESSAGE = Message(kind=11, sequence=0, body=bytes(range(200)))
OTHER = Message(kind=15, sequence=1, body=bytes(50))


def layer() -> RecordLayer:
    """Both directions under the same keys: what it writes, it reads."""
    records = RecordLayer()
    suite = SUITES_13[0x1301]
    protection = KeySchedule("sha256").protection(suite, bytes(32))
    records.install(2, writing=protection, reading=protection)
    return records


def fragments_in(datagrams: Iterable[bytes], records: RecordLayer) -> list[Fragment]:
    fragments = []
    for datagram in datagrams:
        items, rest = split(datagram)
        assert rest == b""
        for item in items:
            opened = records.open(item)
            assert isinstance(opened, Record)
            reader = Reader(opened.payload)
            while opened.kind == 22 and reader.left:
                fragments.append(Fragment.read(reader))
    return fragments


# Pieces


def octets_of(pieces: Iterable[Piece]) -> set[int]:
    return {place for _, start, end in pieces for place in range(start, end)}


BOUNDS = st.sets(st.integers(0, 40), min_size=2, max_size=2).map(sorted)


@given(BOUNDS, BOUNDS)
def test_what_is_left_of_a_piece_is_what_the_other_does_not_have(bounds: list[int], others: list[int]) -> None:
    piece, other = (MESSAGE, bounds[0], bounds[1]), (MESSAGE, others[0], others[1])
    left = list(without(piece, other))
    assert octets_of(left) == octets_of([piece]) - octets_of([other])
    assert all(start < end for _, start, end in left)
    assert sum(end - start for _, start, end in left) == len(octets_of(left))


def test_pieces_of_another_message_take_nothing() -> None:
    twin = Message(kind=11, sequence=0, body=MESSAGE.body)
    assert list(without((MESSAGE, 0, 200), (twin, 0, 200))) == [(MESSAGE, 0, 200)]
    assert list(without((MESSAGE, 0, 200), (OTHER, 0, 50))) == [(MESSAGE, 0, 200)]


def test_a_message_of_nothing_is_taken_out_whole() -> None:
    empty = Message(kind=14, sequence=0, body=b"")
    assert list(without((empty, 0, 0), (empty, 0, 0))) == []


# Packing

SIZES = st.lists(st.tuples(st.integers(0, 700), st.sampled_from([0, 2])), min_size=1, max_size=7)


@given(SIZES, st.integers(256, 1300))
def test_a_flight_is_packed_into_datagrams_that_fit_and_put_together_again(
    sizes: list[tuple[int, int]], mtu: int
) -> None:
    sizes.sort(key=lambda item: item[1])
    flight = [
        Message(kind=11, sequence=number, body=bytes((number,)) * size, epoch=epoch)
        for number, (size, epoch) in enumerate(sizes)
    ]
    records = layer()
    packed = pack([(message, 0, len(message.body)) for message in flight], records, mtu)
    assert all(len(datagram) <= mtu for datagram in packed.datagrams)
    fragments = fragments_in(packed.datagrams, records)
    reassembler = Reassembler()
    assert [reassembler.add(fragment, 0) for fragment in fragments] == [None] * len(fragments)
    assert [message.body for message in reassembler.messages()] == [message.body for message in flight]
    for fragment in fragments:
        is_last = fragment.offset + len(fragment.octets) == fragment.length
        assert is_last or len(fragment.octets) >= LEAST_FRAGMENT
    # What is in which record adds up to all of it, once.
    pieces = [piece for content in packed.contents.values() for piece in content]
    assert [(m.sequence, start, end) for m, start, end in pieces if isinstance(m, Message)] == [
        (fragment.sequence, fragment.offset, fragment.offset + len(fragment.octets)) for fragment in fragments
    ]
    # No datagram has room for all of the next.
    lengths = list(map(len, packed.datagrams))
    assert all(mtu - length < LEAST_FRAGMENT + 12 + 22 for length in lengths[:-1])


def test_messages_share_records_under_keys_of_1_3_alone() -> None:
    records = layer()
    protected = Message(kind=20, sequence=2, body=b"f", epoch=2)
    pieces: list[Piece] = [
        (MESSAGE, 0, 10),
        (OTHER, 0, 10),
        (ChangeCipherSpec(), 0, 1),
        (protected, 0, 1),
        (protected, 0, 1),
    ]
    packed = pack(pieces, records, 1200)
    assert list(packed.contents) == [(0, 0), (0, 1), (0, 2), (2, 0)]
    assert len(packed.contents[2, 0]) == 2
    assert len(packed.datagrams) == 1


# Flights


def begun(*messages: Message, mtu: int = 1200) -> tuple[Flights, RecordLayer, list[bytes]]:
    records = layer()
    flights = Flights(records, 0.25, mtu)
    return flights, records, flights.send(messages, 0.0)


BIG = Message(kind=11, sequence=0, body=bytes(900), epoch=2)
SMALL = Message(kind=15, sequence=1, body=bytes(50), epoch=2)


def test_a_record_that_is_acknowledged_takes_its_octets_out_of_the_flight() -> None:
    flights, records, datagrams = begun(BIG, mtu=300)
    numbers = [(2, number) for number in range(len(datagrams))]
    again = flights.acknowledge([numbers[1]], 0.1)
    sent = fragments_in([datagrams[1]], records)[0]
    repeated = fragments_in(again, records)
    places = {place for f in repeated for place in range(f.offset, f.offset + len(f.octets))}
    assert places == set(range(900)) - set(range(sent.offset, sent.offset + len(sent.octets)))
    assert flights.deadline == 0.25  # the timer is left alone
    assert flights.acknowledge([numbers[1]], 0.1) == []
    assert flights.acknowledge(numbers, 0.1) == []
    assert not flights.is_under_way


def test_an_acknowledgement_shows_the_round_trip_of_what_went_out_once() -> None:
    flights, _, _ = begun(BIG)
    flights.acknowledge([(2, 0)], 0.1)
    assert flights.rtt == pytest.approx(0.1)
    flights, _, _ = begun(BIG)
    flights.expire(0.25)
    flights.acknowledge([(2, 1)], 0.3)
    assert flights.rtt is None


@given(st.lists(st.lists(st.integers(0, 60), max_size=6), max_size=30))
def test_whatever_is_acknowledged_nothing_is_lost_and_the_flight_shrinks(acknowledgements: list[list[int]]) -> None:
    flights, records, datagrams = begun(BIG, SMALL, mtu=256)
    contents = dict(flights._sent)
    heard: set[tuple[int, int]] = set()
    whole = {(message.sequence, place) for message in (BIG, SMALL) for place in range(len(message.body))}
    for numbers in acknowledgements:
        known = [(2, number) for number in numbers]
        for number in known:
            heard |= {
                (item.sequence, place)
                for item, start, end in contents.get(number, ())
                if isinstance(item, Message)
                for place in range(start, end)
            }
        left = len(flights._left)
        datagrams = flights.acknowledge(known, 0.1)
        contents |= flights._sent
        sent = {
            (f.sequence, f.offset + place) for f in fragments_in(datagrams, records) for place in range(len(f.octets))
        }
        assert not datagrams or sent == whole - heard
        assert left or not datagrams
    assert flights.is_under_way is (heard != whole)


def test_a_flight_goes_out_less_and_less_often() -> None:
    flights, _, _ = begun(BIG)
    waits, now = [], 0.0
    while not flights.is_exhausted:
        waits.append(flights.deadline - now)
        now = flights.deadline
        assert flights.expire(now)
    assert len(waits) == TRANSMISSIONS - 1
    assert waits == sorted(waits)
    assert waits[-1] == MOST_TIMEOUT


def test_repetitions_are_limited_in_rate_and_number_and_where_there_is_no_timer_in_size() -> None:
    flights, _, _ = begun(BIG)
    assert flights.repeat(LEAST_TIMEOUT / 2, 100) == []
    answers = [flights.repeat(second, 100) for second in range(1, 100)]
    assert [bool(answer) for answer in answers] == [True] * REPETITIONS + [False] * (99 - REPETITIONS)
    records = layer()
    flights = Flights(records, 0.25, 1200)
    [datagram] = flights.send([OTHER], 0.0, awaits_answer=False)
    assert flights.deadline == NEVER
    assert flights.repeat(1.0, (len(datagram) - 1) // 3) == []
    assert all(flights.repeat(second, -(-len(datagram) // 3)) for second in range(1, 100))


def test_a_new_flight_takes_the_place_of_the_old_one() -> None:
    flights, records, _ = begun(BIG)
    flights.send([SMALL], 1.0)
    assert flights.acknowledge([(2, 0)], 1.1) == []  # a record of the flight before
    assert flights.is_under_way
    assert [f.sequence for f in fragments_in(flights.expire(2.0), records)] == [1]
    assert flights.epochs == {2}
    flights.end()
    assert (flights.deadline, flights.is_under_way, flights.epochs) == (NEVER, False, set())
