"""The comparison: each relay in its turn on a core of its own, before one load on another core, round after round.

A round takes the relays one after the other, so that a slow minute of the machine touches all of them, and its ratios are to the C
forwarder of the same round. A relay is started anew for each number of flows; each client sends its Binding request with its own
token, and is answered by the load's transceiver; then media flows, at a fixed rate first and at as much as the load can offer.

A packet is one datagram that the relay took and sent on. Its cost is CPU time of the relay's processes, user's and system's, until
the last datagram has arrived, over what has arrived. On loopback it includes the receiver's half of the kernel's work.
"""

import argparse
import json
import math
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from bench.machine import LOAD_CORE, SERVER_CORE, busy_seconds, cpu_seconds, on_core, spread, table
from bench.relay.contestants import SHARD, C, Contestant, compile_c, contestants, running, tree_cpu_seconds
from tests.interop.programs import CLUSTER, free_port, key_line
from trioice import stun
from trioice.relay.token import NONCE_LENGTH, Route, TokenKeys

PAYLOAD: Final = "60 to 160"
"""Octets of a datagram of media, without the header; with GSO all have 120 (load.c)."""

SATURATION: Final = 0
"""The rate that stands for as much as the load can offer."""

WAYS: Final = {"in": "all from clients", "out": "all from the transceiver", "both": "half of them each way"}

FLOWS: Final = range(2, (1 << 16) + 1, 2)
"""Numbers of flows: what forwarder.c remembers at most, and half of them for each port of load.c."""

PASSWORD: Final = b"the password of every call"
PRIORITY: Final = 0x6E7F1EFF
"""Of a peer-reflexive candidate, which the checks offer (RFC 8445, 7.1.1)."""


@attrs.frozen
class Load:
    """The load: its program, what it is asked for, and its options."""

    program: str
    rates: list[int]
    seconds: float
    way: str
    options: list[str]


@attrs.frozen(kw_only=True)
class Outcome:
    """One measurement of one relay: the load's counts, and CPU seconds."""

    relay: str
    flows: int
    rate: int
    cpu: float
    others: float
    took: float
    """Seconds until the last datagram had arrived."""
    seconds: float
    """Seconds of sending, and of what arrived `in_time`."""
    sent: int
    in_time: int
    arrived: int
    misrouted: int
    wrong_length: int
    lost_by_load: int
    transit: tuple[float, float]
    """Seconds: median and 99 % quantile."""

    @property
    def cost(self) -> float:
        """CPU µs of the relay for a packet; what the load itself could not take in was forwarded, too."""
        return self.cpu / max(self.arrived + self.lost_by_load, 1) * 1e6

    @property
    def lost(self) -> float:
        """Share of the packets that the relay lost."""
        return 1 - (self.arrived + self.lost_by_load) / self.sent


@attrs.frozen
class Comparison:
    """All measurements, round after round, and what was left out."""

    payload: str
    load: str
    rounds: list[list[Outcome]]
    left_out: list[str]


def flow_count(text: str) -> int:
    """Read a number of flows, for the command line."""
    if not text.isdecimal() or int(text) not in FLOWS:
        raise argparse.ArgumentTypeError(f"{text} is not an even number of flows, {FLOWS[0]} to {FLOWS[-1]}")
    return int(text)


def compare(
    flows: Sequence[int], rates: Sequence[int], rounds: int, seconds: float, way: str, *, gso: bool
) -> Comparison:
    """Measure all relays for all numbers of `flows`, at `rates` (packets a second) and at saturation.

    `way` is "in" for packets from clients alone, "out" for the transceiver's alone, or "both". With `gso` the transceiver sends and
    takes runs of datagrams (UDP_SEGMENT, UDP_GRO), whatever the relays do.
    """
    if LOAD_CORE == SERVER_CORE:
        return Comparison("", "", [], ["Relays are not compared: that takes two cores, one for the load."])
    if shutil.which("gcc") is None:
        return Comparison("", "", [], ["Relays are not compared: the load is made with gcc, and there is none."])
    with TemporaryDirectory() as name:
        folder = Path(name)
        key_file = folder / "key"
        key_file.write_text(key_line())
        relays, left_out = contestants(folder, key_file)
        load = Load(compile_c("load", folder), [*rates, SATURATION], seconds, way, ["gso"] if gso else [])
        requests = {count: _write_requests(folder / f"requests-{count}", count) for count in flows}
        outcomes = [
            [
                outcome
                for count in flows
                for relay in relays
                for outcome in _measure(relay, load, requests[count], count)
            ]
            for _ in range(rounds)
        ]
    kind = f"{WAYS[way]}{', the transceiver with GSO and GRO' if gso else ''}"
    return Comparison("120" if gso else PAYLOAD, kind, outcomes, left_out)


def report(comparison: Comparison) -> str:
    """One row for each number of flows, rate and relay."""
    if not comparison.rounds:
        return "\n".join(comparison.left_out)
    every = [outcome for outcomes in comparison.rounds for outcome in outcomes]
    kinds = list(dict.fromkeys((each.flows, each.rate, each.relay) for each in every))
    kinds.sort(key=lambda kind: (kind[0], kind[1] or math.inf))  # saturation last; the relays as they were measured
    title = (
        f"Relays on one core, {comparison.payload} octets of payload, {comparison.load}, {len(comparison.rounds)} rounds of "
        f"{every[0].seconds:.1f} s: median (least–most); the ratio is to C in the same round"
    )
    head = (
        "relay",
        "flows",
        "offered/s",
        "µs/packet",
        "ratio to C",
        "reached/s",
        "lost",
        "misrouted",
        "wrong length",
        "relay's CPU",
        "others' CPU",
        "transit ms",
    )
    rows = [
        _row(
            [each for each in every if (each.flows, each.rate, each.relay) == kind],
            [each for each in every if (each.flows, each.rate, each.relay) == (*kind[:2], C)],
        )
        for kind in kinds
    ]
    notes = (
        "relay's CPU: of its core; transit: from the load through the relay to the load, 50 and 99 % quantile; "
        f"lost by the load itself: {sum(each.lost_by_load for each in every)}"
    )
    return "\n".join((table(title, head, rows), notes, *comparison.left_out))


def _row(outcomes: list[Outcome], limits: list[Outcome]) -> tuple[object, ...]:
    first = outcomes[0]
    offered = statistics.median(each.sent / each.seconds for each in outcomes)
    return (
        first.relay,
        first.flows,
        f"{offered:,.0f}" + (" (all)" if first.rate == SATURATION else ""),
        spread([each.cost for each in outcomes]),
        spread([each.cost / limit.cost for each, limit in zip(outcomes, limits, strict=True)], 2),
        f"{statistics.median(each.in_time / each.seconds for each in outcomes):,.0f}",
        f"{statistics.median(each.lost for each in outcomes):.2%}",
        sum(each.misrouted for each in outcomes),
        sum(each.wrong_length for each in outcomes),
        f"{statistics.median(each.cpu / each.took for each in outcomes):.0%}",
        f"{statistics.median(each.others / each.took for each in outcomes):.0%}",
        _milliseconds([each.transit for each in outcomes]),
    )


def _milliseconds(transits: Sequence[tuple[float, float]]) -> str:
    return ", ".join(f"{statistics.median(column) * 1000:.2f}" for column in zip(*transits, strict=True))


def _measure(relay: Contestant, load: Load, requests: Path, flows: int) -> Iterator[Outcome]:
    public, transceiver = free_port(), free_port()
    command = (
        load.program,
        str(public),
        str(transceiver),
        str(flows),
        str(requests),
        *(load.options or ["bundles"] * relay.bundles),
    )
    # What is started takes the core that this thread has at that moment.
    with (
        on_core(SERVER_CORE),
        running(relay.arguments(public, transceiver)) as process,
        on_core(LOAD_CORE),
        _loading(command, flows) as control,
    ):
        for rate in load.rates:
            cpu, busy, load_cpu = tree_cpu_seconds(process.pid), busy_seconds(), cpu_seconds(control.pid)
            outcome = json.loads(_ask(control, f"{rate} {load.seconds} {load.way}"))
            cpu = tree_cpu_seconds(process.pid) - cpu
            others = busy_seconds() - busy - cpu - (cpu_seconds(control.pid) - load_cpu)
            yield Outcome(relay=relay.name, flows=flows, rate=rate, cpu=cpu, others=max(others, 0.0), **outcome)


@contextmanager
def _loading(command: Sequence[str], flows: int) -> Iterator[subprocess.Popen[str]]:
    """Run the load until the end of the block; all its flows are confirmed."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        confirmed = _answer(process)
        assert confirmed == f"confirmed {flows}", f"of {flows} flows: {confirmed}"
        yield process
    finally:
        process.kill()
        process.communicate()


def _ask(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin is not None
    print(line, file=process.stdin, flush=True)
    return _answer(process)


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def _write_requests(path: Path, flows: int) -> Path:
    """Write a Binding request for each client, with a token of its own, as a browser makes them."""
    keys = TokenKeys.read(key_line())
    with path.open("wb") as file:
        for flow in range(flows):
            token = keys.seal(Route(CLUSTER, SHARD), flow.to_bytes(NONCE_LENGTH, "big"))
            attributes = (
                (stun.USERNAME, f"{token}:abcd".encode()),
                (stun.ICE_CONTROLLING, bytes(8)),
                (stun.PRIORITY, PRIORITY.to_bytes(4, "big")),
            )
            transaction_id = flow.to_bytes(12, "big")
            file.write(stun.encode(stun.BINDING_REQUEST, transaction_id, attributes, key=PASSWORD))
    return path
