"""Two commits compared: the rows of this tree run on both, in turn, in processes that are as old as each other.

The other commit is checked out into a worktree of its own (removed at the end), and this tree's benchmarks/ put
into it, so that both are asked the same. What counts is the ratio of the two figures of a pair, measured one
directly after the other, which of them first by turns: what else the machine does strikes both alike.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import history
from benchmarks.row import Row
from benchmarks.worker import RowFailed, Worker

ROOT = Path(__file__).parents[1]
NOISE = 0.05
ROUNDS = 5
"""What a median ratio must differ from 1 by to be called a difference, beside all pairs agreeing on its sign."""

Pairs = dict[str, list[tuple[float, float]]]


@contextlib.contextmanager
def worktree(reference: str) -> Iterator[Path]:
    """That commit in a directory of its own, with the benchmarks of this tree. Raises SystemExit for an unknown one."""
    directory = Path(tempfile.mkdtemp(prefix="scapystack-base-"))
    tree = directory / "tree"
    made = subprocess.run(
        ["git", "worktree", "add", "--quiet", "--detach", str(tree), reference],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        if made.returncode:
            raise SystemExit(f"git knows no commit {reference!r}: {made.stderr.strip().splitlines()[-1]}")
        shutil.rmtree(tree / "benchmarks", ignore_errors=True)
        shutil.copytree(ROOT / "benchmarks", tree / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
        yield tree
    finally:
        if not made.returncode:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=False)
        shutil.rmtree(directory, ignore_errors=True)


def measure(rows: list[Row], base: Path, rounds: int, seconds: float, console: Console) -> tuple[Pairs, dict[str, str]]:
    """For each row the pairs (base, this tree), and why rows could not be compared."""
    pairs: Pairs = {row.name: [] for row in rows}
    failed: dict[str, str] = {}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=rounds * len(rows))
        for number in range(rounds):
            with Worker(base) as theirs, Worker(ROOT) as ours:
                for row in rows:
                    progress.update(task, description=row.name, advance=1)
                    if row.name in failed or (row.slow and number):
                        continue
                    try:
                        pairs[row.name].append(pair(row, theirs, ours, seconds, number % 2 == 0))
                    except RowFailed as error:
                        failed[row.name] = str(error)
    return {name: values for name, values in pairs.items() if values and name not in failed}, failed


def pair(row: Row, theirs: Worker, ours: Worker, seconds: float, theirs_first: bool) -> tuple[float, float]:
    """Both figures, one right after the other. Raises RowFailed, and says whose."""
    figures = {}
    for worker in (theirs, ours) if theirs_first else (ours, theirs):
        try:
            figures[worker] = worker.run(row.name, seconds)
        except RowFailed as error:
            raise RowFailed(f"{'the base' if worker is theirs else 'this tree'}: {error}") from None
    return figures[theirs], figures[ours]


def better(row: Row, values: list[tuple[float, float]]) -> list[float]:
    """How many times better this tree is, pair by pair."""
    return [base / here if row.less else here / base for base, here in values if base > 0 and here > 0]


def verdict(ratios: list[float]) -> str:
    """In a word."""
    middle = statistics.median(ratios)
    if middle > 1 + NOISE and min(ratios) > 1:
        return "[green]better[/]"
    if middle < 1 - NOISE and max(ratios) < 1:
        return "[red]worse[/]"
    return "same"


def show(rows: list[Row], pairs: Pairs, reference: str, console: Console) -> None:
    """A line for each row."""
    table = Table(
        title=f"{reference} and this tree ({history.commit() or 'no commit'}): medians, and how many times better"
    )
    table.add_column("row", no_wrap=True)
    for heading in (reference, "here", "ratio", "spread", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row.name not in pairs:
            continue
        ratios = better(row, pairs[row.name])
        base, here = (statistics.median(side) for side in zip(*pairs[row.name], strict=True))
        table.add_row(
            row.name,
            f"{row.text(base)} {row.unit}",
            f"{row.text(here)} {row.unit}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} .. {max(ratios):.2f}",
            verdict(ratios),
        )
    console.print(table)


def main(rows: list[Row], reference: str, rounds: int, seconds: float, console: Console) -> int:
    """Compare; 0."""
    with worktree(reference) as base:
        pairs, failed = measure(rows, base, rounds, seconds, console)
    show(rows, pairs, reference, console)
    for name, why in failed.items():
        console.print(f"{name} cannot be compared: {why}", markup=False)
    return 0
