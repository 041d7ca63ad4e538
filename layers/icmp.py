"""ICMP (RFC 792, RFC 1122 section 3.2.2): echo both ways, and errors handed to whom they concern.

Sending errors is `layers.icmperrors`'s. A `PingEndpoint` is to an application that pings what a
UDP endpoint is to one that talks UDP. Read `scapystack.base.datagram` first.
"""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import dataclass

from scapystack.base.checksum import finish, sum_parts
from scapystack.base.core import Core
from scapystack.base.datagram import CAST_UNICAST, PROTO_ICMP, Datagram, IcmpError
from scapystack.base.errors import os_error
from scapystack.base.events import Endpoint
from scapystack.base.frames import CSUM_NONE
from scapystack.base.guard import icmp_header
from scapystack.base.types import MILLISECOND, Address, Buffer, Nanoseconds
from scapystack.layers import icmperrors, ipoptions
from scapystack.layers.ipv4 import Ipv4
from scapystack.layers.ports import pick

ECHO_REPLY = 0
ECHO_REQUEST = 8
MAX_DATA = 65_507
_TO_REPLY = ECHO_REQUEST << 8  # what the message's sum loses when a request becomes a reply
_MAX_WAITING = 1_024
_MAX_WAITING_BYTES = 1_048_576


@dataclass(slots=True)
class EchoReply:
    """An answer to a ping. `at` is when it came (ns), `ttl` what was left of its TTL."""

    src: Address
    seq: int
    ttl: int
    data: bytes
    at: Nanoseconds


@dataclass(slots=True)
class EchoError:
    """An ICMP error about a ping to `dst` (`type` and `code` as in RFC 792); `local`: of our own making."""

    reporter: Address
    dst: Address
    type: int
    code: int
    seq: int
    at: Nanoseconds
    errno: int
    mtu: int = 0
    local: bool = False


class PingEndpoint(Endpoint):
    """Pings under one identifier. Made by `Icmp.open`. A bounded queue holds what came back."""

    __slots__ = ("_held", "_icmp", "_queue", "closed", "ident", "tos", "ttl")

    def __init__(self, icmp: Icmp, ident: int) -> None:
        super().__init__()
        self._icmp = icmp
        self._queue: deque[EchoReply | EchoError] = deque()
        self._held = 0
        self.ident = ident
        self.ttl = 0
        self.tos = 0
        self.closed = False

    @property
    def readable(self) -> bool:
        """Whether `recv` has something to give."""
        return bool(self._queue)

    def send(self, dst: Address, seq: int, data: Buffer = b"", ttl: int = 0, df: bool = False) -> None:
        """Send one echo request. Raises OSError as `Icmp.ping`."""
        self._icmp.ping(dst, self.ident, seq, data, ttl or self.ttl, self.tos, df)

    def recv(self) -> EchoReply | EchoError | None:
        """The next answer or error; None when there is none."""
        if not self._queue:
            return None
        item = self._queue.popleft()
        self._held -= len(item.data) if isinstance(item, EchoReply) else 0
        return item

    def take(self, item: EchoReply | EchoError, size: int) -> None:
        """Queue what came for this endpoint."""
        if len(self._queue) >= _MAX_WAITING or self._held + size > _MAX_WAITING_BYTES:
            self._icmp.core.counters["icmp.drop.queue_full"] += 1
            return
        self._queue.append(item)
        self._held += size
        self._icmp.core.mark_ready(self)

    def close(self) -> None:
        """Let the identifier go."""
        if not self.closed:
            self.closed = True
            self._queue.clear()
            del self._icmp.endpoints[self.ident]


class Icmp:
    """ICMP of a stack; implements `base.datagram.Transport`. `errors` sends errors."""

    def __init__(self, core: Core, ip: Ipv4) -> None:
        self.core = core
        self.ip = ip
        self.errors = ip.errors
        self.endpoints: dict[int, PingEndpoint] = {}
        self._decode = core.codec.decode_icmp
        self._encode = core.codec.encode_icmp

    # -- in

    def input(self, datagram: Datagram) -> None:
        """Take a message from IP. Types that we do not know are dropped (1122/3.2.2-b)."""
        payload = datagram.payload
        counters = self.core.counters
        reason = icmp_header(payload, datagram.csum == CSUM_NONE)
        if reason:
            counters["icmp.drop." + reason] += 1
            return
        kind, code, chksum = self._decode(payload, 0)
        if kind == ECHO_REQUEST:
            self._echo(datagram, code, chksum)
        elif kind == ECHO_REPLY:
            self._echo_reply(datagram)
        elif kind == icmperrors.SOURCE_QUENCH:
            counters["icmp.drop.source_quench"] += 1  # RFC 6633, MUST-55
        elif kind in icmperrors.ERRORS:
            self._error(datagram, kind, code)
        else:
            counters["icmp.drop.type"] += 1

    def _echo(self, datagram: Datagram, code: int, chksum: int) -> None:
        """RFC 1122 section 3.2.2.6 (1122/3.2.2.6): the same data back, from the address that was asked."""
        config = self.core.config.icmp
        src: Address | None = datagram.dst
        if datagram.cast != CAST_UNICAST:
            if not config.echo_broadcast:
                self.core.counters["icmp.drop.echo_broadcast"] += 1
                return
            src = None
        if not config.echo:
            self.core.counters["icmp.drop.echo"] += 1
            return
        rest = datagram.payload[4:]
        # only type and code change, so the sum of up to 65,000 octets need not be taken again
        total = (0xFFFF - chksum - _TO_REPLY - code) % 0xFFFF
        chksum = 0xFFFF - total if total or not int.from_bytes(rest, "big") else 0
        head = self._encode(ECHO_REPLY, 0, chksum)
        try:
            route = self.ip.route(datagram.src, src)
        except OSError:
            self.core.counters["icmp.drop.no_route"] += 1
            return
        self.core.counters["icmp.in.echo"] += 1
        options = self._echo_options(datagram, route.src) if datagram.options else b""
        length = len(datagram.payload)
        if length < 1_024:
            self.ip.send(route, PROTO_ICMP, head + rest, (), length, tos=datagram.tos, options=options)
        else:
            self.ip.send(route, PROTO_ICMP, head, (rest,), length, tos=datagram.tos, options=options)

    def _echo_options(self, datagram: Datagram, us: Address) -> bytes:
        """Record route and timestamp go back with us entered; a source route goes back reversed."""
        options = datagram.options
        found = ipoptions.find(options)  # IP has passed them: this does not raise
        back = ipoptions.return_route(options)
        try:
            options = ipoptions.record(options, found, us, self.core.now // MILLISECOND)
        except ipoptions.OptionError:
            return back
        for at in (found.record_route, found.timestamp):
            if at >= 0:
                back += options[at : at + options[at + 1]]
        return ipoptions.padded(back)

    def _echo_reply(self, datagram: Datagram) -> None:
        payload = datagram.payload
        endpoint = self.endpoints.get(payload[4] << 8 | payload[5])
        if endpoint is None:
            self.core.counters["icmp.drop.nobody_asked"] += 1
            return
        seq = payload[6] << 8 | payload[7]
        data = bytes(payload[8:])
        endpoint.take(EchoReply(datagram.src, seq, datagram.ttl, data, self.core.now), len(data))

    def _error(self, datagram: Datagram, kind: int, code: int) -> None:
        """RFC 1122 section 3.2.2: find the transport, which finds the socket."""
        counters = self.core.counters
        if datagram.cast != CAST_UNICAST:
            counters["icmp.drop.cast"] += 1
            return
        error = icmperrors.read(self.core.codec, datagram, kind, code)
        if isinstance(error, str):
            counters["icmp.drop." + error] += 1
            return
        # nobody on a wire has seen what we send to ourselves
        if not self.ip.is_local(error.src) or (self.ip.is_local(error.dst) and not datagram.iface.loopback):
            counters["icmp.drop.not_our_packet"] += 1
            return
        counters["icmp.in.error"] += 1
        if kind == icmperrors.REDIRECT:
            self._redirect(datagram, error)
        else:
            self.ip.report(error)

    def _redirect(self, datagram: Datagram, error: IcmpError) -> None:
        """RFC 1122 section 3.2.2.2: only from the gateway in use, to another on the same network."""
        config = self.core.config.ip
        gateway = bytes(datagram.payload[4:8])
        paths = self.ip.paths
        try:
            route = paths.route(error.dst)
        except OSError:
            route = None
        if (
            not config.accept_redirects
            or config.forward  # RFC 1812 section 5.2.7.2: a router knows better
            or error.code > 3
            or route is None
            or route.iface is not datagram.iface
            or route.hop != datagram.src
            or route.cast != CAST_UNICAST
            or route.hop == error.dst
            or paths.is_local(gateway)
            or gateway[0] >= 224
            or gateway in paths.casts
            or not any(gateway in entry.prefix for entry in datagram.iface.addresses)
        ):
            self.core.counters["icmp.drop.redirect"] += 1
            return
        paths.redirect(error.dst, gateway, datagram.iface)

    def icmp_error(self, error: IcmpError) -> None:
        """An error about an echo request of ours: to whoever sent it."""
        quote = error.quote
        endpoint = self.endpoints.get(int.from_bytes(quote[4:6], "big"))
        if quote[0] != ECHO_REQUEST or endpoint is None:
            self.core.counters["icmp.drop.nobody_asked"] += 1
            return
        if error.mtu and not error.local:
            self.ip.update_pmtu(error.dst, error.mtu)
        endpoint.take(
            EchoError(
                error.reporter, error.dst, error.type, error.code, int.from_bytes(quote[6:8], "big"),
                self.core.now, error.errno, error.mtu, error.local,
            ),
            0,
        )  # fmt: skip

    def port_unreachable(self, datagram: Datagram) -> None:
        """RFC 1122 section 4.1.3.1: tell the sender of a datagram that nobody listens."""
        self.errors.send(icmperrors.UNREACHABLE, icmperrors.PORT, datagram.packet, datagram.cast)

    # -- out

    def open(self, ident: int = 0) -> PingEndpoint:
        """An endpoint for pings; identifier 0 takes a free one. Raises OSError EADDRINUSE."""
        if not ident:
            ident = pick(self.core.rng, 1, 0xFFFF, self.endpoints.__contains__) or 0
        if not ident or ident in self.endpoints:
            raise os_error(errno.EADDRINUSE)
        endpoint = self.endpoints[ident] = PingEndpoint(self, ident)
        return endpoint

    def ping(
        self,
        dst: Address,
        ident: int,
        seq: int,
        data: Buffer = b"",
        ttl: int = 0,
        tos: int = 0,
        df: bool = False,
    ) -> None:
        """Send one echo request. Raises OSError: EMSGSIZE (over 65,507 octets; over the MTU with `df`),
        ENETUNREACH, EADDRNOTAVAIL.
        """
        route = self.ip.route(dst)
        if len(data) > MAX_DATA or (df and len(data) + 28 > route.mtu):
            raise os_error(errno.EMSGSIZE)
        rest = ident.to_bytes(2, "big") + (seq & 0xFFFF).to_bytes(2, "big")
        chksum = finish(_TO_REPLY + sum_parts((rest, data)))
        head = self._encode(ECHO_REQUEST, 0, chksum) + rest
        self.ip.send(route, PROTO_ICMP, head, (bytes(data),), 8 + len(data), tos=tos, ttl=ttl, df=df)
