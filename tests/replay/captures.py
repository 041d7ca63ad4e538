"""Captures for tests, written by hand: pcap and pcapng files in all their forms, and packets to put into them."""

from __future__ import annotations

import gzip
from pathlib import Path
from struct import pack

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from scapystack.link.pcapread import read_capture

NC = Path(__file__).parents[2] / "pcaps" / "nc-transfer.pcap"
CLIENT, SERVER = "10.0.0.2", "10.0.0.1"
START_NS = 1_700_000_000_000_000_000

Timed = list[tuple[int, bytes]]
"""Times (ns) and octets."""


def recorded() -> Timed:
    """The frames of the capture of nc."""
    return [(p.at, p.data) for p in read_capture(NC)]


def pcap(
    path: Path, packets: Timed, linktype: int = 1, *, order: str = "<", nano: bool = True, snaplen: int = 262_144
) -> Path:
    """A pcap file."""
    out = [pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snaplen, linktype)]
    for at, data in packets:
        seconds, rest = divmod(at, 1_000_000_000)
        kept = data[:snaplen]
        out += [pack(order + "IIII", seconds, rest if nano else rest // 1_000, len(kept), len(data)), kept]
    path.write_bytes(b"".join(out))
    return path


def block(order: str, kind: int, body: bytes) -> bytes:
    """A block of a pcapng file."""
    body += bytes(-len(body) % 4)
    return pack(order + "II", kind, len(body) + 12) + body + pack(order + "I", len(body) + 12)


def option(order: str, code: int, value: bytes) -> bytes:
    """An option of a block."""
    return pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def pcapng(
    path: Path, packets: Timed, linktype: int = 1, *, order: str = "<", resolution: int = 9, offset_s: int = 0,
    sections: int = 1, simple: bool = False,
) -> Path:  # fmt: skip
    """A pcapng file; the packets go round the sections, each of which has two interfaces, the first of another type."""
    units = 1 << (resolution & 127) if resolution & 128 else 10**resolution
    out = []
    per = -(-len(packets) // sections)
    for first in range(0, len(packets), per):
        out.append(block(order, 0x0A0D0D0A, pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)))
        options = option(order, 9, bytes([resolution])) + option(order, 14, pack(order + "q", offset_s))
        if not simple:
            out.append(block(order, 1, pack(order + "HHI", 147, 0, 0)))
        out.append(block(order, 1, pack(order + "HHI", linktype, 0, 0) + options))
        out.append(block(order, 0x0BAD, b"what nobody knows"))
        for at, data in packets[first : first + per]:
            if simple:
                out.append(block(order, 3, pack(order + "I", len(data)) + data))
                continue
            ticks = (at - offset_s * 1_000_000_000) * units // 1_000_000_000
            head = pack(order + "IIIII", 1, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
            out.append(block(order, 6, head + data + bytes(-len(data) % 4) + option(order, 1, b"a comment")))
    path.write_bytes(b"".join(out))
    return path


def packed(path: Path) -> Path:
    """The same file as gzip."""
    path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def tagged(data: bytes, *tags: int) -> bytes:
    """A frame with VLAN tags."""
    frame = Ether(data)
    inner = frame.payload
    frame.remove_payload()
    kind = frame.type
    for tag in tags:
        frame = frame / Dot1Q(vlan=tag)
    frame.lastlayer().type = kind
    if tags:
        frame.type = 0x8100
    return bytes(frame / inner)


class Talk:
    """A TCP conversation, packet by packet, with right numbers: for captures of what no kernel would do."""

    def __init__(self, sport: int = 40_000, dport: int = 80, **options: object) -> None:
        self.ends = {"c": (CLIENT, sport), "s": (SERVER, dport)}
        self.seq = {"c": 1_000, "s": 5_000}
        self.at = START_NS
        self.packets: Timed = []

    def say(
        self, who: str, flags: str, text: bytes = b"", *, seq: int | None = None, keep: bool = True, **tcp
    ) -> Packet:
        """The next packet of one side; kept in the capture, or only sent."""
        other = "s" if who == "c" else "c"
        (src, sport), (dst, dport) = self.ends[who], self.ends[other]
        number = self.seq[who] if seq is None else seq
        ack = self.seq[other] if "A" in flags else 0
        frame = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / IP(src=src, dst=dst, flags="DF")
        frame /= TCP(sport=sport, dport=dport, seq=number, ack=ack, flags=flags, window=60_000, **tcp)
        frame /= text
        if seq is None:
            self.seq[who] += len(text) + ("S" in flags) + ("F" in flags)
        self.at += 1_000_000
        if keep:
            self.packets.append((self.at, bytes(frame)))
        return frame

    def open(self) -> Talk:
        """The handshake."""
        self.say("c", "S", options=[("MSS", 1460)])
        self.say("s", "SA", options=[("MSS", 1460)])
        self.say("c", "A")
        return self

    def close(self) -> Talk:
        """Both FINs, the client's first."""
        self.say("c", "FA")
        self.say("s", "A")
        self.say("s", "FA")
        self.say("c", "A")
        return self
