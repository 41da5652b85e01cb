"""The command line: options in, settings out, and each mistake told in one line.

Secrets come from files or the environment, never from the command line, where every user of the machine could read them.
"""

import argparse
import importlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

import attrs
import trio

from trioice import dtls
from trioice.options import KEYS_VARIABLE, TOKEN_VARIABLE, parser
from trioice.programs import RelaySettings, TransceiverSettings, run_relay, run_serve, run_transceiver
from trioice.relay.directory import Directory
from trioice.relay.token import Route, TokenKey, TokenKeys

P = ParamSpec("P")
T = TypeVar("T")


class Usage(Exception):
    """What was asked for cannot be; the message is for the user, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0 after an orderly end, 1 when the machine refuses something, 2 for wrong options."""
    root = parser({"serve": _serve, "relay": _relay, "transceiver": _transceiver, "key": _key})
    options = root.parse_args(arguments)
    level = getattr(options, "log", "warning").upper()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=level, stream=sys.stderr)
    status = 0
    try:
        options.run(options)
    except* Usage as mistakes:
        status = 2
        _complain(options.command, mistakes)
    except* OSError as refusals:
        status = 1
        _complain(options.command, refusals)
    return status


def _complain(command: str, errors: BaseExceptionGroup[BaseException]) -> None:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    print(f"trioice {command}: {reason}", file=sys.stderr)


def _serve(options: argparse.Namespace) -> None:
    settings = TransceiverSettings(
        udp=options.udp,
        relay=options.relay,
        relays=["127.0.0.0/8", "::1/128"],
        route=Route(0, 1),
        keys=TokenKeys([TokenKey.generate(0, os.urandom)]),
        http=options.http,
        dtls_role=options.dtls_role,
        profiles=options.srtp,
        calls=options.calls,
        calls_per_address=options.calls_per_address,
        trace=options.trace,
    )
    trio.run(run_serve, _with_agent(settings, options.agent))


def _relay(options: argparse.Namespace) -> None:
    if options.route and options.directory:
        raise Usage("--route and --directory contradict each other: choose one")
    if not options.route and not options.directory:
        raise Usage("it knows no transceiver: say --directory or --route")
    if options.public.unspecified and not options.announce:
        raise Usage(f"clients cannot send to {options.public.host}: say with --announce where they do")
    keys = _keys(options)
    if keys is None:
        raise Usage(f"it needs the transceivers' key: --key-file, or {KEYS_VARIABLE}")
    directory = (
        _checked(Directory.load, options.directory) if options.directory else _checked(Directory.of, options.route)
    )
    if stranger := directory.unreachable_from(options.inner.host):
        raise Usage(f"--inner {options.inner} cannot send to {stranger}: they must be of one IP version")
    settings = RelaySettings(
        public=options.public,
        inner=options.inner,
        announce=options.announce,
        keys=keys,
        directory=options.directory or directory,  # a file is read again, and watched
        metrics=options.metrics,
    )
    trio.run(run_relay, settings)


def _transceiver(options: argparse.Namespace) -> None:
    keys = _keys(options)
    if options.relay and options.announce:
        raise Usage("--announce and --relay contradict each other: clients are told one address")
    if options.relay and keys is None:
        raise Usage(f"behind a relay it needs the relay's key: --key-file, or {KEYS_VARIABLE}")
    if options.relay and (options.relay.unspecified or options.relay.port == 0):
        raise Usage(f"clients cannot send to {options.relay}: --relay is the relay's public address")
    if options.trust_relay and not options.relay:
        raise Usage("--trust-relay without --relay: no client would come through it")
    if options.udp.unspecified and not options.announce and not options.relay:
        raise Usage(f"clients cannot send to {options.udp.host}: say with --announce or --relay where they do")
    for one, other in (("tls_certificate", "tls_key"), ("dtls_certificate", "dtls_key")):
        if (getattr(options, one) is None) != (getattr(options, other) is None):
            raise Usage(f"--{one} and --{other} go together".replace("_", "-"))
    settings = TransceiverSettings(
        udp=options.udp,
        announce=options.announce,
        relay=options.relay,
        relays=options.trust_relay or ([options.relay.host] if options.relay else []),
        route=Route(options.cluster, options.shard),
        keys=keys or TokenKeys([TokenKey.generate(0, os.urandom)]),
        http=options.http,
        websocket=options.websocket,
        tls=(options.tls_certificate, options.tls_key) if options.tls_key else None,
        token=_secret(options.token_file, TOKEN_VARIABLE),
        origin=options.allow_origin,
        certificate=_dtls_certificate(options),
        dtls_role=options.dtls_role,
        profiles=options.srtp,
        calls=options.calls,
        calls_per_address=options.calls_per_address,
        trace=options.trace,
    )
    trio.run(run_transceiver, _with_agent(settings, options.agent))


def _key(options: argparse.Namespace) -> None:
    print(TokenKey.generate(options.rotation, os.urandom).line())


def _keys(options: argparse.Namespace) -> TokenKeys | None:
    text = _secret(options.key_file, KEYS_VARIABLE)
    return None if text is None else _checked(TokenKeys.read, text)


def _secret(path: Path | None, variable: str) -> str | None:
    if path is None:
        text = os.environ.get(variable)
        if text is not None and not text.strip():
            raise Usage(f"{variable} is empty: unset it, or give it a value")
        return text
    if os.environ.get(variable):
        raise Usage(f"{path} and {variable} contradict each other: choose one")
    text = _checked(path.read_text).strip()
    if not text:
        raise Usage(f"{path} is empty")
    return text


def _dtls_certificate(options: argparse.Namespace) -> dtls.Certificate | None:
    if options.dtls_key is None:
        return None
    certificate, key = (_checked(path.read_bytes) for path in (options.dtls_certificate, options.dtls_key))
    return _checked(dtls.Certificate.load, certificate, key)


def _with_agent(settings: TransceiverSettings, where: str | None) -> TransceiverSettings:
    """Import the agent: a coroutine function is a task for each call, any other takes packets."""
    if where is None:
        return settings
    place, _, name = where.rpartition(":")
    try:
        agent = getattr(_module(place), name)
    except (ImportError, AttributeError, OSError, SyntaxError, ValueError) as error:
        raise Usage(f"no agent {where}: {error}") from None
    if inspect.iscoroutinefunction(agent):
        return attrs.evolve(settings, agent=agent)
    return attrs.evolve(settings, packet_agent=agent)


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(Path(place).stem, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _checked(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what reads the user's words; its complaint becomes ours."""
    try:
        return function(*args, **kwargs)
    except (OSError, ValueError) as error:
        raise Usage(str(error)) from None
