"""The interface of congestion control: what it is told, and the window it answers with.

A leaf: it knows octets, times and nothing of segments' fate. Loss detection, retransmission and the
counting of octets in flight belong to `recovery` and `ack`; they tell it what happened and read
`cwnd`. All windows are in octets, times and spans in nanoseconds.

Two kinds of algorithm fit in. One that is told of losses (`reno`, `cubic`) sets a window by `on_ack`,
`on_loss` and `on_rto`, and leaves it to recovery how a window becomes a smaller one. One that has a model
of the path (`bbr`) sets `wants_rate`, takes a `RateSample` with every ACK, names a `pacing_rate`, and with
`own_recovery` its window holds in recovery as it does outside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from scapystack.base.types import Nanoseconds
from scapystack.layers.tcp.rate import RateSample

INFINITE_SSTHRESH = 0x7FFFFFFF
"""RFC 5681 section 3.1: arbitrarily high at the start; more than any window (2**30) can be."""


def initial_window(mss: int, segments: int = 10) -> int:
    """5681/3.1-a as RFC 6928 section 2 has it: min(10 * MSS, max(2 * MSS, 14600)), for any number of segments."""
    return min(segments * mss, max(2 * mss, segments * 1460))


class CongestionControl(ABC):
    """One connection's congestion window. Subclasses set `name` and answer the `on_` methods.

    `mss` is the sender's largest segment (SMSS) and may be assigned when the path MTU changes.
    Between `on_loss` and `on_recovery_exit` (or `on_rto`) there is no `on_ack`.
    """

    __slots__ = ("cwnd", "initial_window", "mss", "ssthresh", "wants_rtt")

    name: str
    wants_rate = False
    """Whether `on_rate` is to be called."""
    own_recovery = False
    """Whether `cwnd` holds in recovery too, without PRR (RFC 6937)."""

    def __init__(self) -> None:
        self.mss = 536
        self.cwnd = 536
        self.initial_window = 536
        self.ssthresh = INFINITE_SSTHRESH
        self.wants_rtt = False
        """Whether `on_rtt` is to be called; a sample with every ACK costs something."""

    def start(self, mss: int, initial_window: int) -> None:
        """Begin, once the handshake has settled the MSS (RFC 6928; one MSS after a lost SYN)."""
        self.mss = mss
        self.cwnd = self.initial_window = max(initial_window, mss)
        self.ssthresh = INFINITE_SSTHRESH

    @property
    def pacing_rate(self) -> int | None:
        """Octets a second at which to space segments; None, and that for good: all that the window allows at once."""
        return None

    @abstractmethod
    def on_ack(self, acked: int, now: Nanoseconds, srtt: int, flight: int, cwnd_limited: bool) -> None:
        """`acked` octets were newly acknowledged, outside of fast recovery.

        `flight` is what is in flight after that; `cwnd_limited` whether the window, and nothing else,
        held the sender back: a window that was not used up says nothing about the path.
        """

    @abstractmethod
    def on_loss(self, flight: int, now: Nanoseconds) -> None:
        """A loss was detected with `flight` octets in flight, and fast recovery begins."""

    @abstractmethod
    def on_rto(self, flight: int, now: Nanoseconds, first: bool) -> None:
        """The retransmission timer ran out; `first` for the first time on this segment."""

    @abstractmethod
    def on_recovery_exit(self, now: Nanoseconds) -> None:
        """All that was in flight at the loss is acknowledged: fast recovery is over."""

    @abstractmethod
    def on_idle(self, now: Nanoseconds, idle_ns: int, rto: int) -> None:
        """Data is about to leave after `idle_ns` with nothing in flight and nothing sent."""

    def on_rtt(self, rtt: int, now: Nanoseconds) -> None:  # noqa: B027 - most need no samples
        """The ACK that is being taken measured a round trip of `rtt`; only while `wants_rtt`, before `on_ack`."""

    def on_rate(self, sample: RateSample, now: Nanoseconds) -> None:  # noqa: B027 - most have no model
        """What the ACK says of the path; with every ACK while `wants_rate`, in recovery too, after `on_ack`.

        The sample is the caller's and changes with the next ACK.
        """

    def on_spurious(self, now: Nanoseconds) -> None:  # noqa: B027 - see below
        """Nothing was lost at the last `on_loss` or `on_rto`: the window may return to what it was.

        To stay with the smaller window is always safe, and so the default.
        """
