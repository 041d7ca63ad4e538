"""IPv4 (RFC 791, RFC 1122 section 3.2.1, RFC 1812): the way in and the way out of every packet.

In: the guard, impossible addresses, options, ours or `layers.forward`'s, reassembly of fragments,
then raw sockets and the transport. Out: the header, the MTU, the link header or ARP. Which addresses
are ours and where packets go is `layers.paths`'s to say. Read `scapystack.base.datagram` first.
"""

from __future__ import annotations

import errno
from collections import deque

from scapystack.base.checksum import finish, sum_parts
from scapystack.base.codec import Ipv4Fields
from scapystack.base.core import Core
from scapystack.base.datagram import (
    CAST_BROADCAST,
    CAST_MULTICAST,
    CAST_UNICAST,
    PROTO_UDP,
    Datagram,
    IcmpError,
    Route,
    Transport,
)
from scapystack.base.frames import CSUM_PARTIAL, Frame
from scapystack.base.guard import ipv4_header
from scapystack.base.iface import Interface
from scapystack.base.types import Address, Buffer
from scapystack.layers import icmperrors, ipoptions
from scapystack.layers.arp import Arp
from scapystack.layers.ethernet import HEADER, Ethernet
from scapystack.layers.forward import Forwarder
from scapystack.layers.ipfrag import Pending, Reassembly, cut
from scapystack.layers.paths import MIN_PMTU, Paths
from scapystack.layers.raw import RawIp

MORE_FRAGMENTS = 1
DONT_FRAGMENT = 2
_LINK_ROOM = bytes(HEADER)
_MAX_TOTAL = 0xFFFF
_MAX_LOOPED = 4_096
_MAX_IDS = 4_096
_MAX_LOCAL_ERRORS = 1_024
_from_bytes = int.from_bytes


class Ipv4:
    """IP version 4 for all interfaces of one stack; implements `base.datagram.IpOutput`.

    `looped` holds packets to ourselves until the stack's next loopback round; `local_errors` what
    transports must be told about packets that never left, once nobody is in the middle of something.
    `packets_in` counts what came in, right or wrong, and `packets_out` what transports sent.
    """

    def __init__(self, core: Core, ethernet: Ethernet, arp: Arp, interfaces: list[Interface]) -> None:
        self.core = core
        self.ethernet = ethernet
        self.arp = arp
        self.paths = Paths(core, ethernet, arp, interfaces)
        self.routes = self.paths.table
        self.errors = icmperrors.ErrorOutput(core, self)
        self.forwarder = Forwarder(core, self)
        self.reassembly = Reassembly(core)
        self.reassembly.expired = self._reassembly_expired
        self.raw = RawIp(core, self)
        self.transports: dict[int, Transport] = {}
        self.looped: deque[Frame] = deque()
        self.local_errors: deque[IcmpError] = deque()
        self.packets_in = 0
        self.packets_out = 0
        self._ids: dict[Address, int] = {}
        self._decode = core.codec.decode_ipv4
        self._encode = core.codec.encode_ipv4

    def register(self, proto: int, transport: Transport) -> None:
        """Hand datagrams of a protocol, and errors about them, to `transport`."""
        self.transports[proto] = transport

    # -- in

    def input(self, frame: Frame, iface: Interface, data: Buffer, link_cast: int) -> None:
        """Take an IP packet in its frame (from octet 14 on)."""
        self.packets_in += 1
        counters = self.core.counters
        reason = ipv4_header(data, HEADER, len(data) - HEADER)  # 791-1122/3.2.1.1, 1122/3.2.1.2
        if reason:
            counters["ip.drop." + reason] += 1
            return
        fields = self._decode(data, HEADER)
        _, ihl, tos, total, _, flags, offset, ttl, proto, _, src, dst = fields
        casts = self.paths.casts
        first = src[0]
        # RFC 1122 section 3.2.1.3 (1122/3.2.1.3): a source is one host, and not we ourselves (land)
        if (first >= 224 or first == 127 or not first or src in casts) and not iface.loopback:
            counters["ip.drop.source"] += 1
            return
        packet = memoryview(data)[HEADER : HEADER + total]
        cast = casts.get(dst)
        options = b""
        if cast != CAST_UNICAST or link_cast or ihl != 5:
            cast = self._classify(frame, iface, packet, fields, link_cast)
            if cast < 0:
                return
            options = bytes(packet[20 : ihl * 4])
        if offset or flags & MORE_FRAGMENTS:
            self._fragment(packet, fields, iface, cast)
            return
        self.deliver(
            Datagram(
                src, dst, proto, packet[ihl * 4 :], packet, iface, ttl, tos, cast,
                frame.csum, frame.gso_size, options, flags & DONT_FRAGMENT != 0, frame.more,
            )
        )  # fmt: skip

    def _classify(self, frame: Frame, iface: Interface, packet: memoryview, fields: Ipv4Fields, link_cast: int) -> int:
        """How a packet was cast that is not plainly a unicast to us; -1 if it goes no further here."""
        counters = self.core.counters
        dst = fields[11]
        cast = self._cast_of(dst, iface)
        if dst[0] >> 4 == 14 and cast != CAST_MULTICAST:
            counters["ip.drop.not_a_member"] += 1
            return -1
        # RFC 1122 section 3.3.6 (1122/3.3.6): a link broadcast must not carry a unicast packet
        if link_cast and cast in (CAST_UNICAST, -1):
            counters["ip.drop.link_cast"] += 1
            return -1
        found = None
        if fields[1] != 5:
            try:
                found = ipoptions.find(packet[20 : fields[1] * 4])
            except ipoptions.OptionError as error:
                self.bad_option(packet, error.at, max(cast, link_cast))
                return -1
            if found.source_route >= 0 and not self._may_take_source_route(frame, packet, fields, found, cast):
                return -1
        if cast != -1:
            return max(cast, link_cast)
        if dst[0] >= 224 or dst[0] in (0, 127) or dst in self.paths.casts:
            counters["ip.drop.destination"] += 1  # another network's broadcast too (RFC 2644)
            return -1
        self.forwarder.input(frame, packet, fields, found)
        return -1

    def _cast_of(self, dst: Address, iface: Interface) -> int:
        """How a packet to `dst` that came in by `iface` was cast; -1 if it is not for us."""
        if self.paths.casts.get(dst) == CAST_UNICAST or (iface.loopback and dst[0] == 127):
            return CAST_UNICAST
        if dst in iface.multicast_groups:
            return CAST_MULTICAST
        return CAST_BROADCAST if self.paths.is_broadcast(dst, iface) else -1

    def _may_take_source_route(
        self, frame: Frame, packet: memoryview, fields: Ipv4Fields, found: ipoptions.Found, cast: int
    ) -> bool:
        """A source-routed packet is taken or passed on only if `config.ip.source_route` allows it."""
        options = bytes(packet[20 : fields[1] * 4])
        if not self.core.config.ip.source_route:
            self.core.counters["ip.drop.source_route"] += 1
            return False
        if cast == CAST_UNICAST and ipoptions.next_hop(options, found) is not None:
            self.forwarder.follow(frame, packet, fields, found)
            return False
        return True

    def bad_option(self, packet: memoryview, at: int, cast: int = CAST_UNICAST) -> None:
        """Drop a packet with an impossible option, and say which (RFC 1122 section 3.2.2.5)."""
        self.core.counters["ip.drop.option"] += 1
        self.errors.send(icmperrors.PARAMETER_PROBLEM, 0, packet, cast, bytes((20 + at, 0, 0, 0)))

    def _fragment(self, packet: memoryview, fields: Ipv4Fields, iface: Interface, cast: int) -> None:
        """RFC 1122 section 3.3.2 (1122/3.2.1.4): put it together; the whole goes on as if it had come so."""
        _, ihl, tos, _, ident, flags, offset, _, proto, _, src, dst = fields
        whole = self.reassembly.add(
            (src, dst, proto, ident), offset * 8, flags & MORE_FRAGMENTS != 0, packet, ihl * 4, tos & 3, iface, cast
        )
        if whole is None:
            return
        lead, data, ecn = whole
        _, _, tos, _, _, _, _, ttl, _, _, _, _ = self._decode(lead, 0)
        tos = tos & 0xFC | ecn
        head = self.header(tos, len(lead) + len(data), ident, 0, 0, ttl, proto, src, dst, lead[20:])
        joined = memoryview(head + data)
        self.deliver(Datagram(src, dst, proto, joined[len(head) :], joined, iface, ttl, tos, cast, options=lead[20:]))

    def _reassembly_expired(self, pending: Pending) -> None:
        self.errors.send(icmperrors.TIME_EXCEEDED, icmperrors.REASSEMBLY_EXPIRED, pending.first, pending.cast)

    def deliver(self, datagram: Datagram) -> None:
        """Hand a whole datagram to the raw sockets that want it and to its transport."""
        taken = self.raw.input(datagram) if self.raw.endpoints else False
        transport = self.transports.get(datagram.proto)
        if transport is not None:
            transport.input(datagram)
        elif not taken:
            self.core.counters["ip.drop.protocol"] += 1  # RFC 1122 section 3.2.2.1
            self.errors.send(icmperrors.UNREACHABLE, icmperrors.PROTOCOL, datagram.packet, datagram.cast)

    # -- errors about packets of ours

    def report(self, error: IcmpError) -> None:
        """Tell the transport concerned."""
        transport = self.transports.get(error.proto)
        if transport is None:
            self.core.counters["icmp.drop.no_transport"] += 1
        else:
            transport.icmp_error(error)

    def report_local_errors(self) -> None:
        """Tell transports what became of packets that never left. Called between two output passes."""
        errors = self.local_errors
        while errors:
            self.report(errors.popleft())

    def unreachable(self, frames: list[Frame]) -> None:
        """Nobody answered ARP for these: tell our sockets, and the sources of what we forwarded."""
        for frame in frames:
            packet = memoryview(frame.data)[HEADER:]
            src = self._decode(packet, 0)[10]
            if self.paths.is_local(src):
                self._fail(packet, icmperrors.HOST, errno.EHOSTUNREACH)
            else:  # RFC 1812 section 5.2.7.1
                self.errors.send(icmperrors.UNREACHABLE, icmperrors.HOST, packet, CAST_UNICAST)

    def _fail(self, packet: Buffer, code: int, number: int, mtu: int = 0) -> None:
        """Note an error about a packet of ours, in the form in which a router would have told it."""
        _, ihl, _, _, _, _, offset, _, proto, _, src, dst = self._decode(packet, 0)
        quote = bytes(packet[ihl * 4 : ihl * 4 + 64])
        if offset or len(quote) < 8 or len(self.local_errors) >= _MAX_LOCAL_ERRORS:
            return
        self.local_errors.append(
            IcmpError(icmperrors.UNREACHABLE, code, src, src, dst, proto, quote, number, mtu=mtu, local=True)
        )

    # -- what transports ask

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

    # -- out

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
        self.packets_out += 1
        core = self.core
        octets = total = 20 + (length or len(head) + sum(map(len, payload)))
        if total > _MAX_TOTAL:
            total = 0  # for the kernel beside us, which takes the length from the frame (Linux's BIG TCP)
        dst = route.dst
        if src is None:
            src = route.src
        if not ttl:  # 1122/3.2.1.6-7, MUST-49: settable, and never zero on the wire
            # RFC 1112 section 6.1: multicast stays on the link unless asked otherwise
            ttl = core.config.ip.ttl if route.cast != CAST_MULTICAST else 1
        if df and route.mtu > MIN_PMTU:  # below that we do not believe the path, and let it fragment
            ident = 0  # RFC 6864 section 4.1 (6864): the id of an atomic datagram means nothing
            flags = DONT_FRAGMENT
        else:
            ident = self.next_id(dst, -(-octets // gso_size) if gso_size else 1)
            flags = 0
        if options or (octets > route.mtu and not gso_size):
            self._send_slowly(
                route, proto, (head, *payload), csum_offset, gso_size, tos, ident, flags, ttl, src, options
            )
            return
        left = (
            _from_bytes(src + dst, "big") + 0x4500 + tos + total + ident + (flags << 13) + (ttl << 8) + proto
        ) % 0xFFFF
        header = self._encode(4, 5, tos, total, ident, flags, 0, ttl, proto, 0xFFFF - left if left else 0, src, dst)
        iface = route.iface
        neighbour = route.neighbour
        if neighbour is not None and neighbour.until > core.now and not iface.loopback:
            if csum_offset < 0:
                frame = Frame(neighbour.header + header + head, payload, iface)
            else:
                frame = Frame(neighbour.header + header + head, payload, iface, CSUM_PARTIAL, 34, csum_offset, gso_size)
            frame.at = core.now
            iface.tx_frames += 1
            iface.tx_bytes += HEADER + octets
            core.outbox.append(frame)
            return
        frame = Frame(_LINK_ROOM + header + head, payload, iface)
        if csum_offset >= 0:
            frame.csum, frame.csum_start, frame.csum_offset = CSUM_PARTIAL, 34, csum_offset
            frame.gso_size = gso_size
        self.transmit(frame, route)

    def transmit(self, frame: Frame, route: Route) -> None:
        """Let a frame leave by its route; its first 14 octets are room for the link header."""
        neighbour = route.neighbour
        if neighbour is None or neighbour.until <= self.core.now:
            self.arp.output(frame, route)
            return
        frame.head = neighbour.header + frame.head[HEADER:]
        if not route.iface.loopback:
            self.ethernet.emit(frame)
        elif len(self.looped) >= _MAX_LOOPED:
            self.core.counters["ip.drop.loopback_full"] += 1
        else:
            frame.at = self.core.now
            self.looped.append(frame)

    def _send_slowly(
        self,
        route: Route,
        proto: int,
        parts: tuple[Buffer, ...],
        csum_offset: int,
        gso_size: int,
        tos: int,
        ident: int,
        flags: int,
        ttl: int,
        src: Address,
        options: bytes,
    ) -> None:
        """Send what has options or does not fit."""
        dst = route.dst
        if options:
            dst, options = ipoptions.depart(ipoptions.padded(options), dst)
            if dst != route.dst:  # by a source route: the first hop's way, not the destination's
                try:
                    route = self.route(dst, src)
                except OSError:
                    self.core.counters["ip.drop.no_route"] += 1
                    return
        data = b"".join(parts)
        total = 20 + len(options) + len(data)
        if total > 0xFFFF or len(options) > 40:
            self.core.counters["ip.drop.too_large"] += 1
            return
        header = self.header(tos, total, ident, flags, 0, ttl, proto, src, dst, options)
        if total <= route.mtu or gso_size:
            frame = Frame(_LINK_ROOM + header + data, (), route.iface)
            if csum_offset >= 0:
                frame.csum, frame.csum_start, frame.csum_offset = CSUM_PARTIAL, HEADER + len(header), csum_offset
                frame.gso_size = gso_size
            self.transmit(frame, route)
            return
        if flags & DONT_FRAGMENT:
            self.core.counters["ip.drop.too_large"] += 1
            self._fail(header + data, icmperrors.FRAGMENTATION_NEEDED, errno.EMSGSIZE, route.mtu)
            return
        if csum_offset >= 0:
            data = _with_checksum(data, csum_offset, proto)
        self.send_fragments(route, memoryview(data), tos, ident, flags, 0, ttl, proto, src, dst, options)

    def send_fragments(
        self,
        route: Route,
        data: memoryview,
        tos: int,
        ident: int,
        flags: int,
        offset: int,
        ttl: int,
        proto: int,
        src: Address,
        dst: Address,
        options: bytes,
    ) -> None:
        """Send the data of one packet, itself perhaps a fragment (`flags`, `offset`), in fragments."""
        later = ipoptions.for_fragments(options) if options else b""
        room = route.mtu - 20
        for at, piece, more in cut(data, room - len(options), room - len(later)):
            kept = later if at else options
            bits = flags | MORE_FRAGMENTS if more else flags
            total = 20 + len(kept) + len(piece)
            header = self.header(tos, total, ident, bits, offset + (at >> 3), ttl, proto, src, dst, kept)
            self.transmit(Frame(_LINK_ROOM + header, (piece,), route.iface), route)
            self.core.counters["ip.fragments_out"] += 1

    def header(
        self,
        tos: int,
        total: int,
        ident: int,
        flags: int,
        offset: int,
        ttl: int,
        proto: int,
        src: Address,
        dst: Address,
        options: bytes,
    ) -> bytes:
        """An encoded header with its checksum; `options` a multiple of four octets long."""
        ihl = 5 + len(options) // 4
        left = (ihl << 8 | 0x4000) + tos + total + ident + (flags << 13) + offset + (ttl << 8) + proto
        left += _from_bytes(src + dst + options, "big")
        return self._encode(4, ihl, tos, total, ident, flags, offset, ttl, proto, finish(left), src, dst) + options

    def next_id(self, dst: Address, count: int = 1) -> int:
        """An id not used lately towards `dst` (RFC 6864 section 4.3), and not to be guessed by others.

        The first of `count`: of a super-segment each segment will have its own. Each destination has a counter
        of its own with a random start: who sees one learns nothing of another's.
        """
        ids = self._ids
        ident = ids.get(dst)
        if ident is None:
            if len(ids) >= _MAX_IDS:
                ids.clear()
            ident = self.core.rng.u16()
        ids[dst] = (ident + count) & 0xFFFF
        return ident


def _with_checksum(data: bytes, at: int, proto: int) -> bytes:
    """A transport's data with its checksum finished; the field held the pseudo-header's sum."""
    value = finish(sum_parts((data,)))
    if not value and proto == PROTO_UDP:
        value = 0xFFFF  # RFC 768: zero means that there is none
    return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]
