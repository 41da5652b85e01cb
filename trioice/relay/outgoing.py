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

    A chunk of it is for flows to one transceiver, so that a flow's place tells where the flow leads.
    """

    def __init__(self) -> None:
        self._memory: list[ctypes.Array[ctypes.c_char]] = []
        self._names: dict[bytes, int] = {}  # name of a transceiver → where it lies; of all that ever had a flow
        self._free: dict[int, list[int]] = {}  # by where that lies
        self._targets: dict[int, int] = {}  # number of a chunk → where the name of its transceiver lies

    def take(self, target: bytes, header: bytes, name: bytes, control: bytes) -> int:
        """Write what a flow to the transceiver of the name `target` sends into a free place; where it is."""
        if target not in self._names:
            self._memory.append(ctypes.create_string_buffer(target, len(target)))
            self._names[target] = ctypes.addressof(self._memory[-1])
        at = self._names[target]
        free = self._free.setdefault(at, [])
        if not free:
            self._memory.append(ctypes.create_string_buffer(2 * _CHUNK))
            chunk = ctypes.addressof(self._memory[-1]) // _CHUNK + 1  # places in line with the lines of the cache
            self._targets[chunk] = at
            free += range(chunk * _CHUNK, (chunk + 1) * _CHUNK, _PLACE)
        place = free.pop()
        octets = header.ljust(NAME_AT) + name.ljust(_CONTROL_AT - NAME_AT) + control
        ctypes.memmove(place, octets, len(octets))
        return place

    def give_back(self, place: int) -> None:
        """Let another flow have the place."""
        self._free[self._targets[place // _CHUNK]].append(place)

    def targets(self, places: Sequence[int]) -> list[int]:
        """Where the names lie to which these flows lead."""
        if len(self._names) == 1:
            return list(self._names.values()) * len(places)
        return [self._targets[place // _CHUNK] for place in places]


_CHUNK: Final = 1 << 16
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
