"""Scapy packets in and out of a live connection: what follows from other fields is computed anew after a change.

A dissected packet keeps its lengths and checksums as values, so a changed field would leave them wrong. Scapy also
keeps the octets that each packet was made of: what still stands as it did there is computed anew, what a person has
set stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Padding, Raw

from scapystack.base.errors import ConfigError
from scapystack.base.types import SECOND, Nanoseconds
from scapystack.hooks.packets import COMPUTED


def octets(text: Any) -> bytes:
    """What a person wants said: octets, or text. Raises ConfigError."""
    if isinstance(text, str):
        return text.encode()
    if not isinstance(text, bytes | bytearray | memoryview):
        raise ConfigError(f"octets or text are sent, not {type(text).__name__}")
    return bytes(text)


def lowest(packet: Any) -> Any:
    """The first layer of what `packet` is a layer of."""
    while packet.underlayer is not None and packet.underlayer.payload is packet:
        packet = packet.underlayer
    return packet


def settled(packet: Any) -> Any:
    """A copy of the whole packet whose lengths and checksums fit it, but for those that somebody has set."""
    whole = lowest(packet).copy()
    original = lowest(packet).original
    if original and bytes(whole) != original:
        known = type(whole)(original)
        for layer, names in COMPUTED.items():
            ours, theirs = whole.getlayer(layer), known.getlayer(layer)
            if ours is None or theirs is None:
                continue
            for name in names:
                if ours.fields.get(name) == theirs.fields.get(name):
                    ours.delfieldval(name)
    return type(whole)(bytes(whole))


def ip_of(octets: bytes, at: Nanoseconds = 0) -> Any:
    """The IP packet of a frame's octets."""
    packet = IP(octets[14:])
    packet.time = at / SECOND
    return packet


def ip_packet(what: Any, template: Callable[[], Any]) -> Any:
    """`what` (a packet from Ethernet, IP or TCP on, or octets for TCP to carry) as an IP packet, settled.

    What it lacks below, it gets from what `template` makes, an IP packet of the connection. Raises ConfigError.
    """
    if isinstance(what, bytes | bytearray | str):
        what = Raw(what.encode() if isinstance(what, str) else bytes(what))
    if not isinstance(what, Packet):
        raise ConfigError(f"a Scapy packet or octets, not {type(what).__name__}")
    base = lowest(what)
    if isinstance(base, Ether) and isinstance(base.payload, IP):
        whole = settled(what)
        if Padding in whole:
            whole[Padding].underlayer.remove_payload()
        return IP(bytes(whole.payload))
    if isinstance(base, IP):
        return settled(base)
    carrier = template()
    tcp = carrier[TCP]
    if isinstance(base, TCP):
        carrier.remove_payload()
        carrier.add_payload(base.copy())
        base = carrier[TCP]
        for name in ("sport", "dport", "seq", "ack", "window"):
            if name not in base.fields:
                setattr(base, name, getattr(tcp, name))
        del base.dataofs, base.chksum
    else:
        tcp.remove_payload()
        tcp.add_payload(base.copy())
        tcp.flags |= "P"
        del tcp.chksum
    del carrier.len, carrier.chksum
    return IP(bytes(carrier))


def wire_octets(packet: Any) -> bytes:
    """What tells a packet from others: its octets from IP on, or all of them where there is no Ethernet."""
    whole = settled(packet)
    octets = bytes(whole)
    return octets[14:] if isinstance(whole, Ether) else octets
