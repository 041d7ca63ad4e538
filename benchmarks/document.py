"""Tables in docs/performance.md, put there by whoever measured them, between two comments with their name."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

PERFORMANCE = Path(__file__).parents[1] / "docs" / "performance.md"


def put(name: str, text: str, path: Path = PERFORMANCE) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- end -->`. Raises ValueError where that is nowhere."""
    before = path.read_text()
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    after, count = pattern.subn(lambda found: f"{found[1]}{text}\n{found[2]}", before)
    if not count:
        raise ValueError(f"{path} has no place for {name}")
    path.write_text(after)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; the first column to the left, the others to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """Where this runs, in a line."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE)):
        model = found[1].strip()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()}, {python}"
