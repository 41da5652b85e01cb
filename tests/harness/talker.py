"""A caller whose words matter: it says what it is told to, as loud, in copies, and again when it is asked, as a browser does.

It reports by RTCP, learns the round trip by it, and, where it `asks`, it asks for what it misses, as a Chromium does: at each packet that
comes, for all that is missing for less than a second, whether it asked before or not.
"""

from collections.abc import Callable
from typing import Any, Final

from tests.harness.caller import FRAME, Caller
from trioice import rtp
from trioice.sansio import NEVER, Address, Outbox
from trioice.sequence import extend

OPUS: Final = 111
RED: Final = 63
LEVEL: Final = 1
"""The number of the header extension with the level."""

KEPT: Final = 150
"""Packets that it can say again: three seconds."""

PAUSE: Final = 0.005
"""Seconds above a round trip in which it does not say a packet again."""

ASKED: Final = 1.0
"""Seconds within which an answer must come to be of use to it."""

LINES: Final = """\
a=rtcp-rsize\r
a=rtcp-xr:rcvr-rtt=all\r
a=rtpmap:63 red/48000/2\r
a=fmtp:63 111/111\r
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r
"""


def numbered(number: int) -> bytes:
    """The payload of the stand-in codec."""
    return b"%08d" % number


class Talker(Caller):
    """Says `says(number)` every 20 ms, or nothing where that is None; `level(number)` is how loud, 0 to 127.

    `repeats` is whether it says again what it is asked for, `repeated` how many packets it did; `lacks` holds the indices that it misses,
    with when it noticed. Its clock is `fast` by so much.
    """

    def __init__(
        self,
        *,
        says: Callable[[int], bytes | None] = numbered,
        level: Callable[[int], int] | None = None,
        asks: bool = False,
        fast: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.says = says
        self.level = level
        self.fast = fast
        self.repeats = True
        self.repeated = 0
        self.copies = False  # whether the answer asked for them
        self.said: list[int] = []  # the numbers of what was said
        self.lacks: dict[int, float] = {}
        self._reports: Outbox = []
        self.rtp = rtp.RtpSession(
            ssrc=self.ssrc,
            cname="talker",
            epoch=0.0,
            entropy=options["entropy"],
            outbox=self._reports,
            events=[],
            reduced_size=True,
            receiver_rtt=True,
        )
        self._asks = asks
        self._highest = -1
        self._sequence = 0
        self._before = b""
        self._kept: dict[int, bytes] = {}
        self._repeated_at: dict[int, float] = {}

    @property
    def rtt(self) -> float:
        return self.rtp.round_trip.seconds or 0.1

    @property
    def deadline(self) -> float:
        reports = self.rtp.deadline if self._keys is not None and not self.over else NEVER
        return min(super().deadline, reports)

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
        self.rtp.sent(packet, now)
        protected = self._keys[0].protect(packet)
        assert protected is not None
        self._kept[self._sequence] = protected
        self._kept.pop(self._sequence - KEPT & 0xFFFF, None)
        self.outbox.append((protected, self._to))

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        super().receive(datagram, source, now)
        self._say_again(now)
        self._report()

    def expire(self, now: float) -> None:
        spoken = self.spoken
        super().expire(now)
        if self.spoken > spoken:
            self._speak_at -= FRAME * self.fast
        if self._keys is not None and not self.over:
            self.rtp.start(now)
            self.rtp.expire(now)
            self._report()

    def close(self, now: float) -> None:
        self.rtp.close(now)
        self._reports.clear()
        super().close(now)

    def hears(self, packet: bytes, now: float) -> None:
        super().hears(packet, now)
        self.rtp.hear(packet, now)
        header = rtp.read(packet)
        if not self._asks or header is None:
            return
        index = header[2] if self._highest < 0 else extend(header[2], self._highest)
        self.lacks.pop(index, None)
        if self._highest >= 0:
            self.lacks |= dict.fromkeys(range(self._highest + 1, index), now)
        self._highest = max(self._highest, index)
        asking = tuple(index & 0xFFFF for index, since in self.lacks.items() if now - since + self.rtt < ASKED)
        if asking:
            self._reports.append((rtp.encode([rtp.GenericNack(self.ssrc, header[4], asking)]), None))

    def _say_again(self, now: float) -> None:
        """Say again what was asked for, but nothing twice within a round trip."""
        for sequence in self.rtp.asked:
            protected = self._kept.get(sequence) if self.repeats else None
            if protected is not None and now - self._repeated_at.get(sequence, -NEVER) > self.rtt + PAUSE:
                self._repeated_at[sequence] = now
                self.repeated += 1
                self.outbox.append((protected, self._to))
        self.rtp.asked.clear()

    def _report(self) -> None:
        if self._keys is not None:
            for report, _ in self._reports:
                protected = self._keys[0].protect_rtcp(report)
                assert protected is not None
                self.outbox.append((protected, self._to))
        self._reports.clear()
