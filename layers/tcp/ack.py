"""What an acknowledgement does: RFC 9293 section 3.10.7.4, "fifth, check the ACK field".

`process_ack` moves SND.UNA and the window, times the round trip, frees the send buffer, has the
scoreboard take what is new, and tells `recovery`. Read `recovery` for duplicates and losses.
"""

from __future__ import annotations

from scapystack.base.segment import ECE, Segment
from scapystack.base.seq import HALF, seq_ge, seq_gt, seq_lt
from scapystack.base.types import MILLISECOND, SECOND, Nanoseconds
from scapystack.layers.tcp import ecn, pathmtu, recovery, tlp
from scapystack.layers.tcp.rate import keep as keep_rate
from scapystack.layers.tcp.tally import BUSY, IDLE, set_sending
from scapystack.layers.tcp.tcb import NEVER, Tcb

MASK = 0xFFFFFFFF
_NO_STRAY_SAMPLE = 300 * SECOND
_RENEGED = 10 * MILLISECOND
"""The least time until what the peer seems to have thrown away is sent again (2018/8): more of its ACKs may be under
way; and whoever only pretends to gets no more for it than by letting the retransmission timer run out."""


def process_ack(c: Tcb, seg: Segment) -> bool:
    """Take SEG.ACK of a synchronised connection. False if the segment must be dropped."""
    acked = (seg.ack - c.snd_una) & MASK
    if acked > (c.snd_nxt - c.snd_una) & MASK:
        return _outside(c, seg)
    if c.ecn is not None and seg.flags & ECE:
        ecn.take_echo(c, c.ecn, acked, c.core.now)
    if acked or (seg.sack and c.sack_ok) or c.rack.probe_end is not None or recovery.is_duplicate(c, seg):
        _take(c, seg, acked)
    update_window(c, seg)
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
    process_late(c, seg)
    return True  # an old duplicate: its text is still good


def process_late(c: Tcb, seg: Segment) -> None:
    """An ACK that later ones have overtaken, of SND.UNA or before: its SACKs are true still, its window is not.

    Such an ACK may be the only one that tells of a range: three or four are all that one holds.
    """
    if (seg.sack and c.sack_ok) or (seg.ack == c.snd_una and recovery.is_duplicate(c, seg)):
        _take(c, seg, 0)


def _take(c: Tcb, seg: Segment, acked: int) -> None:
    """An ACK of something new, or with SACK blocks, or a duplicate."""
    now = c.core.now
    board = c.board
    pipe = board.pipe
    delivered = board.delivered
    board.begin_ack(echo_ms(c, seg), c.rtt.min_rtt)
    if acked:
        octets = acked
        if c.fin_sent and acked == board.nxt - board.una:
            octets -= 1  # the FIN takes a number and no room
        if octets:
            c.sendbuf.ack(octets)
        c.snd_una = seg.ack
        board.ack(acked, now)
    news = board.sack(seg.sack, now, (c.snd_una - seg.ack) & MASK) if seg.sack and c.sack_ok else 0
    if acked or news:
        time_round_trip(c, now)
    recovery.on_ack(c, seg, acked, delivered, pipe, now)
    if board.rate_piece is not None:
        keep_rate(board, board.rate_piece, now)
        board.first_sent_at = board.rate_piece.sent_at  # from here on the next sample counts
    if acked:
        _advanced(c, seg, acked, now)


def _advanced(c: Tcb, seg: Segment, acked: int, now: Nanoseconds) -> None:
    """SND.UNA has moved: the timers, and whoever waits for room."""
    board = c.board
    if c.retransmits:
        c.retransmits = 0
        c.note().heard(now)
    if acked >= c.snd_mss != c.mss_acked:
        pathmtu.full_sized_ack(c)
    if c.mtu_probe is not None and c.mtu_probe.size:
        pathmtu.probe_acked(c)
    if c.snd_up is not None and seq_ge(seg.ack, c.snd_up):
        c.snd_up = None
    # 6298/5.1-5.3: (5.2) and (5.3); the heap keeps its earlier entry and finds the later deadline itself
    if board.una == board.nxt:
        c.rtx_at = c.probe_at = c.reorder_at = NEVER
        if c.sending == BUSY:
            if not c.sendbuf:
                c.busy_ns += now - c.sending_since
                c.sending = IDLE
        elif c.sending and not c.sendbuf:
            set_sending(c, IDLE, now)
    elif c.snd_wnd:
        c.rtx_at = now + (c.rtt.rto if not board.reneged else max(c.rtt.srtt >> 1, _RENEGED))
        c.arm(c.rtx_at)
        tlp.arm(c, now)
    if c.want_write and c.writable_room():
        c.want_write = False
        c.core.mark_ready(c)
    if len(c.sendbuf) > board.nxt - board.una or (c.fin_queued and not c.fin_sent):
        c.mark_dirty()


# -- the round trip ---------------------------------------------------------------------------------------


def time_round_trip(c: Tcb, now: Nanoseconds) -> None:
    """A sample with every ACK that tells one (6298/3).

    Of the first piece that it covers and that was sent once (a delayed ACK counts in), or of one that was
    sent again if the timestamp shows which copy came (MUST-18, Karn; RFC 7323 section 4).
    """
    board = c.board
    at = board.oldest_at if board.resent_at is None else board.resent_at
    if at:
        # RFC 7323 appendix G: about as many samples a window as there are pieces under way
        c.rtt.sample(now - at, now, max((len(board.pieces) + 1) >> 1, 1))
        c.rack.sampled = True
        if c.cc.wants_rtt:
            c.cc.on_rtt(max(now - (board.newest_at or at), 1), now)


def time_syn(c: Tcb, seg: Segment, now: Nanoseconds) -> None:
    """The ACK of our SYN: timed if it was sent once, or by the timestamp that comes back (MUST-18).

    That has to be the last SYN's: a peer whose SYN and ACK was lost answers the next SYN with the first one's
    (Linux does), and the time-out would pass for a round trip.
    """
    if c.syn_at > 0:
        rtt = now - c.syn_at
    else:
        echo = echo_ms(c, seg)
        if echo is None or echo < -c.syn_at // MILLISECOND:
            return
        rtt = max(now // MILLISECOND - echo, 1) * MILLISECOND
    c.rtt.sample(rtt, now)
    if c.cc.wants_rtt:
        c.cc.on_rtt(max(rtt, 1), now)


def echo_ms(c: Tcb, seg: Segment) -> int | None:
    """When what TSecr echoes was sent, in ms; None where there is none that we can have sent.

    7323/3.2-b: it means something only beside an ACK, and without one nothing comes here.
    """
    if not (c.ts_ok and seg.tsecr):
        return None
    age = (c.ts_now() - seg.tsecr) & MASK
    if age >= HALF or age * MILLISECOND >= _NO_STRAY_SAMPLE:
        return None
    return c.core.now // MILLISECOND - age


# -- the window -------------------------------------------------------------------------------------------


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
