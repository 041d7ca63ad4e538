"""What the layers below TCP cost, in microseconds a packet: run it before and after touching them.

    .venv/bin/python -m benchmarks.layers [name ...] [--profile]

Each line is the best of five rounds. Frames come from Scapy, the clock stands still, nothing is
sent. `--profile` prints where the time of one benchmark goes.
"""

from __future__ import annotations

import cProfile
import sys
import time
from collections.abc import Callable

from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.l2 import Ether

from scapystack.base.addr import ANY4, Prefix, ip, mac
from scapystack.base.config import StackConfig
from scapystack.base.datagram import PROTO_TCP, Datagram, IcmpError
from scapystack.base.frames import CSUM_VALID, Frame
from scapystack.base.iface import Interface
from scapystack.layers.routing import RoutingTable
from scapystack.stack import NetStack

OURS, PEER = "02:00:00:00:00:01", "02:00:00:00:00:02"
COUNT = 2_000
ROUNDS = 5


class Sink:
    """A transport that does nothing."""

    def input(self, datagram: Datagram) -> None:
        """Take it."""

    def icmp_error(self, error: IcmpError) -> None:
        """Take it."""


def make_stack(forward: bool = False) -> tuple[NetStack, Interface]:
    """A stack at 10.0.0.1 (and 10.0.1.1) that knows its neighbours."""
    config = StackConfig()
    config.ip.forward = forward
    stack = NetStack(config)
    eth0 = stack.add_interface("eth0", OURS)
    stack.add_address(eth0, "10.0.0.1/24")
    eth1 = stack.add_interface("eth1", "02:00:00:00:01:01")
    stack.add_address(eth1, "10.0.1.1/24")
    stack.arp.add_static(eth0, ip("10.0.0.2"), mac(PEER))
    stack.arp.add_static(eth1, ip("10.0.1.2"), mac(PEER))
    return stack, eth0


def datagram(payload: object, dst: str = "10.0.0.1") -> bytes:
    """A frame of the peer's."""
    return bytes(Ether(src=PEER, dst=OURS) / IP(src="10.0.0.2", dst=dst, id=1) / payload)


def bench_input() -> Callable[[], None]:
    """A 1,448-octet TCP segment from the link to its transport's input; the link vouches for it."""
    stack, eth0 = make_stack()
    stack.ipv4.register(PROTO_TCP, Sink())
    data = datagram(TCP(options=[("NOP", None), ("NOP", None), ("Timestamp", (1, 1))]) / bytes(1448))

    def once() -> None:
        stack.receive(Frame(data, (), eth0, CSUM_VALID), 1)

    return once


def bench_udp_echo() -> Callable[[], None]:
    """A 64-octet UDP datagram in, to the application, and its echo in the outbox; checksum verified."""
    stack, eth0 = make_stack()
    endpoint = stack.udp.bind(ANY4, 7)

    def on_ready() -> None:
        while (message := endpoint.recv()) is not None:
            endpoint.send(*message)

    endpoint.on_ready = on_ready
    data = datagram(UDP(sport=5000, dport=7) / bytes(64))

    def once() -> None:
        stack.receive(Frame(data, (), eth0), 1)
        for ready in stack.take_ready():
            ready.on_ready()
        stack.take_frames()

    return once


def bench_ping() -> Callable[[], None]:
    """A ping of 56 octets answered."""
    stack, eth0 = make_stack()
    data = datagram(ICMP() / bytes(range(56)))

    def once() -> None:
        stack.receive(Frame(data, (), eth0), 1)
        stack.take_frames()

    return once


def bench_ping_60000() -> Callable[[], None]:
    """A ping of 60,000 octets: 41 fragments in, 41 out."""
    stack, eth0 = make_stack()
    packet = Ether(src=PEER, dst=OURS) / IP(src="10.0.0.2", dst="10.0.0.1", id=1) / ICMP() / bytes(60_000)
    frames = [bytes(piece) for piece in fragment(packet, 1480)]

    def once() -> None:
        for data in frames:
            stack.receive(Frame(data, (), eth0), 1)
        stack.take_frames()

    return once


def bench_forward() -> Callable[[], None]:
    """A 1,448-octet segment forwarded."""
    stack, eth0 = make_stack(forward=True)
    data = datagram(TCP() / bytes(1448), dst="10.0.1.2")

    def once() -> None:
        stack.receive(Frame(data, (), eth0), 1)
        stack.take_frames()

    return once


def bench_port_unreachable() -> Callable[[], None]:
    """A datagram to a closed port, answered or held back by the limit."""
    stack, eth0 = make_stack()
    data = datagram(UDP(dport=9) / bytes(64))

    def once() -> None:
        stack.receive(Frame(data, (), eth0), 1)
        stack.take_frames()

    return once


def bench_lookup_100000() -> Callable[[], None]:
    """A lookup in a table of 100,000 routes of every length, not cached."""
    table = RoutingTable(32)
    iface = Interface("eth0", mac(OURS))
    for i in range(100_000):
        table.add(Prefix.of((0x0B000000 + i * 9_973).to_bytes(4, "big"), 8 + i % 25), iface, metric=i)
    dst = ip("172.16.5.9")

    def once() -> None:
        table.lookup(dst)

    return once


BENCHES = {name[6:]: maker for name, maker in list(globals().items()) if name.startswith("bench_")}


def measure(once: Callable[[], None], count: int) -> float:
    """Microseconds a call, best of the rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(count):
            once()
        best = min(best, time.perf_counter() - start)
    return best / count * 1e6


def main(arguments: list[str]) -> None:
    """Run the benchmarks named, or all."""
    names = [name for name in arguments if not name.startswith("-")] or list(BENCHES)
    for name in names:
        once = BENCHES[name]()
        for _ in range(100):
            once()
        count = COUNT // 20 if "60000" in name else COUNT
        print(f"{name:20} {measure(once, count):9.2f} us   {(BENCHES[name].__doc__ or '').split('.')[0]}")
        if "--profile" in arguments:
            profile = cProfile.Profile()
            profile.runcall(lambda once=once: [once() for _ in range(COUNT)])
            profile.print_stats("tottime")


if __name__ == "__main__":
    main(sys.argv[1:])
