"""What every test of a machine starts from: seeded entropy, and a count of calls instead of seconds."""

import gc
import random
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from trioice.sansio import Entropy


def seeded(seed: int) -> Entropy:
    """Entropy that is the same each time for the same seed."""
    return random.Random(seed).randbytes


def calls(function: Callable[[], object]) -> int:
    """Count the Python and C calls that `function` makes: exact, whatever else the machine is doing."""
    count = 0

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    before = sys.getprofile()
    gc.disable()  # what it calls to clean up after others is not the function's
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count - 2  # the call of `function` itself, and of setprofile


def loop_iterations(function: Callable[[], object], limit: int) -> None:
    """Run `function` and fail once it executed more than `limit` lines: an endless loop fails instead of hanging."""
    lines = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal lines
        if event == "line":
            lines += 1
            if lines > limit:
                raise AssertionError(f"over {limit} lines executed in {_name(frame.f_code)}")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)


def _name(code: CodeType) -> str:
    return f"{code.co_filename}:{code.co_name}"
