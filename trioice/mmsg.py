"""Bursts of datagrams by one system call each way: recvmmsg(2) and sendmmsg(2) through ctypes, with all memory made once.

The kernel reads and writes an array of ``struct mmsghdr``. Here it is an array of 64-bit words, eight for each message, in which
only the words that change are written:

    0 name *   1 name length   2 iovec *   3 iovecs   4 control *   5 control length   6 flags   7 octets received

That is the layout of 64-bit little-endian Linux, and `is_available` says whether this is one; elsewhere a port does with one datagram
a call (`trioice.onebyone`).

Beside each message lies a *record* with what the kernel tells of it: the name, which is the socket address of the other end, and on a
socket that keeps destinations (`trioice.sockaddr`) the control message with the local address. `Layout` says where in it:

    IPv4    name (16)
    IPv6    name (28)
    IPv4, with the local address    length, level, type, interface (20)  |  local address (4)  header's (4)  zero (4)  |  name (16)
    IPv6, with the local address    name (28)  zero (4)  |  length, level, type (16)  local address (16)  |  interface (4)  zero (4)

What lies between the bars, or all where there is none or only one, is the *key*: it is the same for each datagram from one address to
one of ours, whichever interface it came through, so that one slice and one look-up find a flow. All octets of a key are written by the
kernel with every datagram, or by nobody ever, and zero.
"""

import ctypes
import errno
import socket
import struct
import sys
from array import array
from functools import lru_cache
from typing import Final, NamedTuple, cast

from trioice.sansio import Address, Outbox
from trioice.sockaddr import Addressing, read_info, write_info

BURST: Final = 64
"""Datagrams of one call: more gain little, and the work between two checkpoints stays under a millisecond."""

DATAGRAM: Final = 2048
"""Octets of a datagram: above any path's 1,500, so that what is longer is cut and fails its authentication."""

NAMES: Final = 1 << 16
"""Socket addresses remembered in both spellings, ours and the kernel's. A flood from more sources than that makes it forget all."""

NAME: Final = 72
"""Octets from one record to the next: the longest, of IPv6 with the local address."""

WORDS: Final = 8
_IPV4: Final = struct.Struct("=H2s4s8x")  # family, port, address
_IPV6: Final = struct.Struct("=H2sI16sI")  # family, port, flow information, address, scope
_CONTROL: Final = struct.Struct("=Qii")  # length, level, type; the content follows, filled up to a multiple of eight


class Layout(NamedTuple):
    """Where things lie in a record, and how long they are; `control_length` is 0 where the kernel is to write none."""

    name: int
    name_length: int
    control: int
    control_length: int
    key: int
    key_length: int


_LAYOUTS: Final = {  # by: is it IPv6, and does it keep destinations
    (False, False): Layout(name=0, name_length=16, control=0, control_length=0, key=0, key_length=16),
    (True, False): Layout(name=0, name_length=28, control=0, control_length=0, key=0, key_length=28),
    (False, True): Layout(name=32, name_length=16, control=0, control_length=32, key=20, key_length=28),
    (True, True): Layout(name=0, name_length=28, control=32, control_length=40, key=0, key_length=64),
}


@lru_cache(maxsize=4 * BURST)
def records(length: int, stride: int, count: int) -> struct.Struct:
    """How to read the first `length` octets of each of `count` records at once."""
    return struct.Struct(f"{length}s{stride - length}x" * count)


def is_available() -> bool:
    """Tell whether this system has both calls, in the layout above."""
    return _LIBC is not None


class Mmsg:
    """The two calls for one socket. `incoming.names` has a record for each message, whose first `key_length` octets are its key."""

    def __init__(self, sock: socket.socket, addressing: Addressing | None = None) -> None:
        self._fd = sock.fileno()
        self._addressing = addressing or Addressing(sock)
        self._layout = _LAYOUTS[self._addressing.is_ipv6, self._addressing.keeps_destination]
        self.key_length = self._layout.key_length
        self.control_length = self._layout.control_length
        self.incoming = Messages(self._layout)
        self._out = Messages(self._layout)
        self._name_lengths = array("Q", [self._layout.name_length] * BURST)
        self._control_lengths = array("Q", [self._layout.control_length] * BURST)
        self._addresses: dict[bytes, Address] = {}
        self._records: dict[Address, bytes] = {}

    def fill(self, most: int = BURST) -> int:
        """Let the kernel write what is there, at most `most` datagrams, into `incoming`; how many. Never waits."""
        words = self.incoming.words
        words[1::WORDS] = self._name_lengths  # the kernel writes how long each name is, and each control message
        if self._layout.control_length:
            words[5::WORDS] = self._control_lengths
        assert _LIBC is not None
        count = _LIBC.recvmmsg(self._fd, self.incoming.pointer, min(most, BURST), socket.MSG_DONTWAIT, None)
        return max(0, cast("int", count))  # -1: no datagram is there, or an ICMP error that concerns nobody

    def close(self) -> None:
        """Touch the socket's descriptor no more: another file may have its number soon."""
        self._fd = -1

    def receive(self) -> list[tuple[bytes, Address]]:
        """Take what is there, at most `BURST` datagrams; never waits."""
        count = self.fill()
        messages, known = self.incoming, self._addresses
        octets = messages.octets
        keys = records(self.key_length, NAME, count).unpack_from(messages.names)
        lengths = messages.words[7 : count * WORDS : WORDS]
        return [
            (octets[at : at + length].tobytes(), known.get(key) or self._address(key))  # type: ignore[truthy-bool]
            for at, length, key in zip(range(0, count * DATAGRAM, DATAGRAM), lengths, keys, strict=True)
        ]

    def taken(self, index: int) -> tuple[bytes, Address]:
        """Read one of the datagrams that `fill` wrote, and where it came from."""
        messages = self.incoming
        at = index * NAME
        key = messages.names[at : at + self.key_length].tobytes()
        address = self._addresses.get(key)
        if address is None:
            address = self._address(key)
        at = index * DATAGRAM
        return messages.octets[at : at + (messages.words[index * WORDS + 7] & 0xFFFFFFFF)].tobytes(), address

    def known(self, key: bytes) -> Address | None:
        """The address of a key, if it is still remembered from a datagram that was taken."""
        return self._addresses.get(key)

    def key(self, address: Address) -> bytes:
        """Write the key that datagrams from `address` have; nothing for what is no address."""
        return self._record(address)[self._layout.key :][: self.key_length]

    def target(self, address: Address) -> tuple[bytes, bytes]:
        """Write the name and the control message for datagrams to `address`: no name for what is no address; mostly no control."""
        record, layout = self._record(address), self._layout
        control = record[layout.control : layout.control + layout.control_length]
        return record[layout.name :][: layout.name_length], control if any(control) else b""

    def name(self, address: Address) -> bytes:
        """Write the name of an address; nothing for what is no address."""
        return self.target(address)[0]

    def send(self, outbox: Outbox) -> int:
        """Send all of `outbox`, which stays as it is; how many datagrams the system did not take."""
        unsent = 0
        for start in range(0, len(outbox), BURST):
            unsent += self._send(outbox[start : start + BURST])
        return unsent

    def _send(self, outbox: Outbox) -> int:
        messages, octets, records, iovecs = self._out.words, self._out.octets, self._out.records, self._out.iovecs
        known, control, control_length = self._records, self._layout.control, self._layout.control_length
        count = 0
        for datagram, to in outbox:
            record = known.get(to)
            if record is None:
                record = self._record(to)
            length = len(datagram)
            if not record or length > DATAGRAM:
                continue
            at = count * DATAGRAM
            octets[at : at + length] = datagram
            at = count * NAME
            records[at : at + len(record)] = record
            if control_length:
                messages[count * WORDS + 5] = control_length if record[control] else 0
            iovecs[count * 2 + 1] = length
            count += 1
        return len(outbox) - self.transmit(self._out.pointer, count)

    def transmit(self, pointer: int, count: int) -> int:
        """Send `count` messages; how many went out. One that the system refuses does not stop those behind it."""
        assert _LIBC is not None
        sent = start = 0
        while start < count:
            done = _LIBC.sendmmsg(self._fd, pointer + start * WORDS * 8, count - start, socket.MSG_DONTWAIT)
            if done > 0:
                sent += done
                start += done
            elif ctypes.get_errno() != errno.EINTR:
                if ctypes.get_errno() in (errno.EAGAIN, errno.ENOBUFS):
                    break  # the buffer is full, and would be for the next
                start += 1
        return sent

    def _address(self, key: bytes) -> Address:
        """Read the kernel's spelling of an address, and remember it."""
        layout = self._layout
        record = bytes(layout.key) + key
        flow = scope = 0
        if self._addressing.is_ipv6:
            _, port, flow, host, scope = _IPV6.unpack_from(record, layout.name)
        else:
            _, port, host = _IPV4.unpack_from(record, layout.name)
        via = None
        if layout.control_length:
            # The interface is not in the key, and is not asked for.
            content = record[layout.control + _CONTROL.size :]
            via = read_info(content[:16] + bytes(4) if self._addressing.is_ipv6 else content[:12])
        address = self._addressing.make(host, int.from_bytes(port, "big"), flow, scope, via)
        if len(self._addresses) >= NAMES:
            self._addresses.clear()
        self._addresses[key] = address
        return address

    def _record(self, address: Address) -> bytes:
        """Write the record of an address as the kernel would, and remember it; nothing for what is no address."""
        record = self._records.get(address)
        if record is None:
            record = self._write(address)
            if len(self._records) >= NAMES:
                self._records.clear()
            self._records[address] = record
        return record

    def _write(self, address: Address) -> bytes:
        parts = self._addressing.parts(address)
        if parts is None:
            return b""
        port = parts.port.to_bytes(2, "big")
        if self._addressing.is_ipv6:
            name = _IPV6.pack(socket.AF_INET6, port, parts.flow, parts.host, parts.scope)
        else:
            name = _IPV4.pack(socket.AF_INET, port, parts.host)
        layout = self._layout
        record = bytearray(max(layout.name + layout.name_length, layout.control + layout.control_length))
        record[layout.name : layout.name + layout.name_length] = name
        if layout.control_length and parts.via is not None:
            level, kind, content = write_info(parts.via)
            control = _CONTROL.pack(_CONTROL.size + len(content), level, kind) + content
            record[layout.control : layout.control + len(control)] = control
        return bytes(record)


class Messages:
    """The memory of `BURST` messages: words for the kernel, and what they point to."""

    def __init__(self, layout: Layout) -> None:
        memory = bytearray(BURST * (DATAGRAM + NAME) + NAME)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.start = start  # where the first datagram lies; each takes `DATAGRAM` octets
        view = memoryview(memory)
        self.octets = view[: BURST * DATAGRAM]
        self.records = view[BURST * DATAGRAM :]
        self.names = self.records[layout.key :][: BURST * NAME]  # each record from its key on
        self.iovecs = array("Q", bytes(BURST * 16))
        self.words = array("Q", bytes(BURST * WORDS * 8))
        iovecs, _ = self.iovecs.buffer_info()
        for index in range(BURST):
            record = start + BURST * DATAGRAM + index * NAME
            self.iovecs[2 * index] = start + index * DATAGRAM
            self.iovecs[2 * index + 1] = DATAGRAM
            word = index * WORDS
            self.words[word] = record + layout.name
            self.words[word + 1] = layout.name_length
            self.words[word + 2] = iovecs + index * 16
            self.words[word + 3] = 1
            if layout.control_length:
                self.words[word + 4] = record + layout.control
        self.pointer, _ = self.words.buffer_info()


def _load() -> ctypes.CDLL | None:
    if sys.platform != "linux" or sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
        libc.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
    except AttributeError:
        return None
    return libc


_LIBC: Final = _load()
