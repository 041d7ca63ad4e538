"""The round-trip estimator and the retransmission timeout (RFC 6298), in integer nanoseconds.

A leaf: it is told of samples and of timeouts, and arms no timer. Which segments may
be sampled (Karn's rule, 6298/3) is for the caller to know.
"""

from __future__ import annotations

_SYN_LOST_RTO = 3_000_000_000
_HALF_WINDOW = 150_000_000_000
"""`min_rtt` forgets a sample after one to two of these: RFC 8985 section 6.2 step 1 asks for a window, for a path may
become a longer one, and 300 s is Linux's."""


class RttEstimator:
    """SRTT, RTTVAR and RTO of one connection. All times are spans in nanoseconds.

    `srtt`, `rttvar` and `min_rtt` (the least sample of the last minutes) are 0 before the first sample. `rto` is
    what to arm a timer with: it holds the back-off, of which `shift` counts the doublings since the
    last sample.

    `min_rto` is the least RTO (6298/2.4: one second). With `above_srtt` it is the floor of the variance
    term instead, so that RTO is never less than SRTT + `min_rto`, as Linux has it: with a floor of
    200 ms under the whole, a steady path of 190 ms would be left 10 ms for a delayed ACK that may take
    200, and every lull would end in a spurious timeout.
    """

    __slots__ = (
        "_base",
        "_floor",
        "_least",
        "_recent",
        "_since",
        "max_rto",
        "min_rtt",
        "rto",
        "rttvar",
        "shift",
        "srtt",
    )

    def __init__(
        self, initial_rto: int, min_rto: int, max_rto: int, granularity: int = 1_000_000, above_srtt: bool = True
    ) -> None:
        self.max_rto = max_rto
        self._floor = max(min_rto, granularity) if above_srtt else granularity  # 6298/4: G is the least variance term
        self._least = min_rto
        self._base = initial_rto  # 6298/2.1
        self.rto = initial_rto
        self.srtt = 0
        self.rttvar = 0
        self.min_rtt = 0
        self._recent = 0  # the least sample of this half of the window, and when that has begun
        self._since = 0
        self.shift = 0

    @property
    def base_rto(self) -> int:
        """The RTO without any back-off."""
        return self._base

    def sample(self, rtt: int, now: int, expected: int = 1) -> None:
        """Take a round trip that was measured `now`; RTO is computed afresh and the back-off ends.

        `expected` is the number of samples that one window yields, about FlightSize / (2 * SMSS):
        RFC 7323 appendix G divides both gains by it, so that a sample with every ACK leaves the
        estimator the memory that RFC 6298 meant for one a round trip. Without timestamps, or with
        one sample a round trip, it is 1.
        """
        if rtt <= 0:
            rtt = 1  # a link without delay in virtual time; 0 means "no sample yet"
        if not self.srtt:  # 6298/2.2
            self.srtt = self.min_rtt = self._recent = rtt
            self._since = now
            self.rttvar = rtt >> 1
        else:  # 6298/2.3: RTTVAR with the SRTT from before
            delta = rtt - self.srtt
            self.rttvar += (abs(delta) - self.rttvar) // (4 * expected)
            self.srtt += delta // (8 * expected)
            if rtt < self._recent:
                self._recent = rtt
                self.min_rtt = min(self.min_rtt, rtt)
            if now - self._since >= _HALF_WINDOW:
                self._forget(rtt, now)
        base = self.srtt + max(4 * self.rttvar, self._floor)
        self._base = self.rto = min(max(base, self._least), self.max_rto)  # 6298/2.4, 6298/2.5
        self.shift = 0

    def _forget(self, rtt: int, now: int) -> None:
        """Half a window is over: what was sampled before it counts no more."""
        self.min_rtt = self._recent if now - self._since < 2 * _HALF_WINDOW else rtt
        self._recent = rtt
        self._since = now

    def back_off(self) -> None:
        """Double the RTO, up to `max_rto` (RFC 6298 section 5.5)."""
        self.shift += 1
        self.rto = min(self.rto * 2, self.max_rto)

    def reset_backoff(self) -> None:
        """Return to the RTO without back-off."""
        self.shift = 0
        self.rto = self._base

    def after_lost_syn(self) -> None:
        """Start data with an RTO of 3 s at least, since the SYN timed out (RFC 6298 section 5.7).

        Nothing changes where a sample is there already (timestamps allow one even so).
        """
        if not self.srtt:
            self._base = min(max(self._base, _SYN_LOST_RTO), self.max_rto)
            self.reset_backoff()
