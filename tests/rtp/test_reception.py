"""Loss and jitter, against numbers worked by hand and against the algorithms of RFC 3550, appendix A."""

import random

import pytest

from trioice.rtp import Reception


def test_loss_as_a_3_counts_it() -> None:
    reception = Reception(8000, 65534, 0, 0.0)
    for sequence in (65534, 65535, 1, 2):  # 0 is lost
        reception.note(sequence, 0, 20, 0.0)
    block = reception.report(7, 0.0)
    assert (block.ssrc, block.packets_lost, block.fraction_lost, block.highest) == (7, 1, 256 // 5, 0x10002)
    assert (reception.packets, reception.octets) == (4, 80)
    for sequence in (3, 5, 6, 0):  # 4 is lost, and 0 comes after all
        reception.note(sequence, 0, 20, 0.0)
    block = reception.report(7, 0.0)
    assert (block.packets_lost, block.fraction_lost, block.highest) == (1, 0, 0x10006)
    reception.note(10, 0, 20, 0.0)
    block = reception.report(7, 0.0)
    assert (block.packets_lost, block.fraction_lost) == (4, 256 * 3 // 4)


def test_the_first_to_arrive_need_not_be_the_first_that_was_sent() -> None:
    reception = Reception(8000, 1, 0, 0.0)
    for sequence in (1, 65534, 0):
        reception.note(sequence, 0, 20, 0.0)
    assert reception.packets_lost == 1
    assert reception.report(7, 0.0).highest == 1


def test_jitter_as_a_8_counts_it() -> None:
    reception = Reception(8000, 1, 0, 10.0)
    jitters = []
    for number, arrival in enumerate((10.0, 10.020, 10.045, 10.060)):  # the third is 5 ms, 40 units, late
        reception.note(1 + number, 160 * number, 20, arrival)
        jitters.append(reception.jitter)
    assert jitters == pytest.approx([0, 0, 40 / 16, 2.5 + (40 - 2.5) / 16])
    assert reception.report(7, 11.0).jitter == 4


def test_a_retransmission_leaves_the_jitter_alone() -> None:
    reception = Reception(48000, 1, 0, 0.0)
    for number in (0, 1, 3, 4):
        assert reception.note(1 + number, 960 * number, 20, 0.02 * number)
    assert not reception.note(3, 2 * 960, 20, 0.5)
    assert reception.note(6, 5 * 960, 20, 0.1)
    assert reception.jitter == pytest.approx(0, abs=1e-6)
    assert reception.packets_lost == 0


@pytest.mark.parametrize("seed", range(10))
def test_a_bad_network_is_counted_as_appendix_a_counts_it(seed: int) -> None:
    rng = random.Random(seed)
    first, start = rng.randrange(65000, 65536), rng.getrandbits(32)
    packets = [
        (number, 0.02 * number + rng.random() * 0.1) for number in range(3000) if not number or rng.random() > 0.1
    ]
    packets.sort(key=lambda packet: packet[1] if packet[0] else -1.0)

    reception = Reception(48000, first, start, packets[0][1])
    cycles = 0
    highest, transit, jitter = first, None, 0.0
    expected_prior = received_prior = 0
    for received, (number, arrival) in enumerate(packets, 1):
        sequence, timestamp = first + number & 0xFFFF, start + 960 * number & 0xFFFFFFFF
        reception.note(sequence, timestamp, 100, arrival)
        # A.1, update_seq
        ahead = sequence - highest & 0xFFFF
        if ahead < 3000:
            cycles += 65536 if sequence < highest else 0
            newer = ahead > 0 or received == 1
            highest = sequence
        else:
            newer = False
        # A.8, for packets in order
        if newer:
            now = arrival * 48000 - (start + 960 * number)
            jitter += (abs(now - (transit if transit is not None else now)) - jitter) / 16
            transit = now
        if received % 200 == 0:
            # A.3
            expected = cycles + highest - first + 1
            expected_interval, received_interval = expected - expected_prior, received - received_prior
            expected_prior, received_prior = expected, received
            lost_interval = expected_interval - received_interval
            block = reception.report(7, arrival)
            assert block.packets_lost == expected - received
            assert block.highest == cycles + highest
            assert block.fraction_lost == (max(lost_interval, 0) << 8) // expected_interval
            assert block.jitter == pytest.approx(jitter, abs=1)


def test_what_the_source_reported_is_reflected() -> None:
    reception = Reception(48000, 1, 0, 0.0)
    reception.note(1, 0, 20, 0.0)
    assert reception.report(7, 1.0).last_report == reception.report(7, 1.0).delay == 0
    reception.note_report(0xB44DB705_20000000, 1.0)
    block = reception.report(7, 6.25)  # RFC 3550, 6.4.1 works this example: 5.25 s are 0x54000
    assert (block.last_report, block.delay) == (0xB7052000, 0x54000)


def test_counters_stay_in_their_fields() -> None:
    reception = Reception(48000, 0, 0, 0.0)
    reception.note(0, 0, 20, 0.0)
    reception.note_report(1 << 16, 0.0)
    for number in range(1, 400):
        reception.note(number * 0x7FFF & 0xFFFF, number * 0x7FFFFFFF & 0xFFFFFFFF, 20, number * 1e6)
    block = reception.report(7, 1e12)
    assert block.packets_lost == 0x7FFFFF
    assert block.fraction_lost == 255
    assert len(block.octets()) == 24
