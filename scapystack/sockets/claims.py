"""TCP flows that belong to Scapy and not to the stack: those of packets that were sent by hand.

A stack answers a segment for no port of its own with a RST, so the SYN-ACK that answers a SYN made with Scapy would
end the connection that somebody is about to make. Flows that a supersocket has begun, and that are no connection of the
stack's, are therefore kept from it for a while after the last packet sent.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from scapystack.base.frames import Frame
from scapystack.base.types import SECOND, Address, Nanoseconds

if TYPE_CHECKING:
    from scapystack.stack import NetStack

Flow = tuple[Address, int, Address, int]
"""Our address and port, the other's: the key of `Tcp.connections`."""

KEPT_S = 120
MAX_FLOWS = 4_096
_IPV4 = b"\x08\x00"
_TCP = 6


def flow_of(frame: Frame, ours: bool = False) -> Flow | None:
    """The flow of a TCP segment over IPv4 that came (`ours`: that leaves); None for anything else."""
    head = frame.head
    if len(head) < 38 or head[12:14] != _IPV4 or head[23] != _TCP or head[20] & 0x1F or head[21]:
        return None
    at = 14 + (head[14] & 15) * 4
    ports = head[at : at + 4]
    if len(ports) < 4:
        return None
    source = bytes(head[26:30]), int.from_bytes(ports[:2], "big")
    destination = bytes(head[30:34]), int.from_bytes(ports[2:], "big")
    return (*source, *destination) if ours else (*destination, *source)


class Claims:
    """The claimed flows of one stack: a hook on what comes, there while a flow is claimed. Under the driver's lock."""

    def __init__(self, net: NetStack) -> None:
        self._net = net
        self._until: OrderedDict[Flow, Nanoseconds] = OrderedDict()  # the next to end first

    def sent(self, frame: Frame) -> Flow | None:
        """A packet that somebody made leaves by `frame`: claim its flow, if it is one; the flow."""
        flow = flow_of(frame, ours=True)
        net = self._net
        if flow is None or flow in net.tcp.connections or not net.ipv4.is_local(flow[0]) or self._listens(flow):
            return flow
        until = self._until
        if not until:
            net.hooks.rx.append(self.keep)
        until[flow] = net.core.now + KEPT_S * SECOND
        until.move_to_end(flow)
        if len(until) > MAX_FLOWS:
            until.popitem(last=False)
        return flow

    def _listens(self, flow: Flow) -> bool:
        return any(port == flow[1] for _, port in self._net.tcp.listeners)

    def keep(self, frame: Frame) -> Frame | None:
        """The hook: None for a segment of a claimed flow, unless the stack has made it a connection of its own."""
        until, now = self._until, self._net.core.now
        while until and next(iter(until.values())) <= now:
            until.popitem(last=False)
        if not until:
            self._net.hooks.rx.remove(self.keep)
            return frame
        flow = flow_of(frame)
        return None if flow in until and flow not in self._net.tcp.connections else frame
