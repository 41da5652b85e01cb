"""The packets of ours that the peer may ask for again (RFC 4585, 6.2.1): the datagrams as they went, so that no index is used twice."""

from collections import deque
from collections.abc import Iterable
from typing import Final

PACKETS: Final = 64
"""How many are kept: 1.3 s of 20 ms. Browsers ask for what is up to a second old, and could not play what is older."""

SOONEST: Final = 0.01
"""Seconds before a packet goes again, at least, on a path without delay."""


REPEATS: Final = 10
"""Times that a packet goes again at most: a browser that asks for a second after it was lost, over a path of 100 ms. A peer that asks for
all that it can is sent no more than so many times what we say, as short as it pretends that the round trip is."""


class History:
    """`packets` are the last protected RTP packets, for their owner to append to. SRTP leaves the sequence readable in each."""

    __slots__ = ("_resent", "packets")

    def __init__(self) -> None:
        self.packets: deque[bytes] = deque(maxlen=PACKETS)
        self._resent: dict[
            int, tuple[float, int]
        ] = {}  # sequence → when it went again last, and how often; of those kept

    def again(self, sequences: Iterable[int], rtt: float, now: float) -> list[bytes]:
        """List what is to go again of what was asked for: what is still here, and did not go again within a round trip.

        Whoever asks at each packet that comes, as browsers do, gets each answer once.
        """
        wanted = set(sequences)
        kept = {int.from_bytes(packet[2:4], "big"): packet for packet in self.packets}
        self._resent = {sequence: resent for sequence, resent in self._resent.items() if sequence in kept}
        patience = max(rtt, SOONEST)
        going = []
        for sequence, packet in kept.items():
            if sequence in wanted:
                at, times = self._resent.get(sequence, (-patience, 0))
                if now - at >= patience and times < REPEATS:
                    self._resent[sequence] = now, times + 1
                    going.append(packet)
        return going
