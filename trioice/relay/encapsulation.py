"""What stands in front of a datagram between relay and transceiver: the header of the Simple Proxy Protocol for UDP.

    magic 56 EC (2)  |  client address (16)  |  proxy address (16)  |  client port (2)  |  proxy port (2)

IPv4 addresses are written as ``::ffff:a.b.c.d``. The first octet, 86, is outside every range of RFC 7983, so a transceiver tells a
relayed datagram from a direct one by its first octets. The protocol was published by Cloudflare for Spectrum, and is spoken by others.
"""

from ipaddress import IPv6Address, ip_address
from struct import Struct
from typing import Final

MAGIC: Final = b"\x56\xec"
HEADER_LENGTH: Final = 38

_HEADER: Final = Struct("!2s16s16sHH")


def header(client: tuple[str, int], proxy: tuple[str, int]) -> bytes:
    """Write the header for the datagrams of `client` (host and port), which came in at the address `proxy`."""
    return _HEADER.pack(MAGIC, _mapped(client[0]), _mapped(proxy[0]), client[1], proxy[1])


def is_encapsulated(datagram: bytes) -> bool:
    """Tell whether a header stands in front: whole, with something behind it or not."""
    return datagram[:2] == MAGIC and len(datagram) >= HEADER_LENGTH


def client_address(header: bytes) -> tuple[str, int] | None:
    """Read the client's host and port out of a header, or out of a datagram that begins with one; None where there is none."""
    if not is_encapsulated(header):
        return None
    _, client, _, port, _ = _HEADER.unpack_from(header)
    host = IPv6Address(client)
    return str(host.ipv4_mapped or host), port


def _mapped(host: str) -> bytes:
    address = ip_address(host)
    return address.packed if address.version == 6 else b"\x00" * 10 + b"\xff\xff" + address.packed
