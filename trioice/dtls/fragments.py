"""Handshake messages in fragments: cut, and put together in any order and overlap (RFC 6347, 4.2.2-4.2.3; RFC 9147, 5.2 and 5.5)."""

from collections.abc import Iterator
from struct import Struct
from typing import Final, Self

import attrs

from trioice.dtls.drops import Drop
from trioice.wire import Reader

# msg_type and length (8 + 24 bits), message_seq, fragment_offset and fragment_length (24 bits each): RFC 6347, 4.2.2.
_HEADER: Final = Struct("!IHHI")

HEADER_SIZE: Final = _HEADER.size

LAST_SEQUENCE: Final = 0xFFFF
"""No message has a higher message_seq, and they do not begin again (RFC 9147, 5.2)."""

AHEAD: Final = 8
"""Messages, beyond the one that is due, of which fragments are kept: no flight has more than six."""

MAXIMUM_MESSAGE: Final = 16_384
"""Octets of one message: a chain of several RSA certificates fits; what announces more (up to 2^24-1) is not for us."""

MAXIMUM_HELD: Final = 32_768
"""Octets that all incomplete messages together may announce: one flight with such a chain."""


@attrs.frozen(kw_only=True)
class Fragment:
    """A piece of a handshake message; `sequence` is its message_seq, `length` that of the whole message."""

    kind: int
    length: int
    sequence: int
    offset: int
    octets: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read one fragment of the several that a record may hold."""
        first, sequence, high, low = _HEADER.unpack(reader.take(HEADER_SIZE))
        return cls(
            kind=first >> 24,
            length=first & 0xFFFFFF,
            sequence=sequence,
            offset=high << 8 | low >> 24,
            octets=reader.take(low & 0xFFFFFF),
        )


@attrs.frozen(kw_only=True)
class Message:
    """A whole handshake message and the epoch that protects it."""

    kind: int
    sequence: int
    body: bytes
    epoch: int = 0

    def octets(self) -> bytes:
        """Write it as one fragment, which is also what the transcript of DTLS 1.2 holds (RFC 6347, 4.2.6)."""
        return self.fragment(0, len(self.body))

    def tls_octets(self) -> bytes:
        """Write it as TLS would, which is what the transcript of DTLS 1.3 holds (RFC 9147, 5.2)."""
        return (self.kind << 24 | len(self.body)).to_bytes(4, "big") + self.body

    def fragment(self, start: int, end: int) -> bytes:
        """Write the fragment of body[start:end]."""
        first = self.kind << 24 | len(self.body)
        low = (start & 0xFF) << 24 | end - start
        return _HEADER.pack(first, self.sequence, start >> 8, low) + self.body[start:end]


class Reassembler:
    """Gives messages out whole and in order; a message that nobody completes costs what it announced, within bounds."""

    __slots__ = ("_partial", "next")

    def __init__(self) -> None:
        self.next = 0
        """The message_seq that is due."""
        self._partial: dict[int, _Partial] = {}

    def add(self, fragment: Fragment, epoch: int) -> Drop | None:
        """Keep a fragment that is not of an earlier message; or say why not."""
        if fragment.sequence - self.next >= AHEAD:
            return Drop.TOO_FAR
        if fragment.length and not fragment.octets:
            return Drop.EMPTY_FRAGMENT  # legal, of no use, and the cheapest way to make us work
        partial = self._partial.get(fragment.sequence)
        # What is authenticated takes the place of what is not: the latter may be forged.
        if partial is None or partial.epoch < epoch:
            if fragment.length > MAXIMUM_MESSAGE or not self._make_room(fragment):
                return Drop.TOO_LONG
            partial = _Partial(fragment.kind, fragment.length, epoch)
        if (fragment.kind, fragment.length, epoch) != (partial.kind, len(partial.body), partial.epoch):
            return Drop.CONTRADICTION
        if not partial.add(fragment.offset, fragment.octets):
            return Drop.CONTRADICTION
        self._partial[fragment.sequence] = partial
        return None

    def _make_room(self, fragment: Fragment) -> bool:
        """Let messages that are further ahead give way, the furthest first: what is due must not be kept out by what may be forged."""
        held = sum(len(other.body) for other in self._partial.values())
        for number in sorted(self._partial, reverse=True):
            if held + fragment.length <= MAXIMUM_HELD or number <= fragment.sequence:
                break
            held -= len(self._partial.pop(number).body)
        return held + fragment.length <= MAXIMUM_HELD

    @property
    def has_gap(self) -> bool:
        """Tell whether something has come while something before it is missing."""
        return any(number > self.next or partial.has_gap for number, partial in self._partial.items())

    def forget_plaintext(self) -> None:
        """Forget what came of messages outside encryption, as from now on all of them have to be inside."""
        self._partial = {number: partial for number, partial in self._partial.items() if partial.epoch}

    def messages(self) -> Iterator[Message]:
        """Take the messages that are complete and due."""
        while (partial := self._partial.get(self.next)) is not None and partial.is_complete:
            del self._partial[self.next]
            self.next += 1
            yield Message(kind=partial.kind, sequence=self.next - 1, body=bytes(partial.body), epoch=partial.epoch)


class _Partial:
    """A message on its way: its octets, and a bit for each that has come."""

    __slots__ = ("_come", "body", "epoch", "kind")

    def __init__(self, kind: int, length: int, epoch: int) -> None:
        self.kind = kind
        self.epoch = epoch
        self.body = bytearray(length)
        self._come = 0

    @property
    def is_complete(self) -> bool:
        return self._come == (1 << len(self.body)) - 1

    @property
    def has_gap(self) -> bool:
        return self._come & (self._come + 1) != 0  # the bits are not all at the low end

    def add(self, offset: int, octets: bytes) -> bool:
        end = offset + len(octets)
        if end > len(self.body):
            return False
        self.body[offset:end] = octets
        self._come |= ((1 << len(octets)) - 1) << offset
        return True
