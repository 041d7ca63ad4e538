"""Forwarding: what a router does with packets that are not for it (RFC 1812 section 5.2 and 5.3).

`Forwarder.input` takes a packet whose header was checked. It leaves with its TTL one lower, options
acted on, whole or in fragments; an open checksum or a super-segment passes as open and whole as it
came, the link it leaves by does what is left to do. Read `layers.ipv4` first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scapystack.base.codec import Ipv4Fields
from scapystack.base.core import Core
from scapystack.base.datagram import CAST_UNICAST, PROTO_TCP, PROTO_UDP, Route
from scapystack.base.frames import CSUM_PARTIAL, Frame
from scapystack.base.offload import finished, split
from scapystack.base.types import MILLISECOND, Address
from scapystack.layers import icmperrors, ipoptions
from scapystack.layers.ethernet import HEADER
from scapystack.layers.ipfrag import MAX_PACKET

if TYPE_CHECKING:
    from scapystack.layers.ipv4 import Ipv4

_MF = 1
_DF = 2
_CSUM_OFFSET = {PROTO_TCP: 16, PROTO_UDP: 6}
_TRANSPORT_ROOM = 60  # octets behind the IP header that stay in one piece with it: any TCP header


class Forwarder:
    """The router in a stack; does nothing but count while `config.ip.forward` is off."""

    __slots__ = ("core", "ip")

    def __init__(self, core: Core, ip: Ipv4) -> None:
        self.core = core
        self.ip = ip

    def input(self, frame: Frame, packet: memoryview, fields: Ipv4Fields, found: ipoptions.Found | None) -> None:
        """Take a packet for another host: `packet` is the whole of it, `fields` its decoded header."""
        counters = self.core.counters
        config = self.core.config.ip
        if not config.forward:
            counters["ip.drop.not_ours"] += 1
            return
        errors = self.ip.errors
        src, dst = fields[10], fields[11]
        if dst[:2] == b"\xa9\xfe" or src[:2] == b"\xa9\xfe":  # RFC 3927 section 7: link-local stays
            counters["ip.drop.link_local"] += 1
            return
        if fields[7] <= 1:  # RFC 1812 section 5.3.1
            counters["ip.drop.ttl"] += 1
            errors.send(icmperrors.TIME_EXCEEDED, icmperrors.TTL_EXPIRED, packet, CAST_UNICAST)
            return
        try:
            route = self.ip.route(dst)
        except OSError:
            counters["ip.drop.no_route"] += 1
            errors.send(icmperrors.UNREACHABLE, icmperrors.NET, packet, CAST_UNICAST)
            return
        if route.cast != CAST_UNICAST or route.iface.loopback:
            # RFC 2644: a directed broadcast is not forwarded; nor is multicast, without a routing protocol
            counters["ip.drop.cast"] += 1
            return
        self._redirect(frame, packet, route, src, found)
        options = self._options(packet, fields, route, found)
        if options is not None:
            self.send(frame, packet, fields, route, options)

    def _redirect(
        self, frame: Frame, packet: memoryview, route: Route, src: Address, found: ipoptions.Found | None
    ) -> None:
        """RFC 1812 section 5.2.7.2: the sender could ask the next hop itself."""
        iface = frame.iface
        if route.iface is not iface or not self.core.config.ip.redirects:
            return
        if found is not None and found.source_route >= 0:
            return
        if any(src in entry.prefix and route.hop in entry.prefix for entry in iface.addresses):
            self.core.counters["ip.redirects_sent"] += 1
            self.ip.errors.send(icmperrors.REDIRECT, 1, packet, CAST_UNICAST, route.hop)

    def _options(
        self, packet: memoryview, fields: Ipv4Fields, route: Route, found: ipoptions.Found | None
    ) -> bytes | None:
        """The options that the packet leaves with; None if they stop it."""
        options = bytes(packet[20 : fields[1] * 4])
        if found is None:
            return options
        try:
            return ipoptions.record(options, found, self.ip.paths.address_on(route.iface), self.core.now // MILLISECOND)
        except ipoptions.OptionError as error:
            self.ip.bad_option(packet, error.at)
            return None

    def follow(self, frame: Frame, packet: memoryview, fields: Ipv4Fields, found: ipoptions.Found) -> None:
        """Take a packet for us whose source route goes on (RFC 1122 section 3.3.5, RFC 1812 section 5.2.4.1)."""
        options = bytes(packet[20 : fields[1] * 4])
        hop = ipoptions.next_hop(options, found)
        config = self.core.config.ip
        if hop is None or not config.source_route or not config.forward:
            self.core.counters["ip.drop.source_route"] += 1
            return
        try:
            route = self.ip.route(hop)
            if ipoptions.is_strict(options, found) and route.hop != hop:
                raise OSError
            if route.cast != CAST_UNICAST or route.iface.loopback:
                raise OSError
        except OSError:
            self.core.counters["ip.drop.source_route_failed"] += 1
            self.ip.errors.send(icmperrors.UNREACHABLE, icmperrors.SOURCE_ROUTE_FAILED, packet, CAST_UNICAST)
            return
        if fields[7] <= 1:
            self.core.counters["ip.drop.ttl"] += 1
            self.ip.errors.send(icmperrors.TIME_EXCEEDED, icmperrors.TTL_EXPIRED, packet, CAST_UNICAST)
            return
        options = ipoptions.followed(options, found, self.ip.paths.address_on(route.iface))
        self.send(frame, packet, (*fields[:11], hop), route, options)

    def send(self, frame: Frame, packet: memoryview, fields: Ipv4Fields, route: Route, options: bytes) -> None:
        """Let a packet leave by `route`, its TTL one lower; in pieces, or not at all, if it is too large."""
        header = fields[1] * 4
        _, _, tos, total, ident, flags, offset, ttl, proto, _, src, dst = fields
        gso_size = frame.gso_size
        if (gso_size or frame.csum == CSUM_PARTIAL) and not _can_be_finished(frame, packet, fields):
            self.core.counters["ip.drop.offload"] += 1
            return
        size = total
        if gso_size:  # what must fit is each of the segments that it will be cut into
            size = min(total, header + (packet[header + 12] >> 4) * 4 + gso_size)
        if size > route.mtu:
            self._too_large(frame, packet, fields, route, options)
            return
        self.core.counters["ip.forwarded"] += 1
        head = self.ip.header(tos, total, ident, flags, offset, ttl - 1, proto, src, dst, options)
        near = bytes(HEADER) + head + packet[header : header + _TRANSPORT_ROOM]
        rest = packet[header + _TRANSPORT_ROOM :]
        out = Frame(near, (rest,) if len(rest) else (), route.iface)
        if frame.csum == CSUM_PARTIAL or gso_size:
            out.csum, out.csum_start, out.csum_offset = frame.csum, frame.csum_start, frame.csum_offset
            out.gso_size = gso_size
        self.ip.transmit(out, route)

    def _too_large(self, frame: Frame, packet: memoryview, fields: Ipv4Fields, route: Route, options: bytes) -> None:
        if fields[5] & _DF:  # RFC 1191 section 4
            self.core.counters["ip.drop.too_large"] += 1
            rest = b"\0\0" + route.mtu.to_bytes(2, "big")
            self.ip.errors.send(icmperrors.UNREACHABLE, icmperrors.FRAGMENTATION_NEEDED, packet, CAST_UNICAST, rest)
            return
        _, _, tos, total, ident, flags, offset, ttl, proto, _, src, dst = fields
        header = fields[1] * 4
        if offset * 8 + total - header > MAX_PACKET:  # a fragment past the end of any datagram: no offset says where
            self.core.counters["ip.drop.fragment_too_long"] += 1
            return
        self.core.counters["ip.forwarded"] += 1
        if frame.gso_size:
            for segment in split(frame):
                data = memoryview(segment.data)[HEADER:]
                each = self.core.codec.decode_ipv4(data, 0)
                self.ip.send_fragments(route, data[header:], tos, each[4], 0, 0, ttl - 1, proto, src, dst, options)
            return
        if frame.csum == CSUM_PARTIAL:
            packet = memoryview(finished(frame))[HEADER : HEADER + len(packet)]
        self.ip.send_fragments(route, packet[header:], tos, ident, flags, offset, ttl - 1, proto, src, dst, options)


def _can_be_finished(frame: Frame, packet: memoryview, fields: Ipv4Fields) -> bool:
    """Whether the link it leaves by can finish the checksum and the cutting that were left open.

    Where the checksum stands is said anew: nobody has looked at that yet, and the next link trusts it.
    """
    header = fields[1] * 4
    proto = fields[8]
    room = len(packet) - header
    if fields[6] or fields[5] & _MF or proto not in _CSUM_OFFSET:
        return False
    if proto == PROTO_UDP:
        if room < 8 or frame.gso_size:
            return False
    elif room < 20 or not 20 <= (packet[header + 12] >> 4) * 4 <= room:
        return False
    frame.csum_start = HEADER + header
    frame.csum_offset = _CSUM_OFFSET[proto]
    return True
