"""`python -m bench`: take the figures of docs/measurements.md on this machine; `python -m bench load --calls 200` takes some."""

import argparse

from bench import chromium, lines, load, machine
from bench.relay import comparison

FIGURES = ("load", "relay", "chromium", "lines")


def main() -> None:
    options = argparse.ArgumentParser(
        prog="python -m bench", description="Figures of trioice; a quiet machine gives better ones."
    )
    options.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; all if none is named")
    options.add_argument("--calls", type=int, nargs="+", default=[50], metavar="N", help="calls of the load (50)")
    options.add_argument("--seconds", type=float, metavar="S", help="length of a round of load (20), or of relay (1)")
    options.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of load and of relay (3)")
    options.add_argument(
        "--flows",
        type=comparison.flow_count,
        nargs="+",
        default=[1000, 10_000, 50_000],
        metavar="N",
        help="flows of relay (1000 10000 50000)",
    )
    options.add_argument(
        "--rates",
        type=int,
        nargs="+",
        default=[20_000],
        metavar="N",
        help="packets/s of relay (20000), beside all it can",
    )
    options.add_argument("--way", choices=("in", "out", "both"), default="both", help="of relay (both)")
    options.add_argument("--gso", action="store_true", help="of relay: its transceiver sends and takes runs")
    options.add_argument("--runs", type=int, default=10, metavar="N", help="calls from Chromium (10)")
    options.add_argument("--srtp", nargs="+", default=["AEAD_AES_128_GCM"], metavar="PROFILE", help="of the load")
    arguments = options.parse_args()
    if unknown := set(arguments.figures) - set(FIGURES):
        options.error(f"no figure {', '.join(sorted(unknown))}: there are {', '.join(FIGURES)}")
    figures = arguments.figures or FIGURES
    print(machine.describe())
    if "load" in figures:
        # Round by round, not one kind after the other: a slow minute of the machine touches all of them.
        kinds = [(profile, calls) for profile in arguments.srtp for calls in arguments.calls]
        rounds = [load.measure(*kind, arguments.seconds or 20.0) for _ in range(arguments.rounds) for kind in kinds]
        print(load.report(rounds), flush=True)
    if "relay" in figures:
        compared = comparison.compare(
            arguments.flows,
            arguments.rates,
            arguments.rounds,
            arguments.seconds or 1.0,
            arguments.way,
            gso=arguments.gso,
        )
        print(comparison.report(compared), flush=True)
    if "chromium" in figures:
        print(chromium.report(chromium.measure(arguments.runs)), flush=True)
    if "lines" in figures:
        print(lines.report())


if __name__ == "__main__":
    main()
