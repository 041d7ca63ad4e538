"""How large a segment of a connection may be: what we offer, the peer's MSS, the path MTU, and who may change it.

The path MTU is IP's (`layers.paths`, RFC 1191); here stands what a connection makes of it, and which
ICMP errors it believes (RFC 5927 section 7.2): at once those about sizes that nobody has acknowledged yet, and
those that contradict what was acknowledged only when a segment has timed out too. Where large
segments vanish and no error comes (a black hole), it sends small ones and searches upwards by probes
(RFC 4821); `mtuprobe` says which.
"""

from __future__ import annotations

from scapystack.base.config import TcpConfig
from scapystack.base.datagram import IcmpError, Route
from scapystack.base.seq import seq_between, seq_ge
from scapystack.base.types import MILLISECOND, Nanoseconds
from scapystack.layers.tcp.mtuprobe import MtuProbe
from scapystack.layers.tcp.rack import DUP_THRESH
from scapystack.layers.tcp.state import OPEN, SYN_RECEIVED, SYN_SENT
from scapystack.layers.tcp.tcb import Options, Tcb

MASK = 0xFFFFFFFF
MIN_MSS = 88
"""The smallest segment size we believe; less would be a way to make us send headers only."""
_TIMESTAMPS = 12


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


def set_mss(c: Tcb) -> None:
    """MUST-16: Eff.snd.MSS from what the peer takes, what the path carries, and our options."""
    mss = _mss_by_path(c)
    if c.mtu_probe is not None:
        mss = min(mss, c.mtu_probe.low - _overhead(c))
    mss = max(mss, MIN_MSS - 40)
    if mss > c.snd_mss:
        c.mss_since = c.snd_nxt
    c.snd_mss = c.cc.mss = mss


def _mss_by_path(c: Tcb) -> int:
    """As far as the peer, IP and the application say."""
    mss = min(c.peer_mss, c.route.mtu - _header(c)) - len(c.options.ip_options)
    if c.options.mss:
        mss = min(mss, c.options.mss)
    return mss - _TIMESTAMPS * c.ts_ok


def _header(c: Tcb) -> int:
    return 40 if len(c.local_addr) == 4 else 60


def _overhead(c: Tcb) -> int:
    """Octets of an IP packet that are not text."""
    return _header(c) + len(c.options.ip_options) + _TIMESTAMPS * c.ts_ok


def full_sized_ack(c: Tcb) -> None:
    """An ACK covers as much as a segment holds, and none so large was known to arrive: `maxsizeacked` grows."""
    if seq_ge((c.snd_una - c.snd_mss) & MASK, c.mss_since):
        c.mss_acked = c.snd_mss


# -- what ICMP says ------------------------------------------------------------------------------------------


def too_big(c: Tcb, error: IcmpError, seq: int) -> bool:
    """An ICMP error says that the segment at `seq`, which is under way, did not fit (5927: checked before).

    Whether what is under way has to go again, smaller (RFC 1191 section 6.4).
    """
    largest = c.snd_mss + _overhead(c)
    if c.mtu_probe is not None:
        largest = max(largest, c.mtu_probe.size)
    if c.state in (SYN_SENT, SYN_RECEIVED) or error.local:
        return _believe(c, error.mtu)
    if error.mtu >= largest:
        # RFC 1191 section 6.4, RFC 5927 section 7.2: we send nothing so large, or not any more
        c.core.counters["tcp.drop.icmp_mtu"] += 1
    elif c.mss_acked and error.mtu < c.mss_acked + _overhead(c) and c.retransmits < c.config.pmtu_timeouts:
        c.core.counters["tcp.pmtu_doubted"] += 1
        c.pmtu_claim = (seq, error.mtu)
    else:
        return _believe(c, error.mtu)
    return False


def _believe(c: Tcb, mtu: int) -> bool:
    """Send smaller. Whether that changes anything for what is under way."""
    before = c.snd_mss
    try:
        c.tcp.ip.update_pmtu(c.remote_addr, mtu)
        c.route = c.tcp.ip.route(c.remote_addr, c.local_addr)
    except OSError:
        return False
    set_mss(c)
    if c.snd_mss >= before or c.state in (SYN_SENT, SYN_RECEIVED):
        return False
    c.core.counters["tcp.pmtu_reductions"] += 1
    c.pmtu_claim = None
    c.mss_acked = min(c.mss_acked, c.snd_mss)
    return True


# -- timeouts --------------------------------------------------------------------------------------------------


def on_timeout(c: Tcb) -> bool:
    """A segment has timed out: was it too large? Called before the retransmission, which may then be smaller.

    Whether all that is under way was too large, so that none of it need be waited for.
    """
    probe = c.mtu_probe
    if probe is not None and probe.size:
        wait = 5 * _between_losses(c)  # RFC 4821 section 7.6.3
        if c.board.una == probe.start:
            _probe_failed(c, probe, wait)
        else:
            probe.inconclusive(c.core.now, wait)
    if _claim_holds(c):
        return True
    if not _is_black_hole(c):
        return False
    _fall(c)
    return True


def _claim_holds(c: Tcb) -> bool:
    """What was doubted about the segment is believed now (RFC 5927 section 7.2, MAXSEGRTO).

    If it was acknowledged in the meantime the claim was false.
    """
    if c.pmtu_claim is None or c.retransmits + 1 < c.config.pmtu_timeouts:
        return False
    seq, mtu = c.pmtu_claim
    c.pmtu_claim = None
    return seq_between(c.snd_una, seq, c.snd_nxt) and _believe(c, mtu)


def _is_black_hole(c: Tcb) -> bool:
    """RFC 4821 section 7.7: a segment that could be smaller has timed out again and again.

    Where none so large was ever acknowledged, fewer timeouts are enough than for a path that has changed
    (or is down: R1).
    """
    config = c.config
    n = min(c.flight, c.snd_mss)
    if not config.mtu_probing or n <= config.mtu_floor_mss:
        return False
    return c.retransmits + 1 >= (config.mtu_black_hole_timeouts if n > c.mss_acked else config.r1_retries)


def _fall(c: Tcb) -> None:
    overhead = _overhead(c)
    size = c.snd_mss + overhead
    probe = c.mtu_probe
    if probe is None:
        probe = c.mtu_probe = MtuProbe(size)
    probe.low = size
    probe.fall(c.config.mtu_base_mss + overhead, c.config.mtu_floor_mss + overhead, c.core.now)
    c.core.counters["tcp.mtu_black_holes"] += 1
    set_mss(c)
    c.mss_acked = min(c.mss_acked, c.snd_mss)


# -- probes --------------------------------------------------------------------------------------------------------


def search_upwards(c: Tcb) -> None:
    """Begin with small segments whatever the path promises (`tcp.mtu_probing` 2)."""
    c.mtu_probe = MtuProbe(c.config.mtu_base_mss + _overhead(c))
    set_mss(c)


def probe_due(c: Tcb, avail: int, room: int) -> int:
    """How many octets of text a probe takes that must leave now (RFC 4821 sections 7.4 and 10.1); 0: none.

    -1: it waits for ACKs to make room in cwnd, and the rest behind it. `avail` octets can be sent, and for
    `room` of them there is room. Enough must follow a probe to tell its loss by.
    """
    assert c.mtu_probe is not None
    size = c.mtu_probe.next_size(_mss_by_path(c) + _overhead(c), c.core.now)
    board = c.board
    if not size or c.ca_state != OPEN or board.lost_octets or board.sacked.size:
        return 0
    n = size - _overhead(c)
    if min(avail, c.snd_wnd - c.flight, c.cc.cwnd) < n + DUP_THRESH * c.snd_mss:
        return 0
    return n if n <= room else -1


def probe_sent(c: Tcb, n: int) -> None:
    """The last `n` octets that have left were a probe."""
    assert c.mtu_probe is not None
    c.core.counters["tcp.mtu_probes"] += 1
    end = c.board.nxt
    c.mtu_probe.sent(n + _overhead(c), end - n, end)
    set_mss(c)


def probe_acked(c: Tcb) -> None:
    """SND.UNA has moved while a probe was under way."""
    probe = c.mtu_probe
    assert probe is not None
    if c.board.una >= probe.end:
        over = probe.passed(c.core.now, c.config.mtu_probe_interval_ms * MILLISECOND)
        c.core.counters["tcp.mtu_probes_passed"] += 1
        set_mss(c)
        if over:
            _share(c, probe)


def probe_lost(c: Tcb) -> bool:
    """Losses were found while a probe was under way: whether it was lost alone (RFC 4821 section 7.6.2).

    Then it was too large, and the loss is no sign of congestion. Without SACK nobody can say that it was
    alone: it counts for both.
    """
    probe = c.mtu_probe
    board = c.board
    assert probe is not None
    n = probe.end - probe.start
    alone = board.lost_octets == n and board.next_lost(n) == (probe.start, n)
    if alone or (not c.sack_ok and board.una == probe.start):
        _probe_failed(c, probe, _between_losses(c))
    else:
        probe.inconclusive(c.core.now, _between_losses(c))
    return alone


def _probe_failed(c: Tcb, probe: MtuProbe, wait: Nanoseconds) -> None:
    c.core.counters["tcp.mtu_probes_lost"] += 1
    if probe.lost(c.core.now, wait, c.config.mtu_probe_interval_ms * MILLISECOND):
        _share(c, probe)


def _share(c: Tcb, probe: MtuProbe) -> None:
    """The search is over: other connections need not repeat it (RFC 4821 section 5.2)."""
    c.tcp.ip.update_pmtu(c.remote_addr, probe.low)


def _between_losses(c: Tcb) -> Nanoseconds:
    """RFC 4821 section 7.6.2: probes are lost less often than congestion loses: once in cwnd round trips."""
    return max(c.rtt.srtt, MILLISECOND) * max(c.cc.cwnd // c.snd_mss, 1)
