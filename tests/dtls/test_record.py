"""The record layer: codec, epochs, nonces, replay."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tests.dtls.pairs import plain_records
from trioice.dtls.ciphers import ChaChaProtection, GcmProtection
from trioice.dtls.drops import Drop
from trioice.dtls.record import APPLICATION_DATA, HANDSHAKE, HEADER, RESERVED, Record, RecordLayer, split
from trioice.errors import LocalProtocolError
from trioice.sequence import MAXIMUM_INDEX

KEY = bytes(range(16))
SALT = b"salt"


def layers() -> tuple[RecordLayer, RecordLayer]:
    """A writer of epoch 1 and its reader."""
    writer, reader = RecordLayer(), RecordLayer()
    for layer in (writer, reader):
        layer.install(1, writing=GcmProtection(KEY, SALT), reading=GcmProtection(KEY, SALT))
    return writer, reader


def record_of(datagram: bytes) -> Record:
    [record] = plain_records(datagram)
    return record


def opened(layer: RecordLayer, record: Record) -> bytes | Drop:
    outcome = layer.open(record)
    return outcome if isinstance(outcome, Drop) else outcome.payload


def test_records_of_a_datagram_are_told_apart() -> None:
    layer = RecordLayer()
    datagram = layer.seal(HANDSHAKE, 0, b"one") + layer.seal(HANDSHAKE, 0, b"") + layer.seal(21, 0, b"xy")
    records = plain_records(datagram)
    assert [(item.kind, item.epoch, item.sequence, item.payload) for item in records] == [
        (22, 0, 0, b"one"),
        (22, 0, 1, b""),
        (21, 0, 2, b"xy"),
    ]


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16",
        bytes(12),
        HEADER.pack(22, 0x0303, 0, 0, 0, 0),  # TLS
        HEADER.pack(22, 0xFEFD, 0, 0, 0, 5) + b"four",
        HEADER.pack(22, 0xFEFD, 0, 0, 0, 0xFFFF) + bytes(0xFFFF),  # longer than a record may be
        b"\x2e" + bytes(30),  # of DTLS 1.3, with too little in it
        b"\x3e" + bytes(2) + b"\0\x20" + bytes(32),  # the same with a connection id
    ],
    ids=lambda junk: junk[:14].hex(),
)
def test_what_is_no_record_is_left_over(junk: bytes) -> None:
    whole = RecordLayer().seal(HANDSHAKE, 0, b"whole")
    records, rest = split(whole + junk)
    assert [item.payload for item in records if isinstance(item, Record)] == [b"whole"]
    assert rest == junk


def test_the_gcm_nonce_is_salt_epoch_and_sequence() -> None:
    layer, _ = layers()
    layer.seal(APPLICATION_DATA, 1, b"first")
    sealed = layer.seal(APPLICATION_DATA, 1, b"second")
    number = bytes.fromhex("0001000000000001")
    assert sealed[13:21] == number  # RFC 5288, 3: the explicit part is what makes it unique
    associated = number + bytes.fromhex("17fefd0006")
    assert sealed[21:] == AESGCM(KEY).encrypt(SALT + number, b"second", associated)


def test_the_chacha_nonce_is_the_iv_with_epoch_and_sequence_in_it() -> None:
    key, iv = bytes(range(32)), bytes(range(100, 112))
    number = bytes.fromhex("0001000000000102")
    sealed = ChaChaProtection(key, iv).seal(number, APPLICATION_DATA, b"payload")
    nonce = iv[:4] + bytes(a ^ b for a, b in zip(iv[4:], number, strict=True))
    assert sealed == ChaCha20Poly1305(key).encrypt(nonce, b"payload", number + bytes.fromhex("17fefd0007"))


@pytest.mark.parametrize("protection", [GcmProtection(KEY, SALT), ChaChaProtection(bytes(32), bytes(12))])
def test_nothing_of_a_sealed_record_can_be_changed(protection: GcmProtection | ChaChaProtection) -> None:
    number = bytes.fromhex("0001000000000001")
    sealed = protection.seal(number, APPLICATION_DATA, b"payload")
    assert protection.open(number, APPLICATION_DATA, sealed) == b"payload"
    assert protection.open(number, HANDSHAKE, sealed) is None
    assert protection.open(bytes.fromhex("0001000000000002"), APPLICATION_DATA, sealed) is None
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        assert protection.open(number, APPLICATION_DATA, bytes(changed)) is None
    for length in range(len(sealed)):
        assert protection.open(number, APPLICATION_DATA, sealed[:length]) is None


def test_a_record_opens_once() -> None:
    writer, reader = layers()
    record = record_of(writer.seal(APPLICATION_DATA, 1, b"payload"))
    assert opened(reader, record) == b"payload"
    assert opened(reader, record) is Drop.REPLAYED


def test_records_open_in_any_order_within_the_window_and_not_beyond() -> None:
    writer, reader = layers()
    records = [record_of(writer.seal(APPLICATION_DATA, 1, bytes((i,)))) for i in range(65)]
    assert opened(reader, records[64]) == b"\x40"
    assert [opened(reader, item) for item in records[63:0:-1]] == [bytes((i,)) for i in range(63, 0, -1)]
    assert opened(reader, records[0]) is Drop.REPLAYED


def test_a_forged_record_does_not_move_the_window() -> None:
    writer, reader = layers()
    record = record_of(writer.seal(APPLICATION_DATA, 1, b"payload"))
    forged = Record(kind=APPLICATION_DATA, epoch=1, sequence=1 << 40, payload=record.payload)
    assert opened(reader, forged) is Drop.BAD_RECORD
    assert opened(reader, record) == b"payload"


def test_a_record_of_an_epoch_without_keys_is_of_the_wrong_epoch() -> None:
    _, reader = layers()
    assert opened(reader, Record(kind=HANDSHAKE, epoch=2, sequence=0, payload=bytes(40))) is Drop.WRONG_EPOCH


def test_sequence_numbers_end_at_two_to_the_forty_eight() -> None:
    layer, _ = layers()
    layer.epoch = 1
    layer._epochs[1].sequence = MAXIMUM_INDEX - RESERVED
    room = [layer.has_room]
    layer.seal(APPLICATION_DATA, 1, b"")
    room.append(layer.has_room)
    assert room == [True, False]
    for _ in range(RESERVED):
        layer.seal(HANDSHAKE, 1, b"")
    with pytest.raises(LocalProtocolError):
        layer.seal(HANDSHAKE, 1, b"")
