"""RACK (RFC 8985 section 6, 8985/6): how long what was overtaken is given before it counts as lost. A leaf.

The times of sending and the marking stand in `scoreboard`; this is the reordering window alone, and what
it learns: it opens when a path is seen to reorder, and further while D-SACKs tell that what was given
up had arrived.
"""

from __future__ import annotations

DUP_THRESH = 3
_PERSIST = 16  # recoveries
_MOST = 255


class Rack:
    """RACK's variables of one connection. Spans in nanoseconds, sequence numbers unwrapped (`scoreboard`)."""

    __slots__ = (
        "dsack_round", "probe_end", "probe_resent", "reo_wnd_mult", "reo_wnd_persist", "reordering_seen", "sampled",
    )  # fmt: skip

    def __init__(self) -> None:
        self.reordering_seen = False
        self.dsack_round: int | None = None
        self.reo_wnd_mult = 1
        self.reo_wnd_persist = 0
        # the loss probe (`tlp`)
        self.probe_end: int | None = None  # TLP.end_seq
        self.probe_resent = False  # TLP.is_retrans
        self.sampled = True  # a round trip was measured since the last probe

    def saw_dsack(self, una: int, nxt: int) -> None:
        """An ACK carried a D-SACK: once a round trip, the window grows by a quarter of the least one (step 4)."""
        if self.dsack_round is not None and una < self.dsack_round:
            return
        self.dsack_round = nxt
        self.reo_wnd_mult = min(self.reo_wnd_mult + 1, _MOST)
        self.reo_wnd_persist = _PERSIST

    def recovery_ended(self) -> None:
        """A wide window is kept for so many recoveries, and then tried anew (step 4)."""
        self.reo_wnd_persist -= 1
        if self.reo_wnd_persist <= 0:
            self.reo_wnd_mult = 1

    def window(self, recovering: bool, sacked_segments: int, min_rtt: int, srtt: int) -> int:
        """RACK.reo_wnd: 0 where nothing hints at reordering and a loss is as good as certain (step 4)."""
        if not self.reordering_seen and (recovering or sacked_segments >= DUP_THRESH):
            return 0
        return min(self.reo_wnd_mult * (min_rtt >> 2), srtt)
