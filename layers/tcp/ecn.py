"""Explicit congestion notification (RFC 3168): agreed on in the handshake, echoed, answered, marked.

A connection on which both ends have agreed has an `Ecn` as `Tcb.ecn`; all others have None there, and
one test a segment is all that ECN costs them. Our side sends ECT(0) with new text and nothing else:
no SYN, no bare ACK (6.1.4), nothing that was sent before (6.1.5), no window probe (6.1.6).
"""

from __future__ import annotations

from scapystack.base.config import TcpConfig
from scapystack.base.segment import ACK, CWR, ECE, Segment
from scapystack.base.types import Nanoseconds
from scapystack.layers.tcp import recovery
from scapystack.layers.tcp.state import RECOVERY
from scapystack.layers.tcp.tcb import Ecn, Tcb

ECT_0 = 2
CE = 3
MASK = 3
"""The ECN field in the octet of the differentiated services (RFC 3168 section 5)."""
SETUP = ECE | CWR
"""What makes a SYN an ECN-setup SYN (6.1.1)."""


# -- the handshake (3168/6.1, RFC 3168 section 6.1.1) ------------------------------------------------------


def offer(c: Tcb) -> int:
    """The flags that make our SYN an ECN-setup SYN; only the first is one (6.1.1.1, as Linux has it).

    A middlebox may have swallowed that one for its flags. Should it have arrived all the same we echo
    what its answer brings, and mark nothing of ours (6.1.1: for we have sent another kind of SYN too).
    """
    if c.syn_retransmitted:
        if c.ecn is not None and c.ecn.sends:
            c.ecn.sends = False
            c.core.counters["tcp.ecn_fallbacks"] += 1
        return 0
    if c.config.ecn != "on":
        return 0
    c.ecn = Ecn()
    return SETUP


def take_syn(c: Tcb, seg: Segment) -> None:
    """What the peer's SYN, or SYN and ACK, says of it.

    An answer has ECE alone: one that has both flags only reflects ours (6.1.1.2).
    """
    if seg.flags & ACK:
        if seg.flags & SETUP != ECE:
            c.ecn = None
    elif not agrees(c.config, seg):
        c.ecn = None
    elif c.passive:
        c.ecn = Ecn()


def agrees(config: TcpConfig, syn: Segment) -> bool:
    """Whether a SYN without ACK asks for ECN, and we do it.

    One that is marked ECT has been tampered with (6.1.1: MUST NOT), and its flags may have been too; Linux
    takes none such either.
    """
    return syn.flags & SETUP == SETUP and config.ecn != "off" and not syn.tos & MASK


# -- receiver (6.1.3) --------------------------------------------------------------------------------------


def take_text(c: Tcb, ecn: Ecn, seg: Segment) -> None:
    """Text has come that lies in the window: CWR ends the echo, CE begins it. Either is acknowledged at once."""
    if seg.flags & CWR:
        ecn.echo = False
        c.ack_now = True
    field = seg.tos & MASK
    if field:
        ecn.seen = True
        if field == CE:
            segments = -(-len(seg.payload) // seg.gso_size) if seg.gso_size else 1
            c.note().received_ce += segments
            c.core.counters["tcp.ecn_ce_received"] += segments
            if not ecn.echo:
                ecn.echo = True
                c.ack_now = True


# -- sender (6.1.2) ----------------------------------------------------------------------------------------


def take_echo(c: Tcb, ecn: Ecn, acked: int, now: Nanoseconds) -> None:
    """An ACK of `acked` octets with ECE, before anything else is made of it: reduce the window, once a window of data.

    The peer goes on echoing until our CWR has reached it; what lies up to `ecn.until` was sent before.
    """
    if not ecn.sends:
        return
    board = c.board
    c.note().delivered_ce += -(-acked // c.snd_mss)
    if c.ca_state >= RECOVERY and c.episode is not None:
        c.episode.undoable = False  # whatever else caused it, there was congestion
    if board.una + acked <= ecn.until:
        return
    if c.cc.cwnd <= c.snd_mss:
        # it cannot be halved: the next segment waits for the retransmission timer
        c.core.counters["tcp.ecn_reductions"] += 1
        ecn.reduced(board.nxt)
        ecn.quiet_until = c.pace_at = now + c.rtt.rto
        c.arm(c.pace_at)
        if board.nxt > board.una:
            c.rtx_at = c.pace_at
    else:
        recovery.on_ecn_echo(c, now)
