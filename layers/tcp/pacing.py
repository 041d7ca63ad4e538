"""`Pacer`: when the next burst of a paced connection may leave, and how large it is.

A leaf: it knows a rate, octets and times. Segments of a paced sender do not leave one by one: a wake-up
costs more than a segment. As Linux sizes its bursts for segmentation offload, about a millisecond's worth
of the rate goes at once, at least two segments (one below 150 kB a second) and at most 64 KB.

A timer that comes late must not lower the rate: what the lateness would have sent is made good, up to a
millisecond's worth or one burst, whichever is more. Above 64 MB a second that is several super-segments: on
a TAP, with the processor shared, 40 MB through a bridge that loses 5% went at 406 MB/s, and at 111 with one
burst of credit; without loss 1,053 and 711, for half the processor time.
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
        most = max(burst, (rate >> 10) // mss * mss)
        if credit >= most:
            # idle, or asleep for long: the rest is forgotten
            credit = most
            self.next_at = now + -most * SECOND // rate  # rounded so that it is all there if asked again
        self.left = burst + credit // mss * mss
        return True

    def sent(self, octets: int) -> None:
        """So many have left, within a burst or (a probe) outside of one; moves `next_at`."""
        self.left -= octets
        self.next_at += octets * SECOND // self._rate
