"""One call as a remote agent has it: what is heard goes into its backlog, and what it says into the call's speaker.

This goes on while the connection is away.
"""

from collections.abc import Mapping
from typing import Final, Literal

import trio

from trioice.audio import Frame, SpeechStarted
from trioice.transceiver.agent_backlog import Backlog
from trioice.transceiver.agent_messages import (
    PROTOCOL,
    AskStats,
    Blunder,
    Clear,
    HangUp,
    Mark,
    Pause,
    Resume,
    event,
    plain,
    read_command,
)
from trioice.transceiver.agent_voice import AHEAD, Voice
from trioice.transceiver.call import Call
from trioice.transceiver.speaker import MARKS
from trioice.transceiver.speaker import Mark as Point

HEARD: Final = 0.5
"""Seconds between two words of how far the agent was heard."""

STATS: Final = 5.0
"""Seconds between two of the call's figures."""

BLUNDERS: Final = 100
"""Errors that an agent may make in a call: one in development makes some, and one beyond that talks nonsense."""

COMMANDS: Final = 1000
COMMANDS_PER_SECOND: Final = 100.0
"""Commands at once, and on and on: a mark for each word. Faster ones wait in the agent's own socket."""

DRIFT: Final = 0.001
"""How fast the caller's clock may run against ours, and more."""


class Line:
    """What lives as long as the call: the backlog, the voice, and the tasks that listen to the call."""

    def __init__(self, call: Call, rate: int, patience: float | Literal["auto"], *, kept: float) -> None:
        self.backlog = Backlog(rate, kept)
        self.over = trio.Event()  # the call has ended, and all is in the backlog
        self.is_connected = False
        self.blunders = 0
        self._call = call
        self._rate = rate
        self._patience = patience
        self._microphone = call.microphone(rate, patience)
        self._speech = call.speech()
        self._speaker = call.speaker(rate, bound=AHEAD)
        self._voice = Voice(self._speaker)
        self._greeting: str | None = None
        self._wake = trio.Event()
        self._pressed = trio.Event()
        self._emptied = trio.Event()
        self._wrote = trio.Event()
        self._is_sending = False
        self._told = 0  # how much was told to be heard
        self._commands = 0  # that were followed, all in all
        self._allowance, self._allowed_at = float(COMMANDS), trio.current_time()
        self._ahead: float | None = None  # of the promptest frame: its position, less the time in samples
        self._ahead_at = 0.0
        self._into_marks, self._marks = trio.open_memory_channel[tuple[Point, int]](MARKS)

    def is_abusive(self) -> bool:
        """Whether the agent made so many errors that it is listened to no more."""
        return self.blunders > BLUNDERS

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to hear."""
        for task in (self._hear_all, self._tell_heard, self._tell_stats):
            nursery.start_soon(task)

    def close(self) -> None:
        """Hear no more."""
        self._microphone.close()
        self._speech.close()

    # -- for the connection --------------------------------------------------------------------------------------------

    def greet(self, *, is_again: bool) -> None:
        """Begin on a new connection with who is calling, and where the conversation stands."""
        call = self._call
        position, events = self.backlog.rewind()
        fields: dict[str, object] = {
            "protocol": PROTOCOL,
            "call": call.id,
            "codec": call.codec.name,
            "rate": self._rate,
            "patience": self._patience,
            "ahead": AHEAD,
            "session": plain(call.session),
        }
        if is_again:
            fields |= {
                "position": position,
                "event": events,
                "received": self._voice.received,
                "commands": self._commands,
            }
        self._greeting = event("resumed" if is_again else "started", fields)
        self._is_sending = False
        self.is_connected = True
        self._wake.set()

    async def next_message(self) -> str | bytes:
        """Wait for what is to be sent next."""
        if self._greeting is not None:
            greeting, self._greeting = self._greeting, None
            return greeting
        while (message := self.backlog.take()) is None:
            self._wake = trio.Event()
            await self._wake.wait()
        self._is_sending = True
        return message

    def was_sent(self) -> None:
        """Note that the message went out."""
        self._is_sending = False
        if self.backlog.is_full:
            self._pressed.set()
        if self.backlog.is_empty:
            self._emptied.set()
            self._emptied = trio.Event()

    async def pressed(self) -> None:
        """Wait until nothing more is sent before a confirmation."""
        if not self.backlog.is_full:
            self._pressed = trio.Event()
            await self._pressed.wait()

    def confirm(self, taken: int) -> None:
        """Note what has come."""
        self.backlog.confirm(taken)
        self._wake.set()

    async def all_sent(self) -> None:
        """Wait until all was sent."""
        while self._is_sending or not self.backlog.is_empty:
            await self._emptied.wait()

    async def hear(self, message: str | bytes) -> None:
        """Follow what the agent sent. One that sends too many commands is held up."""
        if self.is_abusive():
            await trio.sleep_forever()  # the call ends
        try:
            if isinstance(message, bytes):
                self._speak(message)
                return
            self._commands += 1
            self._follow(message)
        except Blunder as blunder:
            self.blunders += 1
            self._say("error", {"reason": str(blunder)})
            if self.is_abusive():
                self._call.hang_up()
        if not isinstance(message, bytes):
            await self._admit()

    # -- the agent's part ----------------------------------------------------------------------------------------------

    def _speak(self, pcm: bytes) -> None:
        dropped = self._voice.write(pcm)
        if dropped:
            self._say("overrun", {"position": self._voice.received - dropped, "samples": dropped})
        self._wrote.set()

    def _follow(self, text: str) -> None:
        match read_command(text):
            case Clear(fade_ms):
                self._say("cleared", self._voice.clear(fade_ms))
                self._told = self._voice.received  # nobody is told that what was cleared is heard
            case Mark(name):
                point = self._voice.mark(name)
                try:
                    self._into_marks.send_nowait((point, self._voice.received))
                except trio.WouldBlock:
                    raise Blunder(f"{MARKS} marks wait already") from None
                except trio.ClosedResourceError:
                    pass  # the call has ended
            case Pause():
                self._speaker.pause()
            case Resume():
                self._speaker.resume()
            case HangUp():
                self._call.hang_up()
            case AskStats():
                self._tell_figures()

    async def _admit(self) -> None:
        now = trio.current_time()
        self._allowance = min(COMMANDS, self._allowance + (now - self._allowed_at) * COMMANDS_PER_SECOND) - 1
        self._allowed_at = now
        if self._allowance < 0:
            await trio.sleep(-self._allowance / COMMANDS_PER_SECOND)

    # -- the call's part -----------------------------------------------------------------------------------------------

    def _say(self, kind: str, fields: Mapping[str, object]) -> None:
        self.backlog.add_event(kind, fields)
        self._wake.set()

    async def _hear_all(self) -> None:
        """Tell all that comes of the call until it has ended, and then that."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear)
            nursery.start_soon(self._hear_speech)
            nursery.start_soon(self._tell_marks)
            await self._call.ended.wait()
            self._into_marks.close()
        self._say("ended", {"why": self._call.why})
        self.over.set()

    async def _hear(self) -> None:
        clock_rate = self._call.codec.clock_rate
        async for frame in self._microphone:
            position = frame.timestamp * self._rate // clock_rate
            self._tell_gap(frame, position)
            self.backlog.add_audio(position, frame.pcm)
            self._align(position + len(frame.pcm) // 2)
            self._wake.set()

    def _tell_gap(self, frame: Frame, position: int) -> None:
        if frame.lost or frame.concealed:
            kind = "lost" if frame.lost else "concealed"
            self._say("gap", {"position": position, "samples": len(frame.pcm) // 2, "kind": kind})

    def _align(self, end: int) -> None:
        """Learn which position it is at which time: that of the promptest frames, but for the drift of the clocks."""
        now = trio.current_time()
        ahead = end - now * self._rate
        if self._ahead is not None:
            ahead = max(ahead, self._ahead - (now - self._ahead_at) * DRIFT * self._rate)
        self._ahead, self._ahead_at = ahead, now

    def _position_at(self, time: float) -> int:
        return max(0, round(self._ahead + time * self._rate)) if self._ahead is not None else 0

    async def _hear_speech(self) -> None:
        async for change in self._speech:
            if isinstance(change, SpeechStarted):
                self._say("speech_started", {"position": self._position_at(change.at - 0.02)})  # the packet's beginning
            else:
                self._say("speech_stopped", {"position": self._position_at(change.at)})

    async def _tell_marks(self) -> None:
        """Marks are reached in the order in which they were made."""
        async for point, position in self._marks:
            reached = await point.reached()
            self._say("mark", {"name": point.name, "position": position, "reached": reached})

    async def _tell_heard(self) -> None:
        while True:
            await self._wrote.wait()
            if self.is_connected:
                told = self._voice.playout()
                if told["heard"] != self._told:
                    self._say("heard", told)
                    self._told = told["heard"]
                if told["heard"] >= told["received"]:
                    self._wrote = trio.Event()
            await trio.sleep(HEARD)

    async def _tell_stats(self) -> None:
        while True:
            await trio.sleep(STATS)
            if self.is_connected:
                self._tell_figures()

    def _tell_figures(self) -> None:
        stats = self._call.stats() | {"speaker": self._speaker.stats()}
        stats["agent"] = {"waiting": self.backlog.waiting, "blunders": self.blunders, "overrun": self._voice.overrun}
        self._say("stats", {"stats": stats})
