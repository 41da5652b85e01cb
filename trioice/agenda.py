"""An agenda: the deadlines of many machines behind one deadline."""

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

from trioice.sansio import NEVER

K = TypeVar("K", bound=Hashable)


class Agenda(Generic[K]):
    """Which of many is due next. Setting a deadline costs a push; what was overwritten is thrown away when it surfaces."""

    def __init__(self) -> None:
        self._deadlines: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._pushes = 0  # breaks ties, so that keys need no order

    @property
    def deadline(self) -> float:
        """The earliest deadline of all, or `NEVER`."""
        heap, deadlines = self._heap, self._deadlines
        while heap and deadlines.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def set(self, key: K, deadline: float) -> None:
        """Give `key` this deadline in place of the one it had; `NEVER` takes it off the agenda."""
        if self._deadlines.get(key, NEVER) == deadline:
            return
        if deadline == NEVER:
            del self._deadlines[key]
            return
        self._deadlines[key] = deadline
        self._pushes += 1
        heapq.heappush(self._heap, (deadline, self._pushes, key))
        # Overwritten entries wait in the heap; rebuilding at four times the living keeps memory proportional to the machines.
        if len(self._heap) > 64 + 4 * len(self._deadlines):
            self._heap = [(when, number, key) for number, (key, when) in enumerate(self._deadlines.items())]
            self._pushes = len(self._heap)
            heapq.heapify(self._heap)

    def due(self, now: float) -> list[K]:
        """Take off the agenda, and return, the keys whose deadline has come, earliest first."""
        keys = []
        while self.deadline <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._deadlines[key]
            keys.append(key)
        return keys
