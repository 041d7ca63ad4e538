"""What an acknowledgement does: RFC 9293 section 3.10.7.4, "fifth, check the ACK field".

`process_ack` moves SND.UNA and the window, times the round trip, frees the send buffer and tells
`recovery` what it saw. Read `recovery` for duplicates and losses.
"""

from __future__ import annotations

from scapystack.base.segment import Segment
from scapystack.base.seq import HALF, seq_ge, seq_gt, seq_lt
from scapystack.base.types import MILLISECOND, SECOND
from scapystack.layers.tcp import pathmtu, recovery
from scapystack.layers.tcp.tcb import NEVER, Tcb

MASK = 0xFFFFFFFF
_NO_STRAY_SAMPLE = 300 * SECOND


def process_ack(c: Tcb, seg: Segment) -> bool:
    """Take SEG.ACK of a synchronised connection. False if the segment must be dropped."""
    una = c.snd_una
    acked = (seg.ack - una) & MASK
    if acked == 0:
        if recovery.is_duplicate(c, seg):
            recovery.on_duplicate_ack(c)
        update_window(c, seg)
        return True
    if acked > (c.snd_nxt - una) & MASK:
        return _outside(c, seg)
    _advance(c, seg, acked)
    return True


def _outside(c: Tcb, seg: Segment) -> bool:
    """An ACK of what was never sent, or an old one (5961/5, MAY-12: RFC 5961 section 5.2)."""
    if seq_gt(seg.ack, c.snd_nxt):
        c.core.counters["tcp.drop.ack_too_new"] += 1
        c.tcp.challenge(c)
        return False
    if (c.snd_una - seg.ack) & MASK > c.max_snd_wnd:
        c.core.counters["tcp.drop.ack_too_old"] += 1
        c.tcp.challenge(c)
        return False
    return True  # an old duplicate: its text is still good


def _advance(c: Tcb, seg: Segment, acked: int) -> None:
    now = c.core.now
    flight = (c.snd_nxt - c.snd_una) & MASK
    time_round_trip(c, seg, now)
    octets = acked
    if c.fin_sent and acked == flight:
        octets -= 1  # the FIN takes a number and no room
    if octets:
        c.sendbuf.ack(octets)
    c.snd_una = seg.ack
    if c.rtx_nxt != c.rtx_end and seq_lt(c.rtx_nxt, seg.ack):
        c.rtx_nxt = seg.ack if seq_lt(seg.ack, c.rtx_end) else c.rtx_end
    recovery.on_new_ack(c, acked, now)
    update_window(c, seg)
    c.retransmits = 0
    if acked >= c.snd_mss != c.mss_acked:
        pathmtu.full_sized_ack(c)
    if c.snd_up is not None and seq_ge(seg.ack, c.snd_up):
        c.snd_up = None
    # 6298/5.1-5.3: (5.2) and (5.3); the heap keeps its earlier entry and finds the later deadline itself
    if acked == flight:
        c.rtx_at = NEVER
    elif c.snd_wnd:
        c.rtx_at = now + c.rtt.rto
        c.arm(c.rtx_at)
    if c.want_write and c.writable_room():
        c.want_write = False
        c.core.mark_ready(c)
    if len(c.sendbuf) > c.flight or c.rtx_nxt != c.rtx_end or (c.fin_queued and not c.fin_sent):
        c.mark_dirty()


def time_round_trip(c: Tcb, seg: Segment, now: int) -> None:
    """One sample: of the segment being timed, else by the timestamp that comes back (RFC 7323 section 4).

    7323/3.2-b: TSecr means something only beside an ACK, and without one nothing comes here.
    """
    if c.rtt_seq is None:
        rtt = _echoed(c, seg)
        if rtt:
            c.rtt.sample(rtt)
    elif seq_ge(seg.ack, c.rtt_seq):
        rtt = max(now - c.rtt_at, 1)
        c.rtt.sample(rtt)
        c.rtt_seq = None
    elif c.cc.wants_rtt:
        rtt = _echoed(c, seg)  # too many for the estimator, whose gains are for one a round trip
    else:
        return
    if rtt and c.cc.wants_rtt:
        c.cc.on_rtt(rtt, now)


def _echoed(c: Tcb, seg: Segment) -> int:
    """The round trip by the timestamp that comes back; 0 where it tells none."""
    if c.ts_ok and seg.tsecr:
        if c.rtx_ts is not None:
            # MUST-18, Karn: an echo from before the last retransmission may repeat what an ACK that was lost
            # has told long ago (a duplicate moves no TS.Recent), and would time the timeout
            if (seg.tsecr - c.rtx_ts) & HALF:
                return 0
            c.rtx_ts = None
        age = (c.ts_now() - seg.tsecr) & MASK
        # a TSecr that we never sent, or from the future, gives no sample
        if age < HALF and age * MILLISECOND < _NO_STRAY_SAMPLE:
            return max(age, 1) * MILLISECOND
    return 0


def update_window(c: Tcb, seg: Segment) -> None:
    """Take SEG.WND if the segment is not older than the last that set it (SND.WL1, SND.WL2)."""
    wl1 = c.snd_wl1
    if seq_lt(wl1, seg.seq) or (wl1 == seg.seq and not seq_lt(seg.ack, c.snd_wl2)):
        wnd = seg.wnd << c.snd_wscale
        c.snd_wl1 = seg.seq
        c.snd_wl2 = seg.ack
        if wnd != c.snd_wnd:
            _set_window(c, wnd)


def _set_window(c: Tcb, wnd: int) -> None:
    was = c.snd_wnd
    c.snd_wnd = wnd
    if wnd > was:
        c.max_snd_wnd = max(c.max_snd_wnd, wnd)
        c.usual_snd_wnd = max(c.usual_snd_wnd, wnd)
        if was == 0 and c.snd_una != c.snd_nxt:
            # what was probed, or sent into a window that then closed, may never have been taken
            recovery.resend_all(c)
        c.persist_shift = 0
        c.persist_at = NEVER
        c.mark_dirty()
    elif wnd == 0:
        c.mark_dirty()
