"""Floods: good calls beside what strangers send to the same port; every good packet and every octet of memory counted.

The relay and the transceiver behind it, or the transceiver alone, run on one core; load and flood share the other. CPU time and
memory are of the flooded program. Loss is
of the good calls' packets, end to end: whatever became of them, what the kernel dropped before the program saw it included.
"""

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import attrs

from bench.echo.calls import Calls, Outcome, compile_load
from bench.echo.comparison import SETTLE, workshop
from bench.echo.contestants import SOURCES, Running, memory, ours, running
from bench.machine import LOAD_CORE, SERVER_CORE, on_core, table
from bench.relay.contestants import tree_cpu_seconds
from tests.interop.programs import CLUSTER, HOST, free_port, key_line
from trioice import dtls, srtp, stun
from trioice.relay.token import NONCE_LENGTH, Route, TokenKeys
from trioice.sansio import Outbox

RATES: Final = (100_000, 70_000, 50_000, 35_000, 25_000, 15_000, 10_000, 5_000)
"""Packets a second, until one holds."""
HOLDS: Final = 0.005
"""Share of the good packets that may be lost."""
DIFFERENT: Final = 512
"""Datagrams of a flood that differ from each other."""
SOURCES_OF_FLOOD: Final = 4096 * 4
"""Hosts and ports of flood.c."""
SHARD: Final = 7
LEAD: Final = 0.3
"""Seconds that the flood begins before, and lasts longer than, the calls' speech."""


@attrs.frozen(kw_only=True)
class Round:
    """One measurement: rates in packets a second, CPU in seconds of the server under flood, memory in octets."""

    server: str
    kind: str
    rate: int
    sent: float = 0.0
    outcome: Outcome
    dropped: int
    cpu: float
    took: float
    before: float
    after: float


@attrs.frozen
class Target:
    """The program under flood, on its `port`, and where calls are made."""

    name: str
    port: int
    process: Running
    signaling: str


def measure(rates: Sequence[int], calls: int, seconds: float, profile: srtp.Profile) -> list[Round] | list[str]:
    """Flood a relay and a transceiver, at falling `rates` until no good packet suffers; sentences where it cannot be done."""
    with workshop("flood", (), profile.name) as (folder, _, left_out):
        if left_out:
            return left_out
        library, program = compile_load(folder), str(folder / "flood")
        subprocess.run(
            ["gcc", "-O2", "-Wall", "-Wextra", "-Wno-unused-function", "-o", program, SOURCES / "flood.c"], check=True
        )
        return [
            each
            for start, kinds in ((_relay, (_noise, _bad_tokens)), (_transceiver, (_bad_tokens, _client_hellos)))
            for make in kinds
            for each in _flooded(start, make, folder, library, program, rates, calls, seconds, profile)
        ]


def report(rounds: list[Round] | list[str]) -> str:
    """One row for each measurement."""
    good = [each for each in rounds if isinstance(each, Round)]
    if not good:
        return "\n".join(map(str, rounds))
    head = (
        "server, flood",
        "asked/s",
        "sent/s",
        "good sent",
        "lost",
        "holds",
        "kernel dropped",
        "echo ms",
        "of its core",
        "MB before",
        "MB after",
    )
    rows = [
        (
            f"{each.server}, {each.kind}",
            f"{each.rate:,}",
            f"{each.sent:,.0f}",
            each.outcome.sent,
            f"{each.outcome.lost:.2%}",
            "yes" if each.outcome.lost < HOLDS else "no",
            f"{each.dropped:,}",
            f"{each.outcome.echo_50 * 1000:.1f}, {each.outcome.echo_99 * 1000:.1f}",
            f"{each.cpu / each.took:.0%}",
            f"{each.before / 1e6:.1f}",
            f"{each.after / 1e6:.1f}",
        )
        for each in good
    ]
    title = (
        f"Good calls' packets beside a flood from {SOURCES_OF_FLOOD:,} addresses; at most {HOLDS:.1%} may be lost; kernel dropped: good "
        "and bad, of the flooded port"
    )
    return table(title, head, rows)


Maker = Callable[[], bytes]


def _flooded(
    start: Callable[[Path, srtp.Profile], Iterator[Target]],
    make: Maker,
    folder: Path,
    library: str,
    program: str,
    rates: Sequence[int],
    calls: int,
    seconds: float,
    profile: srtp.Profile,
) -> Iterator[Round]:
    made = [make() for _ in range(DIFFERENT)]
    length = min(map(len, made))  # they may differ by an octet or two, which strangers would not mind
    datagrams = folder / make.__name__
    datagrams.write_bytes(b"".join(each[:length] for each in made if len(each) == length))
    with on_core(SERVER_CORE), contextmanager(start)(folder, profile) as target, on_core(LOAD_CORE):
        good = Calls(library, profile)
        try:
            good.connect(target.signaling, calls)
            good.open()
            good.run(SETTLE)
            for rate in (0, *rates):
                command = (program, str(target.port), str(rate), str(seconds + 2 * LEAD), str(length), str(datagrams))
                outcome = _measure(target, good, command, (make.__doc__ or "").rstrip(".").lower(), rate, seconds)
                yield outcome
                if rate and outcome.outcome.lost < HOLDS:
                    break
        finally:
            good.close()


def _measure(target: Target, good: Calls, command: Sequence[str], kind: str, rate: int, seconds: float) -> Round:
    before, dropped = memory(target.process.pid), _dropped(target.port)
    flood = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        good.run(LEAD)
        good.begin(len(good.lines))
        cpu, began = tree_cpu_seconds(target.process.pid), time.monotonic()
        good.run(seconds)
        cpu, took = tree_cpu_seconds(target.process.pid) - cpu, time.monotonic() - began
        good.hush()
        sent = json.loads(flood.communicate()[0])
    finally:
        flood.kill()
        flood.wait()
    good.run(SETTLE)
    return Round(
        server=target.name,
        kind=kind,
        rate=rate,
        sent=(sent["sent"] - sent["unsent"]) / sent["seconds"],
        outcome=good.outcome(),
        dropped=_dropped(target.port) - dropped,
        cpu=cpu,
        took=took,
        before=before,
        after=memory(target.process.pid),
    )


def _dropped(port: int) -> int:
    """Datagrams that the kernel has dropped because the receive buffer of a port was full (proc(5), net/udp)."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return sum(int(fields[-1]) for fields in map(str.split, lines) if fields[1].endswith(f":{port:04X}"))


def _relay(folder: Path, profile: srtp.Profile) -> Iterator[Target]:
    key, public, udp = folder / "key", free_port(), free_port()
    key.write_text(key_line())
    quiet = ("--key-file", str(key), "--log", "warning")
    route = ("--public", f"{HOST}:{public}", "--route", f"{CLUSTER}/{SHARD}={HOST}:{udp}")
    place = ("--relay", f"{HOST}:{public}", "--cluster", str(CLUSTER), "--shard", str(SHARD))
    relay = [*ours(profile.name)[:3], "relay", *route, *quiet]
    transceiver = ours(profile.name, *place, *quiet, port=udp)
    with running(relay, f"^relay on.*{public}") as flooded, running(transceiver) as behind:
        yield Target("relay", public, flooded, behind.address)


def _transceiver(_folder: Path, profile: srtp.Profile) -> Iterator[Target]:
    port = free_port()
    with running(ours(profile.name, port=port)) as flooded:
        yield Target("transceiver", port, flooded, flooded.address)


def _noise() -> bytes:
    """Noise that looks like media."""
    return b"\x80\x6f" + os.urandom(118)


def _bad_tokens() -> bytes:
    """Checks with unknown ufrags."""
    # In the form of ours, under the key that is in use: the relay must open each to refuse it.
    sealed = base64.b64decode(TokenKeys.read(key_line()).seal(Route(CLUSTER, SHARD), bytes(NONCE_LENGTH)) + "=")
    token = base64.b64encode(sealed[:1] + os.urandom(len(sealed) - 1)).decode().rstrip("=")
    attributes = (
        (stun.USERNAME, f"{token}:abcd".encode()),
        (stun.ICE_CONTROLLING, bytes(8)),
        (stun.PRIORITY, bytes(4)),
    )
    return stun.encode(stun.BINDING_REQUEST, os.urandom(12), attributes, key=b"the password of no call")


def _client_hellos() -> bytes:
    """ClientHellos."""
    outbox: Outbox = []
    client = dtls.DtlsClient(
        certificate=_certificate(),
        fingerprints=[_certificate().fingerprint()],
        profiles=list(srtp.PROFILES),
        entropy=os.urandom,
        peer=None,
        outbox=outbox,
        inbox=[],
        events=[],
    )
    client.start(0.0)
    return outbox[0][0]


@cache
def _certificate() -> dtls.Certificate:
    return dtls.Certificate.generate(os.urandom)
