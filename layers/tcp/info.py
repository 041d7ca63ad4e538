"""`TcpInfo`: one snapshot of a connection's variables, under the names of Linux's `tcp_info` where it
has them and of RFC 9293 section 3.3.1 for the rest. Plain data: safe to keep, compare and print.
"""

from __future__ import annotations

from dataclasses import dataclass

from scapystack.layers.tcp.output import advertised_mss
from scapystack.layers.tcp.state import CA_STATE_NAMES, DISORDER, OPEN, STATE_NAMES
from scapystack.layers.tcp.tcb import NEVER, Tcb

TS, SACK, WSCALE, SYN_DATA = 1, 2, 4, 32
"""Bits of `options`, as in `tcpi_options`."""


@dataclass(slots=True, frozen=True)
class TcpInfo:
    """Times in microseconds where the name says so, windows and sizes in octets unless noted."""

    state: str
    ca_state: str
    retransmits: int
    probes: int
    backoff: int
    options: int
    snd_wscale: int
    rcv_wscale: int
    rto_us: int
    snd_mss: int
    rcv_mss: int
    advmss: int
    unacked: int  # segments
    retrans: int  # segments that were sent again and are under way
    total_retrans: int
    rtt_us: int
    rttvar_us: int
    min_rtt_us: int
    snd_cwnd: int  # segments
    snd_cwnd_bytes: int
    snd_ssthresh: int
    snd_wnd: int
    rcv_wnd: int
    rcv_space: int
    notsent_bytes: int
    rcv_queue: int
    ooo_bytes: int
    ooo_segments: int
    pmtu: int
    congestion: str
    iss: int
    irs: int
    snd_una: int
    snd_nxt: int
    rcv_nxt: int
    snd_wl1: int
    snd_wl2: int
    error: int
    soft_error: int
    rtx_due_us: int | None
    persist_due_us: int | None
    keepalive_due_us: int | None


def snapshot(c: Tcb) -> TcpInfo:
    """Everything as it stands now."""
    mss = max(c.snd_mss, 1)
    return TcpInfo(
        state=STATE_NAMES[c.state],
        ca_state=CA_STATE_NAMES[c.ca_state or (DISORDER if c.board.sacked.size or c.dupacks else OPEN)],
        retransmits=c.retransmits,
        probes=max(c.persist_shift, c.keepalive_sent),
        backoff=c.rtt.shift,
        options=(TS if c.ts_ok else 0)
        | (SACK if c.sack_ok else 0)
        | (WSCALE if c.ws_ok else 0)
        | (SYN_DATA if c.syn_data else 0),
        snd_wscale=c.snd_wscale,
        rcv_wscale=c.rcv_wscale,
        rto_us=c.rtt.rto // 1_000,
        snd_mss=c.snd_mss,
        rcv_mss=c.rcv_mss,
        advmss=advertised_mss(c),
        unacked=-(-c.flight // mss),
        retrans=-(-c.board.resent // mss),
        total_retrans=c.total_retrans,
        rtt_us=c.rtt.srtt // 1_000,
        rttvar_us=c.rtt.rttvar // 1_000,
        min_rtt_us=c.rtt.min_rtt // 1_000,
        snd_cwnd=c.cc.cwnd // mss,
        snd_cwnd_bytes=c.cc.cwnd,
        snd_ssthresh=c.cc.ssthresh,
        snd_wnd=c.snd_wnd,
        rcv_wnd=c.rcv_wnd,
        rcv_space=c.options.rcvbuf,
        notsent_bytes=max(0, len(c.sendbuf) - c.flight),
        rcv_queue=len(c.recvq),
        ooo_bytes=c.ooo.size,
        ooo_segments=len(c.ooo),
        pmtu=c.route.mtu,
        congestion=c.cc.name,
        iss=c.iss,
        irs=c.irs,
        snd_una=c.snd_una,
        snd_nxt=c.snd_nxt,
        rcv_nxt=c.rcv_nxt,
        snd_wl1=c.snd_wl1,
        snd_wl2=c.snd_wl2,
        error=c.error,
        soft_error=c.soft_error,
        rtx_due_us=_due(c, c.rtx_at),
        persist_due_us=_due(c, c.persist_at),
        keepalive_due_us=_due(c, c.keepalive_at),
    )


def _due(c: Tcb, at: int) -> int | None:
    return None if at == NEVER else (at - c.core.now) // 1_000
