"""Lines of code per package: what is left without blank lines, comments and docstrings."""

import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.machine import table

ROOT: Final = Path(__file__).parent.parent
LAYOUT: Final = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NL,
}


def report() -> str:
    """One row for each package of trioice, for its single modules together, and for what stands beside it."""
    trioice = ROOT / "trioice"
    packages = sorted(path.parent for path in trioice.glob("*/__init__.py"))
    rows = [
        _row("trioice/*.py", trioice.glob("*.py")),
        *(_row(f"trioice/{package.name}", package.rglob("*.py")) for package in packages),
        _row("trioice, all of it", trioice.rglob("*.py")),
        *(_row(folder, (ROOT / folder).rglob("*.py")) for folder in ("tests", "examples", "bench")),
    ]
    return table("Lines of Python", ("package", "files", "code", "all lines"), rows)


def count(path: Path) -> int:
    """How many lines of a file hold code."""
    lines: set[int] = set()
    statement: list[tokenize.TokenInfo] = []
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.NEWLINE:
                if any(each.type != tokenize.STRING for each in statement):  # a string alone is a docstring
                    lines.update(line for each in statement for line in range(each.start[0], each.end[0] + 1))
                statement = []
            elif token.type not in LAYOUT:
                statement.append(token)
    return len(lines)


def _row(name: str, paths: Iterable[Path]) -> tuple[str, int, int, int]:
    files = list(paths)
    return name, len(files), sum(map(count, files)), sum(len(path.read_text().splitlines()) for path in files)
