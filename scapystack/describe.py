"""One line for one packet, in the words of tcpdump, drawn from its Scapy dissection.

    12:00:00.000001 IP 10.0.0.2.44180 > 10.0.0.1.12345: Flags [S], seq 7, win 64240, length 0

`describe` makes the line; `Describer` remembers flows, so that sequence numbers come out relative
as tcpdump's do. Nothing here is on the path of a packet: it runs when somebody looks (about 0.3 ms
a line, most of it Scapy's). Read `scapystack.base.frames` first.
"""

from __future__ import annotations

import time
from typing import Any, TypeAlias

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from scapystack.base.frames import Frame
from scapystack.base.types import Buffer, Nanoseconds

Flows: TypeAlias = dict[tuple[str, int, str, int], tuple[int, int]]
"""The numbers that a flow's sequence and acknowledgment numbers are counted from, by direction."""

MAX_FLOWS = 4_096
_FLAGS = ((0x01, "F"), (0x02, "S"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"), (0x40, "E"), (0x80, "W"))
_SYN, _FIN, _RST, _ACK, _URG = 0x02, 0x01, 0x04, 0x10, 0x20
_PROTOCOLS = {1: "ICMP", 2: "igmp", 6: "TCP", 17: "UDP", 58: "ICMP6"}
_EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options


def describe(packet: Frame | Buffer | Any, at: Nanoseconds | None = None, flows: Flows | None = None) -> str:
    """`packet` (a `Frame`, the octets of one, or a Scapy packet) in one line; never raises.

    `at` is nanoseconds since the epoch, printed as the local time of day; None prints no time.
    `flows` is kept by the caller between calls to have relative sequence numbers.
    """
    stamp = "" if at is None else f"{clock_text(at)} "
    try:
        if isinstance(packet, bytes | bytearray | memoryview):
            packet = Frame(packet)
        if isinstance(packet, Frame):
            packet = packet.packet
        return stamp + _any(packet, flows)
    except Exception as error:  # a dissection of hostile bytes may fail anywhere, and a line is all we owe
        return f"{stamp}malformed packet ({type(error).__name__}){_length(packet)}"


def _length(packet: Any) -> str:
    try:
        return f", length {len(packet)}"
    except Exception:  # a Scapy packet is built to be measured, and one that somebody made may not be buildable
        return ""


class Describer:
    """`describe` with relative sequence numbers: it remembers the flows it has seen."""

    def __init__(self) -> None:
        self._flows: Flows = {}

    def __call__(self, packet: Frame | Buffer | Any, at: Nanoseconds | None = None) -> str:
        """One line for `packet`, as `describe`."""
        return describe(packet, at, self._flows)


def clock_text(at: Nanoseconds) -> str:
    """The local time of day with microseconds: `12:00:00.000001`."""
    seconds, ns = divmod(at, 1_000_000_000)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{ns // 1000:06d}"


def _any(packet: Any, flows: Flows | None) -> str:
    if ARP in packet:
        return _arp(packet[ARP])
    if IP in packet:
        return _ipv4(packet[IP], flows)
    if IPv6 in packet:
        return _ipv6(packet[IPv6], flows)
    if isinstance(packet, Ether):
        return f"{packet.src} > {packet.dst}, ethertype 0x{packet.type:04x}, length {len(packet)}"
    return f"{packet.name}, length {len(packet)}"


def _arp(arp: Any) -> str:
    if arp.op == 1 and arp.psrc == "0.0.0.0":
        what = f"Probe {arp.pdst}"
    elif arp.op == 1 and arp.psrc == arp.pdst:
        what = f"Announcement {arp.pdst}"
    elif arp.op == 1:
        what = f"Request who-has {arp.pdst} tell {arp.psrc}"
    elif arp.op == 2:
        what = f"Reply {arp.psrc} is-at {arp.hwsrc}"
    else:
        what = f"op {arp.op} {arp.psrc} > {arp.pdst}"
    return f"ARP, {what}, length {len(arp)}"


def _ipv4(ip: Any, flows: Flows | None) -> str:
    length = (ip.len or len(ip)) - (ip.ihl or 5) * 4
    more = int(ip.flags) & 1
    tail = f" (frag {ip.id}:{length}@{ip.frag * 8}{'+' if more else ''})" if more or ip.frag else ""
    if ip.frag:
        return f"IP {ip.src} > {ip.dst}: {_PROTOCOLS.get(ip.proto, f'proto {ip.proto}')}{tail}"
    return f"IP {_transport(ip, ip.proto, length, flows)}{tail}"


def _ipv6(ip: Any, flows: Flows | None) -> str:
    upper, proto, length = ip, ip.nh, ip.plen if ip.plen is not None else len(ip.payload)
    while proto in _EXTENSIONS and getattr(upper.payload, "nh", None) is not None:
        upper = upper.payload
        proto, length = upper.nh, length - (len(upper) - len(upper.payload))
    return f"IP6 {_transport(ip, proto, length, flows)}"


def _transport(ip: Any, proto: int, length: int, flows: Flows | None) -> str:
    """The part behind `IP `: addresses, and what the transport says. `length` is its octets."""
    if proto == 6 and TCP in ip:
        return _tcp(ip, ip[TCP], length, flows)
    if proto == 17 and UDP in ip:
        udp = ip[UDP]
        size = (udp.len or length) - 8
        return f"{ip.src}.{udp.sport} > {ip.dst}.{udp.dport}: UDP, length {size}"
    if proto == 1 and ICMP in ip:
        return f"{ip.src} > {ip.dst}: ICMP {_icmp(ip[ICMP])}, length {length}"
    return f"{ip.src} > {ip.dst}: {_PROTOCOLS.get(proto, f'proto {proto}')}, length {length}"


def _icmp(icmp: Any) -> str:
    if icmp.type in (0, 8):
        return f"echo {'request' if icmp.type == 8 else 'reply'}, id {icmp.id}, seq {icmp.seq}"
    quoted = icmp.payload if hasattr(icmp.payload, "dst") else None
    about = quoted.dst if quoted is not None else "?"
    if icmp.type == 3:
        return _unreachable(icmp, quoted, about)
    if icmp.type == 11:
        return "ip reassembly time exceeded" if icmp.code == 1 else "time exceeded in-transit"
    if icmp.type == 5:
        kind = {0: "net", 1: "host", 2: "tos net", 3: "tos host"}.get(icmp.code, f"code {icmp.code}")
        return f"redirect {about} to {kind} {icmp.gw}"
    if icmp.type == 12:
        return f"parameter problem - octet {icmp.ptr}"
    return f"type {icmp.type}, code {icmp.code}"


def _unreachable(icmp: Any, quoted: Any, about: str) -> str:
    if icmp.code == 3 and quoted is not None:
        port = getattr(quoted.payload, "dport", "?")
        name = {6: "tcp", 17: "udp"}.get(quoted.proto, f"proto {quoted.proto}")
        return f"{about} {name} port {port} unreachable"
    if icmp.code == 2 and quoted is not None:
        return f"{about} protocol {quoted.proto} unreachable"
    if icmp.code == 4:
        return f"{about} unreachable - need to frag (mtu {icmp.nexthopmtu})"
    names = {
        0: f"net {about} unreachable",
        1: f"host {about} unreachable",
        5: f"{about} unreachable - source route failed",
        13: f"host {about} unreachable - admin prohibited filter",
    }
    return names.get(icmp.code, f"{about} unreachable, code {icmp.code}")


def _tcp(ip: Any, tcp: Any, length: int, flows: Flows | None) -> str:
    flags = int(tcp.flags)
    size = length - (tcp.dataofs or 5) * 4
    seq, ack, base_ack = _relative(ip, tcp, flags, flows)
    words = [f"Flags [{''.join(letter for bit, letter in _FLAGS if flags & bit) or 'none'}]"]
    if size > 0:
        words.append(f"seq {seq}:{seq + size & 0xFFFFFFFF}")
    elif flags & (_SYN | _FIN | _RST):
        words.append(f"seq {seq}")
    if flags & _ACK:
        words.append(f"ack {ack}")
    words.append(f"win {tcp.window}")
    if flags & _URG:
        words.append(f"urg {tcp.urgptr}")
    if tcp.options:
        words.append(f"options [{','.join(_option(kind, value, base_ack) for kind, value in tcp.options)}]")
    words.append(f"length {size}")
    return f"{ip.src}.{tcp.sport} > {ip.dst}.{tcp.dport}: {', '.join(words)}"


def _relative(ip: Any, tcp: Any, flags: int, flows: Flows | None) -> tuple[int, int, int]:
    """Sequence and acknowledgment number to print, and what SACK edges are counted from.

    Counted from where the flow began, unless it begins here or nobody keeps flows; a segment without
    ACK is never relative (both are tcpdump's rules).
    """
    if flows is None or not flags & _ACK:
        return tcp.seq, tcp.ack, 0
    key = (ip.src, tcp.sport, ip.dst, tcp.dport)
    base = flows.get(key)
    if base is None or flags & _SYN:
        if len(flows) >= MAX_FLOWS:
            flows.clear()
        base_ack = tcp.ack - 1 & 0xFFFFFFFF
        flows[key] = (tcp.seq, base_ack)
        flows[ip.dst, tcp.dport, ip.src, tcp.sport] = (base_ack, tcp.seq)
        return tcp.seq, tcp.ack, 0
    return tcp.seq - base[0] & 0xFFFFFFFF, tcp.ack - base[1] & 0xFFFFFFFF, base[1]


def _option(kind: str | int, value: Any, base_ack: int) -> str:
    if kind == "MSS":
        return f"mss {value}"
    if kind == "WScale":
        return f"wscale {value}"
    if kind == "SAckOK":
        return "sackOK"
    if kind == "Timestamp":
        return f"TS val {value[0]} ecr {value[1]}"
    if kind == "SAck":
        edges = [edge - base_ack & 0xFFFFFFFF for edge in value]
        blocks = "".join(f"{{{left}:{right}}}" for left, right in zip(edges[::2], edges[1::2], strict=False))
        return f"sack {len(edges) // 2} {blocks}"
    if kind in ("NOP", "EOL"):
        return str(kind).lower()
    return f"unknown-{kind}" if isinstance(kind, int) else str(kind).lower()
