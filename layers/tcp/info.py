"""`TcpInfo`: one snapshot of a connection's variables, under the names of Linux's `tcp_info` where it
has them and of RFC 9293 section 3.3.1 for the rest. Plain data: safe to keep, compare and print.

Nearly all of it is derived when it is asked for. What Linux counts in segments and we in octets is
divided by the MSS and rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass

from scapystack.base.addr import endpoint_text
from scapystack.layers.tcp.congestion.control import INFINITE_SSTHRESH
from scapystack.layers.tcp.pathmtu import advertised_mss
from scapystack.layers.tcp.state import CA_STATE_NAMES, DISORDER, OPEN, STATE_NAMES
from scapystack.layers.tcp.tally import HELD_BY_BUFFER, HELD_BY_PEER, NOTHING
from scapystack.layers.tcp.tcb import NEVER, Tcb

TS, SACK, WSCALE, ECN, ECN_SEEN, SYN_DATA, TFO_CHILD = 1, 2, 4, 8, 16, 32, 128
"""Bits of `options`, as in `tcpi_options`."""
UNLIMITED = (1 << 64) - 1
"""A rate that nothing bounds."""
TIMERS = ("rtx", "pace", "probe", "reorder", "delack", "persist", "keepalive", "wait")
"""The timers of a connection; each has its deadline in the `Tcb`, as `rtx_at`."""


@dataclass(slots=True, frozen=True)
class TcpInfo:
    """Linux's fields first, with its units: times in microseconds, `last_` in milliseconds, octets unless noted."""

    state: str  # as RFC 9293 calls it
    ca_state: str  # Open, Disorder, CWR, Recovery or Loss
    retransmits: int  # timeouts in a row
    probes: int  # window or keep-alive probes in a row
    backoff: int  # doublings of `rto`, or of the time between window probes
    options: int  # the bits above
    snd_wscale: int  # the shift of the windows that the peer says
    rcv_wscale: int  # the shift of those that we say
    delivery_rate_app_limited: bool  # the application, not the path, made `delivery_rate` what it is
    fastopen_client_fail: int  # what an open without Fast Open lacked: 1 a cookie, 2 the peer's consent, 3 a first SYN
    rto: int  # the retransmission timeout, as doubled
    ato: int  # how long an ACK is delayed
    snd_mss: int  # the most text in a segment of ours
    rcv_mss: int  # the largest segment that came
    unacked: int  # segments in flight; a listener's: connections that wait for accept()
    sacked: int  # segments known to have arrived out of order; a listener's: its backlog
    lost: int  # segments that count as lost, sent again or not
    retrans: int  # of those, the ones sent again and under way
    fackets: int  # 0, as in Linux since RACK
    last_data_sent: int  # ms ago
    last_ack_sent: int  # 0: Linux has never filled it in (tcp(7) knows no meaning), and nothing else needs the time
    last_data_recv: int  # ms ago
    last_ack_recv: int  # ms ago
    pmtu: int  # the path's MTU
    rcv_ssthresh: int  # how far the window may grow
    rtt: int  # smoothed
    rttvar: int  # its mean deviation
    snd_ssthresh: int  # the slow-start threshold in segments
    snd_cwnd: int  # the congestion window in segments
    advmss: int  # what our SYN says, less what timestamps take of it
    reordering: int  # segments: how far one was seen to come too late, 3 to 300; RACK itself goes by time
    rcv_rtt: int  # the receiver's estimate of the round trip, by timestamps; 0 without, and before text came
    rcv_space: int  # the receive buffer
    total_retrans: int  # segments
    pacing_rate: int  # octets a second; UNLIMITED where nothing paces
    max_pacing_rate: int  # octets a second; UNLIMITED
    bytes_acked: int  # of text
    bytes_received: int  # of text, in order
    segs_out: int  # segments sent
    segs_in: int  # segments received
    notsent_bytes: int  # written and not sent so far
    min_rtt: int  # the least sample of the last five minutes; 0 before the first
    data_segs_in: int  # of `segs_in`, those with text
    data_segs_out: int  # of `segs_out`, those with text
    delivery_rate: int  # octets a second, by the last ACK that told of one; the path's, where that was ever full
    busy_time: int  # with something written and not acknowledged
    rwnd_limited: int  # of that, held back by the peer's window
    sndbuf_limited: int  # of that, held back by the send buffer
    delivered: int  # segments
    delivered_ce: int  # segments whose ACK echoed congestion (ECN)
    bytes_sent: int  # with what was sent again
    bytes_retrans: int  # of text sent again
    dsack_dups: int  # D-SACKs: what was sent again for nothing
    reord_seen: int  # times that reordering was seen
    rcv_ooopack: int  # segments that came out of order
    snd_wnd: int  # the window that the peer offers
    rcv_wnd: int  # the window that we offer
    rehash: int  # 0: no flow label to change
    total_rto: int  # retransmission timeouts, of SYNs too
    total_rto_recoveries: int  # series of them
    total_rto_time: int  # ms spent in those
    received_ce: int  # segments that came with congestion marked (ECN)
    # ours
    local: str  # address and port
    remote: str  # address and port
    congestion: str  # the algorithm
    snd_cwnd_bytes: int  # the congestion window
    snd_ssthresh_bytes: int  # the slow-start threshold; 2,147,483,647 (`INFINITE_SSTHRESH`) before the first loss
    pipe: int  # in the network, as far as is known (RFC 6675)
    snd_queue: int  # written and not acknowledged
    rcv_queue: int  # received and not read
    ooo_bytes: int  # received behind a gap
    ooo_segments: int  # pieces received behind a gap
    iss: int  # our initial sequence number
    irs: int  # the peer's initial sequence number
    snd_una: int  # the oldest number that is not acknowledged
    snd_nxt: int  # the next number to send
    rcv_nxt: int  # the next number to receive
    snd_wl1: int  # SEG.SEQ of the segment that told of the window last
    snd_wl2: int  # SEG.ACK of it
    snd_up: int | None  # the number behind our urgent text
    rcv_up: int | None  # the number behind the peer's urgent text
    ts_recent: int  # the peer's timestamp that is echoed
    error: int  # what ended it: an errno
    soft_error: int  # the last error that ended nothing: an errno
    due: dict[str, int]  # the timers that run, and in how many microseconds


def snapshot(c: Tcb) -> TcpInfo:
    """Everything as it stands now."""
    now = c.core.now
    mss = max(c.snd_mss, 1)
    board = c.board
    rtt = c.rtt
    tally = c.tally or NOTHING
    resent = board.resent
    paced = c.cc.pacing_rate
    acked = c.sendbuf.acked
    under_way = min(len(c.sendbuf), c.flight - (1 if c.snd_una == c.iss != c.snd_nxt else 0))
    doing = now - c.sending_since if c.sending else 0

    def segments(octets: int) -> int:
        return -(-octets // mss)

    return TcpInfo(
        state=STATE_NAMES[c.state],
        ca_state=CA_STATE_NAMES[c.ca_state or (DISORDER if board.sacked.size or c.dupacks else OPEN)],
        retransmits=c.retransmits,
        probes=max(c.persist_shift, c.keepalive_sent),
        backoff=max(rtt.shift, c.persist_shift),
        options=_options(c),
        snd_wscale=c.snd_wscale,
        rcv_wscale=c.rcv_wscale,
        delivery_rate_app_limited=board.rate_app_limited,
        fastopen_client_fail=tally.fastopen_fail,
        rto=rtt.rto // 1_000,
        ato=c.config.delayed_ack_ms * 1_000,
        snd_mss=c.snd_mss,
        rcv_mss=c.rcv_mss,
        unacked=segments(c.flight),
        sacked=segments(board.sacked.size),
        lost=segments(board.lost_octets + resent),
        retrans=segments(resent),
        fackets=0,
        last_data_sent=_ago_ms(c, c.last_data_at),
        last_ack_sent=0,
        last_data_recv=_ago_ms(c, c.last_text_at),
        last_ack_recv=_ago_ms(c, c.heard_at),
        pmtu=c.route.mtu,
        rcv_ssthresh=c.options.rcvbuf,
        rtt=rtt.srtt // 1_000,
        rttvar=rtt.rttvar // 1_000,
        snd_ssthresh=INFINITE_SSTHRESH if c.cc.ssthresh >= INFINITE_SSTHRESH else c.cc.ssthresh // mss,
        snd_cwnd=c.cc.cwnd // mss,
        advmss=advertised_mss(c) - (12 if c.ts_ok else 0),
        reordering=tally.reordering,
        rcv_rtt=c.rcv_rtt // 1_000,
        rcv_space=c.options.rcvbuf,
        total_retrans=c.total_retrans,
        pacing_rate=UNLIMITED if paced is None else paced,
        max_pacing_rate=UNLIMITED,
        bytes_acked=acked,
        bytes_received=c.bytes_received,
        segs_out=c.segs_out,
        segs_in=c.segs_in,
        notsent_bytes=len(c.sendbuf) - under_way,
        min_rtt=-(-rtt.min_rtt // 1_000),
        data_segs_in=c.data_segs_in,
        data_segs_out=c.data_segs_out,
        delivery_rate=board.rate_delivered * 1_000_000_000 // board.rate_interval if board.rate_interval else 0,
        busy_time=(c.busy_ns + doing) // 1_000,
        rwnd_limited=(tally.held_by_peer_ns + (doing if c.sending == HELD_BY_PEER else 0)) // 1_000,
        sndbuf_limited=(tally.held_by_buffer_ns + (doing if c.sending == HELD_BY_BUFFER else 0)) // 1_000,
        delivered=segments(board.delivered),
        delivered_ce=tally.delivered_ce,
        bytes_sent=acked + under_way + tally.bytes_retrans,
        bytes_retrans=tally.bytes_retrans,
        dsack_dups=tally.dsack_dups,
        reord_seen=tally.reord_seen,
        rcv_ooopack=tally.rcv_ooopack,
        snd_wnd=c.snd_wnd,
        rcv_wnd=c.rcv_wnd,
        rehash=0,
        total_rto=tally.timeouts,
        total_rto_recoveries=tally.rto_recoveries,
        total_rto_time=(tally.rto_ns + (now - tally.rto_since if tally.rto_since else 0)) // 1_000_000,
        received_ce=tally.received_ce,
        local=endpoint_text(c.local_addr, c.local_port),
        remote=endpoint_text(c.remote_addr, c.remote_port),
        congestion=c.cc.name,
        snd_cwnd_bytes=c.cc.cwnd,
        snd_ssthresh_bytes=c.cc.ssthresh,
        pipe=board.pipe,
        snd_queue=len(c.sendbuf),
        rcv_queue=len(c.recvq),
        ooo_bytes=c.ooo.size,
        ooo_segments=len(c.ooo),
        iss=c.iss,
        irs=c.irs,
        snd_una=c.snd_una,
        snd_nxt=c.snd_nxt,
        rcv_nxt=c.rcv_nxt,
        snd_wl1=c.snd_wl1,
        snd_wl2=c.snd_wl2,
        snd_up=c.snd_up,
        rcv_up=c.rcv_up,
        ts_recent=c.ts_recent,
        error=c.error,
        soft_error=c.soft_error,
        due=_due(c),
    )


def _options(c: Tcb) -> int:
    bits = (TS if c.ts_ok else 0) | (SACK if c.sack_ok else 0) | (WSCALE if c.ws_ok else 0)
    if c.ecn is not None:
        bits |= ECN | (ECN_SEEN if c.ecn.seen else 0)
    if c.syn_data:
        bits |= SYN_DATA | (TFO_CHILD if c.passive else 0)
    return bits


def _ago_ms(c: Tcb, at: int) -> int:
    """Milliseconds since; of what never happened, since the clock began, as in Linux."""
    return (c.core.now - at) // 1_000_000


def _due(c: Tcb) -> dict[str, int]:
    at = {name: getattr(c, name + "_at") for name in TIMERS}
    return {name: (when - c.core.now) // 1_000 for name, when in at.items() if when != NEVER}
