"""UDP (RFC 768, RFC 1122 section 4.1: 1122/4.1): ports, endpoints, and who gets which datagram.

A datagram goes to the endpoint connected to its sender, else to one bound to its destination
address, else to one bound to any address; one that was broadcast or multicast goes to all that
match. Read `scapystack.base.events` and `scapystack.base.datagram` first.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import NamedTuple, Protocol

from scapystack.base.addr import ANY4, is_multicast
from scapystack.base.checksum import pseudo_sum
from scapystack.base.core import Core
from scapystack.base.datagram import CAST_BROADCAST, PROTO_UDP, Datagram, IcmpError, IpOutput, Route
from scapystack.base.errors import os_error
from scapystack.base.events import Endpoint
from scapystack.base.frames import CSUM_NONE
from scapystack.base.guard import udp_header
from scapystack.base.iface import Interface
from scapystack.base.types import Address, Buffer
from scapystack.layers.ports import pick

MAX_DATA = 65_507  # 65,535 less the IP and UDP headers
_HEADER = 8
_CSUM_AT = 6
_ITEM_COST = 128  # what a waiting datagram of no octets is charged with
_JOIN_BELOW = 1_024  # short payloads are copied behind the header: one buffer is cheaper to send


class UdpMessage(NamedTuple):
    """A datagram with all that an application may ask about it (RFC 1122 section 4.1.3.5)."""

    data: bytes
    src: Address
    port: int
    dst: Address
    ttl: int
    tos: int
    options: bytes
    iface: Interface


class Ports(Protocol):
    """What UDP asks of ICMP."""

    def port_unreachable(self, datagram: Datagram) -> None:
        """Tell the sender that nobody listens (RFC 1122 section 4.1.3.1)."""


class UdpEndpoint(Endpoint):
    """A bound UDP port. Made by `Udp.bind`.

    `error` is the errno of a pending error (0: none); the next `send` or `recv` raises it, once.
    `ttl` 0 is the stack's default. `rcvbuf` bounds what waits here; what comes beyond is dropped.
    """

    __slots__ = (
        "_bound", "_held", "_queue", "_route", "_udp", "broadcast", "closed", "df", "error", "local_addr", "local_port",
        "options", "rcvbuf", "remote_addr", "remote_port", "reuse", "tos", "ttl",
    )  # fmt: skip

    def __init__(self, udp: Udp, local: Address, port: int, reuse: bool) -> None:
        super().__init__()
        self._udp = udp
        self._queue: deque[tuple[bytes, Address, int, Address, int, int, bytes, Interface]] = deque()
        self._held = 0
        self._route: Route | None = None
        self._bound = local
        self.local_addr = local
        self.local_port = port
        self.remote_addr: Address | None = None
        self.remote_port = 0
        self.reuse = reuse
        self.broadcast = False
        self.df = False
        self.ttl = 0
        self.tos = 0
        self.options = b""
        self.rcvbuf = udp.core.config.udp.rcvbuf
        self.error = 0
        self.closed = False

    @property
    def readable(self) -> bool:
        """Whether `recv` has something to give or to raise."""
        return bool(self._queue) or self.error != 0

    @property
    def waiting(self) -> int:
        """Octets that wait for `recv`, with what each datagram is charged with on top."""
        return self._held

    def connect(self, addr: Address | None, port: int = 0) -> None:
        """Take datagrams of one peer only, and send there by default; None takes that back.

        Raises OSError: EACCES for a broadcast without `broadcast`, EADDRINUSE, and what `route` raises.
        """
        udp = self._udp
        if addr is None:
            udp.move(self, None, 0, self._bound)
            self._route = None
            return
        route = udp.ip.route(addr, self._source(self._bound))
        if route.cast == CAST_BROADCAST and not self.broadcast:
            raise os_error(errno.EACCES)
        udp.move(self, addr, port, self._bound if self._bound != ANY4 else route.src)
        self._route = route

    def _source(self, local: Address) -> Address | None:
        """The source to ask a route for: none for the unspecified address, a broadcast's or a group's."""
        return local if local != ANY4 and self._udp.ip.is_local(local) else None

    def send(self, data: Buffer, dst: Address | None = None, port: int = 0, src: Address | None = None) -> int:
        """Send one datagram; its length. Raises OSError: EMSGSIZE, EACCES, EDESTADDRREQ, ENETUNREACH, ...

        An answer passes the address that was asked as `src`, to leave from it (RFC 1122 section
        4.1.3.5); one that is not a host of ours (a broadcast, a group) is not used.
        """
        if self.error:
            self._raise_pending()
        udp = self._udp
        if self.closed:
            raise os_error(errno.EBADF)
        if dst is not None:
            if not port:
                raise os_error(errno.EINVAL)
            route = udp.ip.route(dst, self._source(src or self.local_addr))
        else:
            if self.remote_addr is None:
                raise os_error(errno.EDESTADDRREQ)
            dst = self.remote_addr
            port = self.remote_port
            route = self._route or udp.ip.route(dst, self._source(self.local_addr))
            if not udp.ip.fresh(route):
                route = self._route = udp.ip.route(dst, self._source(self.local_addr))
        size = len(data)
        if size > MAX_DATA - len(self.options) or (self.df and size + 28 > route.mtu):
            raise os_error(errno.EMSGSIZE)
        if route.cast == CAST_BROADCAST and not self.broadcast:
            raise os_error(errno.EACCES)
        udp.output(self, route, port, data, size)
        return size

    def take(self, data: bytes, port: int, datagram: Datagram) -> None:
        """Queue a datagram that came for this endpoint."""
        cost = len(data) + _ITEM_COST
        core = self._udp.core
        if self._held and self._held + cost > self.rcvbuf:
            core.counters["udp.drop.rcvbuf"] += 1
            return
        self._held += cost
        self._queue.append(
            (data, datagram.src, port, datagram.dst, datagram.ttl, datagram.tos, datagram.options, datagram.iface)
        )
        if not self.ready_marked:
            core.mark_ready(self)

    def recv(self) -> tuple[bytes, Address, int] | None:
        """The next datagram, its sender's address and port; None when there is none. Raises a pending error."""
        if self.error:
            self._raise_pending()
        if not self._queue:
            return None
        item = self._queue.popleft()
        self._held -= len(item[0]) + _ITEM_COST
        return item[0], item[1], item[2]

    def recv_message(self) -> UdpMessage | None:
        """As `recv`, with the destination address, TTL, TOS, options and interface."""
        if self.error:
            self._raise_pending()
        if not self._queue:
            return None
        item = self._queue.popleft()
        self._held -= len(item[0]) + _ITEM_COST
        return UdpMessage(*item)

    def peek(self) -> tuple[bytes, Address, int] | None:
        """The next datagram without taking it."""
        return self._queue[0][:3] if self._queue else None

    def fail(self, number: int) -> None:
        """Leave an error for the application."""
        self.error = number
        self._udp.core.mark_ready(self)

    def _raise_pending(self) -> None:
        number, self.error = self.error, 0
        raise os_error(number)

    def close(self) -> None:
        """Let the port go; what waits is dropped."""
        if not self.closed:
            self.closed = True
            self._queue.clear()
            self._udp.release(self)


class Udp:
    """All UDP endpoints of a stack; implements `base.datagram.Transport`.

    `datagrams_in` and `datagrams_out` count all that came and left, right or wrong.
    """

    def __init__(self, core: Core, ip: IpOutput) -> None:
        self.core = core
        self.ip = ip
        self.icmp: Ports | None = None
        self.datagrams_in = 0
        self.datagrams_out = 0
        self._by_port: dict[int, dict[UdpEndpoint, None]] = {}  # all of them
        self._open: dict[int, list[UdpEndpoint]] = {}  # those not connected, the newest first
        self._connected: dict[tuple[int, Address, int, Address], UdpEndpoint] = {}
        self._decode = core.codec.decode_udp
        self._encode = core.codec.encode_udp

    @property
    def endpoints(self) -> list[UdpEndpoint]:
        """Every endpoint there is."""
        return [endpoint for endpoints in self._by_port.values() for endpoint in endpoints]

    # -- binding

    def bind(self, local: Address, port: int, *, reuse: bool = False) -> UdpEndpoint:
        """Open a port (0: an ephemeral one). Raises OSError: EADDRINUSE, EADDRNOTAVAIL."""
        if local != ANY4 and not self._may_bind(local):
            raise os_error(errno.EADDRNOTAVAIL)
        if port == 0:
            limits = self.core.config.udp
            chosen = pick(self.core.rng, limits.ephemeral_low, limits.ephemeral_high, self._by_port.__contains__)
            if chosen is None:
                raise os_error(errno.EADDRINUSE)
            port = chosen
        elif any(self._clash(other, local, reuse) for other in self._by_port.get(port, ())):
            raise os_error(errno.EADDRINUSE)
        endpoint = UdpEndpoint(self, local, port, reuse)
        self._by_port.setdefault(port, {})[endpoint] = None
        self._open.setdefault(port, []).insert(0, endpoint)
        return endpoint

    def _may_bind(self, local: Address) -> bool:
        if self.ip.is_local(local) or is_multicast(local):
            return True
        try:
            return self.ip.route(local).cast == CAST_BROADCAST
        except OSError:
            return False

    @staticmethod
    def _clash(other: UdpEndpoint, local: Address, reuse: bool) -> bool:
        if reuse and other.reuse:
            return False
        return other.local_addr == local or ANY4 in (other.local_addr, local)

    def move(self, endpoint: UdpEndpoint, remote: Address | None, port: int, local: Address) -> None:
        """Connect, reconnect or disconnect an endpoint. Raises OSError EADDRINUSE."""
        key = (endpoint.local_port, local, port, remote or ANY4)
        if remote is not None and self._connected.get(key, endpoint) is not endpoint:
            raise os_error(errno.EADDRINUSE)
        self._unlist(endpoint)
        endpoint.remote_addr, endpoint.remote_port, endpoint.local_addr = remote, port, local
        if remote is None:
            self._open.setdefault(endpoint.local_port, []).insert(0, endpoint)
        else:
            self._connected[key] = endpoint

    def _unlist(self, endpoint: UdpEndpoint) -> None:
        port = endpoint.local_port
        if endpoint.remote_addr is not None:
            self._connected.pop((port, endpoint.local_addr, endpoint.remote_port, endpoint.remote_addr), None)
            return
        self._open[port].remove(endpoint)
        if not self._open[port]:
            del self._open[port]

    def release(self, endpoint: UdpEndpoint) -> None:
        """Forget a closed endpoint."""
        self._unlist(endpoint)
        endpoints = self._by_port[endpoint.local_port]
        del endpoints[endpoint]
        if not endpoints:
            del self._by_port[endpoint.local_port]

    # -- in

    def input(self, datagram: Datagram) -> None:
        """Take a datagram from IP."""
        payload = datagram.payload
        self.datagrams_in += 1
        reason = udp_header(payload, datagram.src, datagram.dst, datagram.csum == CSUM_NONE)
        if reason:
            self.core.counters["udp.drop." + reason] += 1
            return
        sport, dport, length, _ = self._decode(payload, 0)
        data = bytes(payload[_HEADER:length])
        if datagram.cast:
            self._to_all(data, sport, dport, datagram)
            return
        endpoint = self._find(dport, datagram.dst, sport, datagram.src)
        if endpoint is not None:
            endpoint.take(data, sport, datagram)
            return
        self.core.counters["udp.drop.no_port"] += 1
        if self.icmp is not None:
            self.icmp.port_unreachable(datagram)

    def _find(self, port: int, local: Address, remote_port: int, remote: Address) -> UdpEndpoint | None:
        if self._connected:
            endpoint = self._connected.get((port, local, remote_port, remote))
            if endpoint is not None:
                return endpoint
        fallback = None
        for endpoint in self._open.get(port, ()):
            if endpoint.local_addr == local:
                return endpoint
            if fallback is None and endpoint.local_addr == ANY4:
                fallback = endpoint
        return fallback

    def _to_all(self, data: bytes, sport: int, dport: int, datagram: Datagram) -> None:
        """RFC 1122 section 4.1.3.3 leaves it open; as everywhere, each matching socket gets a copy."""
        found = False
        for endpoint in self._by_port.get(dport, ()):
            remote = endpoint.remote_addr
            if remote is not None and (remote, endpoint.remote_port) != (datagram.src, sport):
                continue
            if endpoint.local_addr in (ANY4, datagram.dst):
                found = True
                endpoint.take(data, sport, datagram)
        if not found:
            self.core.counters["udp.drop.no_port"] += 1  # never an ICMP error about a broadcast

    def icmp_error(self, error: IcmpError) -> None:
        """RFC 1122 section 4.1.3.3: errors reach the application, on a connected endpoint."""
        sport = int.from_bytes(error.quote[0:2], "big")
        dport = int.from_bytes(error.quote[2:4], "big")
        endpoint = self._find(sport, error.src, dport, error.dst)
        if endpoint is None:
            self.core.counters["udp.drop.icmp_error"] += 1
            return
        if error.mtu and not error.local:
            if not endpoint.df:  # what it sends may be cut on the way, so that no router has a reason to say this
                self.core.counters["udp.drop.icmp_error"] += 1
                return
            self.ip.update_pmtu(error.dst, error.mtu)
        if endpoint.remote_addr == error.dst and endpoint.remote_port == dport:
            endpoint.fail(error.errno)

    # -- out

    def output(self, endpoint: UdpEndpoint, route: Route, port: int, data: Buffer, size: int) -> None:
        """Send one datagram of an endpoint by its route."""
        self.datagrams_out += 1
        length = size + _HEADER
        if self.core.config.udp.checksum:
            head = self._encode(endpoint.local_port, port, length, pseudo_sum(route.src, route.dst, PROTO_UDP, length))
            csum_offset = _CSUM_AT
        else:
            head = self._encode(endpoint.local_port, port, length, 0)
            csum_offset = -1
        payload: tuple[Buffer, ...] = ()
        if size < _JOIN_BELOW:
            head += data
        else:
            payload = (bytes(data),)
        self.ip.send(
            route,
            PROTO_UDP,
            head,
            payload,
            length,
            csum_offset=csum_offset,
            tos=endpoint.tos,
            ttl=endpoint.ttl,
            df=endpoint.df,
            options=endpoint.options,
        )
