"""A TCP layer alone in the dark: no IP, no link, no clock. Tests play its peer, segment by segment.

    wire = TcpWire()
    c = wire.established()                      # a connection past its handshake
    wire.send(c, "A", payload=b"hello")         # the peer's segment, relative numbers, ACKs all by default
    wire.expect("A ack=6")                      # exactly this leaves, and then nothing

`wire.reach(CLOSING)` gives a connection in any state. A line of `expect` names flags and those fields
that matter: `seq` and `ack` count from the initial sequence numbers, `len`, `wnd`, `mss`, `ws`, `sack`.
Time moves with `wire.after(ms=40)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapystack.base.addr import ip
from scapystack.base.checksum import sum_parts
from scapystack.base.core import Core
from scapystack.base.datagram import Datagram, IcmpError, Route
from scapystack.base.errors import os_error
from scapystack.base.iface import Interface
from scapystack.base.rng import Rng
from scapystack.base.segment import Segment, flags_text
from scapystack.base.types import MILLISECOND, SECOND, Address, Buffer
from scapystack.codec import make_codec
from scapystack.layers.tcp.demux import Tcp
from scapystack.layers.tcp.listen import Listener
from scapystack.layers.tcp.options import encode, encode_syn, parse_options
from scapystack.layers.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from scapystack.layers.tcp.tcb import Options, Tcb
from scapystack.layers.tcp.user import Connection
from scapystack.testing import Offer, Script, Transcript
from scapystack.testing.compare import Row, rows_of_line
from scapystack.testing.transcript import SHOWN
from tests.harness.settings import tcp_config_of

OURS = ip("10.0.0.1")
PEER = ip("10.0.0.2")
PORT = 80
PEER_PORT = 40_000
PEER_ISS = 5_000
FLAGS = {letter: 1 << bit for bit, letter in enumerate("FSRPAUEC")}
MASK = 0xFFFFFFFF
PLAIN = {"timestamps": False, "quick_acks": 0, "mtu_probing": 0, "loss_probes": False, "congestion": "reno"}
"""What a `TcpWire` has unless a test says otherwise: nothing that would mix in."""


class FakeIp:
    """IP as TCP sees it: one interface, one neighbour; what is sent is decoded and kept."""

    def __init__(self, core: Core, mtu: int, gso_max: int) -> None:
        self.core = core
        self.iface = Interface("eth0", b"\2\0\0\0\0\1", mtu=mtu, gso_max=gso_max)
        self.mtu = mtu
        self.sent: list[Segment] = []
        self.kept: list[dict[str, Any]] = []  # how each was sent, its octets included
        self.watchers: list[Callable[[Segment], None]] = []
        self.advised = 0
        self.error = 0

    def route(self, dst: Address, src: Address | None = None) -> Route:
        if self.error:
            raise os_error(self.error)
        return Route(dst, src or OURS, self.iface, dst, self.mtu)

    def fresh(self, route: Route) -> bool:
        return True

    def is_local(self, address: Address) -> bool:
        return address == OURS

    def update_pmtu(self, dst: Address, mtu: int) -> None:
        self.mtu = min(self.mtu, max(mtu, 552))

    def advise(self, route: Route) -> None:
        self.advised += 1

    def send(
        self, route: Route, proto: int, head: bytes, payload: tuple[Buffer, ...] = (), length: int = 0, **how: Any
    ) -> None:
        assert proto == 6
        assert length in (0, len(head) + sum(map(len, payload)))
        sport, dport, seq, ack, dataofs, _, flags, wnd, csum, up = self.core.codec.decode_tcp(head, 0)
        assert dataofs * 4 == len(head)
        size = len(head) + sum(map(len, payload))
        pseudo = sum_parts((route.src, route.dst, bytes([0, 6]), size.to_bytes(4, "big")))
        assert csum == pseudo % 0xFFFF, "the open checksum is the pseudo-header's sum (MUST-2)"
        seg = Segment(route.src, route.dst, sport, dport, seq, ack, flags, wnd, up, b"".join(payload))
        parse_options(head[20:], seg)
        self.sent.append(seg)
        self.kept.append({"head": head, **how})
        for watch in self.watchers:
            watch(seg)


Peer = Offer


class TcpWire(Script[Segment]):
    """One TCP layer, its fake IP, and the peer at the other end. Options such as `msl_ms=5` go to TcpConfig."""

    def __init__(
        self,
        *,
        mtu: int = 1500,
        gso_max: int = 0,
        peer: Peer | None = None,
        seed: int = 1,
        told: int = SHOWN,
        **config: Any,
    ) -> None:
        """`told` lines of a transcript are kept for failures; 0 where a test counts what is kept."""
        self.config = tcp_config_of(**{**PLAIN, **config})
        self.core = Core(self.config, make_codec("compiled"), Rng(seed))
        self.core.now = 1000 * SECOND
        super().__init__(Transcript(self.tell, self.core.now, limit=told))
        self.ip = FakeIp(self.core, mtu, gso_max)
        self.tcp = Tcp(self.core, self.ip)
        self.peer = peer or Peer()
        self.peer_ts = 100
        self.states: list[tuple[int, int]] = []
        self.known: dict[tuple[int, int], Tcb] = {}  # the latest connection of each pair of ports
        self.tcp.observers.append(self._moved)
        self.ip.watchers.append(lambda seg: self.transcript.note(self.core.now, "stack", seg))

    def _moved(self, c: Tcb, old: int, new: int) -> None:
        self.states.append((old, new))
        if old == CLOSED:
            self.known[(c.local_port, c.remote_port)] = c

    # -- time ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """The output pass that a driver makes after a burst."""
        self.tcp.flush()

    def after(self, *, ms: float = 0) -> None:
        """Let time pass, stopping at every deadline on the way as a driver would."""
        end = self.core.now + int(ms * MILLISECOND)
        while True:
            at = self.core.timers.next_deadline()
            if at is None or at > end:
                break
            self.core.now = max(at, self.core.now)
            self.core.timers.expire(self.core.now)
            self.flush()
        self.core.now = end

    def deadline_ms(self) -> float | None:
        """How far away the next deadline is."""
        at = self.core.timers.next_deadline()
        return None if at is None else (at - self.core.now) / MILLISECOND

    # -- what the peer sends -----------------------------------------------------------------------------

    def arrives(self, seg_bytes: bytes, *, src: Address = PEER, dst: Address = OURS, **how: Any) -> None:
        """A TCP segment as raw octets, its checksum as it stands."""
        view = memoryview(seg_bytes)
        options = how.pop("ip_options", b"")
        self.tcp.input(Datagram(src, dst, 6, view, view, self.ip.iface, options=options, **how))

    def raw(
        self, flags: str, seq: int, ack: int, *, wnd: int = 65_535, up: int = 0, payload: bytes = b"",
        options: bytes = b"", sport: int = PEER_PORT, dport: int = PORT, src: Address = PEER, dst: Address = OURS,
        bad_checksum: bool = False, dataofs: int | None = None, **how: Any,
    ) -> None:  # fmt: skip
        """A segment with absolute numbers; processed, and nothing flushed."""
        options += b"\0" * (-len(options) % 4)
        offset = dataofs if dataofs is not None else (20 + len(options)) // 4
        bits = sum(FLAGS[f] for f in flags if f != ".")
        fields = (sport, dport, seq & MASK, ack & MASK, offset, 0, bits, wnd)
        body = options + payload
        pseudo = src + dst + bytes([0, 6]) + (20 + len(body)).to_bytes(2, "big")
        head = self.core.codec.encode_tcp(*fields, 0, up)
        total = sum_parts((pseudo, head, body))
        csum = (0xFFFF - total) ^ (0x5555 if bad_checksum else 0)
        seg = Segment(src, dst, sport, dport, seq & MASK, ack & MASK, bits, wnd, up, payload)
        parse_options(options, seg)
        self.transcript.note(self.core.now, "peer", seg)
        self.arrives(self.core.codec.encode_tcp(*fields, csum, up) + body, src=src, dst=dst, **how)

    def send(
        self, c: Connection, flags: str, *, seq: int | None = None, ack: int | None = None, payload: bytes = b"",
        wnd: int = 65_535, flush: bool = True, tsval: int | None = None, tsecr: int | None = None,
        options: bytes | None = None, sack: tuple[tuple[int, int], ...] = (), **more: Any,
    ) -> None:  # fmt: skip
        """A segment of the peer of `c`. `seq` and `ack` are relative; by default the next and all that was sent."""
        absolute_seq = c.rcv_nxt if seq is None else (c.irs + seq) & MASK
        absolute_ack = c.snd_nxt if ack is None else (c.iss + ack) & MASK
        if options is None:
            stamps = None
            if c.ts_ok:
                self.peer_ts += 1
                stamps = (self.peer_ts if tsval is None else tsval & MASK, c.ts_now() if tsecr is None else tsecr)
            blocks = [((c.iss + a) & MASK, (c.iss + b) & MASK) for a, b in sack]
            options = encode(stamps, blocks) if stamps or blocks else b""
        self.raw(
            flags, absolute_seq, absolute_ack if "A" in flags else 0, wnd=wnd, payload=payload, options=options,
            sport=c.remote_port, dport=c.local_port, **more,
        )  # fmt: skip
        if flush:
            self.flush()

    def syn_options(self) -> bytes:
        p = self.peer
        stamps = (self.peer_ts, 0) if p.timestamps else None
        if p.mss is None and p.wscale is None and not p.sack and stamps is None:
            return b""
        if p.mss is None:
            return b""
        return encode_syn(p.mss, p.wscale, p.sack, stamps)

    # -- opening -----------------------------------------------------------------------------------------

    def listen(self, port: int = PORT, backlog: int = 8) -> Listener:
        return self.tcp.listen(OURS, port, backlog)

    def syn(self, *, seq: int = PEER_ISS, sport: int = PEER_PORT, **more: Any) -> None:
        """The peer's SYN to our port, and the output pass."""
        more.setdefault("options", self.syn_options())
        more.setdefault("wnd", self.peer.wnd)
        self.raw("S", seq, 0, sport=sport, **more)
        self.flush()

    def connection(self, sport: int = PEER_PORT, dport: int = PORT) -> Connection:
        return self.tcp.connections[(OURS, dport, PEER, sport)]

    def established(
        self, *, passive: bool = True, wnd: int = 65_535, listener: Listener | None = None, rtt_ms: float = 0
    ) -> Connection:
        """A connection past its handshake, nothing left to send. With window scaling, `wnd` is the raw field.

        `rtt_ms` is how long the handshake took; 0 ms leaves RACK no time to wait for what was overtaken.
        """
        if passive:
            listener = listener or self.listen()
            self.syn()
            c = self.connection()
            self.after(ms=rtt_ms)
            self.send(c, "A", wnd=wnd)
            accepted = listener.accept()
            assert accepted is c
        else:
            c = self.connect()
            self.send_syn_ack(c)
            if wnd != self.peer.wnd:
                self.send(c, "A", wnd=wnd)
        assert c.state == ESTABLISHED
        self.clear()
        return c

    def reach(self, state: int) -> Connection:
        """A connection in this state (SYN-SENT on), nothing left to send; the peer's next octet is `rcv_nxt`."""
        if state == SYN_SENT:
            c = self.connect()
        elif state == SYN_RECEIVED:
            self.listen()
            self.syn()
            c = self.connection()
        else:
            c = self.established()
        if state in (FIN_WAIT_1, FIN_WAIT_2, CLOSING, TIME_WAIT):
            c.shutdown_write()
            self.flush()
        if state in (FIN_WAIT_2, TIME_WAIT):
            self.send(c, "A")
        if state in (CLOSE_WAIT, LAST_ACK, CLOSING, TIME_WAIT):
            self.send(c, "FA", ack=2 if state == TIME_WAIT else 1)
        if state == LAST_ACK:
            c.shutdown_write()
            self.flush()
        self.clear()
        assert c.state == state
        return c

    def connect(self, options: Options | None = None) -> Connection:
        """An active open, its SYN sent."""
        c = self.tcp.connect(PEER, PORT, local_port=PEER_PORT, options=options)
        c.on_ready = lambda: None
        self.flush()
        return c

    def send_syn_ack(self, c: Connection) -> None:
        self.raw(
            "SA", PEER_ISS, c.snd_nxt, options=self.syn_options(), wnd=self.peer.wnd, sport=c.remote_port,
            dport=c.local_port,
        )  # fmt: skip
        self.flush()

    def icmp(
        self,
        c: Connection,
        type_: int,
        code: int,
        errno_: int,
        *,
        hard: bool = False,
        mtu: int = 0,
        seq: int | None = None,
    ) -> None:
        """An ICMP error that quotes a segment of `c` (relative `seq`, SND.UNA by default)."""
        absolute = c.snd_una if seq is None else (c.iss + seq) & MASK
        quote = c.local_port.to_bytes(2, "big") + c.remote_port.to_bytes(2, "big") + absolute.to_bytes(4, "big")
        self.tcp.icmp_error(IcmpError(type_, code, PEER, OURS, PEER, 6, quote, errno_, hard, mtu))
        self.flush()

    # -- what leaves -------------------------------------------------------------------------------------

    def clear(self) -> None:
        self.ip.sent.clear()
        self.ip.kept.clear()

    def take(self) -> list[Segment]:
        """The segments that left since the last look."""
        sent = list(self.ip.sent)
        self.clear()
        return sent

    def expect(self, *lines: str) -> list[Segment]:
        """Exactly these segments have left, in this order. Returns them."""
        sent = self.take()
        self.compare(lines, sent)
        return sent

    def expect_nothing(self) -> None:
        self.expect()

    def _relative(self, s: Segment) -> tuple[int, int]:
        c = self.known.get((s.sport, s.dport))
        if c is not None:
            return (s.seq - c.iss) & MASK, (s.ack - c.irs) & MASK if s.flags & 0x10 else 0
        c = self.known.get((s.dport, s.sport))  # the peer's
        if c is not None:
            return (s.seq - c.irs) & MASK, (s.ack - c.iss) & MASK if s.flags & 0x10 else 0
        return s.seq, s.ack

    def fields(self, s: Segment) -> dict[str, object]:
        seq, ack = self._relative(s)
        return {
            "seq": seq, "ack": ack, "len": len(s.payload), "wnd": s.wnd, "mss": s.mss, "ws": s.wscale, "up": s.up,
            "sack": s.sack, "sackok": s.sack_permitted, "ts": s.tsval is not None, "tsecr": s.tsecr,
        }  # fmt: skip

    def rows(self, wanted: str, thing: Segment) -> list[Row]:
        return rows_of_line(wanted, flags_text(thing.flags), self.fields(thing))

    def tell(self, thing: Segment) -> str:
        return " ".join([flags_text(thing.flags), *(f"{k}={v}" for k, v in self.fields(thing).items())])
