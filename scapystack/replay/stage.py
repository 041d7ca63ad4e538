"""The stage of a replay: one stack, and the wire on which it meets the recorded peer, in virtual time.

The stack has the recorded address and hardware address of the side whose part it takes, where a host can have
them; addresses of the loopback move to 10.0.0.0/24. Nothing but what a replay feeds comes in; all that leaves is
shown to `on_frame` as the octets a wire would have carried. Read `packets` first.
"""

from __future__ import annotations

from collections.abc import Callable

from scapystack.base.addr import ip, is_loopback
from scapystack.base.addr import mac as parse_mac
from scapystack.base.checksum import checksum
from scapystack.base.config import StackConfig
from scapystack.base.datagram import PROTO_ICMP, PROTO_TCP, PROTO_UDP
from scapystack.base.frames import CSUM_NONE, CSUM_VALID, Frame
from scapystack.base.offload import split
from scapystack.base.types import SECOND, Address, Mac, Nanoseconds
from scapystack.replay.packets import Packet, shared_codec, transport_checksum
from scapystack.stack import NetStack

START = 1_000 * SECOND
"""The virtual time at which every replay begins."""
_IPV4 = 0x0800
_HEADER = 20
_OURS, _PEER = ip("10.0.0.1"), ip("10.0.0.2")
_OUR_MAC, _PEER_MAC = parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02")
_LARGEST_PACKET = 65_535


class Stage:
    """One stack on a wire. `ours` and `peer` are the recorded addresses of its part and of the other side's."""

    def __init__(
        self, config: StackConfig, ours: Address, peer: Address, macs: tuple[Mac, Mac] | None, mtu: int, seed: int
    ) -> None:
        """`macs` are the recorded hardware addresses: ours, the peer's."""
        self.recorded = (ours, peer)
        moved = ours == peer or is_loopback(ours) or is_loopback(peer)
        self.ours, self.peer = (_OURS, _PEER) if moved else (ours, peer)
        self.mac, self.peer_mac = macs if macs is not None and _usable(*macs) else (_OUR_MAC, _PEER_MAC)
        self.now = START
        self.on_frame: Callable[[bytes], None] = lambda octets: None
        self.act: Callable[[], None] = lambda: None
        """The application's turn, before every output pass."""
        self.stack = stack = NetStack(config, seed=seed, codec=shared_codec())
        self.iface = stack.add_interface("replay", self.mac, min(mtu, _LARGEST_PACKET))
        stack.enter(self.now)
        stack.add_address(self.iface, (self.ours, 32))
        stack.add_route("default", iface=self.iface)
        stack.arp.add_static(self.iface, self.peer, self.peer_mac)

    def sender(self, address: Address) -> Address:
        """Where a recorded host other than ours is on this stage."""
        return self.peer if address == self.recorded[1] else address

    # -- time ------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """One output pass, and what it sent."""
        stack = self.stack
        stack.take_ready()
        self.act()
        stack.poll(self.now)
        for frame in stack.take_frames():
            for part in split(frame):
                self.on_frame(part.data)

    def run(self, until: Nanoseconds) -> None:
        """Let time pass, stopping at every deadline of the stack's."""
        while (at := self.stack.next_deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.settle()
        self.now = max(self.now, until)
        self.stack.enter(self.now)

    def wait(self, condition: Callable[[], bool], limit: Nanoseconds) -> bool:
        """Let time pass until `condition` holds, `limit` at most; whether it does."""
        end = self.now + limit
        while not condition():
            at = self.stack.next_deadline()
            if at is None or at > end:
                return False
            self.now = max(self.now, at)
            self.settle()
        return True

    # -- the wire --------------------------------------------------------------------------------------

    def feed(self, packet: Packet, payload: bytearray, source: Address, gso_size: int = 0) -> None:
        """A packet of the peer's, its `payload` as it is to be (the checksum is written here), in its fragments.

        `gso_size` is that of a super-segment: it comes as from a card that has put it together.
        """
        transport = packet.proto in (PROTO_TCP, PROTO_UDP, PROTO_ICMP)
        if transport:
            transport_checksum(packet.proto, source, self.ours, payload, packet.damaged)
        whole = memoryview(bytes(payload))
        if not packet.cuts:
            self._receive(packet, whole, source, 0, False, gso_size)
            return
        at = 0
        for size in packet.cuts:
            self._receive(packet, whole[at : at + size], source, at, at + size < len(whole), 0)
            at += size

    def _receive(self, packet: Packet, data: memoryview, src: Address, at: int, more: bool, gso_size: int) -> None:
        codec = self.stack.core.codec
        options = packet.options
        flags = (2 if packet.df else 0) | more
        length = _HEADER + len(options) + len(data)
        words = (_HEADER + len(options)) // 4
        fields = (4, words, packet.tos, length, packet.ident, flags, at >> 3, packet.ttl, packet.proto)
        header = codec.encode_ipv4(*fields, 0, src, self.ours) + options
        header = codec.encode_ipv4(*fields, checksum(header), src, self.ours) + options
        octets = b"".join((codec.encode_ethernet(self.mac, self.peer_mac, _IPV4), header, data))
        frame = Frame(octets, (), self.iface, CSUM_VALID if gso_size else CSUM_NONE, gso_size=gso_size)
        self.stack.receive(frame, self.now)


def _usable(ours: Mac, peer: Mac) -> bool:
    return ours != peer and not any(mac[0] & 1 or not any(mac) for mac in (ours, peer))
