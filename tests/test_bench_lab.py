"""The lab's own parts, without its namespaces: the bad network, the bridge, and what is read from the frames that it saw."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.lab import command, dtlswire, frames, wire
from bench.lab.direction import QUEUE, Conditions, Direction
from bench.lab.frames import Record
from bench.lab.ladder import Ladder
from bench.lab.network import Network, bridge
from bench.lab.report import quantile
from bench.lab.wire import Kind, Sighting
from tests import captures
from trioice import stun

VECTORS = Path(__file__).parent / "vectors"
CHECK, RESPONSE = (stun.encode(kind, bytes(12), []) for kind in (stun.BINDING_REQUEST, stun.BINDING_SUCCESS))
SRTP = bytes([0x80, 111]) + bytes(20)
SRTCP = bytes([0x80, 200]) + bytes(20)
FLIGHTS = [
    bytes.fromhex(line)
    for line in (VECTORS / "dtls12_handshake.hex").read_text().split("\n")
    if line[:1] not in ("", "#")
]
"""The four flights of a DTLS 1.2 handshake, a datagram each, the client's first."""


# The network


def test_a_frame_comes_out_after_the_delay() -> None:
    assert Direction(Conditions(delay=0.05), seed=1).carry(100, now=7.0) == [7.05]


def test_the_same_seed_loses_the_same_frames() -> None:
    def lost(seed: int) -> list[bool]:
        direction = Direction(Conditions(loss=0.25), seed)
        return [not direction.carry(100, 0.0) for _ in range(1000)]

    assert lost(3) == lost(3) != lost(4)
    assert sum(lost(3)) == pytest.approx(250, abs=50)


def test_jitter_is_between_nothing_and_itself_and_frames_overtake_each_other() -> None:
    direction = Direction(Conditions(delay=1.0, jitter=0.5), seed=1)
    due = [direction.carry(100, 0.0)[0] for _ in range(100)]
    assert 1.0 <= min(due) < max(due) <= 1.5
    assert due != sorted(due)


def test_duplication_makes_two_of_one() -> None:
    assert len(Direction(Conditions(duplication=1.0), seed=1).carry(100, 0.0)) == 2


def test_a_direction_that_is_down_loses_all() -> None:
    assert Direction(Conditions(up=False), seed=1).carry(100, 0.0) == []


def test_at_a_rate_frames_wait_for_each_other_and_are_lost_when_the_queue_is_full() -> None:
    direction = Direction(Conditions(delay=0.1, rate=8000), seed=1)  # a thousand octets a second
    assert [direction.carry(100, 0.0) for _ in range(3)] == [pytest.approx([each]) for each in (0.2, 0.3, 0.4)]
    assert direction.carry(100, 5.0) == pytest.approx([5.2])  # nobody waits any more
    carried = [direction.carry(1000, 10.0) for _ in range(10)]
    assert sum(map(bool, carried)) == QUEUE + 1


# The bridge


@contextmanager
def bridged(conditions: Conditions) -> Iterator[tuple[socket.socket, socket.socket, Network]]:
    """A real bridge; in place of packet sockets it carries between two pairs of others."""
    (client, one), (server, other) = (socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    with client, server, bridge((one, other), seed=1) as control:
        for each in (client, server):
            each.settimeout(10.0)
        network = Network(None, None, control)  # type: ignore[arg-type]  # no hosts
        network.shape(conditions)
        yield client, server, network


def test_the_bridge_carries_both_ways_and_tells_when() -> None:
    with bridged(Conditions(delay=0.002)) as (client, server, network):
        client.send(b"there")
        assert server.recv(100) == b"there"
        server.send(b"back")
        assert client.recv(100) == b"back"
        there, back = network.records()
        assert (there.from_client, there.frame, back.from_client, back.frame) == (True, b"there", False, b"back")
        assert there.departed < there.due[0] <= there.arrived[0] <= back.departed
        assert network.records() == []


def test_the_bridge_tells_of_what_it_lost_and_of_what_it_doubled() -> None:
    with bridged(Conditions(up=False)) as (client, server, network):
        client.send(b"lost")
        network.shape(Conditions(duplication=1.0))
        client.send(b"twice")
        assert [server.recv(100), server.recv(100)] == [b"twice", b"twice"]
        assert [len(record.arrived) for record in network.records()] == [0, 2]


# Where there can be none


@pytest.mark.parametrize(
    ("name", "answer", "line"),
    [
        ("os.geteuid", 1000, "the lab makes network namespaces, which takes root: sudo make lab"),
        ("shutil.which", None, "the lab needs `ip`: apt-get install iproute2"),
    ],
)
def test_where_there_can_be_no_lab_one_line_says_why(
    name: str, answer: object, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("bench.lab.namespaces.remove_leftovers", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(name, lambda *_, **__: answer)
    assert command.main(["--case", "default"]) == 1
    assert capsys.readouterr().err == f"{line}\n"


# What the frames were


def record(datagram: bytes, *, from_client: bool = True, protocol: int = frames.UDP) -> Record:
    segment = bytes(8) + datagram if protocol == frames.UDP else bytes(12) + b"\x50" + bytes(7) + datagram
    total = (20 + len(segment)).to_bytes(2, "big")
    packet = b"\x45\x00" + total + bytes(5) + bytes([protocol]) + bytes(10) + segment
    return Record(from_client, 1.0, [1.05], [1.05], bytes(14) + packet + b"padding")


def test_datagrams_and_segments_are_found_in_frames() -> None:
    assert frames.read(record(b"datagram").frame) == frames.Segment(frames.UDP, b"datagram")
    assert frames.read(record(b"POST /", protocol=frames.TCP).frame) == frames.Segment(frames.TCP, b"POST /")
    assert wire.request_left([record(b"POST /calls", protocol=frames.TCP)], b"POST") == 1.0


@pytest.mark.parametrize("length", range(60))
def test_a_frame_that_is_cut_is_nothing(length: int) -> None:
    whole = record(bytes(10)).frame[:52]
    found = frames.read(whole[:length])
    assert found is None or found.payload == bytes(len(found.payload))


@pytest.mark.parametrize(
    ("datagram", "kind"),
    [
        (CHECK, Kind.CHECK),
        (RESPONSE, Kind.RESPONSE),
        (FLIGHTS[0], Kind.DTLS),
        (SRTP, Kind.SRTP),
        (SRTCP, Kind.SRTCP),
        (b"\x40", Kind.OTHER),
        (b"", Kind.OTHER),
        (CHECK[:-1], Kind.OTHER),
    ],
)
def test_datagrams_are_told_apart(datagram: bytes, kind: Kind) -> None:
    (sighting,) = wire.sightings([record(datagram)])
    assert sighting.kind is kind


def test_what_a_server_of_dtls_1_2_chose() -> None:
    fragments = [piece.fragment for flight in FLIGHTS for piece in dtlswire.pieces(flight) if piece.fragment]
    assert dtlswire.agreed(fragments) == dtlswire.Agreed("1.2", "ECDHE_ECDSA_AES_128_GCM", "X25519")


@pytest.mark.parametrize("name", ["chromium-chromium-dtls13", "chromium-chromium-sped", "firefox-chromium-dtls13"])
def test_what_two_browsers_agreed_on(name: str) -> None:
    """In whatever order the pieces came, in checks and without."""
    call = list(captures.read(VECTORS / "captures" / f"{name}.pcap"))
    seen = list(wire.sightings(record(item.payload) for item in call))
    fragments = [piece.fragment for each in seen for piece in each.pieces if piece.fragment]
    assert dtlswire.agreed(fragments) == dtlswire.Agreed("1.3", "AES_128_GCM", "X25519MLKEM768")
    assert dtlswire.agreed(reversed(fragments)) == dtlswire.agreed(fragments)


# The ladder


ONE_WAY = 1 / 16
"""Seconds. It and all that is added to it are exact in binary, as times are compared."""


def seen(from_client: bool, departed: float, datagram: bytes, *, lost: bool = False) -> Sighting:
    each = record(datagram, from_client=from_client)
    each.departed, each.arrived = departed, [] if lost else [departed + ONE_WAY]
    (sighting,) = wire.sightings([each])
    return sighting


def dtls_1_2() -> list[Sighting]:
    """A call whose server is DTLS client: each answers at once, but sound takes the client 1/32 s, and the server 1/64."""
    return [
        seen(True, 10.0, CHECK),
        seen(False, 10 + ONE_WAY, RESPONSE),
        seen(False, 10 + ONE_WAY, FLIGHTS[0]),
        seen(True, 10 + 2 * ONE_WAY, FLIGHTS[1]),
        seen(False, 10 + 3 * ONE_WAY, FLIGHTS[2]),
        seen(True, 10 + 4 * ONE_WAY, FLIGHTS[3]),
        seen(True, 10 + 4 * ONE_WAY + 1 / 32, SRTP),
        seen(False, 10 + 5 * ONE_WAY + 1 / 64, SRTP),
    ]


def test_times_count_from_the_first_check_at_each_host() -> None:
    ladder = Ladder(dtls_1_2())
    assert ladder.complete
    assert ladder.speaks(client=True) == 4 * ONE_WAY + 1 / 32
    assert ladder.hears(client=True) == 6 * ONE_WAY + 1 / 64
    assert ladder.speaks(client=False) == 4 * ONE_WAY + 1 / 64
    assert ladder.hears(client=False) == 4 * ONE_WAY + 1 / 32
    assert ladder.waited(client=True) == 1 / 32
    assert ladder.waited(client=False) == 1 / 64


def test_trips_are_counted_on_the_datagrams() -> None:
    ladder = Ladder(dtls_1_2())
    assert ladder.first_trips() == {
        "check": 1,
        "response": 2,
        "ClientHello": 2,
        "ServerHello": 3,
        "Certificate": 3,
        "ServerKeyExchange": 3,
        "CertificateRequest": 3,
        "ServerHelloDone": 3,
        "ClientKeyExchange": 4,
        "CertificateVerify": 4,
        "client's SRTP": 5,
        "server's SRTP": 6,
    }
    assert [ladder.round_trips_until_it_speaks(client) for client in (True, False)] == [2.0, 2.0]
    assert [ladder.round_trips_until_it_hears(client) for client in (True, False)] == [3.0, 2.0]


def test_a_slow_host_and_repetitions_add_no_trips() -> None:
    call = dtls_1_2()
    late = [*call[:-2], seen(False, 10.75, SRTP), seen(True, 11.5, SRTP)]
    again = [
        seen(True, 10.07, CHECK),
        seen(False, 10.2, RESPONSE),
        seen(False, 10.2, FLIGHTS[0]),
        seen(True, 10.3, SRTCP),
    ]
    assert Ladder(late + again).first_trips() == Ladder(call).first_trips()


def test_what_was_lost_is_no_trip_and_its_repetition_is() -> None:
    call = dtls_1_2()
    lost = [seen(True, 9.0, CHECK, lost=True), *call]
    assert Ladder(lost).first_trips() == Ladder(call).first_trips()
    assert Ladder(lost).speaks(client=True) == Ladder(call).speaks(client=True) + 1
    assert Ladder(lost).speaks(client=False) == Ladder(call).speaks(client=False)


def test_without_media_at_both_hosts_it_is_not_complete() -> None:
    assert not Ladder(dtls_1_2()[:-1]).complete
    assert not Ladder([*dtls_1_2()[:-1], seen(False, 10.5, SRTP, lost=True)]).complete


def test_the_drawing() -> None:
    call = [seen(True, 9.8, CHECK, lost=True), *dtls_1_2()[:3]]
    assert Ladder(call).draw().split("\n") == [
        "client ms        server ms  trips",
        "      0.0  ──✗                     check; 28 octets",
        "    200.0  ───▶      262.5      1  check; 28 octets",
        "    325.0  ◀───      262.5      2  response; 28 octets",
        f"    325.0  ◀───      262.5      2  ClientHello; {len(FLIGHTS[0])} octets",
    ]


def test_a_quantile_is_a_value_that_was_measured() -> None:
    assert [quantile(range(1, 11), part) for part in (0.5, 0.95, 1.0)] == [5, 10, 10]
    assert quantile(range(1, 41), 0.95) == 38
