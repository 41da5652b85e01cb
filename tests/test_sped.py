"""DTLS in STUN: what rides on a check and its answer, held against a call between two browsers, and what a session makes of it."""

import zlib

import pytest

from tests.harness.ladder import PEER
from tests.test_captures import call
from trioice import stun
from trioice.carriage import DtlsRole
from trioice.sansio import NEVER, Outbox
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


def sends(sped: Sped, now: float = 0.0, allowance: float = 0) -> list[bytes]:
    outbox: Outbox = []
    assert sped.send(outbox, PEER, allowance, now) <= allowance
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


def test_behind_an_answer_leaves_again_what_was_not_acknowledged_within_what_is_allowed() -> None:
    sped = Sped()
    pieces = [datagram(number) for number in range(4)]
    writes(sped, *pieces)
    assert answer(sped) == [(ACK, b""), (DATA, pieces[0])]
    assert sends(sped) == pieces[1:]
    assert sends(sped, PAUSE * 0.9, NEVER) == []
    sped.take(request((ACK, crc(pieces[1]))))
    assert answer(sped, 1.0) == [(ACK, b""), (DATA, pieces[0])]
    size = len(pieces[0])
    assert sends(sped, 1.0, size - 1) == []
    assert sends(sped, 1.0, 2 * size - 1) == [pieces[2]]
    assert sends(sped, 1.0, NEVER) == [pieces[3]]


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
