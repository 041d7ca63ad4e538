"""`virtio_net_hdr`, the ten octets in front of every frame of a TAP with `IFF_VNET_HDR`
(linux/virtio_net.h): flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.

`csum_start` counts from the frame's first octet and `csum_offset` from there: the same numbers as in
`scapystack.base.frames`. They stand in the machine's own byte order, as in legacy virtio.
"""

from __future__ import annotations

from struct import Struct

from scapystack.base.frames import Frame

HEADER = Struct("=BBHHHH")
HEADER_LEN = HEADER.size
PLAIN = bytes(HEADER_LEN)
"""The header of a frame with nothing open."""

NEEDS_CSUM = 1
DATA_VALID = 2

GSO_NONE = 0
GSO_TCPV4 = 1
GSO_UDP = 3
GSO_TCPV6 = 4
GSO_ECN = 0x80

pack_vnet = HEADER.pack
unpack_vnet = HEADER.unpack_from

_CWR = 0x80


def vnet_header(frame: Frame) -> bytes:
    """The header for a super-segment with an open checksum (`head` holds at least its TCP header)."""
    head = frame.head
    l4 = frame.csum_start
    # hdr_len is where the payload starts: what stands behind it in `head`, if anything, is cut too
    header_len = l4 + (head[l4 + 12] >> 4) * 4
    kind = GSO_TCPV4 if head[14] >> 4 == 4 else GSO_TCPV6
    if head[l4 + 13] & _CWR:  # CWR goes on the first segment only (RFC 3168 section 6.1.2)
        kind |= GSO_ECN
    return pack_vnet(NEEDS_CSUM, kind, header_len, frame.gso_size, l4, frame.csum_offset)
