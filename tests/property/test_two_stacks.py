"""Two stacks, any faults on the wire between them, any pattern of writes, reads and closes: the octets
that arrive are the octets that were sent, in order, once, and both ends come to rest.

The wire's faults are a list, one for each frame, then a stretch of random ones, after which the wire is
good again: so every example must end, and Hypothesis shrinks to the few frames that matter.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scapystack.base.frames import Frame
from scapystack.base.types import MILLISECOND
from scapystack.layers.tcp.congestion import names
from scapystack.layers.tcp.state import CLOSED, ESTABLISHED, SYN_RECEIVED, SYN_SENT, TIME_WAIT
from scapystack.layers.tcp.user import Connection
from scapystack.link.faults import congested
from tests.harness.net import DELAY, Host, Net
from tests.harness.settings import config_of

PORT = 7000
PATIENT = {  # nobody gives up: a wire that drops 20 frames in a row would be reason enough
    "arp_tries": 1_000,
    "tcp_syn_retries": 1_000,
    "tcp_synack_retries": 1_000,
    "tcp_max_rto_ms": 4_000,
    "tcp_r2_ms": 10_000_000,
    "tcp_msl_ms": 100,
}
FAULTS = ["drop", "twice", "late", "later", "bit", "mark"]
SECRET = random.Random(5).randbytes(1 << 22)

fast = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Wire:
    """What happens to the frames: by name one by one, then to `n` of them at random, each with chance `rate`."""

    plan: list[str]
    n: int
    rate: float
    seed: int

    def faults(self) -> Iterator[str]:
        yield from self.plan
        draw = random.Random(self.seed)
        for _ in range(self.n):
            yield draw.choice(FAULTS) if draw.random() < self.rate else "pass"


def faulty(wire: Wire) -> Any:
    """A wire that does to each frame what it was told, and nothing to those behind the end."""
    steps = wire.faults()

    def fault(_sender: Host, frame: Frame) -> list[tuple[int, Frame]]:
        kind = next(steps, "pass")
        if kind == "drop":
            return []
        if kind == "twice":
            return [(DELAY, frame), (3 * DELAY, frame)]
        if kind == "late":
            return [(4 * DELAY, frame)]
        if kind == "later":
            return [(300 * DELAY, frame)]
        if kind == "mark":
            return [(DELAY, congested(frame))]
        data = frame.data
        if kind == "bit" and data[12:14] == b"\x08\0":  # ARP has no checksum: who changes it is believed
            at = 14 + len(data) * 7 % (len(data) - 14)
            changed = data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :]
            return [(DELAY, Frame(changed))]
        return [(DELAY, frame)]

    return fault


@dataclass
class End:
    """One end of the connection: what it wrote, what it read, and what it checks at every read."""

    host: Host
    offset: int  # where in SECRET its own stream begins
    connection: Connection | None = None
    written: int = 0
    read: int = 0
    finished: bool = False  # has shut its side down
    peer: End = field(init=False)

    def stream(self, at: int, n: int) -> bytes:
        return SECRET[self.offset + at : self.offset + at + n]

    def write(self, n: int, kind: int) -> None:
        c = self.connection
        if c is None or self.finished or c.state in (SYN_SENT, SYN_RECEIVED):
            return
        data: Any = self.stream(self.written, n)
        data = [data, bytearray(data), memoryview(data), data][kind]
        taken = c.write_urgent(data) if kind == 1 and n == 5 else c.write(data)
        if kind == 1:
            data[:] = bytes(len(data))  # what may change was copied
        assert taken <= n
        self.written += taken

    def take(self, n: int, kind: int = 0) -> None:
        c = self.connection
        if c is None or not c.readable:
            return
        if kind == 1:
            buffer = bytearray(n)
            got = bytes(buffer[: c.read_into(memoryview(buffer))])
        elif kind == 2:
            got = b"".join(c.views(n))
        elif kind == 3:
            got = self.peer.stream(self.read, c.discard(n))
        else:
            ahead = c.peek(n)
            got = c.read(n)
            assert got == ahead
        assert got == self.peer.stream(self.read, len(got))
        assert len(got) <= n
        self.read += len(got)
        assert self.read <= self.peer.written

    def finish(self) -> None:
        c = self.connection
        if c is not None and not self.finished and c.state not in (SYN_SENT, SYN_RECEIVED):
            c.shutdown_write()
            self.finished = True

    @property
    def done(self) -> bool:
        return self.finished and self.connection is not None and self.connection.eof


class Pair:
    """Two stacks, one connection between them, passive, active or opened from both sides."""

    def __init__(self, wire: Wire, how: dict[str, Any]) -> None:
        self.net = Net(fault=faulty(wire), tick=how["tick"])
        common = {name: value for name, value in how.items() if name.startswith("tcp_")}
        self.ends = []
        for side, address in enumerate(("10.0.0.1/24", "10.0.0.2/24")):
            config = config_of(tcp_rcvbuf=how["rcvbuf"][side], tcp_sndbuf=how["sndbuf"], **PATIENT, **common)
            host = self.net.host(address, config=config, seed=side, mtu=how["mtu"], gso_max=how["gso_max"])
            self.ends.append(End(host, side << 21))
        a, b = self.ends
        a.peer, b.peer = b, a
        self.listener = None
        if how["simultaneous"]:
            a.connection = a.host.stack.tcp.connect(b.host.address, PORT, local_port=PORT)
            b.connection = b.host.stack.tcp.connect(a.host.address, PORT, local_port=PORT)
        else:
            self.listener = b.host.stack.tcp.listen(b.host.address, PORT, 4)
            self.listener.options.oobinline = True  # urgent data may come before the connection is accepted
            a.connection = a.host.stack.tcp.connect(b.host.address, PORT)
        self.run(how["head_start_ms"])

    def settle(self) -> None:
        for end in self.ends:
            if end.connection is None and self.listener is not None:
                end.connection = self.listener.accept()
            if end.connection is not None:
                end.connection.options.oobinline = True

    def run(self, ms: float) -> None:
        self.net.run(limit_ms=ms)
        self.settle()

    def drain(self) -> None:
        """Both ends read all, and shut down, whatever the steps have left to do."""
        for _ in range(2_000):
            for end in self.ends:
                end.host.stack.enter(self.net.now)
                end.take(1 << 20)
                end.finish()
            if all(end.done for end in self.ends):
                return
            self.net.run(until=self._something_to_do, limit_ms=200_000)
            self.settle()
        raise AssertionError(f"never came to an end: {[end.connection for end in self.ends]}")

    def _something_to_do(self) -> bool:
        if self.listener is not None and self.listener.readable:
            return True
        return all(end.done for end in self.ends) or any(
            end.connection is not None
            and (end.connection.available or (not end.finished and end.connection.state == ESTABLISHED))
            for end in self.ends
        )


SIZES = st.one_of(st.integers(1, 10), st.integers(1, 3_000), st.sampled_from([536, 1_460, 20_000, 70_000, 150_000]))
STEPS = st.tuples(
    st.sampled_from(["write", "write", "write", "read", "read", "finish", "nothing"]),
    st.integers(0, 1),  # whose
    SIZES,
    st.integers(0, 3),  # how: with which of the calls
    st.sampled_from([0, 0, 1, 2, 3, 10, 50, 300, 3_000]),  # and then so many ms pass
)
WIRE = st.builds(
    Wire,
    st.lists(st.sampled_from(["pass", *FAULTS]), max_size=20),
    st.sampled_from([0, 30, 100, 300]),
    st.sampled_from([0.0, 0.02, 0.1, 0.3]),
    st.integers(0, 2**32),
)
HOW = st.fixed_dictionaries(
    {
        "simultaneous": st.booleans(),
        "mtu": st.sampled_from([1500, 576, 9000, 296]),
        "gso_max": st.sampled_from([0, 0, 65_000]),
        "rcvbuf": st.tuples(*[st.sampled_from([4_194_304, 65_535, 10_000, 1_500, 600])] * 2),
        "sndbuf": st.sampled_from([4_194_304, 20_000, 1_000]),
        "bulk": st.tuples(*[st.sampled_from([0, 100, 10_000, 40_000, 120_000])] * 2),
        "tick": st.sampled_from([1, 1, 7 * MILLISECOND]),
        "head_start_ms": st.sampled_from([5_000, 5_000, 0, 3]),
        "tcp_ecn": st.sampled_from(["on", "accept-only"]),
        "tcp_sack": st.booleans(),
        "tcp_timestamps": st.booleans(),
        "tcp_loss_probes": st.booleans(),
        "tcp_congestion": st.sampled_from(names()),
        "tcp_window_scaling": st.booleans(),
        "tcp_nodelay": st.booleans(),
        "tcp_quick_acks": st.sampled_from([0, 0, 16]),
    }
)


def play(wire: Wire, how: dict[str, Any], steps: list[Any]) -> Pair:
    """The whole life of a connection: the steps, all that is left to read, the end; judged on the way."""
    pair = Pair(wire, how)
    for end, n in zip(pair.ends, how["bulk"], strict=True):
        pair.net.enter(end.host)
        end.write(n, 0)
    for name, side, n, kind, ms in steps:
        end = pair.ends[side]
        pair.net.enter(end.host)
        if name == "write":
            end.write(n, kind)
        elif name == "read":
            end.take(n, kind)
        elif name == "finish":
            end.finish()
        pair.run(ms)
    pair.drain()
    for end in pair.ends:
        assert end.read == end.peer.written
        assert end.connection is not None
        assert end.connection.error == 0
    at_rest(pair)
    assert pair.net.frames < 200 + len(wire.plan) + wire.n + sum(end.read for end in pair.ends) // 50  # no storms
    return pair


@settings(fast, max_examples=300)
@given(WIRE, HOW, st.lists(STEPS, min_size=1, max_size=25))
def test_any_faults_any_calls_octets_arrive_as_sent(wire: Wire, how: dict[str, Any], steps: list[Any]) -> None:
    play(wire, how, steps)


@settings(fast, max_examples=150)
@given(HOW, st.lists(STEPS, min_size=1, max_size=25))
def test_no_fault_any_calls_nothing_sent_twice(how: dict[str, Any], steps: list[Any]) -> None:
    """Where nothing is lost nothing is sent again, but what probed a window that was closed, or a delayed ACK.

    A tail loss probe waits for such an ACK only where one segment is out (RFC 8985 section 7.2); two small ones
    may draw no ACK at once either.
    """
    pair = play(Wire([], 0, 0.0, 0), how, steps)
    for end in pair.ends:
        counters = end.host.stack.counters
        assert counters["tcp.retrans_segs"] <= counters["tcp.window_probes"] + counters["tcp.loss_probes"]
        assert counters["tcp.timeouts"] == 0
        assert counters["tcp.out_of_order"] == 0


def at_rest(pair: Pair) -> None:
    """Both ends reach CLOSED within 2 MSL of their last segment, and nothing is left in any table."""
    pair.net.run(limit_ms=1_000_000)
    for end in pair.ends:
        assert end.connection is not None
        end.connection.close()
    pair.net.run(limit_ms=1_000_000)
    for end in pair.ends:
        tcp = end.host.stack.tcp
        assert end.connection is not None
        assert end.connection.state in (CLOSED, TIME_WAIT)
        assert not tcp.connections
        assert not tcp.ports
        assert not tcp.time_wait
        assert len(tcp.orphans) == 0
        assert end.host.stack.next_deadline() is None
