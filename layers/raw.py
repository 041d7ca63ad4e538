"""Raw IP endpoints: whole packets of one protocol, a copy to each that wants them.

Read `scapystack.base.datagram` first. Sending takes a payload, or with `hdrincl` a whole packet
whose header is the application's (total length and header checksum are filled in, the source and
the id where they are zero, as raw(7) has it).
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING

from scapystack.base.addr import ANY4
from scapystack.base.checksum import checksum
from scapystack.base.core import Core
from scapystack.base.datagram import CAST_BROADCAST, Datagram
from scapystack.base.errors import os_error
from scapystack.base.events import Endpoint
from scapystack.base.frames import Frame
from scapystack.base.types import Address, Buffer
from scapystack.layers.ethernet import HEADER

if TYPE_CHECKING:
    from scapystack.layers.ipv4 import Ipv4

PROTO_RAW = 255
_ITEM_COST = 128
_RCVBUF = 1_048_576


class RawEndpoint(Endpoint):
    """All packets of one IP protocol (255: send only). Made by `RawIp.open`.

    With `local_addr` other than 0.0.0.0 only packets to that address come, and it is the source of
    what leaves. `rcvbuf` bounds what waits here.
    """

    __slots__ = (
        "_held", "_queue", "_raw", "broadcast", "closed", "error", "local_addr", "proto", "rcvbuf", "tos", "ttl",
    )  # fmt: skip

    def __init__(self, raw: RawIp, proto: int, local: Address) -> None:
        super().__init__()
        self._raw = raw
        self._queue: deque[tuple[bytes, Address]] = deque()
        self._held = 0
        self.proto = proto
        self.local_addr = local
        self.broadcast = False
        self.ttl = 0
        self.tos = 0
        self.rcvbuf = _RCVBUF
        self.error = 0
        self.closed = False

    @property
    def readable(self) -> bool:
        """Whether `recv` has something to give."""
        return bool(self._queue)

    @property
    def waiting(self) -> int:
        """Octets that wait for `recv`, with what each packet is charged with on top."""
        return self._held

    def take(self, packet: bytes, src: Address) -> None:
        """Queue a packet that came for this endpoint."""
        cost = len(packet) + _ITEM_COST
        if self._held and self._held + cost > self.rcvbuf:
            self._raw.core.counters["raw.drop.rcvbuf"] += 1
            return
        self._held += cost
        self._queue.append((packet, src))
        self._raw.core.mark_ready(self)

    def recv(self) -> tuple[bytes, Address] | None:
        """The next packet, IP header included, and its source; None when there is none."""
        if not self._queue:
            return None
        item = self._queue.popleft()
        self._held -= len(item[0]) + _ITEM_COST
        return item

    def send(self, data: Buffer, dst: Address, hdrincl: bool = False) -> int:
        """Send one packet; its length. Raises OSError: EMSGSIZE, EACCES (broadcast), EINVAL, ENETUNREACH."""
        if self.closed:
            raise os_error(errno.EBADF)
        return self._raw.output(self, bytes(data), dst, hdrincl)

    def close(self) -> None:
        """No more packets come."""
        if not self.closed:
            self.closed = True
            self._queue.clear()
            self._raw.release(self)


class RawIp:
    """The raw endpoints of a stack."""

    __slots__ = ("core", "endpoints", "ip")

    def __init__(self, core: Core, ip: Ipv4) -> None:
        self.core = core
        self.ip = ip
        self.endpoints: dict[int, list[RawEndpoint]] = {}  # by protocol

    def open(self, proto: int, local: Address = ANY4) -> RawEndpoint:
        """An endpoint for a protocol. Raises OSError: EINVAL (no such protocol), EADDRNOTAVAIL."""
        if not 0 < proto <= 255:
            raise os_error(errno.EINVAL)
        if local != ANY4 and not self.ip.is_local(local):
            raise os_error(errno.EADDRNOTAVAIL)
        endpoint = RawEndpoint(self, proto, local)
        self.endpoints.setdefault(proto, []).append(endpoint)
        return endpoint

    def release(self, endpoint: RawEndpoint) -> None:
        """Forget a closed endpoint."""
        endpoints = self.endpoints[endpoint.proto]
        endpoints.remove(endpoint)
        if not endpoints:
            del self.endpoints[endpoint.proto]

    def input(self, datagram: Datagram) -> bool:
        """Give each matching endpoint its copy; whether there was one."""
        if datagram.proto == PROTO_RAW:
            return False
        packet = None
        for endpoint in self.endpoints.get(datagram.proto, ()):
            if endpoint.local_addr in (ANY4, datagram.dst):
                packet = packet or bytes(datagram.packet)
                endpoint.take(packet, datagram.src)
        return packet is not None

    def output(self, endpoint: RawEndpoint, data: bytes, dst: Address, hdrincl: bool) -> int:
        """Send for an endpoint."""
        src = endpoint.local_addr if endpoint.local_addr != ANY4 else None
        route = self.ip.route(dst, src)
        if route.cast == CAST_BROADCAST and not endpoint.broadcast:
            raise os_error(errno.EACCES)
        if not hdrincl:
            if len(data) > 0xFFFF - 20:
                raise os_error(errno.EMSGSIZE)
            self.ip.send(route, endpoint.proto, data, (), len(data), ttl=endpoint.ttl, tos=endpoint.tos)
            return len(data)
        header = (data[0] & 15) * 4 if data else 0
        if header < 20 or len(data) < header:
            raise os_error(errno.EINVAL)
        if len(data) > route.mtu:
            raise os_error(errno.EMSGSIZE)
        packet = self._completed(data, header, route.src, dst)
        self.ip.transmit(Frame(bytes(HEADER) + packet, (), route.iface), route)
        return len(data)

    def _completed(self, data: bytes, header: int, src: Address, dst: Address) -> bytes:
        """The packet with the fields that raw(7) fills in; nothing else of it is looked at."""
        packet = bytearray(data)
        packet[2:4] = len(data).to_bytes(2, "big")
        if packet[4:6] == b"\0\0":
            packet[4:6] = self.ip.next_id(dst).to_bytes(2, "big")
        if packet[12:16] == ANY4:
            packet[12:16] = src
        packet[10:12] = b"\0\0"
        packet[10:12] = checksum(packet[:header]).to_bytes(2, "big")
        return bytes(packet)
