"""`Reassembly`: octets that arrived ahead of a gap (SHLD-31), and the SACK blocks that tell of them.

A leaf. Sequence numbers are unwrapped on the way in (to integers that never wrap, counted on from
RCV.NXT) and wrapped on the way out, so that everything between is plain sorted lists and bisection.
Two pairs of lists: the pieces held, which never overlap; and the ranges that they make up, which
never touch. A segment costs three bisections and a list insertion: 1.3 us for a run behind one gap,
and 1.8 to 4.5 us for 4,096 segments of one octet in whatever order they arrive.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from scapystack.base.types import Buffer
from scapystack.layers.tcp.memory import PIECE, Memory
from scapystack.layers.tcp.recvqueue import owned

_MASK = 0xFFFFFFFF
_HALF = 0x80000000
_RECENT = 24
"""Ranges whose order of arrival is remembered: a burst of 64 segments that loses a tenth makes up to 15."""


class Reassembly:
    """The out-of-order queue of one connection.

    `size` is the octets held; their number is bounded by the window, which the caller enforces, and
    the pieces by `max_segments`. `duplicate` is what the last `insert` brought a second time: the
    first such range as (left, right) sequence numbers, for D-SACK (RFC 2883), or None. `fresh` is how many
    ranges have changed that no `report` has told of.
    """

    __slots__ = (
        "_counted", "_data", "_lefts", "_memory", "_nxt", "_recent", "_rights", "_starts", "duplicate", "fresh",
        "max_segments", "size",
    )  # fmt: skip

    def __init__(self, max_segments: int, memory: Memory | None = None) -> None:
        self._memory = memory or Memory()
        self._counted = 0  # what `memory` knows of
        self.max_segments = max_segments
        self.size = 0
        self.fresh = 0
        self.duplicate: tuple[int, int] | None = None
        self._nxt = 0  # RCV.NXT, unwrapped
        self._starts: list[int] = []
        self._data: list[Buffer] = []
        self._lefts: list[int] = []
        self._rights: list[int] = []
        self._recent: list[int] = []  # an octet of each range that changed of late, the last first

    def __len__(self) -> int:
        """How many pieces are held."""
        return len(self._starts)

    def __bool__(self) -> bool:
        return bool(self._starts)

    @property
    def cost(self) -> int:
        """What is held takes about so many octets of memory."""
        return self.size + PIECE * len(self._starts)

    def _count(self) -> None:
        cost = self.size + PIECE * len(self._starts)
        self._memory.out_of_order += cost - self._counted
        self._counted = cost

    def __deepcopy__(self, memo: dict[int, object]) -> Reassembly:
        """The same pieces for another stack; their octets never change, and are shared."""
        if self is NOTHING:
            return self
        memory = memo.get(id(self._memory))
        made = Reassembly(self.max_segments, memory if isinstance(memory, Memory) else None)
        made.size, made.fresh, made.duplicate, made._nxt = self.size, self.fresh, self.duplicate, self._nxt
        made._starts, made._data, made._recent = self._starts[:], self._data[:], self._recent[:]
        made._lefts, made._rights = self._lefts[:], self._rights[:]
        made._count()
        return made

    def clear(self) -> None:
        """Drop everything."""
        for held in (self._starts, self._data, self._lefts, self._rights, self._recent):
            held.clear()
        self.size = self.fresh = 0
        self.duplicate = None
        self._count()

    def keep(self, cost: int) -> None:
        """Drop the farthest pieces until what is left costs no more than `cost`."""
        while self._starts and self.cost > cost:
            self._drop_last()
        if not self._starts:
            self.fresh = 0
        self._count()

    def insert(self, seq: int, data: Buffer, rcv_nxt: int) -> bool:
        """Keep what is new in `data`, which begins at `seq`; of octets held already the first copy stays.

        Where the bound on pieces is reached the farthest go, be they old ones (a receiver may renege,
        RFC 2018 section 8) or this: False if nothing of it was kept that was new. The caller has cut
        the data to the window; octets before `rcv_nxt` are left out here.
        """
        nxt = self._nxt = self._nxt + ((rcv_nxt - self._nxt) & _MASK)
        left = start = nxt + ((seq - rcv_nxt + _HALF) & _MASK) - _HALF
        end = start + len(data)
        self.duplicate = None
        if start < nxt:
            left = min(nxt, end)
            if left > start:
                self.duplicate = (seq, left & _MASK)
        if left == end:
            return True
        lefts = self._lefts
        rights = self._rights
        i = bisect_left(rights, left)
        j = bisect_right(lefts, end)
        # the ranges i to j overlap [left, end) or touch it
        if i == j or (j == i + 1 and (rights[i] == left or lefts[i] == end)):
            gaps = [(left, end)]
        else:
            gaps = self._gaps(left, end, i, j)
        if gaps and len(self._starts) >= self.max_segments and left >= self._starts[-1]:
            return False
        for a, b in gaps:
            at = bisect_left(self._starts, a)
            self._starts.insert(at, a)
            self._data.insert(at, owned(data if b - a == len(data) else memoryview(data)[a - start : b - start]))
            self.size += b - a
        if i == j:
            lefts.insert(i, left)
            rights.insert(i, end)
        elif j == i + 1:
            lefts[i] = min(lefts[i], left)
            rights[i] = max(rights[i], end)
        else:
            lefts[i:j] = (min(lefts[i], left),)
            rights[i:j] = (max(rights[j - 1], end),)
        self._touch(left, lefts[i], rights[i])
        while len(self._starts) > self.max_segments:
            self._drop_last()
        self._count()
        return not gaps or (bool(rights) and rights[-1] > gaps[0][0])

    def _gaps(self, left: int, end: int, i: int, j: int) -> list[tuple[int, int]]:
        """The parts of [left, end) that the ranges i to j do not hold; notes the first that they do."""
        gaps = []
        at = left
        for k in range(i, j):
            a = self._lefts[k]
            b = self._rights[k]
            if at < a:
                gaps.append((at, min(a, end)))
            if self.duplicate is None and max(a, left) < min(b, end):
                self.duplicate = (max(a, left) & _MASK, min(b, end) & _MASK)
            at = max(at, b)
        if at < end:
            gaps.append((at, end))
        return gaps

    def _touch(self, at: int, left: int, right: int) -> None:
        """Make the range that holds `at` the most recent one."""
        recent = self._recent
        fresh = self.fresh
        if fresh and left <= recent[0] < right:
            return
        self.fresh = min(1 + sum(not left <= r < right for r in recent[:fresh]), _RECENT)
        self._recent = [at, *[r for r in recent if not left <= r < right]][:_RECENT]

    def _drop_last(self) -> None:
        """Drop the farthest piece."""
        start = self._starts.pop()
        self.size -= len(self._data.pop())
        if self._lefts[-1] == start:
            self._lefts.pop()
            self._rights.pop()
        else:
            self._rights[-1] = start

    def gap(self, rcv_nxt: int) -> int:
        """How many octets are missing from `rcv_nxt` on before the first that is held; only if any is."""
        return max(self._lefts[0] - self._nxt - ((rcv_nxt - self._nxt) & _MASK), 0)

    def pop(self, rcv_nxt: int) -> list[Buffer]:
        """Take all that follows on from `rcv_nxt` without a gap; what lies before it is dropped."""
        nxt = self._nxt = self._nxt + ((rcv_nxt - self._nxt) & _MASK)
        lefts = self._lefts
        if not lefts or lefts[0] > nxt:
            return []
        passed = bisect_right(lefts, nxt)
        right = self._rights[passed - 1]
        del lefts[:passed]
        del self._rights[:passed]
        if not lefts:
            self.fresh = 0
        count = bisect_left(self._starts, right)
        out = []
        for start, data in zip(self._starts[:count], self._data[:count], strict=True):
            self.size -= len(data)
            if start >= nxt:
                out.append(data)
            elif start + len(data) > nxt:
                out.append(data[nxt - start :])
        del self._starts[:count]
        del self._data[:count]
        self._count()
        return out

    def report(self, limit: int) -> tuple[tuple[int, int], ...]:
        """The `blocks` of one ACK. Where a burst has changed several ranges, it begins with the oldest of them
        that is `fresh`, as the ACK of its segment would have, and the next call with the one after it."""
        self.fresh = skip = max(self.fresh - 1, 0)
        return self.blocks(limit, skip)

    def blocks(self, limit: int, skip: int = 0) -> tuple[tuple[int, int], ...]:
        """Up to `limit` SACK blocks (left, right), the most recently changed first.

        2018/3: the first holds the segment that came last, the others repeat what was
        reported before. After a duplicate the first is the range around it (RFC 2883 section 4).
        `skip` leaves out so many of the most recent.
        """
        lefts = self._lefts
        rights = self._rights
        limit = min(limit, len(lefts))
        out: list[tuple[int, int]] = []
        for at in self._recent[skip:]:
            if len(out) >= limit:
                return tuple(out)
            i = bisect_right(lefts, at) - 1
            if i >= 0 and at < rights[i]:
                block = (lefts[i] & _MASK, rights[i] & _MASK)
                if block not in out:
                    out.append(block)
        # ranges that changed too long ago to be remembered: those next to the gap first
        for left, right in zip(lefts, rights, strict=True):
            if len(out) >= limit:
                break
            block = (left & _MASK, right & _MASK)
            if block not in out:
                out.append(block)
        return tuple(out)


NOTHING = Reassembly(0)
"""What a connection without a gap holds, the same for all: it is never inserted into."""
