"""Sequence numbers: serial arithmetic (RFC 1982), extension of 16 bits to an index, and the replay window."""

from typing import Final

MAXIMUM_INDEX: Final = (1 << 48) - 1
"""The last SRTP index and the last DTLS sequence number: both are 48 bits (RFC 3711, 3.3.1; RFC 6347, 4.1)."""


def extend(sequence: int, highest: int) -> int:
    """Guess the index of a 16-bit `sequence`: the one nearest to `highest`, the highest index so far (RFC 3711, 3.3.1).

    Of two that are equally near, it is the one in the cycle of `highest` (RFC 3711, appendix A). The result is negative where
    the guess lies before the first cycle.
    """
    ahead = (sequence - highest) & 0xFFFF
    if ahead > 0x8000 or (ahead == 0x8000 and highest & 0x8000):
        ahead -= 0x10000
    return highest + ahead


class ReplayWindow:
    """Which indices have been seen: a bitmap of `size` below the highest (RFC 3711, 3.3.2; RFC 6347, 4.1.2.6).

    Ask with `admits` before authentication, tell with `note` after it.
    """

    __slots__ = ("_missing", "_size", "highest")

    def __init__(self, size: int, highest: int = -1) -> None:
        self._size = size
        # Bit n is set if the nth index below the highest was not seen: mostly none is, which makes the next one cheap to note.
        # A window restored at `highest` refuses all below it: what was seen there is not known any more.
        self._missing = 0
        self.highest = highest

    def admits(self, index: int) -> bool:
        """Tell whether `index` is new: above the highest, or inside the window and not seen."""
        behind = self.highest - index
        return index >= 0 and (behind < 0 or (behind < self._size and self._missing >> behind & 1 == 1))

    def note(self, index: int) -> None:
        """Remember that `index`, which the window admitted, was authentic."""
        ahead = index - self.highest
        if ahead == 1 and not self._missing:
            self.highest = index
        elif ahead > 0:
            size = self._size
            if self.highest < 0 or ahead >= size:
                # All but the index itself, as far down as there are any.
                self._missing = (1 << min(index + 1, size)) - 2
            else:
                self._missing = (self._missing << ahead | (1 << ahead) - 2) & (1 << size) - 1
            self.highest = index
        else:
            self._missing &= ~(1 << -ahead)
