"""CUBIC (RFC 8312, as RFC 9438 has revised it), with HyStart++ for the first slow start.

After a loss the window follows a cubic of the time since, W(t) = C * (t - K)**3 + W_max: quickly back
towards the window at which it was lost, slowly about it, and ever faster beyond. Where Reno would be
faster (short round trips, small windows) it follows an estimate of Reno's window instead.

What RFC 9438 does otherwise than RFC 8312, and this file with it:

- K comes from the window at which the epoch begins, and not from beta * W_max, which may differ from it;
- the estimate of Reno's window grows with what is acknowledged, not with time, and by one segment a
  window once it is back where the last reduction began;
- one round trip aims at no more than half as much again;
- ssthresh comes from what was in flight (what limited transmit added is not in it, RFC 5681 section
  3.2 step 2, so no more than cwnd counts);
- a reduction that turns out to be unfounded is taken back (`on_spurious`).

All arithmetic is in integers, octets and nanoseconds, with the fractions carried over, so that every
machine computes the same windows: C is 2/5 of a segment per cubic second, alpha is 9/17. Growth goes by
octets acknowledged, with the window as the cap, for the reasons in `reno`. Read `control` and `reno` first.
"""

from __future__ import annotations

from scapystack.base.types import SECOND, Nanoseconds
from scapystack.layers.tcp.congestion.control import INFINITE_SSTHRESH, CongestionControl
from scapystack.layers.tcp.congestion.hystart import CSS_GROWTH_DIVISOR, HyStart

_CUBE = 5 * SECOND**3
"""The denominator of C * t**3 with t in nanoseconds; the numerator is 2 (C = 0.4)."""
_ALPHA = 9
"""alpha = 3 * (1 - beta) / (1 + beta) = 9/17 for beta = 0.7: the numerator."""
_ALPHA_ONE = 17


def cube_root(n: int) -> int:
    """The greatest integer whose cube is no more than `n`; 0 for a negative `n`. By Newton, from above."""
    if n <= 0:
        return 0
    x = 1 << -(-n.bit_length() // 3)
    while True:
        y = (2 * x + n // (x * x)) // 3
        if y >= x:
            return x
        x = y


class Cubic(CongestionControl):
    """CUBIC's windows. An epoch is a stage of congestion avoidance: from its first ACK to the next reduction."""

    __slots__ = (
        "_alpha", "_before", "_cwnd_prior", "_epoch_at", "_epoch_mss", "_est_rest", "_hystart", "_k", "_recovering",
        "_rest", "_rtt", "_seen_at", "_w_est", "_w_max",
    )  # fmt: skip

    name = "cubic"

    def __init__(self) -> None:
        super().__init__()
        self._w_max = 0  # where the plateau is; 0: unknown, so where the epoch begins
        self._cwnd_prior = 0  # cwnd when ssthresh was set last
        self._epoch_at: Nanoseconds | None = None  # None: it begins with the next ACK in congestion avoidance
        self._epoch_mss = 0
        self._seen_at: Nanoseconds = 0  # the last ACK in the epoch
        self._k = 0
        self._w_est = 0
        self._alpha = _ALPHA
        self._rest = 0  # what growth left over when it was divided by the window
        self._est_rest = 0
        self._recovering = False  # between `on_loss` and its end: cwnd is inflated
        self._before: tuple[Nanoseconds, int, int, bool, tuple[int, ...], Nanoseconds | None] | None = None
        self._hystart = HyStart()
        self._rtt = 0  # what the ACK at hand has measured, until `on_ack`
        self.wants_rtt = True

    def start(self, mss: int, initial_window: int) -> None:
        """As every algorithm; what was measured of the handshake does not count as a round."""
        super().start(mss, initial_window)
        self._hystart = HyStart()
        self._rtt = 0
        self.wants_rtt = True

    # -- growth ----------------------------------------------------------------------------------------

    def on_rtt(self, rtt: int, now: Nanoseconds) -> None:
        """A sample for HyStart++, which is for the first slow start alone (RFC 9406)."""
        if self.ssthresh < INFINITE_SSTHRESH:
            self.wants_rtt = False
        else:
            self._rtt = rtt

    def on_ack(self, acked: int, now: Nanoseconds, srtt: int, flight: int, cwnd_limited: bool) -> None:
        """5681/3.1-b up to ssthresh, then RFC 9438 section 4.2."""
        slow = 1
        if self.ssthresh == INFINITE_SSTHRESH:
            hystart = self._hystart
            rtt, self._rtt = self._rtt, 0
            if hystart.on_ack(acked, flight, rtt):
                self.ssthresh = self._cwnd_prior = self.cwnd
                self.wants_rtt = False
            elif hystart.css:
                slow = CSS_GROWTH_DIVISOR
        if not cwnd_limited:
            # RFC 8312 section 5.8: the time in which something else holds the sender back is not in t
            if self._epoch_at is not None:
                self._epoch_at += now - self._seen_at
                self._seen_at = now
            return
        cwnd = self.cwnd
        acked = min(acked, cwnd)
        room = self.ssthresh - cwnd
        if room > 0:
            growth = min(acked, room)
            self.cwnd = cwnd + growth // slow
            self._epoch_at = None  # congestion avoidance begins anew when this is over
            if growth < room:
                return
            acked -= growth
        self._avoid(acked, now, srtt)

    def _avoid(self, acked: int, now: Nanoseconds, srtt: int) -> None:
        """One ACK in congestion avoidance (RFC 8312 sections 4.1 to 4.4)."""
        cwnd = self.cwnd
        mss = self.mss
        at = self._epoch_at
        if at is None or mss != self._epoch_mss:
            at = self._begin_epoch(now)
        else:
            gap = now - self._seen_at
            if gap > 2 * srtt:
                # a lull (idle, a closed window): without it, t would run while nothing was sent
                at = self._epoch_at = at + gap - srtt
        self._seen_at = now
        # section 4.2, as revised: W_est += alpha * segments_acked / cwnd
        grown, self._est_rest = divmod(self._alpha * mss * acked + self._est_rest, _ALPHA_ONE * cwnd)
        w_est = self._w_est = self._w_est + grown
        if w_est >= self._cwnd_prior:
            self._alpha = _ALPHA_ONE
        t = now - at
        if self.window_at(t) < w_est:
            if w_est > cwnd:
                self.cwnd = w_est
            return
        # sections 4.3 and 4.4: concave and convex alike
        distance = min(self.window_at(t + srtt), cwnd + (cwnd >> 1)) - cwnd
        if distance > 0:
            grown, self._rest = divmod(distance * acked + self._rest, cwnd)
            self.cwnd = cwnd + grown

    def _begin_epoch(self, now: Nanoseconds) -> Nanoseconds:
        """RFC 8312 sections 4.1, 4.7 and 4.8: K from W_max; 0 with W_max = cwnd where there is none above cwnd."""
        cwnd = self.cwnd
        self._epoch_at = now
        self._epoch_mss = self.mss
        self._w_est = cwnd
        self._alpha = _ALPHA
        self._rest = self._est_rest = 0
        if self._w_max > cwnd:
            self._k = cube_root((self._w_max - cwnd) * _CUBE // (2 * self.mss))
        else:
            self._k = 0
            self._w_max = cwnd
        return now

    def window_at(self, t: int) -> int:
        """W_cubic(t) of this epoch in octets, `t` ns after its beginning (RFC 8312 equation 1). Never below 0."""
        d = t - self._k
        return max(self._w_max + 2 * self.mss * d * d * d // _CUBE, 0)

    # -- reduction -------------------------------------------------------------------------------------

    def on_loss(self, flight: int, now: Nanoseconds) -> None:
        """RFC 8312 sections 4.5 and 4.6: to 0.7; a flow that did not get as far as before leaves more room."""
        cwnd = self.cwnd
        w_max = cwnd * 17 // 20 if cwnd < self._w_max else cwnd  # (1 + beta) / 2
        self._reduce(flight, now)
        self._w_max = w_max
        self._recovering = True
        self.cwnd = self.ssthresh

    def on_rto(self, flight: int, now: Nanoseconds, first: bool) -> None:
        """RFC 8312 section 4.7: as 5681/3.1-c, but ssthresh by beta; the next plateau is where slow start ends."""
        if first:
            self._reduce(flight, now)
        self._w_max = 0
        self._epoch_at = None
        self._recovering = False
        self.cwnd = self.mss

    def _reduce(self, flight: int, now: Nanoseconds) -> None:
        # a timeout in fast recovery: duplicates have let far more than ssthresh into flight, and most of it
        # has arrived. Taken from that, the threshold would rise with every recovery that fails
        window = self.ssthresh if self._recovering else self.cwnd
        state = (self._w_max, self._cwnd_prior, self._k, self._w_est, self._alpha, self._epoch_mss)
        self._before = (now, window, self.ssthresh, self.wants_rtt, state, self._epoch_at)
        self._cwnd_prior = window
        self.ssthresh = max(min(flight, window) * 7 // 10, 2 * self.mss)
        self._epoch_at = None
        self.wants_rtt = False

    def on_spurious(self, now: Nanoseconds) -> None:
        """RFC 9438 section 4.9: as it was before, and the time between is not in t."""
        if self._before is None:
            return
        then, cwnd, self.ssthresh, self.wants_rtt, state, at = self._before
        self._before = None
        self.cwnd = cwnd if self._recovering else max(self.cwnd, cwnd)
        self._recovering = False
        self._w_max, self._cwnd_prior, self._k, self._w_est, self._alpha, self._epoch_mss = state
        self._epoch_at = None if at is None else at + now - then
        self._seen_at = now

    def on_recovery_exit(self, now: Nanoseconds) -> None:
        """RFC 6582 section 3.2 step 3: what duplicates inflated is gone."""
        self._recovering = False
        self.cwnd = self.ssthresh

    def on_idle(self, now: Nanoseconds, idle_ns: int, rto: int) -> None:
        """5681/4.1; the next epoch begins from there, with the plateau that was known."""
        if idle_ns > rto:
            self.cwnd = min(self.cwnd, self.initial_window)
            self._epoch_at = None
