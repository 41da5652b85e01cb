"""trioice's own programs on the server's host: a transceiver with one of the agents, and a relay in front of it if there is to be one."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import attrs

from bench.lab.network import ROOT, Host
from tests.interop.programs import CLUSTER, Program, key_line

AGENTS: Final = {
    "speaks": ("--agent", f"{ROOT / 'bench/lab/agents.py'}:speak"),
    "echoes": (),
    "listens": ("--agent", f"{ROOT / 'bench/lab/listening.py'}:listen"),
    "is interrupted": ("--agent", f"{ROOT / 'bench/lab/speaking.py'}:interrupt"),
    "converses": ("--agent", f"{ROOT / 'bench/lab/speaking.py'}:converse"),
    "speaks ahead": ("--agent", f"{ROOT / 'bench/lab/speaking.py'}:ahead"),
    "is heard": ("--agent", f"{ROOT / 'bench/heard_agent.py'}:agent"),
}
Agent = Literal["speaks", "echoes", "listens", "is interrupted", "converses", "speaks ahead", "is heard"]
SHARD: Final = 7
HTTP, PUBLIC, UDP = 8080, 3478, 7000


@attrs.frozen
class Server:
    """The transceiver, with its page and its port for media as the client knows them."""

    program: Program
    page: str
    media: str


@contextmanager
def server(host: Host, agent: Agent, *options: str, relayed: bool = False) -> Iterator[Server]:
    """Run a transceiver on the host; `options` are its own."""
    udp, public = f"{host.address}:{UDP}", f"{host.address}:{PUBLIC}"
    http = f"{host.address}:{HTTP}"
    with ExitStack() as stack:
        behind: Sequence[str] = ()
        if relayed:
            key = Path(stack.enter_context(TemporaryDirectory()), "key")
            key.write_text(key_line())
            inner = ("--inner", f"{host.address}:0", "--key-file", str(key), "--route", f"{CLUSTER}/{SHARD}={udp}")
            relay = Program(("relay", "--public", public, *inner), ready=re.escape(public), prefix=host.command)
            stack.callback(relay.stop)
            place = ("--cluster", str(CLUSTER), "--shard", str(SHARD), "--key-file", str(key))
            behind = ("--relay", public, "--trust-relay", f"{host.address}/32", *place)
        transceiver = Program(
            ("transceiver", "--udp", udp, "--http", http, *behind, *AGENTS[agent], *options),
            ready=rf"^(http://{re.escape(http)})$",
            prefix=host.command,
        )
        stack.callback(transceiver.stop)
        yield Server(transceiver, transceiver.address, public if relayed else udp)
