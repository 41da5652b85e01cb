"""One datagram a system call: what a port does with where the system has no recvmmsg and sendmmsg, or is not to use them.

It takes and sends the same datagrams, from and to the same addresses, as `trioice.mmsg` does; a test holds them equal.
"""

import socket
from typing import Final, TypeAlias, cast

from trioice.mmsg import BURST, DATAGRAM, NAMES
from trioice.sansio import Address, Outbox
from trioice.sockaddr import Addressing, read_info, write_info

ANCILLARY: Final = 64
"""Octets of room for a control message: that of IPv6 takes 40."""

_Controls: TypeAlias = list[tuple[int, int, bytes]]


class OneByOne:
    """The calls for one socket."""

    def __init__(self, sock: socket.socket, addressing: Addressing | None = None) -> None:
        self._socket = sock
        self._addressing = addressing or Addressing(sock)
        self._addresses: dict[object, Address] = {}
        self._targets: dict[Address, tuple[object, _Controls] | None] = {}

    def receive(self) -> list[tuple[bytes, Address]]:
        """Take what is there, at most `BURST` datagrams; never waits."""
        burst: list[tuple[bytes, Address]] = []
        try:
            while len(burst) < BURST:
                burst.append(self._take())
        except OSError:
            # None is there; or an ICMP error that an earlier datagram of ours earned, and that concerns no one here.
            pass
        return burst

    def send(self, outbox: Outbox) -> int:
        """Send all of `outbox`, which stays as it is; how many datagrams the system did not take."""
        unsent = 0
        for datagram, to in outbox:
            target = self._target(to)
            try:
                if target is None:
                    unsent += 1
                elif target[1]:
                    self._socket.sendmsg([datagram], target[1], 0, cast("tuple[str, int]", target[0]))
                else:
                    self._socket.sendto(datagram, cast("tuple[str, int]", target[0]))
            except OSError:  # a full buffer, or an address that cannot be reached: lost, as on any network
                unsent += 1
        return unsent

    def _take(self) -> tuple[bytes, Address]:
        if self._addressing.keeps_destination:
            datagram, controls, _, name = self._socket.recvmsg(DATAGRAM, ANCILLARY)
            content = controls[0][2] if controls else None
        else:
            datagram, name = self._socket.recvfrom(DATAGRAM)
            content = None
            if not self._addressing.is_ipv6:
                return datagram, name
        address = self._addresses.get((name, content))
        if address is None:
            address = self._address(name, content)
        return datagram, address

    def _address(self, name: tuple[str, int, int, int], content: bytes | None) -> Address:
        """Spell an address as cores see it, and remember it."""
        host, port, *rest = name
        flow, scope = rest or (0, 0)
        via = None if content is None else read_info(content)
        family = socket.AF_INET6 if self._addressing.is_ipv6 else socket.AF_INET
        address = self._addressing.make(socket.inet_pton(family, host.partition("%")[0]), port, flow, scope, via)
        if len(self._addresses) >= NAMES:
            self._addresses.clear()
        self._addresses[name, content] = address
        return address

    def _target(self, address: Address) -> tuple[object, _Controls] | None:
        """Spell an address as Python's sockets do, and the control message; None for what is no address of this socket's."""
        try:
            return self._targets[address]
        except KeyError:
            pass
        parts = self._addressing.parts(address)
        target: tuple[object, _Controls] | None = None
        if parts is not None:
            controls = [write_info(parts.via)] if parts.via is not None and self._addressing.keeps_destination else []
            if self._addressing.is_ipv6:
                target = (socket.inet_ntop(socket.AF_INET6, parts.host), parts.port, parts.flow, parts.scope), controls
            else:
                target = (socket.inet_ntop(socket.AF_INET, parts.host), parts.port), controls
        if len(self._targets) >= NAMES:
            self._targets.clear()
        self._targets[address] = target
        return target
