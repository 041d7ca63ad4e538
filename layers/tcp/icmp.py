"""ICMP errors that concern TCP (RFC 9293 section 3.9.2.2, RFC 5927).

An error counts only if it quotes a segment that is under way right now; what it may do depends on
the state: a hard error fails an open, and is no more than a note for a synchronised connection. What was
too big for the path is for `pathmtu`.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from scapystack.base.datagram import IcmpError
from scapystack.base.seq import seq_between
from scapystack.layers.tcp import pathmtu, recovery
from scapystack.layers.tcp.state import CLOSED, SYN_RECEIVED, SYN_SENT, TIME_WAIT

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
        if pathmtu.too_big(c, error, seq):
            recovery.resend_all(c)
    elif error.hard and c.state in (SYN_SENT, SYN_RECEIVED):
        # SHLD-26, by RFC 5927 section 5.2 only before the connection is synchronised
        tcp.close(c, error.errno)
    else:
        c.report(error.errno)  # MUST-56, SHLD-25: shown, and nothing more
        if c.state == SYN_SENT and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH) and error.local:
            # nobody answered ARP: what a user expects of connect() here is EHOSTUNREACH, soon
            tcp.close(c, error.errno)
