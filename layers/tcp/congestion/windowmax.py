"""`WindowMax`: the greatest value of the last so many rounds, exactly, in constant time on average.

A value that a later and greater one has followed can never be the greatest again, so what is kept only
falls from the oldest to the newest: the greatest is the first, and a new value takes all smaller ones
off the end. There are never more of them than rounds.
"""

from __future__ import annotations

from collections import deque


class WindowMax:
    """Values with the number of the round they are of; `best` is the greatest (0: none)."""

    __slots__ = ("_kept", "best", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        """How many rounds a value counts, its own included."""
        self.best = 0
        self._kept: deque[tuple[int, int]] = deque()  # (value, round), both strictly monotonous

    def add(self, value: int, at: int) -> None:
        """Take a value of round `at`, no earlier than any before; what has grown too old is forgotten."""
        kept = self._kept
        while kept and kept[-1][0] <= value:
            kept.pop()
        if not kept or kept[-1][1] < at:
            kept.append((value, at))
        while kept[0][1] <= at - self.window:
            kept.popleft()
        self.best = kept[0][0]
