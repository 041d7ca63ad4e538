"""What one ACK says of the path's delivery rate (draft-cheng-iccrg-delivery-rate-estimation).

The sample is of the piece sent last among those that the ACK acknowledged or selectively acknowledged:
how much was delivered since that piece left, and in which time, the longer of sending and acknowledging,
so that neither a burst of sending nor of ACKs looks like bandwidth.
"""

from __future__ import annotations

from dataclasses import dataclass

from scapystack.base.types import Nanoseconds
from scapystack.layers.tcp.scoreboard import Piece, Scoreboard
from scapystack.layers.tcp.state import RECOVERY


@dataclass(slots=True)
class RateSample:
    """What a congestion control that `wants_rate` is told with each ACK. Octets and nanoseconds."""

    delivered: int = 0
    """Over the interval; 0: the ACK delivered nothing, or tells no rate."""
    interval_ns: Nanoseconds = 0
    rtt_ns: Nanoseconds = 0
    """Of the newest piece that was acknowledged and not sent twice; 0: none."""
    acked: int = 0
    """Newly delivered by this ACK, selectively or not."""
    lost: int = 0
    """Newly marked lost with this ACK."""
    in_flight: int = 0
    """In the network (RFC 6675's pipe) after the ACK."""
    prior_in_flight: int = 0
    """And before it."""
    prior_delivered: int = 0
    """`total_delivered` as it was when the newest acknowledged piece left: where its round began."""
    total_delivered: int = 0
    """Since the connection began."""
    app_limited: bool = False
    """The sender had nothing to send within the interval: the rate is a lower bound of what the path can do."""
    is_recovery: bool = False
    """Taken in fast recovery, or after a timeout until what was lost then is mended."""


def keep(board: Scoreboard, piece: Piece, now: Nanoseconds) -> None:
    """Remember the rate that an ACK of `piece` tells, for `info`; one that the application made does not
    displace one that the path did.
    """
    interval = max(piece.sent_at - piece.first_sent_at, now - piece.delivered_at)
    if interval >= board.min_rtt and (board.rate_app_limited or not piece.app_limited):
        board.rate_delivered = board.delivered - piece.delivered
        board.rate_interval = interval
        board.rate_app_limited = piece.app_limited


def sample(
    board: Scoreboard, acked: int, lost: int, prior_in_flight: int, ca_state: int, now: Nanoseconds
) -> RateSample:
    """The sample of the ACK that the board took last."""
    out = RateSample(acked=acked, lost=lost, prior_in_flight=prior_in_flight, is_recovery=ca_state >= RECOVERY)
    out.in_flight = board.pipe
    out.total_delivered = board.delivered
    if board.newest_at is not None:
        out.rtt_ns = max(now - board.newest_at, 1)
    piece = board.rate_piece
    if piece is None:
        out.prior_delivered = board.delivered
        return out
    out.prior_delivered = piece.delivered
    out.app_limited = piece.app_limited
    interval = max(piece.sent_at - piece.first_sent_at, now - piece.delivered_at)
    # within less than the least round trip nobody can tell (a retransmission whose original was acknowledged)
    if interval >= board.min_rtt and interval > 0:
        out.delivered = board.delivered - piece.delivered
        out.interval_ns = interval
    return out
