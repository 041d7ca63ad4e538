"""`Pacer`: when the next burst of a paced connection may leave, and how large it is.

A leaf: it knows a rate, octets and times. Segments of a paced sender do not leave one by one: a wake-up
costs more than a segment. As Linux sizes its bursts for segmentation offload, about a millisecond's worth
of the rate goes at once, at least two segments (one below 150 kB a second) and at most 64 KB.

A timer that comes late must not lower the rate: what the lateness would have sent is made good, up to
one burst, so that no more than two ever leave back to back.
"""

from __future__ import annotations

from scapystack.base.types import SECOND, Nanoseconds

MAX_BURST = 65_536
"""What one super-segment can carry."""
_SLOW = 150_000


def burst_size(rate: int, mss: int) -> int:
    """Octets that leave at once at `rate` (octets a second), in whole segments of `mss`."""
    return max(min(rate >> 10, MAX_BURST) // mss, 1 if rate < _SLOW else 2) * mss


class Pacer:
    """The departures of one connection."""

    __slots__ = ("_rate", "left", "next_at")

    def __init__(self) -> None:
        self.next_at: Nanoseconds = 0
        """Nothing may leave before this."""
        self.left = 0
        """Octets that may leave now; not below 0 but by what `sent` is told beyond them."""
        self._rate = SECOND  # until the first burst says better

    def open(self, rate: int, mss: int, now: Nanoseconds) -> bool:
        """Whether a burst is due; then `left` is its size at `rate` (octets a second), in segments of `mss`."""
        late = now - self.next_at
        if late < 0:
            return False
        self._rate = rate
        burst = burst_size(rate, mss)
        credit = late * rate // SECOND
        if credit >= burst:
            # idle, or asleep: what is more than a burst is forgotten
            credit = burst
            self.next_at = now + -burst * SECOND // rate  # rounded so that it is all there if asked again
        self.left = burst + credit // mss * mss
        return True

    def sent(self, octets: int) -> None:
        """So many have left, within a burst or (a probe) outside of one; moves `next_at`."""
        self.left -= octets
        self.next_at += octets * SECOND // self._rate
