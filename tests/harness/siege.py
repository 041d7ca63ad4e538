"""A stack under attack, frame by frame, and beside it a connection with a friend that must go on.

    siege = Siege()
    siege.ip(UDP, udp_datagram(...))          # a packet of the attacker's; what it draws is returned
    siege.tcp("S", dport=80)                  # a segment to no connection of ours in particular
    foe = siege.open()                        # a connection that the attacker holds the other end of
    foe.send("A", seq=100, payload=b"x")      # numbers count from both initial ones
    siege.goes_on()                           # the friend's echo comes back, and the tables are in order

The stack is 10.0.0.1 with a listener on port 80 and UDP sockets on 7. Nothing else but the attack moves, and
time only with `after`; what leaves for anybody but the friend is the answer to the attack.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from scapystack.base.addr import ANY4, ip
from scapystack.base.frames import Frame
from scapystack.base.segment import Segment, flags_text
from scapystack.base.types import MILLISECOND
from scapystack.layers.tcp.options import encode_syn, encode_timestamps, parse_options
from scapystack.layers.tcp.state import ESTABLISHED
from scapystack.layers.tcp.user import Connection
from tests.fuzz.octets import CODEC, ICMP, TCP, UDP, icmp_message, ip_packet, tcp_segment, udp_datagram
from tests.harness.net import DELAY, Host, Net
from tests.harness.settings import config_of
from tests.harness.tcp_invariants import check

OURS, FOE, FRIEND, NOBODY, FAR = (ip(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.77", "10.9.9.9"))
FOE_MAC = b"\2\0\0\0\0\x66"
OPEN, CLOSED_PORT, ECHO, FRIENDLY = 80, 81, 7, 9000
FLAGS = {letter: 1 << bit for bit, letter in enumerate("FSRPAUEC")}
FOE_ISS = 70_000
MASK = 0xFFFFFFFF


class Heard(NamedTuple):
    """A segment that the stack has sent; `seq` and `ack` as they stand, or counted from a connection's."""

    flags: str
    seq: int
    ack: int
    length: int = 0


def bits(flags: str) -> int:
    """`"SA"` as the octet of the header."""
    return sum(FLAGS[letter] for letter in flags if letter != ".")


def heard(packet: bytes) -> Heard:
    """The TCP segment in an IP packet, its ECN flags left out."""
    segment = parsed(packet)
    return Heard(flags_text(segment.flags & 0x3F), segment.seq, segment.ack, len(segment.payload))


def parsed(packet: bytes) -> Segment:
    """The TCP segment in an IP packet, options and all."""
    body = packet[(packet[0] & 15) * 4 :]
    sport, dport, seq, ack, dataofs, _, flags, wnd, _, up = CODEC.decode_tcp(body, 0)
    segment = Segment(packet[12:16], packet[16:20], sport, dport, seq, ack, flags, wnd, up, body[dataofs * 4 :])
    parse_options(body[20 : dataofs * 4], segment)
    return segment


class Siege:
    """The stack, its friend and the attacker's calls. Settings such as `tcp_rsts_per_second=10` are the stack's."""

    def __init__(self, **settings: Any) -> None:
        self.net = Net(fault=self._wire)
        self.host = self.net.host("10.0.0.1/24", config=config_of(**settings), seed=5)
        self.friend = self.net.host("10.0.0.3/24", seed=6)
        self.stack = self.host.stack
        self.stack.arp.add_static(self.host.iface, FOE, FOE_MAC)
        self.stack.add_route("default", via=FOE)
        self.frames: list[bytes] = []
        self.listener = self.stack.tcp.listen(ANY4, OPEN, 64)
        self.udp = self.stack.udp.bind(ANY4, ECHO)
        self._ports = iter(range(20_000, 60_000))
        self._befriend()
        self._before = dict(self.stack.counters)

    def _befriend(self) -> None:
        listener = self.stack.tcp.listen(OURS, FRIENDLY, 1)
        self.outer = self.friend.stack.tcp.connect(OURS, FRIENDLY)
        assert self.net.run(until=lambda: listener.readable and self.outer.connected)
        inner = listener.accept()
        assert inner is not None
        self.inner = inner
        listener.close()

    def _wire(self, sender: Host, frame: Frame) -> list[tuple[int, Frame]]:
        if sender is self.host and frame.data[:6] != self.friend.iface.mac:
            self.frames.append(frame.data)
            if frame.data[0] & 1 == 0:
                return []
        return [(DELAY, frame)]

    # -- the attack

    def frame(self, packet: bytes, *, kind: int = 0x0800, to: bytes = b"", by: bytes = FOE_MAC) -> list[bytes]:
        """A frame arrives, and the stack has its output pass; the packets that leave."""
        self.burst([packet], kind=kind, to=to, by=by)
        return self.answers()

    def burst(self, packets: list[bytes], *, kind: int = 0x0800, to: bytes = b"", by: bytes = FOE_MAC) -> None:
        """Many frames before the output pass; `answers` has what leaves."""
        link = CODEC.encode_ethernet(to or self.host.iface.mac, by, kind)
        for packet in packets:
            self.net.arrives(self.host, Frame(link + packet, (), self.host.iface), self.net.now)
        self.net.collect(self.host)

    def ip(self, proto: int, payload: bytes, *, src: bytes = FOE, dst: bytes = OURS, **fields: Any) -> list[bytes]:
        """An IP packet whose header is right."""
        return self.frame(ip_packet(src, dst, proto, payload, **fields))

    def datagram(self, data: bytes = b"hello", *, port: int = ECHO, src: bytes = FOE, dst: bytes = OURS) -> list[bytes]:
        """A UDP datagram."""
        return self.ip(UDP, udp_datagram(src, dst, 9, port, data), src=src, dst=dst)

    def icmp(self, kind: int, code: int, quote: bytes, *, word: int = 0, src: bytes = FOE) -> list[bytes]:
        """An ICMP error that quotes an IP packet (or what the attacker says is one)."""
        return self.ip(ICMP, icmp_message(kind, code, word.to_bytes(4, "big") + quote), src=src)

    def tcp(
        self, flags: str, *, sport: int = 4_000, dport: int = OPEN, seq: int = 0, ack: int = 0, wnd: int = 65_535,
        src: bytes = FOE, dst: bytes = OURS, **more: Any,
    ) -> list[Heard]:  # fmt: skip
        """A segment, its numbers as they stand."""
        segment = tcp_segment(src, dst, sport, dport, seq, ack, bits(flags), wnd, **more)
        return [heard(packet) for packet in self.ip(TCP, segment, src=src, dst=dst)]

    def open(self, *, iss: int = FOE_ISS, options: bytes | None = None, wnd: int = 65_535, accept: bool = True) -> Foe:
        """A connection to port 80, past its handshake and accepted."""
        foe = Foe(self, next(self._ports), iss, options)
        foe.open(wnd)
        if accept:
            assert self.listener.accept() is foe.c
        return foe

    # -- what came of it

    def answers(self) -> list[bytes]:
        """The packets that left since the last look, for anybody but the friend."""
        frames, self.frames = self.frames, []
        return [frame[14:] for frame in frames]

    def dropped(self) -> dict[str, int]:
        """What was dropped since the attack began, by reason."""
        return {
            name: n for name, count in self.stack.counters.items()
            if ".drop." in name and (n := count - self._before.get(name, 0))
        }  # fmt: skip

    def after(self, ms: float) -> None:
        """Time passes, deadline by deadline."""
        self.net.run(limit_ms=ms)

    def goes_on(self) -> None:
        """The connection beside the attack passes text both ways, at once."""
        words = b"still here?" * 300
        self.net.enter(self.friend)
        self.outer.write(words)
        assert self.net.run(until=lambda: self.inner.available >= len(words), limit_ms=2_000), "the friend is not heard"
        self.net.enter(self.host)
        text = self.inner.read(len(words))
        assert text == words
        self.inner.write(text)
        assert self.net.run(until=lambda: self.outer.available >= len(words), limit_ms=2_000), (
            "the friend hears nothing"
        )
        assert self.outer.read(len(words)) == words
        self.net.run(limit_ms=100)
        check(self.stack.tcp)


class Foe:
    """One connection of the attacker's. `c` is our end of it; sequence numbers count from both initial ones."""

    def __init__(self, siege: Siege, port: int, iss: int, options: bytes | None) -> None:
        self.siege = siege
        self.port = port
        self.iss = iss
        self.options = encode_syn(1460, 7, True, None) if options is None else options
        self.c: Connection

    def open(self, wnd: int = 65_535) -> None:
        """SYN, and ACK of the SYN and ACK; `wnd` is the field of the latter."""
        siege = self.siege
        siege.tcp("S", sport=self.port, seq=self.iss, options=self.options)
        self.c = siege.stack.tcp.connections[(OURS, OPEN, FOE, self.port)]
        options = encode_timestamps(self.c.ts_recent, self.c.ts_now()) if self.c.ts_ok else b""
        assert self.send("A", seq=1, ack=1, wnd=wnd, options=options) == []
        assert self.c.state == ESTABLISHED

    def emit(self, flags: str, *, seq: int = 1, ack: int | None = None, **more: Any) -> None:
        """A segment in the connection; by default it acknowledges all that was sent."""
        acknowledges = self.c.snd_nxt if ack is None else self.c.iss + ack
        numbers = (self.iss + seq, acknowledges if "A" in flags else 0, bits(flags), more.pop("wnd", 65_535))
        self.siege.burst([ip_packet(FOE, OURS, TCP, tcp_segment(FOE, OURS, self.port, OPEN, *numbers, **more))])

    def send(self, flags: str, **more: Any) -> list[Heard]:
        """`emit`, and what left since the last look."""
        self.emit(flags, **more)
        return self.heard()

    def relative(self, each: Heard) -> Heard:
        """A segment of ours, its numbers counted from the initial ones."""
        ack = (each.ack - self.iss) & MASK if "A" in each.flags else 0
        return each._replace(seq=(each.seq - self.c.iss) & MASK, ack=ack)

    def heard(self) -> list[Heard]:
        """What left since the last look."""
        return [self.relative(heard(packet)) for packet in self.siege.answers()]

    def write(self, data: bytes) -> list[Heard]:
        """Our application writes; what leaves at once."""
        self.siege.net.enter(self.siege.host)
        self.c.write(data)
        self.siege.net.collect(self.siege.host)
        return self.heard()

    def after(self, ms: float) -> list[Heard]:
        """Time passes; what leaves meanwhile."""
        self.siege.after(ms)
        return self.heard()

    def take(self, octets: int, seq: int = 1) -> bytes:
        """The first `octets` of our text, as a plain receiver has them from what leaves from now on, and asks for."""
        text, known = bytearray(octets), bytearray(octets)
        for _ in range(400):
            for packet in self.siege.answers():
                segment = parsed(packet)
                at = (segment.seq - self.c.iss - 1) & MASK
                for n, octet in enumerate(segment.payload, at):
                    text[n], known[n] = octet, 1
            have = known.find(0)
            if have < 0:
                break
            self.emit("A", seq=seq, ack=1 + have)
            self.siege.after(250)
        self.emit("A", seq=seq, ack=1 + octets)
        return bytes(text)


__all__ = ["CLOSED_PORT", "ECHO", "FAR", "FOE", "FOE_MAC", "FRIEND", "MILLISECOND", "NOBODY", "OPEN", "OURS", "Foe",
           "Heard", "Siege", "heard", "parsed"]  # fmt: skip
