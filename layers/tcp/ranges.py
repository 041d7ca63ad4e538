"""`RangeSet`: disjoint ranges of sequence space that grow together. A leaf.

Numbers are integers that never wrap (the owner unwraps them). Used by `scoreboard` for what the peer
has SACKed: a receiver repeats the same blocks with every ACK, each a little longer, so what matters
is to say quickly what is new in one: two bisections, whatever the length of the block.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import cast


class RangeSet:
    """Sorted ranges [left, right) that neither overlap nor touch; `size` is the sum of their lengths."""

    __slots__ = ("lefts", "rights", "size")

    def __init__(self) -> None:
        self.lefts: list[int] = []
        self.rights: list[int] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self.lefts)

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self.lefts, number) - 1
        return i >= 0 and number < self.rights[i]

    def add(self, left: int, right: int) -> list[tuple[int, int]]:
        """Add [left, right), not empty; the parts of it that were not there, in order."""
        lefts = self.lefts
        rights = self.rights
        i = bisect_left(rights, left)
        j = bisect_right(lefts, right, i)
        if i == j:  # alone
            lefts.insert(i, left)
            rights.insert(i, right)
            self.size += right - left
            return [(left, right)]
        new = []
        at = left
        for k in range(i, j):
            if at < lefts[k]:
                new.append((at, lefts[k]))
            at = max(at, rights[k])
        if at < right:
            new.append((at, right))
        for a, b in new:
            self.size += b - a
        if j == i + 1:
            lefts[i] = min(lefts[i], left)
            rights[i] = max(rights[i], right)
        else:
            lefts[i:j] = (min(lefts[i], left),)
            rights[i:j] = (max(rights[j - 1], right),)
        return new

    def touches(self, left: int, right: int) -> bool:
        """Whether [left, right), added, would be no range of its own."""
        i = bisect_left(self.rights, left)
        return i < len(self.lefts) and self.lefts[i] <= right

    def overlap(self, left: int, right: int) -> int:
        """How many numbers of [left, right) are in the set."""
        lefts = self.lefts
        rights = self.rights
        total = 0
        for k in range(bisect_right(rights, left), bisect_left(lefts, right)):
            total += min(rights[k], right) - max(lefts[k], left)
        return total

    def cut(self, below: int) -> int:
        """Drop everything before `below`; how much that was."""
        lefts = self.lefts
        if not lefts or lefts[0] >= below:
            return 0
        rights = self.rights
        i = bisect_right(rights, below)
        gone = sum(rights[:i]) - sum(lefts[:i])
        del lefts[:i]
        del rights[:i]
        if lefts and lefts[0] < below:
            gone += below - lefts[0]
            lefts[0] = below
        self.size -= gone
        return gone

    def clear(self) -> None:
        """Drop everything."""
        self.lefts.clear()
        self.rights.clear()
        self.size = 0


NO_RANGES = RangeSet()
"""An empty one, shared by all who have none: nothing can be added to it."""
NO_RANGES.lefts = NO_RANGES.rights = cast("list[int]", ())
