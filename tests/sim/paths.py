"""The path matrix: one transfer over every kind of bad path, by every congestion control, in virtual time.

Each cell is a path and a size. The transfer must arrive octet for octet; how fast it was, how many
segments were sent again and how many timeouts there were stands in `goodput.txt`, a golden file that
`test_paths_*.py` compare exactly: the same seed gives the same frames at the same nanosecond on every
machine, so a figure that differs is a change of behaviour, to be looked at before it is taken over.

    python -m tests.sim.paths                   # run it and show what differs from goodput.txt
    python -m tests.sim.paths --update          # and write the new figures there
    python -m tests.sim.paths --times 20 "25 ms"    # 20 times the octets, of the cells with that in their name

Beside each figure of that table stands its share of what theory expects of a long transfer, so that
only the last command's say something: a short one is over before slow start is.

Read `tests.sim.bottleneck` first.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

from scapystack.base.types import SECOND
from scapystack.layers.tcp.congestion import names
from tests.sim.bottleneck import Bottleneck

GOLDEN = Path(__file__).with_name("goodput.txt")
RATE = 2_500_000
"""Octets a second of every bottleneck: 20 Mbit/s."""
MSS = 1_448
FRAME = MSS + 66
LIMIT_S = 3_600
SIZE = 400_000
SIZES = {0.1: 3_000_000, 1: 1_000_000}
"""By the percentage of frames lost, `SIZE` for others: enough for some losses in every cell."""
_DEEP_MS = 100.0


@dataclass(frozen=True)
class Cell:
    """A path: the delay of each way (ms), what a frame may wait in the bottleneck's queue (ms), the faults."""

    delay_ms: float
    queue_ms: float = _DEEP_MS
    faults: Mapping[str, Any] = field(default_factory=dict)
    back: Mapping[str, Any] = field(default_factory=dict)
    """Faults on the way of the ACKs."""
    tcp: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the receiver's TCP."""
    size: int = SIZE

    def theory(self, congestion: str) -> float:
        """What a long transfer can have by this algorithm, octets a second: of the line, or of the losses.

        Reno's window is sqrt(3 / 2p) segments on average (Mathis, Semke, Mahdavi, Ott, "The Macroscopic
        Behavior of the TCP Congestion Avoidance Algorithm", 1997), CUBIC's is that or 1.054 * (RTT / p)**0.75,
        whichever is more (RFC 9438 sections 5.1 and 5.2); p is the share of frames at which losses begin, for
        p small and RTT in seconds. Who measures the path instead loses what is lost.
        """
        lost = self.faults.get("loss", 0) + self.faults.get("corrupt", 0)
        line = RATE * MSS / FRAME * (1 - lost)
        p = self.faults.get("loss", 0) / max(self.faults.get("burst", 1), 1) + self.faults.get("corrupt", 0)
        if not p or congestion not in ("reno", "cubic"):
            return line
        rtt = 2 * self.delay_ms / 1e3 + FRAME / RATE
        window = sqrt(1.5 / p)
        if congestion == "cubic":
            window = max(window, 1.054 * (rtt / p) ** 0.75)
        return min(line, window * MSS / rtt)


class Result(NamedTuple):
    """How a transfer went."""

    goodput: int
    """Octets a second, from the connection to the end of the stream."""
    resent: int
    """Segments sent again."""
    timeouts: int

    def __str__(self) -> str:
        return f"{self.goodput:9,} {self.resent:4} {self.timeouts:3}"


def _cells() -> Iterator[tuple[str, Cell]]:
    for delay in (1, 25, 100, 300):
        where = f"{delay} ms"
        yield f"{where}, clean", Cell(delay)
        for percent in (0.1, 1, 3, 10):
            size = SIZES.get(percent, SIZE)
            yield f"{where}, {percent}% loss", Cell(delay, faults={"loss": percent / 100}, size=size)
            burst = {"loss": percent / 100, "burst": 4.0}
            yield f"{where}, {percent}% loss in bursts", Cell(delay, faults=burst, size=size)
    for delay in (1, 25, 300):
        where = f"{delay} ms"
        yield f"{where}, small queue", Cell(delay, 5)
        yield f"{where}, small queue, 1% loss", Cell(delay, 5, {"loss": 0.01}, size=SIZES[1])
        yield f"{where}, large queue", Cell(delay, 1_000)
        yield f"{where}, large queue, 1% loss", Cell(delay, 1_000, {"loss": 0.01}, size=SIZES[1])
        yield f"{where}, 3% reordered", Cell(delay, faults={"reorder": 0.03})
        yield f"{where}, 3% duplicated", Cell(delay, faults={"duplicate": 0.03})
        yield f"{where}, 1% corrupted", Cell(delay, faults={"corrupt": 0.01}, size=SIZES[1])
        yield f"{where}, 3% loss both ways", Cell(delay, faults={"loss": 0.03}, back={"loss": 0.03})
    yield "25 ms, 10% reordered by 10", Cell(25, faults={"reorder": 0.1, "reorder_by": 10})
    yield "25 ms, 5 ms of jitter", Cell(25, faults={"jitter_ms": 5})
    yield "25 ms, 20 ms of jitter, 1% loss", Cell(25, faults={"jitter_ms": 20, "loss": 0.01}, size=SIZES[1])
    yield "25 ms, 10% loss both ways", Cell(25, faults={"loss": 0.1}, back={"loss": 0.1})
    yield "25 ms, 30% loss of ACKs", Cell(25, back={"loss": 0.3})
    every = {"loss": 0.02, "burst": 2.0, "reorder": 0.01, "duplicate": 0.01, "corrupt": 0.01, "jitter_ms": 1}
    yield "25 ms, everything both ways", Cell(25, faults=every, back=every, size=SIZES[1])
    for lacking in ("sack", "timestamps"):
        peer = {lacking: False}
        where = f"25 ms, no {lacking.upper() if lacking == 'sack' else lacking}"
        yield f"{where}, clean", Cell(25, tcp=peer)
        for percent in (1, 3, 10):
            size = SIZES.get(percent, SIZE)
            yield f"{where}, {percent}% loss", Cell(25, faults={"loss": percent / 100}, tcp=peer, size=size)
        yield f"{where}, 3% loss in bursts", Cell(25, faults={"loss": 0.03, "burst": 4.0}, tcp=peer)
        yield f"{where}, 3% reordered", Cell(25, faults={"reorder": 0.03}, tcp=peer)
    neither = {"sack": False, "timestamps": False}
    yield "25 ms, neither, 3% loss", Cell(25, faults={"loss": 0.03}, tcp=neither)


CELLS: dict[str, Cell] = dict(_cells())


def transfer(title: str, congestion: str, *, times: int = 1, seed: int = 1) -> Bottleneck:
    """One transfer, done. Raises AssertionError unless every octet arrives in its place within an hour."""
    cell = CELLS[title]
    size = cell.size * times
    path = Bottleneck(
        congestion, rate=RATE, delay_ms=cell.delay_ms, queue_ms=cell.queue_ms, seed=seed, size=size,
        tcp=cell.tcp, back=cell.back, **cell.faults,
    )  # fmt: skip
    flow = path.flows[0]
    end = path.sim.now + LIMIT_S * SECOND
    path.sim.run(lambda: flow.done_at is not None or path.sim.now > end)
    assert flow.received == size, f"{title}, {congestion}: {flow.received:,} octets of {size:,} in an hour"
    assert flow.intact, f"{title}, {congestion}: what arrived is not what was sent"
    return path


def result(path: Bottleneck) -> Result:
    """How the transfer over `path` went."""
    counters = path.drivers[0].stack.counters
    return Result(int(path.flows[0].goodput), counters["tcp.retrans_segs"], counters["tcp.timeouts"])


# -- the golden file


def check(title: str, congestion: str, path: Bottleneck | None = None) -> None:
    """Compare a cell, run now unless it was, with the golden file. Raises AssertionError, which says what to do."""
    expected = golden().get((title, congestion))
    found = result(path or transfer(title, congestion))
    assert found == expected, (
        f"{title}, {congestion}: {found} where {GOLDEN.name} has {expected}. If that is what the change was"
        " meant to do: python -m tests.sim.paths --update, and look at every line that it changes."
    )


def golden() -> dict[tuple[str, str], Result]:
    """What `goodput.txt` says, by cell and algorithm."""
    results: dict[tuple[str, str], Result] = {}
    algorithms: list[str] = []
    for line in GOLDEN.read_text().splitlines():
        if line.startswith("#") or "|" not in line:
            continue
        title, *columns = (part.strip() for part in line.split("|"))
        if not title:
            algorithms = columns
            continue
        for algorithm, column in zip(algorithms, columns, strict=True):
            results[title, algorithm] = Result(*(int(word.replace(",", "")) for word in column.split()))
    return results


def table(results: Mapping[tuple[str, str], Result], theory: bool = False) -> str:
    """The figures as text, a line for each cell; with `theory`, the share of what it expects of a long transfer."""
    titles = list(dict.fromkeys(title for title, _ in results))
    algorithms = sorted({algorithm for _, algorithm in results})
    width = max(map(len, titles))
    lines = [" | ".join((" " * width, *(f"{name:{24 if theory else 18}}" for name in algorithms)))]
    for title in titles:
        columns = [str(results[title, name]) for name in algorithms]
        if theory:
            shares = [results[title, name].goodput / CELLS[title].theory(name) for name in algorithms]
            columns = [f"{column} {share:5.0%}" for column, share in zip(columns, shares, strict=True)]
        lines.append(" | ".join((f"{title:{width}}", *columns)))
    return "\n".join(line.rstrip() for line in lines) + "\n"


HEAD = """\
# The path matrix: octets a second that arrive, segments sent again, timeouts; 20 Mbit/s in every cell.
# Written by `python -m tests.sim.paths --update`, compared exactly by test_paths_*.py; read paths.py first.
"""


def _run(job: tuple[str, str, int, int]) -> Result:
    title, algorithm, times, seed = job
    return result(transfer(title, algorithm, times=times, seed=seed))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The path matrix in virtual time.")
    parser.add_argument("part", nargs="?", default="", help="only cells with this in their name")
    parser.add_argument("--cc", action="append", choices=names(), help="only this algorithm")
    parser.add_argument("--times", type=int, default=1, help="so many times the octets (1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--update", action="store_true", help=f"write {GOLDEN.name}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (one for each CPU)")
    options = parser.parse_args(argv)
    whole = options.times == options.seed == 1
    if options.update and not (whole and not options.part and not options.cc):
        parser.error(f"--update takes the matrix as it is: {GOLDEN.name} has one size, one seed, and every cell")
    pairs = [(title, name) for title in CELLS if options.part in title for name in options.cc or names()]
    if not pairs:
        parser.error(f"no cell has {options.part!r} in its name")
    with ProcessPoolExecutor(options.jobs) as pool:
        found = pool.map(_run, [(*pair, options.times, options.seed) for pair in pairs])
        results = dict(zip(pairs, found, strict=True))
    print(table(results, theory=True), end="")
    if options.update:
        GOLDEN.write_text(HEAD + table(results))
    elif whole:
        was = golden()
        changed = [pair for pair in pairs if was.get(pair) != results[pair]]
        for pair in changed:
            print(f"{', '.join(pair)}: was {was.get(pair, 'not there')}, is {results[pair]}")
        return bool(changed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
