"""Captures, read back by a reader of their own: what passes a port is all there, in order, with the keys before what they open."""

import io
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.harness.clockwork import seeded
from tests.harness.dial import PATIENCE, Telephone
from tests.harness.world import CERTIFICATES, RELAY, RunningTransceiver, World
from trioice import sdp
from trioice.memory import MemoryNetwork, MemoryPort
from trioice.ports import Networks, RelayedPort
from trioice.relay.token import Route
from trioice.sansio import Outbox
from trioice.tracing import TracingPort, _checksum, key_log, udp
from trioice.transceiver.server import Transceiver, TransceiverConfig

ROOT = Path(__file__).parent.parent
EPOCH = 1_700_000_000.0
SERVER = ("198.51.100.1", 7000)
CLIENT = ("192.0.2.1", 50000)
DTLS_RECORD = b"\x16\xfe\xfd"


@attrs.frozen
class Datagram:
    """What an Enhanced Packet Block says."""

    when: float
    inbound: bool
    source: tuple[str, int]
    to: tuple[str, int]
    octets: bytes

    @property
    def is_protected(self) -> bool:
        """Whether there is a DTLS record under keys in it."""
        rest = self.octets
        while rest and 20 <= rest[0] <= 63:
            if rest[0] >> 5 == 1 or rest[3:5] == b"\x00\x01":
                return True
            rest = rest[13 + int.from_bytes(rest[11:13], "big") :]
        return False


def read(capture: bytes) -> Iterator[Datagram | str]:
    """Read a capture: its datagrams, and the lines of its key log, in the order of the file."""
    section, capture = block(capture)
    assert section == (0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    interface, capture = block(capture)
    assert interface == (1, struct.pack("<HHI", 101, 0, 0))
    while capture:
        (kind, body), capture = block(capture)
        if kind == 6:
            number, high, low, length, original = struct.unpack_from("<5I", body)
            assert (number, length) == (0, original)
            option, size, direction, end = struct.unpack("<HHII", body[20 + length + -length % 4 :])
            assert (option, size, end) == (2, 4, 0)
            assert direction in (1, 2)
            yield Datagram((high << 32 | low) / 1e6, direction == 1, *read_ip(body[20 : 20 + length]))
        else:
            assert kind == 10
            secrets, length = struct.unpack_from("<II", body)
            assert secrets.to_bytes(4, "big") == b"TLSK"
            assert len(body) == 8 + length + -length % 4
            yield from body[8 : 8 + length].decode().splitlines()


def block(capture: bytes) -> tuple[tuple[int, bytes], bytes]:
    kind, length = struct.unpack_from("<II", capture)
    assert length % 4 == 0
    assert struct.unpack_from("<I", capture, length - 4) == (length,)
    return (kind, capture[8 : length - 4]), capture[length:]


def read_ip(octets: bytes) -> tuple[tuple[str, int], tuple[str, int], bytes]:
    """Read an IP packet with a UDP datagram: source, destination and payload. Its checksums are right."""
    if octets[0] >> 4 == 4:
        assert int.from_bytes(octets[2:4], "big") == len(octets)
        assert ones(octets[:20]) == 0
        addresses, protocol, rest = octets[12:20], octets[9], octets[20:]
    else:
        assert octets[0] >> 4 == 6
        assert int.from_bytes(octets[4:6], "big") == len(octets) - 40
        addresses, protocol, rest = octets[8:40], octets[6], octets[40:]
    assert protocol == 17
    source_port, port, length, checksum = struct.unpack_from("!4H", rest)
    assert length == len(rest)
    assert checksum != 0
    assert ones(addresses + struct.pack("!HH", 17, length) + rest) == 0
    source, to = (
        str(ip_address(half)) for half in (addresses[: len(addresses) // 2], addresses[len(addresses) // 2 :])
    )
    return (source, source_port), (to, port), rest[8:]


def ones(octets: bytes) -> int:
    """The complement of the sum in ones' complement, as RFC 1071, 4.1 has it: 0 where a checksum within is right."""
    total: int = sum(struct.unpack(f"!{(len(octets) + 1) // 2}H", octets + bytes(len(octets) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_the_checksum_is_that_of_rfc_1071() -> None:
    # RFC 1071, 3: the sum of these words is ddf2.
    assert _checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


@pytest.mark.parametrize("datagram", [b"", b"x", b"even", bytes(1500), b"\xff" * 65])
@pytest.mark.parametrize(
    ("source", "to", "shown"),
    [
        (CLIENT, SERVER, (CLIENT, SERVER)),
        (("2001:db8::7", 1), ("2001:db8::1", 2), (("2001:db8::7", 1), ("2001:db8::1", 2))),
        (("2001:db8::7", 1), SERVER, (("2001:db8::7", 1), ("::ffff:198.51.100.1", 7000))),
        (CLIENT, ("2001:db8::1", 2), (("::ffff:192.0.2.1", 50000), ("2001:db8::1", 2))),
        (("fe80::1%lo", 1), ("fe80::2", 2), (("fe80::1", 1), ("fe80::2", 2))),
    ],
)
def test_a_datagram_gets_the_headers_that_it_had(
    datagram: bytes, source: tuple[str, int], to: tuple[str, int], shown: tuple[tuple[str, int], tuple[str, int]]
) -> None:
    from_host, to_host, payload = read_ip(udp(datagram, source, to))
    assert (as_written(from_host), as_written(to_host), payload) == (*map(as_written, shown), datagram)


def as_written(address: tuple[str, int]) -> tuple[str, int]:
    return str(ip_address(address[0])), address[1]


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork(delay=1.0)


class Traced:
    """A traced port at `SERVER`, and a client that it speaks to."""

    def __init__(self, network: MemoryNetwork, file: BinaryIO | None = None) -> None:
        self.file = file or io.BytesIO()
        self.keys: list[str] = []
        self.asked = 0
        self.client: MemoryPort = network.port(*CLIENT)
        self.port = TracingPort(network.port(*SERVER), self.file, address=SERVER, epoch=EPOCH, keys=self._asked)

    def _asked(self) -> list[str]:
        self.asked += 1
        return self.keys

    @property
    def captured(self) -> list[Datagram | str]:
        assert isinstance(self.file, io.BytesIO)
        return list(read(self.file.getvalue()))

    async def receives(self, *datagrams: bytes) -> None:
        self.client.send([(datagram, SERVER) for datagram in datagrams])
        await self.port.readable()
        assert self.port.receive() == [(datagram, CLIENT) for datagram in datagrams]


@pytest.fixture
def traced(network: MemoryNetwork) -> Traced:
    return Traced(network)


async def test_what_passes_is_written_in_order_with_the_time_at_which_it_passed(
    autojump_clock: MockClock, traced: Traced
) -> None:
    began = trio.current_time()
    await traced.receives(b"one", b"two")
    await trio.sleep(0.25)  # an owner that is slow
    outbox: Outbox = [(b"three", CLIENT)]
    traced.port.send(outbox)
    assert outbox == []
    datagrams = [item for item in traced.captured if isinstance(item, Datagram)]
    assert [(item.inbound, item.source, item.to, item.octets) for item in datagrams] == [
        (True, CLIENT, SERVER, b"one"),
        (True, CLIENT, SERVER, b"two"),
        (False, SERVER, CLIENT, b"three"),
    ]
    assert [round(item.when - EPOCH - began, 6) for item in datagrams] == [1.0, 1.0, 1.25]
    await traced.client.readable()
    assert traced.client.receive() == [(b"three", SERVER)]


async def test_what_nobody_answers_is_written_before_the_port_waits_again(
    autojump_clock: MockClock, traced: Traced
) -> None:
    await traced.receives(b"one")
    with trio.move_on_after(1):
        await traced.port.readable()
    assert [datagram.octets for datagram in traced.captured if isinstance(datagram, Datagram)] == [b"one"]


async def test_a_burst_that_follows_on_another_forgets_neither(autojump_clock: MockClock, traced: Traced) -> None:
    await traced.receives(b"one")
    assert traced.port.receive() == []
    await traced.receives(b"two")
    traced.port.send([])
    assert [datagram.octets for datagram in traced.captured if isinstance(datagram, Datagram)] == [b"one", b"two"]


async def test_keys_that_a_burst_brought_stand_before_it_and_only_once(
    autojump_clock: MockClock, traced: Traced
) -> None:
    await traced.receives(DTLS_RECORD)
    traced.keys = ["CLIENT_RANDOM 01 02"]  # as the machine has them once it has taken the burst
    traced.port.send([(DTLS_RECORD, CLIENT)])
    traced.keys = [*traced.keys, "CLIENT_RANDOM 03 04"]
    traced.port.send([(DTLS_RECORD, CLIENT)])
    shown = [item if isinstance(item, str) else item.inbound for item in traced.captured]
    assert shown == ["CLIENT_RANDOM 01 02", True, False, "CLIENT_RANDOM 03 04", False]


async def test_keys_are_asked_for_only_when_there_is_a_dtls_record(autojump_clock: MockClock, traced: Traced) -> None:
    await traced.receives(b"\x80 media", b"\x00 stun", b"", b"\x80 more")
    traced.port.send([(b"\x80 media", CLIENT)])
    assert traced.asked == 0
    traced.port.send([(DTLS_RECORD, CLIENT)])
    assert traced.asked == 1


class FullDisk(io.BytesIO):
    """A file that takes its header and no more."""

    def write(self, octets: object) -> int:
        if self.tell():
            raise OSError(28, "No space left on device")
        return super().write(octets)  # type: ignore[arg-type]


async def test_a_full_disk_ends_the_capture_and_not_the_calls(
    autojump_clock: MockClock, network: MemoryNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    traced = Traced(network, FullDisk())
    for _ in range(3):
        await traced.receives(b"in")
        traced.port.send([(b"out", CLIENT)])
    await traced.client.readable()
    assert [record.getMessage() for record in caplog.records] == [
        "the capture ends here: [Errno 28] No space left on device"
    ]
    assert traced.captured == []


@pytest.mark.parametrize("setup", ["actpass", "active"])
async def test_a_relayed_call_looks_as_its_client_sees_it_and_its_keys_are_there_in_time(
    autojump_clock: MockClock, nursery: trio.Nursery, setup: str
) -> None:
    world = World(nursery)
    await world.relay()
    world.directory.replace(world.directory.of(["1/1=10.0.1.1:7000"]))
    file = io.BytesIO()
    relayed = RelayedPort(world.network.port("10.0.1.1", 7000), Networks(["10.0.0.0/24"]))
    port = TracingPort(relayed, file, address=RELAY, epoch=EPOCH, keys=lambda: key_log(transceiver.endpoint))
    config = TransceiverConfig(
        candidates=[sdp.Candidate(*RELAY)],
        route=Route(1, 1),
        keys=world.keys,
        certificate=CERTIFICATES[0],
        entropy=seeded(7),
    )
    transceiver = Transceiver(config, port)
    running = RunningTransceiver(transceiver)
    await nursery.start(running.run)
    dialled = [await world.dial(running, setup=setup) for _ in range(2)]
    for one in dialled:
        await one.hears(10, within=3.0)
    captured = list(read(file.getvalue()))
    datagrams = [item for item in captured if isinstance(item, Datagram)]
    clients = {one.port.address for one in dialled}
    assert {(item.source, item.to) for item in datagrams if item.inbound} == {(client, RELAY) for client in clients}
    assert {(item.source, item.to) for item in datagrams if not item.inbound} == {(RELAY, client) for client in clients}
    for one in dialled:
        # The caller's own end agreed on the same secret; and the line names the ClientHello that is in the capture.
        assert one.caller.dtls is not None
        lines = [line for line in captured if line in one.caller.dtls.key_log_lines()]
        assert len(lines) == 5
        label, client_random, secret = str(lines[0]).split()
        assert (label, len(secret)) == ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 64)
        theirs = [
            (at, item)
            for at, item in enumerate(captured)
            if isinstance(item, Datagram) and one.port.address in (item.source, item.to)
        ]
        # A record's header has 13 octets, a fragment's 12; then come the version and the random (RFC 6347, 4.2).
        hellos = [
            item.octets
            for _, item in theirs
            if item.octets[:1] == b"\x16" and item.octets[13] == 1 and item.octets[19:22] == bytes(3)
        ]
        assert {hello[27:59].hex() for hello in hellos} == {client_random}
        protected = [at for at, item in theirs if item.is_protected]
        assert len(protected) >= 2
        assert max(captured.index(line) for line in lines) < protected[0]


def test_serve_writes_a_capture_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "call.pcapng"
    any_port = "127.0.0.1:0"
    ports = ("--http", any_port, "--relay", any_port, "--udp", any_port)
    process = subprocess.Popen(
        [sys.executable, "-m", "trioice", "serve", *ports, "--trace", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if line.startswith("http://"):
                break
        with Telephone() as telephone:
            telephone.dial(f"{lines[-1]}/calls")
            client = telephone.address
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    assert any(f"tracing to {path}" in line for line in lines)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    captured = list(read(path.read_bytes()))
    assert sum(isinstance(item, str) for item in captured) == 5
    relay = lines[0].removeprefix("relay on ").partition(",")[0]
    ends = {(item.source, item.to) for item in captured if isinstance(item, Datagram)}
    there = ("127.0.0.1", int(relay.rpartition(":")[2]))
    assert ends == {(client, there), (there, client)}


def test_a_capture_that_cannot_be_written_is_one_clear_line() -> None:
    arguments = ["transceiver", "--udp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--trace", "/does/not/exist"]
    done = subprocess.run(
        [sys.executable, "-m", "trioice", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "trioice transceiver: cannot write /does/not/exist: No such file or directory"
