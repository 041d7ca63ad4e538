"""`Datagram`: an IP packet that was received, checked and, if need be, reassembled, on its way up
to a transport; `Route`: where a packet to one destination goes; `IcmpError`: what an ICMP error
tells a transport about a packet it sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from scapystack.base.frames import CSUM_NONE
from scapystack.base.iface import Interface
from scapystack.base.types import Address, Buffer, Nanoseconds

PROTO_ICMP = 1
PROTO_TCP = 6
PROTO_UDP = 17

CAST_UNICAST = 0
CAST_MULTICAST = 1
CAST_BROADCAST = 2


class Datagram:
    """An IP packet for us. `payload` is what follows the IP header, cut to the total length.

    `packet` is the whole IP packet, header included (quoted in ICMP errors, given to raw sockets).
    `cast` is the broader of the link's and the IP destination's cast (`CAST_*`). `csum` as in
    `Frame`: unless it is `CSUM_NONE`, the transport's checksum needs no check. `gso_size` is that of
    the super-segment it came in, or 0; `more` the frame's too.
    """

    __slots__ = (
        "cast",
        "csum",
        "df",
        "dst",
        "gso_size",
        "iface",
        "more",
        "options",
        "packet",
        "payload",
        "proto",
        "src",
        "tos",
        "ttl",
    )

    def __init__(
        self,
        src: Address,
        dst: Address,
        proto: int,
        payload: memoryview,
        packet: memoryview,
        iface: Interface,
        ttl: int = 64,
        tos: int = 0,
        cast: int = CAST_UNICAST,
        csum: int = CSUM_NONE,
        gso_size: int = 0,
        options: bytes = b"",
        df: bool = False,
        more: tuple[Buffer, ...] = (),
    ) -> None:
        self.src = src
        self.dst = dst
        self.proto = proto
        self.payload = payload
        self.packet = packet
        self.iface = iface
        self.ttl = ttl
        self.tos = tos
        self.cast = cast
        self.csum = csum
        self.gso_size = gso_size
        self.options = options
        self.df = df
        self.more = more


class Neighbour:
    """What the next hop of a route answers to: the link header for IP packets to it, encoded once.

    `header` may be used without a question until `until` (ns); after that the layer that resolves
    addresses (ARP) must be asked again. That layer changes both in place.
    """

    __slots__ = ("header", "until")

    def __init__(self, header: bytes, until: Nanoseconds) -> None:
        self.header = header
        self.until = until


@dataclass(slots=True)
class Route:
    """The answer to "how does a packet get to `dst`": made by `Ipv4.route`, kept by connections.

    `hop` is the neighbour to ask ARP for (the gateway or the destination itself); `mtu` the largest
    IP packet that may leave this way, path MTU included. A route is stale once `generation` is not
    the routing table's own any more (`Ipv4.fresh` asks). `neighbour` is IP's own note of the hop's
    link header.
    """

    dst: Address
    src: Address
    iface: Interface
    hop: Address
    mtu: int
    cast: int = CAST_UNICAST
    generation: int = 0
    neighbour: Neighbour | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class IcmpError:
    """An error about a packet that we sent (RFC 1122 section 3.2.2), or about one that never left.

    `errno` is what a socket reports. `hard` as RFC 1122 section 4.2.3.9 sorts them. `mtu` goes with
    type 3 code 4. `quote` is the transport header as it was quoted: 8 octets at least.
    `local` is true for errors of our own making (no answer to ARP, no route any more).
    """

    type: int
    code: int
    reporter: Address
    src: Address
    dst: Address
    proto: int
    quote: bytes
    errno: int
    hard: bool = False
    mtu: int = 0
    local: bool = False


class Transport(Protocol):
    """What IP asks of a protocol above it."""

    def input(self, datagram: Datagram) -> None:
        """Take a datagram. Never raises; answers by marking or by calling IP's output."""

    def icmp_error(self, error: IcmpError) -> None:
        """Take an error about an earlier packet of this protocol."""


class IpOutput(Protocol):
    """What a transport asks of IP."""

    def route(self, dst: Address, src: Address | None = None) -> Route:
        """How to reach `dst`. Raises OSError (ENETUNREACH, EADDRNOTAVAIL) where there is no way."""

    def fresh(self, route: Route) -> bool:
        """Whether `route` is still what `route()` would answer."""

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
        """Send `head` and `payload` in one IP packet; `length` is their octets in all (0: count them).

        With `csum_offset >= 0` the checksum field at that place in `head` holds the pseudo-header's
        sum only and is finished at the link (or here, if the packet must be fragmented). `ttl` 0 is
        the configured default; `src` defaults to the route's. Never raises; what cannot be sent is
        counted, and reported through `icmp_error` where it concerns a transport.
        """

    def update_pmtu(self, dst: Address, mtu: int) -> None:
        """A router said that packets to `dst` must not be larger than `mtu` (RFC 1191); the caller validated it.

        It may only lower, and is forgotten in time; the routes to `dst` are stale after it.
        """

    def advise(self, route: Route) -> None:
        """A transport got no answer this way for a while (RFC 1122 section 3.3.1.4): ask the neighbour again."""

    def is_local(self, address: Address) -> bool:
        """Whether `address` is one of ours (127/8 included)."""
