"""HyStart++ (RFC 9406): leave the first slow start when the round trip grows, before the queue overflows.

Slow start doubles the window until something is lost, and what is lost then is up to a whole window.
A queue that fills shows earlier: the least round trip of a round is longer than that of the round
before. Slow start then goes on at a quarter of its pace (Conservative Slow Start, CSS). If the round
trip falls back, it was jitter and slow start resumes; if not, it is over after five rounds.

A round ends, as in section 4.2, when all that was in flight at its start is acknowledged; the ACK that
goes beyond it is the first of the next. (Were it the one before, each round would end a little ahead of
the train of segments it belongs to, and after some doublings in the middle of one, where the queue that
the train itself makes would pass for one that stands.) That is counted in octets, so it does not matter
how many segments one ACK covers. Samples are counted by ACKs: a round of fewer than eight judges nothing,
and slow start stays what RFC 5681 has.
"""

from __future__ import annotations

from scapystack.base.types import MILLISECOND

MIN_RTT_THRESH = 4 * MILLISECOND
MAX_RTT_THRESH = 16 * MILLISECOND
MIN_RTT_DIVISOR = 8
N_RTT_SAMPLE = 8
CSS_GROWTH_DIVISOR = 4
CSS_ROUNDS = 5


class HyStart:
    """The rounds of one connection's first slow start, and what their round trips say. Spans in ns."""

    __slots__ = ("_baseline", "_css_rounds", "_last_min", "_left", "_round_min", "_samples", "css")

    def __init__(self) -> None:
        self.css = False
        """In CSS: the window grows by a `CSS_GROWTH_DIVISOR`th of what slow start would give."""
        self._baseline = 0
        self._css_rounds = 0
        self._left = 0  # octets until what was in flight at the start of the round is acknowledged
        self._last_min = 0  # the least sample of the round before, and of this one; 0: infinite
        self._round_min = 0
        self._samples = 0

    def on_ack(self, acked: int, flight: int, rtt: int) -> bool:
        """`acked` octets were newly acknowledged, `flight` are in flight still, `rtt` was measured (0: nothing).

        True: slow start is over. May enter CSS, or leave it for slow start again.
        """
        self._left -= acked
        if self._left < 0:
            self._left = flight
            self._last_min = self._round_min
            self._round_min = self._samples = 0
            if self.css:
                self._css_rounds += 1  # that in which CSS began counts as one
                if self._css_rounds >= CSS_ROUNDS:
                    return True
        if rtt:
            self._sample(rtt)
        return False

    def _sample(self, rtt: int) -> None:
        self._samples += 1
        least = self._round_min
        if not least or rtt < least:
            self._round_min = least = rtt
        if self._samples < N_RTT_SAMPLE:
            return
        if self.css:
            if least < self._baseline:
                self.css = False
            return
        last = self._last_min
        if last and least >= last + min(max(last // MIN_RTT_DIVISOR, MIN_RTT_THRESH), MAX_RTT_THRESH):
            self.css = True
            self._baseline = least
            self._css_rounds = 0
