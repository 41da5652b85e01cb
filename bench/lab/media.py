"""What the bridge did to one host's media: which of its packets it dropped, and when the first copy of each came through.

SRTP leaves a packet's header in the clear (RFC 3711, 3.1), and with it how loud the client says that the packet is (RFC 6464): so this is
known without anybody's word, and for any server.
"""

from collections import Counter
from collections.abc import Iterable
from struct import unpack_from
from typing import Final

import attrs

from bench.lab.wire import Kind, Sighting
from trioice import rtp

LEVEL: Final = 1
"""The header extension of the level in all that we answer to Chromium, which offers it under this number."""

VOICED: Final = 45
"""-dBov up to which a packet counts as speech: what espeak-ng leaves between words is digital silence."""

SILENCE: Final = 40
"""Octets that a packet of digital silence does not exceed, whatever the SRTP profile: Opus makes three of it, and over twenty of sound."""


@attrs.define(kw_only=True, eq=False)
class Packet:
    """One packet as a host first sent it: when it left, when a copy first came in at the other host, and how often it left."""

    sequence: int
    timestamp: int
    octets: int
    departed: float
    arrived: float | None
    voiced: bool
    lost: bool
    """Whether the first of its copies was dropped."""

    copies: int = 1


class Media:
    """The RTP packets of one host, by sequence number without rollover, of the source that it sent the most of."""

    def __init__(self, sightings: Iterable[Sighting], *, from_client: bool) -> None:
        self.packets: dict[int, Packet] = {}
        mine = [each for each in sightings if each.kind is Kind.SRTP and each.from_client is from_client]
        sources = Counter(each.datagram[8:12] for each in mine).most_common(1)
        highest: int | None = None
        for sighting in sorted(mine, key=lambda each: each.departed):
            if sighting.datagram[8:12] != sources[0][0]:
                continue
            # No more of it than this: where there is padding, its length is encrypted.
            sequence, timestamp = unpack_from("!HI", sighting.datagram, 2)
            if highest is not None:
                sequence = highest + ((sequence - highest + 0x8000) & 0xFFFF) - 0x8000
            highest = sequence if highest is None else max(highest, sequence)
            self._note(sequence, timestamp, sighting)

    def _note(self, sequence: int, timestamp: int, sighting: Sighting) -> None:
        known = self.packets.get(sequence)
        if known is None:
            level = rtp.element(sighting.datagram, LEVEL)
            voiced = level is not None and level[0] & 0x7F <= VOICED
            self.packets[sequence] = Packet(
                sequence=sequence,
                timestamp=timestamp,
                octets=len(sighting.datagram),
                departed=sighting.departed,
                arrived=sighting.arrived,
                lost=sighting.arrived is None,
                voiced=voiced,
            )
            return
        known.copies += 1
        if known.arrived is None:
            known.arrived = sighting.arrived

    def between(self, start: float, end: float) -> "Media":
        """Tell only of the packets that first left in this time."""
        part = Media((), from_client=True)
        part.packets = {number: each for number, each in self.packets.items() if start <= each.departed < end}
        return part

    @property
    def sent(self) -> int:
        """Packets that left, each counted once."""
        return len(self.packets)

    @property
    def resent(self) -> int:
        """Packets that left more than once."""
        return sum(packet.copies > 1 for packet in self.packets.values())

    @property
    def lost(self) -> int:
        """Packets that the network dropped when they first left."""
        return sum(packet.lost for packet in self.packets.values())

    @property
    def voiced_lost(self) -> int:
        """Those of them with speech."""
        return sum(packet.lost and packet.voiced for packet in self.packets.values())

    def last_sound_before(self, time: float) -> float | None:
        """When the last packet with more than silence left, of those that left before a time."""
        sound = (each.departed for each in self.packets.values() if each.departed < time and each.octets > SILENCE)
        return max(sound, default=None)

    def lateness(self) -> list[float]:
        """Milliseconds by which each packet left after its time, which is that of the most punctual one by their timestamps."""
        if not self.packets:
            return []
        first = next(iter(self.packets.values())).timestamp
        # Differences of 32 bits with a sign: timestamps roll over.
        after = [
            each.departed - (((each.timestamp - first + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)) / 48000
            for each in self.packets.values()
        ]
        return [1000 * (each - min(after)) for each in after]
