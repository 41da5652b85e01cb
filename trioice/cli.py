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
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

import attrs
import trio

from trioice import dtls
from trioice.audio.library import CodecMissing, opus
from trioice.options import AGENT_TOKEN_VARIABLE, KEYS_VARIABLE, TOKEN_VARIABLE, parser
from trioice.programs import RelaySettings, TransceiverSettings, run_relay, run_serve, run_transceiver
from trioice.relay.directory import Directory
from trioice.relay.token import SHARDS, Route, TokenKey, TokenKeys
from trioice.supervised import supervise_relay, supervise_transceiver
from trioice.transceiver.remote import RemoteAgent
from trioice.workers import NotStarted, Worker

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


class Usage(Exception):
    """What was asked for cannot be; the message is for the user, in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status: 0 after an orderly end, 1 when the machine refuses something, 2 for wrong options."""
    arguments = sys.argv[1:] if arguments is None else arguments
    root = parser({"serve": _serve, "relay": _relay, "transceiver": _transceiver, "key": _key})
    options = root.parse_args(arguments)
    options.worker = Worker.take(os.environ)
    options.again = [*_python(), "-m", "trioice", *arguments]
    level = getattr(options, "log", "warning").upper()
    who = "" if options.worker is None else f"worker {options.worker.number}: "
    logging.basicConfig(format=f"%(asctime)s %(levelname)s {who}%(message)s", level=level, stream=sys.stderr)
    status = 0
    try:
        options.run(options)
    except* Usage as mistakes:
        status = 2
        _complain(options.command, mistakes)
    except* OSError as refusals:
        status = 1
        _complain(options.command, refusals)
    except* NotStarted as failures:
        status = 1
        if (first := _first(failures)).status > 0:
            status = first.status  # it has told why
        else:
            _complain(options.command, failures)
    return status


def _python() -> list[str]:
    """How a worker is to be run: as we are, it looks for modules where it was started only if we do."""
    return [sys.executable] if sys.path[0] in ("", os.getcwd()) else [sys.executable, "-P"]


def _complain(command: str, errors: BaseExceptionGroup[BaseException]) -> None:
    error = _first(errors)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    print(f"trioice {command}: {reason}", file=sys.stderr)


def _first(errors: BaseExceptionGroup[E]) -> E:
    error: BaseExceptionGroup[E] | E = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _serve(options: argparse.Namespace) -> None:
    for name, address in (("relay", options.relay), ("udp", options.udp)):
        if address.unspecified:
            raise Usage(
                f"--{name} {address}: all on one machine is for one address; relay and transceiver apart take others"
            )
    settings = TransceiverSettings(
        udp=options.udp,
        relay=[options.relay],
        relays=["127.0.0.0/8", "::1/128"],
        route=Route(0, 1),
        keys=TokenKeys([TokenKey.generate(0, os.urandom)]),
        http=options.http,
        dtls_role=options.dtls_role,
        dtls_versions=_dtls_versions(options.dtls_version),
        profiles=options.srtp,
        calls=options.calls,
        calls_per_address=options.calls_per_address,
        trace=options.trace,
        plain=options.plain_sockets,
    )
    options.agent = options.agent or _demo()
    token = _agent_token(options)
    _forget_secrets()
    trio.run(run_serve, _with_agent(settings, options, token))


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
    _room_for_workers(options, "inner")
    settings = RelaySettings(
        public=options.public,
        inner=options.inner,
        announce=options.announce,
        keys=keys,
        directory=options.directory or directory,  # a file is read again, and watched
        metrics=options.metrics,
        bundles=not options.no_bundles,
        plain=options.plain_sockets,
        worker=options.worker,
    )
    if options.workers > 1 and options.worker is None:
        trio.run(supervise_relay, settings, options.workers, options.again)
    else:
        _forget_secrets()
        trio.run(run_relay, settings)


def _transceiver(options: argparse.Namespace) -> None:
    keys = _keys(options)
    if options.relay and options.announce:
        raise Usage("--announce and --relay contradict each other: clients are told the one or the other")
    if options.relay and keys is None:
        raise Usage(f"behind a relay it needs the relay's key: --key-file, or {KEYS_VARIABLE}")
    for relay in options.relay:
        if relay.unspecified or relay.port == 0:
            raise Usage(f"clients cannot send to {relay}: --relay is the relay's public address")
    for announce in options.announce:
        if announce.unspecified:
            raise Usage(f"clients cannot send to {announce.host}: --announce is an address that they can reach")
    for name, addresses in (("--relay", options.relay), ("--announce", options.announce)):
        if len(set(addresses)) < len(addresses):
            raise Usage(f"{name} names an address twice")
    if options.trust_relay and not options.relay:
        raise Usage("--trust-relay without --relay: no client would come through it")
    if options.udp.unspecified and not options.announce and not options.relay:
        raise Usage(f"clients cannot send to {options.udp.host}: say with --announce or --relay where they do")
    for one, other in (("tls_certificate", "tls_key"), ("dtls_certificate", "dtls_key")):
        if (getattr(options, one) is None) != (getattr(options, other) is None):
            raise Usage(f"--{one} and --{other} go together".replace("_", "-"))
    if options.trace and options.workers > 1:
        raise Usage("--trace writes one process's datagrams: it wants --workers 1")
    if options.shard + options.workers > SHARDS:
        raise Usage(f"--shard {options.shard} leaves no shards for {options.workers} workers")
    _room_for_workers(options, "udp", "announce")
    made = TokenKey.generate(0, os.urandom)
    settings = TransceiverSettings(
        udp=options.udp,
        announce=options.announce,
        relay=options.relay,
        relays=options.trust_relay or [relay.host for relay in options.relay],
        route=Route(options.cluster, options.shard),
        keys=keys or TokenKeys([made]),
        http=options.http,
        websocket=options.websocket,
        tls=(options.tls_certificate, options.tls_key) if options.tls_key else None,
        token=_secret(options.token_file, TOKEN_VARIABLE),
        origin=options.allow_origin,
        certificate=_dtls_certificate(options),
        dtls_role=options.dtls_role,
        dtls_versions=_dtls_versions(options.dtls_version),
        profiles=options.srtp,
        calls=options.calls,
        calls_per_address=options.calls_per_address,
        trace=options.trace,
        plain=options.plain_sockets,
    )
    if options.workers > 1 and options.worker is None:
        environment = {} if keys else {KEYS_VARIABLE: made.line()}  # the workers could not make the same
        trio.run(supervise_transceiver, settings, options.workers, options.again, environment)
    else:
        settings = settings if options.worker is None else settings.of(options.worker)
        token = _agent_token(options)
        _forget_secrets()
        trio.run(run_transceiver, _with_agent(settings, options, token))


def _forget_secrets() -> None:
    """Take them out of the environment, which whatever an agent starts would inherit."""
    for variable in (KEYS_VARIABLE, TOKEN_VARIABLE, AGENT_TOKEN_VARIABLE):
        os.environ.pop(variable, None)


def _room_for_workers(options: argparse.Namespace, *names: str) -> None:
    for name in names:
        given = getattr(options, name)
        for address in given if isinstance(given, list) else [given]:
            if address.plus(options.workers - 1).port > 65535:
                raise Usage(f"--{name} {address} leaves no ports for {options.workers} workers")


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


def _dtls_versions(wanted: str) -> Sequence[int]:
    return [number for number, name in dtls.VERSION_NAMES.items() if wanted in ("auto", name)]


def _dtls_certificate(options: argparse.Namespace) -> dtls.Certificate | None:
    if options.dtls_key is None:
        return None
    certificate, key = (_checked(path.read_bytes) for path in (options.dtls_certificate, options.dtls_key))
    return _checked(dtls.Certificate.load, certificate, key)


def _demo() -> str:
    """Name the agent of the demo: it hears and speaks audio, where there is a codec for it."""
    try:
        opus()
    except CodecMissing:
        return "trioice.transceiver.echo:echo"
    return "trioice.transceiver.echo:repeat"


def _agent_token(options: argparse.Namespace) -> str | None:
    return _secret(options.agent_token_file, AGENT_TOKEN_VARIABLE)


def _with_agent(settings: TransceiverSettings, options: argparse.Namespace, token: str | None) -> TransceiverSettings:
    """Find the agent: at an address, or a function to import. A coroutine function is a task for each call, any other takes packets."""
    where: str | None = options.agent
    given = {name: getattr(options, f"agent_{name}") for name in ("rate", "patience", "reconnect")}
    given = {name: value for name, value in given.items() if value is not None}
    if where is not None and where.startswith(("ws://", "wss://")):
        agent = _checked(partial(RemoteAgent, **given, token=token), where)
        try:
            opus()
        except CodecMissing as error:
            raise Usage(str(error)) from None
        return attrs.evolve(settings, agent=agent)
    if given or options.agent_token_file:
        raise Usage(
            "--agent-rate, --agent-patience, --agent-reconnect and --agent-token-file are for a WebSocket agent"
        )
    if where is None:
        return settings
    place, _, name = where.rpartition(":")
    try:
        function = getattr(_module(place), name)
    except (ImportError, AttributeError, OSError, SyntaxError, ValueError) as error:
        raise Usage(f"no agent {where}: {error}") from None
    if inspect.iscoroutinefunction(function):
        return attrs.evolve(settings, agent=function)
    return attrs.evolve(settings, packet_agent=function)


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
