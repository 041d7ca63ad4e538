"""The worlds that `costs` measures, and tests/sim/test_costs.py: what grows, and the work that is done then.

Each `make` builds its world for one size and returns the `Work`. Read `pair` first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import feed
from benchmarks.pair import BATCH, Order, Pair, Path
from scapystack.base.addr import ANY4, Prefix, ip
from scapystack.base.config import StackConfig
from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.types import SECOND, Nanoseconds
from scapystack.layers.ipfrag import cut
from scapystack.layers.tcp.congestion.control import CongestionControl
from scapystack.stack import NetStack

MSS = 1448

Work = Callable[[], int]
"""Does some of the work, a few milliseconds of it; how many packets that were."""


@dataclass(frozen=True)
class Curve:
    """A line of a picture."""

    picture: str
    line: str
    what: str
    sizes: Sequence[float]
    make: Callable[[float], Work]


# --- connections


def turns(n: float) -> Work:
    """Connections send ten segments each, one connection after the other."""
    pair = Pair(offload=False)
    ends = [pair.open() for _ in range(int(n))]
    data = bytes(10 * MSS)
    at = 0

    def work() -> int:
        nonlocal at
        for _ in range(10):
            c, d = ends[at]
            at = (at + 1) % len(ends)
            c.write(data)
            while d.available < len(data):
                pair.exchange()
            d.discard(len(data))
        return 100

    return work


def together(n: float) -> Work:
    """All connections have ten segments to send at the same time."""
    pair = Pair(offload=False)
    ends = [pair.open() for _ in range(int(n))]
    data = bytes(10 * MSS)

    def work() -> int:
        for c, _ in ends:
            c.write(data)
        pair.settle()
        return sum(d.discard(len(data)) for _, d in ends) // MSS

    return work


def opening(n: float) -> Work:
    """A connection is opened and reset beside so many: four segments."""
    pair = Pair(offload=False)
    beside = [pair.open() for _ in range(int(n))]

    def work() -> int:
        for _ in range(10):
            c, d = pair.open()
            c.abort()
            pair.settle()
            d.close()
        assert len(pair.a.tcp.connections) == len(beside)
        return 40

    return work


# --- one connection


class Steady(CongestionControl):
    """A window that nothing changes, so that what is in flight does not depend on what is measured."""

    name = "steady"
    own_recovery = True

    def __init__(self, window: int) -> None:
        super().__init__()
        self.cwnd = window

    def on_ack(self, acked: int, now: Nanoseconds, srtt: int, flight: int, cwnd_limited: bool) -> None:
        """Nothing."""

    def on_loss(self, flight: int, now: Nanoseconds) -> None:
        """Nothing."""

    def on_rto(self, flight: int, now: Nanoseconds, first: bool) -> None:
        """Nothing."""

    def on_recovery_exit(self, now: Nanoseconds) -> None:
        """Nothing."""

    def on_idle(self, now: Nanoseconds, idle_ns: int, rto: int) -> None:
        """Nothing."""


def bulk(path: Path, *, full: int = 0, steady: int = 0) -> Work:
    """A transfer, once its congestion window is `full`; with `steady` it is just that."""
    c, d = path.connect()
    if steady:
        c.cc = Steady(steady)
    chunk = bytes(1 << 20)

    def step() -> int:
        c.write(chunk)
        if not path.exchange():
            path.wait()
        return d.discard(1 << 30)

    for _ in range(20 if steady else 1_000):
        step()
    while c.cc.cwnd < full:
        step()

    def work() -> int:
        octets = 0
        while octets < max(full, BATCH * MSS):  # a window comes in bursts
            octets += step()
        return octets // MSS

    return work


def configured(window: int, congestion: str = "cubic") -> Callable[[StackConfig], None]:
    """A receive window of so many octets."""

    def change(config: StackConfig) -> None:
        config.tcp.rcvbuf = window
        config.tcp.sndbuf = window + (1 << 20)
        config.tcp.congestion = congestion

    return change


def steps_for(window: int) -> int:
    """So long a way that a batch of frames arrives with a step, whatever the window."""
    return max(1, window // (BATCH * MSS))


def window(size: float) -> Work:
    """A receive window of so many octets, in flight all of them."""
    octets = int(size)
    return bulk(Path(steps_for(octets), config=configured(octets)), full=octets)


def loss(congestion: str) -> Callable[[float], Work]:
    """So many percent of the frames get lost, over a way that holds 1 MB."""

    def make(percent: float) -> Work:
        path = Path(steps_for(1 << 20), loss=percent / 100, config=configured(1 << 20, congestion))
        return bulk(path)

    return make


def late(distance: int) -> Order:
    """The first of each so many frames arrives behind the others."""

    def order(frames: list[Frame]) -> list[Frame]:
        out = []
        for at in range(0, len(frames), distance + 1):
            first, *others = frames[at : at + distance + 1]
            out += [*others, first]
        return out

    return order


def shuffled(distance: int) -> Order:
    """Each so many frames arrive in any order."""
    shuffle = random.Random(1).shuffle

    def order(frames: list[Frame]) -> list[Frame]:
        out = []
        for at in range(0, len(frames), distance + 1):
            block = frames[at : at + distance + 1]
            shuffle(block)
            out += block
        return out

    return order


def disorder(kind: Callable[[int], Order]) -> Callable[[float], Work]:
    """Segments arrive that far from their place, 2,000 of them in flight."""

    def make(distance: float) -> Work:
        path = Path(1, order=kind(int(distance)), config=configured(4 << 20))
        return bulk(path, steady=2_000 * MSS)

    return make


# --- routes


def _router(n: float) -> tuple[NetStack, Interface, list[bytes]]:
    """A router with so many routes of every length beside the default one, and packets to 8,192 hosts."""
    config = StackConfig()
    config.ip.forward = True
    stack, eth0 = feed.make_stack(config)
    eth1 = stack.add_interface("eth1", b"\2\0\0\0\1\1")
    stack.add_address(eth1, "10.0.1.1/24")
    gateway = ip("10.0.1.2")
    stack.arp.add_static(eth1, gateway, b"\2\0\0\0\1\2")
    stack.add_route("0.0.0.0/0", via=gateway, iface=eth1)
    draw = random.Random(1)
    for i in range(int(n) - 1):
        host = 0x0B000000 + draw.randrange(0xB0000000)
        stack.add_route(Prefix.of(host.to_bytes(4, "big"), 8 + i % 25), via=gateway, iface=eth1, metric=i)
    hosts = [(0x0B000000 + draw.randrange(0xB0000000)).to_bytes(4, "big") for _ in range(8_192)]
    hosts = [host for host in hosts if host[0] not in (127, 169)]
    datagram = bytes(28)
    return stack, eth0, [feed.ipv4(feed.UDP, datagram, dst=host) for host in hosts]


def routing(hosts: int) -> Callable[[float], Work]:
    """Packets to so many hosts are forwarded: to few the ways are known, to 8,192 each is looked for anew."""

    def make(n: float) -> Work:
        stack, iface, packets = _router(n)
        packets = packets[:hosts]
        at = 0

        def work() -> int:
            nonlocal at
            for _ in range(100):
                stack.receive(feed.frame(packets[at], iface), SECOND)
                at = (at + 1) % len(packets)
            return len(stack.take_frames())

        return work

    return make


def changing(n: float) -> Work:
    """A route is added and taken away before each packet."""
    stack, iface, packets = _router(n)
    prefix = Prefix.parse("198.51.100.0/24")
    gateway = ip("10.0.1.2")
    at = 0

    def work() -> int:
        nonlocal at
        for _ in range(100):
            stack.add_route(prefix, via=gateway, iface=stack.interfaces[-1])
            stack.receive(feed.frame(packets[at], iface), SECOND)
            stack.remove_route(prefix)
            at = (at + 1) % len(packets)
        return len(stack.take_frames())

    return work


# --- fragments

SMALL = 32
"""Octets of a fragment: 2,048 of them are the largest datagram, and all that reassembly holds of one."""


def fragments(pieces: int, ident: int) -> list[bytes]:
    """A datagram to port 9 in that many frames."""
    whole = feed.udp(5_000, 9, bytes(SMALL * pieces - 8))
    return [
        feed.ipv4(feed.UDP, data, ident=ident, offset=offset, more=more)
        for offset, data, more in cut(memoryview(whole), SMALL, SMALL)
    ]


def reassembling(arrange: Callable[[list[bytes]], list[bytes]]) -> Callable[[float], Work]:
    """A datagram in so many pieces, put together."""

    def make(n: float) -> Work:
        stack, iface = feed.make_stack()
        endpoint = stack.udp.bind(ANY4, 9)
        octets = arrange(fragments(int(n), 1))

        def work() -> int:
            for data in octets:
                stack.receive(feed.frame(data, iface), SECOND)
            assert endpoint.recv() is not None
            stack.take_ready()
            return len(octets)

        return work

    return make


def interleaved(n: float) -> Work:
    """So many datagrams in eight pieces each, all first pieces, then all second ones."""
    config = StackConfig()
    config.ip.reassembly_max_datagrams = 16_384
    config.ip.reassembly_max_bytes = config.udp.rcvbuf = 1 << 28
    stack, iface = feed.make_stack(config)
    endpoint = stack.udp.bind(ANY4, 9)
    datagrams = [fragments(8, ident) for ident in range(int(n))]
    octets = [pieces[i] for i in range(8) for pieces in datagrams]

    def work() -> int:
        for data in octets:
            stack.receive(feed.frame(data, iface), SECOND)
        assert all(endpoint.recv() is not None for _ in datagrams)
        stack.take_ready()
        return len(octets)

    return work


def cutting(n: float) -> Work:
    """A datagram is sent in so many pieces."""
    stack, iface = feed.make_stack()
    iface.mtu = 20 + SMALL
    stack.set_up(iface, True)
    endpoint = stack.udp.bind(ANY4, 9)
    data = bytes(SMALL * int(n) - 8)

    def work() -> int:
        for _ in range(1 + 100 // int(n)):
            endpoint.send(data, feed.PEER, 9)
        return len(stack.take_frames())

    return work


def shuffled_list(octets: list[bytes]) -> list[bytes]:
    """In any order."""
    return random.Random(1).sample(octets, len(octets))


# --- endpoints


def datagrams(n: float) -> Work:
    """A datagram to each of so many ports in turn."""
    stack, iface = feed.make_stack()
    endpoints = [stack.udp.bind(ANY4, 1_000 + i) for i in range(int(n))]
    packets = [feed.ipv4(feed.UDP, feed.udp(5_000, 1_000 + i, bytes(64))) for i in range(int(n))]
    at = 0

    def work() -> int:
        nonlocal at
        for _ in range(100):
            stack.receive(feed.frame(packets[at], iface), SECOND)
            stack.take_ready()
            assert endpoints[at].recv() is not None
            at = (at + 1) % len(packets)
        return 100

    return work


TENS = (1, 10, 100, 1_000, 10_000)
PERCENT = (0, 0.1, 0.3, 1, 3, 10)
DISTANCES = (1, 3, 10, 30, 100, 300, 1_000)
ROUTES = (1, 10, 100, 1_000, 10_000, 100_000)
PIECES = (2, 8, 32, 128, 512, 2_046)
WINDOWS = tuple(1 << n for n in range(16, 25))

CURVES = [
    Curve("connections", "in turns", "TCP, ten segments of each connection in turn", TENS, turns),
    Curve("connections", "all at once", "TCP, ten segments of all connections at the same time", TENS, together),
    Curve("connections", "opened and reset", "TCP, a connection opened and reset beside so many", TENS, opening),
    Curve("connections", "UDP endpoints", "UDP, a datagram to each of so many ports in turn", TENS, datagrams),
    Curve("window", "octets in flight", "TCP, a window of so many octets in flight", WINDOWS, window),
    Curve("loss", "cubic", "TCP, so many percent of the segments lost, CUBIC", PERCENT, loss("cubic")),
    Curve("loss", "bbr", "TCP, so many percent of the segments lost, BBR", PERCENT, loss("bbr")),
    Curve("disorder", "one late", "TCP, one segment arrives so many places late", DISTANCES, disorder(late)),
    Curve("disorder", "shuffled", "TCP, so many segments arrive in any order", DISTANCES, disorder(shuffled)),
    Curve("routes", "known ways", "IP, forwarded to one of 64 hosts", ROUTES, routing(64)),
    Curve("routes", "new ways", "IP, forwarded to one of 8,192 hosts: no way is known", ROUTES, routing(8_192)),
    Curve("routes", "a route changes", "IP, a route is added and removed with each packet", ROUTES, changing),
    Curve("fragments", "in order", "IP, a datagram in so many fragments put together", PIECES, reassembling(list)),
    Curve("fragments", "backwards", "IP, the same, the last first", PIECES, reassembling(lambda f: f[::-1])),
    Curve("fragments", "shuffled", "IP, the same in any order", PIECES, reassembling(shuffled_list)),
    Curve("fragments", "datagrams at once", "IP, so many datagrams in 8 fragments, interleaved", TENS, interleaved),
    Curve("fragments", "cut", "IP, a datagram sent in so many fragments", PIECES, cutting),
]
