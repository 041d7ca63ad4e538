"""What the layers below TCP cost a packet. Frames come from Scapy, the clock stands still, nothing is sent."""

from __future__ import annotations

from collections.abc import Callable

from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.l2 import Ether

from benchmarks.row import Row, microseconds
from scapystack.base.addr import ANY4, Prefix, ip, mac
from scapystack.base.config import StackConfig
from scapystack.base.datagram import PROTO_TCP, Datagram, IcmpError
from scapystack.base.frames import CSUM_VALID, Frame
from scapystack.base.iface import Interface
from scapystack.layers.routing import RoutingTable
from scapystack.stack import NetStack

OURS, PEER = "02:00:00:00:00:01", "02:00:00:00:00:02"


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


def ip_input() -> Callable[[], None]:
    """A 1,448-octet TCP segment from the link to its transport's input; the link vouches for it."""
    stack, eth0 = make_stack()
    stack.ipv4.register(PROTO_TCP, Sink())
    data = datagram(TCP(options=[("NOP", None), ("NOP", None), ("Timestamp", (1, 1))]) / bytes(1448))

    def once() -> None:
        stack.receive(Frame(data, (), eth0, CSUM_VALID), 1)

    return once


def udp_echo() -> Callable[[], None]:
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


def ping() -> Callable[[], None]:
    """A ping of 56 octets answered."""
    stack, eth0 = make_stack()
    data = datagram(ICMP() / bytes(range(56)))

    def once() -> None:
        stack.receive(Frame(data, (), eth0), 1)
        stack.take_frames()

    return once


def ping_60000() -> Callable[[], None]:
    """A ping of 60,000 octets: 41 fragments in, 41 out."""
    stack, eth0 = make_stack()
    packet = Ether(src=PEER, dst=OURS) / IP(src="10.0.0.2", dst="10.0.0.1", id=1) / ICMP() / bytes(60_000)
    frames = [bytes(piece) for piece in fragment(packet, 1480)]

    def once() -> None:
        for data in frames:
            stack.receive(Frame(data, (), eth0), 1)
        stack.take_frames()

    return once


def forward() -> Callable[[], None]:
    """A 1,448-octet segment forwarded."""
    stack, eth0 = make_stack(forward=True)
    data = datagram(TCP() / bytes(1448), dst="10.0.1.2")

    def once() -> None:
        stack.receive(Frame(data, (), eth0), 1)
        stack.take_frames()

    return once


def port_unreachable() -> Callable[[], None]:
    """A datagram to a closed port, answered or held back by the limit."""
    stack, eth0 = make_stack()
    data = datagram(UDP(dport=9) / bytes(64))

    def once() -> None:
        stack.receive(Frame(data, (), eth0), 1)
        stack.take_frames()

    return once


def lookup_100000() -> Callable[[], None]:
    """A lookup in a table of 100,000 routes of every length, not cached."""
    table = RoutingTable(32)
    iface = Interface("eth0", mac(OURS))
    for i in range(100_000):
        table.add(Prefix.of((0x0B000000 + i * 9_973).to_bytes(4, "big"), 8 + i % 25), iface, metric=i)
    dst = ip("172.16.5.9")

    def once() -> None:
        table.lookup(dst)

    return once


ROWS: list[Row] = [
    microseconds("ip.input", "a 1,448-octet segment from the link to its transport", ip_input),
    microseconds("ip.forward", "a 1,448-octet segment forwarded", forward),
    microseconds("ip.lookup", "a destination in 100,000 routes of every length", lookup_100000),
    microseconds("icmp.ping", "a ping of 56 octets answered", ping),
    microseconds("icmp.ping-60000", "a ping of 60,000 octets: 41 fragments in, 41 out", ping_60000),
    microseconds("udp.echo", "64 octets in, to the application, and out", udp_echo),
    microseconds("udp.no-port", "64 octets to a closed port", port_unreachable),
]
