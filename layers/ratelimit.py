"""Token buckets: so many now and then, so many a second for ever (RFC 1812 section 4.3.2.8); and limits
that nobody can count by (`Jittered`).

Time is handed in. A bucket's tokens are counted in nanoseconds of their refill, so that nothing is
lost to rounding.
"""

from __future__ import annotations

from collections import OrderedDict

from scapystack.base.rng import Rng
from scapystack.base.types import SECOND, Address, Nanoseconds


class Bucket:
    """One bucket; rate and burst are given with each question, so that a setting may change."""

    __slots__ = ("_full_at",)

    def __init__(self) -> None:
        self._full_at: Nanoseconds = 0  # when all that was taken will have come back

    def take(self, now: Nanoseconds, per_second: int, burst: int) -> bool:
        """Take one token if there is one. A rate of 0 gives none at all."""
        if per_second <= 0 or burst <= 0:
            return False
        price = SECOND // per_second
        full_at = max(self._full_at, now)
        if full_at + price - now > price * burst:
            return False
        self._full_at = full_at + price
        return True


class PeerBuckets:
    """A bucket for each peer, in a bounded table: the one asked longest ago is forgotten first."""

    __slots__ = ("_buckets", "_limit")

    def __init__(self, limit: int = 1_024) -> None:
        self._buckets: OrderedDict[Address, Bucket] = OrderedDict()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, peer: Address, now: Nanoseconds, per_second: int, burst: int) -> bool:
        """Take a token of this peer's."""
        bucket = self._buckets.get(peer)
        if bucket is None:
            if len(self._buckets) >= self._limit:
                self._buckets.popitem(last=False)
            bucket = self._buckets[peer] = Bucket()
        else:
            self._buckets.move_to_end(peer)
        return bucket.take(now, per_second, burst)


class Jittered:
    """At most so many in a period, and how many, and how long the period, is drawn anew each time.

    Who may use up a limit and then counts the answers to himself learns whether somebody else's segment
    was answered meanwhile (CVE-2016-5696 told connections, and their sequence numbers, that way). Here a
    missing answer tells nothing: between half and all of `number` are given, in one to two times `period`.
    """

    __slots__ = ("_left", "_until")

    def __init__(self) -> None:
        self._left = 0
        self._until: Nanoseconds = 0

    def take(self, rng: Rng, now: Nanoseconds, number: int, period: Nanoseconds) -> bool:
        """Take one if there is one. A `number` of 0 gives none at all."""
        if now >= self._until:
            self._until = now + period + rng.below(max(period, 1))
            self._left = number - rng.below(number // 2 + 1)
        if self._left <= 0:
            return False
        self._left -= 1
        return True
