"""Finishing in software what a frame left open: transport checksums and segmentation.

Every frame the stack emits has an open checksum (and a super-segment is uncut): a TAP with
`IFF_VNET_HDR` passes both on to the kernel. Any other link, and every capture, calls in here.
Read `scapystack.base.frames` first.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from scapystack.base.checksum import finish, partial_sum, sum_parts
from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.types import Buffer

_L3 = 14
_UDP_CSUM_OFFSET = 6
_PROTO_TCP = 6
_FIN_PSH = 0x09
_CWR = 0x80


def finished(frame: Frame) -> bytes:
    """The frame's octets with the transport checksum filled in; a super-segment stays whole."""
    if frame.csum != CSUM_PARTIAL:
        return frame.data
    return b"".join((_closed_head(frame), *frame.payload))


def finish_frame(frame: Frame) -> Frame:
    """The same frame with nothing open but a `gso_size`; itself where nothing was."""
    if frame.csum != CSUM_PARTIAL:
        return frame
    done = Frame(_closed_head(frame), frame.payload, frame.iface, CSUM_VALID, gso_size=frame.gso_size)
    done.at = frame.at
    done.csum_start, done.csum_offset = frame.csum_start, frame.csum_offset
    return done


def _closed_head(frame: Frame) -> bytes:
    """`head` with the checksum that belongs in its field; the payload is summed where it lies."""
    head = frame.head
    start = frame.csum_start
    at = start + frame.csum_offset
    rest = memoryview(head)[start:]
    value = finish(sum_parts((rest, *frame.payload)) if frame.payload else partial_sum(rest))
    # RFC 768: a UDP checksum that comes out as zero is sent as all ones
    if value == 0 and frame.csum_offset == _UDP_CSUM_OFFSET:
        value = 0xFFFF
    return b"".join((head[:at], value.to_bytes(2, "big"), head[at + 2 :]))


def split(frame: Frame) -> list[Frame]:
    """Wire-size frames with finished checksums, as new objects with the frame's interface and time.

    A frame without `gso_size` comes out alone. A TCP super-segment (IPv4 or IPv6 over Ethernet)
    comes out as segments of `gso_size` payload octets: the sequence number and IP id advance, FIN
    and PSH stay on the last and CWR on the first (as Linux's `tcp_gso_segment` does, RFC 3168
    section 6.1.2 for CWR). The segments' payloads are views of the frame's.
    """
    if frame.gso_size:
        l4 = frame.csum_start
        header_len = l4 + (frame.head[l4 + 12] >> 4) * 4
        payload = _join(frame, header_len)
        if len(payload) > frame.gso_size:
            return _segments(frame, bytes(frame.head[:header_len]), payload, l4)
    head = _closed_head(frame) if frame.csum == CSUM_PARTIAL else frame.head
    whole = Frame(head, frame.payload, frame.iface)
    whole.at = frame.at
    return [whole]


def _join(frame: Frame, header_len: int) -> Buffer:
    """The payload behind `header_len` octets of headers, as one buffer."""
    parts = frame.payload
    rest = memoryview(frame.head)[header_len:]
    if not len(rest) and len(parts) == 1:
        return parts[0]
    return b"".join((rest, *parts))


def _segments(frame: Frame, head: bytes, payload: Buffer, l4: int) -> list[Frame]:
    """Cut `payload` behind copies of `head`. What all segments share is packed and summed once."""
    size = frame.gso_size
    total = len(payload)
    view = memoryview(payload)
    header_len = len(head)
    ipv4 = head[_L3] >> 4 == 4
    ip_header = _ipv4_header(head, l4) if ipv4 else _ipv6_header(head, l4)
    tcp = Struct(f"!4sI5sB2sH{header_len - l4 - 18}s")
    ports, seq, ack_and_offset, flags, window, _, rest = tcp.unpack_from(head, l4)
    addresses = head[_L3 + 12 : _L3 + 20] if ipv4 else head[_L3 + 8 : _L3 + 40]
    # 2**16 is 1 modulo 0xFFFF: a sequence number counts as it is
    shared = partial_sum(addresses) + _PROTO_TCP + partial_sum(tcp.pack(ports, 0, ack_and_offset, 0, window, 0, rest))
    frames = []
    for number, offset in enumerate(range(0, total, size)):
        chunk = view[offset : offset + size]
        own_flags = flags
        if offset + size < total:
            own_flags &= ~_FIN_PSH
        if number:
            own_flags &= ~_CWR
        own_seq = (seq + offset) & 0xFFFFFFFF
        tcp_len = header_len - l4 + len(chunk)
        value = finish(shared + own_seq + own_flags + tcp_len + partial_sum(chunk))
        tcp_header = tcp.pack(ports, own_seq, ack_and_offset, own_flags, window, value, rest)
        segment = Frame(ip_header(number, tcp_len) + tcp_header, (chunk,), frame.iface, CSUM_NONE)
        segment.at = frame.at
        frames.append(segment)
    return frames


def _ipv4_header(head: bytes, l4: int) -> Callable[[int, int], bytes]:
    """Ethernet and IPv4 header of the n-th segment with so many octets of TCP."""
    form = Struct(f"!16sHH4sH{l4 - 26}s")
    front, _, ident, middle, _, rest = form.unpack_from(head)
    header_len = l4 - _L3
    shared = partial_sum(form.pack(front, 0, 0, middle, 0, rest)[_L3:])

    def header(number: int, tcp_len: int) -> bytes:
        length = header_len + tcp_len
        own_id = (ident + number) & 0xFFFF
        return form.pack(front, length, own_id, middle, finish(shared + length + own_id), rest)

    return header


def _ipv6_header(head: bytes, l4: int) -> Callable[[int, int], bytes]:
    """Ethernet and IPv6 headers of the n-th segment with so many octets of TCP."""
    front, rest = head[: _L3 + 4], head[_L3 + 6 : l4]
    extensions = l4 - _L3 - 40

    def header(number: int, tcp_len: int) -> bytes:
        return front + (extensions + tcp_len).to_bytes(2, "big") + rest

    return header
