"""What a connection counts for `info` alone: what seldom happens, and what its sender waited for.

A connection to which nothing happened has no `Tally`: it is made by the first event (`Tcb.note`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scapystack.base.types import Nanoseconds
from scapystack.layers.tcp.rack import DUP_THRESH

if TYPE_CHECKING:
    from scapystack.layers.tcp.tcb import Tcb

# what a sender does (`Tcb.sending`)
IDLE = 0
BUSY = 1  # something is written and not acknowledged
HELD_BY_PEER = 2  # the same, and the peer's window alone keeps more from leaving
HELD_BY_BUFFER = 3  # all that fits into the send buffer is under way, and the application has more

_MOST_REORDERING = 300  # Linux's tcp_max_reordering


class Tally:
    """Counts since the connection began. Octets, segments, and spans in nanoseconds."""

    __slots__ = (
        "bytes_retrans", "delivered_ce", "dsack_dups", "fastopen_fail", "held_by_buffer_ns", "held_by_peer_ns",
        "rcv_ooopack", "received_ce", "reord_seen", "reordering", "rto_ns", "rto_recoveries", "rto_since", "timeouts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.bytes_retrans = 0
        self.rcv_ooopack = 0
        self.dsack_dups = 0
        self.reord_seen = 0
        self.reordering = DUP_THRESH  # segments, the most that were seen
        self.timeouts = 0
        self.rto_recoveries = 0
        self.rto_ns = 0  # those that are over
        self.rto_since: Nanoseconds = 0  # the one that is not
        self.fastopen_fail = 0
        self.delivered_ce = 0
        self.received_ce = 0
        self.held_by_peer_ns = 0
        self.held_by_buffer_ns = 0

    def timeout(self, now: Nanoseconds) -> None:
        """The retransmission timer ran out."""
        self.timeouts += 1
        if not self.rto_since:
            self.rto_recoveries += 1
            self.rto_since = now

    def reordered(self, segments: int) -> None:
        """A segment came so many too late."""
        self.reord_seen += 1
        self.reordering = max(self.reordering, min(segments, _MOST_REORDERING))

    def heard(self, now: Nanoseconds) -> None:
        """After timeouts an ACK has come."""
        if self.rto_since:
            self.rto_ns += now - self.rto_since
            self.rto_since = 0


NOTHING = Tally()
"""Of a connection without one; never counted in."""


def set_sending(c: Tcb, state: int, now: Nanoseconds) -> None:
    """The sender does something else from now on; how long it did what it did is added up."""
    was = c.sending
    span = now - c.sending_since
    if was:
        c.busy_ns += span
        if was == HELD_BY_PEER:
            c.note().held_by_peer_ns += span
        elif was == HELD_BY_BUFFER:
            c.note().held_by_buffer_ns += span
    c.sending = state
    c.sending_since = now
