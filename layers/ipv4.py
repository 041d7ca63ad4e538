"""IPv4 (RFC 791, RFC 1122 section 3.2.1, RFC 1812): the way in and the way out of every packet.

In: the guard, impossible addresses, options, ours or to be forwarded, reassembly of fragments, then
raw sockets and the transport. Out: the header, the MTU, the link header or ARP. Which addresses are
ours and where packets go is `layers.paths`'s to say. Read `scapystack.base.datagram` first.
"""

from __future__ import annotations

from collections import deque

from scapystack.base.core import Core
from scapystack.base.datagram import (
    CAST_BROADCAST,
    CAST_MULTICAST,
    CAST_UNICAST,
    Datagram,
    IcmpError,
    Route,
    Transport,
)
from scapystack.base.frames import CSUM_PARTIAL, Frame
from scapystack.base.guard import ipv4_header
from scapystack.base.iface import Interface
from scapystack.base.types import Address, Buffer
from scapystack.layers.arp import Arp
from scapystack.layers.ethernet import HEADER, Ethernet
from scapystack.layers.paths import Paths
from scapystack.layers.raw import RawIp

MORE_FRAGMENTS = 1
DONT_FRAGMENT = 2
_LINK_ROOM = bytes(HEADER)
_MAX_LOOPED = 4_096
_MAX_IDS = 4_096
_from_bytes = int.from_bytes


class Ipv4:
    """IP version 4 for all interfaces of one stack; implements `base.datagram.IpOutput`.

    `looped` holds packets to ourselves until the stack's next loopback round, `local_errors` what
    transports must be told once they are not in the middle of something.
    """

    def __init__(self, core: Core, ethernet: Ethernet, arp: Arp, interfaces: list[Interface]) -> None:
        self.core = core
        self.ethernet = ethernet
        self.arp = arp
        self.paths = Paths(core, ethernet, arp, interfaces)
        self.routes = self.paths.table
        self.raw = RawIp(core, self)
        self.transports: dict[int, Transport] = {}
        self.looped: deque[Frame] = deque()
        self.local_errors: list[IcmpError] = []
        self._ids: dict[Address, int] = {}
        self._decode = core.codec.decode_ipv4
        self._encode = core.codec.encode_ipv4

    def register(self, proto: int, transport: Transport) -> None:
        """Hand datagrams of a protocol, and errors about them, to `transport`."""
        self.transports[proto] = transport

    # -- in

    def input(self, frame: Frame, data: bytes, link_cast: int) -> None:
        """Take an IP packet in its frame (from octet 14 on)."""
        counters = self.core.counters
        reason = ipv4_header(data, HEADER, len(data) - HEADER)
        if reason:
            counters["ip.drop." + reason] += 1
            return
        _, ihl, tos, total, _, flags, offset, ttl, proto, _, src, dst = self._decode(data, HEADER)
        iface = frame.iface
        assert iface is not None
        casts = self.paths.casts
        first = src[0]
        # RFC 1122 section 3.2.1.3: a source is one host, and it is not we ourselves
        if (first >= 224 or first == 127 or not first or src in casts) and not iface.loopback:
            counters["ip.drop.source"] += 1
            return
        cast = casts.get(dst)
        if cast is None or cast or link_cast:
            cast = self._cast_of(dst, iface, link_cast)
            if cast < 0:
                return
        packet = memoryview(data)[HEADER : HEADER + total]
        options = b""
        if ihl != 5:
            options = bytes(packet[20 : ihl * 4])
        if offset or flags & MORE_FRAGMENTS:
            counters["ip.drop.fragment"] += 1
            return
        self.deliver(
            Datagram(
                src, dst, proto, packet[ihl * 4 :], packet, iface, ttl, tos, cast,
                frame.csum, frame.gso_size, options, flags & DONT_FRAGMENT != 0,
            )
        )  # fmt: skip

    def _cast_of(self, dst: Address, iface: Interface, link_cast: int) -> int:
        """How a packet that is not plainly unicast to us was cast; -1 if it is not for us."""
        counters = self.core.counters
        if dst[0] >> 4 == 14:
            if dst in iface.multicast_groups:
                return CAST_MULTICAST
            counters["ip.drop.not_a_member"] += 1
            return -1
        if self.paths.is_broadcast(dst, iface):
            return CAST_BROADCAST
        if link_cast:  # RFC 1122 section 3.3.6: a link broadcast must not carry a unicast packet
            counters["ip.drop.link_cast"] += 1
            return -1
        if iface.loopback and dst[0] == 127:
            return CAST_UNICAST
        counters["ip.drop.not_ours"] += 1
        return -1

    def deliver(self, datagram: Datagram) -> None:
        """Hand a whole datagram to the raw sockets that want it and to its transport."""
        taken = self.raw.input(datagram) if self.raw.endpoints else False
        transport = self.transports.get(datagram.proto)
        if transport is not None:
            transport.input(datagram)
        elif not taken:
            self.core.counters["ip.drop.protocol"] += 1

    # -- out

    def route(self, dst: Address, src: Address | None = None) -> Route:
        """As `IpOutput.route`."""
        return self.paths.route(dst, src)

    def advise(self, route: Route) -> None:
        """As `IpOutput.advise`."""
        self.arp.suspect(route.iface, route.hop)

    def fresh(self, route: Route) -> bool:
        """As `IpOutput.fresh`."""
        return route.generation == self.routes.generation

    def is_local(self, address: Address) -> bool:
        """As `IpOutput.is_local`."""
        return self.paths.is_local(address)

    def update_pmtu(self, dst: Address, mtu: int) -> None:
        """As `IpOutput.update_pmtu`."""
        self.paths.update_pmtu(dst, mtu)

    def send(
        self,
        route: Route,
        proto: int,
        head: bytes,
        payload: tuple[Buffer, ...] = (),
        length: int = 0,
        *,
        src: Address | None = None,
        csum_offset: int = -1,
        gso_size: int = 0,
        tos: int = 0,
        ttl: int = 0,
        df: bool = False,
        options: bytes = b"",
    ) -> None:
        """As `IpOutput.send`."""
        core = self.core
        total = 20 + (length or len(head) + sum(map(len, payload)))
        dst = route.dst
        if src is None:
            src = route.src
        if not ttl:
            ttl = core.config.ip.ttl if route.cast != CAST_MULTICAST else 1
        if df:  # RFC 6864 section 4.1: the id of an atomic datagram means nothing
            ident = 0
            flags = DONT_FRAGMENT
        else:
            ident = self.next_id(dst)
            flags = 0
        left = (_from_bytes(src + dst) + 0x4500 + tos + total + ident + (flags << 13) + (ttl << 8) + proto) % 0xFFFF
        header = self._encode(4, 5, tos, total, ident, flags, 0, ttl, proto, 0xFFFF - left if left else 0, src, dst)
        neighbour = route.neighbour
        link = neighbour.header if neighbour is not None and neighbour.until > core.now else None
        if csum_offset < 0:
            frame = Frame((link or _LINK_ROOM) + header + head, payload, route.iface)
        else:
            frame = Frame(
                (link or _LINK_ROOM) + header + head, payload, route.iface, CSUM_PARTIAL, 34, csum_offset, gso_size
            )
        self.transmit(frame, route, link is not None, total)

    def transmit(self, frame: Frame, route: Route, addressed: bool, total: int) -> None:
        """Let a frame leave by its route; unless `addressed`, it has only room for its link header."""
        iface = route.iface
        if iface.loopback:
            if len(self.looped) >= _MAX_LOOPED:
                self.core.counters["ip.drop.loopback_full"] += 1
                return
            frame.at = self.core.now
            self.looped.append(frame)
        elif addressed:
            frame.at = self.core.now
            iface.tx_frames += 1
            iface.tx_bytes += HEADER + total
            self.core.outbox.append(frame)
        else:
            self.arp.output(frame, route)

    def next_id(self, dst: Address) -> int:
        """An id not used lately towards `dst` (RFC 6864 section 4.3), and not to be guessed by others.

        Each destination has a counter of its own with a random start: who sees one learns nothing
        of another's.
        """
        ids = self._ids
        ident = ids.get(dst)
        if ident is None:
            if len(ids) >= _MAX_IDS:
                ids.clear()
            ident = self.core.rng.u16()
        ids[dst] = (ident + 1) & 0xFFFF
        return ident
