"""What a packet costs as work grows: with connections, window, losses, disorder, routes, fragments.

    .venv/bin/python -m benchmarks.costs [--only REGEX] [--quick] [--json FILE] [--document]

Each curve (`curves`) is the CPU time of a packet, in microseconds, at sizes that grow by powers: two stacks in
this process, or one that is fed, in virtual time, so that the same packets pass on every machine. A point is
the best of some rounds.

`power` is the steepest exponent between two sizes that are at least ten times apart: a cost that grows with n
itself shows nearly 1 there, log n 0.3 at the beginning and 0.1 later. The exit status is 1 where one is above LIMIT,
which says that a packet costs more than O(log n). (No power is said of losses, which are no number of things.)
`--document` puts table and pictures into docs/.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import document, draw
from benchmarks.curves import CURVES, Curve, Work
from benchmarks.pair import Meter

LIMIT = 0.5
"""Where caches are too small for what 10,000 connections hold, a decade shows up to 0.2."""
ROUNDS = 3
SECONDS = 0.2

Points = list[tuple[float, float]]
"""(size, microseconds)"""


def measure(curve: Curve, quick: bool) -> Points:
    """The points of a curve; `quick` is the first, a middle and the last one, in a round each."""
    sizes = curve.sizes
    if quick:
        sizes = (sizes[0], sizes[len(sizes) // 2], sizes[-1])
    points = []
    for size in sizes:
        work = curve.make(size)
        gc.collect()
        points.append((size, min(cost(work) for _ in range(1 if quick else ROUNDS))))
    return points


def cost(work: Work) -> float:
    """Microseconds a packet over one round."""
    packets = 0
    meter = Meter(SECONDS)
    while meter.on():
        packets += work()
    return meter.spent / packets * 1e6


def power(curve: Curve, points: Points) -> float | None:
    """The steepest exponent over a decade or more; None where there is none to speak of."""
    if curve.picture == "loss":
        return None
    steps = [
        math.log(later / earlier) / math.log(n / m)
        for i, (m, earlier) in enumerate(points)
        for n, later in points[i + 1 :]
        if n >= 10 * m
    ]
    return max(steps)


def number(size: float) -> str:
    """A size for people: 65536 is 64 K."""
    if size >= 1 << 16 and not size % 1024:
        return f"{int(size) >> 20} MB" if size >= 1 << 20 else f"{int(size) >> 10} KB"
    return f"{size:,g}" if size < 1 else f"{int(size):,}"


def show(results: list[tuple[Curve, Points]]) -> None:
    """A line for each curve."""
    table = Table(title="CPU time of a packet, microseconds (of TCP: of both ends together)")
    table.add_column("curve")
    table.add_column("size  cost")
    table.add_column("power", justify="right")
    for curve, points in results:
        steepest = power(curve, points)
        table.add_row(
            f"{curve.picture}: {curve.line}",
            "   ".join(f"{number(size)}  [bold]{cost:.1f}[/]" for size, cost in points),
            "" if steepest is None else f"{steepest:.2f}" + (" TOO MUCH" if steepest > LIMIT else ""),
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def markdown(results: list[tuple[Curve, Points]]) -> str:
    """The curves as a table: the first, a middle and the last size."""
    rows = []
    for curve, points in results:
        few = (points[0], points[len(points) // 2], points[-1])
        costs = [f"{cost:.1f} ({number(size)})" for size, cost in few]
        steepest = power(curve, points)
        rows.append([curve.what, *costs, "" if steepest is None else f"{steepest:.2f}"])
    return document.table(("CPU time of a packet, us (size)", "least", "middle", "most", "power"), rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What a packet costs as work grows.")
    parser.add_argument("--only", metavar="REGEX", default="", help="curves whose name (as in the table) fits")
    parser.add_argument("--quick", action="store_true", help="three sizes each, one round")
    parser.add_argument("--json", metavar="FILE", help="write the points there too")
    parser.add_argument("--document", action="store_true", help="put all into docs/performance.md (needs matplotlib)")
    options = parser.parse_args(argv)
    if options.document and (options.only or options.quick):
        parser.error("--document takes all curves, in full")
    chosen = [curve for curve in CURVES if re.search(options.only, f"{curve.picture}: {curve.line}")]
    if not chosen:
        parser.error(f"no curve fits {options.only!r}")
    results = [(curve, measure(curve, options.quick)) for curve in track(chosen, "measuring", transient=True)]
    show(results)
    if options.json:
        figures = [{"curve": f"{c.picture}: {c.line}", "points": points} for c, points in results]
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    if options.document:
        draw.curves(results, document.PERFORMANCE.parent / "img")
        document.put("costs", f"{document.machine()}:\n\n{markdown(results)}")
    return int(any((power(curve, points) or 0) > LIMIT for curve, points in results))


if __name__ == "__main__":
    sys.exit(main())
