"""The guard: every length and checksum from the wire is judged here, once, before a codec decodes.

Scapy reads some wrong headers without a word (a bad checksum, a data offset of 3) and raises on
others, and the compiled codec only shifts and masks; so no layer decodes what this file has not
passed. Each function answers "" for a header that may be decoded, else the reason to drop it, which
is the last part of a counter's name:

    reason = ipv4_header(buf, 14, len(buf) - 14)
    if reason:
        core.counters["ip.drop." + reason] += 1
        return

Nothing here raises, whatever the octets. Each layer makes one call per packet; the checks that
nearly every packet passes come first. Read `checksum` first: a sum over data with its checksum in
place is 0 modulo 0xFFFF.
"""

from __future__ import annotations

from scapystack.base.checksum import partial_sum
from scapystack.base.types import Address, Buffer

ETHERNET_LEN = 14
IPV4_LEN = 20
TCP_LEN = 20
UDP_LEN = 8
ICMP_LEN = 8
ARP_LEN = 28

_ARP_KIND = b"\0\1\x08\0\6\4"
_from_bytes = int.from_bytes


def ipv4_header(buf: Buffer, offset: int, length: int) -> str:
    """Judge the IPv4 header at `offset`, with `length` octets there (link padding may follow).

    "" promises: version 4, an IHL of 5 or more whose octets are all there, a total length that
    covers the header and lies within `length`, and a right header checksum (RFC 791 section 3.1,
    RFC 1122 section 3.2.1.2, RFC 1812 section 5.2.2). Else `truncated` (fewer octets than a header,
    or than the total length says), `version`, `ihl`, `length` (total length below the header's) or
    `checksum`.
    """
    if length < 20:
        return "truncated"
    first = buf[offset]
    header = 20
    if first != 0x45:
        if first >> 4 != 4:
            return "version"
        header = (first & 15) * 4
        if header < 20:
            return "ihl"
        if header > length:
            return "truncated"
    # RFC 1812 section 5.2.2 has the length before the checksum last; the sum is the dearest, so it is last here
    total = buf[offset + 2] << 8 | buf[offset + 3]
    if total > length:
        return "truncated"
    if total < header:
        return "length"
    if _from_bytes(buf[offset : offset + header], "big") % 0xFFFF:
        return "checksum"
    return ""


def tcp_header(payload: memoryview, src: Address, dst: Address, verify: bool = True) -> str:
    """Judge a TCP segment, `payload` being all of the IP packet behind the IP header.

    "" promises 20 octets, a data offset of 5 or more whose octets (options) are all there, and with
    `verify` a right checksum, pseudo-header included, for IPv4 and IPv6 (RFC 9293 section 3.1,
    MUST-3). Else `truncated`, `dataofs` or `checksum`.
    """
    n = len(payload)
    if n < 20:
        return "truncated"
    header = payload[12] >> 4
    if header < 5 or header * 4 > n:
        return "dataofs"
    if verify and (partial_sum(payload) + _from_bytes(src + dst, "big") + 6 + n) % 0xFFFF:
        return "checksum"
    return ""


def udp_header(payload: memoryview, src: Address, dst: Address, verify: bool = True) -> str:
    """Judge a UDP datagram, `payload` being all of the IP packet behind the IP header.

    "" promises 8 octets, a length field of 8 or more that lies within `payload` (octets behind it
    are no part of the datagram), and with `verify` a right checksum over the length field's octets
    (RFC 768, RFC 1122 section 4.1.3.4). A checksum field of zero means that there is none; over IPv6
    that is an error (RFC 8200 section 8.1). Else `truncated` (fewer octets than 8, or than the length
    says), `length` (it says fewer than 8) or `checksum`.
    """
    if len(payload) < 8:
        return "truncated"
    n = payload[4] << 8 | payload[5]
    if n < 8:
        return "length"
    if n != len(payload):
        if n > len(payload):
            return "truncated"
        payload = payload[:n]
    if verify:
        if not payload[6] and not payload[7]:
            return "" if len(src) == 4 else "checksum"
        if (partial_sum(payload) + _from_bytes(src + dst, "big") + 17 + n) % 0xFFFF:
            return "checksum"
    return ""


def icmp_header(payload: memoryview, verify: bool = True) -> str:
    """Judge an ICMP message, `payload` being all of the IP packet behind the IP header.

    "" promises the 8 octets that every message of RFC 792 has, and with `verify` a right checksum
    over all of it. Else `truncated` or `checksum`.
    """
    if len(payload) < 8:
        return "truncated"
    # no pseudo-header here: a message of zeros sums to 0 too, but its checksum would be 0xFFFF
    if verify and (partial_sum(payload) or not any(payload)):
        return "checksum"
    return ""


def arp_packet(buf: Buffer, offset: int, length: int) -> str:
    """Judge the ARP packet at `offset`, with `length` octets there (link padding may follow).

    "" promises 28 octets that speak of Ethernet and IPv4, so that the codec's `decode_arp` fits.
    RFC 826 ("Packet Reception") asks for the hardware type, then the protocol, each with its length:
    else `truncated`, `hwtype`, `ptype`, `hwlen` or `plen`, in this order.
    """
    if length >= 28 and buf[offset : offset + 6] == _ARP_KIND:
        return ""
    if length < 8:
        return "truncated"
    kind = bytes(buf[offset : offset + 6])
    if kind[:2] != b"\0\1":
        return "hwtype"
    if kind[2:4] != b"\x08\0":
        return "ptype"
    if kind[4] != 6:
        return "hwlen"
    if kind[5] != 4:
        return "plen"
    return "truncated"
