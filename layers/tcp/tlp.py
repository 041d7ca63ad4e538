"""Tail loss probes (RFC 8985 section 7, 8985/7): an ACK is overdue, and one segment is sent to draw one out.

What is lost at the end of a burst has nothing behind it whose SACK could tell. After two round trips
without an ACK the probe goes, long before the retransmission timer, and its SACK lets `recovery` find the
rest. At most one probe is under way, and no second one before a round trip was measured.
"""

from __future__ import annotations

from scapystack.base.types import MILLISECOND, SECOND
from scapystack.layers.tcp.tcb import NEVER, Tcb

_SLACK = 2 * MILLISECOND
"""Added to the two round trips, so that on a path of microseconds what a scheduler does is no loss."""
_MAX_ACK_DELAY = 200 * MILLISECOND
"""TLP.max_ack_delay: as long as Linux may delay an ACK."""


def arm(c: Tcb, now: int) -> None:
    """8985/7: section 7.2, start the timer where a probe could be of use; no later than the RTO, whose place it takes.

    Not before a handshake by Fast Open is over: the RTO's place is the SYN-ACK's then.
    """
    board = c.board
    if c.ca_state or not c.sack_ok or board.sacked.size or c.rack.probe_end is not None or not c.config.loss_probes:
        c.probe_at = NEVER
        return
    if c.fastopen is not None:
        return
    srtt = c.rtt.srtt
    pto = 2 * srtt + _SLACK if srtt else SECOND
    if board.nxt - board.una <= c.snd_mss:
        pto += _MAX_ACK_DELAY
    c.probe_at = at = min(now + pto, c.rtx_at)
    c.arm(at)


def on_ack(c: Tcb, acked: int, sacks: bool) -> bool:
    """8985/7: section 7.4.2, TLP_process_ack: whether the probe has repaired a loss that nothing else has shown."""
    rack = c.rack
    board = c.board
    end = rack.probe_end
    if end is None or board.una < end:
        return False
    if not rack.probe_resent:
        rack.probe_end = None
    elif board.dsack is not None and board.dsack[1] == end:
        rack.probe_end = None  # both copies have arrived
    elif board.una > end:
        rack.probe_end = None
        c.core.counters["tcp.loss_probe_recoveries"] += 1
        return True
    elif not acked and not sacks:
        rack.probe_end = None  # a duplicate, by a peer that sends no D-SACK
    return False
