"""What the peer asks for again."""

from trioice.rtp.history import PACKETS, REPEATS, SOONEST, History


def packet(sequence: int) -> bytes:
    return b"\x80\x6f" + (sequence & 0xFFFF).to_bytes(2, "big") + bytes(20)


def history(*sequences: int) -> History:
    made = History()
    made.packets.extend(packet(sequence) for sequence in sequences)
    return made


def test_what_is_still_here_goes_again_in_its_order() -> None:
    assert history(65534, 65535, 0, 1).again([1, 65535, 9], 0.1, 5.0) == [packet(65535), packet(1)]


def test_only_the_last_are_here() -> None:
    made = history(*range(2 * PACKETS))
    assert made.again(range(2 * PACKETS), 0.1, 5.0) == [packet(number) for number in range(PACKETS, 2 * PACKETS)]


def test_each_goes_once_in_a_round_trip() -> None:
    made = history(1, 2)
    assert made.again([1], 0.1, 5.0) == [packet(1)]
    assert made.again([1, 2], 0.1, 5.05) == [packet(2)]
    assert made.again([1, 2], 0.1, 5.11) == [packet(1)]


def test_on_a_path_without_delay_there_is_a_pause_too() -> None:
    made = history(1)
    assert made.again([1, 1, 1], 0.0, 5.0) == [packet(1)]
    assert made.again([1], 0.0, 5.0 + SOONEST / 2) == []
    assert made.again([1], 0.0, 5.001 + SOONEST) == [packet(1)]


def test_a_packet_goes_again_only_so_often() -> None:
    made = history(1, 2)
    going = [made.again([1], 0.0, 5.0 + number) for number in range(100)]
    assert going == [[packet(1)]] * REPEATS + [[]] * (100 - REPEATS)
    assert made.again([1, 2], 0.0, 200.0) == [packet(2)]


def test_what_went_again_is_not_remembered_for_longer_than_the_packet() -> None:
    made = history()
    for sequence in range(10_000):
        made.packets.append(packet(sequence))
        made.again([sequence & 0xFFFF], 0.1, float(sequence))
    assert len(made._resent) <= PACKETS
