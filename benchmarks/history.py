"""What was measured when, on what machine, at which commit: a line of JSON for each run in .bench/history.jsonl."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import document, draw
from benchmarks.row import Row

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / ".bench"


def commit(tree: Path = ROOT) -> str:
    """The commit of a tree, with a + behind it where it was changed since; "" where there is none."""
    try:
        name = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=tree,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return name.stdout.strip()


def entry(rows: Sequence[Row], figures: Mapping[str, Sequence[float]], seconds: float) -> dict[str, Any]:
    """A run as it is remembered."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": commit(),
        "machine": document.machine(),
        "host": platform.node(),
        "seconds": seconds,
        "rows": {
            row.name: {"unit": row.unit, "median": statistics.median(figures[row.name]), "rounds": figures[row.name]}
            for row in rows
            if row.name in figures
        },
    }


def remember(made: dict[str, Any]) -> list[Path]:
    """Add a run to the history, and draw that of this machine if matplotlib is there; the files written."""
    DIRECTORY.mkdir(exist_ok=True)
    path = DIRECTORY / "history.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(made) + "\n")
    written = [path]
    runs = [run for line in path.read_text().splitlines() if (run := json.loads(line))["machine"] == made["machine"]]
    if draw.available():
        written.append(draw.history(runs, DIRECTORY / "history.svg"))
    return written
