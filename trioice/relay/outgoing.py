"""What the relay's fast loops send from: memory of flows, and the words of messages, in the layout of `trioice.mmsg`."""

import ctypes
from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from trioice.mmsg import BURST, WORDS
from trioice.relay.encapsulation import HEADER_LENGTH, shares, write_front


class Places:
    """Memory for what flows send again and again, in places of equal length that the kernel is pointed to.

    A chunk of it is for flows to one transceiver, so that a flow's place tells where the flow leads. A chunk whose flows have all ended
    is for any transceiver again, so the memory is that of the most flows there ever were at once, and of a chunk a transceiver.
    """

    def __init__(self) -> None:
        self._memory: list[ctypes.Array[ctypes.c_char]] = []
        self._spare: list[int] = []  # numbers of chunks that are for no transceiver
        self._flows: dict[int, int] = {}  # number of a chunk that is for one → flows in it
        self._targets: dict[int, _Target] = {}  # the same → its transceiver
        self._known: dict[bytes, _Target] = {}  # transceivers that have flows, by their names

    def take(self, target: bytes, header: bytes, name: bytes, control: bytes) -> int:
        """Write what a flow to the transceiver of the name `target` sends into a free place; where it is."""
        to = self._known.get(target)
        if to is None:
            to = self._known[target] = _Target(target)
        if not to.free:
            chunk = self._chunk()
            self._targets[chunk], self._flows[chunk] = to, 0
            to.chunks += 1
            to.free += range(chunk * _CHUNK, (chunk + 1) * _CHUNK, _PLACE)
        place = to.free.pop()
        self._flows[place // _CHUNK] += 1
        octets = header.ljust(NAME_AT, b"\0") + name.ljust(_CONTROL_AT - NAME_AT, b"\0") + control
        ctypes.memmove(place, octets, len(octets))
        return place

    def give_back(self, place: int) -> None:
        """Let another flow have the place."""
        chunk = place // _CHUNK
        to = self._targets[chunk]
        to.free.append(place)
        self._flows[chunk] -= 1
        if not self._flows[chunk]:
            del self._flows[chunk], self._targets[chunk]
            self._spare.append(chunk)
            to.free = [other for other in to.free if other // _CHUNK != chunk]
            to.chunks -= 1
            if not to.chunks:
                del self._known[to.name.raw]

    def targets(self, places: Sequence[int]) -> list[int]:
        """Where the names lie to which these flows lead."""
        if len(self._known) == 1:
            return [next(iter(self._known.values())).at] * len(places)
        return [self._targets[place // _CHUNK].at for place in places]

    def _chunk(self) -> int:
        """Find memory for a chunk, in line with the lines of the processor's cache."""
        if not self._spare:
            self._memory.append(ctypes.create_string_buffer((_CHUNKS + 1) * _CHUNK))
            first = ctypes.addressof(self._memory[-1]) // _CHUNK + 1
            self._spare += range(first, first + _CHUNKS)
        return self._spare.pop()


class _Target:
    """A transceiver that flows lead to: its name where the kernel reads it, and its places that no flow has."""

    __slots__ = ("at", "chunks", "free", "name")

    def __init__(self, name: bytes) -> None:
        self.name = ctypes.create_string_buffer(name, len(name))
        self.at = ctypes.addressof(self.name)
        self.free: list[int] = []
        self.chunks = 0


_CHUNK: Final = 1 << 12
_CHUNKS: Final = 16  # made at once
_PLACE: Final = 128  # octets: header (38), zero (2), name (28), zero (4), control message (40)
NAME_AT: Final = 40
_CONTROL_AT: Final = 72


class _Messages:
    """The words of `BURST` messages that are sent from where they lie, and the words of `iovecs` pieces of them."""

    def __init__(self, name_length: int, iovecs: int) -> None:
        self.words = array("Q", bytes(BURST * WORDS * 8))
        self.words[1::WORDS] = array("Q", [name_length] * BURST)
        self.pointer, _ = self.words.buffer_info()
        self.iovecs = array("Q", bytes(iovecs * 16))
        self.iovecs_at, _ = self.iovecs.buffer_info()

    def divide(self, pieces: int) -> None:
        """Give each message so many pieces."""
        for index in range(BURST):
            self.words[index * WORDS + 2] = self.iovecs_at + index * pieces * 16
            self.words[index * WORDS + 3] = pieces


class Bare(_Messages):
    """Payloads alone."""

    def __init__(self, name_length: int, control_length: int) -> None:
        super().__init__(name_length, BURST)
        self.divide(1)
        self._control_length = control_length
        self.words[5::WORDS] = array("Q", [control_length] * BURST)

    def write(self, names: Sequence[int], payloads: Sequence[int], lengths: Sequence[int]) -> int:
        """Write as many messages; how many."""
        count = len(names)
        self.words[0 : count * WORDS : WORDS] = array("Q", names)
        if self._control_length:
            self.words[4 : count * WORDS : WORDS] = array("Q", [name + _CONTROL_AT - NAME_AT for name in names])
        self.iovecs[0 : count * 2 : 2] = array("Q", payloads)
        self.iovecs[1 : count * 2 : 2] = array("Q", lengths)
        return count


class Headed(_Messages):
    """Each payload behind its header."""

    def __init__(self, name_length: int) -> None:
        super().__init__(name_length, 2 * BURST)
        self.divide(2)
        self.iovecs[1::4] = array("Q", [HEADER_LENGTH] * BURST)

    def write(
        self, headers: Sequence[int], targets: Sequence[int], payloads: Sequence[int], lengths: Sequence[int]
    ) -> int:
        """Write as many messages; how many."""
        count = len(headers)
        self.words[0 : count * WORDS : WORDS] = array("Q", targets)
        self.iovecs[0 : count * 4 : 4] = array("Q", headers)
        self.iovecs[2 : count * 4 : 4] = array("Q", payloads)
        self.iovecs[3 : count * 4 : 4] = array("Q", lengths)
        return count


class Bundles(_Messages):
    """Payloads behind their headers, those for one target in bundles."""

    def __init__(self, name_length: int) -> None:
        super().__init__(name_length, 3 * BURST)
        self._fronts = memoryview(bytearray(6 * BURST))
        self._fronts_at = ctypes.addressof(ctypes.c_char.from_buffer(self._fronts))
        self._headers = array("Q", [0, HEADER_LENGTH] * BURST)
        self._payloads = array("Q", bytes(BURST * 16))

    def write(
        self, headers: Sequence[int], targets: Sequence[int], payloads: Sequence[int], lengths: Sequence[int]
    ) -> int:
        """Write messages; how many. Those for one target must stand together."""
        words, iovecs = self.words, self.iovecs
        self._headers[0 : 2 * len(headers) : 2] = array("Q", headers)
        self._payloads[0 : 2 * len(headers) : 2] = array("Q", payloads)
        self._payloads[1 : 2 * len(headers) : 2] = array("Q", lengths)
        count = piece = octet = 0
        for start, end in _shares(targets, lengths):
            word = count * WORDS
            words[word] = targets[start]
            words[word + 2] = self.iovecs_at + piece * 8
            words[word + 3] = 2 * (end - start)
            if end - start > 1:
                front = write_front(lengths[start:end])
                self._fronts[octet : octet + len(front)] = front
                iovecs[piece] = self._fronts_at + octet
                iovecs[piece + 1] = len(front)
                words[word + 3] += 1
                piece += 2
                octet += len(front)
            for column in (self._headers, self._payloads):
                iovecs[piece : piece + 2 * (end - start)] = column[2 * start : 2 * end]
                piece += 2 * (end - start)
            count += 1
        return count


def _shares(targets: Sequence[int], lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Divide each target's row into bundles."""
    if targets.count(targets[0]) == len(targets):
        yield from shares(lengths)
        return
    start = 0
    for _, group in groupby(targets):
        end = start + len(list(group))
        for first, behind in shares(lengths[start:end]):
            yield start + first, start + behind
        start = end
