"""What the command line understands: the commands, their options, and what each says of itself."""

import argparse
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from trioice import __version__, srtp
from trioice.audio import RATES
from trioice.audio.jitter_buffer import MOST_PATIENCE
from trioice.programs import HostPort
from trioice.relay.token import CLUSTERS, ROTATIONS, SHARDS
from trioice.transceiver.remote import RECONNECT
from trioice.transceiver.server import CALLS, CALLS_PER_OWNER, PROFILES

KEYS_VARIABLE: Final = "TRIOICE_KEYS"
TOKEN_VARIABLE: Final = "TRIOICE_TOKEN"
AGENT_TOKEN_VARIABLE: Final = "TRIOICE_AGENT_TOKEN"

WORKERS: Final = 256
"""Workers at most: more than any machine has cores for."""

DESCRIPTION: Final = """\
The voice-AI media edge: WebRTC from a browser or phone in, plain audio to an agent out.

  trioice serve         everything on this machine, with a demo page: start here
  trioice relay         the stateless UDP forwarder on the public port
  trioice transceiver   the owner of the calls, with signaling over HTTP and WebSocket
  trioice key           make a key that relays and transceivers share
"""

SERVE: Final = "Run a relay, a transceiver and signaling on this machine, with a demo page."
RELAY: Final = "Forward UDP between clients and transceivers. It holds nothing that the next packet cannot rebuild."
TRANSCEIVER: Final = "Own calls: answer offers, end WebRTC, and give an agent the audio."
KEY: Final = "Make a key for the routing tokens, and print it as a line of a key file."

KEY_FILE: Final = f"""\
The key file holds one key a line, as `trioice key` makes them, and # comments. The first key seals, all of them open: so a new
key goes to the end of every relay's and transceiver's file, then to the front, and later the old one goes. The environment
variable {KEYS_VARIABLE} may hold the same text instead.
"""

DIRECTORY_FILE: Final = """\
The directory says where each transceiver is: one a line, with # comments.

  # cluster shard address
  1 7 192.0.2.5:7000
  1 8 [2001:db8::5]:7000

The file is read again when it changes; one that cannot be read changes nothing, and is warned of.
"""


def parser(commands: Mapping[str, Callable[[argparse.Namespace], None]]) -> argparse.ArgumentParser:
    """Make the parser; each of `commands` is called with its options."""
    root = argparse.ArgumentParser(
        prog="trioice", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root.add_argument("--version", action="version", version=f"trioice {__version__}")
    subs = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
        sub = subs.add_parser(
            name,
            help=description,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=commands[name])
        return sub

    _serve(command("serve", SERVE))
    _relay(command("relay", RELAY, f"{KEY_FILE}\n{DIRECTORY_FILE}"))
    _transceiver(command("transceiver", TRANSCEIVER, KEY_FILE))
    key = command("key", KEY, KEY_FILE)
    key.add_argument(
        "--rotation",
        type=_number(ROTATIONS),
        default=0,
        metavar="N",
        help="its number, 0 to 6; no other key in the file may have it (%(default)s)",
    )
    return root


def _serve(sub: argparse.ArgumentParser) -> None:
    _address(sub, "--http", "the page, signaling and metrics", "127.0.0.1:8080")
    _address(sub, "--relay", "the relay's public port", "127.0.0.1:3478")
    _address(sub, "--udp", "the transceiver's port", "127.0.0.1:7000")
    _calls(sub)
    _file(sub, "--trace", "for debugging: write all datagrams, and the keys to decrypt them, to this file (pcapng)")
    _log(sub)


def _relay(sub: argparse.ArgumentParser) -> None:
    _address(sub, "--public", "where clients send; [::] is all addresses, of IPv4 too", "127.0.0.1:3478")
    _address(sub, "--inner", "where transceivers answer; port 0 is any", "127.0.0.1:0")
    _address(sub, "--announce", "the address that clients know, behind 1:1 NAT (default: --public)")
    _key_file(sub)
    _file(sub, "--directory", "where the transceivers are, in the format below; re-read when it changes")
    sub.add_argument(
        "--route", action="append", metavar="C/S=ADDR:PORT", help="where shard S of cluster C is; may be repeated"
    )
    sub.add_argument(
        "--no-bundles",
        action="store_true",
        help="send each datagram alone, for transceivers that speak the Simple Proxy Protocol but are not trioice's",
    )
    _address(sub, "--metrics", "serve /metrics and /healthz there (default: nowhere)")
    _workers(
        sub, "so many processes, which share --public; the inner ports follow each other, or are any (%(default)s)"
    )
    _plain_sockets(sub)
    _log(sub)


def _transceiver(sub: argparse.ArgumentParser) -> None:
    _address(sub, "--udp", "the one port of all calls; [::] is all addresses, of IPv4 too", "127.0.0.1:7000")
    _addresses(sub, "--announce", "an address that clients are told, the preferred first (default: --udp)")
    _addresses(sub, "--relay", "a public address of the relay, which clients are told instead")
    sub.add_argument(
        "--trust-relay",
        type=_network,
        action="append",
        metavar="NETWORK",
        help="believe relays of this address or network; may be repeated (default: the hosts of --relay)",
    )
    sub.add_argument("--cluster", type=_number(CLUSTERS), default=0, metavar="N", help="its cluster (%(default)s)")
    sub.add_argument("--shard", type=_number(SHARDS), default=1, metavar="N", help="its shard (%(default)s)")
    _key_file(sub)
    _address(sub, "--http", "the page, signaling and metrics", "127.0.0.1:8080")
    _address(sub, "--websocket", "signaling over WebSocket (default: none)")
    _workers(
        sub,
        "so many processes, which share --http and --websocket; the shards and the ports of --udp (and --announce) "
        "follow each other (%(default)s)",
    )
    sub.add_argument(
        "--allow-origin", default="*", metavar="ORIGIN", help="whose web pages may call (default: anybody's)"
    )
    _file(sub, "--tls-certificate", "serve HTTPS and WSS with this certificate chain (PEM)")
    _file(sub, "--tls-key", "and this key (PEM)")
    _file(sub, "--token-file", f"callers must bring this bearer token (or {TOKEN_VARIABLE})")
    _file(sub, "--dtls-certificate", "an ECDSA P-256 certificate (PEM; default: made at start)")
    _file(sub, "--dtls-key", "and its key (PEM)")
    _calls(sub)
    _file(sub, "--trace", "for debugging: write all datagrams, and the keys to decrypt them, to this file (pcapng)")
    _log(sub)


def _calls(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--dtls-role",
        choices=("auto", "active", "passive"),
        default="auto",
        help="where the offer leaves the choice; auto takes what saves a round trip: active, or passive where the client can send "
        "DTLS within its checks (%(default)s)",
    )
    sub.add_argument(
        "--dtls-version",
        choices=("auto", "1.2", "1.3"),
        default="auto",
        help="auto takes 1.3 from clients that speak it, and 1.2 from the others (%(default)s)",
    )
    sub.add_argument(
        "--srtp",
        type=_profiles,
        default=PROFILES,
        metavar="LIST",
        help=f"SRTP profiles, the preferred first (default: {','.join(profile.name for profile in PROFILES)})",
    )
    sub.add_argument(
        "--calls",
        type=_number(1 << 20, 1),
        default=CALLS,
        metavar="N",
        help="calls at once of each worker (%(default)s)",
    )
    sub.add_argument(
        "--calls-per-address",
        type=_number(1 << 20, 1),
        default=CALLS_PER_OWNER,
        metavar="N",
        help="calls at once of one client address at each worker; behind a proxy all have the proxy's (%(default)s)",
    )
    _plain_sockets(sub)
    sub.add_argument(
        "--agent",
        metavar="AGENT",
        help="the agent: module:function, file.py:function, or the address of a WebSocket server, ws://… or wss://… (default: an echo)",
    )
    sub.add_argument(
        "--agent-rate", type=int, choices=RATES, help="samples a second that a WebSocket agent hears and speaks (24000)"
    )
    sub.add_argument(
        "--agent-patience",
        type=_patience,
        metavar="SECONDS",
        help="how long it waits for missing audio, 0 to 3; auto is as long as it is worth it (0.25)",
    )
    sub.add_argument(
        "--agent-reconnect",
        type=_seconds,
        metavar="SECONDS",
        help=f"how long a lost agent is looked for before the call is hung up ({RECONNECT:g})",
    )
    _file(sub, "--agent-token-file", f"it is brought this bearer token (or {AGENT_TOKEN_VARIABLE})")


def _workers(sub: argparse.ArgumentParser, text: str) -> None:
    sub.add_argument("--workers", type=_number(WORKERS + 1, 1), default=1, metavar="N", help=text)


def _plain_sockets(sub: argparse.ArgumentParser) -> None:
    text = "one datagram a system call (recvfrom, sendto) where bursts (recvmmsg, sendmmsg) make trouble"
    sub.add_argument("--plain-sockets", action="store_true", help=text)


def _key_file(sub: argparse.ArgumentParser) -> None:
    _file(sub, "--key-file", f"the keys of the routing tokens (or {KEYS_VARIABLE})")


def _log(sub: argparse.ArgumentParser) -> None:
    levels = ("debug", "info", "warning", "error")
    sub.add_argument("--log", choices=levels, default="info", help="what is worth a line (%(default)s)")


def _address(sub: argparse.ArgumentParser, name: str, text: str, default: str | None = None) -> None:
    shown = "" if default is None else " (%(default)s)"
    sub.add_argument(name, type=_host_port, default=default, metavar="ADDR:PORT", help=text + shown)


def _addresses(sub: argparse.ArgumentParser, name: str, text: str) -> None:
    text += "; may be repeated, for an IPv4 and an IPv6 address"
    sub.add_argument(name, type=_host_port, action="append", default=[], metavar="ADDR:PORT", help=text)


def _file(sub: argparse.ArgumentParser, name: str, text: str) -> None:
    sub.add_argument(name, type=Path, metavar="FILE", help=text)


def _host_port(text: str) -> HostPort:
    try:
        return HostPort.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address and port: {error}") from None


def _number(limit: int, least: int = 0) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) < limit:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {limit - 1}")
        return int(text)

    return number


def _seconds(text: str, most: float = 60.0) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {most:g}")
    return seconds


def _patience(text: str) -> float | Literal["auto"]:
    return "auto" if text == "auto" else _seconds(text, MOST_PATIENCE)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _profiles(text: str) -> Sequence[srtp.Profile]:
    profiles: list[srtp.Profile] = []
    for name in text.split(","):
        profile = srtp.profile_by_name(name.strip())
        if profile is None or profile in profiles:
            raise argparse.ArgumentTypeError(f"{name!r} is not a profile that is known, or stands there twice")
        profiles.append(profile)
    return tuple(profiles)
