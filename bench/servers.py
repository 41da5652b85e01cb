"""A relay and a transceiver behind it, as two processes on loopback: what the figures are taken of."""

import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from tests.interop.programs import CLUSTER, HOST, PAGE, Program, free_port, key_line

SHARD = 7


@attrs.frozen
class Servers:
    """The relay, the address of its metrics, and the transceiver, whose `address` is its signaling's."""

    relay: Program
    relay_metrics: str
    transceiver: Program


@contextmanager
def servers(*options: str) -> Iterator[Servers]:
    """Run both; `options` are for the transceiver."""
    with TemporaryDirectory() as folder:
        key = Path(folder, "key")
        key.write_text(key_line())
        public, udp = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
        quiet = ("--key-file", str(key), "--log", "warning")
        relay = Program(
            ("relay", "--public", public, "--metrics", f"{HOST}:0", "--route", f"{CLUSTER}/{SHARD}={udp}", *quiet),
            ready=re.escape(public),
        )
        try:
            place = ("--udp", udp, "--http", f"{HOST}:0", "--cluster", str(CLUSTER), "--shard", str(SHARD))
            transceiver = Program(("transceiver", *place, "--relay", public, *quiet, *options), ready=PAGE)
            try:
                metrics = re.search(r"^metrics on (\S+)$", "".join(relay.output), re.MULTILINE)
                assert metrics is not None, relay.output
                yield Servers(relay, metrics[1], transceiver)
            finally:
                transceiver.stop()
        finally:
            relay.stop()


def count(url: str, name: str) -> int:
    """The sum of a counter over all its labels, as /metrics tells it."""
    with urllib.request.urlopen(url) as response:
        text = response.read().decode()
    return sum(int(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\d+)$", text, re.MULTILINE))
