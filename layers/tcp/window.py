"""The window that we offer: how much the peer may send, and when it is worth telling (RFC 9293 section 3.8.6)."""

from __future__ import annotations

from scapystack.base.seq import seq_gt
from scapystack.layers.tcp.memory import SHARE
from scapystack.layers.tcp.tcb import Tcb

MASK = 0xFFFFFFFF


def window_field(c: Tcb) -> int:
    """What to write into the window field; moves the advertised edge.

    The edge never moves back (SHLD-14; 7323/2.4: all of it is taken, though the field rounds), and
    forward only by a segment or half the buffer at a time (MUST-39, RFC 9293 section 3.8.6.2.2).
    """
    held = len(c.recvq)
    limit = c.options.rcvbuf
    nxt = c.rcv_nxt
    open_ = (c.rcv_adv - nxt) & MASK
    space = limit - held
    if c.tcp.memory.received > c.config.max_receive_bytes:
        space = min(limit, SHARE) - held
    window = space if space - open_ >= min(limit >> 1, c.rcv_mss) else open_
    scale = c.rcv_wscale
    field = min(window >> scale, 0xFFFF)  # MUST-1
    shown = field << scale
    if shown < open_ and field < 0xFFFF and held + shown <= limit:
        # rounding down would take back a few octets: round up, at most one unit over the limit
        field += 1
        shown = field << scale
    edge = (nxt + shown) & MASK
    if seq_gt(edge, c.rcv_adv):
        c.rcv_adv = edge
    return field


def window_opened(c: Tcb) -> bool:
    """Whether the application has read enough for the peer to be told (MUST-39)."""
    space = c.options.rcvbuf - len(c.recvq)
    grown = space - ((c.rcv_adv - c.rcv_nxt) & MASK)
    return grown >= min(c.options.rcvbuf >> 1, max(2 * c.rcv_mss, c.options.rcvbuf >> 3))
