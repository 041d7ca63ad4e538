"""`Transcript`: what happened so far, in order and with times; told only when somebody asks.

A script notes things as they are and tells them when a test has failed, so that one that passes pays for a tuple
each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from scapystack.base.types import SECOND, Nanoseconds

SHOWN = 40
"""Lines that a failure shows; the latest."""


class Transcript:
    """The latest `limit` things. `tell` makes a line of one; a text is its own line."""

    def __init__(self, tell: Callable[[Any], str], start: Nanoseconds = 0, limit: int = 10_000) -> None:
        self._tell = tell
        self._start = start
        self._things: deque[tuple[Nanoseconds, str, Any]] = deque(maxlen=limit)
        self._count = 0

    def note(self, at: Nanoseconds, who: str, thing: Any) -> None:
        """Something happened; `who` did it."""
        self._count += 1
        self._things.append((at, who, thing))

    def __len__(self) -> int:
        return self._count

    def lines(self) -> list[str]:
        """A line for each: seconds since the beginning, who, what."""
        return [
            f"{(at - self._start) / SECOND:11.6f}  {who:6} {thing if isinstance(thing, str) else self._tell(thing)}"
            for at, who, thing in self._things
        ]

    def shown(self) -> str:
        """The end of it, indented, for a message."""
        lines = self.lines()[-SHOWN:]
        left_out = self._count - len(lines)
        head = [f"  ({left_out} lines before)"] if left_out else []
        return "\n".join([*head, *("  " + line for line in lines)]) or "  nothing happened"

    def __str__(self) -> str:
        return "\n".join(self.lines())
