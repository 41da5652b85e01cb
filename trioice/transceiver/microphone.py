"""What an agent's task hears of a caller: frames of PCM from a microphone, and when speech begins and ends.

The transceiver hands each burst of packets to a call's ears, in the turn in which it came. That wakes the ear's task if something is ready
for it, or if there is a deadline where there was none, and at most once a burst. Frames are decoded in the listener's own task, when it
asks for them.
"""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Generic, Literal, Protocol, Self, TypeVar

import trio

from trioice.audio.activity import Activity, SpeechStarted, SpeechStopped
from trioice.audio.codec import Codec, Frame
from trioice.audio.listener import Listener
from trioice.audio.patience import MOST, AutoPatience
from trioice.rtp import RtpSession
from trioice.sansio import NEVER

UNINTERRUPTED: Final = 50
"""Items that are read without letting other tasks run: a second of speech that was waited for, decoded in some 2 ms."""

T = TypeVar("T", covariant=True)


class Hearing(Protocol[T]):
    """A machine that makes something of a caller's packets, and is pulled."""

    @property
    def deadline(self) -> float:
        """When `expire` wants to be called, or NEVER."""

    @property
    def is_ready(self) -> bool:
        """Whether `read` has something."""

    def receive(self, packets: Iterable[bytes], now: float) -> None:
        """Take the plain RTP packets of a burst."""

    def expire(self, now: float) -> None:
        """Do what is due."""

    def close(self, now: float) -> None:
        """Wait for nothing more."""

    def read(self) -> T | None:
        """Read what is next; None where nothing is ready."""


class Ear(Generic[T]):
    """An iterator over what a machine makes of a call's packets, for one task. It ends when the call ended and all was read.

    One that is not read loses the oldest, and counts it; leave the loop by way of ``with``, or call `close`, to have it forgotten.
    """

    __slots__ = ("_awake", "_forget", "_is_over", "_machine", "_scope", "_since")

    def __init__(self, machine: Hearing[T], forget: Callable[[object], None]) -> None:
        self._machine = machine
        self._forget = forget
        self._is_over = False
        self._awake: trio.Event | None = None  # while the task waits, and the scope that it waits in
        self._scope: trio.CancelScope | None = None
        self._since = 0  # items read since other tasks could run

    def deliver(self, packets: list[bytes], now: float) -> None:
        """Take the packets of one burst (for the call)."""
        machine = self._machine
        machine.receive(packets, now)
        if self._awake is not None:
            if machine.is_ready or (self._scope is None and machine.deadline < NEVER):
                self._awake.set()
            elif self._scope is not None and machine.deadline < self._scope.deadline:
                self._scope.deadline = (
                    machine.deadline
                )  # where it is later instead, the task wakes to see that: it costs less

    def end(self, now: float) -> None:
        """Note that nothing more comes (for the call)."""
        self._is_over = True
        self._forget = _forgotten  # so that we and the call's ears go without the garbage collector
        if self._awake is not None:
            self._awake.set()
        self._machine.close(now)

    def close(self) -> None:
        """Hear no more of the call. What is ready can still be read."""
        if not self._is_over:
            self._forget(self)
            self.end(trio.current_time())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        machine = self._machine
        self._since += 1
        if self._since < UNINTERRUPTED:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            self._since = 0
            await trio.lowlevel.checkpoint()
        while True:
            item = machine.read()
            if item is not None:
                return item
            if self._is_over:
                raise StopAsyncIteration
            self._since = 0
            self._awake = trio.Event()
            try:
                if machine.deadline == NEVER:  # as on a clean network; a scope would cost as much as decoding does
                    await self._awake.wait()
                else:
                    with trio.CancelScope(deadline=machine.deadline) as self._scope:
                        await self._awake.wait()
            finally:
                self._awake = self._scope = None
            machine.expire(trio.current_time())


def _forgotten(ear: object) -> None:
    """Nobody knows an ear that has ended."""


class Microphone(Ear[Frame]):
    """What the caller says, whole and in order: ``async for frame in call.microphone()``.

    `window` is for how many seconds it can use what is missing.
    """

    __slots__ = ("_listener", "window")

    def __init__(self, listener: Listener, window: float, forget: Callable[[object], None]) -> None:
        super().__init__(listener, forget)
        self._listener = listener
        self.window = window

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self._listener.rate

    def stats(self) -> dict[str, float]:
        """Counters as plain numbers (see `trioice.audio.Listener`); times are in seconds."""
        return self._listener.stats()

    def renumber(self, payload_type: int, red: int | None) -> None:
        """Know the codec by other payload types (for the call)."""
        self._listener.buffer.renumber(payload_type, red)


class Speech(Ear[SpeechStarted | SpeechStopped]):
    """When the caller begins to speak and ceases to: ``async for change in call.speech()``."""

    __slots__ = ("_activity",)

    def __init__(self, activity: Activity, forget: Callable[[object], None]) -> None:
        super().__init__(activity, forget)
        self._activity = activity

    @property
    def speaking(self) -> bool:
        """Whether the caller speaks at this moment."""
        self._activity.expire(trio.current_time())
        return self._activity.speaking

    def renumber(self, extension: int | None) -> None:
        """Find the level in another header extension (for the call)."""
        self._activity.renumber(extension)


class Ears:
    """All that listens to one call. It has asked for what is missing for as long as the most patient microphone can use it."""

    __slots__ = ("_closed", "_rtp", "_speeches", "microphones")

    def __init__(self, session: RtpSession) -> None:
        self._rtp = session
        self._closed: dict[str, float] | None = None  # what the last microphone told when it was closed
        self.microphones: tuple[Microphone, ...] = ()
        self._speeches: tuple[Speech, ...] = ()

    def open_microphone(
        self, codec: Codec, payload_type: int, red: int | None, rate: int, patience: float | Literal["auto"]
    ) -> Microphone:
        """Begin to hear frames. LocalProtocolError for a rate or a patience that there is not."""
        strategy = AutoPatience(self._rtp.stats(trio.current_time()).rtt) if patience == "auto" else patience
        listener = Listener(codec, payload_type, red=red, rate=rate, patience=strategy)
        microphone = Microphone(listener, MOST if patience == "auto" else patience, self._forget)
        self.microphones = (*self.microphones, microphone)
        self._repair()
        return microphone

    def open_speech(self, activity: Activity) -> Speech:
        """Begin to hear when speech begins and ends."""
        speech = Speech(activity, self._forget)
        self._speeches = (*self._speeches, speech)
        return speech

    def most_patient(self) -> dict[str, float] | None:
        """Tell the counters of the most patient microphone; where none is open, of the last that was."""
        if not self.microphones:
            return self._closed
        return max(self.microphones, key=lambda microphone: microphone.window).stats()

    def deliver(self, packets: list[bytes], now: float) -> None:
        """Take the packets of one burst."""
        for microphone in self.microphones:
            microphone.deliver(packets, now)
        for speech in self._speeches:
            speech.deliver(packets, now)

    def renumber(self, payload_type: int, red: int | None, extension: int | None) -> None:
        """Know by other numbers what is the same as before, as a new offer may give it."""
        for microphone in self.microphones:
            microphone.renumber(payload_type, red)
        for speech in self._speeches:
            speech.renumber(extension)

    def end(self, now: float) -> None:
        """Note that nothing more comes."""
        for ear in (*self.microphones, *self._speeches):
            ear.end(now)

    def _forget(self, ear: object) -> None:
        if isinstance(ear, Microphone):
            self._closed = ear.stats()
        self.microphones = tuple(microphone for microphone in self.microphones if microphone is not ear)
        self._speeches = tuple(speech for speech in self._speeches if speech is not ear)
        self._repair()

    def _repair(self) -> None:
        self._rtp.repair_window = max((microphone.window for microphone in self.microphones), default=0.0)
