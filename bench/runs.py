"""What a datagram costs on the way to one address: alone, in a bundle, and in a run that the kernel divides (UDP_SEGMENT, UDP_GRO)."""

import socket
import statistics
import struct
import time
from collections.abc import Callable
from typing import Final

from bench.machine import SERVER_CORE, on_core, table
from trioice.mmsg import Mmsg, is_available
from trioice.relay.encapsulation import header, join
from trioice.sansio import Outbox

DATAGRAMS: Final = 64
PAYLOAD: Final = 120
ROUNDS: Final = 400

# Of Linux (linux/udp.h); the socket module has no names for them.
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104

HEADER: Final = header(("192.0.2.1", 50000), ("198.51.100.1", 3478))
PART: Final = HEADER + bytes(PAYLOAD)


def report() -> str:
    """One row for each way, in turns: CPU µs a datagram to send and to receive, medians."""
    if not is_available():
        return "Runs are not measured: that takes recvmmsg and sendmmsg."
    with (
        on_core(SERVER_CORE),
        socket.socket(type=socket.SOCK_DGRAM) as sender,
        _receiver() as plain,
        _receiver() as gro,
    ):
        gro.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        out, into = Mmsg(sender), Mmsg(plain)
        to = plain.getsockname()
        alone: Outbox = [(PART, to)] * DATAGRAMS
        bundles: Outbox = [(bundle, to) for bundle in join([(HEADER, bytes(PAYLOAD))] * DATAGRAMS)]

        def run(receiver: socket.socket) -> None:
            control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", len(PART)))]
            sender.sendmsg([PART] * DATAGRAMS, control, 0, receiver.getsockname())

        def drain() -> None:
            while into.fill():
                pass

        ways: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
            ("one by one, sendmmsg", lambda: out.send(alone), drain),
            (f"in {len(bundles)} bundles, sendmmsg", lambda: out.send(bundles), drain),
            ("a run, UDP_SEGMENT", lambda: run(plain), drain),
            ("a run received as one, UDP_GRO", lambda: run(gro), lambda: gro.recv(1 << 16)),
        ]
        costs: list[tuple[list[float], list[float]]] = [([], []) for _ in ways]
        for _ in range(ROUNDS):
            for (_, send, receive), (sent, received) in zip(ways, costs, strict=True):
                sent.append(_cost(send))
                received.append(_cost(receive))
    rows = [
        (name, *(f"{statistics.median(each):.2f}" for each in pair))
        for (name, _, _), pair in zip(ways, costs, strict=True)
    ]
    title = f"{DATAGRAMS} datagrams of {len(PART)} octets to one address on loopback, CPU µs a datagram: median"
    return table(title, ("way", "to send", "to receive"), rows)


def _receiver() -> socket.socket:
    receiver = socket.socket(type=socket.SOCK_DGRAM)
    receiver.setblocking(False)
    receiver.bind(("127.0.0.1", 0))
    return receiver


def _cost(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) / DATAGRAMS * 1e6
