"""Bursts of datagrams by one system call each way: recvmmsg(2) and sendmmsg(2) through ctypes, with all memory made once.

The kernel reads and writes an array of ``struct mmsghdr``. Here it is an array of 64-bit words, eight for each message, in which
only the words that change are written:

    0 name *   1 name length   2 iovec *   3 iovecs   4 control *   5 control length   6 flags   7 octets received

That is the layout of 64-bit little-endian Linux, and `is_available` says whether this is one; elsewhere a port uses recvfrom and sendto.
"""

import ctypes
import errno
import socket
import struct
import sys
from array import array
from typing import Final, cast

from trioice.sansio import Address, Outbox

BURST: Final = 64
"""Datagrams of one call: more gain little, and the work between two checkpoints stays under a millisecond."""

DATAGRAM: Final = 2048
"""Octets of a datagram: above any path's 1,500, so that what is longer is cut and fails its authentication."""

NAMES: Final = 1 << 16
"""Socket addresses remembered in both spellings, ours and the kernel's. A flood from more sources than that makes it forget all."""

NAME: Final = 28  # octets of a sockaddr_in6, the longer one
WORDS: Final = 8
_IPV4: Final = struct.Struct("=H2s4s8x")  # family, port, address
_IPV6: Final = struct.Struct("=H2sI16sI")  # family, port, flow information, address, scope


def is_available() -> bool:
    """Tell whether this system has both calls, in the layout above."""
    return _LIBC is not None


class Mmsg:
    """The two calls for one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._fd = sock.fileno()
        self.incoming = Messages()
        self._out = Messages()
        self._addresses: dict[bytes, Address] = {}
        self._names: dict[Address, bytes] = {}

    def fill(self) -> int:
        """Let the kernel write what is there, at most `BURST` datagrams, into `incoming`; how many. Never waits."""
        self.incoming.words[1::WORDS] = _NAME_LENGTHS  # the kernel writes how long each name is
        assert _LIBC is not None
        count = _LIBC.recvmmsg(self._fd, self.incoming.pointer, BURST, socket.MSG_DONTWAIT, None)
        return max(0, cast("int", count))  # -1: no datagram is there, or an ICMP error that concerns nobody

    def receive(self) -> list[tuple[bytes, Address]]:
        """Take what is there, at most `BURST` datagrams; never waits."""
        return [self.taken(index) for index in range(self.fill())]

    def taken(self, index: int) -> tuple[bytes, Address]:
        """Read one of the datagrams that `fill` wrote, and where it came from."""
        messages = self.incoming
        word = index * WORDS
        at = index * NAME
        name = messages.names[at : at + messages.words[word + 1]].tobytes()
        address = self._addresses.get(name)
        if address is None:
            address = self._address(name)
        at = index * DATAGRAM
        return messages.octets[at : at + (messages.words[word + 7] & 0xFFFFFFFF)].tobytes(), address

    def send(self, outbox: Outbox) -> int:
        """Send all of `outbox`, which stays as it is; how many datagrams the system did not take."""
        unsent = 0
        for start in range(0, len(outbox), BURST):
            unsent += self._send(outbox[start : start + BURST])
        return unsent

    def _send(self, outbox: Outbox) -> int:
        messages, octets, names, iovecs = self._out.words, self._out.octets, self._out.names, self._out.iovecs
        known = self._names
        count = 0
        for datagram, to in outbox:
            name = known.get(to)
            if name is None:
                name = self.name(to)
            length = len(datagram)
            if not name or length > DATAGRAM:
                continue
            at = count * DATAGRAM
            octets[at : at + length] = datagram
            at = count * NAME
            names[at : at + len(name)] = name
            messages[count * WORDS + 1] = len(name)
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

    def _address(self, name: bytes) -> Address:
        """Read the kernel's spelling of an address, and remember it."""
        address: Address
        if len(name) == _IPV4.size:
            _, port, host = _IPV4.unpack(name)
            address = (socket.inet_ntop(socket.AF_INET, host), int.from_bytes(port, "big"))
        else:
            _, port, flow, host, scope = _IPV6.unpack(name)
            address = (socket.inet_ntop(socket.AF_INET6, host), int.from_bytes(port, "big"), flow, scope)
        if len(self._addresses) >= NAMES:
            self._addresses.clear()
        self._addresses[name] = address
        return address

    def name(self, address: Address) -> bytes:
        """Write the kernel's spelling of an address, and remember it; nothing for what is no address."""
        host, port, *rest = cast("tuple[str, int, int, int]", address)
        try:
            if ":" in host:
                flow, scope = rest or (0, 0)
                packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
                name = _IPV6.pack(socket.AF_INET6, port.to_bytes(2, "big"), flow, packed, scope)
            else:
                name = _IPV4.pack(socket.AF_INET, port.to_bytes(2, "big"), socket.inet_pton(socket.AF_INET, host))
        except (OSError, OverflowError, struct.error):
            return b""
        if len(self._names) >= NAMES:
            self._names.clear()
        self._names[address] = name
        return name


class Messages:
    """The memory of `BURST` messages: words for the kernel, and what they point to."""

    def __init__(self) -> None:
        memory = bytearray(BURST * (DATAGRAM + NAME))
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.start = start  # where the first datagram lies; each takes `DATAGRAM` octets
        view = memoryview(memory)
        self.octets = view[: BURST * DATAGRAM]
        self.names = view[BURST * DATAGRAM :]
        self.iovecs = array("Q", bytes(BURST * 16))
        self.words = array("Q", bytes(BURST * WORDS * 8))
        iovecs, _ = self.iovecs.buffer_info()
        for index in range(BURST):
            self.iovecs[2 * index] = start + index * DATAGRAM
            self.iovecs[2 * index + 1] = DATAGRAM
            self.words[index * WORDS] = start + BURST * DATAGRAM + index * NAME
            self.words[index * WORDS + 2] = iovecs + index * 16
            self.words[index * WORDS + 3] = 1
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
_NAME_LENGTHS: Final = array("Q", [NAME] * BURST)
