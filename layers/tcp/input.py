"""A segment arrives for a connection: RFC 9293 section 3.10.7.4, in its order.

First the sequence number (with PAWS before it), then RST, SYN, ACK, URG, the text, FIN. What must
be answered is marked (`ack_now`, dirty); nothing is sent from here but challenges and resets. SYN-SENT
has its own rules in `handshake`.
"""

from __future__ import annotations

import errno

from scapystack.base.segment import ACK, FIN, RST, SYN, URG, Segment
from scapystack.base.seq import HALF, seq_gt, seq_lt
from scapystack.base.types import MILLISECOND, SECOND, Buffer
from scapystack.layers.tcp import ecn, handshake
from scapystack.layers.tcp.ack import echo_ms, process_ack, process_late
from scapystack.layers.tcp.memory import SHARE
from scapystack.layers.tcp.pathmtu import advertised_mss
from scapystack.layers.tcp.reassembly import NOTHING, Reassembly
from scapystack.layers.tcp.state import (
    CAN_RECEIVE,
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from scapystack.layers.tcp.tcb import NEVER, Tcb

MASK = 0xFFFFFFFF
_PAWS_IDLE = 24 * 24 * 3600 * SECOND


def segment_arrives(c: Tcb, seg: Segment) -> None:
    """Take one segment. `c` may be CLOSED, and gone from the tables, when this returns."""
    if seg.gso_size or len(seg.payload):
        count = -(-len(seg.payload) // seg.gso_size) if seg.gso_size else 1
        c.segs_in += count
        c.data_segs_in += count
    else:
        c.segs_in += 1
    if c.state == SYN_SENT:
        handshake.syn_sent(c, seg)
        return
    flags = seg.flags
    if flags & RST:
        _reset(c, seg)
        return
    if flags & SYN and not _syn(c, seg):
        return
    if c.ts_ok and not _timestamps_good(c, seg):
        return
    first = seg.seq
    urgent_at = (first + seg.up) & MASK if flags & URG else None
    # the usual segment starts at RCV.NXT and fits; anything else is tested and cut
    if (seg.seq != c.rcv_nxt or seg.length > c.rcv_wnd) and not _acceptable(c, seg):
        return
    flags = seg.flags
    if not flags & ACK:
        c.core.counters["tcp.drop.no_ack"] += 1
        return
    _heard(c, seg)
    if c.state == SYN_RECEIVED and not handshake.syn_received(c, seg):
        return
    if not process_ack(c, seg):
        return
    if c.ts_ok and not seq_gt(first, c.last_ack_sent):
        # 7323/4.3: only now, when the segment has proved acceptable; a stranger's guess would shut the peer out
        c.ts_recent = seg.tsval or 0
        c.ts_recent_at = c.core.now
    if c.fin_sent and c.snd_una == c.snd_nxt and not _fin_acknowledged(c):
        return
    if urgent_at is not None:
        _urgent(c, urgent_at)
    if len(seg.payload) or flags & FIN:
        _text(c, seg)


# -- first: is it acceptable? --------------------------------------------------------------------------


def _timestamps_good(c: Tcb, seg: Segment) -> bool:
    """PAWS (7323/3.2-a, 7323/5.3)."""
    tsval = seg.tsval
    if tsval is None:
        c.core.counters["tcp.drop.no_timestamp"] += 1  # 7323/3.2-a: dropped, and nothing aborted
        return False
    # after 24 idle days TS.Recent says nothing any more
    if (tsval - c.ts_recent) & HALF and c.core.now - c.ts_recent_at < _PAWS_IDLE:
        if not _overtaken(c, seg, tsval):
            c.core.counters["tcp.drop.paws"] += 1
            _answer_unacceptable(c, seg)
        return False
    return True


def _overtaken(c: Tcb, seg: Segment, tsval: int) -> bool:
    """An old timestamp on an ACK alone that a later segment has passed on its way: nothing is wrong, and no answer due.

    RFC 7323 section 5.3 would have one sent, and of a path that reorders ACKs each would draw a challenge. As
    Linux has it: behind text of the peer's that we have, it is dropped; at RCV.NXT, no older than an RTO, and
    with no wider a window than we know, it is taken for the duplicates and the SACKs that it tells of.
    """
    if seg.length or seg.flags & (ACK | URG) != ACK or c.state == SYN_RECEIVED:
        return False
    if seq_lt(seg.seq, c.rcv_nxt):
        c.core.counters["tcp.drop.paws_old_ack"] += 1
        return True
    past = (c.ts_recent - tsval) & MASK
    if seg.seq != c.rcv_nxt or past * MILLISECOND > c.rtt.rto or (c.snd_una - seg.ack) & MASK > c.max_snd_wnd:
        return False
    if seg.ack == c.snd_una and not 0 < seg.wnd << c.snd_wscale <= c.snd_wnd:
        return False
    c.core.counters["tcp.late_acks"] += 1
    process_late(c, seg)
    return True


def _acceptable(c: Tcb, seg: Segment) -> bool:
    """The four cases of the acceptability test; cuts the segment to the window."""
    nxt, wnd = c.rcv_nxt, c.rcv_wnd
    length = seg.length
    ahead = (seg.seq - nxt) & MASK
    if ahead & HALF:  # begins before the window
        behind = (nxt - seg.seq) & MASK
        if length <= behind:
            c.core.counters["tcp.drop.old"] += 1
            if c.ts_ok:
                _timestamp_of_old(c, seg, behind)
            _came_twice(c, seg.seq, len(seg.payload))
            if c.state == TIME_WAIT and seg.flags & FIN:
                c.wait_at = c.core.now + 2 * c.config.msl_ms * MILLISECOND  # the peer lost our ACK: again 2 MSL
                c.arm(c.wait_at)
            _answer_unacceptable(c, seg)
            return False
        _came_twice(c, seg.seq, behind)
        seg.payload = seg.payload[behind:]
        seg.seq = nxt
        ahead = 0
        length = seg.length
        _answer(c)
    if ahead > wnd:
        # one that stands right behind the window has no text for us, but its ACK and URG count: with the window
        # closed (MUST-66; MAY-8: for as long as that may be), and where the peer has filled it and lost a part
        c.core.counters["tcp.drop.outside_window"] += 1
        _answer_unacceptable(c, seg)
        return False
    if ahead + length > wnd:
        seg.payload = seg.payload[: wnd - ahead]
        seg.flags &= ~FIN
        _answer(c)
        c.core.counters["tcp.trimmed"] += 1
    return True


def _came_twice(c: Tcb, seq: int, length: int) -> None:
    """RFC 2883: tell the peer of octets that it need not have sent again."""
    if length and c.sack_ok:
        c.dsack = (seq, (seq + length) & MASK)
        c.core.counters["tcp.duplicates"] += 1


def _timestamp_of_old(c: Tcb, seg: Segment, behind: int) -> None:
    """A segment that the peer sent again for want of our ACK: the next one must echo its timestamp.

    Echoing the first one's would double the peer's RTO with each lost ACK. Only where the numbers are
    as hard to guess as those of an acceptable segment.
    """
    recent = behind <= max(c.options.rcvbuf, 0xFFFF)
    known = (c.snd_nxt - seg.ack) & MASK <= c.flight + c.max_snd_wnd
    if recent and known and seg.flags & ACK and seg.length:
        c.ts_recent = seg.tsval or 0
        c.ts_recent_at = c.core.now


def _answer_unacceptable(c: Tcb, seg: Segment) -> None:
    """RFC 9293 section 3.10.7.4: an ACK in reply. To a bare ACK only so many a second: two ends that find
    each other's ACKs unacceptable (somebody injected text into both) would never stop.
    """
    if seg.length:
        _answer(c)
    else:
        c.tcp.challenge(c)


def _answer(c: Tcb) -> None:
    """An ACK tells the peer where we are; at most one a burst leaves."""
    c.ack_now = True
    c.mark_dirty()


# -- second and fourth: RST and SYN ----------------------------------------------------------------------


def _reset(c: Tcb, seg: Segment) -> None:
    """RFC 5961 section 3.2 (5961/3-a, 5961/3-b, 5961/3-c, 5961/errata4845); RFC 1337 in TIME-WAIT.

    SHLD-2: text is no matter.
    """
    if c.state == TIME_WAIT:
        c.core.counters["tcp.drop.rst_time_wait"] += 1
        return
    ahead = (seg.seq - c.rcv_nxt) & MASK
    if ahead == 0:
        c.core.counters["tcp.resets_received"] += 1
        if c.state == SYN_RECEIVED:
            c.tcp.close(c, (errno.ECONNRESET if c.early else 0) if c.passive else errno.ECONNREFUSED)
        elif c.state in (CLOSING, LAST_ACK):
            c.tcp.close(c, 0)
        else:
            c.tcp.close(c, errno.EPIPE if c.state == CLOSE_WAIT else errno.ECONNRESET)
    elif ahead < c.rcv_wnd:
        c.tcp.challenge(c)
    else:
        c.core.counters["tcp.drop.rst_outside_window"] += 1


def _syn(c: Tcb, seg: Segment) -> bool:
    """A SYN where both sides are past it. True if the rest of the segment is to be processed."""
    if c.state == SYN_RECEIVED and seg.seq == c.irs:
        if not seg.flags & ACK:
            # the peer did not get our SYN and ACK; the next one echoes this SYN, not one that was timed out
            if c.ts_ok and seg.tsval is not None and not (seg.tsval - c.ts_recent) & HALF:
                c.ts_recent = seg.tsval
            ecn.take_syn(c, seg)
            c.syn_pending = True
            c.mark_dirty()
            return False
        # simultaneous open (MUST-10): the peer's SYN again, now with the ACK of ours
        ecn.take_syn(c, seg)
        seg.flags &= ~SYN
        seg.seq = (seg.seq + 1) & MASK
        seg.wnd >>= c.snd_wscale  # 7323/2.2: never scaled in a SYN, and as an ACK's it will be
        return True
    if c.state == SYN_RECEIVED and c.passive and not c.early and (seg.seq - c.rcv_nxt) & MASK < c.rcv_wnd:
        # RFC 9293 section 3.10.7.4, fourth: back to LISTEN, which here means that the child is gone
        c.tcp.close(c, 0)
        return False
    c.tcp.challenge(c)  # 5961/4: whatever its sequence number
    return False


# -- fifth: what the ACK of our FIN means ----------------------------------------------------------------


def _heard(c: Tcb, seg: Segment) -> None:
    c.heard_at = c.core.now
    if c.keepalive_sent:
        c.keepalive_sent = 0


def _fin_acknowledged(c: Tcb) -> bool:
    """Our FIN has been acknowledged. False if the connection is gone."""
    state = c.state
    if state == FIN_WAIT_1:
        c.move(FIN_WAIT_2)
        if not c.held:
            # nobody will read any more: do not wait for ever for the peer's FIN
            c.wait_at = c.core.now + c.config.fin_wait_2_ms * MILLISECOND
            c.arm(c.wait_at)
        c.core.mark_ready(c)
    elif state == CLOSING:
        time_wait(c)
    elif state == LAST_ACK:
        c.tcp.close(c, 0)
        return False
    return True


def time_wait(c: Tcb) -> None:
    """Enter TIME-WAIT for twice the maximum segment lifetime (MUST-13)."""
    c.move(TIME_WAIT)
    c.rtx_at = c.probe_at = c.reorder_at = c.persist_at = c.keepalive_at = NEVER
    c.sendbuf.clear()
    c.drop_out_of_order()
    c.wait_at = c.core.now + 2 * c.config.msl_ms * MILLISECOND
    c.arm(c.wait_at)
    c.tcp.entered_time_wait(c)
    c.core.mark_ready(c)


# -- sixth: urgent -------------------------------------------------------------------------------------


def _urgent(c: Tcb, up: int) -> None:
    """RCV.UP moves to the later pointer, and the application is told (MUST-30, MUST-31, MUST-32, MUST-62)."""
    if c.state not in CAN_RECEIVE or c.rcv_shut or not seq_gt(up, c.rcv_nxt):
        return
    if c.rcv_up is None or seq_gt(up, c.rcv_up):
        c.rcv_up = up
        c.oob_seq = (up - 1) & MASK
        c.core.mark_ready(c)


# -- seventh and eighth: text and FIN --------------------------------------------------------------------


def _text(c: Tcb, seg: Segment) -> None:
    """Take text and FIN at their place in the stream, now or when the gap before them is filled."""
    if c.state not in CAN_RECEIVE:
        _answer(c)  # RFC 9293: "this should not occur ... ignore the segment text"
        return
    payload = seg.payload
    if c.ecn is not None and len(payload):
        ecn.take_text(c, c.ecn, seg)
    if not c.held and len(payload):
        # SHLD-3: nobody is there to read it; RFC 9293 section 3.10.7.4, seventh
        c.core.counters["tcp.abort_on_data"] += 1
        c.tcp.send_rst_for(seg)
        c.tcp.close(c, 0)
        return
    if seg.flags & FIN and c.fin_at_seq is None:
        c.fin_at_seq = (seg.seq + len(payload)) & MASK
    if c.fin_at_seq is not None:
        room = (c.fin_at_seq - seg.seq) & MASK
        if room & HALF:
            _answer(c)  # behind the FIN: nothing can be there
            return
        payload = payload[:room]
    if c.tcp.memory.received > c.config.max_receive_bytes and len(c.recvq) > SHARE and len(payload):
        c.core.counters["tcp.drop.receive_memory"] += 1
        _answer(c)
        return
    if seg.seq == c.rcv_nxt:
        if seg.tsecr != c.rcv_echo and len(payload) >= c.rcv_mss:
            _time_receiver(c, seg)
        _in_order(c, payload, seg.gso_size)
    else:
        _out_of_order(c, seg.seq, payload, seg.gso_size)
    if c.fin_at_seq == c.rcv_nxt and not c.fin_received:
        _fin(c)
    c.mark_dirty()


def _time_receiver(c: Tcb, seg: Segment) -> None:
    """For `info`: text that echoes an ACK of ours has come a round trip after that, if the sender had enough to send.

    As Linux's tcp_rcv_rtt_measure_ts: full segments alone, each echo once, smoothed by an eighth, 1 ms at least.
    """
    c.rcv_echo = seg.tsecr
    echo = echo_ms(c, seg)
    if echo is not None:
        rtt = max(c.core.now // MILLISECOND - echo, 1) * MILLISECOND
        c.rcv_rtt += (rtt - c.rcv_rtt) >> 3 if c.rcv_rtt else rtt


def _in_order(c: Tcb, payload: Buffer, gso_size: int) -> None:
    n = len(payload)
    if n:
        if c.ooo and n > (gap := c.ooo.gap(c.rcv_nxt)):
            # of octets that are held already the first copy stays
            c.ooo.insert((c.rcv_nxt + gap) & MASK, payload[gap:], c.rcv_nxt)
            c.dsack = c.ooo.duplicate if c.sack_ok else None
            payload = payload[:gap]
        _deliver(c, payload)
        now = c.core.now
        if now - c.last_text_at > c.rtt.rto:
            c.quick = c.config.quick_acks  # a burst after a pause grows the peer's window sooner this way
        c.last_text_at = now
        segment = gso_size or n
        if segment > c.rcv_mss:
            c.rcv_mss = min(segment, advertised_mss(c))
        c.ack_bytes += n
    if c.ooo:
        for piece in c.ooo.pop(c.rcv_nxt):
            _deliver(c, piece if c.fin_at_seq is None else piece[: (c.fin_at_seq - c.rcv_nxt) & MASK])
        if not c.ooo:
            c.ooo = NOTHING
        c.ack_now = True  # 5681/3.2-a: at once while there is, or was, a gap
        c.acks_due += c.sack_ok
    elif c.quick > 0 or c.options.quickack:
        c.quick -= 1
        c.ack_now = True
    elif c.ack_bytes >= c.config.ack_every_segments * c.rcv_mss:
        c.ack_now = True  # SHLD-19
    elif n and c.delack_at == NEVER:
        c.delack_at = c.core.now + c.config.delayed_ack_ms * MILLISECOND
        c.arm(c.delack_at)


def _out_of_order(c: Tcb, seq: int, payload: Buffer, gso_size: int) -> None:
    """SHLD-31: kept until the gap is filled; the duplicate ACK leaves at once (MAY-13).

    And for a while no ACK is delayed, as at the start: the peer's window will be small. One is due for each segment
    that a super-segment was made of: a peer without SACK counts them, and with it three copies of an ACK survive the
    loss of two (`output.send_ack`; 8 MB from the kernel's BBR, 5% lost each way: 4 stalls of 200 ms in 9 became none).
    """
    segments = max(-(-len(payload) // gso_size), 1) if gso_size else 1
    c.ack_now = True
    c.acks_due += segments
    c.quick = c.config.quick_acks
    if len(payload):
        c.core.counters["tcp.out_of_order"] += 1
        c.note().rcv_ooopack += segments
        c.last_text_at = c.core.now
        if c.ooo is NOTHING:
            c.ooo = Reassembly(c.config.max_out_of_order_segments, c.tcp.memory)
        if not c.ooo.insert(seq, payload, c.rcv_nxt):
            c.core.counters["tcp.drop.out_of_order_bound"] += 1
        if c.tcp.memory.out_of_order > c.config.max_out_of_order_bytes:
            c.tcp.prune_out_of_order()
        if c.ooo.duplicate is not None:
            if c.sack_ok:
                c.dsack = c.ooo.duplicate
            c.core.counters["tcp.duplicates"] += 1


def _deliver(c: Tcb, payload: Buffer) -> None:
    """Put the next octets of the stream where the application finds them."""
    start = c.rcv_nxt
    n = len(payload)
    c.rcv_nxt = (start + n) & MASK
    c.bytes_received += n
    if c.rcv_shut:
        return
    if c.oob_seq is not None:
        at = (c.oob_seq - start) & MASK
        if at < n:
            c.oob_seq = None
            if not c.options.oobinline:
                c.oob = payload[at]
                c.recvq.append(payload[:at])
                payload = payload[at + 1 :]
    if len(payload):
        c.recvq.append(payload)
    c.core.mark_ready(c)


def _fin(c: Tcb) -> None:
    """The stream has reached the peer's FIN."""
    c.rcv_nxt = (c.rcv_nxt + 1) & MASK
    c.fin_received = True
    c.ack_now = True
    c.drop_out_of_order()
    if seq_lt(c.rcv_adv, c.rcv_nxt):
        c.rcv_adv = c.rcv_nxt
    state = c.state
    if state == ESTABLISHED:
        c.move(CLOSE_WAIT)
    elif state == FIN_WAIT_1:
        # had our FIN been acknowledged we were in FIN-WAIT-2 already
        c.move(CLOSING)
    elif state == FIN_WAIT_2:
        time_wait(c)
    c.core.mark_ready(c)
