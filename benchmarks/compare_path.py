"""One flow over a bad path, kernel and scapystack in turn: how fast each is where frames are lost.

    .venv/bin/python -m benchmarks.compare_path [--runs 5] [--json FILE]                (as root)
    .venv/bin/python -m benchmarks.compare_path --mbit 20 --rtt-ms 50 --loss 1 --cc cubic --cc bbr

Two hosts (network namespaces) are joined by a relay in user space that reads frames from one TAP and
writes them to another: a rate, a queue and random loss on the way of the data, a delay each way, as
`scapystack.link.impair` does them in simulations too. Neither TAP has offload, so that what is lost is
a frame of the MTU whoever sent it; the SYNs pass. The fate of the n-th frame follows from the run's
seed, which is the same for all pairs. Runs go pair by pair in turn, and the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import platform
import select
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import rig
from scapystack.base.frames import Frame
from scapystack.base.rng import Rng
from scapystack.link.impair import ImpairedLink, Impairment, tcp
from scapystack.link.tap import TapLink

CHUNK = 65_536
PAIRS = (("kernel", "kernel"), ("stack", "kernel"), ("kernel", "stack"), ("stack", "stack"))
_fork = mp.get_context("fork")


class Result(NamedTuple):
    """Of one run."""

    mbit: float
    """Megabits a second that the receiver's application has read."""
    resent: int
    gap: float
    """The longest time (s) in which it got nothing."""


# -- the relay


def relay(ends: tuple[TapLink, TapLink], ways: tuple[Impairment, Impairment], seed: int) -> None:
    """Carry frames between the two until killed: `ways[0]` is from the first to the second."""
    rng = Rng(seed)
    out = [ImpairedLink(ends[1 - n], seed=rng.bytes(32), tx=way) for n, way in enumerate(ways)]
    clock = time.monotonic_ns
    # select, not epoll: its time-out is in microseconds, and a frame takes 600 of them
    while True:
        times = [at for way in out if (at := way.next_at()) is not None]
        wait = max(0, min(times) - clock()) / 1e9 if times else None
        ready, _, _ = select.select(ends, [], [], wait)
        now = clock()
        for way in out:
            way.advance(now)
        for n, end in enumerate(ends):
            if end in ready:
                out[n].write(end.read())


def unharmed(frame: Frame, rng: Rng) -> list[tuple[Frame, int]]:
    """A rule's action: a lost SYN would cost a second and say nothing about recovery."""
    return [(frame, 0)]


# -- sender and receiver, each a process of its own


def send(kind: str, host: rig.Host, congestion: str, to: str, orders: Pipe) -> None:
    """Send until told to stop, then say how many segments were sent again."""
    side = rig.make_side(kind, host)
    sock = side.connect(to, congestion)
    chunk = bytes(CHUNK)
    while not orders.poll():
        sock.send(chunk)
    orders.send(side.look(sock).resent)
    orders.recv()


def receive(kind: str, host: rig.Host, seconds: float, answer: Pipe) -> None:
    """Take a connection and count for so long from its first octet; then read on until killed."""
    side = rig.make_side(kind, host)
    listener = side.listen()
    answer.send("ready")
    sock, _ = listener.accept()
    buffer = bytearray(1 << 20)
    clock = time.monotonic
    octets = sock.recv_into(buffer)
    last = start = clock()
    gap = 0.0
    end = start + seconds
    while True:
        n = sock.recv_into(buffer)
        now = clock()
        if now > end:
            break
        octets += n
        gap = max(gap, now - last)
        last = now
    answer.send((octets * 8 / seconds / 1e6, max(gap, end - last)))
    while sock.recv_into(buffer):
        pass


def measure(pair: tuple[str, str], congestion: str, options: argparse.Namespace, seed: int) -> Result:
    """One run on hosts of its own."""
    delay_ms = options.rtt_ms / 2
    forth = Impairment(
        rate=round(options.mbit * 1e6 / 8), queue_ms=options.queue_ms, delay_ms=delay_ms, loss=options.loss / 100,
        burst=options.burst,
    )  # fmt: skip
    forth.rule(unharmed, tcp("S"))
    forth.rule(unharmed, lambda frame: frame.data[12:14] == b"\x08\x06")
    back = Impairment(delay_ms=delay_ms)
    running: list[BaseProcess] = []

    def start(work: Callable[..., None], *words: Any) -> None:
        running.append(_fork.Process(target=work, args=words, daemon=True))
        running[-1].start()

    with rig.two_hosts() as (a, b):
        ends = tuple(TapLink(f"relay{n}", netns=host.name, offload=False) for n, host in enumerate((a, b)))
        try:
            for n, host in enumerate((a, b)):
                host.plug(f"relay{n}")
            start(relay, ends, (forth, back), seed)
            answer, theirs = _fork.Pipe()
            start(receive, pair[1], b, options.seconds, theirs)
            assert answer.recv() == "ready"
            orders, ours = _fork.Pipe()
            start(send, pair[0], a, congestion, b.address, ours)
            if not answer.poll(options.seconds + 60):
                raise TimeoutError(f"{' to '.join(pair)}, {congestion}, seed {seed}: no end in time")
            mbit, gap = answer.recv()
            orders.send("stop")
            resent = orders.recv() if orders.poll(30) else -1
        finally:
            for process in running:
                process.kill()
                process.join()
            for end in ends:
                end.close()
    return Result(mbit, resent, gap)


# -- all of it


def show(results: dict[tuple[str, str, str], list[Result]]) -> None:
    """A line for each pair and algorithm; the share is of the kernel's median with the same algorithm."""
    print(
        f"{'cc':6} {'sender':7} {'receiver':8} {'Mbit/s':>7} {'of kernel':>9}"
        "   lowest..highest  sent again  longest gap"
    )
    for (congestion, sender, receiver), runs in results.items():
        if not runs:
            continue
        rates = [run.mbit for run in runs]
        beside = results.get((congestion, "kernel", "kernel"))
        share = statistics.median(rates) / statistics.median(run.mbit for run in beside) if beside else 0.0
        print(
            f"{congestion:6} {sender:7} {receiver:8} {statistics.median(rates):7.2f} {share:9.0%}"
            f"   {min(rates):6.2f}..{max(rates):<7.2f} {statistics.median(run.resent for run in runs):10.0f}"
            f"  {max(run.gap for run in runs):9.2f} s"
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Kernel and scapystack over the same bad path.")
    parser.add_argument("--mbit", type=float, default=20, help="rate of the bottleneck (20 Mbit/s)")
    parser.add_argument("--rtt-ms", type=float, default=50, help="round trip without a queue (50)")
    parser.add_argument("--queue-ms", type=float, default=100, help="what a frame may wait in the queue (100)")
    parser.add_argument("--loss", type=float, default=1, help="percent of the data's frames (1)")
    parser.add_argument("--burst", type=float, default=0, help="mean length of a run of losses (0: each by itself)")
    parser.add_argument("--cc", action="append", help="congestion control, of the kernel and of the stack (cubic)")
    parser.add_argument("--seconds", type=float, default=20, help="of each run (20)")
    parser.add_argument("--runs", type=int, default=5, help="of each pair, each with a seed of its own (5)")
    parser.add_argument("--pair", action="append", choices=["-".join(pair) for pair in PAIRS], help="sender-receiver")
    parser.add_argument("--json", metavar="FILE", help="write every run there too")
    options = parser.parse_args(argv)
    pairs = [pair for pair in PAIRS if not options.pair or "-".join(pair) in options.pair]
    algorithms = options.cc or ["cubic"]
    results: dict[tuple[str, str, str], list[Result]] = {(cc, *pair): [] for cc in algorithms for pair in pairs}
    for seed in range(1, options.runs + 1):
        for congestion, *pair in results:
            result = measure((pair[0], pair[1]), congestion, options, seed)
            results[congestion, pair[0], pair[1]].append(result)
            print(f"seed {seed} {congestion:6} {pair[0]:6} to {pair[1]:6} {result.mbit:6.2f} Mbit/s", file=sys.stderr)
    print(
        f"{options.mbit:g} Mbit/s, {options.rtt_ms:g} ms, queue {options.queue_ms:g} ms, {options.loss:g}% loss"
        f"{f' in runs of {options.burst:g}' if options.burst else ''}; {options.runs} runs of {options.seconds:g} s;"
        f" Linux {platform.release()}, Python {platform.python_version()}"
    )
    show(results)
    if options.json:
        figures = {" ".join(key): [run._asdict() for run in runs] for key, runs in results.items()}
        Path(options.json).write_text(json.dumps({"options": vars(options), "runs": figures}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
