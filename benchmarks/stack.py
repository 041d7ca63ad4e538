"""What the stack itself can do: two stacks in one process, nothing between them but a list of frames.

    .venv/bin/python -m benchmarks.stack [name ...] [--json FILE] [--seconds N] [--profile]

No link, no driver, no kernel: every figure is the cost of the core (and of cutting and checksumming
where frames are wire-size), counted in CPU seconds of this one thread, both stacks' together. So a stack
that has a processor to itself does about twice as much. Virtual time moves on 50 us with every exchange.
`--profile` prints where the time of each benchmark goes.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import platform
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.pair import BATCH, PORT, B, Meter, Pair
from scapystack.base.addr import ANY4
from scapystack.base.frames import Frame
from scapystack.base.offload import split
from scapystack.base.timers import TimerHeap
from scapystack.base.types import MICROSECOND

CHUNK = bytes(1 << 20)
ROUNDS = 3

Result = dict[str, float]


def bulk(seconds: float, *, offload: bool, loss: float = 0.0) -> Result:
    """a writes as much as it may, b reads and drops it."""
    pair = Pair(offload=offload, loss=loss)
    c, d = pair.open()
    octets = 0
    meter = Meter(seconds)
    while meter.on():
        for _ in range(8):
            c.write(CHUNK)
            if not pair.exchange():
                pair.wait()
            octets += d.discard(1 << 30)
    return {"MB/s": octets / meter.spent / 1e6, "segments/s": octets / c.snd_mss / meter.spent}


def side(seconds: float, *, offload: bool, sender: bool) -> Result:
    """`bulk`, and only one of the two stacks is on the clock."""
    pair = Pair(offload=offload)
    c, d = pair.open()
    octets = 0
    spent = 0.0
    clock = time.thread_time
    while spent < seconds:
        pair.now += 50 * MICROSECOND
        start = clock()
        c.write(CHUNK)
        pair.a.poll(pair.now)
        sent = pair.a.take_frames()
        wire = sent if offload else [part for frame in sent for part in split(frame)]
        middle = clock()
        iface = pair.ifaces[pair.b]
        arrived = [Frame(p.data, (), iface, p.csum, p.csum_start, p.csum_offset, p.gso_size) for p in wire]
        rx_start = clock()
        for number, frame in enumerate(arrived, 1):
            pair.b.receive(frame, pair.now)
            if number % BATCH == 0:
                pair.b.poll(pair.now)
        octets += d.discard(1 << 30)
        pair.b.poll(pair.now)
        acks = pair.b.take_frames()
        rx_end = clock()
        iface = pair.ifaces[pair.a]
        back = [part for ack in acks for part in split(ack)]
        arrived = [Frame(p.data, (), iface) for p in back]
        ack_start = clock()
        for frame in arrived:
            pair.a.receive(frame, pair.now)
        ack_end = clock()
        spent += (middle - start + ack_end - ack_start) if sender else (rx_end - rx_start)
    return {"MB/s": octets / spent / 1e6, "segments/s": octets / c.snd_mss / spent}


def tcp_echo(seconds: float) -> Result:
    """One octet there and back."""
    pair = Pair(offload=True)
    c, d = pair.open()
    c.options.nodelay = d.options.nodelay = True
    count = 0
    meter = Meter(seconds)
    while meter.on():
        for _ in range(50):
            c.write(b"x")
            pair.carry(pair.a, pair.b)
            d.write(d.read(1))
            pair.carry(pair.b, pair.a)
            assert c.read(1) == b"x"
            pair.now += 50 * MICROSECOND
        count += 50
    return {"echoes/s": count / meter.spent, "us/echo": meter.spent / count * 1e6}


def connections(seconds: float) -> Result:
    """Open, a request of 64 octets, an answer of 64, close on both sides, TIME-WAIT to its end."""
    pair = Pair(offload=True)
    request = bytes(64)
    count = 0
    meter = Meter(seconds)
    while meter.on():
        for _ in range(10):
            c, d = pair.open()
            c.write(request)
            pair.exchange()
            d.write(d.read(100))
            d.close()
            pair.exchange()
            assert len(c.read(100)) == 64
            c.close()
            pair.settle()
        count += 10
    return {"connections/s": count / meter.spent, "us/connection": meter.spent / count * 1e6}


def udp_echo(seconds: float, *, size: int) -> Result:
    """A datagram there and back; above the MTU in fragments."""
    pair = Pair(offload=True)
    server = pair.b.udp.bind(ANY4, PORT)
    client = pair.a.udp.bind(ANY4, 0)
    client.connect(B, PORT)
    data = bytes(size)
    count = 0
    turns = 50 if size < 10_000 else 5
    meter = Meter(seconds)
    while meter.on():
        for _ in range(turns):
            client.send(data)
            pair.carry(pair.a, pair.b)
            item = server.recv()
            assert item is not None
            server.send(item[0], item[1], item[2])
            pair.carry(pair.b, pair.a)
            assert client.recv() is not None
        count += turns
    return {"echoes/s": count / meter.spent, "us/echo": meter.spent / count * 1e6}


def ping(seconds: float) -> Result:
    """56 octets, answered by the stack itself."""
    pair = Pair(offload=True)
    pings = pair.a.icmp.open()
    count = 0
    meter = Meter(seconds)
    while meter.on():
        for number in range(50):
            pings.send(B, number, bytes(56))
            pair.exchange()
            assert pings.recv() is not None
        count += 50
    return {"pings/s": count / meter.spent, "us/ping": meter.spent / count * 1e6}


def many(seconds: float, *, number: int) -> Result:
    """Connections that take turns, 10,000 octets each time: what a table full of others costs."""
    pair = Pair(offload=True)
    ends = [pair.open() for _ in range(number)]
    data = bytes(10_000)
    octets = count = 0
    meter = Meter(seconds)
    while meter.on():
        for c, d in ends[:100]:
            c.write(data)
            pair.exchange()
            octets += d.discard(1 << 30)
            count += 1
        ends.append(ends.pop(0))
        pair.a.next_deadline()
        pair.b.next_deadline()
    return {"MB/s": octets / meter.spent / 1e6, "turns/s": count / meter.spent}


class Ticker:
    """Something with one deadline that moves on whenever it is due."""

    __slots__ = ("at", "heap_at", "step")

    def __init__(self, step: int) -> None:
        self.heap_at: int | None = None
        self.at = self.step = step

    def next_at(self) -> int:
        """When it is due."""
        return self.at

    def expire(self, now: int) -> None:
        """Move on."""
        self.at = now + self.step


def timers(seconds: float) -> Result:
    """10,000 owners: deadlines that pass, and deadlines that are put off before they come (as RTOs are)."""
    heap = TimerHeap()
    owners = [Ticker(1_000_000 + n * 97) for n in range(10_000)]
    for owner in owners:
        heap.arm(owner, owner.at)
    fired = now = 0
    meter = Meter(seconds / 2)
    while meter.on():
        now += 100_000
        fired += heap.expire(now)
    firing = fired / meter.spent
    put_off = 0
    meter = Meter(seconds / 2)
    while meter.on():
        now += 1_000
        for owner in owners[:500]:
            owner.at = now + 10_000_000_000
            heap.arm(owner, owner.at)
            heap.next_deadline()
        put_off += 500
    return {"fired/s": firing, "put off/s": put_off / meter.spent}


BENCHMARKS: dict[str, tuple[str, Callable[[float], Result]]] = {
    "bulk-wire": ("TCP bulk, wire-size, finished checksums", lambda s: bulk(s, offload=False)),
    "bulk-wire-tx": ("  its sender alone", lambda s: side(s, offload=False, sender=True)),
    "bulk-wire-rx": ("  its receiver alone", lambda s: side(s, offload=False, sender=False)),
    "bulk-super": ("TCP bulk, super-segments, open checksums", lambda s: bulk(s, offload=True)),
    "bulk-super-tx": ("  its sender alone", lambda s: side(s, offload=True, sender=True)),
    "bulk-super-rx": ("  its receiver alone", lambda s: side(s, offload=True, sender=False)),
    "bulk-loss": ("TCP bulk, wire-size, every 100th frame lost", lambda s: bulk(s, offload=False, loss=0.01)),
    "tcp-echo": ("TCP echo, one octet", tcp_echo),
    "connections": ("TCP connections, 64 octets each way", connections),
    "many": ("TCP, 1,000 connections that take turns", lambda s: many(s, number=1_000)),
    "udp-echo": ("UDP echo, 64 octets", lambda s: udp_echo(s, size=64)),
    "udp-echo-60k": ("UDP echo, 60,000 octets in 41 fragments", lambda s: udp_echo(s, size=60_000)),
    "ping": ("ICMP echo, 56 octets", ping),
    "timers": ("Timers, 10,000 owners", timers),
}


def measure(names: list[str], seconds: float, profile: bool) -> dict[str, Result]:
    """The best of some rounds of each."""
    results: dict[str, Result] = {}
    for name in names:
        run = BENCHMARKS[name][1]
        gc.collect()
        if profile:
            profiler = cProfile.Profile()
            results[name] = profiler.runcall(run, seconds)
            pstats.Stats(profiler).sort_stats("tottime").print_stats(18)
        else:
            rounds = [run(seconds / ROUNDS) for _ in range(ROUNDS)]
            results[name] = max(rounds, key=lambda result: next(iter(result.values())))
    return results


def show(results: dict[str, Result]) -> None:
    """A line for each benchmark."""
    table = Table(title=f"Two stacks on one thread, {platform.python_implementation()} {platform.python_version()}")
    table.add_column("name")
    table.add_column("what")
    table.add_column("figures", no_wrap=True)
    for name, result in results.items():
        figures = ", ".join(
            f"{value:,.0f} {unit}" if value >= 100 else f"{value:,.1f} {unit}" for unit, value in result.items()
        )
        table.add_row(name, BENCHMARKS[name][0], figures)
    Console().print(table)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What two stacks in one process can do.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)} (all)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--seconds", type=float, default=1.5, help="CPU seconds for each (1.5)")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}")
    if not options.seconds > 0:
        parser.error("--seconds is more than nothing")
    results = measure(options.names or list(BENCHMARKS), options.seconds, options.profile)
    show(results)
    if options.json:
        figures: dict[str, Any] = {
            "python": platform.python_version(),
            "cpu seconds": options.seconds,
            "results": results,
        }
        try:
            Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
        except OSError as error:
            print(f"benchmarks.stack: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
