"""Which addresses are ours, and how a packet gets to any other: the answers IP keeps at hand.

`Paths` joins the interfaces' addresses, the routing table, what path MTU discovery found (RFC 1191)
and what gateways redirected (RFC 1122 section 3.2.2.2) into one `Route` for each destination,
cached until something changes. Host model: weak (RFC 1122 section 3.3.4.2), as Linux's: a packet
to any of our addresses is ours whichever interface it came in by; loopback addresses never leave.
Read `layers.routing` first.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from typing import TypeVar

from scapystack.base.addr import (
    ANY4,
    BROADCAST4,
    LOCALHOST4,
    MAC_BROADCAST,
    Prefix,
    ip_text,
    is_multicast,
)
from scapystack.base.core import Core
from scapystack.base.datagram import CAST_BROADCAST, CAST_MULTICAST, CAST_UNICAST, Neighbour, Route
from scapystack.base.errors import ConfigError, os_error
from scapystack.base.iface import Interface, InterfaceAddress
from scapystack.base.types import MILLISECOND, SECOND, Address, Nanoseconds
from scapystack.layers.arp import FOREVER, Arp, ArpEntry
from scapystack.layers.ethernet import Ethernet, multicast_mac
from scapystack.layers.routing import CONNECTED, RouteEntry, RoutingTable

MAX_PACKET = 65_535
MIN_PMTU = 552  # as Linux's min_pmtu: below it we do not believe, and fragment instead
_REDIRECT_LIFETIME = 600 * SECOND
_MAX_ROUTES = 4_096
_MAX_LEARNED = 1_024


Learned = TypeVar("Learned")


def _remember(table: OrderedDict[Address, Learned], dst: Address, value: Learned) -> None:
    """Put a line at the young end of a bounded table; the oldest goes when it is full."""
    table.pop(dst, None)
    if len(table) >= _MAX_LEARNED:
        table.popitem(last=False)
    table[dst] = value


class Paths:
    """Routes by destination, and the tables they are made of."""

    __slots__ = (
        "_cache",
        "_gateways",
        "_pmtu",
        "_redirects",
        "arp",
        "casts",
        "core",
        "ethernet",
        "heap_at",
        "interfaces",
        "table",
    )

    def __init__(self, core: Core, ethernet: Ethernet, arp: Arp, interfaces: list[Interface]) -> None:
        self.core = core
        self.ethernet = ethernet
        self.arp = arp
        self.interfaces = interfaces
        self.table = RoutingTable(32)
        # own unicast addresses and every broadcast address: what a packet to us may be sent to;
        # 127/8 is not here, since from a wire it is for nobody
        self.casts: dict[Address, int] = {BROADCAST4: CAST_BROADCAST}
        self.heap_at: Nanoseconds | None = None
        self._cache: dict[Address | tuple[Address, Address], Route] = {}
        self._gateways: set[tuple[int, Address]] = set()  # those that routes in the cache were chosen for or against
        self._pmtu: OrderedDict[Address, tuple[int, Nanoseconds]] = OrderedDict()  # size, and when it was learned
        self._redirects: OrderedDict[Address, tuple[Address, Interface, Nanoseconds]] = OrderedDict()

    # -- addresses

    def check_address(self, iface: Interface, address: Address, length: int) -> InterfaceAddress:
        """What an interface's new address would be. Raises ConfigError if it cannot have it."""
        if len(address) != 4:
            raise ConfigError(f"{ip_text(address)} is not an IPv4 address")
        prefix = Prefix.of(address, length)
        text = f"{ip_text(address)}/{length}"
        if is_multicast(address) or address[0] in (0, *range(240, 256)) or address == prefix.broadcast:
            raise ConfigError(f"{text} is not an address of one host")
        if (address[0] == 127) != iface.loopback:
            raise ConfigError(f"{text} does not belong on {iface.name}: 127.0.0.0/8 is the loopback's alone")
        if any(entry.address == address for other in self.interfaces for entry in other.addresses):
            raise ConfigError(f"{ip_text(address)} is in use on this stack already")
        return InterfaceAddress(address, prefix)

    def add_address(self, iface: Interface, address: Address, length: int) -> InterfaceAddress:
        """Give an interface an address and the route to its network. ConfigError if it cannot be."""
        entry = self.check_address(iface, address, length)
        iface.addresses.append(entry)
        prefix = entry.prefix
        if sum(other.prefix == prefix for other in iface.addresses) == 1:
            self.table.add(prefix, iface, kind=CONNECTED, src=address)
        self._rebuild()
        return entry

    def remove_address(self, iface: Interface, address: Address) -> None:
        """Take an address away, and its connected route if no other address shares the network."""
        for entry in iface.addresses:
            if entry.address == address:
                break
        else:
            raise ConfigError(f"{ip_text(address)} is not an address of {iface.name}")
        iface.addresses.remove(entry)
        heir = next((other.address for other in iface.addresses if other.prefix == entry.prefix), None)
        for route in list(self.table):
            if route.iface is iface and route.src == address:
                if heir is None:
                    self.table.remove(route.prefix, route.via, iface, route.metric)
                route.src = heir
        self._rebuild()

    def remove_interface(self, iface: Interface) -> None:
        """Forget everything that goes through an interface."""
        iface.addresses.clear()
        self.table.remove_where(lambda r: r.iface is iface)
        self._rebuild()

    def _rebuild(self) -> None:
        casts = {BROADCAST4: CAST_BROADCAST}
        entries = [entry for iface in self.interfaces if not iface.loopback for entry in iface.addresses]
        for entry in entries:
            broadcast = entry.prefix.broadcast
            if broadcast is not None:
                casts[broadcast] = CAST_BROADCAST
                # RFC 1122 section 3.3.6 (1122/3.3.6): the old form with zeros is accepted too
                casts[entry.prefix.network] = CAST_BROADCAST
        for entry in entries:
            casts[entry.address] = CAST_UNICAST
        self.casts = casts
        self.table.touch()

    def is_local(self, address: Address) -> bool:
        """Whether `address` is one of ours (127/8 included)."""
        return self.casts.get(address) == CAST_UNICAST or address[0] == 127

    def is_broadcast(self, address: Address, iface: Interface) -> bool:
        """Whether `address` is a broadcast address on `iface`: limited, directed, or of the old form."""
        if address in (BROADCAST4, ANY4):
            return True
        return self.casts.get(address) == CAST_BROADCAST and any(address in e.prefix for e in iface.addresses)

    def owns(self, iface: Interface, address: Address) -> bool:
        """Whether `address` is one of this very interface's (ARP answers for no other)."""
        return any(entry.address == address for entry in iface.addresses)

    def address_on(self, iface: Interface) -> Address:
        """What an interface of ours is called in a recorded route."""
        first = next((a.address for other in self.interfaces[1:] for a in other.addresses), LOCALHOST4)
        return iface.primary() or first

    # -- routes

    def fresh(self, route: Route) -> bool:
        """Whether `route` is still what `route()` would answer."""
        return route.generation == self.table.generation

    def route(self, dst: Address, src: Address | None = None) -> Route:
        """How to reach `dst`. Raises OSError: ENETUNREACH, EADDRNOTAVAIL (`src` is not ours), EINVAL, ..."""
        found = self._cache.get(dst if src is None else (dst, src))
        if found is not None and found.generation == self.table.generation:
            return found
        if src == ANY4:
            return self.route(dst)
        cache = self._cache
        if cache and (len(cache) >= _MAX_ROUTES or next(iter(cache.values())).generation != self.table.generation):
            cache.clear()
            self._gateways.clear()
        made = self._find(dst, src)
        made.generation = self.table.generation
        cache[dst if src is None else (dst, src)] = made
        return made

    def _find(self, dst: Address, src: Address | None) -> Route:
        if len(dst) != 4:
            raise os_error(errno.EAFNOSUPPORT)
        if src is not None and not self.is_local(src):
            raise os_error(errno.EADDRNOTAVAIL)
        if self.is_local(dst):
            return self._loopback(dst, src)
        if src is not None and src[0] == 127:
            raise os_error(errno.EINVAL)  # RFC 1122 section 3.2.1.3 (g): never outside a host
        if dst[0] == 0 or (dst[0] >= 240 and dst != BROADCAST4):
            raise os_error(errno.ENETUNREACH)
        entry = self.table.lookup(dst, self._answers)
        cast = CAST_MULTICAST if is_multicast(dst) else self.casts.get(dst, CAST_UNICAST)
        if cast != CAST_UNICAST and (entry is None or dst == BROADCAST4 or is_multicast(dst)):
            iface = self._cast_interface(entry, src)
        elif entry is None:
            raise os_error(errno.ENETUNREACH)
        else:
            iface = entry.iface
        hop = dst
        if cast == CAST_UNICAST and entry is not None:
            hop = self._redirected(dst, iface) or entry.via or dst
        route = Route(dst, src or self._source(iface, hop, entry, cast), iface, hop, self._mtu(dst, iface), cast)
        if cast != CAST_UNICAST:
            mac = MAC_BROADCAST if cast == CAST_BROADCAST else multicast_mac(dst)
            route.neighbour = Neighbour(self.ethernet.header(iface, mac), FOREVER)
        else:
            route.neighbour = self.arp.neighbour(iface, hop)
        return route

    def _loopback(self, dst: Address, src: Address | None) -> Route:
        lo = self.interfaces[0]
        source = src or (LOCALHOST4 if dst[0] == 127 else dst)
        route = Route(dst, source, lo, dst, min(lo.mtu, MAX_PACKET))
        route.neighbour = Neighbour(self.ethernet.header(lo, lo.mac), FOREVER)
        return route

    def _cast_interface(self, entry: RouteEntry | None, src: Address | None) -> Interface:
        """Where a limited broadcast or a multicast without a route leaves: by the source, else the first."""
        if entry is not None and src is None:
            return entry.iface
        up = [iface for iface in self.interfaces if iface.up and not iface.loopback]
        for iface in up:
            if src is not None and self.owns(iface, src):
                return iface
        if not up:
            raise os_error(errno.ENETUNREACH)
        return entry.iface if entry is not None else up[0]

    def _source(self, iface: Interface, hop: Address, entry: RouteEntry | None, cast: int) -> Address:
        """RFC 1122 section 3.3.4.3: an address of the interface it leaves by, on the next hop's network."""
        if entry is not None and entry.src is not None:
            return entry.src
        source = iface.source_for(hop)
        if source is None:  # an interface without a number speaks with another's (RFC 1812 section 2.2.7)
            source = next((a.address for other in self.interfaces[1:] for a in other.addresses), None)
        if source is None:
            if cast == CAST_BROADCAST:
                return ANY4  # a host that looks for its address (RFC 1122 section 3.2.1.3 (a))
            raise os_error(errno.EADDRNOTAVAIL)
        return source

    def _answers(self, entry: RouteEntry) -> bool:
        """RFC 1122 section 3.3.1.4 (1122/3.3.1): prefer another route to a gateway that ARP found dead."""
        return entry.via is None or not self._is_dead(entry.iface, entry.via)

    def _is_dead(self, iface: Interface, gateway: Address) -> bool:
        self._gateways.add((iface.index, gateway))
        return self.arp.failed(iface, gateway)

    def neighbour_changed(self, entry: ArpEntry) -> None:
        """A neighbour failed, or is back: if routes go by it, they are looked for again."""
        if (entry.iface.index, entry.address) in self._gateways:
            self.table.touch()

    # -- what was learned

    def _mtu(self, dst: Address, iface: Interface) -> int:
        mtu = min(iface.mtu, MAX_PACKET)
        learned = self._pmtu.get(dst)
        return min(mtu, learned[0]) if learned is not None and self._forget_at(learned[1]) > self.core.now else mtu

    def _forget_at(self, learned_at: Nanoseconds) -> Nanoseconds:
        return learned_at + self.core.config.ip.pmtu_expire_ms * MILLISECOND

    def update_pmtu(self, dst: Address, mtu: int) -> None:
        """Note that packets to `dst` must not be larger than `mtu`; whoever calls has validated it.

        It may only lower (1191/6-8201/4), never below 552 (then we fragment instead of believing, as Linux does).
        When nobody has lowered it for `ip.pmtu_expire_ms`, the first hop's MTU is tried again (RFC 1191
        section 6.3); if that is still too much, the next error starts the time anew.
        """
        mtu = max(mtu, MIN_PMTU)
        try:
            held = self.route(dst).mtu
        except OSError:
            return
        if mtu >= held:
            return
        self.core.counters["ip.pmtu.lowered"] += 1
        _remember(self._pmtu, dst, (mtu, self.core.now))
        self._learned(self._forget_at(self.core.now))

    def redirect(self, dst: Address, via: Address, iface: Interface) -> None:
        """Send packets for `dst` by another gateway from now on; whoever calls has validated it."""
        self.core.counters["ip.redirected"] += 1
        end = self.core.now + _REDIRECT_LIFETIME
        _remember(self._redirects, dst, (via, iface, end))
        self._learned(end)

    def _redirected(self, dst: Address, iface: Interface) -> Address | None:
        learned = self._redirects.get(dst)
        if learned is None or learned[2] <= self.core.now or learned[1] is not iface:
            return None
        return None if self._is_dead(iface, learned[0]) else learned[0]

    def _learned(self, until: Nanoseconds) -> None:
        self.table.touch()
        self.core.timers.arm(self, until)

    def next_at(self) -> Nanoseconds | None:
        """When the oldest thing learned must be forgotten."""
        ends = [self._forget_at(next(iter(self._pmtu.values()))[1])] if self._pmtu else []
        if self._redirects:
            ends.append(next(iter(self._redirects.values()))[2])
        return min(ends, default=None)

    def expire(self, now: Nanoseconds) -> None:
        """Forget what is too old; every route is asked for again."""
        while self._pmtu and self._forget_at(next(iter(self._pmtu.values()))[1]) <= now:
            self._pmtu.popitem(last=False)
        while self._redirects and next(iter(self._redirects.values()))[2] <= now:
            self._redirects.popitem(last=False)
        self.table.touch()
