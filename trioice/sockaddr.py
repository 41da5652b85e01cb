"""Addresses of UDP peers as ports spell them, and the local address that a datagram came to.

Ports make these tuples; cores keep and compare them, and read nothing in them:

    ("192.0.2.1", port)                   IPv4, on a socket for IPv4 and on one that serves both versions alike
    ("2001:db8::1", port, flow, scope)    IPv6; the scope is an interface's number, for link-local addresses, else it is 0
    (..., "203.0.113.10")                 either, where the socket is bound to all addresses of the machine: the one it came to

A client drops an answer that comes from another address than it asked (RFC 8445, 7.2.5.2.1), and a machine with several addresses
sends from the one that its routes prefer, unless it is told. The last field tells it, and so a reply to where a datagram came from
leaves from where it came to, with nobody between knowing. The kernel tells and is told in a control message: IP_PKTINFO (Linux, ip(7)),
IPV6_PKTINFO (RFC 3542, 6). Only the address is taken over, not the interface: which way it leaves is the routes' affair.
"""

import socket
import struct
import sys
from ipaddress import ip_address
from typing import Final, NamedTuple, cast

from trioice.sansio import Address

# Of Linux; Python 3.11 has no name for it.
IP_PKTINFO: Final = 8

_MAPPED: Final = bytes(10) + b"\xff\xff"  # IPv4 in IPv6's clothes (RFC 4291, 2.5.5.2)
_INFO4: Final = struct.Struct("=I4s4s")  # interface, local address, destination in the header
_INFO6: Final = struct.Struct("=16sI")  # destination in the header, interface


class Parts(NamedTuple):
    """An address, taken apart; `host` and `via` are in network order, mapped into IPv6 on a socket for IPv6."""

    host: bytes
    port: int
    flow: int
    scope: int
    via: bytes | None


class Addressing:
    """How the addresses of one socket are spelled.

    With `keep_destination`, those of a socket that is bound to all addresses of the machine have the local one in their last field,
    where the system tells it; the socket is set up for that.
    """

    def __init__(self, sock: socket.socket, *, keep_destination: bool = False) -> None:
        self.is_ipv6 = sock.family == socket.AF_INET6
        self.keeps_destination = (
            keep_destination
            and sys.platform == "linux"
            and ip_address(sock.getsockname()[0].partition("%")[0]).is_unspecified
        )
        if self.keeps_destination:
            self._ask(sock)

    def _ask(self, sock: socket.socket) -> None:
        if self.is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)  # for IPv4 as well, mapped
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)

    def make(self, host: bytes, port: int, flow: int, scope: int, via: bytes | None) -> Address:
        """Spell an address as cores see it."""
        last = () if via is None else (_text(via),)
        if len(host) == 4 or host.startswith(_MAPPED):
            return (_text(host), port, *last)
        return (_text(host), port, flow, scope, *last)

    def parts(self, address: Address) -> Parts | None:
        """Take an address apart; None for what is no address of the socket's family."""
        try:
            host, port, *rest = cast("tuple[str, int, int | str]", address)
            via = self._packed(cast("str", rest.pop())) if rest and isinstance(rest[-1], str) else None
            flow, scope = cast("list[int]", rest) or (0, 0)
            packed = self._packed(host)
        except (OSError, TypeError, ValueError):
            return None
        if not (0 <= port < 1 << 16 and 0 <= flow < 1 << 20 and 0 <= scope < 1 << 32):
            return None
        return Parts(packed, port, flow, scope, via)

    def _packed(self, host: str) -> bytes:
        if ":" not in host:
            octets = socket.inet_pton(socket.AF_INET, host)
            return _MAPPED + octets if self.is_ipv6 else octets
        if not self.is_ipv6:
            raise ValueError("an IPv6 address, and a socket for IPv4")
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])


def destination(address: Address) -> str | None:
    """Read from an address the local one that the datagram came to, where there is one."""
    last = cast("tuple[object, ...]", address)[-1]
    return last if isinstance(last, str) else None


def write_info(via: bytes) -> tuple[int, int, bytes]:
    """Write the control message, as level, type and content, that lets a datagram leave from `via`."""
    if len(via) == 4:
        return socket.IPPROTO_IP, IP_PKTINFO, _INFO4.pack(0, via, via)
    return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _INFO6.pack(via, 0)


def read_info(content: bytes) -> bytes:
    """Read the local address that a datagram came to out of the content of its control message."""
    if len(content) == _INFO6.size:
        return cast("bytes", _INFO6.unpack(content)[0])
    _, local, destination = _INFO4.unpack(content)
    # The first differs for a broadcast; and is not there for what was in the buffer before the socket was set up.
    return cast("bytes", local if any(local) else destination)


def _text(octets: bytes) -> str:
    if len(octets) == 4:
        return socket.inet_ntop(socket.AF_INET, octets)
    if octets.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, octets[12:])
    return socket.inet_ntop(socket.AF_INET6, octets)
