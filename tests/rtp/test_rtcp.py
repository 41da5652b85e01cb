"""RTCP as octets, laid out by hand after RFC 3550, 6, RFC 4585, 6, and the transport-wide draft, 3.1."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioice.errors import LocalProtocolError
from trioice.rtp import (
    ExtendedReport,
    GenericNack,
    Goodbye,
    Packet,
    PictureLossIndication,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    Unknown,
    decode,
    encode,
)
from trioice.rtp.rtcp import FEEDBACKS
from trioice.rtp.transport_feedback import STATUS_LIMIT

UINT32 = st.integers(0, 0xFFFFFFFF)
BLOCK = ReportBlock(
    ssrc=0x11111111,
    fraction_lost=64,
    packets_lost=-2,
    highest=0x0001FFFE,
    jitter=96,
    last_report=0xB44DB705,
    delay=0x54000,
)
BLOCK_OCTETS = "11111111 40fffffe 0001fffe 00000060 b44db705 00054000"

LAYOUTS: list[tuple[str, Packet]] = [
    ("80c80006 00000007 b44db70520000000 00000960 00000003 00000190",
     SenderReport(ssrc=7, ntp=0xB44DB705_20000000, timestamp=0x960, packets=3, octets=400)),
    ("81c8000c 00000007 b44db70520000000 00000960 00000003 00000190" + BLOCK_OCTETS,
     SenderReport(ssrc=7, ntp=0xB44DB705_20000000, timestamp=0x960, packets=3, octets=400, reports=(BLOCK,))),
    ("80c90001 00000007", ReceiverReport(7)),
    ("82c9000d 00000007" + 2 * BLOCK_OCTETS, ReceiverReport(7, (BLOCK, BLOCK))),
    ("81c90009 00000007" + BLOCK_OCTETS + "0badcafe 00000000", ReceiverReport(7, (BLOCK,), b"\x0b\xad\xca\xfe" + bytes(4))),
    ("81ca0003 00000007 01 04 65636875 0000", SourceDescription(((7, ((1, b"echu"),)),))),
    ("81ca0003 00000007 01 05 6563686f73 00", SourceDescription(((7, ((1, b"echos"),)),))),
    ("81ca0003 00000007 01 02 6162 02 01 63 00", SourceDescription(((7, ((1, b"ab"), (2, b"c"))),))),
    ("80ca0000", SourceDescription(())),
    ("81cb0001 00000007", Goodbye((7,))),
    ("82cb0004 00000007 00000008 04 67 6f 6e 65 000000", Goodbye((7, 8), b"gone")),
    ("81cd0003 00000007 00000008 fffe 8005", GenericNack(7, 8, (0xFFFE, 0xFFFF, 1, 14))),
    ("81cd0004 00000007 00000008 0001 0000 0064 0000", GenericNack(7, 8, (1, 100))),
    ("81ce0002 00000007 00000008", PictureLossIndication(7, 8)),
    ("80cc0003 00000007 6e616d65 01020304", Unknown(204, 0, bytes.fromhex("00000007 6e616d65 01020304"))),
    ("80cf0004 00000007 04000002 b44db705 20000000", ExtendedReport.reference(7, 0xB44DB70520000000)),
    ("80cf0005 00000007 05000003 00000008 b7052000 00054000", ExtendedReport.since(7, ((8, 0xB7052000, 0x54000),))),
    ("80cf0003 00000007 09ab0001 01020304", ExtendedReport(7, ((9, 0xAB, bytes.fromhex("01020304")),))),
    ("8fce0003 00000007 00000000 52454d42", Unknown(206, 15, bytes.fromhex("00000007 00000000 52454d42"))),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "packet"), LAYOUTS, ids=lambda value: type(value).__name__)
def test_a_packet_is_read_and_written_as_laid_out(layout: str, packet: Packet) -> None:
    octets = bytes.fromhex(layout)
    assert decode(octets) == [packet]
    assert encode([packet]) == octets


def test_a_compound_is_read_and_written_in_order() -> None:
    packets = [packet for _, packet in LAYOUTS]
    assert decode(encode(packets)) == packets


def test_a_compound_may_start_with_anything() -> None:
    nack = GenericNack(1, 2, (3,))  # reduced size, RFC 5506
    assert decode(encode([nack])) == [nack]


def test_padding_is_taken_off() -> None:
    assert decode(bytes.fromhex("a0c90002 00000007 00000004")) == [ReceiverReport(7)]
    assert decode(bytes.fromhex("a0cc0001 00000702")) == [Unknown(204, 0, b"\0\0")]
    assert encode([Unknown(204, 0, b"\0\0")]) == bytes.fromhex("a0cc0001 00000002")


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "80",
        "80c900",
        "80c90001",  # the length runs over
        "80c90002 00000007",
        "80c9ffff 00000007",
        "80c90001 00000007 80",  # something is left
        "80c90001 00000007 80c90001",
        "80c90001 00000007 80c9ffff 00000007",
        "00c90001 00000007",  # version 0
        "80c90001 00000007 40c90001 00000007",
        "81c90001 00000007",  # a block is missing
        "81c90006 00000007 11111111 40fffffe 0001fffe 00000060 b44db705",
        "80c80005 00000007 b44db70520000000 00000960 00000003",
        "80c90000",
        "81ca0001 00000007",  # a chunk without an end
        "81ca0002 00000007 01 04 6563",  # an item longer than the packet
        "81ca0002 00000007 01 02 6563",  # a chunk that does not end
        "80ca0001 00000000",  # more than its chunks
        "81cb0000",
        "81cb0002 00000007 09 676f6e",  # a reason longer than the packet
        "81cd0001 00000007",
        "81cd0002 00000007 000000",
        "81ce0001 00000007",
        "81ce0003 00000007 00000008 00000000",
        "a0c90001 00000000",  # padding of 0
        "a0c90001 00000005",  # more padding than packet
        "a0c90001 00000004",  # all of it is padding
        "a0c90000",
        "a0cc0001 00000000",  # the same with a packet of any content
        "a0cc0001 00000005",
        "8fcd0003 00000007 00000008 00000001",  # transport feedback that is too short
        "8fcd0005 00000007 00000008 0000ffff 00000000 3fff0000",  # claims 65,535 packets
        "8fcd0006 00000007 00000008 00000001 00000000 60010000 00000000",  # a reserved status
        "8fcd0005 00000007 00000008 00000004 00000000 20040101",  # deltas are missing
    ],
)
def test_a_malformed_packet_spoils_its_compound(octets: str) -> None:
    assert decode(bytes.fromhex(octets)) is None
    good = "80c90001 00000007"
    assert decode(bytes.fromhex(good + octets)) is None or not octets


@given(octets=st.binary(max_size=80), first=st.integers(0x80, 0xBF), kind=st.integers(200, 207))
def test_no_octets_raise(octets: bytes, first: int, kind: int) -> None:
    octets = octets[: len(octets) // 4 * 4]
    for packet in (octets, bytes([first, kind]) + (len(octets) // 4).to_bytes(2, "big") + octets):
        packets = decode(packet)
        if packets is not None:
            assert decode(encode(packets)) == packets


@pytest.mark.parametrize("seed", range(20))
def test_mutations_of_compounds_do_not_raise(seed: int) -> None:
    rng = random.Random(seed)
    whole = encode([packet for _, packet in LAYOUTS])
    for _ in range(300):
        octets = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            octets[rng.randrange(len(octets))] = rng.randrange(256)
        decode(bytes(octets[: rng.randrange(len(octets) + 1)]))


def test_more_blocks_than_a_packet_counts_are_misuse() -> None:
    with pytest.raises(LocalProtocolError):
        encode([ReceiverReport(1, (BLOCK,) * 32)])


@given(lost=st.lists(st.integers(0, 0xFFFF), unique=True, max_size=60))
def test_a_nack_tells_all_that_is_lost(lost: list[int]) -> None:
    [nack] = decode(encode([GenericNack(1, 2, tuple(sorted(lost)))])) or []
    assert isinstance(nack, GenericNack)
    assert sorted(nack.lost) == sorted(lost)


# -- Transport-wide feedback --------------------------------------------------------------------------------------------


def feedback(*deltas: int | None, base: int = 0xFFFF, reference: int = -2) -> TransportFeedback:
    return TransportFeedback(sender=1, media=2, base=base, reference=reference, number=9, deltas=deltas)


def test_the_chunks_of_the_draft() -> None:
    # A run of three that came with small deltas (3.1.3); fourteen statuses of one bit, and seven of two, of which two
    # count (3.1.4); seven deltas, the last of two octets (3.1.5); zeros.
    octets = "8fcd0008 00000001 00000002 ffff 0013 fffffe 09 2003 a800 d800 04 08 0c 10 14 18 fff0 0000"
    told = feedback(4, 8, 12, 16, None, 20, *[None] * 11, 24, -16)
    assert decode(bytes.fromhex(octets)) == [told]


def test_feedback_padded_as_libwebrtc_pads_it_is_read_and_written() -> None:
    octets = bytes.fromhex("afcd0005 00000001 00000002 ffff 0001 fffffe 09 2001 04 01")
    assert decode(octets) == [feedback(4)]
    assert encode([feedback(4)]) == octets


def test_arrivals_count_from_the_reference_time() -> None:
    told = feedback(4, None, 8, -4)
    assert told.arrivals() == [(0xFFFF, -0.127), (1, -0.125), (2, -0.126)]


@given(deltas=st.lists(st.none() | st.integers(0, 255) | st.integers(-0x8000, 0x7FFF), max_size=300))
def test_feedback_survives(deltas: list[int | None]) -> None:
    told = feedback(*deltas)
    octets = encode([told])
    assert decode(octets) == [told]


def test_long_runs_are_short() -> None:
    told = feedback(*[None] * 1000, *[1] * 20)
    assert len(encode([told])) == 4 + 8 + 8 + 2 + 2 + 20
    assert decode(encode([told])) == [told]


def test_feedback_on_too_many_packets_is_refused() -> None:
    assert decode(encode([feedback(*[None] * STATUS_LIMIT)]))
    assert decode(encode([feedback(*[None] * (STATUS_LIMIT + 1))])) is None


def test_a_compound_of_many_feedbacks_is_refused_before_it_costs() -> None:
    feedback = TransportFeedback(sender=1, media=2, base=0, reference=0, number=0, deltas=(None,) * STATUS_LIMIT)
    octets = encode([feedback])
    assert len(octets) == 24
    assert decode(octets * FEEDBACKS) == [feedback] * FEEDBACKS
    assert decode(octets * (FEEDBACKS + 1)) is None
