"""The presentation language of TLS (RFC 8446, 3) as a reader and two writers.

Reading never goes past the end: every shortage, and every octet left over where `end` is called, is `Malformed`.
"""

from collections.abc import Callable, Sequence
from struct import pack, unpack
from typing import TypeVar

from trioice.errors import Malformed

T = TypeVar("T")


class Reader:
    """Takes values off the front of `octets`."""

    __slots__ = ("_end", "_octets", "_position")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._position = 0
        self._end = len(octets)

    @property
    def left(self) -> int:
        """How many octets are still to be read."""
        return self._end - self._position

    def take(self, count: int) -> bytes:
        """Take the next `count` octets."""
        start = self._position
        if count > self._end - start:
            raise Malformed(f"{count} octets wanted, {self._end - start} left")
        self._position = start + count
        return self._octets[start : start + count]

    def uint(self, size: int) -> int:
        """Take an unsigned integer of `size` octets, most significant first."""
        start = self._position
        end = start + size
        if end > self._end:
            raise Malformed(f"{size} octets wanted, {self._end - start} left")
        self._position = end
        return int.from_bytes(self._octets[start:end], "big")

    def opaque(self, size: int, least: int = 0) -> bytes:
        """Take an ``opaque<least..2^(8*size)-1>``: a length of `size` octets, then as many octets."""
        octets = self.take(self.uint(size))
        if len(octets) < least:
            raise Malformed(f"at least {least} octets wanted, {len(octets)} there")
        return octets

    def vector(self, size: int, item: Callable[["Reader"], T], least: int = 0) -> list[T]:
        """Take a vector whose items `item` reads, behind a length in octets; at least `least` items."""
        inner = Reader(self.opaque(size))
        items = []
        while inner.left:
            items.append(item(inner))
        if len(items) < least:
            raise Malformed(f"at least {least} items wanted, {len(items)} there")
        return items

    def numbers(self, size: int, least: int = 0) -> tuple[int, ...]:
        """Take a vector of 16-bit unsigned integers, as `vector` would, at once."""
        octets = self.opaque(size)
        if len(octets) % 2:
            raise Malformed("2 octets wanted, 1 left")
        if len(octets) < 2 * least:
            raise Malformed(f"at least {least} items wanted, {len(octets) // 2} there")
        return unpack(f"!{len(octets) // 2}H", octets)

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(self.left)

    def end(self) -> None:
        """Demand that nothing is left."""
        if self.left:
            raise Malformed(f"{self.left} octets too many")


def uint(size: int, value: int) -> bytes:
    """Write an unsigned integer in `size` octets."""
    return value.to_bytes(size, "big")


def opaque(size: int, octets: bytes) -> bytes:
    """Write `octets` behind their length in `size` octets."""
    return len(octets).to_bytes(size, "big") + octets


def numbers(values: Sequence[int]) -> bytes:
    """Write 16-bit unsigned integers behind their length in two octets."""
    return pack(f"!{1 + len(values)}H", 2 * len(values), *values)
