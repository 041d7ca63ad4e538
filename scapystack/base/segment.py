"""`Segment`: a TCP segment with its header fields and options decoded (RFC 9293 section 3.1).

Received segments are made by `layers.tcp.demux` and read by every other file there. `SEG.LEN`, with
SYN and FIN counted, is `seg.length`.
"""

from __future__ import annotations

from scapystack.base.types import Address, Buffer

FIN = 0x01
SYN = 0x02
RST = 0x04
PSH = 0x08
ACK = 0x10
URG = 0x20
ECE = 0x40
CWR = 0x80

EMPTY = memoryview(b"")


class Segment:
    """One TCP segment, as received.

    `wnd` is the field as it stands, unscaled. Options that were absent are None (`mss`, `wscale`,
    `tsval`, `tsecr`, `fastopen`), False (`sack_permitted`) or empty (`sack`: pairs of left and right
    edge). `fastopen` is a cookie; an empty one asks for a cookie. `tos` is the IP header's (its low two
    bits are ECN).
    """

    __slots__ = (
        "ack", "dport", "dst", "fastopen", "flags", "gso_size", "mss", "payload", "sack", "sack_permitted", "seq",
        "sport", "src", "tos", "tsecr", "tsval", "up", "wnd", "wscale",
    )  # fmt: skip

    def __init__(
        self,
        src: Address,
        dst: Address,
        sport: int,
        dport: int,
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        up: int = 0,
        payload: Buffer = EMPTY,
        tos: int = 0,
        gso_size: int = 0,
    ) -> None:
        self.src = src
        self.dst = dst
        self.sport = sport
        self.dport = dport
        self.seq = seq
        self.ack = ack
        self.flags = flags
        self.wnd = wnd
        self.up = up
        self.payload = payload
        self.tos = tos
        self.gso_size = gso_size
        self.mss: int | None = None
        self.wscale: int | None = None
        self.sack_permitted = False
        self.sack: tuple[tuple[int, int], ...] = ()
        self.tsval: int | None = None
        self.tsecr: int | None = None
        self.fastopen: bytes | None = None

    @property
    def length(self) -> int:
        """SEG.LEN: payload octets, plus one each for SYN and FIN."""
        f = self.flags
        return len(self.payload) + (f & 1) + (f >> 1 & 1)

    @property
    def end(self) -> int:
        """The sequence number behind the segment."""
        return (self.seq + self.length) & 0xFFFFFFFF

    def __repr__(self) -> str:
        return (
            f"<Segment {flags_text(self.flags)} seq={self.seq} ack={self.ack} wnd={self.wnd} len={len(self.payload)}>"
        )


def flags_text(flags: int) -> str:
    """Flags in Scapy's letters, such as `SA` for SYN and ACK."""
    return "".join(letter for bit, letter in enumerate("FSRPAUEC") if flags >> bit & 1) or "."
