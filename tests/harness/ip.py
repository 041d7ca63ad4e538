"""A stack whose wires are in the hands of a test: Scapy packets in, exact Scapy packets out, virtual time.

    wire = Wire("10.0.0.1/24")                       # one interface for each address: eth0, eth1, ...
    wire.send(wire.rx(ICMP(id=1) / b"abc"))          # from 10.0.0.2 to us
    wire.expect(wire.tx(ICMP(type=0, id=1) / b"abc"))  # this leaves, octet for octet, and then nothing

On eth<i> we are 02:00:00:00:0<i>:01, and a neighbour whose address ends in .<n> is 02:00:00:00:0<i>:<n>.
Unless `known` is false, ARP knows the hosts .2 to .9 of each network. An IP id that the expected packet
does not give is taken from what left (ids are random); all other fields must be as Scapy fills them in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.inet import IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from scapystack.base.addr import ip, ip_text, mac_text
from scapystack.base.config import StackConfig
from scapystack.base.frames import CSUM_NONE, Frame
from scapystack.base.iface import Interface
from scapystack.base.offload import finished
from scapystack.base.types import MILLISECOND, SECOND
from scapystack.describe import describe
from scapystack.stack import NetStack
from scapystack.testing import Script, Transcript
from scapystack.testing.compare import Row, rows_of_packet

START = SECOND
BROADCAST = "ff:ff:ff:ff:ff:ff"
KNOWN = range(2, 10)


def errno_of(call: Callable[..., Any], *arguments: Any, **options: Any) -> int | None:
    """The errno of the OSError that a call raises; None if it raises none."""
    try:
        call(*arguments, **options)
    except OSError as error:
        return error.errno
    return None


class Wire(Script[Frame]):
    """The stack, its clock (`now`, ns) and its wires. `net` is the stack, `eth[0]` its first interface."""

    def __init__(
        self,
        *addresses: str,
        known: bool = True,
        codec: str = "compiled",
        mtu: int = 1500,
        gso_max: int = 0,
        seed: int = 7,
        configure: Callable[[StackConfig], None] | None = None,
    ) -> None:
        super().__init__(Transcript(self.tell, START))
        config = StackConfig()
        if configure is not None:
            configure(config)
        self.now = START
        self.net = NetStack(config, seed=seed, codec=codec)
        self.net.enter(self.now)
        self.eth: list[Interface] = []
        for i, address in enumerate(addresses or ("10.0.0.1/24",)):
            iface = self.net.add_interface(f"eth{i}", f"02:00:00:00:{i:02x}:01", mtu, gso_max)
            self.eth.append(iface)
            self.net.add_address(iface, address)
            network = address.rpartition(".")[0]
            for n in KNOWN if known else ():
                self.net.arp.add_static(iface, ip(f"{network}.{n}"), bytes((2, 0, 0, 0, i, n)))

    # -- Scapy packets

    def ours(self, i: int = 0) -> str:
        """Our hardware address on eth<i>."""
        return mac_text(self.eth[i].mac)

    def mac(self, address: str, i: int = 0) -> str:
        """The hardware address of a neighbour on eth<i>."""
        return f"02:00:00:00:{i:02x}:{int(address.rpartition('.')[2]):02x}"

    def rx(
        self,
        payload: Packet | bytes,
        src: str = "10.0.0.2",
        dst: str = "10.0.0.1",
        i: int = 0,
        *,
        to: str | None = None,
        by: str | None = None,
        **fields: Any,
    ) -> Packet:
        """A frame to us on eth<i>, from the neighbour `src` (or by the gateway `by`); `fields` are IP's."""
        link = Ether(src=self.mac(by or src, i), dst=to or self.ours(i), type=0x0800)
        return link / IP(src=src, dst=dst, **fields) / payload

    def tx(
        self,
        payload: Packet | bytes,
        src: str = "10.0.0.1",
        dst: str = "10.0.0.2",
        i: int = 0,
        *,
        to: str | None = None,
        by: str | None = None,
        **fields: Any,
    ) -> Packet:
        """A frame of ours on eth<i> to the neighbour `dst` (or by the gateway `by`)."""
        link = Ether(src=self.ours(i), dst=to or self.mac(by or dst, i), type=0x0800)
        return link / IP(src=src, dst=dst, **fields) / payload

    def who_has(self, target: str, src: str = "10.0.0.1", i: int = 0, to: str = BROADCAST) -> Packet:
        """Our ARP request on eth<i>."""
        ours = self.ours(i)
        return Ether(src=ours, dst=to) / ARP(op=1, hwsrc=ours, psrc=src, hwdst="00:00:00:00:00:00", pdst=target)

    def is_at(self, address: str, i: int = 0, to: str = "10.0.0.1", mac: str | None = None) -> Packet:
        """A neighbour's answer to it."""
        source = mac or self.mac(address, i)
        ours = self.ours(i)
        return Ether(src=source, dst=ours) / ARP(op=2, hwsrc=source, psrc=address, hwdst=ours, pdst=to)

    # -- in, out, time

    def send(self, *packets: Packet | bytes, i: int = 0, csum: int = CSUM_NONE) -> None:
        """Let frames arrive on eth<i>, and poll once behind them, as a driver does with a burst."""
        for packet in packets:
            frame = Frame(bytes(packet), (), self.eth[i], csum)
            self.transcript.note(self.now, f"> {frame.iface.name}", frame)
            self.net.receive(frame, self.now)
        self.net.poll(self.now)

    def poll(self) -> None:
        """Let the stack finish what an application began."""
        self.net.poll(self.now)

    def after(self, ms: float) -> None:
        """Let time pass, from deadline to deadline."""
        end = self.now + int(ms * MILLISECOND)
        while (at := self.net.next_deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            self.net.poll(self.now)
        self.now = end
        self.net.poll(end)

    def frames(self) -> list[Frame]:
        """What has left since the last look, as frames."""
        left = self.net.take_frames()
        for frame in left:
            self.transcript.note(frame.at, f"< {frame.iface.name}", frame)
        return left

    def out(self, i: int | None = None) -> list[Packet]:
        """What has left since the last look (by eth<i>), checksums finished, as Scapy packets."""
        return [Ether(finished(frame)) for frame in self.frames() if i is None or frame.iface is self.eth[i]]

    def expect(self, *expected: Packet) -> None:
        """Exactly these frames have left, in this order, octet for octet."""
        self.compare(expected, self.take())

    def take(self) -> list[Frame]:
        return self.frames()

    def rows(self, wanted: Packet, thing: Frame) -> list[Row]:
        """All octets; field by field where they differ."""
        there = Ether(finished(thing))
        whole = wanted.copy()
        if IP in whole and "id" not in whole[IP].fields:
            whole[IP].id = there[IP].id if IP in there else 0
        same = bytes(there) == bytes(whole)
        fields = [] if same else rows_of_packet(Ether(bytes(whole)), there)
        return [*fields, Row("octets", str(len(whole)), str(len(there)), same)]

    def tell(self, thing: Frame) -> str:
        return describe(thing)

    def count(self, name: str) -> int:
        """A counter."""
        return self.net.counters[name]

    def drops(self) -> dict[str, int]:
        """The reasons for which something was dropped so far."""
        return self.net.counters.drops()

    def neighbours(self) -> dict[str, str]:
        """The ARP cache without the permanent entries: address and state."""
        return {ip_text(e.address): e.state for e in self.net.arp.entries() if e.state != "permanent"}
