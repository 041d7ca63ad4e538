"""A recorded packet of the peer's as it would have been sent to our stack: numbers and addresses moved."""

from __future__ import annotations

from scapystack.base.checksum import checksum
from scapystack.base.codec import Codec
from scapystack.base.datagram import PROTO_TCP
from scapystack.base.segment import ACK, Segment
from scapystack.layers.tcp.options import EOL, FASTOPEN, NOP, SACK, TIMESTAMPS, encode_timestamps
from scapystack.replay.packets import Packet
from scapystack.replay.stage import Stage

MASK = 0xFFFFFFFF


def moved_segment(
    codec: Codec, packet: Packet, seg: Segment, shift: int, stamp: int, cookie: bytes, ack: int | None = None
) -> bytearray:
    """The octets of `seg`, recorded in `packet`: acknowledgments moved by `shift`, `stamp` echoed.

    A Fast Open cookie that the recorded host had given becomes `cookie`, where that is as long.

    With `ack`, an absolute number, `seg` is not the packet's own but one of the peer's that acknowledges just this.
    """
    if ack is not None:
        options = encode_timestamps(seg.tsval, stamp) if seg.tsval is not None else b""
        fields = (seg.sport, seg.dport, seg.seq, ack, 5 + len(options) // 4, 0, ACK, seg.wnd, 0, 0)
        return bytearray(codec.encode_tcp(*fields) + options)
    payload = packet.payload
    sport, dport, seq, number, dataofs, reserved, flags, wnd, csum, up = codec.decode_tcp(payload, 0)
    if flags & ACK:
        number = (number + shift) & MASK
    moved = bytearray(payload[20 : dataofs * 4])
    _move_options(moved, shift, stamp if flags & ACK else 0, b"" if flags & ACK else cookie)
    head = codec.encode_tcp(sport, dport, seq, number, dataofs, reserved, flags, wnd, csum, up)
    return bytearray(b"".join((head, moved, payload[dataofs * 4 :])))


def _move_options(options: bytearray, shift: int, stamp: int, cookie: bytes) -> None:
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == NOP:
            at += 1
            continue
        if kind == EOL or at + 1 >= len(options) or options[at + 1] < 2 or at + options[at + 1] > len(options):
            return
        end = at + options[at + 1]
        if kind == TIMESTAMPS and end - at == 10:
            options[at + 6 : end] = stamp.to_bytes(4, "big")
        elif kind == SACK:
            for edge in range(at + 2, end - 3, 4):
                number = int.from_bytes(options[edge : edge + 4], "big")
                options[edge : edge + 4] = ((number + shift) & MASK).to_bytes(4, "big")
        elif kind == FASTOPEN and end - at - 2 == len(cookie):
            options[at + 2 : end] = cookie
        at = end


def moved_error(codec: Codec, packet: Packet, stage: Stage, shift: int) -> tuple[bytearray, int]:
    """An ICMP error about a packet of ours, and the sequence number that it quotes of a segment (else 0)."""
    payload = bytearray(packet.payload)
    version, ihl, tos, length, ident, flags, frag, ttl, proto, _, _, _ = codec.decode_ipv4(payload, 8)
    header = ihl * 4
    before = (version, ihl, tos, length, ident, flags, frag, ttl, proto)
    ends = (stage.ours, stage.peer)
    csum = checksum(codec.encode_ipv4(*before, 0, *ends) + bytes(payload[28 : 8 + header]))
    payload[8:28] = codec.encode_ipv4(*before, csum, *ends)
    number = 0
    if proto == PROTO_TCP:
        at = 8 + header + 4
        number = (int.from_bytes(payload[at : at + 4], "big") + shift) & MASK
        payload[at : at + 4] = number.to_bytes(4, "big")
    return payload, number
