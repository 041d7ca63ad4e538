"""The program as a person meets it: how long it takes to start, and what a connection that does nothing costs."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

from benchmarks import memory
from benchmarks.row import Row


def started(*words: str) -> float:
    """Seconds of a process, from its start to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def seconds_of(name: str, what: str, *words: str, goal: float | None = None) -> Row:
    """How long a Python takes to do that, from its start to its end."""
    return Row(name, what, "s", lambda seconds: started(*words), less=True, goal=goal)


def octets_of(name: str, what: str, state: str, goal: float | None = None) -> Row:
    """What each of 10,000 connections takes in a state."""
    run = partial(memory.measure, state, 10_000, None)
    return Row(name, what, "octets", lambda seconds: run(), less=True, goal=goal, slow=True)


ROWS: list[Row] = [
    seconds_of("start.python", "python -c pass", "-c", "pass"),
    seconds_of("start.import", "python -c 'import scapystack'", "-c", "import scapystack", goal=0.25),
    seconds_of("start.stack", "python -c 'from scapystack import Stack'", "-c", "from scapystack import Stack"),
    seconds_of("start.help", "scapystack --help", "-m", "scapystack", "--help", goal=0.4),
    octets_of("memory.idle", "each of 10,000 connections, accepted", "fresh", goal=3_072),
    octets_of("memory.used", "  and used once, both ways", "used"),
]
