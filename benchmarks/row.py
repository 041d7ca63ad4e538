"""`Row`: one benchmark with one figure. Read `pair` next, and `rows` for those there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`run` takes about so many CPU seconds (what it has to set up not counted) and returns the figure once.

    `less` says that a smaller figure is the better one. `slow` rows are run once, not round after round: they
    take long, or always give the same. `root` rows need the right to make TAPs and namespaces.
    """

    name: str
    what: str
    unit: str
    run: Callable[[float], float]
    less: bool = False
    goal: float | None = None
    slow: bool = False
    root: bool = False

    def reached(self, figure: float) -> bool:
        """Whether a figure is as good as the goal."""
        return self.goal is None or (figure <= self.goal if self.less else figure >= self.goal)

    @staticmethod
    def text(figure: float) -> str:
        """A figure for people: three digits that say something."""
        return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def microseconds(name: str, what: str, make: Callable[[], Callable[[], object]], each: int = 1) -> Row:
    """A row of CPU time: `make` sets up and returns what is called again and again, `each` operations a call."""
    return Row(name, what, "us", lambda seconds: time_calls(make(), seconds) / each, less=True)


def time_calls(once: Callable[[], object], seconds: float) -> float:
    """Microseconds of this thread's CPU time a call."""
    clock = time.thread_time
    for _ in range(3):
        once()
    count, spent, block = 0, 0.0, 1
    while spent < seconds:
        start = clock()
        for _ in range(block):
            once()
        took = clock() - start
        count += block
        spent += took
        if took < seconds / 20:
            block *= 2
    return spent / count * 1e6
