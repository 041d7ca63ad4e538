"""`Impairment`: what one way of a link does to frames: chances, a delay, a rate, a queue, and rules that pick frames.

Nothing here moves a frame: `way` does, for an `ImpairedLink` (a link with faults) and for the links of
`scapystack.sim`. Everything is drawn from a seed: same seed and same frames at the same times, same faults.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from scapystack.base.checksum import finish
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.offload import finish_frame
from scapystack.base.rng import Rng
from scapystack.base.types import MILLISECOND, Nanoseconds

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
    return [(congested(frame), 0)]


def congested(frame: Frame) -> Frame:
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


def scapy(predicate: Callable[[Any], object]) -> Predicate:
    """Frames whose Scapy packet (an `Ether`) a predicate picks."""
    return lambda frame: predicate(frame.packet)


def every(frame: Frame) -> bool:
    """Any frame at all."""
    return True


@dataclass(slots=True)
class Rule:
    """An action for the frames that a predicate picks, after the first `skip`, and `count` times at most;
    with `nth` only for those (1 is the first). Frames that an earlier rule took are not counted."""

    action: Action
    predicate: Predicate
    skip: int = 0
    count: int | None = None
    nth: frozenset[int] = frozenset()
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
        if self._met <= self.skip or (self.nth and self._met not in self.nth):
            return False
        self.hits += 1
        return True


@dataclass(slots=True, frozen=True)
class GilbertElliott:
    """Losses in bursts: a good and a bad state, a chance for each frame to change, and one to be lost in either."""

    to_bad: float
    to_good: float
    loss_good: float = 0.0
    loss_bad: float = 1.0

    def __post_init__(self) -> None:
        for name in ("to_bad", "to_good", "loss_good", "loss_bad"):
            _check_chance(name, getattr(self, name))


@dataclass(slots=True)
class Impairment:
    """What one way of a link does to frames. Chances are from 0 to 1 and are drawn for each frame.

    A frame of a rule that applies (the first one) suffers nothing else but the delay and the rate. A
    reordered frame is held back until `reorder_by` later ones have passed it, or for 20 ms. `rate` is
    in octets a second; a frame that would wait for the line longer than `queue_ms`, or behind
    `queue_frames` others (0: any number), is lost, and one that waits longer than `mark_ms` (0: for ever)
    is marked CE if its sender does ECN. `mark` is a chance of that.

    With `burst` losses come in runs of that mean length (1 or more), the share of lost frames being
    `loss` still: Gilbert's model, two states of which one loses everything. 0: each frame by itself.
    `bursts` is the whole model of Gilbert and Elliott, and `loss` then counts for nothing. With either a
    run is over, too, when no frame has come for 100 ms, for what disturbs a path passes with time.
    """

    loss: float = 0.0
    burst: float = 0.0
    bursts: GilbertElliott | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_by: int = 3
    corrupt: float = 0.0
    mark: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    rate: int = 0
    queue_ms: float = 100.0
    queue_frames: int = 0
    mark_ms: float = 0.0
    rules: list[Rule] = field(default_factory=list)
    lost: int = 0
    """Frames that did not pass, for whatever reason."""
    marked: int = 0
    """Frames that `mark` and `mark_ms` have marked CE."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "corrupt", "mark"):
            _check_chance(name, getattr(self, name))
        least = min(self.delay_ms, self.jitter_ms, self.rate, self.queue_ms, self.queue_frames, self.mark_ms)
        if least < 0 or self.reorder_by < 1:
            raise ConfigError("delay, jitter, rate, queue and mark_ms cannot be negative; reorder_by is 1 or more")
        if self.burst and not (self.burst >= 1 and self.loss * (1 + self.burst) <= self.burst):
            raise ConfigError(f"a loss of {self.loss} cannot come in runs of {self.burst} frames on average")

    def rule(self, action: Action, predicate: Predicate, *, skip: int = 0, count: int | None = None) -> Rule:
        """Add a rule; the first that applies to a frame acts."""
        rule = Rule(action, predicate, skip, count)
        self.rules.append(rule)
        return rule

    def lose(self, *nth: int, when: Callable[[Any], object] | None = None) -> Rule:
        """Lose the nth frames (1 is the next) of those whose Scapy packet `when` picks; each of them without `nth`."""
        rule = Rule(drop, every if when is None else scapy(when), nth=frozenset(nth))
        self.rules.append(rule)
        return rule


def _check_chance(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} is a chance from 0 to 1, not {value}")
