"""What a connection costs in memory while it does nothing: `tracemalloc` over thousands of them.

    .venv/bin/python -m benchmarks.memory [--count 10000] [--by line|file] [state ...]

The peers are scripted: no second stack is counted. The states: `half-open`; `fresh`, established and
accepted; `used`, the same after a request and an answer of 1,000 octets each way; `time-wait`. Everything
that the stack keeps for them is in the figures, tables and timers included, divided by their number.
The bounds that these figures are multiplied by stand in docs/memory.md.
"""

from __future__ import annotations

import argparse
import gc
import tracemalloc
from collections.abc import Callable

from benchmarks.feed import OURS, PEER, TCP, frame, ipv4, make_stack, tcp
from scapystack.base.addr import ANY4
from scapystack.base.config import StackConfig
from scapystack.base.segment import ACK, FIN, PSH, SYN
from scapystack.base.types import MILLISECOND, SECOND
from scapystack.layers.tcp.options import encode_syn, encode_timestamps
from scapystack.layers.tcp.user import Connection

PORT = 80
TEXT = bytes(1_000)


class Host:
    """A stack with a listener, and peers that say what it takes."""

    def __init__(self, count: int) -> None:
        config = StackConfig()
        config.tcp.max_syn_backlog = config.tcp.max_half_open = config.tcp.max_time_wait = count
        self.net, self.iface = make_stack(config)
        self.listener = self.net.tcp.listen(ANY4, PORT, count)
        self.now = 10 * SECOND
        self.held: list[Connection] = []

    def says(self, sport: int, flags: int, seq: int, ack: int, text: bytes = b"") -> None:
        """A segment of the peer, and what the stack has to say to it."""
        stamps = (self.now // MILLISECOND, 0)
        options = encode_syn(1460, 7, True, stamps) if flags & SYN else encode_timestamps(*stamps)
        segment = tcp(sport, PORT, seq, ack, flags, options, text)
        self.net.receive(frame(ipv4(TCP, segment), self.iface), self.now)
        self.poll()

    def poll(self) -> None:
        """Let the stack send, and lose it."""
        self.net.poll(self.now)
        self.net.take_ready()
        self.net.take_frames()

    def half_open(self, sport: int) -> None:
        self.says(sport, SYN, 0, 0)

    def fresh(self, sport: int) -> Connection:
        self.half_open(sport)
        c = self.net.tcp.connections[(OURS, PORT, PEER, sport)]
        self.says(sport, ACK, 1, c.snd_nxt)
        accepted = self.listener.accept()
        assert accepted is c
        self.held.append(c)
        return c

    def used(self, sport: int) -> Connection:
        c = self.fresh(sport)
        self.says(sport, ACK | PSH, 1, c.snd_nxt, TEXT)
        assert c.read(2_000) == TEXT
        for _ in range(2):
            c.write(TEXT[:500])
        self.poll()
        self.now += MILLISECOND
        self.says(sport, ACK, 1_001, c.snd_nxt)
        assert not c.unsent
        return c

    def time_wait(self, sport: int) -> None:
        c = self.used(sport)
        c.close()
        self.poll()
        self.says(sport, ACK | FIN, 1_001, c.snd_nxt)
        self.held.clear()


STATES: dict[str, Callable[[Host, int], object]] = {
    "half-open": Host.half_open,
    "fresh": Host.fresh,
    "used": Host.used,
    "time-wait": Host.time_wait,
}


def measure(state: str, count: int, by: str | None) -> int:
    """Octets for each of `count` connections in this state."""
    host = Host(count)
    make = STATES[state]
    for sport in range(1_024, 1_124):
        make(host, sport)  # what is made once for all stands now
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for sport in range(2_000, 2_000 + count):
        make(host, sport)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    if by:
        for line in tracemalloc.take_snapshot().statistics("lineno" if by == "line" else "filename")[:30]:
            place = line.traceback[0]
            name = place.filename.split("/layers/")[-1]
            print(f"  {line.size / count:8.0f} {line.count / count:6.2f}  {name}:{place.lineno}")
    tracemalloc.stop()
    return round((after - before) / count)


def main() -> None:
    parser = argparse.ArgumentParser(description="Octets for each connection that does nothing.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--by", choices=("line", "file"), help="where the octets were asked for")
    parser.add_argument("states", nargs="*", default=[], metavar="state", help=", ".join(STATES))
    words = parser.parse_args()
    for state in words.states or STATES:
        print(f"{state:10} {measure(state, words.count, words.by):6} octets", flush=True)


if __name__ == "__main__":
    main()
