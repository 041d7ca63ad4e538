"""ICMP errors that concern TCP (RFC 9293 section 3.9.2.2, RFC 5927, RFC 1191).

An error counts only if it quotes a segment that is under way right now; what it may do depends on
the state: a hard error fails an open, and is no more than a note for a synchronised connection.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from scapystack.base.datagram import IcmpError
from scapystack.base.seq import seq_between
from scapystack.layers.tcp import handshake, recovery
from scapystack.layers.tcp.state import CLOSED, SYN_RECEIVED, SYN_SENT, TIME_WAIT
from scapystack.layers.tcp.tcb import Tcb

if TYPE_CHECKING:
    from scapystack.layers.tcp.demux import Tcp

MASK = 0xFFFFFFFF
UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4
SOURCE_QUENCH = 4


def icmp_error(tcp: Tcp, error: IcmpError) -> None:
    """Act on an error about a segment of ours (MUST-54)."""
    counters = tcp.core.counters
    if error.type == SOURCE_QUENCH:
        counters["tcp.drop.source_quench"] += 1  # MUST-55
        return
    quote = error.quote
    if len(quote) < 8:
        counters["tcp.drop.icmp_short"] += 1
        return
    sport = int.from_bytes(quote[0:2], "big")
    dport = int.from_bytes(quote[2:4], "big")
    seq = int.from_bytes(quote[4:8], "big")
    c = tcp.connections.get((error.src, sport, error.dst, dport))
    if c is None or c.state in (CLOSED, TIME_WAIT):
        counters["tcp.drop.icmp_no_connection"] += 1
        return
    # RFC 5927 section 4.1: whoever cannot see the connection cannot know what is in flight
    if not seq_between(c.snd_una, seq, c.snd_nxt) and not error.local:
        counters["tcp.drop.icmp_sequence"] += 1
        return
    if error.type == UNREACHABLE and error.code == FRAGMENTATION_NEEDED:
        _too_big(c, error)
    elif error.hard and c.state in (SYN_SENT, SYN_RECEIVED):
        # SHLD-26, by RFC 5927 section 5.2 only before the connection is synchronised
        tcp.close(c, error.errno)
    else:
        c.report(error.errno)  # MUST-56, SHLD-25: shown, and nothing more
        if c.state == SYN_SENT and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH) and error.local:
            # nobody answered ARP: what a user expects of connect() here is EHOSTUNREACH, soon
            tcp.close(c, error.errno)


def _too_big(c: Tcb, error: IcmpError) -> None:
    """RFC 1191 section 6.4: send smaller, and send again at once what did not fit."""
    before = c.snd_mss
    try:
        c.tcp.ip.update_pmtu(error.dst, error.mtu)
        c.route = c.tcp.ip.route(c.remote_addr, c.local_addr)
    except OSError:
        return
    handshake.set_mss(c)
    if c.snd_mss < before and c.state not in (SYN_SENT, SYN_RECEIVED):
        c.core.counters["tcp.pmtu_reductions"] += 1
        recovery.resend_all(c)
