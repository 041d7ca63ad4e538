"""What leaves: the output pass over one connection (RFC 9293 sections 3.7.4, 3.8.6 and 3.10.2).

`output(c)` runs once a burst, after all input of the burst was processed (MUST-58, MUST-59). It
sends, in this order, what retransmission owes, then new data as far as the peer's window, the
congestion window, silly-window avoidance and Nagle allow, then a FIN, and an ACK if one is due
and nothing else carried it. Nothing here looks at what arrived; `input` and `ack` have left their
marks in the `Tcb`. Segments of up to `Interface.gso_max` octets leave whole.
"""

from __future__ import annotations

from scapystack.base.config import TcpConfig
from scapystack.base.datagram import Route
from scapystack.base.segment import ACK, FIN, PSH, RST, SYN, URG
from scapystack.base.seq import HALF, seq_ge, seq_gt, seq_lt
from scapystack.base.types import MILLISECOND, Buffer
from scapystack.layers.tcp.early import data_for_syn
from scapystack.layers.tcp.options import encode, encode_syn, encode_timestamps
from scapystack.layers.tcp.state import FLUSHES, SYN_RECEIVED, SYNCHRONIZED
from scapystack.layers.tcp.tcb import NEVER, Options, Tcb

MASK = 0xFFFFFFFF
CORK_MS = 200
"""How long a corked part of a segment may wait, as Linux has it (MUST-60)."""


def output(c: Tcb) -> None:
    """Send what the connection may send now."""
    if c.syn_pending:
        send_syn(c)
        if not c.early:
            return
    if c.state in FLUSHES or c.early:
        if c.rtx_nxt != c.rtx_end:
            retransmit(c)
        if c.rtx_nxt == c.rtx_end:
            send_new(c)
    if c.ack_now and (c.state in SYNCHRONIZED or c.state == SYN_RECEIVED):
        send_ack(c)


# -- data ----------------------------------------------------------------------------------------------


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
    gso = c.route.iface.gso_max
    largest = gso // mss * mss if gso > mss and c.snd_up is None else mss  # one urgent pointer fits one segment
    cwnd = c.cc.cwnd + c.inflation
    usable = min(c.snd_wnd, cwnd) - sent  # MUST-34, SHLD-15: negative where the peer has shrunk its window
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
    c.cwnd_limited = avail > 0 and cwnd - sent < mss
    if avail == 0 and c.fin_queued and not c.fin_sent and sent < c.snd_wnd:
        c.fin_sent = True
        _emit_new(c, ACK | FIN, sent, 0)
    elif sent == 0 and c.persist_at == NEVER and not c.fin_sent:
        _arm_persist(c)


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


def _emit_new(c: Tcb, flags: int, offset: int, n: int) -> None:
    now = c.core.now
    seq = c.snd_nxt
    c.snd_nxt = (seq + n + (flags & FIN)) & MASK
    if c.rtt_seq is None:
        c.rtt_seq = c.snd_nxt
        c.rtt_at = now
    emit(c, seq, flags, c.sendbuf.slice(offset, n) if n else (), n)
    c.rtx_end = c.rtx_nxt = c.snd_nxt
    c.last_data_at = now
    c.persist_at = NEVER
    if c.rtx_at == NEVER:  # 6298/5.1-5.3
        c.rtx_at = now + c.rtt.rto
        c.arm(c.rtx_at)


def retransmit(c: Tcb) -> None:
    """Send again from `rtx_nxt`, up to `rtx_end`, as far as cwnd allows (at least the first one).

    SHLD-16: inside the peer's window; the segment at SND.UNA goes in any case (MAY-7), as a probe would.
    """
    if seq_lt(c.rtx_nxt, c.snd_una):
        c.rtx_nxt = c.snd_una
    queued = len(c.sendbuf)
    while seq_lt(c.rtx_nxt, c.rtx_end):
        offset = (c.rtx_nxt - c.snd_una) & MASK
        room = min(c.cc.cwnd, max(c.snd_wnd, c.snd_mss)) - offset
        owed = (c.rtx_end - c.rtx_nxt) & MASK
        n = min(queued - offset, owed, c.snd_mss)
        if n > room and offset:
            break
        if n == owed and c.rtx_end == c.snd_nxt and not c.fin_sent:
            # a short end (a window probe above all) takes new data with it, as far as the window goes
            n = max(n, min(queued - offset, c.snd_mss, room, c.snd_wnd - offset))
        _emit_again(c, offset, n)
    if seq_ge(c.rtx_nxt, c.rtx_end):
        c.rtx_nxt = c.rtx_end = c.snd_nxt


def _emit_again(c: Tcb, offset: int, n: int) -> None:
    now = c.core.now
    seq = c.rtx_nxt
    flags = ACK
    if offset + n == len(c.sendbuf):
        flags |= PSH
        if c.fin_sent:
            flags |= FIN
    c.rtx_nxt = (seq + n + (flags & FIN)) & MASK
    if seq_gt(c.rtx_nxt, c.snd_nxt):
        c.snd_nxt = c.rtx_nxt
    c.last_data_at = now
    c.rtt_seq = None  # MUST-18, Karn: what was sent twice is not timed
    if c.ts_ok:
        c.rtx_ts = c.ts_now()
    c.total_retrans += 1
    c.core.counters["tcp.retrans_segs"] += 1
    emit(c, seq, flags if n else flags & ~PSH, c.sendbuf.slice(offset, n) if n else (), n)
    if c.rtx_at == NEVER:
        c.rtx_at = now + (c.patience(c.rtt.rto, c.first_rtx_at) if c.retransmits else c.rtt.rto)
        c.arm(c.rtx_at)


def probe_window(c: Tcb) -> None:
    """Send one octet past a closed window (MUST-36, RFC 9293 section 3.8.6.1)."""
    c.core.counters["tcp.window_probes"] += 1
    flags = ACK
    n = min(1, len(c.sendbuf))
    if n == 0:
        if c.fin_queued:
            emit(c, c.snd_una, ACK | FIN, (), 0)
            c.fin_sent = True
            c.snd_nxt = (c.snd_una + 1) & MASK
        return
    emit(c, c.snd_una, flags, c.sendbuf.slice(0, 1), 1)
    if c.snd_nxt == c.snd_una:
        c.snd_nxt = (c.snd_una + 1) & MASK
        c.rtx_nxt = c.rtx_end = c.snd_nxt
    c.rtt_seq = None


# -- segments without data -------------------------------------------------------------------------------


def send_ack(c: Tcb) -> None:
    """One ACK; to a peer without SACK one for each segment that came out of order (RFC 5681 section 3.2)."""
    due = 1 if c.sack_ok else max(1, c.acks_due)
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
    options = encode_syn(advertised_mss(c), wscale, sack, timestamps, cookie)
    # never scaled in a SYN
    window = min((c.rcv_adv - c.rcv_nxt) & MASK if answer else c.options.rcvbuf, 0xFFFF)
    c.ack_now = False
    now = c.core.now
    first = c.snd_nxt == c.iss
    n = 0
    if first:
        n = data_for_syn(c, len(options))
        c.snd_nxt = (c.iss + 1 + n) & MASK
        c.rtx_nxt = c.rtx_end = c.snd_nxt
        if c.early:
            c.snd_una = c.snd_nxt  # what the application sends before the handshake ends is counted by itself
    c.rtt_seq = (c.iss + 1) & MASK if first else None  # MUST-18, Karn: a SYN that was sent twice is not timed
    c.rtt_at = now
    transmit(c, c.iss, SYN | ACK if answer else SYN, window, options, c.sendbuf.slice(0, n) if n else (), n)
    if c.rtx_at == NEVER:
        c.rtx_at = now + c.patience(c.rtt.rto, c.heard_at)
        c.arm(c.rtx_at)


def advertised_mss(c: Tcb) -> int:
    """The MSS option's value on `c`."""
    return mss_for(c.route, c.config, c.options)


def mss_for(route: Route, config: TcpConfig, options: Options) -> int:
    """The MSS option's value: what the interface takes in one packet (MUST-67, SHLD-6)."""
    header = 40 if len(route.dst) == 4 else 60
    mss = min(route.iface.mtu, 65_535) - header
    for limit in (config.mss, options.mss):
        if limit:
            mss = min(mss, limit)
    return mss


# -- the window ------------------------------------------------------------------------------------------


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


# -- encoding --------------------------------------------------------------------------------------------


def emit(c: Tcb, seq: int, flags: int, payload: tuple[Buffer, ...] = (), length: int = 0) -> None:
    """Send a segment that carries an ACK of all that was received; notes that no other is due."""
    options = encode_timestamps(c.ts_now(), c.ts_recent) if c.ts_ok else b""
    if not c.ooo or not length:
        c.ack_now = False
        c.acks_due = 0
        if c.ooo and c.sack_ok:
            options = encode((c.ts_now(), c.ts_recent) if c.ts_ok else None, c.ooo.blocks(4))
    # else a full segment has no room for SACK blocks (MUST-16), and an ACK with text is no duplicate
    # to the peer (RFC 5681 section 2): the ACK that a gap asks for leaves by itself behind the text
    window = window_field(c)
    c.last_ack_sent = c.rcv_nxt
    c.ack_bytes = 0
    c.delack_at = NEVER
    transmit(c, seq, flags, window, options, payload, length)


def transmit(
    c: Tcb, seq: int, flags: int, window: int, options: bytes, payload: tuple[Buffer, ...] = (), length: int = 0
) -> None:
    """Encode one segment and hand it to IP, its checksum left open (MUST-2: all but the pseudo-header's sum).

    The application's differentiated services, TTL and IP options go with it as they stand now (MUST-48,
    SHLD-21, SHLD-22). With DF set every IP id is the same, a retransmission's too (MAY-4, RFC 6864).
    """
    tcp = c.tcp
    up = 0
    if c.snd_up is not None and not flags & (SYN | RST):
        up = _urgent_pointer(c, seq)
        if up:
            flags |= URG
    head_length = 20 + len(options)
    head = tcp.encode(
        c.local_port, c.remote_port, seq, c.rcv_nxt if flags & ACK else 0, head_length >> 2, 0, flags, window,
        (c.pseudo + head_length + length) % 0xFFFF, up,
    )  # fmt: skip
    route = c.route
    if not tcp.ip.fresh(route):
        try:
            route = tcp.reroute(c)
        except OSError as error:
            c.report(error.errno or 0)
            c.core.counters["tcp.drop.no_route"] += 1
            return
    tcp.segs_out += 1
    o = c.options
    tcp.ip.send(
        route, 6, head + options if options else head, payload, head_length + length, csum_offset=16,
        gso_size=c.snd_mss if length > c.snd_mss else 0, tos=o.tos, ttl=o.ttl, df=True, options=o.ip_options,
    )  # fmt: skip


def _urgent_pointer(c: Tcb, seq: int) -> int:
    """What SND.UP is for a segment at `seq`: it points behind the last urgent octet (MUST-62); 0 for none.

    MUST-31: one too far ahead for the field is announced as far as that reaches, if all up to there
    is yet to be sent: the segments that bring those octets will say better.
    """
    assert c.snd_up is not None
    distance = (c.snd_up - seq) & MASK
    if distance <= 0xFFFF:
        return distance
    unsent = (c.snd_nxt - seq) & MASK < 0xFFFF
    return 0xFFFF if distance < HALF and unsent else 0
