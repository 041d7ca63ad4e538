"""Run the rows, show them beside their goals, and remember them; or compare two commits.

    python -m benchmarks [--only REGEX] [--quick] [--list]
    python -m benchmarks --base REF [--only REGEX] [--quick]
    python -m benchmarks --profile NAME

A row is run several times, in rounds over all rows, each round in a fresh process; what counts is the median. The
figures go to .bench/history.jsonl with machine, Python and commit, and .bench/history.svg draws how they went. With
`--base`, the rows of this tree run on that commit too, in turn, and what counts is the ratio of each pair.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import re
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import compare, history
from benchmarks.row import Row
from benchmarks.rows import ROWS
from benchmarks.worker import RowFailed, Worker

ROOT = Path(__file__).parents[1]
ROUNDS, SECONDS = 5, 0.2
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.05

Figures = dict[str, list[float]]


def measure(rows: list[Row], rounds: int, seconds: float, console: Console) -> tuple[Figures, dict[str, str]]:
    """Every round's figures, and why rows failed."""
    figures: Figures = {row.name: [] for row in rows}
    failed: dict[str, str] = {}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=rounds * len(rows))
        for number in range(rounds):
            with Worker(ROOT) as worker:
                for row in rows:
                    progress.update(task, description=row.name, advance=1)
                    if row.name in failed or (row.slow and number):
                        continue
                    try:
                        figures[row.name].append(worker.run(row.name, seconds))
                    except RowFailed as error:
                        failed[row.name] = str(error)
    return {name: values for name, values in figures.items() if values}, failed


def show(rows: list[Row], figures: Figures, failed: dict[str, str], console: Console) -> None:
    """A line for each row."""
    table = Table(title="CPU time in one thread, unless a row says otherwise")
    table.add_column("row", no_wrap=True)
    table.add_column("what")
    table.add_column("median", justify="right", no_wrap=True)
    table.add_column("spread", justify="right", no_wrap=True)
    table.add_column("goal", justify="right", no_wrap=True)
    for row in rows:
        if row.name in failed:
            table.add_row(row.name, row.what, "[red]failed[/]", "", "")
            continue
        values = figures[row.name]
        median = statistics.median(values)
        spread = f"{(max(values) - min(values)) / median:.0%}" if len(values) > 1 else ""
        goal = ""
        if row.goal is not None:
            goal = f"{'<' if row.less else '>'} {row.text(row.goal)} " + (
                "[green]yes[/]" if row.reached(median) else "[red]NO[/]"
            )
        table.add_row(row.name, row.what, f"{row.text(median)} {row.unit}", spread, goal)
    console.print(table)
    for name, why in failed.items():
        console.print(f"[red]{name}[/]: {why}", markup=True)


def chosen(regex: str) -> list[Row]:
    """The rows whose names fit; those that need root only if we are."""
    return [row for name, row in ROWS.items() if re.search(regex, name) and (not row.root or os.geteuid() == 0)]


def profiled(name: str, seconds: float) -> None:
    """Where the time of a row goes, all that it sets up included."""
    profiler = cProfile.Profile()
    profiler.runcall(ROWS[name].run, seconds)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def arguments() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What scapystack costs.")
    parser.add_argument("--only", metavar="REGEX", default="", help="rows whose name fits")
    parser.add_argument("--quick", action="store_true", help="short rounds, and only one where nothing is compared")
    parser.add_argument("--rounds", type=int, help=f"how often each row is run ({ROUNDS})")
    parser.add_argument("--seconds", type=float, help=f"CPU seconds of a row in each round ({SECONDS})")
    parser.add_argument("--base", metavar="REF", help="compare with that commit")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--profile", metavar="NAME", help="show where the time of one row goes, and end")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    return parser


def main(argv: list[str] | None = None) -> int:
    parser = arguments()
    options = parser.parse_args(argv)
    try:
        rows = chosen(options.only)
    except re.error as error:
        parser.error(f"{options.only!r} is no regular expression: {error}")
    if not rows:
        parser.error(f"no row fits {options.only!r}; --list names them")
    if options.profile and options.profile not in ROWS:
        parser.error(f"no row is named {options.profile!r}; --list names them")
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    console = Console(width=None if sys.stdout.isatty() else 120)
    if options.list:
        for row in rows:
            print(f"{row.name:22} {row.unit:6} {row.what.strip()}")
        return 0
    if options.profile:
        profiled(options.profile, seconds)
        return 0
    if options.base:
        return compare.main(rows, options.base, options.rounds or compare.ROUNDS, seconds, console)
    figures, failed = measure(rows, rounds, seconds, console)
    show(rows, figures, failed, console)
    entry = history.entry(rows, figures, seconds)
    for written in history.remember(entry):
        console.print(f"[dim]{written}[/]")
    if options.json:
        Path(options.json).write_text(json.dumps(entry, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
