"""ICMP (RFC 792, RFC 1122 section 3.2.2, RFC 1812 section 4.3): echo, and errors in and out.

Read `scapystack.base.datagram` first.
"""

from __future__ import annotations

from scapystack.base.checksum import checksum
from scapystack.base.core import Core
from scapystack.base.datagram import PROTO_ICMP, Datagram, IcmpError
from scapystack.base.frames import CSUM_NONE
from scapystack.base.guard import icmp_header
from scapystack.layers.ipv4 import Ipv4

ECHO_REPLY = 0
ECHO_REQUEST = 8


class Icmp:
    """ICMP of a stack; implements `base.datagram.Transport`."""

    def __init__(self, core: Core, ip: Ipv4) -> None:
        self.core = core
        self.ip = ip
        self._decode = core.codec.decode_icmp
        self._encode = core.codec.encode_icmp

    def input(self, datagram: Datagram) -> None:
        """Take a message from IP."""
        payload = datagram.payload
        reason = icmp_header(payload, datagram.csum == CSUM_NONE)
        if reason:
            self.core.counters["icmp.drop." + reason] += 1
            return
        kind, _, _ = self._decode(payload, 0)
        if kind == ECHO_REQUEST and not datagram.cast:
            self._echo(datagram)

    def _echo(self, datagram: Datagram) -> None:
        rest = datagram.payload[4:]
        head = self._encode(ECHO_REPLY, 0, checksum(b"\0\0\0\0" + bytes(rest)))
        try:
            route = self.ip.route(datagram.src, datagram.dst)
        except OSError:
            return
        self.ip.send(route, PROTO_ICMP, head, (rest,), len(datagram.payload), tos=datagram.tos)

    def icmp_error(self, error: IcmpError) -> None:
        """An error about an ICMP message of ours."""

    def port_unreachable(self, datagram: Datagram) -> None:
        """Tell the sender that nobody listens."""
