"""`python -m bench`: take the figures of docs/measurements.md on this machine; `python -m bench load --calls 200` takes some.

`python -m bench lab` is a program of its own (bench/lab): it takes root, browsers and half an hour.
"""

import argparse
import sys

from bench import chromium, codec, handshake, heard, lines, load, machine, pace, runs
from bench.echo import comparison as echo
from bench.echo import flood, setup, speech
from bench.echo.contestants import SERVERS
from bench.lab import command as lab
from bench.relay import comparison
from trioice import srtp

FIGURES = (
    "load",
    "relay",
    "runs",
    "echo",
    "speech",
    "handshake",
    "setup",
    "flood",
    "pace",
    "codec",
    "chromium",
    "heard",
    "lines",
)


def main() -> None:
    if sys.argv[1:2] == ["lab"]:
        sys.exit(lab.main(sys.argv[2:]))
    options = argparse.ArgumentParser(
        prog="python -m bench", description="Figures of trioice; a quiet machine gives better ones."
    )
    options.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; all if none is named")
    options.add_argument(
        "--calls",
        type=int,
        nargs="+",
        metavar="N",
        help="calls of load (50), of echo (50 200 500 1000), of speech (5 50), of setup and of flood (100); handshakes (200)",
    )
    options.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="length of a round of load (20), relay (1), echo, speech, flood or pace (5)",
    )
    options.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of all but flood (3)")
    options.add_argument(
        "--servers", nargs="+", choices=SERVERS, default=SERVERS, help="of echo, speech and setup (all)"
    )
    options.add_argument("--at-once", type=int, default=1, metavar="N", help="calls that setup makes at a time (1)")
    options.add_argument(
        "--floods",
        type=int,
        nargs="+",
        default=flood.RATES,
        metavar="N",
        help="junk packets/s, the most first; the rest are tried where that does not hold (100000 ... 5000)",
    )
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
    options.add_argument(
        "--nice",
        type=int,
        default=0,
        metavar="N",
        help="priority of this and all it starts, before others on its cores (0)",
    )
    options.add_argument(
        "--srtp",
        nargs="+",
        default=["AEAD_AES_128_GCM"],
        metavar="PROFILE",
        help="of load; echo, speech, setup and flood take the first",
    )
    arguments = options.parse_args()
    if unknown := set(arguments.figures) - set(FIGURES):
        options.error(f"no figure {', '.join(sorted(unknown))}: there are {', '.join(FIGURES)}")
    figures = arguments.figures or FIGURES
    if arguments.nice:
        machine.prioritize(arguments.nice)
    profile = srtp.profile_by_name(arguments.srtp[0])
    if profile is None:
        options.error(f"no SRTP profile {arguments.srtp[0]}")
    print(machine.describe())
    if "load" in figures:
        # Round by round, not one kind after the other: a slow minute of the machine touches all of them.
        kinds = [(profile, calls) for profile in arguments.srtp for calls in arguments.calls or [50]]
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
    if "runs" in figures:
        print(runs.report(), flush=True)
    if "echo" in figures:
        calls = arguments.calls or [50, 200, 500, 1000]
        echoes = echo.compare(arguments.servers, calls, arguments.rounds, arguments.seconds or 5.0, profile)
        print(echo.report(echoes), flush=True)
    if "speech" in figures:
        calls = arguments.calls or speech.CALLS
        spoken = speech.compare(arguments.servers, calls, arguments.rounds, arguments.seconds or 5.0, profile)
        print(speech.report(spoken), flush=True)
    if "handshake" in figures:
        count = (arguments.calls or [200])[0]
        print(handshake.report(handshake.measure(arguments.rounds, count), count), flush=True)
    if "setup" in figures:
        count = (arguments.calls or [100])[0]
        set_up, left_out = setup.measure(arguments.servers, count, arguments.at_once, arguments.rounds, profile)
        print(setup.report(set_up, arguments.at_once, profile, left_out), flush=True)
    if "flood" in figures:
        count = (arguments.calls or [100])[0]
        print(flood.report(flood.measure(arguments.floods, count, arguments.seconds or 5.0, profile)), flush=True)
    if "pace" in figures:
        seconds = arguments.seconds or 5.0
        paced = [pace.measure(streams, seconds) for streams in (50, 200, 1000)]
        paced += [pace.measure(streams, seconds, speak=True) for streams in (50, 200)]
        print(pace.report(paced), flush=True)
    if "codec" in figures:
        print(codec.report(codec.measure(arguments.rounds)), flush=True)
    if "chromium" in figures:
        print(chromium.report(chromium.measure(arguments.runs)), flush=True)
    if "heard" in figures:
        print(heard.report(heard.measure(arguments.rounds)), flush=True)
    if "lines" in figures:
        print(lines.report())


if __name__ == "__main__":
    main()
