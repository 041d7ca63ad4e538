"""From the frames of a capture to IP packets: link headers off, VLAN tags off, fragments put together.

Link headers are Scapy's, compiled. What comes out is a `Packet`: one whole IPv4 packet, with what must be known
to send the same again. Nothing here raises on bad octets: what is no packet is counted by its reason in
`PacketMaker.left_out`. Read `link.pcapread` first.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

from scapystack.base.checksum import checksum, partial_sum, pseudo_sum
from scapystack.base.codec import Codec
from scapystack.base.config import StackConfig
from scapystack.base.core import Core
from scapystack.base.datagram import PROTO_ICMP, PROTO_TCP, PROTO_UDP
from scapystack.base.guard import icmp_header, ipv4_header, tcp_header, udp_header
from scapystack.base.iface import Interface
from scapystack.base.rng import Rng
from scapystack.base.types import Address, Mac, Nanoseconds
from scapystack.codec import CompiledLayers, compile_layers, make_codec
from scapystack.layers.ipfrag import Key, Reassembly
from scapystack.link.pcapread import CapturedPacket

IPV4, IPV6 = 0x0800, 0x86DD
_ETHERNET, _NULL, _RAW, _LOOP, _COOKED, _IPV4, _IPV6, _COOKED_2 = 1, 0, (12, 14, 101), 108, 113, 228, 229, 276
_TAGS = (0x8100, 0x88A8, 0x9100)
_FAMILY_INET = 2
_OUTGOING = 4  # pkttype of a cooked header
_IN, _OUT = 1, 2  # as pcapng has it


class Packet:
    """An IPv4 packet of a capture. `payload` is all behind the IP header; `cuts` how it came in fragments.

    `cut_off` octets are missing at its end (the snap length); `damaged` says that its transport's checksum is wrong.
    `direction` is 1 where the capturing host received it, 2 where it sent it, 0 where nobody knows. `number` counts
    the packets of the capture from 1, as Wireshark does; `place` is that of its record.
    """

    __slots__ = (
        "at", "cut_off", "cuts", "damaged", "df", "direction", "dst", "ident", "macs", "number", "options", "payload",
        "places", "proto", "src", "tos", "ttl",
    )  # fmt: skip

    def __init__(self, at: Nanoseconds, number: int, src: Address, dst: Address, proto: int) -> None:
        self.at = at
        self.number = number
        self.src = src
        self.dst = dst
        self.proto = proto
        self.payload = memoryview(b"")
        self.tos = 0
        self.ttl = 64
        self.ident = 0
        self.df = False
        self.options = b""
        self.cuts: tuple[int, ...] = ()
        self.cut_off = 0
        self.damaged = False
        self.direction = 0
        self.macs: tuple[Mac, Mac] | None = None  # destination and source
        self.places: tuple[int, ...] = ()  # of its records


@cache
def _layers() -> dict[str, CompiledLayers]:
    """The link headers, compiled from Scapy's layers when the first capture is read."""
    from scapy.layers.l2 import CookedLinux, CookedLinuxV2, Dot1Q, Ether, Loopback  # noqa: PLC0415 - takes a while

    return {layer.__name__: compile_layers(layer) for layer in (CookedLinux, CookedLinuxV2, Dot1Q, Ether, Loopback)}


@cache
def shared_codec() -> Codec:
    """The compiled codec, which has no state: compiled once (3 ms) for all the stacks of all conversations."""
    return make_codec("compiled")


class PacketMaker:
    """Makes `Packet`s of captured frames, in the order of the capture; holds what is still incomplete.

    Without `verify` nobody asks whether checksums are right, and no packet is `damaged`.
    """

    def __init__(self, verify: bool = True) -> None:
        self.left_out: Counter[str] = Counter()
        self.verify = verify
        self.core = Core(StackConfig(), shared_codec(), Rng(0))
        self._iface = Interface("capture", bytes(6))
        self._fragments = Reassembly(self.core)
        self._pieces: dict[Key, list[tuple[int, int, int]]] = {}  # offset, length and place of each fragment
        layers = _layers()
        self._ether, self._tag = layers["Ether"], layers["Dot1Q"]
        self._cooked, self._cooked_2, self._loopback = (
            layers[name] for name in ("CookedLinux", "CookedLinuxV2", "Loopback")
        )

    def packet(self, captured: CapturedPacket, number: int = 0) -> Packet | None:
        """The packet that this frame is, or completes; None for a fragment before that, and for anything else."""
        try:
            kind, start, direction, macs = self._link(captured)
        except Exception:  # struct.error: the frame ends in its link header
            self.left_out["too short"] += 1
            return None
        if kind != IPV4:
            self.left_out["IPv6" if kind == IPV6 else "not IP"] += 1
            return None
        return self._ip(captured, start, number, captured.direction or direction, macs)

    def _link(self, captured: CapturedPacket) -> tuple[int, int, int, tuple[Mac, Mac] | None]:
        """Type and place of what the frame carries, the way it went, and its hardware addresses."""
        data, linktype = captured.data, captured.linktype
        direction = 0
        macs = None
        if linktype == _ETHERNET:
            dst, src, kind = self._ether.decode(data)
            start = self._ether.size
            macs = (dst, src)
        elif linktype == _COOKED:
            pkttype, _, _, _, kind = self._cooked.decode(data)
            start = self._cooked.size
            direction = _OUT if pkttype == _OUTGOING else _IN
        elif linktype == _COOKED_2:
            kind, _, _, _, pkttype, _, _ = self._cooked_2.decode(data)
            start = self._cooked_2.size
            direction = _OUT if pkttype == _OUTGOING else _IN
        elif linktype in (_NULL, _LOOP):
            (family,) = self._loopback.decode(data)  # in the byte order of the host, which is small
            kind = IPV4 if _FAMILY_INET in (family, family >> 24) else IPV6
            start = self._loopback.size
        elif linktype in _RAW or linktype in (_IPV4, _IPV6):
            kind = {4: IPV4, 6: IPV6}.get(data[0] >> 4, 0)
            start = 0
        else:
            return 0, 0, 0, None
        while kind in _TAGS:
            _, _, _, kind = self._tag.decode(data, start)
            start += self._tag.size
        return kind, start, direction, macs

    def _ip(
        self, captured: CapturedPacket, start: int, number: int, direction: int, macs: tuple[Mac, Mac] | None
    ) -> Packet | None:
        data = captured.data
        there = len(data) - start
        missing = captured.size - len(data)
        reason = ipv4_header(data, start, there + missing)
        if reason == "length" and not data[start + 2] and not data[start + 3]:
            reason = ""  # a super-segment that the card was to cut: it has no length yet
        if reason == "checksum" and not data[start + 10] and not data[start + 11]:
            reason = ""  # nor a checksum
        if reason or there < 20 or there < (data[start] & 15) * 4:
            self.left_out["bad IP header"] += 1
            return None
        _, ihl, tos, total, ident, flags, fragment, ttl, proto, _, src, dst = self.core.codec.decode_ipv4(data, start)
        header = ihl * 4
        total = total or there + missing
        packet = Packet(captured.at, number, src, dst, proto)
        packet.tos, packet.ttl, packet.ident, packet.df = tos, ttl, ident, bool(flags & 2)
        packet.direction, packet.macs, packet.places = direction, macs, (captured.offset,)
        packet.options = data[start + 20 : start + header]
        packet.cut_off = max(0, total - there)
        packet.payload = memoryview(data)[start + header : start + min(total, there)]
        part = (fragment * 8, bool(flags & 1))
        if any(part) and not self._collect(packet, data, start, header, total, *part):
            return None
        if self.verify and not packet.cut_off:
            packet.damaged = _damaged(packet)
        return packet

    def _collect(
        self, packet: Packet, data: bytes, start: int, header: int, total: int, offset: int, more: bool
    ) -> bool:
        """Put a fragment to the others; True if the packet is whole now, and then it is `packet`."""
        if packet.cut_off:
            self.left_out["fragment cut by the snap length"] += 1
            return False
        key = (packet.src, packet.dst, packet.proto, packet.ident)
        self.core.now = max(self.core.now, packet.at)
        self.core.timers.expire(self.core.now)
        pieces = self._pieces.setdefault(key, [])
        pieces.append((offset, len(packet.payload), packet.places[0]))
        whole = memoryview(data)[start : start + total]
        done = self._fragments.add(key, offset, more, whole, header, packet.tos & 3, self._iface, 0)
        if done is None:
            if len(self._pieces) > 4 * self.core.config.ip.reassembly_max_datagrams:
                self._pieces.pop(next(iter(self._pieces)))
            return False
        del self._pieces[key]
        packet.payload = memoryview(done[1])
        packet.cuts = tuple(length for _, length, _ in sorted(pieces))
        packet.places = tuple(place for _, _, place in pieces)
        return True


def _damaged(packet: Packet) -> bool:
    """Whether the transport's checksum is neither right nor left to a network card."""
    payload = packet.payload
    if packet.proto == PROTO_TCP:
        if tcp_header(payload, packet.src, packet.dst) != "checksum":
            return False
        field = payload[16:18]
    elif packet.proto == PROTO_UDP:
        if udp_header(payload, packet.src, packet.dst) != "checksum":
            return False
        field = payload[6:8]
    else:
        return packet.proto == PROTO_ICMP and icmp_header(payload) == "checksum"
    open_ = int.from_bytes(field, "big") % 0xFFFF
    # the pseudo-header's sum, with or without the length
    return open_ not in (
        pseudo_sum(packet.src, packet.dst, packet.proto, len(payload)),
        pseudo_sum(packet.src, packet.dst, packet.proto, 0),
    )


def transport_checksum(proto: int, src: Address, dst: Address, payload: bytearray, damaged: bool = False) -> None:
    """Write the checksum that belongs into a TCP, UDP or ICMP message, or with `damaged` one that is wrong."""
    at = {PROTO_TCP: 16, PROTO_UDP: 6, PROTO_ICMP: 2}[proto]
    if proto == PROTO_UDP and not payload[6] and not payload[7]:
        return  # it has none
    payload[at : at + 2] = b"\0\0"
    if proto == PROTO_ICMP:
        value = checksum(payload)
    else:
        value = 0xFFFF - (pseudo_sum(src, dst, proto, len(payload)) + partial_sum(payload)) % 0xFFFF
    if damaged:
        value ^= 0x5555
    payload[at : at + 2] = (value or 0xFFFF).to_bytes(2, "big")
