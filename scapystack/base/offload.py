"""Finishing in software what a frame left open: transport checksums and segmentation.

Every frame the stack emits has an open checksum (and a super-segment is uncut): a TAP with
`IFF_VNET_HDR` passes both on to the kernel. Any other link, and every capture, calls in here.
Read `scapystack.base.frames` first.
"""

from __future__ import annotations

from collections.abc import Iterator

from scapystack.base.checksum import finish, partial_sum, sum_parts
from scapystack.base.frames import CSUM_NONE, CSUM_PARTIAL, CSUM_VALID, Frame
from scapystack.base.types import Buffer

_TCP_CSUM_OFFSET = 16
_TCP_FLAGS_AT = 13
_FIN_PSH = 0x09
_CWR = 0x80


def finished(frame: Frame) -> bytes:
    """The frame's octets with the transport checksum filled in; a super-segment stays whole."""
    if frame.csum != CSUM_PARTIAL:
        return frame.data
    data = bytearray(frame.data)
    _fill(data, frame)
    return bytes(data)


def finish_frame(frame: Frame) -> Frame:
    """The same frame with nothing open but a `gso_size`; itself where nothing was."""
    if frame.csum != CSUM_PARTIAL:
        return frame
    done = Frame(finished(frame), (), frame.iface, CSUM_VALID, gso_size=frame.gso_size)
    done.at = frame.at
    done.csum_start, done.csum_offset = frame.csum_start, frame.csum_offset
    return done


def _fill(data: bytearray, frame: Frame) -> None:
    at = frame.csum_start + frame.csum_offset
    total = partial_sum(memoryview(data)[frame.csum_start :])
    value = finish(total)
    # RFC 768: a UDP checksum that comes out as zero is sent as all ones
    if value == 0 and frame.csum_offset == 6:
        value = 0xFFFF
    data[at : at + 2] = value.to_bytes(2, "big")


def split(frame: Frame) -> Iterator[Frame]:
    """Cut a frame into wire-size frames with finished checksums.

    A frame without `gso_size` comes out alone, finished. A TCP super-segment (IPv4 or IPv6 over
    Ethernet) comes out as segments of `gso_size` payload octets: the sequence number and IP id
    advance, FIN and PSH stay on the last and CWR on the first (as Linux's `tcp_gso_segment` does,
    RFC 3168 section 6.1.2 for CWR).
    """
    if not frame.gso_size:
        yield Frame(finished(frame), (), frame.iface, CSUM_NONE)
        return
    l4 = frame.csum_start
    head = frame.head
    header_len = l4 + (head[l4 + 12] >> 4) * 4
    payload = _join(frame, header_len)
    if len(payload) <= frame.gso_size:
        yield Frame(finished(frame), (), frame.iface, CSUM_NONE)
        return
    yield from _segments(frame, bytes(head[:header_len]), payload, l4)


def _join(frame: Frame, header_len: int) -> Buffer:
    """The payload behind `header_len` octets of headers, as one buffer."""
    parts = frame.payload
    rest = memoryview(frame.head)[header_len:]
    if not len(rest) and len(parts) == 1:
        return parts[0]
    return b"".join((rest, *parts))


def _segments(frame: Frame, template: bytes, payload: Buffer, l4: int) -> Iterator[Frame]:
    size = frame.gso_size
    total = len(payload)
    view = memoryview(payload)
    l3 = 14
    ipv4 = template[l3] >> 4 == 4
    seq = int.from_bytes(template[l4 + 4 : l4 + 8], "big")
    ident = int.from_bytes(template[l3 + 4 : l3 + 6], "big")
    flags = template[l4 + _TCP_FLAGS_AT]
    pseudo = _pseudo_without_length(template, l3, l4, ipv4)
    for offset in range(0, total, size):
        chunk = view[offset : offset + size]
        head = bytearray(template)
        last = offset + size >= total
        f = flags
        if not last:
            f &= ~_FIN_PSH
        if offset:
            f &= ~_CWR
        head[l4 + _TCP_FLAGS_AT] = f
        head[l4 + 4 : l4 + 8] = ((seq + offset) & 0xFFFFFFFF).to_bytes(4, "big")
        tcp_len = len(head) - l4 + len(chunk)
        if ipv4:
            head[l3 + 2 : l3 + 4] = (l4 - l3 + tcp_len).to_bytes(2, "big")
            head[l3 + 4 : l3 + 6] = ((ident + offset // size) & 0xFFFF).to_bytes(2, "big")
            head[l3 + 10 : l3 + 12] = b"\0\0"
            head[l3 + 10 : l3 + 12] = finish(partial_sum(head[l3:l4])).to_bytes(2, "big")
        else:
            head[l3 + 4 : l3 + 6] = (l4 - l3 - 40 + tcp_len).to_bytes(2, "big")
        at = l4 + _TCP_CSUM_OFFSET
        head[at : at + 2] = b"\0\0"
        value = finish(pseudo + tcp_len + sum_parts((head[l4:], chunk)))
        head[at : at + 2] = value.to_bytes(2, "big")
        yield Frame(bytes(head), (chunk,), frame.iface, CSUM_NONE)


def _pseudo_without_length(head: bytes, l3: int, l4: int, ipv4: bool) -> int:
    addresses = head[l3 + 12 : l3 + 20] if ipv4 else head[l3 + 8 : l3 + 40]
    return partial_sum(addresses) + 6
