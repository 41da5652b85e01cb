"""Lines of code per package: what is left without blank lines, comments and docstrings."""

import tokenize
from collections import Counter
from pathlib import Path
from typing import Final

from bench.machine import table

ROOT: Final = Path(__file__).parent.parent
LAYOUT: Final = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}


def report() -> str:
    """One row for each package of trioice, for its single modules together, and for what stands beside it."""
    files: Counter[str] = Counter()
    code: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for top in ("trioice", "tests", "examples", "bench"):
        for path in sorted((ROOT / top).rglob("*.py")):
            folder, *inner = path.relative_to(ROOT).parts[:-1]
            package = folder if folder != "trioice" else f"trioice/{inner[0]}" if inner else "trioice/*.py"
            text = path.read_text()
            files[package] += 1
            code[package] += count(path)
            total[package] += len(text.splitlines())
    rows: list[tuple[object, ...]] = [(package, files[package], code[package], total[package]) for package in files]
    ours = [package for package in files if package.startswith("trioice/")]
    rows.append(("trioice, all of it", *(sum(each[package] for package in ours) for each in (files, code, total))))
    return table("Lines of Python", ("package", "files", "code", "with prose and blanks"), rows)


def count(path: Path) -> int:
    """How many lines of a file hold code."""
    lines: set[int] = set()
    statement: list[tokenize.TokenInfo] = []
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.NEWLINE:
                if any(each.type != tokenize.STRING for each in statement):  # a string alone is a docstring
                    for each in statement:
                        lines.update(range(each.start[0], each.end[0] + 1))
                statement = []
            elif token.type not in LAYOUT and token.type != tokenize.COMMENT:
                statement.append(token)
    return len(lines)
