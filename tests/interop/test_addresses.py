"""The programs on all addresses of the machine: clients are told several, and each of them carries a call."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.dial import Telephone
from tests.interop.programs import HOST, PAGE, Program, direct, free_port, key_line
from tests.test_sockaddr import needs_ipv6

PLAIN = [[], ["--plain-sockets"]]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def call_each(url: str, addresses: Sequence[tuple[str, int]]) -> None:
    """Call through each of the addresses, over a socket that hears nobody else; the answer names them all, in their order."""
    for to in addresses:
        with Telephone(to=to) as telephone:
            telephone.dial(f"{url}/calls")
            candidates = [line.split() for line in telephone.answer.splitlines() if line.startswith("a=candidate:")]
            assert [(words[4], int(words[5])) for words in candidates] == addresses
            telephone.hears(3)
            telephone.hang_up()


@needs_ipv6
@pytest.mark.parametrize("plain", PLAIN, ids=["bursts", "plain"])
def test_a_transceiver_is_reached_over_both_ip_versions(stack: ExitStack, plain: list[str]) -> None:
    port = free_port()
    announced = ["--announce", f"127.0.0.5:{port}", "--announce", f"[::1]:{port}"]
    program = direct("--udp", f"[::]:{port}", *announced, *plain)
    stack.callback(program.stop)
    assert f"transceiver on [::]:{port}, clients are told 127.0.0.5:{port}, [::1]:{port}\n" in program.output
    call_each(program.address, [("127.0.0.5", port), ("::1", port)])


@needs_ipv6
@pytest.mark.parametrize("plain", PLAIN, ids=["bursts", "plain"])
def test_a_relay_is_reached_over_both_ip_versions(stack: ExitStack, tmp_path: Path, plain: list[str]) -> None:
    key = tmp_path / "key"
    key.write_text(key_line())
    public, udp = free_port(), free_port()
    relay = Program(
        (
            *("relay", "--public", f"[::]:{public}", "--inner", "[::]:0", "--announce", f"127.0.0.5:{public}"),
            *("--route", f"1/7=127.0.0.7:{udp}", "--key-file", str(key), *plain),
        ),
        ready=r"relay on",
    )
    stack.callback(relay.stop)
    transceiver = Program(
        (
            *("transceiver", "--udp", f"0.0.0.0:{udp}", "--http", f"{HOST}:0", "--cluster", "1", "--shard", "7"),
            *("--relay", f"127.0.0.5:{public}", "--relay", f"[::1]:{public}", "--trust-relay", "127.0.0.0/8"),
            *("--key-file", str(key), *plain),
        ),
        ready=PAGE,
    )
    stack.callback(transceiver.stop)
    call_each(transceiver.address, [("127.0.0.5", public), ("::1", public)])
