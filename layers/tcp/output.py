"""What leaves: the output pass over one connection (RFC 9293 sections 3.7.4, 3.8.6 and 3.10.2).

`output(c)` runs once a burst, after all input of the burst was processed (MUST-58, MUST-59). It
sends, in this order, what retransmission owes, then new data as far as the peer's window, the
congestion window, silly-window avoidance and Nagle allow, then a FIN, and an ACK if one is due
and nothing else carried it. Nothing here looks at what arrived; `input` and `ack` have left their
marks in the `Tcb`. Segments of up to `Interface.gso_max` octets leave whole.
"""

from __future__ import annotations

from scapystack.base.segment import ACK, ECE, FIN, PSH, SYN
from scapystack.base.segment import CWR as CWR_FLAG
from scapystack.base.seq import seq_gt
from scapystack.base.types import MILLISECOND
from scapystack.layers.tcp import ecn, pathmtu, tlp
from scapystack.layers.tcp.early import data_for_syn
from scapystack.layers.tcp.episode import FRTO_ASKED, FRTO_OFF, FRTO_WAITS
from scapystack.layers.tcp.options import encode_syn, encode_timestamps
from scapystack.layers.tcp.pacing import Pacer
from scapystack.layers.tcp.scoreboard import Scoreboard
from scapystack.layers.tcp.state import CWR, FLUSHES, LOSS, RECOVERY, SYN_RECEIVED, SYNCHRONIZED
from scapystack.layers.tcp.tally import BUSY, HELD_BY_BUFFER, HELD_BY_PEER, set_sending
from scapystack.layers.tcp.tcb import NEVER, Tcb
from scapystack.layers.tcp.transmit import emit, transmit

MASK = 0xFFFFFFFF
_COPIES = 3
_FLIGHT = 4  # segments: what a receiver that answers every second one would have sent two ACKs for
CORK_MS = 200
"""How long a corked part of a segment may wait, as Linux has it (MUST-60)."""


def output(c: Tcb) -> None:
    """Send what the connection may send now."""
    if c.syn_pending:
        send_syn(c)
        if not c.early:
            return
    if c.ecn is not None and c.ecn.quiet_until > c.core.now:
        pass  # RFC 3168 section 6.1.2
    elif c.state in FLUSHES or c.early:
        if c.pacer is None:
            _send_data(c)
        else:
            _send_paced(c, c.pacer)
    if c.ack_now and (c.state in SYNCHRONIZED or c.state == SYN_RECEIVED):
        send_ack(c)


# -- data ----------------------------------------------------------------------------------------------


def _send_data(c: Tcb) -> None:
    if not c.board.lost_octets or _ask_by_new_data(c) or retransmit(c):
        send_new(c)
        if c.ca_state == RECOVERY:
            _rescue(c)


def _send_paced(c: Tcb, pacer: Pacer) -> None:
    """A burst if it is due, and the timer for the next one if more could leave by then."""
    now = c.core.now
    if pacer.open(c.cc.pacing_rate or 1, c.snd_mss, now):
        _send_data(c)
    if pacer.next_at <= now:
        return
    board = c.board
    more = len(c.sendbuf) > board.nxt - board.una or (c.fin_queued and not c.fin_sent)
    if board.lost_octets or (more and window(c) - board.pipe >= c.snd_mss):
        c.pace_at = pacer.next_at
        c.arm(c.pace_at)


def send_new(c: Tcb, force: bool = False) -> None:
    """Send from SND.NXT what may go. With `force` a small segment goes that would have waited.

    `force` is the override of the sender's silly-window avoidance (RFC 9293 section 3.8.6.2.1).
    """
    if c.fin_sent:
        return
    sent = (c.snd_nxt - c.snd_una) & MASK
    avail = len(c.sendbuf) - sent
    if avail <= 0 and not c.fin_queued:
        return
    mss = c.snd_mss
    largest = _largest(c, mss, 0 if c.ca_state else avail)
    cwnd = window(c)
    first = c.board.nxt
    room = cwnd - c.board.pipe
    if c.mtu_probe is not None and avail > 0 and (n := pathmtu.probe_due(c, avail, room)):
        if n > 0:
            c.snd_mss = n  # one segment, larger than all others
            _emit_new(c, ACK, sent, n)
            pathmtu.probe_sent(c, n)
            send_new(c)
        return
    usable = min(c.snd_wnd - sent, room)  # MUST-34, SHLD-15: negative where the peer has shrunk its window
    if c.pacer is not None and not force:
        usable = min(usable, c.pacer.left)
    while avail > 0:
        n = _segment_length(c, avail, usable, largest, sent, force)
        if n <= 0:
            break
        flags = ACK
        if n == avail:
            flags |= PSH  # MUST-61, SHLD-27: on the last of what is buffered
            if c.fin_queued and sent + n < c.snd_wnd:
                flags |= FIN  # it takes a sequence number, so the window must have room for it too
                c.fin_sent = True
        _emit_new(c, flags, sent, n)
        sent += n
        avail -= n
        usable -= n
        room -= n
    c.cwnd_limited = avail > 0 and room < mss
    sending = BUSY
    if avail > 0:
        if room >= mss > c.snd_wnd - sent:
            sending = HELD_BY_PEER
    elif c.want_write and room >= mss:
        sending = HELD_BY_BUFFER
    if not c.sending:
        c.sending = sending
        c.sending_since = c.core.now
    elif sending != c.sending:
        set_sending(c, sending, c.core.now)
    if not avail and room > 0:
        c.board.app_limited = c.board.delivered + cwnd - room
    if c.board.nxt != first:
        tlp.arm(c, c.core.now)
    if avail == 0 and c.fin_queued and not c.fin_sent and sent < c.snd_wnd:
        c.fin_sent = True
        _emit_new(c, ACK | FIN, sent, 0)
    elif sent == 0 and c.persist_at == NEVER and not c.fin_sent:
        _arm_persist(c)


def _largest(c: Tcb, mss: int, new: int = 0) -> int:
    """The text of the largest super-segment, in whole segments; an urgent pointer fits only one.

    The kernel at the other end of a TAP takes several times what IPv4 has a number for: of so much `new` data, if it
    goes no further and nobody looks at it on its way.
    """
    route = c.route
    iface = route.iface
    gso = iface.gso_max
    if (
        new > gso and iface.gso_kernel and not c.core.watched and route.hop == route.dst and not c.options.ip_options
        and route.neighbour is not None and route.neighbour.header.startswith(iface.kernel_mac)
    ):  # fmt: skip
        gso = iface.gso_kernel
    return gso // mss * mss if gso > mss and c.snd_up is None else mss


def _segment_length(c: Tcb, avail: int, usable: int, largest: int, sent: int, force: bool) -> int:
    """How many octets the next segment takes: 0 if it has to wait. SHLD-28, MAY-16: a full one if it can."""
    mss = c.snd_mss
    n = min(avail, usable, largest)
    if n >= mss:
        tail = n % mss
        # a super-segment ends on a whole segment unless the rest may go at once too
        if tail and (n < avail or not (c.options.nodelay or c.fin_queued) or c.options.cork):
            n -= tail
        return n
    if n <= 0 or force:
        return n
    if n < avail:
        # the window cuts it short: MUST-38, only if it is at least half of the largest one seen lately
        return n if n * 2 >= c.usual_snd_wnd else 0
    if c.fin_queued:
        return n
    if c.options.cork and len(c.sendbuf) < c.options.sndbuf:
        return 0
    # SHLD-7, Nagle: a small segment waits for what is in flight, unless MUST-17 was used
    return n if sent == 0 or c.options.nodelay else 0


def _arm_persist(c: Tcb) -> None:
    """Nothing is in flight and something has to wait: nobody but a timer will wake us."""
    corked = c.options.cork and c.snd_wnd >= c.snd_mss
    c.persist_at = c.core.now + (CORK_MS * MILLISECOND if corked else c.rtt.rto)  # SHLD-29
    c.arm(c.persist_at)


def window(c: Tcb) -> int:
    """Octets that may be in the network: cwnd, or in recovery what PRR allows (RFC 6937)."""
    if c.ca_state in (RECOVERY, CWR) and not c.cc.own_recovery and c.episode is not None:
        return c.episode.cwnd
    return c.cc.cwnd


def _emit_new(c: Tcb, flags: int, offset: int, n: int) -> None:
    now = c.core.now
    seq = c.snd_nxt
    length = n + (flags & FIN)
    c.snd_nxt = (seq + length) & MASK
    c.board.sent(length, now)
    if c.ca_state and c.episode is not None:
        c.episode.prr_out += n
    ect = 0
    if n and c.ecn is not None and c.ecn.sends:
        ect = ecn.ECT_0
        if c.ecn.cwr:
            c.ecn.cwr = False
            flags |= CWR_FLAG  # RFC 3168 section 6.1.2
    emit(c, seq, flags, c.sendbuf.slice(offset, n) if n else (), n, ect)
    c.last_data_at = now
    c.persist_at = NEVER
    if c.rtx_at == NEVER:  # 6298/5.1-5.3
        c.rtx_at = now + c.rtt.rto
        c.arm(c.rtx_at)


def retransmit(c: Tcb) -> bool:
    """Send again what is lost, as far as the window allows (6675/5). Whether all of it has left.

    SHLD-16: inside the peer's window. What stands at SND.UNA goes in any case (MAY-7): as the fast
    retransmit (RFC 5681 section 3.2), after a timeout, and as a probe would.
    """
    board = c.board
    mss = c.snd_mss
    largest = _largest(c, mss)
    room = window(c) - board.pipe
    if c.pacer is not None:
        room = min(room, c.pacer.left)
    while board.lost_octets:
        start, n = board.next_lost(largest)
        offset = start - board.una
        fits = min(room, max(c.snd_wnd, mss) - offset)
        if n > fits:
            n = min(n, fits // mss * mss)
            if n <= 0:
                if offset:
                    return False
                n = min(board.next_lost(mss)[1], mss)
        room -= _emit_again(c, start, n, room)
    return True


def _emit_again(c: Tcb, start: int, length: int, room: int) -> int:
    """Send [start, start + length) of the board again; how much it was.

    A short end (a window probe above all) takes new data with it, as far as the windows go.
    """
    now = c.core.now
    board = c.board
    offset = start - board.una
    queued = len(c.sendbuf)
    n = min(length, queued - offset)
    if start + length == board.nxt and n < c.snd_mss and not c.fin_sent:
        n = length = max(n, min(queued - offset, c.snd_mss, room, c.snd_wnd - offset))
    flags = ACK
    if offset + n == queued:
        flags |= PSH
        if c.fin_sent and (length > n or board.nxt - 1 not in board.sacked):
            flags |= FIN
            length = n + 1
    board.resend(start, length, now)
    seq = (c.snd_una + offset) & MASK
    c.snd_nxt = (c.snd_una + board.nxt - board.una) & MASK
    if c.episode is not None:
        c.episode.prr_out += n
        c.episode.sent_again(start + length, length, now // MILLISECOND)
    c.last_data_at = now
    segments = -(-n // c.snd_mss) or 1
    c.total_retrans += segments
    c.note().bytes_retrans += n
    c.core.counters["tcp.retrans_segs"] += segments
    emit(c, seq, flags if n else flags & ~PSH, c.sendbuf.slice(offset, n) if n else (), n)
    if c.rtx_at == NEVER or not offset:
        c.rtx_at = now + (c.patience(c.rtt.rto, board.delivered_at) if c.retransmits else c.rtt.rto)
        c.arm(c.rtx_at)
    return length


def _ask_by_new_data(c: Tcb) -> bool:
    """F-RTO, RFC 5682 section 3.1 step 2b: up to two new segments in place of old ones; False if there are none."""
    episode = c.episode
    if c.ca_state != LOSS or episode is None or episode.frto < FRTO_ASKED:
        return False
    if episode.frto == FRTO_WAITS:
        return True
    before = c.snd_nxt
    for _ in range(2):
        _emit_segment(c)
    episode.frto = FRTO_OFF if c.snd_nxt == before else FRTO_WAITS
    return episode.frto == FRTO_WAITS


def _emit_segment(c: Tcb) -> bool:
    """One segment of new data whatever the congestion window says, if there is one and the peer's window has room."""
    sent = c.board.nxt - c.board.una
    n = min(len(c.sendbuf) - sent, c.snd_mss, c.snd_wnd - sent)
    if n <= 0 or c.fin_sent:
        return False
    _emit_new(c, ACK | PSH if sent + n == len(c.sendbuf) else ACK, sent, n)
    return True


def _rescue(c: Tcb) -> None:
    """6675/4, NextSeg (4): with nothing better to send, the last of the flight goes again, once.

    What is lost at the end of it has no SACK behind it, and would wait for the timer.
    """
    episode = c.episode
    board = c.board
    if episode is None or episode.rescued or not c.sack_ok or not board.pieces or board.nxt != episode.recover:
        return
    last = board.pieces[-1]
    n = min(last.end - last.start, c.snd_mss)
    if window(c) - board.pipe >= n and not last.retransmitted and last.end - board.una <= c.snd_wnd:
        episode.rescued = True
        c.core.counters["tcp.rescues"] += 1
        _emit_again(c, last.end - n, n, 0)


def send_probe(c: Tcb) -> bool:
    """A loss probe (8985/7: section 7.3): a new segment, else the last again. Whether it was the last."""
    if _emit_segment(c):
        return False
    board = c.board
    start = max(board.nxt - c.snd_mss - c.fin_sent, board.una)
    _emit_again(c, start, board.nxt - start, 0)
    return True


def probe_window(c: Tcb) -> None:
    """Send one octet past a closed window (MUST-36, RFC 9293 section 3.8.6.1)."""
    c.core.counters["tcp.window_probes"] += 1
    flags = ACK
    n = min(1, len(c.sendbuf))
    if n == 0:
        if c.fin_queued:
            emit(c, c.snd_una, ACK | FIN, (), 0)
            c.fin_sent = True
            _note_probe(c)
        return
    emit(c, c.snd_una, flags, c.sendbuf.slice(0, 1), 1)
    _note_probe(c)


def _note_probe(c: Tcb) -> None:
    """The number at SND.UNA has been sent: for the first time, or again, so that nobody times its ACK (MUST-18)."""
    board = c.board
    if board.nxt == board.una:
        c.snd_nxt = (c.snd_una + 1) & MASK
        board.sent(1, c.core.now)
    elif board.pieces and board.pieces[0].start == board.una:
        board.resend(board.una, 1, c.core.now)


# -- segments without data -------------------------------------------------------------------------------


def send_ack(c: Tcb) -> None:
    """One ACK; to a peer without SACK one for each segment that came out of order (RFC 5681 section 3.2).

    A peer with SACK gets one for each range that a burst has changed: three ranges are all that one ACK tells
    of, and each range is to be told of in several (RFC 2018 section 4). What no ACK tells of, the peer sends
    again: with the kernel sending and 5% lost each way that was a quarter of all segments.
    And where a single ACK answers a burst, and is lost on the path that has lost the others, a sender in recovery
    hears nothing until its timer: it leaves up to three times. (1% loss each way, kernel sending: a stall of
    200 ms in every third transfer of 8 MB without it.) For a while after a gap so does, twice, the ACK of a burst
    without one: a sender with a window of ten segments gets just one ACK for it, and waits for its probe timer if
    that is lost (9 ms; in the same transfers 29 MB/s became 160).
    None of those copies leaves while more frames wait to be read (`Core.more`): the next burst's ACK is one (8 MB from
    the kernel's BBR at 1% loss: 8% less CPU time, at 5% 13%).
    """
    copies = 1 if c.core.more else _COPIES
    due = max(1, c.ooo.fresh, min(c.acks_due, copies)) if c.sack_ok else max(1, c.acks_due)
    if due == 1 < copies and c.quick > 0 and c.tally is not None and c.sack_ok:
        # the path has lost segments a moment ago: the one ACK of a whole flight is worth a second one
        due += c.tally.rcv_ooopack > 0 and c.ack_bytes >= _FLIGHT * c.rcv_mss
    seq = acceptable_seq(c)
    for _ in range(due):
        emit(c, seq, ACK)


def send_keepalive(c: Tcb) -> None:
    """SHLD-12: no text; the number just behind the window draws an ACK.

    For that number the peer throws all of it away, ACK and window too: what it has to be told stays owed.
    """
    options = encode_timestamps(c.ts_now(), c.ts_recent) if c.ts_ok else b""
    window = min(c.rcv_wnd >> c.rcv_wscale, 0xFFFF)  # as it was advertised last
    transmit(c, (c.snd_nxt - 1) & MASK, ACK, window, options)


def acceptable_seq(c: Tcb) -> int:
    """SEG.SEQ of a segment without text: SND.NXT, or the right edge of the peer's window before it.

    A probe, or a shrunken window, leaves SND.NXT outside. An ACK that stands there is not acceptable, and
    two such ends would answer each other's for ever; a RST would be dropped (RFC 5961 section 3.2).
    """
    seq = c.snd_nxt
    edge = (c.snd_una + c.snd_wnd) & MASK
    # a SYN stands outside of any window
    return edge if seq_gt(seq, edge) and c.state != SYN_RECEIVED else seq


def send_syn(c: Tcb) -> None:
    """SYN, or SYN and ACK in SYN-RECEIVED, with the options that may be agreed on.

    The first SYN may carry data (RFC 7413); no other does, nor does any SYN-ACK.
    """
    c.syn_pending = False
    config = c.config
    answer = c.state == SYN_RECEIVED
    tsecr = c.ts_recent if answer else 0
    # 7323/2.2 and 7323/3.2-a: answer only what was offered
    timestamps = (c.ts_now(), tsecr) if (c.ts_ok if answer else config.timestamps) else None
    wscale = c.rcv_wscale if (c.ws_ok if answer else config.window_scaling) else None
    sack = c.sack_ok if answer else config.sack
    cookie = c.fastopen.option if c.fastopen is not None else None
    # MUST-14, SHLD-5, MAY-3: MSS in each
    options = encode_syn(pathmtu.advertised_mss(c), wscale, sack, timestamps, cookie)
    window = min(c.rcv_wnd, 0xFFFF) if answer else syn_window(c.options.rcvbuf, pathmtu.advertised_mss(c), False)
    c.ack_now = False
    now = c.core.now
    first = c.snd_nxt == c.iss
    n = 0
    if first:
        n = data_for_syn(c, len(options))
        c.snd_nxt = (c.iss + 1 + n) & MASK
        if c.early:
            c.snd_una = c.snd_nxt  # what the application sends before the handshake ends is counted by itself
            c.board = Scoreboard(c.snd_una)
    c.syn_at = now if first else -now  # MUST-18, Karn: a SYN that was sent twice is not timed
    if answer:
        syn = SYN | ACK | (ECE if c.ecn is not None else 0)
    else:
        syn = SYN | ecn.offer(c)
    transmit(c, c.iss, syn, window, options, c.sendbuf.slice(0, n) if n else (), n)
    if c.rtx_at == NEVER:
        c.rtx_at = now + c.patience(c.rtt.rto, c.heard_at)
        c.arm(c.rtx_at)


def syn_window(rcvbuf: int, mss: int, stamped: bool) -> int:
    """The window of a SYN, never scaled (7323/2.2): of a large buffer as many whole segments as the field holds.

    `stamped`: it is known already that they will have timestamps.
    """
    return rcvbuf if rcvbuf <= 0xFFFF else 0xFFFF - 0xFFFF % (mss - (12 if stamped else 0))
