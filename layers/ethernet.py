"""Ethernet II (RFC 894): which frames are for us, and who gets them; the link headers we send.

Every frame passes through `input` and every frame that is not an IP packet leaves by `output`
(`layers.ipv4` appends its own to the outbox, with a header that ARP has encoded before).
Read `scapystack.base.frames` first.
"""

from __future__ import annotations

from collections.abc import Callable

from scapystack.base.addr import MAC_BROADCAST, MAC_NONE
from scapystack.base.core import Core
from scapystack.base.datagram import CAST_BROADCAST, CAST_MULTICAST, CAST_UNICAST
from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.types import Address, Buffer, Mac

TYPE_IPV4 = 0x0800
TYPE_ARP = 0x0806
TYPE_VLAN = 0x8100
TYPE_QINQ = 0x88A8
HEADER = 14

_ODD_TYPES = {TYPE_VLAN: "vlan", TYPE_QINQ: "vlan"}

Handler = Callable[[Frame, Interface, Buffer, int], None]
"""Takes the frame, where it came in, its octets (the payload starts at 14), the link address's cast."""


def multicast_mac(group: Address) -> Mac:
    """01:00:5e and the low 23 bits of the group (RFC 1112 section 6.4)."""
    return b"\x01\x00\x5e" + bytes((group[1] & 0x7F,)) + group[2:4]


class Ethernet:
    """Filter, dispatch and count frames.

    Handlers are registered by type in `handlers`. `groups` holds the multicast addresses that an
    interface listens to.
    """

    __slots__ = ("_decode", "_encode", "core", "groups", "handlers")

    def __init__(self, core: Core) -> None:
        self.core = core
        self.handlers: dict[int, Handler] = {}
        self.groups: dict[Interface, dict[Mac, int]] = {}
        self._decode = core.codec.decode_ethernet
        self._encode = core.codec.encode_ethernet

    def input(self, frame: Frame) -> None:
        """Take a frame from a link: `frame.iface` is where it came in."""
        iface = frame.iface
        # a large frame from a TAP is a view of what was read: nobody copies it (11% of a bulk transfer's CPU)
        data = frame.data if frame.payload else frame.head
        if iface is None or not iface.up:
            self.core.counters["ethernet.drop.interface_down"] += 1
            return
        iface.rx_frames += 1
        iface.rx_bytes += len(data)
        if len(data) < HEADER:
            self.core.counters["ethernet.drop.runt"] += 1
            return
        dst, src, kind = self._decode(data, 0)
        cast = CAST_UNICAST
        if dst != iface.mac:
            if not dst[0] & 1:
                self.core.counters["ethernet.drop.not_ours"] += 1
                return
            if dst == MAC_BROADCAST:
                cast = CAST_BROADCAST
            elif dst in self.groups.get(iface, ()):
                cast = CAST_MULTICAST
            else:
                self.core.counters["ethernet.drop.not_a_member"] += 1
                return
        if src[0] & 1:  # IEEE 802.3 section 3.2.3: a source is one station
            self.core.counters["ethernet.drop.source"] += 1
            return
        handler = self.handlers.get(kind)
        if handler is None:
            self._drop_unknown(kind)
            return
        handler(frame, iface, data, cast)

    def _drop_unknown(self, kind: int) -> None:
        # RFC 1122 section 2.3.3: a host may leave IEEE 802 encapsulation (a length there) alone
        reason = "ieee_802_3" if kind < 0x0600 else _ODD_TYPES.get(kind, "type")
        self.core.counters["ethernet.drop." + reason] += 1

    def header(self, iface: Interface, dst: Mac, kind: int = TYPE_IPV4) -> bytes:
        """The 14 octets in front of a packet of ours to `dst`."""
        return self._encode(dst, iface.mac, kind)

    def output(self, iface: Interface, dst: Mac, kind: int, payload: bytes) -> None:
        """Send one packet that is neither IP nor large."""
        self.emit(Frame(self._encode(dst, iface.mac, kind) + payload, (), iface))

    def emit(self, frame: Frame) -> None:
        """Put a whole frame into the outbox."""
        iface = frame.iface
        assert iface is not None
        frame.at = self.core.now
        iface.tx_frames += 1
        iface.tx_bytes += len(frame)
        self.core.outbox.append(frame)

    def listen(self, iface: Interface, group: Address) -> None:
        """Let frames to the group's link address in; counted, as 32 groups share one (RFC 1112)."""
        macs = self.groups.setdefault(iface, {})
        address = multicast_mac(group)
        macs[address] = macs.get(address, 0) + 1

    def unlisten(self, iface: Interface, group: Address) -> None:
        """Undo one `listen`."""
        macs = self.groups.get(iface, {})
        address = multicast_mac(group)
        if macs.get(address, 0) > 1:
            macs[address] -= 1
        else:
            macs.pop(address, None)

    def is_station(self, address: Mac) -> bool:
        """Whether a hardware address may belong to one station (neither a group nor zero)."""
        return not address[0] & 1 and address != MAC_NONE
