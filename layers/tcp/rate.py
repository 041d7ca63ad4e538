"""What one ACK says of the path's delivery rate (draft-cheng-iccrg-delivery-rate-estimation).

The sample is of the piece sent last among those that the ACK acknowledged or selectively acknowledged:
how much was delivered since that piece left, and in which time, the longer of sending and acknowledging,
so that neither a burst of sending nor of ACKs looks like bandwidth.
"""

from __future__ import annotations

from dataclasses import dataclass

from scapystack.base.types import Nanoseconds


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
