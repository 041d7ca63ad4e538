"""One segment leaves: `emit` for those that carry an ACK, `transmit` for any. What and when, `output` knows."""

from __future__ import annotations

from scapystack.base.segment import ACK, ECE, RST, SYN, URG
from scapystack.base.seq import HALF
from scapystack.base.types import Buffer
from scapystack.layers.tcp.options import encode, encode_timestamps
from scapystack.layers.tcp.tcb import NEVER, Tcb
from scapystack.layers.tcp.window import window_field

MASK = 0xFFFFFFFF


def emit(c: Tcb, seq: int, flags: int, payload: tuple[Buffer, ...] = (), length: int = 0, ect: int = 0) -> None:
    """Send a segment that carries an ACK of all that was received; notes that no other is due."""
    if length and c.pacer is not None:
        c.pacer.sent(length)
    options = encode_timestamps(c.ts_now(), c.ts_recent) if c.ts_ok else b""
    if not length or not (c.ooo or c.dsack):
        c.ack_now = False
        c.acks_due = 0
        if c.sack_ok and (c.ooo or c.dsack):
            options = encode((c.ts_now(), c.ts_recent) if c.ts_ok else None, _sack_blocks(c))
    # else a full segment has no room for SACK blocks (MUST-16), and an ACK with text is no duplicate
    # to the peer (RFC 5681 section 2): the ACK that a gap asks for leaves by itself behind the text
    window = window_field(c)
    c.last_ack_sent = c.rcv_nxt
    c.ack_bytes = 0
    c.delack_at = NEVER
    if c.ecn is not None and c.ecn.echo and not flags & RST:
        flags |= ECE  # RFC 3168 section 6.1.3
    transmit(c, seq, flags, window, options, payload, length, ect)


def _sack_blocks(c: Tcb) -> tuple[tuple[int, int], ...]:
    """2018/3: the most recent first; 2883/4: before them what came twice, told once."""
    blocks = c.ooo.report(4) if c.ooo else ()
    if c.dsack is not None:
        blocks = (c.dsack, *blocks)
        c.dsack = None
    return blocks


def transmit(
    c: Tcb,
    seq: int,
    flags: int,
    window: int,
    options: bytes,
    payload: tuple[Buffer, ...] = (),
    length: int = 0,
    ect: int = 0,
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
    if length:
        count = 1 if length <= c.snd_mss else -(-length // c.snd_mss)
        c.segs_out += count
        c.data_segs_out += count
    else:
        c.segs_out += 1
    o = c.options
    tcp.ip.send(
        route, 6, head + options if options else head, payload, head_length + length, csum_offset=16,
        gso_size=c.snd_mss if length > c.snd_mss else 0, tos=o.tos & 0xFC | ect, ttl=o.ttl, df=True,
        options=o.ip_options,
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
