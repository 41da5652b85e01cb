"""DTLSCiphertext: every form that a peer may send, numbers that are masked and completed, and nothing that can be changed (RFC 9147, 4)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioice.dtls import ciphertext
from trioice.dtls.ciphers13 import SUITES_13, TAG_LENGTH, Protection13
from trioice.dtls.ciphertext import CONNECTION_ID, FIXED, HEADER_LENGTH, LENGTH, OVERHEAD, SIXTEEN_BITS, Ciphertext
from trioice.dtls.drops import Drop
from trioice.dtls.keys13 import KeySchedule
from trioice.dtls.record import (
    ACK,
    APPLICATION_DATA,
    FORGED,
    HANDSHAKE,
    HEADER,
    RESERVED,
    WORN,
    Record,
    RecordLayer,
    split,
)
from trioice.errors import LocalProtocolError
from trioice.sequence import MAXIMUM_INDEX

SUITES = [*SUITES_13]


def protection_of(suite: int = 0x1301, secret: bytes = b"secret") -> Protection13:
    schedule = KeySchedule(SUITES_13[suite].hash)
    return schedule.protection(SUITES_13[suite], schedule.digest(secret))


def layers(suite: int = 0x1301, epoch: int = 3) -> tuple[RecordLayer, RecordLayer]:
    """A writer of an epoch and its reader."""
    writer, reader = RecordLayer(), RecordLayer()
    writer.install(epoch, writing=protection_of(suite))
    writer.epoch = epoch
    reader.install(epoch, reading=protection_of(suite))
    return writer, reader


def sealed(
    inner: bytes, sequence: int = 0, *, suite: int = 0x1301, epoch: int = 3, long: bool = True, length: bool = True
) -> bytes:
    """Write a record in any form: with 8 or 16 bits of its number, with or without its length."""
    protection = protection_of(suite)
    first = FIXED | epoch & 3 | SIXTEEN_BITS * long | LENGTH * length
    size = 2 if long else 1
    header = bytes((first,)) + (sequence % (1 << 8 * size)).to_bytes(size, "big")
    if length:
        header += (len(inner) + TAG_LENGTH).to_bytes(2, "big")
    body = protection.seal(sequence, header, inner)
    mask = protection.mask(body)
    number = bytes(a ^ b for a, b in zip(header[1 : 1 + size], mask, strict=False))
    return header[:1] + number + header[1 + size :] + body


def opened(layer: RecordLayer, datagram: bytes) -> list[tuple[int, bytes] | Drop]:
    """What becomes of each record of a datagram that is nothing but records."""
    records, rest = split(datagram)
    assert rest == b""
    outcomes = [layer.open(item) for item in records]
    return [item if isinstance(item, Drop) else (item.kind, item.payload) for item in outcomes]


# What is sealed is read


@given(st.sampled_from(SUITES), st.integers(1, 255), st.binary(max_size=300), st.integers(0, MAXIMUM_INDEX))
def test_what_is_sealed_is_read(suite: int, kind: int, payload: bytes, sequence: int) -> None:
    writer, reader = layers(suite)
    writer._epochs[3].sequence = sequence
    reader._epochs[3].window.highest = sequence - 1
    datagram = writer.seal(kind, 3, payload)
    assert len(datagram) == len(payload) + OVERHEAD
    assert opened(reader, datagram) == [(kind, payload)]
    assert reader._epochs[3].window.highest == sequence


def test_our_form_is_the_long_one() -> None:
    writer, _ = layers()
    assert writer.seal(APPLICATION_DATA, 3, b"payload") == sealed(b"payload\x17")


@pytest.mark.parametrize("sequence", [0, 1, 0xFFFF, 0x1_0000, 0x1234_5678_9ABC, MAXIMUM_INDEX], ids=hex)
@pytest.mark.parametrize("suite", SUITES, ids=hex)
def test_the_nonce_is_the_iv_with_all_of_the_number_in_it_and_no_epoch(suite: int, sequence: int) -> None:
    length = SUITES_13[suite].key_length
    key, iv = bytes(range(length)), bytes(range(100, 112))
    protection = Protection13(SUITES_13[suite], key=key, iv=iv, number_key=bytes(length))
    nonce = bytes(a ^ b for a, b in zip(iv, bytes(4) + sequence.to_bytes(8, "big"), strict=True))
    expected = SUITES_13[suite].aead(key).encrypt(nonce, b"inner", b"header")
    assert protection.seal(sequence, b"header", b"inner") == expected


@pytest.mark.parametrize("suite", SUITES, ids=hex)
@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize("length", [True, False])
def test_every_form_of_header_is_read(suite: int, long: bool, length: bool) -> None:
    _, reader = layers(suite)
    for sequence in range(600):
        datagram = sealed(b"payload\x17", sequence, suite=suite, long=long, length=length)
        assert opened(reader, datagram) == [(APPLICATION_DATA, b"payload")]


def test_forms_are_mixed_in_a_datagram_of_which_the_last_needs_no_length() -> None:
    _, reader = layers()
    datagram = (
        sealed(b"one\x17") + sealed(b"two\x16", 1, long=False) + sealed(b"three\x1a", 2, long=False, length=False)
    )
    assert opened(reader, datagram) == [(APPLICATION_DATA, b"one"), (HANDSHAKE, b"two"), (ACK, b"three")]


def test_records_of_both_forms_share_a_datagram() -> None:
    writer, reader = layers()
    datagram = writer.seal(HANDSHAKE, 0, b"plain") + writer.seal(HANDSHAKE, 3, b"sealed")
    assert opened(reader, datagram) == [(HANDSHAKE, b"plain"), (HANDSHAKE, b"sealed")]


@given(st.integers(0, MAXIMUM_INDEX), st.integers(0, MAXIMUM_INDEX), st.booleans())
def test_a_number_is_completed_to_the_one_that_is_nearest(sequence: int, expected: int, long: bool) -> None:
    span = 1 << (16 if long else 8)
    sequence = max(0, min(MAXIMUM_INDEX, expected + sequence % span - span // 2 + 1))
    [item], _ = split(sealed(b"x\x17", sequence, long=long))
    assert isinstance(item, Ciphertext)
    found, header = ciphertext.unmask(item, protection_of(), expected)
    assert header[1 : 3 if long else 2] == (sequence % span).to_bytes(2 if long else 1, "big")
    if sequence >= span or expected < span // 2:
        assert found == sequence
    assert found >= 0
    assert found % span == sequence % span


@pytest.mark.parametrize(("long", "span"), [(True, 1 << 16), (False, 1 << 8)])
def test_numbers_run_on_where_their_low_bits_begin_again(long: bool, span: int) -> None:
    _, reader = layers()
    for base in (span, 5 * span, MAXIMUM_INDEX + 1 - span):
        reader._epochs[3].window.highest = base - 3
        for sequence in (base - 2, base - 1, base, base + 1, base + span // 2):
            assert opened(reader, sealed(b"x\x17", sequence, long=long)) == [(APPLICATION_DATA, b"x")]
            assert reader._epochs[3].window.highest == sequence


def test_zeros_behind_the_kind_are_padding() -> None:
    _, reader = layers()
    inners = [b"payload\x17" + bytes(length) for length in (0, 1, 15, 200)] + [b"\0\0\x17\0", b"\x17", b"\x17\x17"]
    read = [opened(reader, sealed(inner, number))[0] for number, inner in enumerate(inners)]
    assert read == [(23, b"payload")] * 4 + [(23, b"\0\0"), (23, b""), (23, b"\x17")]


# What is none


def test_an_inner_plaintext_without_kind_is_none() -> None:
    _, reader = layers()
    for number, inner in enumerate((b"", b"\0", bytes(100))):
        if inner:
            assert opened(reader, sealed(inner, number)) == [Drop.MALFORMED]
    assert split(sealed(b""))[0] == []  # sixteen octets of tag alone


@pytest.mark.parametrize(
    "record",
    [
        b"\x2f",
        b"\x2f\0\0\0",
        b"\x23",
        b"\x23\0",
        b"\x2f\0\0\0\0",  # no length
        b"\x2f\0\0\0\x10" + bytes(16),  # no room for a kind
        b"\x2f\0\0\0\x0f" + bytes(15),
        b"\x2f\0\0\0\x20" + bytes(31),  # longer than what is there
        b"\x2f\0\0\x41\x01" + bytes(0x4101),  # longer than records are
        b"\x2b\0\0" + bytes(0x4101),
        b"\x3f\0\0\0\x20" + bytes(32),  # a connection id
        b"\x33\0" + bytes(32),
        bytes((0b0100_0000,)) + bytes(40),
        b"\x13" + bytes(40),
        b"\xff" + bytes(40),
    ],
    ids=lambda record: f"{record[:5].hex()}-{len(record)}",
)
def test_what_is_no_record_is_left_over_and_what_came_before_it_is_not(record: bytes) -> None:
    whole = sealed(b"payload\x17")
    records, rest = split(whole + record)
    assert rest == record
    assert len(records) == 1


def test_a_record_of_the_greatest_length_is_one() -> None:
    _, reader = layers()
    assert ciphertext.MAXIMUM_LENGTH == 0x4100
    datagram = sealed(bytes(ciphertext.MAXIMUM_LENGTH - TAG_LENGTH - 1) + b"\x17")
    assert [kind for kind, _ in (item for item in opened(reader, datagram) if not isinstance(item, Drop))] == [23]


@pytest.mark.parametrize("suite", SUITES, ids=hex)
@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize("length", [True, False])
def test_nothing_of_a_record_can_be_changed(suite: int, long: bool, length: bool) -> None:
    datagram = sealed(b"payload\x17", 5, suite=suite, long=long, length=length)
    for position in range(len(datagram)):
        for bit in range(8):
            _, reader = layers(suite)
            changed = bytearray(datagram)
            changed[position] ^= 1 << bit
            records, _ = split(bytes(changed))
            for item in records:
                assert isinstance(reader.open(item), Drop), (position, bit)
            assert reader._epochs[3].window.highest == -1
    for size in range(len(datagram)):
        _, reader = layers(suite)
        assert all(isinstance(reader.open(item), Drop) for item in split(datagram[:size])[0])


@given(st.binary(max_size=120))
def test_any_octets_are_split_into_records_and_a_rest(datagram: bytes) -> None:
    records, rest = split(datagram)
    sizes = [
        len(item.header + item.sealed) if isinstance(item, Ciphertext) else HEADER.size + len(item.payload)
        for item in records
    ]
    assert sum(sizes) + len(rest) == len(datagram)
    assert datagram.endswith(rest)
    assert not split(rest)[0]


# Replays, epochs, bounds


def test_a_record_opens_once_in_every_epoch() -> None:
    for epoch in (2, 3, 4, 6):
        _, reader = layers(epoch=epoch)
        datagram = sealed(b"payload\x17", epoch=epoch)
        assert opened(reader, datagram + datagram) == [(23, b"payload"), Drop.REPLAYED]


def test_windows_are_of_an_epoch() -> None:
    _, reader = layers()
    reader.install(4, reading=protection_of())
    assert opened(reader, sealed(b"three\x17", 9)) == [(23, b"three")]
    assert opened(reader, sealed(b"four\x17", 0, epoch=4)) == [(23, b"four")]
    assert opened(reader, sealed(b"three\x17", 8)) == [(23, b"three")]


def test_records_open_in_any_order_within_the_window_and_not_beyond() -> None:
    _, reader = layers()
    records = [sealed(bytes((number, 23)), number, long=number % 2 == 0) for number in range(65)]
    assert opened(reader, records[64]) == [(23, b"\x40")]
    order = list(range(1, 64))
    random.Random(1).shuffle(order)
    for number in order:
        assert opened(reader, records[number]) == [(23, bytes((number,)))]
    assert opened(reader, records[0]) == [Drop.REPLAYED]


def test_forged_records_do_not_move_the_window() -> None:
    _, reader = layers()
    rng = random.Random(1)
    for _ in range(500):
        forged = b"\x2f" + rng.randbytes(2) + b"\0\x20" + rng.randbytes(32)
        assert opened(reader, forged)[0] in (Drop.BAD_RECORD, Drop.REPLAYED)
    assert opened(reader, sealed(b"payload\x17")) == [(23, b"payload")]


def test_an_epoch_is_the_newest_that_its_bits_allow() -> None:
    _, reader = layers(epoch=2)
    reader.install(6, reading=protection_of(secret=b"other"))
    [item], _ = split(sealed(b"payload\x17", epoch=2))
    assert reader.epoch_of(item) == 6
    reader.retain(reading=(2,))
    assert reader.epoch_of(item) == 2
    [item], _ = split(sealed(b"payload\x17", epoch=5))
    assert reader.epoch_of(item) is None
    assert reader.open(item) is Drop.WRONG_EPOCH


def test_what_is_retained_is_retained_by_direction() -> None:
    layer = RecordLayer()
    for epoch in (2, 3, 4):
        layer.install(epoch, writing=protection_of(), reading=protection_of())
    layer.epoch = 3
    layer.retain(reading=(4,), writing=(2,))
    assert [epoch for epoch in range(6) if layer.reads(epoch)] == [0, 4]
    assert {*layer.sequences} == {0, 2, 3, 4}
    assert layer.seal(HANDSHAKE, 2, b"again")
    with pytest.raises(AssertionError):
        layer.seal(HANDSHAKE, 4, b"never in plaintext")


@pytest.mark.parametrize("epoch", [1, 2, 3, 4, 0xFFFF])
def test_a_record_of_the_older_form_is_none_of_an_epoch_with_keys_of_1_3(epoch: int) -> None:
    _, reader = layers()
    reader.install(2, reading=protection_of())
    forged = Record(kind=HANDSHAKE, epoch=epoch, sequence=0, payload=bytes(40))
    assert reader.open(forged) is Drop.WRONG_EPOCH


def test_a_key_that_was_tried_too_often_opens_nothing_more() -> None:
    _, reader = layers()
    reader._epochs[3].forged = FORGED - 1
    assert opened(reader, sealed(b"payload\x17")) == [(23, b"payload")]
    forged = bytearray(sealed(b"payload\x17", 1))
    forged[-1] ^= 1
    assert opened(reader, bytes(forged)) == [Drop.BAD_RECORD]
    assert opened(reader, sealed(b"payload\x17", 2)) == [Drop.BAD_RECORD]


def test_keys_are_worn_and_numbers_used_up_at_their_bounds() -> None:
    writer, _ = layers()
    writer._epochs[3].sequence = WORN - 1
    told = [(writer.is_worn, writer.has_room)]
    writer.seal(APPLICATION_DATA, 3, b"")
    told.append((writer.is_worn, writer.has_room))
    writer._epochs[3].sequence = MAXIMUM_INDEX - RESERVED + 1
    told.append((writer.is_worn, writer.has_room))
    assert told == [(False, True), (True, True), (True, False)]
    writer._epochs[3].sequence = MAXIMUM_INDEX
    writer.seal(APPLICATION_DATA, 3, b"")
    with pytest.raises(LocalProtocolError):
        writer.seal(APPLICATION_DATA, 3, b"")


def test_the_bounds_are_those_of_the_rfc() -> None:
    assert WORN < 2**24.5
    assert FORGED == 2**36
    assert (HEADER_LENGTH, OVERHEAD) == (5, 22)
    assert CONNECTION_ID | FIXED == 0b0011_0000
