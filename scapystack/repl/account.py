"""What a segment that a person made moves in the connection that it is sent for, as if it had been the stack's own.

Text becomes the stream's, in place of as many octets that the application has written and that wait to be sent; a
retransmission carries what the person has sent. Read `layers.tcp.output` first.
"""

from __future__ import annotations

from scapystack.base.errors import ConfigError
from scapystack.base.segment import ACK, FIN, RST, SYN
from scapystack.base.seq import seq_sub
from scapystack.layers.tcp.state import SYNCHRONIZED
from scapystack.layers.tcp.tcb import NEVER
from scapystack.layers.tcp.user import Connection

MASK = 0xFFFFFFFF


def account(c: Connection, seq: int, flags: int, payload: bytes) -> None:
    """Move `c` as its own segment of these numbers would. Raises ConfigError where it cannot have sent that.

    It can send text and FIN at SND.NXT, what it has sent before (which moves nothing but the times of sending), an
    ACK, and a RST.
    """
    length = len(payload) + (flags & FIN)
    ahead = seq_sub(seq, c.snd_nxt)
    if flags & SYN or (length and c.state not in SYNCHRONIZED):
        raise ConfigError("account=True is for a connection that is made, and for segments without SYN")
    if ahead > 0 or (ahead < 0 and ahead + length > 0):
        raise ConfigError(f"SEG.SEQ is {ahead:+} octets from SND.NXT: send it with account=False")
    if flags & RST:
        c.tcp.close(c, 0)
        return
    if length and seq_sub(seq, c.snd_una) < 0:
        return  # acknowledged long ago
    if flags & ACK:
        c.ack_now = False
        c.acks_due = 0
        c.ack_bytes = 0
        c.delack_at = NEVER
        c.last_ack_sent = c.rcv_nxt
    c.segs_out += 1
    if not length:
        return
    c.data_segs_out += bool(payload)
    c.last_data_at = c.core.now
    if ahead:
        start = c.board.una + seq_sub(seq, c.snd_una)
        c.board.resend(start, length, c.core.now)
        return
    _take_text(c, payload)
    if flags & FIN:
        _take_fin(c)
    c.snd_nxt = (c.snd_nxt + length) & MASK
    c.board.sent(length, c.core.now)
    c.persist_at = NEVER
    if c.rtx_at == NEVER:
        c.rtx_at = c.core.now + c.rtt.rto
        c.arm(c.rtx_at)


def _take_text(c: Connection, payload: bytes) -> None:
    """Put `payload` at SND.NXT, in place of as many octets of what the application has waiting there."""
    sent = (c.snd_nxt - c.snd_una) & MASK
    waiting = b"".join(c.sendbuf.slice(sent, len(c.sendbuf) - sent))
    if not payload or waiting.startswith(payload):
        return
    if c.fin_sent:
        raise ConfigError("a FIN was sent: no text may follow")
    c.sendbuf.cut(sent)
    c.sendbuf.append(payload)
    c.sendbuf.append(waiting[len(payload) :])


def _take_fin(c: Connection) -> None:
    c.shutdown_write()
    c.fin_sent = True
