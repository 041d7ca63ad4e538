"""Reno's windows, as NewReno's recovery uses them (RFC 5681, RFC 6582), counted in octets.

Growth goes by octets acknowledged (RFC 3465), not by ACKs: a receiver that takes super-segments
acknowledges 64 KB at a time, and counting ACKs would open the window forty times too slowly.

RFC 3465 section 2.3 caps the growth of one ACK in slow start at L = 2 MSS, for fear of bursts. With
such stretch ACKs that cap would turn slow start into a linear creep, so the cap here is the window
itself: no ACK can tell of more than a window's worth that left the network within a round trip.
The window still at most doubles in a round trip; and the case RFC 3465 fears most, an ACK that jumps
far ahead after a timeout, takes a window of one segment to two. Linux has no cap at all.
"""

from __future__ import annotations

from scapystack.base.types import Nanoseconds
from scapystack.layers.tcp.congestion.control import CongestionControl


class Reno(CongestionControl):
    """Slow start, congestion avoidance, and a window halved by a loss."""

    __slots__ = ("_before", "_bytes_acked")

    name = "reno"

    def __init__(self) -> None:
        super().__init__()
        self._bytes_acked = 0
        self._before: tuple[int, int] | None = None  # cwnd and ssthresh as they were at the last reduction

    def on_ack(self, acked: int, now: Nanoseconds, srtt: int, flight: int, cwnd_limited: bool) -> None:
        """5681/3.1-b: by what was acknowledged up to ssthresh, then one MSS a window."""
        if not cwnd_limited:
            return
        cwnd = self.cwnd
        room = self.ssthresh - cwnd
        if room > 0:
            growth = min(acked, cwnd, room)
            self.cwnd = cwnd + growth
            if growth < room:
                return
            acked -= growth
        # RFC 3465 section 2.1
        self._bytes_acked += acked
        if self._bytes_acked >= self.cwnd:
            self._bytes_acked -= self.cwnd
            self.cwnd += self.mss

    def on_loss(self, flight: int, now: Nanoseconds) -> None:
        """RFC 5681 section 3.2 step 2: half of what was in flight (equation 4)."""
        self._before = (self.cwnd, self.ssthresh)
        self.ssthresh = self.cwnd = max(flight // 2, 2 * self.mss)
        self._bytes_acked = 0

    def on_rto(self, flight: int, now: Nanoseconds, first: bool) -> None:
        """5681/3.1-c: ssthresh falls once for one segment, the window to one MSS."""
        if first:
            self._before = (self.cwnd, self.ssthresh)
            self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss
        self._bytes_acked = 0

    def on_recovery_exit(self, now: Nanoseconds) -> None:
        """RFC 6582 section 3.2 step 3, full acknowledgment, option 2."""
        self.cwnd = self.ssthresh
        self._bytes_acked = 0

    def on_spurious(self, now: Nanoseconds) -> None:
        """RFC 4015 section 3: as it was before."""
        if self._before is not None:
            cwnd, self.ssthresh = self._before
            self.cwnd = max(self.cwnd, cwnd)
            self._before = None

    def on_idle(self, now: Nanoseconds, idle_ns: int, rto: int) -> None:
        """5681/4.1: after more than an RTO, no more than the initial window at once."""
        if idle_ns > rto:
            self.cwnd = min(self.cwnd, self.initial_window)
            self._bytes_acked = 0
