"""A call: what the agent sees of a session."""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, Protocol

import attrs
import trio

from trioice import rtp
from trioice.audio import CODECS
from trioice.audio.activity import OFF, ON, Activity
from trioice.errors import LocalProtocolError
from trioice.sdp import AudioSection
from trioice.session import Session
from trioice.transceiver.microphone import Ears, Microphone, Speech
from trioice.transceiver.pacer import Source, Stream
from trioice.transceiver.quality import Quality
from trioice.transceiver.speaker import BOUND, PTIME, Speaker

BUFFERED: Final = 500
"""Packets that wait for an agent's task: ten seconds of speech. A slower one loses the oldest, counted in `Call.unread`."""


class Verbs(Protocol):
    """What a call needs of its transceiver."""

    def send(self, call: "Call", packet: bytes) -> None:
        """Send a plain RTP packet."""

    def pace(self, call: "Call", ptime: float, source: Source | None = None) -> Stream:
        """Make a stream of payloads that leave in steps."""

    def hang_up(self, call: "Call") -> None:
        """End the call."""


class Call:
    """One caller. All verbs are synchronous, and take effect before they return.

    `id` is unguessable, as whoever knows it may hang up. `owner` is who asked for the call, as far as calls are counted;
    `offered` is what the client sent beside its offer, for the agent. `codec` is the negotiated one, `payload_type` its, both ways, and
    `red_payload_type` that of packets with copies of former payloads (RFC 2198, `trioice.rtp.read_red`), where they were asked for;
    `level_extension` numbers the header extension in which the client tells how loud it is (RFC 6464).
    """

    __slots__ = (
        "_awake",
        "_ears",
        "_is_read",
        "_ready",
        "_sequence",
        "_speaker",
        "_ssrc",
        "_stream",
        "_verbs",
        "_waiting",
        "agreed",
        "answer",
        "answers",
        "codec",
        "ended",
        "etag",
        "id",
        "level_extension",
        "media",
        "name",
        "origin",
        "owner",
        "payload_type",
        "red_payload_type",
        "session",
        "unread",
        "why",
    )

    def __init__(
        self,
        verbs: Verbs,
        session: Session,
        *,
        call_id: str,
        owner: str,
        audio: AudioSection,
        redundancy: bool,
        offered: object,
        origin: int,
        answer: str,
        etag: str,
    ) -> None:
        self.id = call_id
        self.name = call_id[:10]  # for logs: tells calls apart, and gives no power over them
        self.owner = owner
        self.session = offered
        self.answer = answer
        self.answers = 1
        self.origin = origin
        self.etag = etag
        self.agreed = "dtls=- group=- srtp=-"  # for logs: what the handshake led to
        self.ended = trio.Event()
        self.why = ""
        self.unread = 0
        self.media = session
        self._ready = trio.Event()  # or ended
        self._verbs = verbs
        self._ssrc = session.config.ssrc
        self._stream: Stream | None = None
        self._speaker: Speaker | None = None
        self._sequence = rtp.initial_sequence(session.config.entropy)
        self._ears: Ears | None = None  # made for the first that listens
        self.agree(audio, redundancy=redundancy)
        self._waiting: deque[bytes] | None = None  # made for the first packet that an agent's task is to have
        self._awake: trio.Event | None = None  # while it waits
        self._is_read = False  # whether packets were asked for

    async def ready(self) -> bool:
        """Wait until packets can be sent, for an agent that speaks first; False when the call has ended instead.

        What is sent when this returns True leaves at once. It may come before the client has shown its certificate, where the handshake
        came inside its checks; until then a few packets leave, and what is more is dropped and counted.
        """
        await self._ready.wait()
        return not self.ended.is_set()

    def send(self, payload: bytes, timestamp: int, marker: bool = False) -> None:
        """Send one RTP payload in the negotiated format; `timestamp` is in units of `codec.clock_rate`.

        What is sent before the call is connected, or after it ended, is dropped and counted (`trioice.session.Drop.UNSENT`).
        """
        self._verbs.send(self, self.packet(payload, timestamp, marker))

    def stream(self, ptime: float = 0.02) -> Stream:
        """Where payloads of `ptime` seconds are written as fast as they are made, and leave one each `ptime`; one for each call.

        What is written before the call is connected leaves in time all the same, and is dropped and counted. Raises
        LocalProtocolError for a `ptime` other than 0.01, 0.02, 0.04 and 0.06.
        """
        if self._speaker is not None:
            raise LocalProtocolError("the call has a speaker, whose packets these would mingle with")
        if self._stream is None:
            self._stream = self._verbs.pace(self, ptime)
            if self.ended.is_set():
                self._stream.close()
        return self._stream

    def speaker(self, rate: int = 24000, *, bound: float = BOUND) -> Speaker:
        """Where PCM of `rate` samples a second is written to be said; one for each call. `bound` is how many seconds may wait.

        Raises LocalProtocolError for a rate that is none of `trioice.audio.RATES`, or another than before, and beside a `stream`;
        `trioice.audio.CodecMissing` without libopus.
        """
        if self._stream is not None:
            raise LocalProtocolError("the call has a stream, whose packets these would mingle with")
        if self._speaker is None:
            self._speaker = Speaker(
                self.codec,
                rate,
                path=self._path,
                pace=lambda source: self._verbs.pace(self, PTIME, source),
                bound=bound,
            )
            if self.ended.is_set():
                self._speaker.close()
        elif self._speaker.rate != rate:
            raise LocalProtocolError(f"the call's speaker is of {self._speaker.rate} Hz, not of {rate}")
        return self._speaker

    def _path(self) -> tuple[float | None, float]:
        stats = self.media.rtp.stats(trio.current_time())
        return stats.rtt, stats.remote_jitter

    def packet(self, payload: bytes, timestamp: int, marker: bool) -> bytes:
        """Build the next RTP packet (for the transceiver)."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        return rtp.build(self.payload_type, marker, self._sequence, timestamp, self._ssrc, payload)

    def packets(self) -> "Packets":
        """The caller's plain RTP packets as they come, until the call ends: ``async for packet in call.packets()``. For one consumer."""
        return Packets(self)

    def microphone(self, rate: int = 24000, patience: float | Literal["auto"] = 0.25) -> Microphone:
        """Hear the caller as PCM of `rate` samples a second: ``async for frame in call.microphone()``, see `trioice.audio.Frame`.

        What is missing is waited for, and asked for again, but no packet that has come is held back for longer than `patience` seconds, 0
        to 3; "auto" waits for as long as it is worth it (`trioice.audio.AutoPatience`). A call may have several microphones. The first also
        hears what came before it was opened, up to ten seconds, unless it was read by `packets`. Raises LocalProtocolError for another rate
        or patience.
        """
        ears = self._ears = self._ears or Ears(self.media.rtp)
        microphone = ears.open_microphone(self.codec, self.payload_type, self.red_payload_type, rate, patience)
        if self._waiting and not self._is_read:
            microphone.deliver(list(self._waiting), trio.current_time())
            self._waiting.clear()
        if self.ended.is_set():
            microphone.close()
        return microphone

    def speech(self, *, on: float = ON, off: float = OFF) -> Speech:
        """Hear when the caller begins to speak and ceases to: ``async for change in call.speech()``, see `trioice.audio.SpeechStarted`.

        It is told from the levels that the client sends (RFC 6464), so it costs no decoding, and without `level_extension` nothing is told.
        Speech is on after `on` seconds of voice, and off after `off` seconds of none.
        """
        ears = self._ears = self._ears or Ears(self.media.rtp)
        speech = ears.open_speech(Activity(self.level_extension, self.codec.clock_rate, on=on, off=off))
        if self.ended.is_set():
            speech.close()
        return speech

    async def next_packet(self) -> bytes | None:
        """Wait for the next plain RTP packet; None when the call has ended and all were read."""
        self._is_read = True
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._waiting:
            if self.ended.is_set():
                return None
            self._awake = trio.Event()
            await self._awake.wait()
            self._awake = None
        return self._waiting.popleft()

    def hang_up(self) -> None:
        """End the call; harmless when it has ended."""
        self._verbs.hang_up(self)

    def quality(self) -> Quality:
        """Tell how the call sounds, both ways."""
        ears = None if self._ears is None else self._ears.most_patient()
        voice = None if self._speaker is None else self._speaker.stats()
        return Quality.of(self.media.rtp.stats(trio.current_time()), ears, voice)

    def stats(self) -> dict[str, object]:
        """Counters of the call as plain data, times in seconds."""
        return {
            "call": self.id,
            "connected": self.media.connected,
            **self.media.stats(trio.current_time()),
            "microphones": [] if self._ears is None else [one.stats() for one in self._ears.microphones],
            "speaker": None if self._speaker is None else self._speaker.stats(),
            "quality": attrs.asdict(self.quality()),
        }

    def agree(self, audio: AudioSection, *, redundancy: bool) -> None:
        """Note what offer and answer agreed on (for the transceiver)."""
        self.codec = CODECS[audio.codec]
        self.payload_type = audio.payload_type
        self.red_payload_type = audio.red if redundancy else None
        self.level_extension = audio.level_extension
        if self._ears is not None:
            self._ears.renumber(self.payload_type, self.red_payload_type, self.level_extension)

    def begin(self) -> None:
        """Note that packets can be sent (for the transceiver)."""
        self._ready.set()

    def deliver(self, packets: list[bytes], now: float) -> None:
        """Give the caller's packets of one burst to the agent's task (for the transceiver)."""
        if self._ears is not None:
            self._ears.deliver(packets, now)
            if self._ears.microphones and not self._is_read:
                return  # whoever hears frames reads no packets
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.extend(packets)
        while len(self._waiting) > BUFFERED:
            self._waiting.popleft()
            self.unread += 1
        if self._awake is not None:
            self._awake.set()

    def end(self, why: str) -> None:
        """Note that the call has ended (for the transceiver)."""
        self.why = why
        self.ended.set()
        self._ready.set()
        if self._stream is not None:
            self._stream.close()
        if self._speaker is not None:
            self._speaker.close()
        if self._awake is not None:
            self._awake.set()
        if self._ears is not None:
            self._ears.end(trio.current_time())


class Packets:
    """An iterator, not a generator: an agent may leave its loop at any time, and nothing is left to close."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __aiter__(self) -> "Packets":
        return self

    async def __anext__(self) -> bytes:
        packet = await self._call.next_packet()
        if packet is None:
            raise StopAsyncIteration
        return packet


PacketAgent = Callable[[Call, list[bytes]], None]
"""An agent at packet level: called at most once per call and burst; what it sends leaves in the same flush."""
