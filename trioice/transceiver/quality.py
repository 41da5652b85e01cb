"""How a call sounded, both ways: what the network lost, what repaired it, what was missed all the same, and how the agent's voice fared."""

from typing import Final

import attrs

from trioice.rtp import RtpStats

Figures = dict[str, float]

NO_EARS: Final[Figures] = {
    "patience": 0.0,
    "frames": 0,
    "lost": 0,
    "fec": 0,
    "unread": 0,
    "delay_p50": 0.0,
    "delay_p99": 0.0,
}
NO_VOICE: Final[Figures] = {
    "queued": 0.0,
    "written_ms": 0,
    "sent_ms": 0,
    "heard_ms": 0,
    "clears": 0,
    "longest_clear_ms": 0.0,
}


@attrs.frozen(kw_only=True)
class Quality:
    """Counters since the call began. Times are seconds, but for those that end in `_ms`.

    Of the caller's packets `expected`, `missed` were not there when a later one was; of those `red`, `nack` and `late` brought so many
    after all. Of the frames that the most patient microphone heard, so many were only coarsely known (`fec`) or `lost`; without a
    microphone, frames are packets, and all that was not repaired is lost.
    """

    expected: int
    missed: int
    red: int
    nack: int
    late: int
    frames: int
    fec: int
    lost: int
    unread: int
    patience: float
    delay_p50: float
    delay_p99: float
    rtt: float | None
    jitter: float
    sent: int
    remote_lost: int
    remote_jitter: float
    retransmitted: int
    written_ms: int
    sent_ms: int
    heard_ms: int
    clears: int
    longest_clear_ms: float

    @classmethod
    def of(cls, rtp: RtpStats, ears: Figures | None, voice: Figures | None) -> "Quality":
        """Sum up what RTP counted, the most patient microphone, and the speaker."""
        expected = max(0, rtp.packets_received + rtp.packets_lost)
        heard = NO_EARS | {"frames": expected, "lost": max(0, rtp.packets_lost)} if ears is None else ears
        spoken = NO_VOICE if voice is None else voice
        return cls(
            expected=expected,
            missed=rtp.packets_missed,
            red=rtp.repaired_by_red,
            nack=rtp.repaired_by_nack,
            late=rtp.late,
            frames=int(heard["frames"]),
            fec=int(heard["fec"]),
            lost=int(heard["lost"]),
            unread=int(heard["unread"]),
            patience=heard["patience"],
            delay_p50=heard["delay_p50"],
            delay_p99=heard["delay_p99"],
            rtt=rtp.rtt,
            jitter=rtp.jitter,
            sent=rtp.packets_sent,
            remote_lost=max(0, rtp.remote_lost),
            remote_jitter=rtp.remote_jitter,
            retransmitted=rtp.retransmitted,
            written_ms=int(spoken["written_ms"]),
            sent_ms=int(spoken["sent_ms"]),
            heard_ms=int(spoken["heard_ms"]),
            clears=int(spoken["clears"]),
            longest_clear_ms=spoken["longest_clear_ms"],
        )

    def line(self) -> str:
        """All of it for one line of a log."""
        return " ".join(f"{name}={_short(value)}" for name, value in attrs.asdict(self).items())


def _short(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
