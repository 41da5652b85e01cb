"""A caller whose words matter: it says what it is told to, as loud, in copies, and again when it is asked, as a browser does."""

from collections.abc import Callable
from typing import Any, Final

from tests.harness.caller import Caller
from trioice import rtp
from trioice.sansio import Address

OPUS: Final = 111
RED: Final = 63
LEVEL: Final = 1
"""The number of the header extension with the level."""

KEPT: Final = 150
"""Packets that it can say again: three seconds."""

LINES: Final = """\
a=rtpmap:63 red/48000/2\r
a=fmtp:63 111/111\r
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r
"""


def numbered(number: int) -> bytes:
    """The payload of the stand-in codec."""
    return b"%08d" % number


class Talker(Caller):
    """Says `says(number)` every 20 ms, or nothing where that is None; `level(number)` is how loud, 0 to 127."""

    def __init__(
        self,
        *,
        says: Callable[[int], bytes | None] = numbered,
        level: Callable[[int], int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.says = says
        self.level = level
        self.repeats = True
        self.repeated = 0
        self.copies = False  # whether the answer asked for them
        self.said: list[int] = []  # the numbers of what was said
        self._sequence = 0
        self._before = b""
        self._kept: dict[int, bytes] = {}

    def offer(self) -> str:
        return super().offer().replace("SAVPF 111", "SAVPF 111 63") + LINES

    def answered(self, answer: str, now: float, to: Address = None) -> None:
        super().answered(answer, now, to)
        self.copies = "SAVPF 63 111" in answer

    def speak(self, now: float) -> None:
        if self._keys is None:
            return
        self.spoken += 1
        payload = self.says(self.spoken)
        if payload is None:
            self._before = b""
            return
        self.said.append(self.spoken)
        self._sequence = self._sequence + 1 & 0xFFFF
        blocks = [(OPUS, 960, self._before)] if self._before else []
        packet = rtp.build(
            RED if self.copies else OPUS,
            len(self.said) == 1,
            self._sequence,
            self.spoken * 960,
            self.ssrc,
            rtp.build_red([*blocks, (OPUS, 0, payload)]) if self.copies else payload,
            [(LEVEL, bytes([self.level(self.spoken)]))] if self.level else (),
        )
        self._before = payload
        protected = self._keys[0].protect(packet)
        assert protected is not None
        self._kept[self._sequence] = protected
        self._kept.pop(self._sequence - KEPT & 0xFFFF, None)
        self.outbox.append((protected, self._to))

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        if self._keys is None or not rtp.is_rtcp(datagram) or datagram[0] < 128 or self.over:
            super().receive(datagram, source, now)
            return
        packet = self._keys[1].unprotect_rtcp(datagram)
        if packet is None:
            return
        self.rtp.receive(packet, source, now)
        for report in rtp.decode(packet) or ():
            if isinstance(report, rtp.GenericNack) and report.media == self.ssrc and self.repeats:
                again = [self._kept[sequence] for sequence in report.lost if sequence in self._kept]
                self.repeated += len(again)
                self.outbox += [(protected, self._to) for protected in again]
