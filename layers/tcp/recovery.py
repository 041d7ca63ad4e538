"""Losses: fast retransmit and NewReno recovery (RFC 5681 section 3.2, RFC 6582), limited transmit
(RFC 3042), and what a retransmission timeout sends again (RFC 6298 section 5).

What has to be sent again is one range in the `Tcb`, [`rtx_nxt`, `rtx_end`); `output.retransmit`
works it off. `inflation` is what limited transmit adds to cwnd; in fast recovery the congestion
control inflates its own window.
"""

from __future__ import annotations

from scapystack.base.segment import FIN, SYN, Segment
from scapystack.base.seq import seq_add, seq_ge, seq_gt, seq_lt
from scapystack.layers.tcp.tcb import Tcb

DUP_THRESH = 3
MASK = 0xFFFFFFFF


def is_duplicate(c: Tcb, seg: Segment) -> bool:
    """RFC 5681 section 2: data in flight, no text, no SYN or FIN, same ACK, same window.

    RFC 6675 section 2: or, whatever the window, news in SACK. A receiver that sizes its window as it
    goes (Linux does) opens it with every segment, those out of order too.
    """
    if c.snd_una == c.snd_nxt or len(seg.payload) or seg.flags & (SYN | FIN) or c.snd_wnd == 0:
        return False
    return seg.wnd << c.snd_wscale == c.snd_wnd or (c.sack_ok and _sack_is_news(c, seg))


def _sack_is_news(c: Tcb, seg: Segment) -> bool:
    """Whether SACK tells of octets above SND.UNA, and not what it told last (a mere update of the window)."""
    if not seg.sack or seg.sack == c.last_sack:
        return False
    c.last_sack = seg.sack
    return any(seq_gt(right, c.snd_una) for _, right in seg.sack)


def on_duplicate_ack(c: Tcb) -> None:
    """Count it; the third starts fast retransmit."""
    c.dupacks += 1
    mss = c.snd_mss
    if c.in_recovery:
        if c.dup_room > 0:
            c.dup_room -= 1
            c.cc.on_duplicate(mss)  # RFC 6582 section 3.2 step 3: a segment has left the network
    elif c.rto_recovery:
        return
    elif c.dupacks < DUP_THRESH:
        c.inflation = c.dupacks * mss  # 5681/3.2-b: new data for each of the first two
    elif c.dupacks == DUP_THRESH and _is_a_loss(c):
        _enter(c)
    c.mark_dirty()


def _is_a_loss(c: Tcb) -> bool:
    """6582/3.2 step 1: three duplicates for `recover` itself may be the echo of what was sent twice.

    6582/4, the ACK heuristic: they are not if the window is open and the ACK before them covered little,
    for segments that the receiver had already would have been covered by it at a leap.
    """
    return seq_gt(c.snd_una, c.recover) or (c.cc.cwnd > c.snd_mss and c.last_acked <= 4 * c.snd_mss)


def _enter(c: Tcb) -> None:
    """5681/3.2-c, RFC 6582 section 3.2 step 2."""
    now = c.core.now
    c.in_recovery = True
    c.recover = c.snd_nxt
    c.cc.on_loss(c.flight, now)
    c.inflation = 0
    c.cc.on_duplicate(DUP_THRESH * c.snd_mss)
    _expect_duplicates(c)
    c.core.counters["tcp.fast_retransmits"] += 1
    _resend_first(c)


def _expect_duplicates(c: Tcb) -> None:
    """RFC 5681 section 5: no more duplicates count than there are segments; who sends others wants a window."""
    c.dup_room = c.flight // c.snd_mss


def _resend_first(c: Tcb) -> None:
    c.rtx_nxt = c.snd_una
    end = seq_add(c.snd_una, c.snd_mss)
    c.rtx_end = end if seq_lt(end, c.snd_nxt) else c.snd_nxt


def on_new_ack(c: Tcb, acked: int, now: int) -> None:
    """SND.UNA has moved by `acked`."""
    c.dupacks = 0
    c.last_acked = acked
    if c.in_recovery:
        if seq_ge(c.snd_una, c.recover):
            _leave(c, now)
        else:
            # step 3, partial ACK: the next hole, and deflate by what was acknowledged
            c.cc.on_partial_ack(acked)
            _expect_duplicates(c)
            _resend_first(c)
        return
    c.inflation = 0
    if not c.rto_recovery:
        c.recover = (c.snd_una - 1) & MASK  # drawn along: left behind, it would seem to lie ahead after 2 GB
    elif seq_ge(c.snd_una, c.recover):
        c.rto_recovery = False
    c.cc.on_ack(acked, now, c.rtt.srtt, c.flight, c.cwnd_limited or c.rto_recovery)


def _leave(c: Tcb, now: int) -> None:
    c.in_recovery = False
    c.inflation = 0
    c.cc.on_recovery_exit(now)
    c.rtx_nxt = c.rtx_end = c.snd_nxt


def on_timeout(c: Tcb, now: int) -> None:
    """6298/5.4-5.6, RFC 5681 section 3.1, RFC 6582 section 3.2 step 4."""
    # 6675/5.1 and 5681/3.1-c: ssthresh falls once for a loss, not again while it is being mended
    first = c.retransmits == 0 and not (c.rto_recovery and seq_gt(c.recover, c.snd_una))
    # in fast recovery, duplicates have let far more into flight than the window that the loss has set
    flight = min(c.flight, c.cc.ssthresh) if c.in_recovery else c.flight
    c.cc.on_rto(flight, now, first)
    c.rtt.back_off()
    c.in_recovery = False
    c.rto_recovery = True
    c.inflation = 0
    c.dupacks = 0
    c.recover = c.snd_nxt
    c.retransmits += 1
    resend_all(c)


def resend_all(c: Tcb) -> None:
    """Everything under way counts as lost (2018/8: what SACK told of, too): go back to SND.UNA."""
    c.rtt_seq = None
    c.rtx_nxt = c.snd_una
    c.rtx_end = c.snd_nxt
    c.mark_dirty()
