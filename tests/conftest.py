"""What holds for all tests: without a Chromium, those that need one are left out only when WITHOUT_CHROMIUM says so, and counted aloud."""

import os

import pytest

LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not os.environ.get("WITHOUT_CHROMIUM"):
        return
    left_out = [item for item in items if item.get_closest_marker("chromium")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    config.stash[LEFT_OUT] = len(left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"WITHOUT_CHROMIUM: {left_out} tests that drive a real Chromium were left out", yellow=True
        )
