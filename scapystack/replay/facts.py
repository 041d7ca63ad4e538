"""What a recorded TCP conversation shows of its two sides, gathered packet by packet while a capture is split.

A replay needs to know some things before it begins: what each side offered in its SYN (the stack is set up
to offer the same), how large its window grew, whether its application turned Nagle's algorithm off or asked for
keep-alives; and why a conversation cannot be replayed at all. Numbers count from the initial sequence number,
unwrapped, so that the SYN is 0 and the first octet of the stream 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from scapystack.base.segment import ACK, FIN, RST, SYN, URG, Segment
from scapystack.base.types import Nanoseconds
from scapystack.layers.tcp.ranges import RangeSet

MASK, HALF = 0xFFFFFFFF, 0x80000000


class Counter32:
    """32-bit numbers, counted from `base` and unwrapped: each is taken for the one nearest to the last."""

    __slots__ = ("base", "last")

    def __init__(self, base: int) -> None:
        self.base = base
        self.last = 0

    def __call__(self, number: int) -> int:
        at = self.near(number)
        self.last = max(self.last, at)
        return at

    def near(self, number: int) -> int:
        """The same, and `last` stays."""
        return self.last + ((number - self.base - self.last + HALF) & MASK) - HALF


class TcpSide:
    """One side of a recorded TCP conversation."""

    def __init__(self) -> None:
        self.syn: Segment | None = None
        self.count: Counter32 | None = None  # of its sequence numbers
        self.octets = RangeSet()  # of its stream that are in the capture
        self.top = 0  # past all that it sent, SYN and FIN included
        self.acknowledged = 0  # by the other side
        self.fin: int | None = None
        self.resets = 0
        self.resets_after_fin = 0
        self.packets = 0
        self.spoken = 0  # its packets up to the last that was no RST: one before that is a stranger's
        self.lost: set[int] = set()  # which packets of the conversation never arrived, though they were captured
        self.damaged = 0
        self.broken: set[int] = set()  # which packets of the conversation were damaged on their way
        self.largest = 0
        self.window = 0  # the largest it offered, in octets
        self.closed_window = False  # what it offers now is nothing
        self.nodelay = False
        self.urgent = False
        self.keepalive_idle: Nanoseconds = 0
        self.keepalive_interval: Nanoseconds = 0
        self._probed_at: Nanoseconds = 0
        self._flight: deque[tuple[int, int, int]] = deque()  # not acknowledged: start, end, which packet

    @property
    def wscale(self) -> int:
        """The shift that its SYN offers."""
        return self.syn.wscale or 0 if self.syn is not None else 0

    @property
    def missing(self) -> int:
        """Octets of its stream that the other side has acknowledged and the capture lacks."""
        end = self.acknowledged - (self.fin is not None and self.acknowledged > self.fin)
        return max(0, end - 1 - self.octets.overlap(1, max(end, 1)))

    def sent(self, start: int, end: int, which: int) -> None:
        """A packet that takes numbers. Sent before, and nobody has said that it came: then that one was lost."""
        if start < self.top:
            again = [each for each in self._flight if start <= each[0] < end]
            if again:
                self.lost.update(packet for _, _, packet in again)
                self._flight = deque(each for each in self._flight if not start <= each[0] < end)
        self._flight.append((start, end, which))
        self.top = max(self.top, end)

    def heard(self, acknowledged: int, blocks: Sequence[tuple[int, int]]) -> None:
        """The other side has received all before `acknowledged`, and these."""
        flight = self._flight
        self.acknowledged = max(self.acknowledged, acknowledged)
        while flight and flight[0][0] < self.acknowledged:
            flight.popleft()
        if blocks and flight:
            here = [each for each in flight if not any(a <= each[0] < b for a, b in blocks)]
            if len(here) < len(flight):
                self._flight = deque(here)


class TcpFacts:
    """Both sides: `opener` sent the first SYN."""

    def __init__(self) -> None:
        self.opener = TcpSide()
        self.other = TcpSide()
        self.cut_off = 0  # packets that the snap length cut
        self.scaled = False
        self.timestamps = False
        self._last_at: Nanoseconds = 0
        self._packets = 0

    @property
    def over(self) -> bool:
        """Whether the connection has come to its end: both FINs, or a RST."""
        a, b = self.opener, self.other
        return bool(a.resets or b.resets) or (a.fin is not None and b.fin is not None)

    def begins_anew(self, seg: Segment, by_opener: bool) -> bool:
        """Whether this is the first SYN of another connection between the same ports."""
        if seg.flags & (SYN | ACK) != SYN:
            return False
        side = self.opener if by_opener else self.other
        if side.syn is None:
            return self.over
        return seg.seq != side.syn.seq and (self.over or not self.other.packets)

    def add(self, seg: Segment, by_opener: bool, at: Nanoseconds, damaged: bool, cut_off: int) -> None:
        """Take the next packet of the capture."""
        side, peer = (self.opener, self.other) if by_opener else (self.other, self.opener)
        which = self._packets
        self._packets += 1
        side.packets += 1
        side.damaged += damaged
        if damaged and side.damaged * 2 <= side.packets:
            side.broken.add(which)
        else:
            damaged = False  # most of this side's are so: a card was left to make the checksums
        flags = seg.flags
        self.cut_off += bool(cut_off)
        if strange(seg, side.syn):
            return
        if flags & SYN and side.syn is None:
            self._syn(side, seg)
        if side.count is None:
            side.resets += bool(flags & RST)
            self._last_at = at
            return
        if flags & RST:
            side.resets += 1
            side.resets_after_fin += side.fin is not None
        else:
            side.resets = side.resets_after_fin = 0
            side.spoken = side.packets
        start = side.count(seg.seq)
        self._sent(side, peer, seg, start, at, damaged, which)
        if flags & ACK and peer.count is not None:
            peer.heard(peer.count.near(seg.ack), [(peer.count.near(a), peer.count.near(b)) for a, b in seg.sack])
        if not flags & (SYN | RST):
            window = seg.wnd << side.wscale if self.scaled else seg.wnd
            side.window = max(side.window, window)
            side.closed_window = not window
        elif flags & SYN:
            side.window = max(side.window, seg.wnd)
        self._last_at = at

    def _syn(self, side: TcpSide, seg: Segment) -> None:
        side.syn = seg
        seg.payload = bytes(seg.payload)  # a view of the capture must not stay
        side.count = Counter32(seg.seq)
        a, b = self.opener.syn, self.other.syn
        self.scaled = a is not None and b is not None and a.wscale is not None and b.wscale is not None
        self.timestamps = a is not None and b is not None and a.tsval is not None and b.tsval is not None

    def _sent(
        self, side: TcpSide, peer: TcpSide, seg: Segment, start: int, at: Nanoseconds, damaged: bool, which: int
    ) -> None:
        flags = seg.flags
        length = len(seg.payload)
        first = start + bool(flags & SYN)  # of the text
        if flags & (SYN | FIN | RST) == 0 and length <= 1 and start == side.top - 1 > 0 and not peer.closed_window:
            self._keepalive(side, at)
        if length and not flags & RST:
            if not damaged:
                side.octets.add(first, first + length)
            full = _full(peer)
            if length < full and side.top > side.acknowledged > 0 and first >= side.top and not peer.closed_window:
                side.nodelay = True
            side.largest = max(side.largest, length)
        side.urgent |= bool(flags & URG)
        if flags & FIN and not damaged:
            side.fin = first + length
        if flags & (SYN | ACK) == SYN | ACK and side.syn is not None and not side.syn.flags & ACK:
            return  # of a simultaneous open: the SYN before has arrived
        if seg.length and not flags & RST and not damaged:
            side.sent(start, start + seg.length, which)

    def _keepalive(self, side: TcpSide, at: Nanoseconds) -> None:
        """A probe: how long was it quiet before?"""
        if not side.keepalive_idle:
            side.keepalive_idle = at - self._last_at
        elif side._probed_at == self._last_at and not side.keepalive_interval:
            side.keepalive_interval = at - side._probed_at  # nobody has answered the one before
        side._probed_at = at

    # -- what follows ----------------------------------------------------------------------------------

    def why_not(self, as_opener: bool) -> str:
        """Why the stack cannot take the part of the opener, or of the other side; "" if it can."""
        opener, other = self.opener, self.other
        if opener.syn is None or (other.syn is None and other.packets and not other.resets):
            return "no handshake: the capture begins in the middle of the connection"
        if self.cut_off:
            return f"{_packets(self.cut_off)} cut by the snap length (capture with -s 0)"
        if not as_opener and not other.packets and not opener.lost:
            return "nobody answers the SYN, and it is not sent again"
        for side, name in ((opener, "the client"), (other, "the server")):
            if side.missing and other.syn is not None:
                return f"a gap: {side.missing:,} octets that {name} sent are not in the capture"
        return ""


def strange(seg: Segment, syn: Segment | None) -> bool:
    """Whether somebody else must have sent this SYN: the side's own has another number."""
    return bool(seg.flags & SYN) and syn is not None and seg.seq != syn.seq


def _full(peer: TcpSide) -> int:
    """What a full segment to `peer` carries at least."""
    mss = peer.syn.mss if peer.syn is not None and peer.syn.mss is not None else 536
    return mss - 12 - 28


def _packets(n: int) -> str:
    return "1 packet" if n == 1 else f"{n} packets"
