"""Frames that an enemy would send who knows the target's tables: segments around the edges of live
windows, errors that quote what it has just sent, fragments that contradict each other, ARP that lies.

`Crafter.frame()` draws one kind and gives frames for the target's wire. Read `world` first.
"""

from __future__ import annotations

from random import Random

from scapystack.base.addr import MAC_BROADCAST, ip
from scapystack.base.segment import ACK, FIN, PSH, RST, SYN, URG
from scapystack.layers.tcp.user import Connection
from tests.fuzz.octets import CODEC, ICMP, L3, TCP, UDP, icmp_message, ip_packet, tcp_segment, udp_datagram
from tests.fuzz.world import ECHO, FAR, FRIEND, PEER, PEER_SERVED, SERVED, STRANGER, TARGET, World

SOURCES = [PEER] * 6 + [STRANGER] * 5 + [
    FAR, TARGET, ip("10.0.0.255"), ip("224.0.0.1"), ip("0.0.0.0"), ip("127.0.0.1"), ip("255.255.255.255"),
    ip("10.0.0.50"),
]  # fmt: skip
DESTINATIONS = [TARGET, TARGET, TARGET, FAR, STRANGER, ip("10.0.0.255"), ip("255.255.255.255"), ip("224.0.0.1"),
                ip("10.0.1.1"), ip("10.0.1.77"), ip("0.0.0.0"), ip("127.0.0.1"), ip("240.0.0.1")]  # fmt: skip


class Crafter:
    """Draws from the world's own generator."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random: Random = world.random
        self.kinds = [self.segment, self.segment, self.segment, self.segment, self.syn, self.icmp_error,
                      self.icmp_error, self.fragments, self.arp, self.datagram, self.odd_packet]  # fmt: skip

    def frames(self) -> list[bytes]:
        """One or more frames of one kind."""
        return self.random.choice(self.kinds)()

    # -- the link

    def _frame(self, packet: bytes, kind: int = 0x0800) -> bytes:
        iface = self.world.target.iface
        dst = self.random.choice((iface.mac,) * 20 + (MAC_BROADCAST, b"\1\0\x5e\0\0\1"))
        return CODEC.encode_ethernet(dst, self.world.peer.iface.mac, kind) + packet

    def _near(self, value: int) -> int:
        if self.random.random() < 0.6:
            return value
        return value + self.random.choice((1, -1, 2, -2, 100, -100, 1460, 65_535, 1 << 20, 1 << 31, -(1 << 31)))

    # -- TCP

    def segment(self) -> list[bytes]:
        """One of a live connection's, at the edge of what it takes."""
        strangers = self.world.strangers()
        if not strangers:
            return self.syn()
        draw = self.random
        c = draw.choice(strangers)
        seq = draw.choice((c.rcv_nxt,) * 6 + (c.rcv_adv, c.rcv_adv, c.last_ack_sent, c.irs, draw.randrange(1 << 32)))
        ack = draw.choice((c.snd_nxt,) * 4 + (c.snd_una, c.snd_una, c.iss, c.snd_una - c.max_snd_wnd, 0))
        flags = draw.choice(
            (ACK, ACK, ACK, ACK | PSH, ACK | FIN, ACK | FIN, ACK | URG, RST, RST | ACK, SYN, SYN | ACK, FIN, 0,
             draw.randrange(256))
        )  # fmt: skip
        payload = bytes(draw.choice((0, 0, 1, 2, 100, 1_448, 1_460)))
        wnd = draw.choice((0, 0, 1, 500, 1_000, 65_535, draw.randrange(65_536)))
        segment = tcp_segment(
            c.remote_addr, c.local_addr, c.remote_port, c.local_port, self._near(seq), self._near(ack), flags, wnd,
            up=draw.choice((0, 1, 2, 1_000, 65_535)), options=self.options(c), payload=payload,
        )  # fmt: skip
        return [self._frame(ip_packet(c.remote_addr, c.local_addr, TCP, segment, tos=draw.choice((0, 0, 1, 2, 3))))]

    def syn(self) -> list[bytes]:
        """An open, or what looks like one."""
        draw = self.random
        src = draw.choice(SOURCES)
        flags = draw.choice((SYN, SYN, SYN, SYN | FIN, SYN | ACK, SYN | RST, ACK, RST | ACK, FIN | PSH | URG, 0))
        port = draw.choice((SERVED, SERVED, PEER_SERVED, 8_080, 1))
        segment = tcp_segment(
            src, TARGET, draw.choice((1_024 + draw.randrange(50), PEER_SERVED, 0)), port, draw.randrange(1 << 32),
            draw.randrange(1 << 32), flags, draw.choice((0, 1, 65_535)), options=self.options(None),
            payload=bytes(draw.choice((0, 0, 0, 10, 1_460))),
        )  # fmt: skip
        return [self._frame(ip_packet(src, TARGET, TCP, segment))]

    def options(self, c: Connection | None) -> bytes:
        """Sensible ones, wrong ones and none."""
        draw = self.random
        out = b""
        if c is not None and c.ts_ok and draw.random() < 0.9:
            tsval = self._near(c.ts_recent) & 0xFFFFFFFF if draw.random() < 0.3 else c.ts_recent
            out += b"\1\1\x08\x0a" + tsval.to_bytes(4, "big") + (self._near(c.ts_now()) & 0xFFFFFFFF).to_bytes(4, "big")
        while draw.random() < 0.3:
            una = c.snd_una if c is not None else draw.randrange(1 << 32)
            nxt = c.snd_nxt if c is not None else una
            edges = [(self._near(draw.choice((una, nxt))) & 0xFFFFFFFF).to_bytes(4, "big") for _ in range(2)]
            out += draw.choice(
                (b"\2\4\5\xb4", b"\2\4\0\0", b"\2\4\0\1", b"\3\3\7", b"\3\3\xff", b"\4\2", b"\0", b"\1",
                 b"\5\x0a" + b"".join(edges), b"\5\x12" + 2 * b"".join(edges), b"\5\2", b"\5\3\0",
                 b"\x08\0", b"\x08\xff", b"\x22\2", b"\x22\x0a" + self._cookie(), b"\x22\7", b"\xfe\4ab", b"\2",
                 draw.randbytes(draw.randrange(12)))
            )  # fmt: skip
        return out[:40]

    def _cookie(self) -> bytes:
        """A Fast Open cookie of some source, of eight octets in any case."""
        tcp = self.world.target.stack.tcp
        return tcp.fastopen_cookies.cookie(self.random.choice(SOURCES), TARGET, tcp.core.now)

    # -- ICMP

    def icmp_error(self) -> list[bytes]:
        """An error about a packet that the target has just sent (or about one that it never did)."""
        draw = self.random
        quoted = draw.choice(self.world.said or [bytes(60)])[L3:]
        if draw.random() < 0.3:
            at = draw.randrange(min(len(quoted), 40))
            quoted = quoted[:at] + draw.randbytes(1) + quoted[at + 1 :]
        quoted = quoted[: draw.choice((0, 8, 20, 27, 28, 32, 100, 548))]
        kind = draw.choice((3, 3, 3, 3, 4, 5, 11, 12, 0, 8, 13, draw.randrange(256)))
        word = draw.choice(
            (b"\0\0\0\0", b"\0\0\0\x44", b"\0\0\2\x40", b"\0\0\5\x78", b"\0\0\xff\xff", PEER, FAR, draw.randbytes(4))
        )
        message = icmp_message(kind, draw.choice((0, 1, 2, 3, 4, 4, 5, 13, 200)), word + quoted)
        return [
            self._frame(
                ip_packet(draw.choice(SOURCES), draw.choice((TARGET,) * 5 + (FAR, ip("10.0.0.255"))), ICMP, message)
            )
        ]

    # -- IP

    def fragments(self) -> list[bytes]:
        """A datagram in pieces: too many, too few, overlapping, out of order, too long, with other headers."""
        draw = self.random
        src = draw.choice((PEER, PEER, STRANGER, FAR))
        size = draw.choice((30, 1_000, 3_000, 20_000, 65_000))
        proto, data = draw.choice((
            (ICMP, icmp_message(8, 0, draw.randbytes(size))),
            (UDP, udp_datagram(src, TARGET, 9, ECHO, draw.randbytes(size))),
            (TCP, tcp_segment(src, TARGET, 5_000, SERVED, 1, 1, SYN, 100, payload=bytes(min(size, 3_000)))),
            (99, draw.randbytes(size)),
        ))  # fmt: skip
        ident = draw.choice((1, 2, draw.randrange(65_536)))
        step = draw.choice((8, 16, 512, 1_480, 1_480)) if size <= 3_000 else draw.choice((1_480, 8_000))
        options = draw.choice((b"", b"", self.ip_options()))
        packets = []
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            more = at + step < len(data)
            if draw.random() < 0.1:
                at += draw.choice((8, -8, 16, 65_000))  # noqa: PLW2901 - a piece at the wrong place is what is wanted
            if draw.random() < 0.03:
                piece = piece[: draw.randrange(len(piece) + 1)] + draw.randbytes(draw.choice((0, 1, 8)))
            if draw.random() < 0.02:
                more = not more
            packets.append(
                ip_packet(
                    src,
                    TARGET,
                    proto,
                    piece,
                    ident=ident,
                    flags=int(more),
                    offset=at >> 3,
                    options=options,
                    ttl=draw.choice((64, 64, 1)),
                    tos=draw.choice((0, 0, 0, 1, 3)),
                )
            )
        if draw.random() < 0.4:
            draw.shuffle(packets)
        if draw.random() < 0.3:
            packets = [packet for packet in packets if draw.random() < 0.8]
        if draw.random() < 0.2:
            packets += packets[: draw.randrange(3)]
        return [self._frame(packet) for packet in packets[:60]]

    def ip_options(self) -> bytes:
        """Record route, timestamps, source routes; whole, full and broken."""
        draw = self.random
        out = b""
        for _ in range(draw.choice((1, 1, 2))):
            kind = draw.choice((7, 68, 131, 137, 148, 130, draw.randrange(256)))
            hops = draw.randbytes(4 * draw.randrange(4)) if draw.random() < 0.5 else FAR + PEER
            if kind == 68:
                out += bytes((68, 4 + len(hops), draw.choice((5, 9, 4, 255)), draw.choice((0, 1, 3, 0xF1, 2)))) + hops
            else:
                out += (
                    bytes(
                        (
                            kind,
                            3 + len(hops) + draw.choice((0, 0, 0, 1, -3, 200)) & 255,
                            draw.choice((4, 4, 8, 5, 0, 255)),
                        )
                    )
                    + hops
                )
        return (out + bytes(-len(out) % 4))[:40]

    def datagram(self) -> list[bytes]:
        """UDP to a port that listens or not, by unicast or to all, with lengths that fit or not."""
        draw = self.random
        src, dst = draw.choice(SOURCES), draw.choice(DESTINATIONS)
        data = udp_datagram(
            src, dst, draw.choice((ECHO, 9, 0)), draw.choice((ECHO, 53, 9, 0)), bytes(draw.choice((0, 1, 500)))
        )
        if draw.random() < 0.2:
            data = data[:6] + b"\0\0" + data[8:]
        return [
            self._frame(ip_packet(src, dst, UDP, data + bytes(draw.choice((0, 0, 3))), ttl=draw.choice((64, 1, 0))))
        ]

    def odd_packet(self) -> list[bytes]:
        """Any protocol, any options, to anybody; on the way to somebody else, too."""
        draw = self.random
        src, dst = draw.choice(SOURCES), draw.choice(DESTINATIONS)
        proto, payload = draw.choice((
            (ICMP, icmp_message(8, 0, bytes(draw.choice((4, 60, 1_400))))), (99, bytes(100)), (2, bytes(8)),
            (TCP, tcp_segment(src, dst, 1, SERVED, 1, 1, SYN, 1, payload=bytes(draw.choice((0, 1_000))))),
            (draw.randrange(256), draw.randbytes(draw.choice((0, 1, 7, 8, 40)))),
        ))  # fmt: skip
        options = self.ip_options() if draw.random() < 0.7 else b""
        packet = ip_packet(
            src, dst, proto, payload, options=options, ttl=draw.choice((64, 64, 1, 0)), flags=draw.choice((0, 0, 2))
        )
        return [self._frame(packet)]

    # -- ARP

    def arp(self) -> list[bytes]:
        """Requests and replies from and about everybody. Every second one is in good form and only lies: of the
        others one in twelve passes the first checks, and a claim to our address must not be left to chance."""
        draw = self.random
        target, peer = self.world.target.iface, self.world.peer.iface
        addresses = (TARGET, PEER, FRIEND, ip("10.0.0.50"), ip("10.0.0.255"), STRANGER, ip("0.0.0.0"), ip("224.0.0.1"),
                     bytes((10, 0, 0, draw.randrange(256))))  # fmt: skip
        stranger = b"\2" + draw.randbytes(5)
        macs = (peer.mac, target.mac, MAC_BROADCAST, bytes(6), stranger)
        if draw.random() < 0.5:
            sender, claimed = draw.choice((peer.mac, stranger)), draw.choice((TARGET, *addresses))
            asked = draw.choice(macs), draw.choice(addresses)
            body = CODEC.encode_arp(1, 0x0800, 6, 4, draw.choice((1, 2)), sender, claimed, *asked)
            return [self._frame(body, 0x0806)]
        body = CODEC.encode_arp(
            draw.choice((1, 1, 1, 6)), draw.choice((0x0800,) * 4 + (0x86DD,)), 6, 4, draw.choice((1, 1, 2, 2, 3, 0)),
            draw.choice(macs), draw.choice(addresses), draw.choice(macs), draw.choice(addresses),
        )  # fmt: skip
        return [self._frame(body[: draw.choice((28, 28, 28, 27, 8, 7, 0))], 0x0806)]
