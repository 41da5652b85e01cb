"""The directory: which transceiver has which shard. It is held in memory; here it comes from the command line or from a file.

An *entry* is, on a command line, ``cluster/shard=host:port``, and in a file, one a line:

    # cluster shard host:port
    1 7 192.0.2.5:7000
    1 8 [2001:db8::5]:7000

Hosts are IP addresses, IPv6 in brackets; names are not looked up. Several shards may have one address. To change a file so that
nobody reads half of it, write a new one and rename it over the old.
"""

import logging
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self, cast

import trio

from trioice.relay.token import CLUSTERS, SHARDS, Route
from trioice.sansio import Address

INTERVAL: Final = 1.0
"""Seconds between two looks at a directory file: a shard that moved is found in about the time of a client's next check."""

logger = logging.getLogger(__name__)


class Directory:
    """Shards and the addresses of their transceivers, as `trioice.relay.core.RelayCore` asks for them."""

    def __init__(self) -> None:
        self._entries: dict[Route, Address] = {}
        self._addresses: frozenset[Address] = frozenset()
        self.version = 0
        """Another number after each `replace`, for those who keep what they learned here."""

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Read the entries of a command line, ``cluster/shard=host:port``; raises ValueError, which shows the entry."""
        directory = cls()
        for entry in entries:
            route, _, address = entry.partition("=")
            cluster, _, shard = route.partition("/")
            try:
                directory._add(cluster, shard, address)
            except ValueError as error:
                raise ValueError(f"{entry!r} is no cluster/shard=host:port: {error}") from None
        return directory

    @classmethod
    def read(cls, text: str) -> Self:
        """Read the text of a directory file; raises ValueError, which names the line."""
        directory = cls()
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                if len(words) != 3:
                    raise ValueError(f"three words are wanted, not {len(words)}")
                directory._add(*words)
            except ValueError as error:
                raise ValueError(f"line {number} is no 'cluster shard host:port': {error}") from None
        return directory

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a directory file; raises ValueError, which names file and line, or OSError."""
        try:
            return cls.read(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def unreachable_from(self, host: str) -> str | None:
        """An address of the other IP version than `host`, to which a socket bound there cannot send; None if there is none.

        One that is bound to ``::`` sends to both.
        """
        if host == "::":
            return None
        hosts = [str(cast("tuple[object, ...]", address)[0]) for address in self._addresses]
        return next((other for other in hosts if (":" in other) != (":" in host)), None)

    def replace(self, other: "Directory") -> None:
        """Have the entries of `other` in place of all that there were."""
        self._entries, self._addresses = other._entries, other._addresses
        self.version += 1

    def find(self, route: Route) -> Address | None:
        """Give the address of the transceiver that owns the shard."""
        return self._entries.get(route)

    def __contains__(self, address: Address) -> bool:
        return address in self._addresses

    def __len__(self) -> int:
        return len(self._entries)

    def _add(self, cluster: str, shard: str, address: str) -> None:
        route = Route(_number(cluster, "cluster", CLUSTERS), _number(shard, "shard", SHARDS))
        if route in self._entries:
            raise ValueError(f"shard {route.cluster}/{route.shard} stands there twice")
        self._entries[route] = _address(address)
        self._addresses |= {self._entries[route]}


async def watch(path: Path, directory: Directory, interval: float = INTERVAL) -> None:
    """Keep `directory` as the file says, for ever. A file that cannot be read leaves it as it is, and is logged once."""
    file = DirectoryFile(path, directory)
    while True:
        await file.look()
        await trio.sleep(interval)


class DirectoryFile:
    """A file, and the directory that follows it."""

    def __init__(self, path: Path, directory: Directory) -> None:
        self._path = path
        self._directory = directory
        self._seen: object = None

    async def look(self) -> None:
        """Read the file if it is another than at the last look. In a thread: it may lie on a network's disk."""
        mark = await trio.to_thread.run_sync(self._mark)
        if mark == self._seen:
            return
        self._seen = mark
        try:
            self._directory.replace(await trio.to_thread.run_sync(Directory.load, self._path))
        except (OSError, ValueError) as error:
            logger.warning("the directory stays as it was: %s", error)
        else:
            logger.info("the directory %s has %d shards", self._path, len(self._directory))

    def _mark(self) -> object:
        """What changes when the file does, as far as can be told without reading it."""
        try:
            status = self._path.stat()
        except OSError as error:
            return error.errno
        return status.st_ino, status.st_size, status.st_mtime_ns


def _address(text: str) -> Address:
    """Read ``host:port``, and make of it what a Python socket of the host's family gives for that address."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    address = ip_address(host[1:-1] if bracketed else host)
    if (address.version == 6) != bracketed:
        raise ValueError("IPv6 addresses, and no others, stand in brackets")
    plain = str(address), _number(port, "port", 1 << 16)
    return plain if address.version == 4 else (*plain, 0, 0)


def _number(text: str, name: str, limit: int) -> int:
    # No more digits than the largest has: `int` refuses thousands of them with a message of its own.
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < limit):
        raise ValueError(f"a {name} is a number from 0 to {limit - 1}, not {text!r}")
    return int(text)
