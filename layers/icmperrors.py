"""ICMP errors: when one may be sent, what it quotes, and how one that came is read.

RFC 792; RFC 1122 section 3.2.2; RFC 1812 section 4.3. `ErrorOutput` is the one way in which an
error leaves this stack, so the rules about what must never be answered stand here once.
`layers.icmp` dispatches what comes in. Read `scapystack.base.datagram` first.
"""

from __future__ import annotations

import errno

from scapystack.base.checksum import finish, sum_parts
from scapystack.base.codec import Codec
from scapystack.base.core import Core
from scapystack.base.datagram import CAST_UNICAST, PROTO_ICMP, Datagram, IcmpError, IpOutput
from scapystack.base.types import Address, Buffer
from scapystack.layers.ratelimit import Bucket, PeerBuckets

UNREACHABLE = 3
SOURCE_QUENCH = 4
REDIRECT = 5
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12

NET, HOST, PROTOCOL, PORT, FRAGMENTATION_NEEDED, SOURCE_ROUTE_FAILED = range(6)
TTL_EXPIRED, REASSEMBLY_EXPIRED = range(2)

ERRORS = frozenset((UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM))
_QUERIES = frozenset((0, 8, 9, 10, 13, 14, 15, 16, 17, 18))
_DONT_FRAGMENT = 2
_MAX_ERROR = 576  # RFC 1812 section 4.3.2.3: quote as much as fits
_PRECEDENCE = 0xC0  # RFC 1812 section 4.3.2.5: internetwork control
_TOS_BITS = 0x1E

# RFC 1191 section 7.1, for routers that do not say the MTU
_PLATEAUS = (32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68)

_UNREACHABLE_ERRNO = (
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENOPROTOOPT,
    errno.ECONNREFUSED,
    errno.EMSGSIZE,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
)


class ErrorOutput:
    """Sends the errors of a stack, within the rules and the limits of `config.icmp`."""

    __slots__ = ("_all", "_peers", "core", "ip")

    def __init__(self, core: Core, ip: IpOutput) -> None:
        self.core = core
        self.ip = ip
        self._all = Bucket()
        self._peers = PeerBuckets()

    def send(self, kind: int, code: int, packet: Buffer, cast: int, rest: bytes = b"\0\0\0\0") -> None:
        """Report to the source of `packet` (an IP packet as it was received, its header checked).

        `cast` is how it was cast, link included; `rest` the second word of the message. Nothing
        leaves where RFC 1122 section 3.2.2 forbids it, or more than the configured rate.
        """
        core = self.core
        _, ihl, tos, _, _, _, offset, _, proto, _, src, dst = core.codec.decode_ipv4(packet, 0)
        reason = self._forbidden(packet, ihl * 4, offset, proto, src, cast)
        if not reason and not self._within_limits(src, kind, code):
            reason = "rate"
        if reason:
            core.counters["icmp.suppressed." + reason] += 1
            return
        try:
            # RFC 1122 section 3.2.1.3: what came to one address of ours is answered from it
            route = self.ip.route(src, dst if self.ip.is_local(dst) else None)
        except OSError:
            core.counters["icmp.suppressed.no_route"] += 1
            return
        # 1122/3.2.2-b: the header and what follows, as they came
        quote = bytes(packet[: min(_MAX_ERROR, route.mtu) - 28])
        chksum = finish((kind << 8) + code + sum_parts((rest, quote)))
        head = core.codec.encode_icmp(kind, code, chksum) + rest
        core.counters["icmp.out.error"] += 1
        self.ip.send(route, PROTO_ICMP, head, (quote,), 8 + len(quote), tos=_PRECEDENCE | tos & _TOS_BITS)

    def _forbidden(self, packet: Buffer, header: int, offset: int, proto: int, src: Address, cast: int) -> str:
        """Why no error may be sent about a packet; "" if one may (1122/3.2.2-a)."""
        if cast != CAST_UNICAST:
            return "cast"
        if offset:
            return "fragment"
        if src[0] >= 224 or not src[0]:
            return "source"
        if proto == PROTO_ICMP and (len(packet) <= header or packet[header] not in _QUERIES):
            return "error"
        return ""

    def _within_limits(self, peer: Address, kind: int, code: int) -> bool:
        limits = self.core.config.icmp
        now = self.core.now
        # path MTU discovery fails without it (as Linux, only the common limit holds)
        exempt = kind == UNREACHABLE and code == FRAGMENTATION_NEEDED
        if not exempt and not self._peers.take(peer, now, limits.peer_errors_per_second, limits.peer_errors_burst):
            return False
        return self._all.take(now, limits.errors_per_second, limits.errors_burst)


def read(codec: Codec, datagram: Datagram, kind: int, code: int) -> IcmpError | str:
    """The error in an ICMP message whose checksum holds, or the reason to drop it.

    It must quote an IP header and eight octets behind it, of a first fragment (RFC 1122 section
    3.2.2), and must not be about an ICMP error. Whether we ever sent such a packet is for the
    transport to say.
    """
    quoted = datagram.payload[8:]
    if len(quoted) < 20 or quoted[0] >> 4 != 4:
        return "quote"
    header = (quoted[0] & 15) * 4
    if header < 20 or len(quoted) < header + 8:
        return "quote"
    _, _, _, total, _, flags, offset, _, proto, _, src, dst = codec.decode_ipv4(quoted, 0)
    if offset:
        return "quote"
    too_big = kind == UNREACHABLE and code == FRAGMENTATION_NEEDED
    if too_big and not flags & _DONT_FRAGMENT:
        return "fragmentable"  # 1191/6-8201/4: nobody can have found such a packet too big
    transport = bytes(quoted[header:])
    if proto == PROTO_ICMP and transport[0] in ERRORS:
        return "about_error"
    mtu = 0
    number = errno.EPROTO
    if kind == UNREACHABLE:
        number = _UNREACHABLE_ERRNO[code] if code < len(_UNREACHABLE_ERRNO) else errno.EHOSTUNREACH
        if too_big:
            mtu = int.from_bytes(datagram.payload[6:8], "big") or next((p for p in _PLATEAUS if p < total), 68)
    elif kind == TIME_EXCEEDED:
        number = errno.EHOSTUNREACH
    # RFC 1122 section 4.2.3.9: unreachable 2 to 4 are hard; but 4 with an MTU is path MTU discovery's
    hard = kind == UNREACHABLE and code in (PROTOCOL, PORT)
    return IcmpError(kind, code, datagram.src, src, dst, proto, transport, number, hard, mtu)
