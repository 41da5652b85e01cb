"""Ports: real sockets on loopback, and the header between relay and transceiver."""

import pytest
import trio
import trio.testing

from trioice import ports
from trioice.memory import MemoryNetwork
from trioice.mmsg import BURST
from trioice.ports import BUSY, Networks, RelayedPort, UdpPort, transport_address
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
