"""One lazy heap of deadlines for the whole stack (no callbacks kept, nothing ever cancelled).

An owner (a connection, the ARP cache, the reassembly table, ...) keeps its own deadlines and
answers two questions: `next_at()`, its earliest one, and `expire(now)`, act on those that are due.
The heap holds at most a few entries for each owner. Moving a deadline later costs nothing: the
old entry comes up, the owner says "not yet", and goes back in with its real deadline. A deadline
moved earlier pushes one entry (0.5 us).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Protocol

from scapystack.base.types import MILLISECOND, Nanoseconds


class Timed(Protocol):
    """Something with deadlines. `heap_at` belongs to the heap: its earliest entry there, or None."""

    heap_at: Nanoseconds | None

    def next_at(self) -> Nanoseconds | None:
        """The earliest deadline (ns), or None."""

    def expire(self, now: Nanoseconds) -> None:
        """Act on every deadline at or before `now`, and clear or move each of them."""


_PAUSE = 10 * MILLISECOND
"""An owner that has raised is not asked again sooner: it must not take the whole processor."""
_SWEEP = 256
"""Entries below which none are looked for that nobody needs."""


class TimerHeap:
    """Absolute deadlines of many owners; the earliest first, in order of arming among equals.

    An entry keeps its owner alive, and may have long to wait (a TIME-WAIT, a keep-alive) after the
    owner has ended: whenever the heap has doubled, what nobody needs any more is thrown out.
    """

    def __init__(self, failed: Callable[[Exception, str], None] | None = None) -> None:
        """`failed` is told of what an owner raises, and the others act all the same; without it that is raised."""
        self._failed = failed
        self._heap: list[tuple[Nanoseconds, int, Timed]] = []
        self._count = 0
        self._sweep_at = _SWEEP

    def __len__(self) -> int:
        return len(self._heap)

    def arm(self, owner: Timed, at: Nanoseconds) -> None:
        """See that `owner` is asked no later than `at`."""
        held = owner.heap_at
        if held is None or at < held:
            owner.heap_at = at
            self._count += 1
            heappush(self._heap, (at, self._count, owner))
            if len(self._heap) > self._sweep_at:
                self._sweep()

    def _sweep(self) -> None:
        """Throw out the entries of owners without a deadline, and those that an earlier one has replaced."""
        kept = []
        for entry in self._heap:
            at, number, owner = entry
            if owner.heap_at == at:
                # who is being armed right now may set its deadline only then
                if owner.next_at() is not None or number == self._count:
                    kept.append(entry)
                else:
                    owner.heap_at = None
        heapify(kept)
        self._heap[:] = kept  # in place: `expire` may be at work on it
        self._sweep_at = max(_SWEEP, 2 * len(kept))

    def next_deadline(self) -> Nanoseconds | None:
        """The earliest real deadline of any owner, or None."""
        heap = self._heap
        while heap:
            at, _, owner = heap[0]
            if owner.heap_at != at:
                heappop(heap)
                continue
            real = owner.next_at()
            if real is not None and real <= at:
                return at
            heappop(heap)
            owner.heap_at = None
            if real is not None:
                self.arm(owner, real)
        return None

    def expire(self, now: Nanoseconds) -> int:
        """Let every owner that is due act; the number of owners that did."""
        heap = self._heap
        fired = 0
        while heap and heap[0][0] <= now:
            at, _, owner = heappop(heap)
            if owner.heap_at != at:
                continue
            owner.heap_at = None
            real = owner.next_at()
            if real is not None and real <= now:
                soon = now + 1
                try:
                    owner.expire(now)
                except Exception as error:
                    soon = now + _PAUSE
                    if self._failed is None:
                        raise
                    self._failed(error, "in a timer")
                finally:  # where that raises, whoever goes on has the owner's other deadlines
                    fired += 1
                    real = owner.next_at()
                    if real is not None:
                        # an owner that leaves a deadline in the past must not spin this loop for ever
                        self.arm(owner, max(real, soon))
            elif real is not None:
                self.arm(owner, real)
        return fired
