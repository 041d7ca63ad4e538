"""What a conversation shows of one side's sending: what was new and what was sent again, and how it was answered.

Everything is judged from where the capture was made: a segment that was lost before it came there was never
sent, as far as anybody can see. Read `flow` first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scapystack.base.segment import CWR, ECE, FIN, RST, SYN, URG
from scapystack.layers.tcp.ranges import RangeSet
from scapystack.plot.flow import Flow, Seen

NEW, AGAIN, LATE, PROBE, KEEPALIVE = "new", "again", "late", "probe", "keep-alive"
"""What a segment with text (or SYN, or FIN) is: new; sent again; out of order, behind what came later; a window
probe; a keep-alive probe."""

Points = list[tuple[float, float]]


@dataclass
class Direction:
    """One side's sending, and the other side's answers to it. Times in seconds, the rest in octets."""

    sent: list[tuple[Seen, str]] = field(default_factory=list)  # with what it is
    marks: list[tuple[float, int, str]] = field(default_factory=list)  # SYN, FIN, RST, U, CWR: when, where
    acks: Points = field(default_factory=list)  # how far it is acknowledged
    edges: Points = field(default_factory=list)  # how far the window reaches
    third: Points = field(default_factory=list)  # where the third duplicate ACK came
    closed: Points = field(default_factory=list)  # where the window was closed
    sacks: list[tuple[float, int, int, bool, bool]] = field(default_factory=list)
    """When, from, to, whether it is a D-SACK, whether it is the block that the ACK tells of first."""
    flight: Points = field(default_factory=list)
    windows: Points = field(default_factory=list)
    rtts: Points = field(default_factory=list)  # seconds

    def of(self, *kinds: str) -> list[Seen]:
        """The segments of these kinds."""
        return [seen for seen, kind in self.sent if kind in kinds]


class _Walk:
    """Goes through a flow once; what must be remembered on the way."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.found = Direction()
        self.octets = RangeSet()
        self.top = 0
        self.acked = 0
        self.edge = 0
        self.window = -1  # what was offered last
        self.duplicates = 0
        self.waiting: list[tuple[int, float, int | None, bool]] = []  # for an ACK: end, when, TSval, sent again

    def take(self, seen: Seen) -> None:
        if seen.side == self.side:
            self._ours(seen)
        else:
            self._theirs(seen)

    def _ours(self, seen: Seen) -> None:
        found = self.found
        for bit, name in ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (URG, "U"), (CWR, "CWR")):
            if seen.flags & bit and not (bit == CWR and seen.flags & SYN):
                found.marks.append((seen.at, seen.end, name))
        probes = seen.start == self.acked - 1 and seen.length <= 1 and not seen.flags & (SYN | FIN)
        if seen.flags & RST or (seen.end == seen.start and not probes):
            return
        kind = (KEEPALIVE if self.window else PROBE) if probes else self._kind(seen)
        found.sent.append((seen, kind))
        if probes:
            return
        self.waiting.append((seen.end, seen.at, seen.tsval, kind == AGAIN))
        self.octets.add(seen.start, seen.end)
        self.top = max(self.top, seen.end)
        found.flight.append((seen.at, self.top - self.acked))

    def _kind(self, seen: Seen) -> str:
        if self.window == 0 and seen.start >= self.edge - 1 and not seen.flags & SYN:
            return PROBE
        if seen.start >= self.top:
            return NEW
        return AGAIN if self.octets.overlap(seen.start, seen.end) else LATE

    def _theirs(self, seen: Seen) -> None:
        found, ack = self.found, seen.ack
        if seen.flags & ECE and not seen.flags & SYN:
            found.marks.append((seen.at, ack or 0, "ECE"))
        if ack is None or seen.flags & RST:
            return
        if ack > self.acked:
            self._round_trip(seen, ack)
            self.acked = ack
            self.duplicates = 0
        elif ack == self.acked < self.top and not seen.end - seen.start and seen.window == self.window:
            self.duplicates += 1
            if self.duplicates == 3:
                found.third.append((seen.at, ack))
        self.window = seen.window
        self.edge = max(self.edge, ack + seen.window)
        found.acks.append((seen.at, self.acked))
        found.edges.append((seen.at, ack + seen.window))
        found.windows.append((seen.at, seen.window))
        found.flight.append((seen.at, max(self.top - self.acked, 0)))
        if not seen.window:
            found.closed.append((seen.at, ack))
        for n, (left, right) in enumerate(seen.sack):
            # RFC 2883 section 4: the first block, below the ACK or inside of the second
            inside = len(seen.sack) > 1 and seen.sack[1][0] <= left and right <= seen.sack[1][1]
            twice = n == 0 and (right <= ack or inside)
            first = n == 0 or (n == 1 and found.sacks[-1][3])
            found.sacks.append((seen.at, left, right, twice, first))

    def _round_trip(self, seen: Seen, ack: int) -> None:
        """Of what an ACK covers, the last that was sent: if once, or if the timestamp tells which time it was."""
        covered = [each for each in self.waiting if each[0] <= ack]
        self.waiting = [each for each in self.waiting if each[0] > ack]
        if not covered:
            return
        end, _, _, _ = max(covered)
        times = [each for each in covered if each[0] == end]
        if len(times) > 1 or times[0][3]:
            times = [each for each in times if each[2] is not None and each[2] == seen.tsecr]
        if len(times) == 1:
            self.found.rtts.append((seen.at, seen.at - times[0][1]))


def analysed(flow: Flow, side: int) -> Direction:
    """What `side` has sent, and how that was answered."""
    walk = _Walk(side)
    for seen in flow.seen:
        walk.take(seen)
    return walk.found


def rates(flow: Flow, side: int, bins: int = 80) -> tuple[float, list[tuple[float, float, float]]]:
    """The width of an interval in seconds, and for each: when it begins, octets of new text and of text sent again.

    Intervals are a round number of milliseconds, about `bins` in all.
    """
    width = _round(max(flow.lasts, 1e-3) / bins)
    slots = [[0.0, 0.0] for _ in range(int(flow.lasts / width) + 1)]
    for seen, kind in analysed(flow, side).sent:
        slots[int(seen.at / width)][kind not in (NEW, LATE)] += seen.length
    return width, [(n * width, new, again) for n, (new, again) in enumerate(slots)]


def _round(span: float) -> float:
    """1, 2 or 5 times a power of ten that is no less."""
    power = 1e-6
    while True:
        for factor in (1, 2, 5):
            if factor * power >= span:
                return factor * power
        power *= 10
