"""Ports: real sockets on loopback, and the header between relay and transceiver."""

import math

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trioice import ports, timer
from trioice.memory import MemoryNetwork
from trioice.mmsg import BURST
from trioice.ports import BUSY, Burst, Networks, RelayedPort, UdpPort, bound_together, transport_address
from trioice.relay import encapsulation

RELAY = ("10.0.0.1", 4000)
CLIENT = ("192.0.2.7", 50000)
HEADER = encapsulation.header(CLIENT, ("198.51.100.1", 3478))


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "bursts"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_udp_port_carries_datagrams_and_says_from_where(host: str, plain: bool) -> None:
    one, two = UdpPort.bind(host, 0, plain=plain), UdpPort.bind(host, 0, plain=plain)
    try:
        outbox: list[tuple[bytes, object]] = [(b"first", two.address), (b"second", two.address)]
        one.send(outbox)
        assert outbox == []
        got: list[tuple[bytes, object]] = []
        with trio.fail_after(5):
            while len(got) < 2:
                await two.readable()
                got += two.receive()
        assert [datagram for datagram, _ in got] == [b"first", b"second"]
        assert {transport_address(source) for _, source in got} == {one.address}
        assert two.receive() == []
    finally:
        one.close()
        two.close()


async def test_what_a_full_buffer_lost_is_counted_and_a_small_buffer_is_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "BUFFER", 4096)
    one = UdpPort.bind("127.0.0.1", 0)
    assert not caplog.records
    monkeypatch.setattr(ports, "BUFFER", 1 << 30)
    monkeypatch.setattr(ports, "SO_RCVBUFFORCE", -1)  # as for a user who is not root
    two = UdpPort.bind("127.0.0.1", 0)
    try:
        assert "sysctl -w net.core.rmem_max=" in caplog.text
        two.send([(bytes(1000), one.address)] * 64)
        lost = one.overflowed
        assert 0 < lost < 64
        assert len(one.receive()) == 64 - lost
    finally:
        one.close()
        two.close()


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "bursts"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_what_a_full_buffer_lost_is_counted_to_the_datagram(
    host: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "BUFFER", 4096)
    one = UdpPort.bind(host, 0, plain=plain)
    monkeypatch.undo()
    two = UdpPort.bind(host, 0, plain=plain)
    try:
        sent = taken = 0
        for octets in (1000, 1, 300):  # full, emptied and full again: the count goes on
            before = one.overflowed
            two.send([(bytes(octets), one.address)] * 100)
            sent += 100
            while burst := one.receive():
                taken += len(burst)
            assert before < one.overflowed == sent - taken
    finally:
        one.close()
        two.close()


async def test_a_busy_port_lets_datagrams_gather_and_a_quiet_one_waits() -> None:
    one, two = UdpPort.bind("127.0.0.1", 0), UdpPort.bind("127.0.0.1", 0)
    try:
        one.send([(b"x", two.address)] * BUSY)
        with trio.fail_after(5):
            await two.readable()
            assert len(two.receive()) == BUSY
            await two.readable()  # busy: it looks again without being woken
            assert two.receive() == []
        with trio.move_on_after(0.05) as scope:
            await two.readable()  # quiet: it waits
        assert scope.cancelled_caught
    finally:
        one.close()
        two.close()


@pytest.mark.parametrize("has_timerfd", [True, False])
async def test_a_port_that_was_cancelled_as_it_lingered_waits_on(
    has_timerfd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_timerfd:
        monkeypatch.setattr(timer, "_LIBC", None)
    one, two = UdpPort.bind("127.0.0.1", 0), UdpPort.bind("127.0.0.1", 0)
    try:
        one.send([(b"x", two.address)] * BUSY)
        with trio.fail_after(5):
            await two.readable()
        assert len(two.receive()) == BUSY
        monkeypatch.setattr(ports, "LINGER", 60.0)
        with trio.move_on_after(0.01) as scope:
            await two.readable()
        assert scope.cancelled_caught
        monkeypatch.setattr(ports, "LINGER", 0.001)
        with trio.fail_after(5):
            await two.readable()
            assert two.receive() == []
            one.send([(b"y", two.address)])
            await two.readable()
            assert two.receive() == [(b"y", one.address)]
    finally:
        one.close()
        two.close()


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "bursts"])
async def test_a_burst_is_bounded(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = UdpPort.bind("127.0.0.1", 0, plain=plain), UdpPort.bind("127.0.0.1", 0, plain=plain)
    try:
        one.send([(b"x", two.address)] * (BURST + 10))
        with trio.fail_after(5):
            await two.readable()
        assert len(two.receive()) == BURST
        monkeypatch.setattr(ports, "LINGER", 60.0)  # after a full burst, the rest is taken at once, without a sleep
        with trio.fail_after(5):
            await two.readable()
        assert len(two.receive()) == 10
    finally:
        one.close()
        two.close()


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "bursts"])
async def test_what_cannot_be_sent_is_counted_and_does_not_stop_the_rest(plain: bool) -> None:
    one, two = UdpPort.bind("127.0.0.1", 0, plain=plain), UdpPort.bind("127.0.0.1", 0, plain=plain)
    try:
        one.send([(bytes(70000), two.address), (b"x", two.address)])
        assert one.unsent == 1
        assert two.receive() == [(b"x", one.address)]
    finally:
        one.close()
        two.close()


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "bursts"])
async def test_an_address_of_the_other_family_is_unsent_and_stops_nothing(plain: bool) -> None:
    one, two = UdpPort.bind("127.0.0.1", 0, plain=plain), UdpPort.bind("127.0.0.1", 0, plain=plain)
    try:
        one.send([(b"x", ("::1", 7000, 0, 0)), (b"y", ("127.0.0.1", 0)), (b"z", two.address)])
        assert one.unsent == 2
        assert two.receive() == [(b"z", one.address)]
    finally:
        one.close()
        two.close()


def test_a_bound_port_cannot_be_bound_again() -> None:
    one = UdpPort.bind("127.0.0.1", 0)
    try:
        with pytest.raises(OSError, match="in use"):
            UdpPort.bind(*one.address)
    finally:
        one.close()


@pytest.fixture
async def relayed(autojump_clock: trio.testing.MockClock) -> tuple[MemoryNetwork, RelayedPort]:
    network = MemoryNetwork(delay=0.0)
    return network, RelayedPort(network.port("10.0.1.1", 7000), Networks(["10.0.0.0/24"]))


async def test_a_relayed_and_a_direct_datagram_share_a_port(relayed: tuple[MemoryNetwork, RelayedPort]) -> None:
    network, port = relayed
    network.port(*RELAY).send([(HEADER + b"relayed", ("10.0.1.1", 7000))])
    network.port(*CLIENT).send([(b"direct", ("10.0.1.1", 7000))])
    await port.readable()
    burst = port.receive()
    assert burst == [(b"relayed", (RELAY, HEADER)), (b"direct", CLIENT)]
    assert [transport_address(source) for _, source in burst] == [CLIENT, CLIENT]


async def test_the_answer_to_a_relayed_client_carries_its_header(relayed: tuple[MemoryNetwork, RelayedPort]) -> None:
    network, port = relayed
    relay, client = network.port(*RELAY), network.port(*CLIENT)
    port.send([(b"relayed", (RELAY, HEADER)), (b"direct", CLIENT)])
    await relay.readable()
    assert relay.receive() == [(HEADER + b"relayed", ("10.0.1.1", 7000))]
    assert client.receive() == [(b"direct", ("10.0.1.1", 7000))]


async def test_a_bundle_is_taken_apart_and_answered_in_bundles(relayed: tuple[MemoryNetwork, RelayedPort]) -> None:
    network, port = relayed
    relay = network.port(*RELAY)
    other = encapsulation.header(("192.0.2.8", 50000), ("198.51.100.1", 3478))
    parts = [(HEADER, b"one"), (other, b"two"), (HEADER, b"three")]
    bundle = next(encapsulation.join(parts))
    relay.send([(bundle, ("10.0.1.1", 7000))])
    await port.readable()
    burst = port.receive()
    assert burst == [(payload, (RELAY, header)) for header, payload in parts]
    port.send(burst)
    await relay.readable()
    assert relay.receive() == [(bundle, ("10.0.1.1", 7000))]


async def test_a_relay_that_sends_no_bundles_gets_none(relayed: tuple[MemoryNetwork, RelayedPort]) -> None:
    network, port = relayed
    relay = network.port(*RELAY)
    network.port("10.0.0.2", 4000).send([(next(encapsulation.join([(HEADER, b"1")] * 2)), ("10.0.1.1", 7000))])
    relay.send([(HEADER + b"1", ("10.0.1.1", 7000))])
    await port.readable()
    assert len(port.receive()) == 3
    port.send([(b"one", (RELAY, HEADER)), (b"two", (RELAY, HEADER))])
    await relay.readable()
    assert [datagram for datagram, _ in relay.receive()] == [HEADER + b"one", HEADER + b"two"]


async def test_a_bundle_that_is_none_or_not_a_relays_is_counted(relayed: tuple[MemoryNetwork, RelayedPort]) -> None:
    network, port = relayed
    bundle = next(encapsulation.join([(HEADER, b"forged")] * 2))
    network.port("203.0.113.66", 6).send([(bundle, ("10.0.1.1", 7000))])
    relay = network.port(*RELAY)
    relay.send([(bundle[:-1], ("10.0.1.1", 7000)), (b"\x56\xed\x00\x00", ("10.0.1.1", 7000))])
    await port.readable()
    assert port.receive() == []
    assert port.distrusted == 3
    port.send([(b"one", (RELAY, HEADER)), (b"two", (RELAY, HEADER))])
    await relay.readable()
    assert len(relay.receive()) == 2  # who sent none gets none


async def test_a_relay_whose_bundles_ceased_gets_none(
    autojump_clock: MockClock, relayed: tuple[MemoryNetwork, RelayedPort]
) -> None:
    network, port = relayed
    relay = network.port(*RELAY)
    parts = [(HEADER, b"\x80one"), (HEADER, b"\x80two")]
    relay.send([(next(encapsulation.join(parts)), ("10.0.1.1", 7000))])
    await port.readable()
    burst = port.receive()
    for wait, datagrams in ((RelayedPort.BUNDLED - 1, 1), (2, 2)):
        await trio.sleep(wait)
        port.send(list(burst))
        await relay.readable()
        assert len(relay.receive()) == datagrams


async def test_a_relay_that_bundles_again_makes_nobody_forgotten(relayed: tuple[MemoryNetwork, RelayedPort]) -> None:
    _, port = relayed
    bundle = next(encapsulation.join([(HEADER, b"x")] * 2))
    port._bundling = {("10.0.0.9", number): math.inf for number in range(RelayedPort.BUNDLING - 1)}
    for _ in range(2):
        port._unbundle(bundle, RELAY, [])
    assert len(port._bundling) == RelayedPort.BUNDLING


async def test_relays_that_bundle_are_remembered_within_bounds(relayed: tuple[MemoryNetwork, RelayedPort]) -> None:
    network, port = relayed
    bundle = next(encapsulation.join([(HEADER, b"x")] * 2))
    for number in range(RelayedPort.BUNDLING + 10):
        network.port("10.0.0.3", 1024 + number).send([(bundle, ("10.0.1.1", 7000))])
        await port.readable()
        port.receive()
    assert len(port._bundling) <= RelayedPort.BUNDLING


class Wire:
    """A port that keeps what is sent, and gives it back as if a relay had sent it."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, object]] = []

    async def readable(self) -> None:
        """There is always something."""

    def receive(self) -> list[tuple[bytes, object]]:
        sent, self.sent = self.sent, []
        return sent

    def send(self, outbox: list[tuple[bytes, object]]) -> None:
        self.sent += outbox
        outbox.clear()


RELAYS = [("10.0.0.1", 4000), ("10.0.0.2", 4000)]
HEADERS = [encapsulation.header((f"192.0.2.{number}", 50000), ("198.51.100.1", 3478)) for number in range(3)]
ADDRESSES: list[object] = [*((relay, header) for relay in RELAYS for header in HEADERS), CLIENT]


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=1500), st.sampled_from(ADDRESSES)), max_size=100), st.booleans()
)
def test_what_a_relayed_port_sends_another_receives(outbox: list[tuple[bytes, object]], bundles: bool) -> None:
    outbox = [(b"\x80" + datagram, to) for datagram, to in outbox]
    wire = Wire()
    port = RelayedPort(wire, Networks(["10.0.0.0/24"]))

    async def carry() -> Burst:
        if bundles:
            wire.sent = [(next(encapsulation.join([(HEADERS[0], b"x")] * 2)), RELAYS[0])]
            port.receive()
        port.send(list(outbox))
        return port.receive()

    received = trio.run(carry)
    for address in ADDRESSES:
        assert [each for each in received if each[1] == address] == [each for each in outbox if each[1] == address]
    assert len(received) == len(outbox)
    assert port.distrusted == 0


async def test_a_header_is_believed_only_from_a_relay_that_was_told_of(
    relayed: tuple[MemoryNetwork, RelayedPort],
) -> None:
    network, port = relayed
    network.port("203.0.113.66", 6).send([(HEADER + b"forged", ("10.0.1.1", 7000))])
    network.port(*RELAY).send([(HEADER[:20], ("10.0.1.1", 7000))])
    await port.readable()
    assert port.receive() == []
    assert port.distrusted == 2


def test_networks_hold_addresses_and_prefixes() -> None:
    networks = Networks(["10.0.0.0/24", "2001:db8::1"])
    assert "10.0.0.200" in networks
    assert "2001:db8::1" in networks
    assert "10.0.1.1" not in networks
    assert "2001:db8::2" not in networks
    assert len([host for number in range(3000) if (host := f"10.0.{number >> 8}.{number & 255}") in networks]) == 256
    assert len(networks._answers) <= Networks.REMEMBERED


async def test_sockets_that_are_bound_together_share_a_port_with_each_other_and_nobody_else() -> None:
    together = [UdpPort(sock, plain=True) for sock in bound_together("127.0.0.1", 0, 3)]
    client = UdpPort.bind("127.0.0.1", 0)
    try:
        (address,) = {port.address for port in together}
        for count in (1, 2):
            with pytest.raises(OSError, match="in use"):
                bound_together(*address, count)
        client.send([(b"x", address)] * 10)
        assert sorted(len(port.receive()) for port in together) == [0, 0, 10]
    finally:
        for port in (client, *together):
            port.close()
