"""What holds for all tests: without a Chromium, those that need one are left out only when WITHOUT_CHROMIUM says so, and counted aloud."""

import os

import hypothesis
import pytest

# The same examples each time: what is green here is green elsewhere. HYPOTHESIS_PROFILE=search looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("search", deadline=None, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

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
