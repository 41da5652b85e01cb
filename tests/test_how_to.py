"""The how-to pages' code, run as their reader would run it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs/how-to"


def blocks(page: str, language: str) -> list[str]:
    """The page's code blocks in a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", (PAGES / page).read_text(), re.MULTILINE | re.DOTALL)
    return [dedent(block) for _, block in found]


def test_the_tests_of_an_agent_run_as_the_page_has_them(tmp_path: Path) -> None:
    agent, tests = blocks("test-your-app.md", "python")
    (settings,) = blocks("test-your-app.md", "toml")
    (tmp_path / "agent.py").write_text(agent)
    (tmp_path / "test_agent.py").write_text(tests)
    (tmp_path / "pyproject.toml").write_text(settings)
    shutil.copy(ROOT / "tests/harness/caller.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{tests.count('async def test_')} passed" in done.stdout


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("docs/**/*.md")) + sorted(ROOT.glob("*.md")), ids=lambda page: page.name
)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"
