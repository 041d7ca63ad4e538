"""`Episode`: one response to congestion, from the reduction of the window to the ACK of `recover`. A leaf.

It answers two questions. How much may leave meanwhile: Proportional Rate Reduction (RFC 6937) brings what
is in the network down to ssthresh by the end of a round trip, evenly, whatever is lost and however
many ACKs are. And whether there was any loss at all: what was sent again is counted, and with it what
D-SACK says came twice (RFC 3708 section 3), and the first retransmission's timestamp is noted
(Eifel, RFC 3522). Sequence numbers are unwrapped (`scoreboard`), sizes in octets.
"""

from __future__ import annotations

from scapystack.layers.tcp.ranges import RangeSet

FRTO_OFF = 0
FRTO_RESENT = 1
FRTO_ASKED = 2
FRTO_WAITS = 3
"""F-RTO (RFC 5682): the first segment was sent again (step 1); its ACK came, and new data is to leave instead of
old (step 2b); it has left, and the next ACK tells (step 3)."""


class Episode:
    """Begun by a loss, a timeout or ECN; the next one replaces it."""

    __slots__ = (
        "again",
        "cwnd",
        "first_resend_ms",
        "flight",
        "frto",
        "high_rxt",
        "prr_delivered",
        "prr_out",
        "recover",
        "rescued",
        "resent",
        "spurious",
        "undoable", "until",
    )  # fmt: skip

    def __init__(self, una: int, recover: int, flight: int) -> None:
        self.recover = recover  # RecoveryPoint: the highest number sent when it began
        self.flight = max(flight, 1)  # RecoverFS
        self.until = recover  # once it is over: how far D-SACKs are waited for
        self.cwnd = 0  # what may be in the network, until the next ACK
        self.prr_delivered = 0
        self.prr_out = 0
        self.high_rxt = una  # HighRxt: how far it was sent again
        self.rescued = False  # RFC 6675 section 4, NextSeg (4): once an episode
        self.undoable = True
        self.again = RangeSet()  # what was sent again
        self.resent = 0
        self.spurious = 0
        self.first_resend_ms = 0
        self.frto = FRTO_OFF

    def progress(self, delivered: int, pipe: int, ssthresh: int, mss: int) -> None:
        """An ACK has delivered so many octets: RFC 6937 section 3.1, with the slow start reduction bound."""
        self.prr_delivered += delivered
        if pipe > ssthresh:
            sndcnt = -(-self.prr_delivered * ssthresh // self.flight) - self.prr_out
        else:
            limit = max(self.prr_delivered - self.prr_out, delivered) + mss
            sndcnt = min(ssthresh - pipe, limit)
        self.cwnd = pipe + max(sndcnt, 0)

    def sent_again(self, end: int, octets: int, now_ms: int) -> None:
        """A retransmission of so many octets up to `end` has left, at that time of the timestamp clock."""
        if not self.resent:
            self.first_resend_ms = now_ms
        self.resent += octets
        self.high_rxt = max(self.high_rxt, end)
        self.again.add(end - octets, end)

    def came_twice(self, left: int, right: int) -> bool:
        """A D-SACK names [left, right). Whether now all that was sent again is known to have come twice.

        What came twice and was not sent again is the network's doing, and proves nothing.
        """
        self.spurious += self.again.overlap(left, right)
        return self.undoable and 0 < self.resent <= self.spurious
