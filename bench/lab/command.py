"""`python -m bench lab`: calls in the lab, and their table."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import attrs

from bench import machine
from bench.lab.calls import Made, calls
from bench.lab.cases import CASES, Case
from bench.lab.namespaces import Unavailable
from bench.lab.playing import PLAYS, PlayingCase, play
from bench.lab.playing import report as played_report
from bench.lab.report import Measured, report
from bench.lab.servers import Agent
from bench.lab.voice import VOICES, VoiceCase, voice
from bench.lab.voice import report as heard_report

NAMES: Final = [*CASES, *VOICES, *PLAYS]


def main(arguments: Sequence[str]) -> int:
    """Measure the cases; the exit status: 1 where there can be no lab here."""
    options = _options().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an orderly end removes what was made
    if options.nice:
        machine.prioritize(options.nice)
    names = options.case or NAMES
    chosen = [CASES[name] for name in names if name in CASES]
    voices = [VOICES[name] for name in names if name in VOICES]
    plays = [PLAYS[name] for name in names if name in PLAYS]
    if options.loss is not None:
        chosen = [attrs.evolve(case, loss=options.loss / 100) for case in chosen]
        voices = [attrs.evolve(case, loss=options.loss / 100) for case in voices]
    if options.others is not None:
        plays = [attrs.evolve(case, others=options.others) for case in plays]
    rtt = options.rtt / 1000
    print(machine.describe(), flush=True)
    try:
        measured = [_measure(case, rtt, options) for case in chosen]
        for heard_case in voices:
            _try(heard_case.title, partial(_hear, heard_case, rtt, options))
        for played_case in plays:
            _try(played_case.title, partial(_play, played_case, rtt, options))
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    if measured:
        print(f"\n{report(measured, rtt)}")
    return 0


def _hear(case: VoiceCase, rtt: float, options: argparse.Namespace) -> str:
    return heard_report(voice(case, rtt=rtt, seconds=options.seconds, seed=options.seed))


def _play(case: PlayingCase, rtt: float, options: argparse.Namespace) -> str:
    return played_report(play(case, rtt=rtt, seconds=options.seconds, seed=options.seed), rtt)


def _try(title: str, make: Callable[[], str]) -> None:
    """Print what is told of a call, or that there was none."""
    try:
        print(f"\n{make()}", flush=True)
    except AssertionError as error:
        print(f"{title}: a call did not come about: {str(error).splitlines()[0]}", file=sys.stderr)


def _measure(case: Case, rtt: float, options: argparse.Namespace) -> Measured:
    made, failed = _make(case, rtt, "speaks", options)
    if options.ladder and made:
        print(f"\n{case.title}\n\n{made[-1].ladder.draw()}", flush=True)
    echoed, failed_echoes = _make(case, rtt, "echoes", options) if case.echoes else ([], 0)
    return Measured(case=case, made=made, echoed=echoed, failed=failed + failed_echoes)


def _make(case: Case, rtt: float, agent: Agent, options: argparse.Namespace) -> tuple[list[Made], int]:
    """Make the calls, after one that is not counted."""
    made: list[Made] = []
    failed = 0
    with calls(case, rtt=rtt, agent=agent, seed=options.seed) as call:
        for number in range(options.runs + 1):
            try:
                one = call()
            except AssertionError as error:
                print(f"{case.title}: a call did not come about: {str(error).splitlines()[0]}", file=sys.stderr)
                failed += number > 0
            else:
                made += [one] if number else []
            if number == 0:
                print(f"{case.title}: the first call is made, {options.runs} follow", file=sys.stderr, flush=True)
    return made, failed


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m bench lab",
        description="Calls between two hosts with a bad network between them: their set-up, and what is heard of them. As root.",
    )
    options.add_argument("--case", nargs="+", choices=NAMES, metavar="CASE", help=f"of {', '.join(NAMES)} (all)")
    options.add_argument("--rtt", type=float, default=100.0, metavar="MS", help="of the network, in ms (%(default)s)")
    options.add_argument("--loss", type=float, metavar="PERCENT", help="each way (25 for the cases named loss, else 0)")
    options.add_argument("--runs", type=int, default=10, metavar="N", help="calls of each case (%(default)s)")
    options.add_argument(
        "--seconds", type=float, default=60.0, metavar="S", help="of a call of the cases of voice (%(default)s)"
    )
    options.add_argument(
        "--others",
        type=int,
        metavar="N",
        help="calls beside that of a case of voice (200 for ahead, 130 for ahead-all)",
    )
    options.add_argument("--ladder", action="store_true", help="draw the ladder of the last call of each case as well")
    options.add_argument("--seed", type=int, default=1, metavar="N", help="of the losses (%(default)s)")
    options.add_argument("--nice", type=int, default=0, metavar="N", help="priority of all that it starts (0)")
    return options
