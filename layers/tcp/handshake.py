"""Opening a connection: what a listener does with a SYN, SYN-SENT and SYN-RECEIVED.

RFC 9293 sections 3.5 (three-way and simultaneous open), 3.10.7.2 (LISTEN), 3.10.7.3 (SYN-SENT) and
the part of 3.10.7.4 that concerns SYN-RECEIVED. The options that both sides agree on are settled here.
"""

from __future__ import annotations

import errno

from scapystack.base.segment import ACK, RST, SYN, Segment
from scapystack.base.seq import seq_gt, seq_le
from scapystack.layers.tcp import early, ecn, tlp
from scapystack.layers.tcp.ack import time_syn
from scapystack.layers.tcp.congestion.control import initial_window
from scapystack.layers.tcp.output import syn_window
from scapystack.layers.tcp.pathmtu import MIN_MSS, advertised_mss, search_upwards, set_mss
from scapystack.layers.tcp.scoreboard import Scoreboard
from scapystack.layers.tcp.state import ESTABLISHED, FIN_WAIT_1, SYN_RECEIVED
from scapystack.layers.tcp.tcb import NEVER, Tcb
from scapystack.layers.tcp.timers import start_keepalive

MASK = 0xFFFFFFFF


def syn_sent(c: Tcb, seg: Segment) -> None:
    """RFC 9293 section 3.10.7.3."""
    flags = seg.flags
    acceptable = bool(flags & ACK)
    if flags & ACK and (seq_le(seg.ack, c.iss) or seq_gt(seg.ack, c.snd_nxt)):
        if not flags & RST:
            c.tcp.send_rst_for(seg)
        c.core.counters["tcp.drop.bad_ack"] += 1
        return
    if flags & RST:
        # 5961/3-d: only with an acceptable ACK
        if acceptable:
            c.core.counters["tcp.resets_received"] += 1
            c.tcp.close(c, errno.ECONNREFUSED)
        else:
            c.core.counters["tcp.drop.rst_no_ack"] += 1
        return
    if not flags & SYN:
        c.core.counters["tcp.drop.no_syn"] += 1
        return
    take_syn(c, seg)
    if acceptable:
        c.snd_una = seg.ack
        _syn_acknowledged(c, seg)
        established(c)
        c.ack_now = True
    else:
        # simultaneous open (MUST-10): both SYNs have crossed
        c.move(SYN_RECEIVED)
        if c.fastopen is not None:
            c.fastopen.plain = True  # the cookie was for a server
        c.rtx_at = NEVER
        c.syn_pending = True
    c.mark_dirty()


def take_syn(c: Tcb, seg: Segment) -> None:
    """Learn from the peer's SYN: its sequence number, window and options."""
    c.irs = seg.seq
    if c.passive:
        c.segs_in = 1
    c.rcv_nxt = (seg.seq + 1) & MASK
    c.last_ack_sent = c.rcv_nxt
    config = c.config
    c.peer_mss = peer_mss(seg)
    # 7323/2.2: scaling needs both SYNs; 7323/2.3: a shift above 14 means 14
    c.ws_ok = seg.wscale is not None and config.window_scaling
    c.snd_wscale = min(seg.wscale or 0, 14) if c.ws_ok else 0
    if not c.ws_ok:
        c.rcv_wscale = 0
    elif c.passive:
        c.rcv_wscale = window_shift(c.options.rcvbuf)
    # else what our SYN has offered stands, though the buffer may have been set since
    c.ts_ok = seg.tsval is not None and config.timestamps
    if c.ts_ok:
        c.ts_recent = seg.tsval or 0
        c.ts_recent_at = c.core.now
    c.sack_ok = seg.sack_permitted and config.sack
    ecn.take_syn(c, seg)
    shown = syn_window(c.options.rcvbuf, advertised_mss(c), c.passive and c.ts_ok)  # by our SYN
    c.rcv_adv = (c.rcv_nxt + shown) & MASK
    c.snd_wnd = seg.wnd  # never scaled in a SYN
    c.max_snd_wnd = c.usual_snd_wnd = seg.wnd
    c.snd_wl1 = seg.seq
    c.snd_wl2 = seg.ack
    set_mss(c)
    c.rcv_mss = min(536, advertised_mss(c), c.peer_mss) - (12 if c.ts_ok else 0)  # until larger ones come


def peer_mss(syn: Segment) -> int:
    """What the peer takes in one segment, by its SYN; MUST-15: without the option 536, or 1220 over IPv6."""
    return max(syn.mss, MIN_MSS) if syn.mss is not None else (536 if len(syn.src) == 4 else 1220)


def window_shift(rcvbuf: int) -> int:
    """The smallest shift with which the window field can say `rcvbuf` (RFC 7323 section 2.3: at most 14)."""
    return min(max(rcvbuf.bit_length() - 16, 0), 14)


def syn_received(c: Tcb, seg: Segment) -> bool:
    """The ACK that ends the handshake. True if the segment's rest is to be processed."""
    if seq_le(seg.ack, c.iss) or seq_gt(seg.ack, c.snd_nxt):
        c.core.counters["tcp.drop.bad_ack"] += 1
        c.tcp.send_rst_for(seg)
        return False
    was_early = c.early
    listener = c.listener
    if listener is not None and not was_early and not listener.admit(c):
        return False
    c.snd_wnd = seg.wnd << c.snd_wscale
    c.usual_snd_wnd = c.snd_wnd
    c.max_snd_wnd = max(c.max_snd_wnd, c.snd_wnd)
    c.snd_wl1 = seg.seq
    c.snd_wl2 = seg.ack
    c.snd_una = (c.iss + 1) & MASK
    _syn_acknowledged(c, seg)
    established(c)
    if was_early and c.snd_nxt != c.snd_una:
        c.rtx_at = c.core.now + c.rtt.rto  # from here on the timer is for what was sent behind the SYN-ACK
        c.arm(c.rtx_at)
        tlp.arm(c, c.core.now)
    return True


def _syn_acknowledged(c: Tcb, seg: Segment) -> None:
    """The SYN is through: time it, stop its timer, and see what became of its data."""
    time_syn(c, seg, c.core.now)
    if c.fastopen is not None and not c.passive:
        early.answered(c, seg)
    c.rtx_at = NEVER
    if c.retransmits:
        c.retransmits = 0
        c.note().heard(c.core.now)


def established(c: Tcb) -> None:
    """Enter ESTABLISHED: windows of congestion control, keep-alive; wake whoever waits.

    A CLOSE that came before the ACK of our SYN has waited for it (RFC 9293 section 3.10.4).
    """
    c.move(FIN_WAIT_1 if c.fin_queued else ESTABLISHED)
    c.heard_at = c.core.now
    if c.syn_pending:  # a SYN came in this very burst, and what settles it behind: an ACK is all that it still asks for
        c.syn_pending = False
        c.ack_now = True
    if not c.early:
        c.board = Scoreboard(c.snd_una)
    if not c.early or c.syn_retransmitted:
        start_sending(c)
    if c.fastopen is not None:
        early.completed(c)
    if c.options.keepalive:
        start_keepalive(c)
    c.core.mark_ready(c)
    c.tcp.opened(c)
    c.mark_dirty()


def start_sending(c: Tcb) -> None:
    """Set the initial window: in ESTABLISHED, or earlier for an early connection (RFC 7413 section 4.2.2, 6)."""
    if c.config.mtu_probing == 2:
        search_upwards(c)
    segments = c.config.initial_cwnd_segments
    if c.syn_retransmitted:
        c.rtt.after_lost_syn()  # 6298/5.7
        if c.total_retrans >= c.config.slow_after_lost_syns:
            segments = 1  # 5681/3.1-d: the path has shown a loss; one alone may have been a slow path's (RFC 6928)
    c.cc.start(c.snd_mss, initial_window(c.snd_mss, segments))
