"""The JSON of docs/reference/agents.md: commands of an agent as values, and what is told to it."""

import json
import math
from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

PROTOCOL: Final = 1
"""The version of the messages. What is added to them does not change it; what agents have to know of does."""

MAX_COMMAND: Final = 16384
"""Characters of a command at most: it has a name or a number in it."""

MAX_NAME: Final = 256
"""Characters of a mark's name at most, as up to `trioice.transceiver.speaker.MARKS` of them wait."""

MAX_FADE: Final = 20.0
"""Milliseconds of a fade-out at most: a packet."""

FADE: Final = 10.0
"""Milliseconds of a fade-out, unless told otherwise."""


class Blunder(Exception):
    """A message that cannot be followed. The agent is told why."""


@attrs.frozen
class Clear:
    """Fall silent, and forget what waits."""

    fade_ms: float


@attrs.frozen
class Mark:
    """Tell when all that was sent so far has been heard."""

    name: str


@attrs.frozen
class Pause:
    """Fall silent, and keep what waits."""


@attrs.frozen
class Resume:
    """Go on after a pause."""


@attrs.frozen
class HangUp:
    """End the call."""


@attrs.frozen
class AskStats:
    """Tell the call's figures."""


Command: TypeAlias = Clear | Mark | Pause | Resume | HangUp | AskStats


def read_command(text: str) -> Command:
    """Read a message of an agent. Raises Blunder."""
    if len(text) > MAX_COMMAND:
        raise Blunder(f"the message has more than {MAX_COMMAND} characters")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):  # the latter for arrays within arrays without end
        fields = None
    if not isinstance(fields, dict):
        raise Blunder("the message is not a JSON object")
    match fields.get("type"):
        case "clear":
            return Clear(_fade(fields))
        case "mark":
            return Mark(_name(fields))
        case "pause":
            return Pause()
        case "resume":
            return Resume()
        case "hang_up":
            return HangUp()
        case "stats":
            return AskStats()
        case _:
            raise Blunder("the type is none of clear, mark, pause, resume, hang_up and stats")


def event(kind: str, fields: Mapping[str, object]) -> str:
    """Write a message to an agent."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


def plain(value: object) -> object:
    """What a client sent beside its offer, if it can be told in JSON; else None."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return value


def _fade(fields: Mapping[str, object]) -> float:
    fade = fields.get("fade_ms", FADE)
    if isinstance(fade, bool) or not isinstance(fade, int | float) or not 0 <= fade <= MAX_FADE or math.isnan(fade):
        raise Blunder(f"fade_ms is not a number from 0 to {MAX_FADE:g}")
    return float(fade)


def _name(fields: Mapping[str, object]) -> str:
    name = fields.get("name", "")
    if not isinstance(name, str) or len(name) > MAX_NAME:
        raise Blunder(f"name is not a string of at most {MAX_NAME} characters")
    return name
