"""The packets of ours that the peer may ask for again (RFC 4585, 6.2.1): the datagrams as they went, so that no index is used twice."""

from collections import deque
from collections.abc import Iterable
from typing import Final

PACKETS: Final = 64
"""How many are kept: 1.3 s of 20 ms. Browsers ask for what is up to a second old, and could not play what is older."""

SOONEST: Final = 0.01
"""Seconds before a packet goes again, at least, on a path without delay."""


class History:
    """`packets` are the last protected RTP packets, for their owner to append to. SRTP leaves the sequence readable in each."""

    __slots__ = ("_resent", "packets")

    def __init__(self) -> None:
        self.packets: deque[bytes] = deque(maxlen=PACKETS)
        self._resent: dict[int, float] = {}  # sequence → when it went again last; of those that are kept

    def again(self, sequences: Iterable[int], rtt: float, now: float) -> list[bytes]:
        """List what is to go again of what was asked for: what is still here, and did not go again within a round trip.

        Whoever asks at each packet that comes, as browsers do, gets each answer once.
        """
        wanted = set(sequences)
        kept = {int.from_bytes(packet[2:4], "big"): packet for packet in self.packets}
        self._resent = {sequence: at for sequence, at in self._resent.items() if sequence in kept}
        patience = max(rtt, SOONEST)
        going = []
        for sequence, packet in kept.items():
            if sequence in wanted and now - self._resent.get(sequence, -patience) >= patience:
                self._resent[sequence] = now
                going.append(packet)
        return going
