"""Transfers between scapystack and the kernel while nftables drops segments at random: intact, and no stall.

    .venv/bin/python -m benchmarks.loss_soak [--runs 20] [--loss 1 --loss 5 --loss 10]      (as root)

Two hosts (network namespaces) are joined by a cable; each drops what comes in over it, every TCP segment
with the same chance, SYNs and ACKs too. The stack on a TAP of the one sends to the kernel of the other,
or receives, and connects, or listens: four ways, `--runs` times each, `--parallel` at once. Super-segments
are kept out, so that what is lost is a segment, unless `--offload`.

A stall is a pause in what the receiving application gets that is longer than the sender's timeouts in
it explain: the longest RTO that was running meanwhile (the last one, whose retransmission arrives), and
those before it, each half as long, as many as it was backed off; and `SLACK_S` for a machine at work.
The kernel in the stack's place (`--ours kernel`) shows what the losses do to it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import platform
import re
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

from benchmarks import rig
from scapystack.link.capture import Capture

SLACK_S = 0.3
PAUSE_S = 0.15
"""What counts as a pause: less than the least RTO."""
SAMPLE_S = 0.02
CABLE = ("wire", "eth0")
_RULES = """
table netdev loss {{
  chain arriving {{
    type filter hook ingress device {device} priority 0;
    ip protocol tcp numgen random mod 1000 < {per_mille} counter drop
  }}
}}
"""
_ports = count(5_001)


@dataclass
class Pause:
    """A time in which the receiving application got nothing."""

    length: float
    backoff: int
    """The sender's highest meanwhile."""
    explained: float
    """What retransmission timeouts explain of it (s)."""
    port: int = 0
    at: float = 0.0
    """The server's port, and when it ended (seconds since 1970), for who looks it up in a capture."""

    @property
    def stall(self) -> bool:
        return self.length > self.explained + SLACK_S


@dataclass
class Transfer:
    """What became of one."""

    intact: bool = False
    error: str = ""
    seconds: float = 0.0
    resent: int = 0
    pauses: list[Pause] = field(default_factory=list)


@dataclass
class Watch:
    """Both ends' times: when the receiver got something, and how the sender stood."""

    arrivals: list[float] = field(default_factory=list)
    """Begin and end of each pause, one after the other."""
    samples: list[tuple[float, rig.Look]] = field(default_factory=list)

    def pauses(self, port: int) -> Iterator[Pause]:
        """Each with its explanation."""
        for begin, end in zip(self.arrivals[::2], self.arrivals[1::2], strict=True):
            looks = [look for at, look in self.samples if begin < at < end]
            top = max(looks, key=lambda look: (look.backoff, look.rto), default=rig.Look(0.0, 0, 0))
            # where no sample was taken either, the machine was at something else
            times = [begin, *(at for at, _ in self.samples if begin < at < end), end]
            held = sum(later - at for at, later in pairwise(times) if later - at > 5 * SAMPLE_S)
            at = time.time() - time.monotonic() + end
            yield Pause(end - begin, top.backoff, top.rto * (2 - 0.5**top.backoff) + held, port, at)


def transfer(ours: rig.Side, theirs: rig.Side, *, sends: bool, connects: bool, options: argparse.Namespace) -> Transfer:
    """One of `options.size` octets, from or to our side."""
    port = next(_ports)
    result = Transfer()
    active, passive = (ours, theirs) if connects else (theirs, ours)
    try:
        with passive.listen(port) as listener, ThreadPoolExecutor(1) as pool:
            accepting = pool.submit(listener.accept)
            one = active.connect(passive.host.address, port=port)
            other, _ = accepting.result()
        sock = {id(active): one, id(passive): other}
        for each in sock.values():
            each.settimeout(options.limit)
        sender, receiver = (ours, theirs) if sends else (theirs, ours)
        rig.choose(sock[id(sender)], options.cc)
        with one, other:
            watch = carry(sender, sock[id(sender)], sock[id(receiver)], options, result)
            result.pauses = list(watch.pauses(port))
    except OSError as error:
        result.error = f"{type(error).__name__}: {error} (port {port})"
    return result


def carry(side: rig.Side, source: Any, sink: Any, options: argparse.Namespace, result: Transfer) -> Watch:
    """Random octets from `source`, which is on `side`, to `sink`."""
    data = os.urandom(options.size)
    watch, done = Watch(), threading.Event()
    start = time.monotonic()

    def send() -> None:
        source.sendall(data)
        source.shutdown(rig.socket.SHUT_WR)

    def sample() -> None:
        while not done.wait(SAMPLE_S):
            watch.samples.append((time.monotonic(), side.look(source)))

    with ThreadPoolExecutor(2) as pool:
        sending, sampling = pool.submit(send), pool.submit(sample)
        try:
            digest = receive(sink, watch)
            sending.result()
        finally:
            done.set()
        sampling.result()
    result.seconds = time.monotonic() - start
    result.resent = side.look(source).resent
    result.intact = digest == hashlib.sha256(data).hexdigest()
    return watch


def receive(sink: Any, watch: Watch) -> str:
    """Read to the end, note the pauses; the digest of what came."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 18))
    last = 0.0
    while True:
        n = sink.recv_into(buffer)
        now = time.monotonic()
        if last and now - last > PAUSE_S:
            watch.arrivals += (last, now)
        last = now
        if not n:
            return digest.hexdigest()
        digest.update(buffer[:n])


# -- the hosts


@contextlib.contextmanager
def cabled(options: argparse.Namespace, percent: float) -> Iterator[tuple[rig.Side, rig.Side, list[rig.Host]]]:
    """Both sides on hosts that lose `percent` of what comes in."""
    with rig.two_hosts() as hosts:
        a, b = hosts
        a.net.add_veth(*CABLE, b.name)
        for host, port in zip(hosts, CABLE, strict=True):
            host.plug(port)
            host.run("nft", "-f", "-", data=_RULES.format(device=port, per_mille=round(percent * 10)))
            if not options.offload:
                host.run("ip", "link", "set", rig.BRIDGE, "gso_max_segs", "1")
        ours = rig.make_side(options.ours, a, **({"offload": options.offload} if options.ours == "stack" else {}))
        capture = None
        if options.capture and isinstance(ours, rig.StackSide):
            capture = Capture(options.capture)
            ours.stack.net.taps.append(capture.tap)
        try:
            yield ours, rig.KernelSide(b), list(hosts)
        finally:
            ours.close()
            if capture is not None:
                capture.close()


def dropped(host: rig.Host) -> int:
    """Segments that a host has lost so far."""
    told = re.search(r"counter packets (\d+)", host.run("nft", "list", "table", "netdev", "loss"))
    return int(told[1]) if told else 0


def report(percent: float, way: str, done: list[Transfer], lost: int) -> bool:
    """One line; whether all was as it should be."""
    pauses = [pause for each in done for pause in each.pauses]
    longest = max(pauses, key=lambda pause: pause.length, default=Pause(0.0, 0, 0.0))
    stalls = [pause for pause in pauses if pause.stall]
    times = [each.seconds for each in done if each.intact]
    print(
        f"{percent:4g}% {way:17} {sum(each.intact for each in done):3}/{len(done):<3}"
        f" {statistics.median(times) if times else 0:7.2f} {max(times, default=0):7.2f} {lost:7}"
        f" {sum(each.resent for each in done):8} {len(pauses):7}   {longest.length:6.2f} of {longest.explained:6.2f}"
        f"  {len(stalls):6}",
        flush=True,
    )
    for each in done:
        if not each.intact:
            print(f"      failed: {each.error or 'the digests differ'}")
    for pause in stalls:
        print(
            f"      stall: {pause.length:.2f} s, of which timeouts explain {pause.explained:.2f} s;"
            f" port {pause.port}, until {pause.at:.3f}"
        )
    return not stalls and len(times) == len(done)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Transfers while nftables drops at random.")
    parser.add_argument("--loss", type=float, action="append", help="percent, each way (1, 5 and 10)")
    parser.add_argument("--runs", type=int, default=20, help="of each way (20)")
    parser.add_argument("--parallel", type=int, default=4, help="of them at once (4)")
    parser.add_argument("--size", type=int, default=3_000_000, help="octets (3000000)")
    parser.add_argument("--cc", default="", help="congestion control of the sender (its default)")
    parser.add_argument("--ours", choices=["stack", "kernel"], default="stack", help="who is beside the kernel (stack)")
    parser.add_argument("--offload", action="store_true", help="with super-segments, which are lost whole")
    parser.add_argument("--limit", type=float, default=120, help="seconds that a call may take (120)")
    parser.add_argument("--capture", metavar="FILE", help="what the stack sends and gets (of the last --loss)")
    options = parser.parse_args(argv)
    losses = options.loss or [1, 5, 10]
    print(
        f"{options.ours} beside the kernel, {options.size:,} octets, {options.runs} runs, {options.parallel} at once"
        f"{', offload' if options.offload else ''}{f', {options.cc}' if options.cc else ''};"
        f" Linux {platform.release()}, Python {platform.python_version()}\n"
        " loss way                intact  median s    max    lost    resent  pauses    longest s         stalls"
    )
    good = True
    for percent in losses:
        with cabled(options, percent) as (ours, theirs, hosts), ThreadPoolExecutor(options.parallel) as pool:
            for sends in (True, False):
                for connects in (True, False):
                    before = sum(map(dropped, hosts))
                    waiting = [
                        pool.submit(transfer, ours, theirs, sends=sends, connects=connects, options=options)
                        for _ in range(options.runs)
                    ]
                    done = [each.result() for each in waiting]
                    way = f"{'sends' if sends else 'receives'}, {'connects' if connects else 'listens'}"
                    good &= report(percent, way, done, sum(map(dropped, hosts)) - before)
    return not good


if __name__ == "__main__":
    sys.exit(main())
