"""`MtuProbe`: the search for the largest packet that a path carries, without any word from its routers. A leaf.

Packetization Layer Path MTU Discovery (4821/7, 8899/5): a probe is a segment larger than the others;
if it arrives the others may be as large, and if it alone is lost, and the next of that size too, it was
too large. The search asks for the most that could be first, then for sizes that paths usually have, from
below, since a probe that arrives costs nothing; then it halves what is left. It knows sizes of IP
packets and times, and nothing of a connection; `pathmtu` decides when it may ask.
"""

from __future__ import annotations

from scapystack.base.types import Nanoseconds

UNKNOWN = 1 << 16
COMMON = (1_280, 1_400, 1_420, 1_450, 1_476, 1_492, 1_500, 4_352, 9_000)
"""IPv6's least, tunnels of many kinds (WireGuard, VXLAN and GRE among them), PPPoE, Ethernet, FDDI, large frames."""
CLOSE = 8
"""RFC 4821 section 7.3: what a smaller range would gain is not worth its probes."""
TRIES = 2
"""Lost probes that make a size too large: at 5 % random loss one alone would be wrong every twentieth time."""


class MtuProbe:
    """One search. `low` is what may be sent (eff_pmtu, search_low); probes lie above it, up to `high`."""

    __slots__ = ("again_at", "end", "high", "losses", "low", "size", "start")

    def __init__(self, low: int) -> None:
        self.low = low
        self.high = UNKNOWN  # the most that was not found too large (search_high)
        self.size = 0  # of the probe under way; 0: none is
        self.start = 0  # where that stands, in the caller's numbers
        self.end = 0
        self.losses = 0  # of probes of the next size
        self.again_at: Nanoseconds = 0

    def next_size(self, limit: int, now: Nanoseconds) -> int:
        """What to probe for now, or 0. `limit` is what the first hop and the peer allow."""
        if self.size or now < self.again_at or limit - self.low < CLOSE:
            return 0
        low, high = self.low, self.high
        if limit <= high:
            return limit
        return next((size for size in COMMON if low < size <= high), (low + high + 1) >> 1)

    def sent(self, size: int, start: int, end: int) -> None:
        """A probe has left, whose text is [start, end)."""
        self.size, self.start, self.end = size, start, end

    def passed(self, now: Nanoseconds, interval: Nanoseconds) -> bool:
        """It arrived (RFC 4821 section 7.6.1). Whether the search is over, for `interval`."""
        self.low, self.size, self.losses = self.size, 0, 0
        return self._settle(now, interval)

    def lost(self, now: Nanoseconds, wait: Nanoseconds, interval: Nanoseconds) -> bool:
        """It alone was lost (RFC 4821 section 7.6.2): none for `wait`. Whether the search is over, for `interval`."""
        self.losses += 1
        if self.losses >= TRIES:
            self.high = self.size - 1
            self.losses = 0
        self.inconclusive(now, wait)
        return self._settle(now, interval)

    def inconclusive(self, now: Nanoseconds, wait: Nanoseconds) -> None:
        """Others were lost with it (RFC 4821 section 7.6.4): it says nothing; none for `wait`."""
        self.size = 0
        self.again_at = now + wait

    def _settle(self, now: Nanoseconds, interval: Nanoseconds) -> bool:
        """RFC 4821 section 7.3: what is left is too little to ask for; the next search asks for all of it again."""
        if self.high - self.low >= CLOSE:
            return False
        self.high = UNKNOWN
        self.again_at = now + interval
        return True

    def fall(self, base: int, floor: int, now: Nanoseconds) -> None:
        """A black hole (RFC 4821 section 7.7): down to `base`, and from there by half, but not below `floor`.

        The timeouts that tell of it count as one lost probe of the largest size. If they had another
        reason, the first probe sets all right.
        """
        self.low = base if self.low > base else max(self.low >> 1, floor)
        self.high = UNKNOWN
        self.size = 0
        self.losses = TRIES - 1
        self.again_at = now
