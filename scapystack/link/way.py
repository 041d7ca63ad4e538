"""`Way`: one direction of a link that has faults: frames in by `accept`, out of `Arrivals` once they are due.

Read `faults` first. A frame that has no fault to fear costs one push here, and no draw and no copy.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from scapystack.base.frames import Frame
from scapystack.base.rng import Rng
from scapystack.base.types import MILLISECOND, SECOND, Nanoseconds
from scapystack.link.faults import Impairment, congested, corrupt, duplicate

_REORDER_NS = 20 * MILLISECOND
_BURST_NS = 100 * MILLISECOND
_LOST = -1


class Passage:
    """A frame under way, and when it arrives: a time that may still be moved (reordering), or never."""

    __slots__ = ("at", "frame")

    def __init__(self, frame: Frame, at: Nanoseconds) -> None:
        self.frame = frame
        self.at = at

    @property
    def lost(self) -> bool:
        """Whether the link broke down on its way."""
        return self.at == _LOST


class Arrivals:
    """Frames on their way to one place, by the time of their arrival, then in the order in which they came."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[Nanoseconds, int, Passage]] = []  # valid where the passage still has that time

    def __len__(self) -> int:
        return sum(at == passage.at for at, _, passage in self._heap)

    def push(self, passage: Passage, number: int) -> None:
        """One more is under way, or the same will arrive earlier; `number` orders equals of one way."""
        heappush(self._heap, (passage.at, number, passage))

    def take(self, now: Nanoseconds, limit: int) -> list[Frame]:
        """Up to `limit` frames that are due."""
        heap = self._heap
        frames: list[Frame] = []
        while heap and heap[0][0] <= now and len(frames) < limit:
            at, _, passage = heappop(heap)
            if passage.at == at:
                frames.append(passage.frame)
        return frames

    def next_at(self) -> Nanoseconds | None:
        """When the next frame is due."""
        heap = self._heap
        while heap:
            at = heap[0][0]
            if heap[0][2].at == at:
                return at
            heappop(heap)
        return None

    def clear(self) -> int:
        """Lose everything; how much that was."""
        lost = len(self)
        for _, _, passage in self._heap:
            passage.at = _LOST
        self._heap.clear()
        return lost


class Way:
    """One direction. What comes through goes to every one of `targets`: a segment of several hosts has several."""

    __slots__ = (
        "_bad", "_came_at", "_count", "_held", "_leaving", "_line_free_at", "_rng", "impairment", "targets",
    )  # fmt: skip

    def __init__(self, impairment: Impairment, rng: Rng, *targets: Arrivals) -> None:
        self.impairment = impairment
        self.targets = list(targets)
        self._rng = rng
        self._held: list[tuple[int, Nanoseconds, Passage]] = []  # frames still to pass it, when it was due, itself
        self._line_free_at: Nanoseconds = 0
        self._leaving: deque[Nanoseconds] = deque()  # when each frame that waits for the line leaves
        self._bad = False
        self._came_at: Nanoseconds = 0
        self._count = 0

    def accept(self, frame: Frame, now: Nanoseconds) -> list[Passage]:
        """Decide a frame's fate: what of it will arrive."""
        fate = self._fate(frame, now)
        if not fate:
            self.impairment.lost += 1
        passages = []
        for each, wait in fate:
            passage = self._line_up(each, now, wait)
            if passage is not None:
                passages.append(passage)
        return passages

    def _fate(self, frame: Frame, now: Nanoseconds) -> list[tuple[Frame, Nanoseconds]]:
        impairment, rng = self.impairment, self._rng
        for rule in impairment.rules:
            if rule.applies(frame):
                return rule.action(frame, rng)
        if (impairment.loss or impairment.bursts is not None) and self._is_lost(impairment, now):
            return []
        if impairment.corrupt and rng.chance(impairment.corrupt):
            return corrupt(frame, rng)
        if impairment.duplicate and rng.chance(impairment.duplicate):
            return duplicate(frame, rng)
        if impairment.mark and rng.chance(impairment.mark):
            frame = self._mark(frame)
        return [(frame, 0)]

    def _mark(self, frame: Frame) -> Frame:
        marked = congested(frame)
        self.impairment.marked += marked is not frame
        return marked

    def _is_lost(self, impairment: Impairment, now: Nanoseconds) -> bool:
        """Draw: by itself, or one step of the chain of Gilbert and Elliott."""
        loss, burst, model = impairment.loss, impairment.burst, impairment.bursts
        if model is not None:
            self._change_state(model.to_bad, model.to_good, now)
            chance = model.loss_bad if self._bad else model.loss_good
            return chance >= 1 or self._rng.chance(chance)
        if not burst:
            return self._rng.chance(loss)
        # the stationary share of the bad state is `loss`, its mean length `burst`
        self._change_state(1.0 if loss >= 1 else loss / (burst * (1 - loss)), 1 / burst, now)
        return self._bad

    def _change_state(self, to_bad: float, to_good: float, now: Nanoseconds) -> None:
        idle, self._came_at = now - self._came_at, now
        if self._bad and idle < _BURST_NS:
            self._bad = not self._rng.chance(to_good)
        else:
            self._bad = to_bad >= 1 or self._rng.chance(to_bad)

    def _line_up(self, frame: Frame, now: Nanoseconds, wait: Nanoseconds) -> Passage | None:
        """Through the bottleneck, then along the delay; None if the queue was full."""
        impairment = self.impairment
        at = now
        if impairment.rate:
            at = max(at, self._line_free_at)
            if at - now > impairment.queue_ms * MILLISECOND or (impairment.queue_frames and self._full(now)):
                impairment.lost += 1
                return None
            if impairment.mark_ms and at - now > impairment.mark_ms * MILLISECOND:
                frame = self._mark(frame)
            at += len(frame) * SECOND // impairment.rate
            self._line_free_at = at
            if impairment.queue_frames:
                self._leaving.append(at)
        at += wait + round(impairment.delay_ms * MILLISECOND)
        if impairment.jitter_ms:
            at += self._rng.below(round(impairment.jitter_ms * MILLISECOND) + 1)
        if impairment.reorder and self._rng.chance(impairment.reorder):
            passage = Passage(frame, at + _REORDER_NS)
            self._push(passage)
            self._held.append((impairment.reorder_by, at, passage))
            return passage
        passage = Passage(frame, at)
        self._push(passage)
        if self._held:
            self._overtaken(at)
        return passage

    def _full(self, now: Nanoseconds) -> bool:
        """Whether as many wait for the line as may; the one that is on it does not wait."""
        leaving = self._leaving
        while leaving and leaving[0] <= now:
            leaving.popleft()
        return len(leaving) > self.impairment.queue_frames

    def _push(self, passage: Passage) -> None:
        self._count += 1
        for target in self.targets:
            target.push(passage, self._count)

    def _overtaken(self, at: Nanoseconds) -> None:
        """A frame that arrives at `at` has passed those that are held back."""
        held, self._held = self._held, []
        for left, due, passage in held:
            if passage.at <= at:  # it goes by itself before that
                continue
            if left > 1:
                self._held.append((left - 1, due, passage))
            else:
                passage.at = at
                self._push(passage)
