"""One stack that is fed frames, and what is fed to it: headers made by the compiled codec, checksums finished."""

from __future__ import annotations

from scapystack.base.addr import ip
from scapystack.base.checksum import checksum, finish, partial_sum, pseudo_sum
from scapystack.base.config import StackConfig
from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.types import Buffer
from scapystack.codec import make_codec
from scapystack.stack import NetStack

CODEC = make_codec("compiled")
OURS, PEER = ip("10.0.0.1"), ip("10.0.0.2")
OUR_MAC, PEER_MAC = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
TCP, UDP = 6, 17


def make_stack(config: StackConfig | None = None) -> tuple[NetStack, Interface]:
    """A stack at 10.0.0.1/24 that knows its neighbour 10.0.0.2."""
    stack = NetStack(config, seed=1)
    iface = stack.add_interface("eth0", OUR_MAC)
    stack.add_address(iface, "10.0.0.1/24")
    stack.arp.add_static(iface, PEER, PEER_MAC)
    return stack, iface


def ipv4(
    proto: int,
    payload: Buffer,
    *,
    src: bytes = PEER,
    dst: bytes = OURS,
    ident: int = 1,
    offset: int = 0,
    more: bool = False,
) -> bytes:
    """A frame of the peer's with an IP packet; `offset` in octets, `more` fragments follow."""
    fields = (4, 5, 0, 20 + len(payload), ident, int(more), offset >> 3, 64, proto)
    total = checksum(CODEC.encode_ipv4(*fields, 0, src, dst))
    header = CODEC.encode_ipv4(*fields, total, src, dst)
    return b"".join((CODEC.encode_ethernet(OUR_MAC, PEER_MAC, 0x0800), header, payload))


def udp(sport: int, dport: int, data: bytes) -> bytes:
    """A datagram from the peer to us, without its IP header."""
    length = 8 + len(data)
    bare = CODEC.encode_udp(sport, dport, length, 0) + data
    total = finish(pseudo_sum(PEER, OURS, UDP, length) + partial_sum(bare))
    return CODEC.encode_udp(sport, dport, length, total or 0xFFFF) + data


def tcp(
    sport: int,
    dport: int,
    seq: int,
    ack: int,
    flags: int,
    options: bytes = b"",
    data: bytes = b"",
    window: int = 65_535,
) -> bytes:
    """A segment from the peer to us, without its IP header."""
    fields = (sport, dport, seq, ack, 5 + len(options) // 4, 0, flags, 65_535)
    bare = CODEC.encode_tcp(*fields, 0, 0) + options + data
    total = finish(pseudo_sum(PEER, OURS, TCP, len(bare)) + partial_sum(bare))
    return CODEC.encode_tcp(*fields, total, 0) + options + data


def frame(data: bytes, iface: Interface) -> Frame:
    """What a link would have read."""
    return Frame(data, (), iface)
