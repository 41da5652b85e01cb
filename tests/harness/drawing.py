"""Ladders of call set-ups, drawn of what crosses a simulated network: `make docs` writes those of docs/explanation/set-up.md.

Nothing computes in virtual time, so what is left of a set-up is the network's: each row is a datagram, with the moment at which it leaves
its one side and reaches the other.
"""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio
from trio.testing import MockClock

from tests.harness.world import World
from trioice import dtls, rtp, stun
from trioice.dtls import record
from trioice.dtls.fragments import Fragment
from trioice.dtls.messages import HandshakeType
from trioice.ports import SocketAddress
from trioice.sansio import NEVER
from trioice.timeline import Step
from trioice.transceiver.call import Call
from trioice.wire import Reader

PAGE: Final = Path(__file__).parents[2] / "docs/explanation/set-up.md"
START, END = "<!-- What follows is drawn by `make docs`. -->\n", "<!-- Here ends what is drawn. -->\n"

RTT: Final = 0.1
"""Seconds: an ocean's width, and a number to divide by in one's head."""

WIDTH: Final = 62
"""Characters between the two sides."""

DTLS_IN_STUN: Final = 0xC070
"""The STUN attribute that carries a datagram of DTLS (draft-hancke-webrtc-sped)."""


@attrs.frozen(kw_only=True)
class Case:
    """A way to set a call up. `transceiver` and `caller` are options of `World.transceiver` and `World.dial`."""

    name: str
    text: str
    transceiver: Mapping[str, Any]
    caller: Mapping[str, Any] = attrs.field(factory=dict)


CASES: Final = (
    Case(
        name="DTLS 1.2, trioice is its client",
        text="The ClientHello leaves with the answer to the check. Two flights each; the caller's last one makes it the first to speak.",
        transceiver={"dtls_role": "active", "dtls_versions": (dtls.VERSION_1_2,)},
    ),
    Case(
        name="DTLS 1.2, trioice is its server",
        text="The caller may begin only when its check is answered, and speaks a round trip later than with the roles the other way round.",
        transceiver={"dtls_role": "passive", "dtls_versions": (dtls.VERSION_1_2,)},
    ),
    Case(
        name="DTLS 1.3, trioice is its client",
        text="One flight less: the caller's only one holds all of its proof, and ours leaves with our first packet behind it.",
        transceiver={"dtls_role": "active"},
    ),
    Case(
        name="DTLS 1.3, trioice is its server",
        text="The caller may send as early as with the roles the other way round, and we have to wait for its proof of who it is.",
        transceiver={"dtls_role": "passive"},
    ),
    Case(
        name="DTLS 1.3 within STUN (SPED), trioice is its server",
        text="The hello comes inside two checks, from somebody who knows our password: we speak before its certificate is here. Here both "
        "checks leave at once, as the best that could be; a Chromium was mostly seen to send the second 48 to 73 ms later, "
        "and all else follows that.",
        transceiver={},
        caller={"sped": True, "second": 0.002},
    ),
)


@attrs.frozen
class Sent:
    """A datagram that crossed the network."""

    at: float
    is_ours: bool
    name: str


@attrs.frozen(kw_only=True)
class SetUp:
    """What a run of a case showed. Times are seconds after the caller's first check left."""

    sent: Sequence[Sent]
    ours_at: float  # when we have keys
    theirs_at: float  # when the caller has


def run(case: Case) -> SetUp:
    """Set a call up in virtual time; both sides speak as soon as they can."""
    sent: list[Sent] = []

    async def speak(call: Call) -> None:
        if await call.ready():
            call.send(b"hello", 960)
        await call.ended.wait()

    async def main() -> SetUp:
        async with trio.open_nursery() as nursery:
            world = World(nursery, delay=RTT / 2)
            running = await world.transceiver(direct=True, agent=speak, **case.transceiver)

            def carries(datagram: bytes, source: SocketAddress, to: SocketAddress) -> bool:
                sent.append(Sent(trio.current_time() - start, source[0].startswith("10."), name(datagram)))
                return True

            world.network.carries = carries
            start = trio.current_time()
            dialled = await world.dial(running, **case.caller)
            await trio.sleep(10 * RTT)
            keys, theirs_at = dialled.call.media.timeline.after(Step.KEYS), dialled.caller.connected_at - start
            nursery.cancel_scope.cancel()
        return SetUp(sent=sent, ours_at=NEVER if keys is None else keys, theirs_at=theirs_at)

    return trio.run(main, clock=MockClock(autojump_threshold=0))


# What a datagram is, as far as an onlooker can read it


def name(datagram: bytes) -> str:
    """Name a datagram of any kind (RFC 7983)."""
    if datagram[0] <= 3:
        return _stun_name(datagram)
    if datagram[0] <= 63:
        return _dtls_name(datagram)
    return "SRTCP" if rtp.is_rtcp(datagram) else "SRTP"


def _stun_name(datagram: bytes) -> str:
    message = stun.decode(datagram)
    assert message is not None
    named = {stun.BINDING_REQUEST: "STUN check", stun.BINDING_SUCCESS: "its answer"}.get(message.kind, "STUN error")
    carried = message.get(DTLS_IN_STUN)
    return f"{named} {{ {_dtls_name(carried)} }}" if carried else named


def _dtls_name(datagram: bytes) -> str:
    names = [each for item in record.split(datagram)[0] for each in _record_names(item)]
    return ", ".join(dict.fromkeys(names))  # several sealed records look like one


def _record_names(item: record.AnyRecord) -> Iterator[str]:
    if not isinstance(item, record.Record):
        yield "sealed"
    elif item.kind == record.CHANGE_CIPHER_SPEC:
        yield "ChangeCipherSpec"
    elif item.epoch:
        yield "sealed"
    elif item.kind == record.HANDSHAKE:
        reader = Reader(item.payload)
        while reader.left:
            yield _message_name(Fragment.read(reader))
    else:
        yield "Alert"


def _message_name(fragment: Fragment) -> str:
    """ClientHello, or ClientHello… and …ClientHello for its pieces."""
    named = HandshakeType(fragment.kind).name.title().replace("_", "")
    before = "…" if fragment.offset else ""
    after = "…" if fragment.offset + len(fragment.octets) < fragment.length else ""
    return before + named + after


# The drawing


def draw(set_up: SetUp) -> str:
    """Draw the ladder, up to the first packet each way; of the checks, the first and those that carry something."""
    rows = [(each.at, 2 if each.name == "SRTP" else 0, _arrow(each)) for each in _worth_drawing(set_up.sent)]
    rows += [(at, 1, _note(at, is_ours=is_ours)) for at, is_ours in ((set_up.ours_at, True), (set_up.theirs_at, False))]
    # Of what happens at one moment, keys come behind the flight that leaves with them, and packets behind the keys.
    rows.sort(key=lambda row: (round(row[0], 6), row[1]))
    return "\n".join((f"{'caller':>12}{'trioice':>{WIDTH + 1}}", *(row for _, _, row in rows)))


def _worth_drawing(sent: Sequence[Sent]) -> Iterator[Sent]:
    first: set[tuple[bool, str]] = set()
    for each in sent:
        is_new = (each.is_ours, each.name) not in first
        first.add((each.is_ours, each.name))
        if is_new or each.name not in ("STUN check", "its answer", "SRTP"):
            yield each
        if {(True, "SRTP"), (False, "SRTP")} <= first:
            return


def _arrow(sent: Sent) -> str:
    here, there = _ms(sent.at), _ms(sent.at + RTT / 2)
    named, *more = textwrap.wrap(sent.name, WIDTH - 8)
    if sent.is_ours:
        arrow = f"{there:>7} │◀{f' {named} ':─>{WIDTH - 3}}──│ {here}"
    else:
        arrow = f"{here:>7} │──{f' {named} ':─<{WIDTH - 3}}▶│ {there}"
    align = ">" if sent.is_ours else "<"
    return "\n".join((arrow, *(f"{'':7} │   {line:{align}{WIDTH - 6}}   │" for line in more)))


def _note(at: float, *, is_ours: bool) -> str:
    if is_ours:
        return f"{'':7} │{'keys ●':>{WIDTH - 1}} │ {_ms(at)}"
    return f"{_ms(at):>7} │{' ● keys':<{WIDTH}}│"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


# The page


def drawn() -> str:
    """Run all cases; their figures in a table, and their ladders."""
    runs = [(case, run(case)) for case in CASES]
    table = [
        "| round trips after the caller's first check left | trioice speaks | is heard | the caller speaks | is heard |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(f"| {case.name} | {' | '.join(_figures(set_up))} |" for case, set_up in runs),
    ]
    ladders = [f"### {case.name}\n\n{case.text}\n\n```\n{draw(set_up)}\n```\n" for case, set_up in runs]
    return "\n".join((*table, "", *ladders))


def _figures(set_up: SetUp) -> Iterator[str]:
    for is_ours in (True, False):
        at = next(each.at for each in set_up.sent if each.is_ours is is_ours and each.name == "SRTP")
        yield f"{at / RTT:.1f}"
        yield f"{at / RTT + 0.5:.1f}"


def redrawn(page: str, make: Callable[[], str] = drawn) -> str:
    """Put what is drawn into the page, in the place of what was drawn before. Raises ValueError for a page without such a place."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError("no place for what is drawn")
    return f"{before}{start}\n{make()}\n{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(redrawn(PAGE.read_text()))
