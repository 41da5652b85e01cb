"""What stands in front of a datagram between relay and transceiver: the header of the Simple Proxy Protocol for UDP.

    magic 56 EC (2)  |  client address (16)  |  proxy address (16)  |  client port (2)  |  proxy port (2)

IPv4 addresses are written as ``::ffff:a.b.c.d``. The first octet, 86, is outside every range of RFC 7983, so a transceiver tells a
relayed datagram from a direct one by its first octets. The protocol was published by Cloudflare for Spectrum, and is spoken by others.

To send a datagram costs several times what it costs to receive one, so what goes to one place at one time goes in a *bundle*, which
is ours alone:

    magic 56 ED (2)  |  count (2)  |  length of each payload (2 each)  |  header of each (38 each)  |  the payloads

Headers and lengths stand together, so that one look reads them all. There is no bundle in a bundle, and none of nothing.
A relay may bundle what goes to a transceiver of ours; a transceiver bundles only for a relay that has sent it a bundle.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from itertools import accumulate, pairwise
from struct import Struct
from typing import Final

MAGIC: Final = b"\x56\xec"
HEADER_LENGTH: Final = 38

BUNDLE_MAGIC: Final = b"\x56\xed"
BUNDLE_LENGTH: Final = 1400
"""Octets of a bundle at most: with UDP's and IPv6's 48 they fit an Ethernet's 1,500, with 52 left for a tunnel."""

PART_LENGTH: Final = 2 + HEADER_LENGTH
"""Octets that a bundle has more for each datagram in it."""

_HEADER: Final = Struct("!2s16s16sHH")
_START: Final = 4  # octets of a bundle before the lengths


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
    return _host(client), port


def proxy_address(header: bytes) -> tuple[str, int]:
    """Read the host and port that the client sent to out of a header that is whole."""
    _, _, proxy, _, port = _HEADER.unpack_from(header)
    return _host(proxy), port


def join(parts: Sequence[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Write headers and payloads, in their order, as few datagrams: bundles, and what is alone without one."""
    lengths = [len(payload) for _, payload in parts]
    for start, end in shares(lengths):
        headers, payloads = zip(*parts[start:end], strict=True)
        if end - start > 1:
            yield write_front(lengths[start:end]) + b"".join((*headers, *payloads))
        else:
            yield headers[0] + payloads[0]


def split(bundle: bytes) -> list[tuple[bytes, bytes]] | None:
    """Read the headers and payloads of a bundle; None for octets that are no bundle from end to end."""
    front = read_front(bundle)
    if front is None:
        return None
    lengths, headers = front
    ends = accumulate(lengths, initial=front_length(len(lengths)))
    return [(header, bundle[start:end]) for header, (start, end) in zip(headers, pairwise(ends), strict=True)]


def shares(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Divide a row of payloads of these lengths into bundles as long as may be: the first of each, and the one behind its last."""
    start = 0
    room = BUNDLE_LENGTH - _START
    for index, length in enumerate(lengths):
        room -= length + PART_LENGTH
        if room < 0 and index > start:
            yield start, index
            start = index
            room = BUNDLE_LENGTH - _START - length - PART_LENGTH
    if lengths:
        yield start, len(lengths)


def front_length(count: int) -> int:
    """Octets of a bundle of `count` payloads before the first of them."""
    return _START + count * PART_LENGTH


def write_front(lengths: Sequence[int]) -> bytes:
    """Write a bundle's octets before the headers."""
    return _lengths(len(lengths)).pack(BUNDLE_MAGIC, len(lengths), *lengths)


def read_front(bundle: bytes) -> tuple[Sequence[int], Sequence[bytes]] | None:
    """Read the lengths of the payloads and the headers; None for octets that are no bundle from end to end."""
    count = int.from_bytes(bundle[2:_START], "big")
    length = _START + count * PART_LENGTH
    if bundle[:2] != BUNDLE_MAGIC or not count or len(bundle) < length:
        return None
    fields = _front(count).unpack_from(bundle)
    lengths = fields[:count]
    at = _START + 2 * count
    if (
        length + sum(lengths) != len(bundle)
        or bundle[at:length:HEADER_LENGTH] != MAGIC[:1] * count
        or bundle[at + 1 : length : HEADER_LENGTH] != MAGIC[1:] * count
    ):
        return None
    return lengths, fields[count:]


# A datagram has 64 KiB at most, so that there are no more layouts than 1,638; ours have 34 payloads at most.


@lru_cache(maxsize=64)
def _lengths(count: int) -> Struct:
    return Struct(f"!2sH{count}H")


@lru_cache(maxsize=64)
def _front(count: int) -> Struct:
    return Struct(f"!{_START}x{count}H" + f"{HEADER_LENGTH}s" * count)


def _host(octets: bytes) -> str:
    host = IPv6Address(octets)
    return str(host.ipv4_mapped or host)


def _mapped(host: str) -> bytes:
    address = ip_address(host)
    return address.packed if address.version == 6 else b"\x00" * 10 + b"\xff\xff" + address.packed
