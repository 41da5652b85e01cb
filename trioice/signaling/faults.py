"""How an unexpected exception is told: its kind and its place, once."""

import traceback


def describe(error: BaseException) -> str:
    """Tell what went wrong and where. The words of an exception are left out: they may quote what a client sent."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(describe(inner) for inner in error.exceptions)
    return type(error).__name__ + "\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip()
