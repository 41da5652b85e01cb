"""A port that writes down what passes through it: a capture with the keys that open it, for Wireshark (draft-ietf-opsawg-pcapng).

A port knows no IP and UDP headers, so they are made up here. Every call looks as its client sees it: from the client's own address to
the one that it was told, with a relay between them or without.

A reader of the file meets the keys of a call in time only if they stand before the first record that they open. The machine has them
once it has taken a burst, not before; so what came in is written when the machine has taken it, with the time at which it came.
"""

import logging
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import BinaryIO, Final

import trio

from trioice.endpoint import Endpoint
from trioice.ports import Burst, Port, transport_address
from trioice.sansio import Address, Outbox

logger = logging.getLogger(__name__)

INBOUND: Final = 1
OUTBOUND: Final = 2


class TracingPort:
    """A port around `port` that writes all its datagrams, in order, to `file`.

    `address` is the one that clients are told, `epoch` is wall time minus monotonic time in seconds, and `keys` gives the lines of an
    NSS key log (`key_log` makes them); it is asked whenever there is a DTLS record to write. What a socket refuses to send is in the
    capture nevertheless. A file that cannot be written ends the capture, not the calls. Writing is not asynchronous: for debugging.
    """

    def __init__(
        self,
        port: Port,
        file: BinaryIO,
        *,
        address: tuple[str, int],
        epoch: float,
        keys: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._port = port
        self._file: BinaryIO | None = file
        self._address = address
        self._epoch = epoch
        self._keys = keys
        self._known: set[str] = set()
        self._received: list[tuple[float, bytes, Address]] = []
        self._write(section_header() + interface())

    async def readable(self) -> None:
        """Wait until a datagram is there."""
        self._settle(())
        await self._port.readable()

    def receive(self) -> Burst:
        """Take what is there."""
        self._settle(())
        burst = self._port.receive()
        now = trio.current_time()
        self._received += [(now, datagram, source) for datagram, source in burst]
        return burst

    def send(self, outbox: Outbox) -> None:
        """Send all of `outbox`."""
        self._settle(outbox)
        self._port.send(outbox)

    def _settle(self, outbox: Iterable[tuple[bytes, Address]]) -> None:
        """Write what came in since the last time, what now goes out, and before both the keys that are new."""
        received, self._received = self._received, []
        passing = [(when, datagram, source, INBOUND) for when, datagram, source in received]
        now = trio.current_time()
        passing += [(now, datagram, to, OUTBOUND) for datagram, to in outbox]
        if not passing or self._file is None:
            return
        blocks = []
        if any(datagram and 20 <= datagram[0] <= 63 for _, datagram, _, _ in passing):
            keys = set(self._keys())
            if keys - self._known:
                blocks.append(secrets(sorted(keys - self._known)))
            self._known = keys  # those of calls that have ended are forgotten here, too
        for when, datagram, address, direction in passing:
            ends = (transport_address(address), self._address)
            source, to = ends if direction == INBOUND else reversed(ends)
            blocks.append(packet(self._epoch + when, udp(datagram, source, to), direction))
        self._write(b"".join(blocks))

    def _write(self, blocks: bytes) -> None:
        try:
            if self._file is not None:
                self._file.write(blocks)
                self._file.flush()
        except OSError as error:
            logger.error("the capture ends here: %s", error)
            self._file = None


def key_log(endpoint: Endpoint) -> list[str]:
    """Tell the keys of all live sessions that have agreed on some, as lines of an NSS key log."""
    machines = [session.dtls for session in endpoint.sessions]
    return [line for machine in machines if machine is not None for line in machine.key_log_lines()]


# pcapng: each block is its type, its length, its body in words of four octets, and its length again, all in the byte order of the
# section header's magic number.

_WORDS: Final = Struct("<II")
_SECTION: Final = Struct("<IHHq")
_INTERFACE: Final = Struct("<HHI")
_PACKET: Final = Struct("<5I")
_FLAGS: Final = Struct("<HHIHH")

LINKTYPE_RAW: Final = 101
"""Packets begin with their IP header, of either version."""

TLS_KEY_LOG: Final = 0x544C534B


def section_header() -> bytes:
    """Begin a capture whose length is not known yet."""
    return _block(0x0A0D0D0A, _SECTION.pack(0x1A2B3C4D, 1, 0, -1))


def interface() -> bytes:
    """Describe the one interface: packets are whole, times are in microseconds."""
    return _block(1, _INTERFACE.pack(LINKTYPE_RAW, 0, 0))


def packet(when: float, octets: bytes, direction: int) -> bytes:
    """Write one IP packet; `when` is in seconds since 1970."""
    high, low = divmod(round(when * 1e6), 1 << 32)
    # One option, epb_flags (2), holds the direction; then opt_endofopt.
    flags = _FLAGS.pack(2, 4, direction, 0, 0)
    return _block(6, _PACKET.pack(0, high, low, len(octets), len(octets)) + _padded(octets) + flags)


def secrets(lines: Iterable[str]) -> bytes:
    """Write a Decryption Secrets Block of lines of an NSS key log."""
    log = "".join(f"{line}\n" for line in lines).encode()
    return _block(10, _WORDS.pack(TLS_KEY_LOG, len(log)) + _padded(log))


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return _WORDS.pack(kind, length) + body + length.to_bytes(4, "little")


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)


# The headers that a datagram had, or would have had: IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768).

_IPV4: Final = Struct("!BBHHHBBH4s4s")
_IPV6: Final = Struct("!IHBB16s16s")
_UDP: Final = Struct("!4H")

UDP: Final = 17
HOPS: Final = 64
DO_NOT_FRAGMENT: Final = 0x4000


def udp(datagram: bytes, source: tuple[str, int], to: tuple[str, int]) -> bytes:
    """Put IP and UDP headers in front of a datagram. Ends of two versions, as a relay may join them, are both written as IPv6."""
    ends = [ip_address(host) for host, _ in (source, to)]
    if ends[0].version != ends[1].version:
        ends = [_mapped(end) for end in ends]
    addresses = [end.packed for end in ends]
    length = _UDP.size + len(datagram)
    header = _UDP.pack(source[1], to[1], length, 0)
    pseudo = b"".join(addresses) + _UDP.pack(0, UDP, 0, length)
    header = _UDP.pack(source[1], to[1], length, _checksum(pseudo + header + datagram))
    if ends[0].version == 6:
        return _IPV6.pack(6 << 28, length, UDP, HOPS, *addresses) + header + datagram
    fields = (0x45, 0, _IPV4.size + length, 0, DO_NOT_FRAGMENT, HOPS, UDP)
    checksum = _checksum(_IPV4.pack(*fields, 0, *addresses))
    return _IPV4.pack(*fields, checksum, *addresses) + header + datagram


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")


def _checksum(octets: bytes) -> int:
    """Sum words in ones' complement, which is modulo 2^16 - 1 (RFC 1071); never 0, which UDP keeps for "none"."""
    return 0xFFFF - int.from_bytes(octets + bytes(len(octets) % 2), "big") % 0xFFFF
