"""`ImpairedLink`: a link that loses, repeats, reorders, damages, delays and marks frames, by a seed.

Each way has its own `Impairment`: chances, a delay, a rate, and rules that pick frames ("drop the third
SYN"). Same seed and same frames at the same times: the same faults. Super-segments are cut first, so
that single segments suffer, unless `whole`. Frames that wait here leave by the driver's clock, real or
virtual. Read `link.base` first.

    link = ImpairedLink(inner, seed=7, tx=Impairment(loss=0.01), rx=Impairment(delay_ms=20))
    link.tx.rule(drop, tcp("S"), skip=2, count=1)            # the third SYN that we send is lost
    link.rx.rule(drop, lambda f: f.packet[IP].ttl == 1)      # Scapy sees what it looks at
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TypeAlias

from scapystack.base.checksum import finish
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.offload import finish_frame, split
from scapystack.base.rng import Rng
from scapystack.base.types import MILLISECOND, SECOND, Nanoseconds
from scapystack.link.base import Link, WrappedLink

Predicate: TypeAlias = Callable[[Frame], object]
"""Whether a rule means this frame. An IndexError (`frame.packet[TCP]` of an ARP packet) is a no."""
Action: TypeAlias = Callable[[Frame, Rng], list[tuple[Frame, Nanoseconds]]]
"""What becomes of a frame: any number of frames, each with a delay (ns)."""

_IPV4 = b"\x08\x00"
_ECN = {_IPV4: 0x03, b"\x86\xdd": 0x30}
"""Where the ECN field stands in the second octet of a packet: of IPv4's type of service, of IPv6's traffic class."""


def drop(frame: Frame, rng: Rng) -> list[tuple[Frame, Nanoseconds]]:
    """Lose it."""
    return []


def duplicate(frame: Frame, rng: Rng) -> list[tuple[Frame, Nanoseconds]]:
    """Pass it twice."""
    return [(frame, 0), (_copy(frame), 0)]


def corrupt(frame: Frame, rng: Rng) -> list[tuple[Frame, Nanoseconds]]:
    """Turn one bit behind the Ethernet header."""
    octets = bytearray(finish_frame(frame).data)
    first = min(14, len(octets) - 1)
    octets[first + rng.below(len(octets) - first)] ^= 1 << rng.below(8)
    damaged = Frame(bytes(octets), (), frame.iface)
    damaged.at = frame.at
    return [(damaged, 0)]


def mark(frame: Frame, rng: Rng) -> list[tuple[Frame, Nanoseconds]]:
    """Have it say that it met congestion (CE), as a router does instead of losing it (RFC 3168 section 5).

    Only a packet that is marked ECT (or CE) may be: any other passes as it is.
    """
    return [(_congested(frame), 0)]


def _congested(frame: Frame) -> Frame:
    """The frame with CE; itself where that cannot be, or is so already."""
    head = frame.head
    kind = bytes(head[12:14])
    if kind not in _ECN or len(head) < 34:
        return frame
    ce = _ECN[kind]
    field = head[15] & ce
    if field in (0, ce):
        return frame
    octets = bytearray(head)
    octets[15] |= ce
    if kind == _IPV4:  # RFC 1624: what one word grows by, the sum does
        octets[24:26] = finish((0xFFFF ^ int.from_bytes(octets[24:26], "big")) + ce - field).to_bytes(2, "big")
    marked = Frame(
        bytes(octets), frame.payload, frame.iface, frame.csum, frame.csum_start, frame.csum_offset, frame.gso_size
    )
    marked.at = frame.at
    return marked


def delay(ms: float) -> Action:
    """Let it arrive that much later; others overtake it."""
    span = round(ms * MILLISECOND)
    return lambda frame, rng: [(frame, span)]


def replace(make: Callable[[Frame], Frame | Sequence[Frame]]) -> Action:
    """Pass what `make` makes of it instead."""

    def action(frame: Frame, rng: Rng) -> list[tuple[Frame, Nanoseconds]]:
        made = make(frame)
        return [(each, 0) for each in ([made] if isinstance(made, Frame) else made)]

    return action


def tcp(flags: str = "", *, port: int = 0) -> Predicate:
    """TCP segments over IPv4 with exactly these flags (Scapy's letters, `SA`; "" for any), to or from `port`."""
    wanted = sum(1 << "FSRPAUEC".index(letter) for letter in flags)

    def predicate(frame: Frame) -> bool:
        octets = frame.data
        if len(octets) < 54 or octets[12:14] != _IPV4 or octets[23] != 6:
            return False
        l4 = 14 + (octets[14] & 15) * 4
        if flags and octets[l4 + 13] != wanted:
            return False
        number = port.to_bytes(2, "big")
        return not port or number in (octets[l4 : l4 + 2], octets[l4 + 2 : l4 + 4])

    return predicate


def _copy(frame: Frame) -> Frame:
    copy = Frame(
        frame.head, frame.payload, frame.iface, frame.csum, frame.csum_start, frame.csum_offset, frame.gso_size
    )
    copy.at = frame.at
    return copy


@dataclass(slots=True)
class Rule:
    """An action for the frames that a predicate picks, after the first `skip`, and `count` times at most."""

    action: Action
    predicate: Predicate
    skip: int = 0
    count: int | None = None
    hits: int = 0
    """Frames that it acted on."""
    _met: int = 0

    def applies(self, frame: Frame) -> bool:
        """Whether to act on this frame; counts."""
        if self.count is not None and self.hits >= self.count:
            return False
        try:
            if not self.predicate(frame):
                return False
        except IndexError:
            return False
        self._met += 1
        if self._met <= self.skip:
            return False
        self.hits += 1
        return True


@dataclass(slots=True)
class Impairment:
    """What one way of a link does to frames. Chances are from 0 to 1 and are drawn for each frame.

    A frame of a rule that applies (the first one) suffers nothing else but the delay and the rate. A
    reordered frame is held back until `reorder_by` later ones have passed it, or for 20 ms. `rate` is
    in octets a second; a frame that would wait for the line longer than `queue_ms` is lost, and one that
    waits longer than `mark_ms` (0: for ever) is marked CE if its sender does ECN. `mark` is a chance of that.

    With `burst` losses come in runs of that mean length (1 or more), the share of lost frames being
    `loss` still: Gilbert's model, two states of which one loses everything. A run is over, too, when no
    frame has come for 100 ms, for what disturbs a path passes with time. 0: each frame by itself.
    """

    loss: float = 0.0
    burst: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_by: int = 3
    corrupt: float = 0.0
    mark: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    rate: int = 0
    queue_ms: float = 100.0
    mark_ms: float = 0.0
    rules: list[Rule] = field(default_factory=list)
    lost: int = 0
    """Frames that did not pass, for whatever reason."""
    marked: int = 0
    """Frames that `mark` and `mark_ms` have marked CE."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "corrupt", "mark"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a chance from 0 to 1, not {getattr(self, name)}")
        if min(self.delay_ms, self.jitter_ms, self.rate, self.queue_ms, self.mark_ms) < 0 or self.reorder_by < 1:
            raise ConfigError("delay, jitter, rate, queue and mark_ms cannot be negative; reorder_by is 1 or more")
        if self.burst and not (self.burst >= 1 and self.loss * (1 + self.burst) <= self.burst):
            raise ConfigError(f"a loss of {self.loss} cannot come in runs of {self.burst} frames on average")

    def rule(self, action: Action, predicate: Predicate, *, skip: int = 0, count: int | None = None) -> Rule:
        """Add a rule; the first that applies to a frame acts."""
        rule = Rule(action, predicate, skip, count)
        self.rules.append(rule)
        return rule


_REORDER_NS = 20 * MILLISECOND
_BURST_NS = 100 * MILLISECOND


class _Way:
    """One direction: frames in by `accept`, out by `take` once they are due, in order of their time."""

    __slots__ = ("_came_at", "_count", "_held", "_in_burst", "_line_free_at", "_rng", "_waiting", "impairment")

    def __init__(self, impairment: Impairment, rng: Rng) -> None:
        self.impairment = impairment
        self._rng = rng
        self._waiting: list[tuple[Nanoseconds, int, Frame]] = []
        self._held: list[tuple[int, Nanoseconds, Frame]] = []  # frames still to pass it, deadline, frame
        self._line_free_at: Nanoseconds = 0
        self._in_burst = False
        self._came_at: Nanoseconds = 0
        self._count = 0

    def accept(self, frame: Frame, now: Nanoseconds) -> None:
        """Decide a frame's fate."""
        fate = self._fate(frame, now)
        if not fate:
            self.impairment.lost += 1
        for each, wait in fate:
            self._line_up(each, now, wait)

    def _fate(self, frame: Frame, now: Nanoseconds) -> list[tuple[Frame, Nanoseconds]]:
        impairment, rng = self.impairment, self._rng
        for rule in impairment.rules:
            if rule.applies(frame):
                return rule.action(frame, rng)
        if impairment.loss and self._is_lost(impairment, now):
            return []
        if impairment.corrupt and rng.chance(impairment.corrupt):
            return corrupt(frame, rng)
        if impairment.duplicate and rng.chance(impairment.duplicate):
            return duplicate(frame, rng)
        if impairment.mark and rng.chance(impairment.mark):
            frame = self._mark(frame)
        return [(frame, 0)]

    def _mark(self, frame: Frame) -> Frame:
        marked = _congested(frame)
        self.impairment.marked += marked is not frame
        return marked

    def _is_lost(self, impairment: Impairment, now: Nanoseconds) -> bool:
        """Draw: by itself, or one step of Gilbert's chain, whose stationary share of the bad state is `loss`."""
        loss, burst = impairment.loss, impairment.burst
        if not burst:
            return self._rng.chance(loss)
        idle, self._came_at = now - self._came_at, now
        if self._in_burst and idle < _BURST_NS:
            self._in_burst = not self._rng.chance(1 / burst)
        else:
            self._in_burst = loss >= 1 or self._rng.chance(loss / (burst * (1 - loss)))
        return self._in_burst

    def _line_up(self, frame: Frame, now: Nanoseconds, wait: Nanoseconds) -> None:
        """Through the bottleneck, then along the delay."""
        impairment = self.impairment
        at = now
        if impairment.rate:
            at = max(at, self._line_free_at)
            if at - now > impairment.queue_ms * MILLISECOND:
                impairment.lost += 1
                return
            if impairment.mark_ms and at - now > impairment.mark_ms * MILLISECOND:
                frame = self._mark(frame)
            at += len(frame) * SECOND // impairment.rate
            self._line_free_at = at
        at += wait + round(impairment.delay_ms * MILLISECOND)
        if impairment.jitter_ms:
            at += self._rng.below(round(impairment.jitter_ms * MILLISECOND) + 1)
        if impairment.reorder and self._rng.chance(impairment.reorder):
            self._held.append((impairment.reorder_by, at + _REORDER_NS, frame))
            return
        self._push(at, frame)
        if self._held:
            self._overtaken(at)

    def _push(self, at: Nanoseconds, frame: Frame) -> None:
        self._count += 1
        heappush(self._waiting, (at, self._count, frame))

    def _overtaken(self, at: Nanoseconds) -> None:
        held, self._held = self._held, []
        for left, deadline, frame in held:
            if left > 1:
                self._held.append((left - 1, deadline, frame))
            else:
                self._push(at, frame)

    def take(self, now: Nanoseconds, limit: int) -> list[Frame]:
        """Up to `limit` frames that are due."""
        if self._held:
            late = [entry for entry in self._held if entry[1] <= now]
            for entry in late:
                self._held.remove(entry)
                self._push(entry[1], entry[2])
        frames: list[Frame] = []
        waiting = self._waiting
        while waiting and len(frames) < limit and waiting[0][0] <= now:
            frames.append(heappop(waiting)[2])
        return frames

    def next_at(self) -> Nanoseconds | None:
        """When the next frame is due."""
        times = [deadline for _, deadline, _ in self._held]
        if self._waiting:
            times.append(self._waiting[0][0])
        return min(times) if times else None


class ImpairedLink(WrappedLink):
    """A link with faults. `rx` and `tx` may be changed, and rules added, while it runs."""

    def __init__(
        self,
        inner: Link,
        *,
        seed: int | bytes = 0,
        rx: Impairment | None = None,
        tx: Impairment | None = None,
        whole: bool = False,
    ) -> None:
        """`rx` is what comes to the stack, `tx` what leaves it; None: nothing happens there."""
        super().__init__(inner)
        rng = Rng(seed)
        self.rx = rx if rx is not None else Impairment()
        self.tx = tx if tx is not None else Impairment()
        self._rx = _Way(self.rx, rng.derive("rx"))
        self._tx = _Way(self.tx, rng.derive("tx"))
        self._whole = whole
        self._now: Nanoseconds = 0

    @property
    def timed(self) -> bool:
        """Always: frames may wait here."""
        return True

    def _pieces(self, frame: Frame) -> Sequence[Frame]:
        if self._whole or not frame.gso_size:
            return (frame,)
        return split(frame)

    def advance(self, now: Nanoseconds) -> None:
        """What time it is; delayed frames of ours that are due go on."""
        self._now = now
        self.inner.advance(now)
        self._send()

    def next_at(self) -> Nanoseconds | None:
        """When a frame that waits here, or in the inner link, is due."""
        times = [at for at in (self._rx.next_at(), self._tx.next_at(), self.inner.next_at()) if at is not None]
        return min(times) if times else None

    def read(self, limit: int = 64) -> list[Frame]:
        """Frames that came, and came through."""
        for frame in self.inner.read(limit):
            for piece in self._pieces(frame):
                self._rx.accept(piece, self._now)
        return self._rx.take(self._now, limit)

    def write(self, frames: Sequence[Frame]) -> None:
        """Send those that come through, now or later."""
        for frame in frames:
            for piece in self._pieces(frame):
                self._tx.accept(piece, self._now)
        self._send()

    def _send(self) -> None:
        due = self._tx.take(self._now, 1 << 30)
        if due:
            self.inner.write(due)
