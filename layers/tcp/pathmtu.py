"""How large a segment of a connection may be: the peer's MSS, the path MTU, and who may lower it.

The path MTU is IP's (`layers.paths`, RFC 1191); here stands what a connection makes of it, and which
ICMP errors it believes (RFC 5927 section 7.2): at once those about sizes that nobody has acknowledged yet, and
those that contradict what was acknowledged only when a segment has timed out too.
"""

from __future__ import annotations

from scapystack.base.datagram import IcmpError
from scapystack.base.seq import seq_between, seq_ge
from scapystack.layers.tcp import recovery
from scapystack.layers.tcp.state import SYN_RECEIVED, SYN_SENT
from scapystack.layers.tcp.tcb import Tcb

MASK = 0xFFFFFFFF
MIN_MSS = 88
"""The smallest segment size we believe; less would be a way to make us send headers only."""
_TIMESTAMPS = 12


def set_mss(c: Tcb) -> None:
    """MUST-16: Eff.snd.MSS from what the peer takes, what the path carries, and our options."""
    mss = min(c.peer_mss, c.route.mtu - _header(c)) - len(c.options.ip_options)
    if c.options.mss:
        mss = min(mss, c.options.mss)
    mss = max(mss - _TIMESTAMPS * c.ts_ok, MIN_MSS - 40)
    if mss > c.snd_mss:
        c.mss_since = c.snd_nxt
    c.snd_mss = c.cc.mss = mss


def _header(c: Tcb) -> int:
    return 40 if len(c.local_addr) == 4 else 60


def packet_size(c: Tcb, mss: int) -> int:
    """The IP packet that a segment with so many octets of text makes."""
    return mss + _header(c) + len(c.options.ip_options) + _TIMESTAMPS * c.ts_ok


def full_sized_ack(c: Tcb) -> None:
    """An ACK covers as much as a segment holds, and none so large was known to arrive: `maxsizeacked` grows."""
    if seq_ge((c.snd_una - c.snd_mss) & MASK, c.mss_since):
        c.mss_acked = c.snd_mss


def too_big(c: Tcb, error: IcmpError, seq: int) -> None:
    """An ICMP error says that the segment at `seq`, which is under way, did not fit (5927: checked before)."""
    if c.state in (SYN_SENT, SYN_RECEIVED) or error.local:
        _believe(c, error.mtu)
    elif error.mtu >= packet_size(c, c.snd_mss):
        # RFC 1191 section 6.4, RFC 5927 section 7.2: we send nothing so large, or not any more
        c.core.counters["tcp.drop.icmp_mtu"] += 1
    elif c.mss_acked and error.mtu < packet_size(c, c.mss_acked) and c.retransmits < c.config.pmtu_timeouts:
        c.core.counters["tcp.pmtu_doubted"] += 1
        c.pmtu_claim = (seq, error.mtu)
    else:
        _believe(c, error.mtu)


def on_timeout(c: Tcb) -> None:
    """A segment has timed out: what was doubted about it is believed now (RFC 5927 section 7.2, MAXSEGRTO).

    If it was acknowledged in the meantime the claim was false. Called before the retransmission.
    """
    if c.pmtu_claim is None or c.retransmits + 1 < c.config.pmtu_timeouts:
        return
    seq, mtu = c.pmtu_claim
    c.pmtu_claim = None
    if seq_between(c.snd_una, seq, c.snd_nxt):
        _believe(c, mtu)


def _believe(c: Tcb, mtu: int) -> None:
    """RFC 1191 section 6.4: send smaller, and send again at once what did not fit."""
    before = c.snd_mss
    try:
        c.tcp.ip.update_pmtu(c.remote_addr, mtu)
        c.route = c.tcp.ip.route(c.remote_addr, c.local_addr)
    except OSError:
        return
    set_mss(c)
    if c.snd_mss < before and c.state not in (SYN_SENT, SYN_RECEIVED):
        c.core.counters["tcp.pmtu_reductions"] += 1
        c.pmtu_claim = None
        c.mss_acked = min(c.mss_acked, c.snd_mss)
        recovery.resend_all(c)
