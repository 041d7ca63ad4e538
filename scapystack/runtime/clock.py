"""Clocks: functions that answer the time in integer nanoseconds. A `Driver` asks; the core never does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from scapystack.base.types import Nanoseconds

Clock: TypeAlias = Callable[[], Nanoseconds]

monotonic: Clock = time.monotonic_ns
"""The clock of a live stack: never set back, counted from an arbitrary start."""


class VirtualClock:
    """A clock that stands still until it is told to move; calling it answers the time."""

    __slots__ = ("now",)

    def __init__(self, now: Nanoseconds = 0) -> None:
        self.now = now

    def __call__(self) -> Nanoseconds:
        return self.now

    def advance_to(self, at: Nanoseconds) -> None:
        """Move on to `at`; a time in the past changes nothing."""
        self.now = max(self.now, at)
