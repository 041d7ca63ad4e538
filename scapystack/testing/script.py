"""`Script`: what scripted peers have in common: things that left a stack, what was expected of them, and how it is
told where the two differ.

A subclass says what there is (`take`), how to compare (`rows`) and how to tell (`tell`). Read `compare` first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from scapystack.testing.compare import Row, side_by_side, text_of
from scapystack.testing.transcript import Transcript

T = TypeVar("T")


class Mismatch(AssertionError):
    """What left the stack is not what the script expects. Its text has the transcript, and both side by side."""


class Script(ABC, Generic[T]):
    """Expectations of things of type `T`. `transcript` has what was sent and what left."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript

    @abstractmethod
    def take(self) -> list[T]:
        """What left since the last look, by now."""

    @abstractmethod
    def rows(self, wanted: Any, thing: T) -> list[Row]:
        """What there is to compare between what is expected and what left."""

    @abstractmethod
    def tell(self, thing: Any) -> str:
        """One thing in a line, in full."""

    def tell_wanted(self, wanted: Any) -> str:
        """What is expected, in a line."""
        return wanted if isinstance(wanted, str) else text_of(wanted)

    def compare(self, wanted: Sequence[Any], left: Sequence[T], extra: Sequence[Sequence[Row]] = ()) -> None:
        """See that exactly what is expected left, in this order. Raises `Mismatch`.

        `extra` are rows that somebody else has to add, for each of what left.
        """
        more = [*extra, *[()] * len(left)]
        rows = [[*self.rows(want, thing), *also] for want, thing, also in zip(wanted, left, more, strict=False)]
        if len(wanted) == len(left) and all(row.same for each in rows for row in each):
            return
        parts = [_headline(wanted, left, rows), "transcript:", self.transcript.shown()]
        for number in range(max(len(wanted), len(left))):
            want = self.tell_wanted(wanted[number]) if number < len(wanted) else "nothing more"
            thing = self.tell(left[number]) if number < len(left) else "nothing"
            parts += [f"{number + 1}. expected  {want}", f"   actual    {thing}"]
            if number < len(rows) and not all(row.same for row in rows[number]):
                parts += ["     " + line for line in side_by_side(rows[number])]
        raise Mismatch("\n".join(parts))


def _headline(wanted: Sequence[Any], left: Sequence[Any], rows: Sequence[Sequence[Row]]) -> str:
    for number, each in enumerate(rows, 1):
        names = [row.name for row in each if not row.same]
        if names:
            return f"number {number} of {len(wanted)} differs in {', '.join(names)}; {len(left)} left"
    return f"{len(wanted) or 'nothing'} expected, {len(left) or 'nothing'} left"
