"""The interface through which layers decode and encode headers.

The real codecs live in `scapystack.codec`, compiled from Scapy's own layer definitions; layers see
only this and import no Scapy. Every function works on a layer's *fixed* header, with the fields in
the order of Scapy's `fields_desc` (variable options are bytes that the layer handles). Decoders
take a buffer and an offset and never check lengths or checksums: the caller has done so, once
(`struct.error` is theirs when it has not). Addresses are packed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from scapystack.base.types import Buffer

EtherFields = tuple[bytes, bytes, int]
"""dst, src, type"""
ArpFields = tuple[int, int, int, int, int, bytes, bytes, bytes, bytes]
"""hwtype, ptype, hwlen, plen, op, hwsrc, psrc, hwdst, pdst (Ethernet and IPv4 sizes)"""
Ipv4Fields = tuple[int, int, int, int, int, int, int, int, int, int, bytes, bytes]
"""version, ihl, tos, len, id, flags, frag, ttl, proto, chksum, src, dst"""
IcmpFields = tuple[int, int, int]
"""type, code, chksum: the four octets every ICMP message starts with; the rest is the type's own"""
UdpFields = tuple[int, int, int, int]
"""sport, dport, len, chksum"""
TcpFields = tuple[int, int, int, int, int, int, int, int, int, int]
"""sport, dport, seq, ack, dataofs, reserved, flags, window, chksum, urgptr.

`dataofs`, `reserved` and `flags` as Scapy splits them: 4, 3 and 9 bits."""


class Codec(Protocol):
    """Decoders and encoders for the headers of the stack. An encoder takes the fields in order."""

    mode: str
    """`compiled`, `scapy` or `paranoid`."""

    decode_ethernet: Callable[[Buffer, int], EtherFields]
    encode_ethernet: Callable[[bytes, bytes, int], bytes]
    decode_arp: Callable[[Buffer, int], ArpFields]
    encode_arp: Callable[[int, int, int, int, int, bytes, bytes, bytes, bytes], bytes]
    decode_ipv4: Callable[[Buffer, int], Ipv4Fields]
    encode_ipv4: Callable[[int, int, int, int, int, int, int, int, int, int, bytes, bytes], bytes]
    decode_icmp: Callable[[Buffer, int], IcmpFields]
    encode_icmp: Callable[[int, int, int], bytes]
    decode_udp: Callable[[Buffer, int], UdpFields]
    encode_udp: Callable[[int, int, int, int], bytes]
    decode_tcp: Callable[[Buffer, int], TcpFields]
    encode_tcp: Callable[[int, int, int, int, int, int, int, int, int, int], bytes]

    def packet(self, data: Buffer) -> Any:
        """A Scapy `Ether` dissection of a whole frame. Never raises on bad bytes."""
