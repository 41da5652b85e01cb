"""The jitter buffer: order, patience, copies, pauses, and what is too late."""

import pytest

from tests.audio.stand_in import FRAME, StandIn, payload
from trioice.audio import Opus
from trioice.audio.jitter_buffer import HELD, LONGEST, READY, Drop, JitterBuffer
from trioice.audio.listener import Listener
from trioice.errors import LocalProtocolError
from trioice.rtp import build, build_red
from trioice.sansio import NEVER

OPUS, RED = 111, 63
SSRC = 7


def packet(number: int, *, at: int | None = None, ssrc: int = SSRC, fec: bool = False) -> bytes:
    """The packet `number`, whose payload is at the time `at` or at that of its number."""
    return build(OPUS, False, number, (number if at is None else at) * FRAME, ssrc, payload(number, fec))


def red(number: int, copies: int = 1) -> bytes:
    blocks = [(OPUS, FRAME * back, payload(number - back)) for back in range(copies, 0, -1)]
    return build(RED, False, number, number * FRAME, SSRC, build_red([*blocks, (OPUS, 0, payload(number))]))


class Bench:
    """A buffer, and what came out of it: the number of each payload, "lost" and "pause" with how many frames."""

    def __init__(self, patience: float = 0.25) -> None:
        self.buffer = JitterBuffer(StandIn(), OPUS, red=RED, patience=patience)

    def gets(self, *packets: bytes, now: float = 0.0) -> "Bench":
        for item in packets:
            self.buffer.receive(item, now)
        return self

    def waits(self, now: float) -> "Bench":
        self.buffer.expire(now)
        return self

    @property
    def out(self) -> list[object]:
        told: list[object] = []
        while self.buffer.ready:
            _, duration, content, _, lost = self.buffer.ready.popleft()
            if content is not None:
                told.append(int(content[:8]))
            else:
                told.append(("lost" if lost else "pause", duration / FRAME))
        return told


def test_what_comes_in_order_is_ready_at_once() -> None:
    bench = Bench()
    for number in range(5):
        assert bench.gets(packet(number), now=float(number)).out == [number]
        assert bench.buffer.deadline == NEVER
    assert not bench.buffer.delays


def test_what_was_overtaken_is_waited_for() -> None:
    bench = Bench()
    assert bench.gets(packet(0), packet(2), now=1.0).out == [0]
    assert bench.buffer.deadline == 1.25
    assert bench.gets(packet(3), now=1.1).out == []
    assert bench.gets(packet(1), now=1.2).out == [1, 2, 3]
    assert bench.buffer.deadline == NEVER
    assert bench.buffer.late == 1
    assert sum(bench.buffer.delays.values()) == 3


def test_a_gap_is_given_up_when_the_first_packet_behind_it_has_waited_long_enough() -> None:
    bench = Bench()
    bench.gets(packet(0), now=0.0).gets(packet(2), now=1.0).gets(packet(5), now=1.1)
    assert bench.waits(1.24).out == [0]
    assert bench.waits(1.25).out == [("lost", 1), 2]
    assert bench.buffer.deadline == pytest.approx(1.35)
    assert bench.waits(1.35).out == [("lost", 2), 5]


def test_a_blackout_costs_no_patience() -> None:
    bench = Bench().gets(packet(0), now=0.0).gets(packet(25), now=0.5)
    for number in range(1, 25):
        bench.gets(packet(number), now=0.7)
    assert bench.out == list(range(26))


def test_without_patience_nothing_waits() -> None:
    bench = Bench(patience=0.0).gets(packet(0), packet(2), packet(1), packet(3))
    assert bench.out == [0, ("lost", 1), 2, 3]
    assert bench.buffer.dropped == {Drop.TOO_LATE: 1}


def test_a_copy_fills_a_gap_at_once() -> None:
    bench = Bench().gets(red(10), red(12), now=1.0)
    assert bench.out == [10, 11, 12]
    assert (bench.buffer.repaired_by_red, bench.buffer.late) == (1, 0)
    assert bench.gets(red(16, copies=3)).out == [13, 14, 15, 16]
    assert bench.gets(packet(14)).out == []
    assert bench.buffer.dropped == {Drop.DUPLICATE: 1}


def test_copies_of_what_was_heard_repair_nothing() -> None:
    bench = Bench().gets(red(10), red(12, copies=2), red(15, copies=4))
    assert bench.out == [10, 11, 12, 13, 14, 15]
    assert bench.buffer.repaired_by_red == 3
    assert not bench.buffer.dropped


def test_a_copy_of_what_waits_changes_nothing() -> None:
    bench = Bench().gets(packet(0), packet(2), red(3), now=0.0)
    assert bench.out == [0]
    assert bench.gets(packet(1), packet(1)).out == [1, 2, 3]
    assert bench.buffer.repaired_by_red == 0
    assert bench.buffer.dropped == {Drop.DUPLICATE: 1}


def test_a_jump_of_time_without_one_of_sequence_is_a_pause() -> None:
    bench = Bench().gets(packet(0), packet(1, at=20), packet(2, at=21))
    assert bench.out == [0, ("pause", 19), 1, 2]


def test_a_loss_within_a_pause_is_as_long_as_the_packets_that_are_missing() -> None:
    bench = Bench().gets(packet(0), now=0.0).gets(packet(3, at=20), now=1.0).waits(2.0)
    assert bench.out == [0, ("pause", 17), ("lost", 2), 3]


@pytest.mark.parametrize("kind", [OPUS, RED, 13, 126])
def test_packets_without_audio_leave_no_gap(kind: int) -> None:
    content = b"" if kind in (OPUS, RED) else b"tone"
    bench = Bench().gets(packet(0), build(kind, False, 1, 0, SSRC, content), packet(2, at=1))
    assert bench.out == [0, 2]
    # One that is missing leaves none either, as time goes on without it.
    assert bench.gets(packet(4, at=2)).out == [4]
    assert bench.buffer.deadline == NEVER


def test_a_packet_without_audio_within_a_pause_is_no_loss() -> None:
    bench = Bench().gets(packet(0), build(RED, False, 1, 0, SSRC, b""), packet(2, at=9))
    assert bench.out == [0, ("pause", 8), 2]


def test_malformed_payloads_are_counted_and_leave_a_gap_in_time() -> None:
    broken = build(OPUS, False, 1, FRAME, SSRC, b"no such payload")
    bench = Bench().gets(packet(0), broken, build(RED, False, 2, 0, SSRC, b"\xff"), b"\x80", packet(3))
    assert bench.out == [0, ("pause", 2), 3]
    assert bench.buffer.dropped == {Drop.MALFORMED: 3}


def test_another_source_goes_on_by_our_clock() -> None:
    bench = Bench().gets(packet(0), packet(2), now=1.0)
    assert bench.gets(packet(500, ssrc=8), packet(501, ssrc=8), now=1.5).out == [
        0,
        ("lost", 1),
        2,
        ("pause", 24),
        500,
        501,
    ]


def test_another_clock_goes_on_by_ours_and_hours_of_nothing_are_skipped() -> None:
    buffer = Bench().gets(packet(0), now=0.0).gets(packet(1, at=1 << 16), now=0.02).buffer
    assert [unit[0] for unit in buffer.ready] == [0, FRAME]
    buffer.receive(packet(2, at=9), 3600.0)
    assert [unit[0] for unit in buffer.ready] == [0, FRAME, pytest.approx(3600 * 48000, abs=2 * FRAME)]


def test_a_source_that_only_probed_leaves_no_silence_behind() -> None:
    bench = Bench().gets(build(OPUS, False, 9, 0, SSRC, b""), packet(500, ssrc=8), now=7.0)
    assert bench.out == [500]


def test_a_straggler_of_the_source_before_does_not_take_us_back() -> None:
    bench = Bench().gets(packet(0), packet(500, ssrc=8), packet(1), packet(501, ssrc=8), now=0.0)
    assert bench.out == [0, 500, 501]
    assert bench.buffer.dropped == {Drop.TOO_LATE: 1}
    assert bench.gets(packet(2), now=3.0).out[-1] == 2  # as late as that, it is a source that came back


def test_a_clock_that_was_set_back_costs_no_speech() -> None:
    bench = Bench().gets(packet(0), packet(100, at=1), packet(101, at=2), now=0.0).waits(1.0)
    assert bench.gets(packet(102, at=0), packet(103, at=1), packet(104, at=2), now=1.0).out[-3:] == [102, 103, 104]
    assert bench.gets(packet(99, at=5), now=1.0).out == []  # it tells the time of the clock before
    assert bench.buffer.dropped == {Drop.TOO_LATE: 1}


def test_what_was_sent_before_the_first_that_came_is_too_late() -> None:
    bench = Bench().gets(packet(2), packet(1), packet(3))
    assert bench.out == [2, 3]
    assert bench.buffer.dropped == {Drop.TOO_LATE: 1}


def test_a_copy_of_what_was_heard_before_a_loss_is_not_too_late_but_a_duplicate() -> None:
    bench = Bench(patience=0.0).gets(packet(0), packet(2), packet(0), packet(1))
    assert bench.out == [0, ("lost", 1), 2]
    assert bench.buffer.dropped == {Drop.DUPLICATE: 1, Drop.TOO_LATE: 1}


def test_hours_of_packets_without_audio_are_not_remembered() -> None:
    bench = Bench().gets(packet(0))
    for number in range(1, 5000):
        bench.gets(build(13, False, number, FRAME, SSRC, b"noise"))
    assert not bench.buffer._silent
    assert bench.gets(packet(5000, at=90)).out == [0, ("pause", 89), 5000]


class Strategy:
    """A patience that writes down what it is told."""

    seconds = 0.1

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []

    def repaired(self, after: float) -> None:
        self.told.append(("repaired", round(after, 3)))

    def gave_up(self) -> None:
        self.told.append(("gave up", 0.0))

    def came_too_late(self, after: float) -> None:
        self.told.append(("too late", round(after, 3)))


def test_a_strategy_is_told_what_came_of_waiting() -> None:
    strategy = Strategy()
    buffer = JitterBuffer(StandIn(), OPUS, red=RED, patience=strategy)
    for number, now in [(0, 0.0), (2, 1.0), (4, 1.02), (3, 1.05), (1, 1.09), (6, 2.0)]:
        buffer.receive(packet(number), now)
    assert strategy.told == [("repaired", 0.03), ("repaired", 0.09)]
    strategy.told.clear()
    buffer.expire(2.1)
    buffer.receive(packet(5), 2.3)
    buffer.receive(packet(5), 2.3)
    assert strategy.told == [("gave up", 0.0), ("too late", 0.3), ("too late", 0.3)]
    strategy.told.clear()
    buffer.receive(red(8), 3.0)  # a copy that comes with the first packet behind the gap was not waited for
    assert strategy.told == []


def test_a_strategy_may_change_its_mind() -> None:
    strategy = Strategy()
    buffer = JitterBuffer(StandIn(), OPUS, patience=strategy)
    buffer.receive(packet(0), 0.0)
    buffer.receive(packet(2), 1.0)
    strategy.seconds = 0.5
    buffer.expire(1.1)
    buffer.receive(packet(4), 2.0)
    assert (buffer.patience, buffer.deadline) == (0.5, 2.5)


def test_sequence_and_timestamp_roll_over() -> None:
    numbers = range(0xFFF0, 0x10010)
    bench = Bench()
    for number in numbers:
        at = (0xFFFFFFFF - 0x10 * FRAME + (number - 0xFFF0) * FRAME) & 0xFFFFFFFF
        bench.gets(build(OPUS, False, number & 0xFFFF, at, SSRC, payload(number)))
    assert [unit[0] for unit in bench.buffer.ready] == [FRAME * n for n in range(len(numbers))]
    assert bench.out == list(numbers)


def test_who_does_not_read_loses_the_oldest() -> None:
    bench = Bench()
    for number in range(READY + 7):
        bench.gets(packet(number))
    assert bench.buffer.unread == 7
    assert bench.out[0] == 7


def test_what_waits_is_bounded() -> None:
    bench = Bench(patience=3.0).gets(packet(0))
    most = 0
    for number in range(2, 40_000, 2):  # every other one is missing, and no time passes
        bench.gets(packet(number & 0xFFFF, at=number & 0x3FFFFF))
        most = max(most, len(bench.buffer._waiting))
    assert most == HELD
    assert bench.buffer.unread > 0


@pytest.mark.parametrize("patience", [-0.1, 3.1, float("nan")])
def test_a_patience_that_is_none_is_refused(patience: float) -> None:
    with pytest.raises(LocalProtocolError, match="patience"):
        JitterBuffer(StandIn(), OPUS, patience=patience)


def samples(frame: bytes) -> set[int]:
    return {int.from_bytes(frame[at : at + 2], "little", signed=True) for at in range(0, len(frame), 2)}


def test_a_listener_hears_frames_and_tells_what_was_made_up() -> None:
    listener = Listener(StandIn(), OPUS, red=RED, rate=24000, patience=0.0)
    listener.receive([packet(1), packet(4, fec=True), packet(5, at=7)], 0.0)
    heard = []
    while (frame := listener.read()) is not None:
        assert len(frame.pcm) == 960
        heard.append((frame.timestamp // FRAME, samples(frame.pcm), frame.lost, frame.concealed))
    assert heard == [
        (0, {1}, False, False),
        (1, {-30000}, True, True),
        (2, {-3}, False, True),
        (3, {4}, False, False),
        (4, {0}, False, False),
        (5, {0}, False, False),
        (6, {5}, False, False),
    ]
    assert (listener.frames, listener.concealed, listener.lost) == (7, 2, 1)
    assert listener.stats()["fec"] == 1


def test_what_stands_for_a_pause_comes_in_frames_as_long_as_the_callers() -> None:
    listener = Listener(Opus(), OPUS, rate=8000)
    for number, at in ((0, 0), (1, 4)):  # 60 ms each, 180 ms apart
        listener.receive([build(OPUS, False, number, at * 2880, SSRC, b"\x18" + bytes(30))], 0.0)
    lengths = []
    while listener.is_ready:
        frame = listener.read()
        assert frame is not None
        lengths.append(frame.duration)
    assert lengths == [0.06] * 5


def test_a_listener_tells_how_long_speech_was_held_back() -> None:
    listener = Listener(StandIn(), OPUS, rate=8000)
    for number in range(100):
        if number != 50:
            listener.receive([packet(number)], number * 0.02)
        if number == 53:
            listener.receive([packet(50)], number * 0.02)
    assert listener.delay(0.5) == 0.0
    assert listener.delay(0.99) == pytest.approx(0.045)
    assert listener.delay(1.0) == pytest.approx(0.045)


def test_the_time_that_comes_out_is_the_callers() -> None:
    """Ten minutes by a clock that is 100 ppm fast, with pauses and losses: as many samples as the caller's clock counted."""
    listener = Listener(StandIn(), OPUS, rate=16000, patience=0.06)
    total = 0
    for number in range(30_000):
        now = number * 0.02 * (1 - 1e-4)
        if number % 10 != 5:
            listener.receive([packet(number & 0xFFFF)], now)
        listener.expire(now)
        if number == 29_999:
            listener.close(now)
        while (frame := listener.read()) is not None:
            total += len(frame.pcm) // 2
    assert total == 30_000 * 320
    assert listener.lost == 3000


def test_delays_are_told_apart_in_so_many_steps_and_no_more() -> None:
    """A listener that nobody reads, and a caller that holds each gap's end back for another while."""
    bench, now = Bench(), 0.0
    bench.gets(packet(0))
    for number in range(2, 3000, 2):
        bench.gets(packet(number), now=now)
        now += 3.0 + number * 0.005
        bench.gets(packet(number - 1), now=now)
        bench.buffer.ready.clear()
    assert bench.buffer.received > 2000
    assert len(bench.buffer.delays) <= 2
    assert max(bench.buffer.delays) == LONGEST
