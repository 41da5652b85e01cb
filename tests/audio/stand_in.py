"""A codec whose payloads tell what they are, and whose PCM tells what was done: for tests of what stands around codecs."""

from trioice.audio import Decoder, Encoder

FRAME = 960
"""A payload's duration, in units of 48 kHz."""


class StandIn:
    """Payloads are `number.octets`: eight digits and any filling. The PCM of a payload is its number in each sample."""

    name = "stand-in"
    clock_rate = 48000

    def duration(self, payload: bytes) -> int | None:
        return FRAME if payload[:8].isdigit() else None

    def decoder(self, rate: int) -> Decoder:
        return _Coder(rate)

    def encoder(self, rate: int) -> Encoder:
        return _Coder(rate)


class _Coder:
    def __init__(self, rate: int) -> None:
        self.rate = rate

    def decode(self, payload: bytes) -> bytes:
        return self._pcm(int(payload[:8]) % 30000, FRAME)

    def recover(self, following: bytes, duration: int) -> bytes | None:
        """A payload that ends with "+" holds a copy of the one before: its number, negative."""
        return self._pcm(1 - int(following[:8]) % 30000, duration) if following.endswith(b"+") else None

    def conceal(self, duration: int) -> bytes:
        return self._pcm(-30000, duration)

    def encode(self, pcm: bytes) -> bytes:
        return b"%08d" % int.from_bytes(pcm[:2], "little", signed=True)

    def pause(self) -> bytes | None:
        return None

    def _pcm(self, number: int, duration: int) -> bytes:
        return number.to_bytes(2, "little", signed=True) * (duration * self.rate // 48000)


def payload(number: int, fec: bool = False) -> bytes:
    return b"%08d" % number + (b"+" if fec else b".")
