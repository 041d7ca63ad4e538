"""Frames made wrong: octets turned, cut, grown and spliced, fields set to what breaks programs, and then,
mostly, lengths and checksums made right again, so that the wrong reaches deep.

Everything is drawn from the `random.Random` that is handed in.
"""

from __future__ import annotations

from random import Random

from scapystack.base.checksum import checksum, finish, partial_sum, pseudo_sum
from scapystack.codec import make_codec

CODEC = make_codec("compiled")
L3 = 14
TCP, UDP, ICMP = 6, 17, 1
CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2}

ETHERNET_FIELDS = [(0, 6), (6, 6), (12, 2)]
IP_FIELDS = [(0, 1), (1, 1), (2, 2), (4, 2), (6, 2), (8, 1), (9, 1), (10, 2), (12, 4), (16, 4)]
L4_FIELDS = {
    TCP: [(0, 2), (2, 2), (4, 4), (8, 4), (12, 1), (13, 1), (14, 2), (16, 2), (18, 2)],
    UDP: [(0, 2), (2, 2), (4, 2), (6, 2)],
    ICMP: [(0, 1), (1, 1), (2, 2), (4, 2), (6, 2)],
}
ARP_FIELDS = [(0, 2), (2, 2), (4, 1), (5, 1), (6, 2), (8, 6), (14, 4), (18, 6), (24, 4)]


def ip_packet(
    src: bytes, dst: bytes, proto: int, payload: bytes, *, options: bytes = b"", ident: int = 1, flags: int = 0,
    offset: int = 0, ttl: int = 64, tos: int = 0,
) -> bytes:  # fmt: skip
    """An IPv4 packet whose header is right; `offset` in units of 8 octets, `options` of 4 a piece."""
    ihl = 5 + len(options) // 4
    fields = (4, ihl, tos, min(ihl * 4 + len(payload), 0xFFFF), ident, flags, offset & 0x1FFF, ttl, proto)
    bare = CODEC.encode_ipv4(*fields, 0, src, dst) + options
    return CODEC.encode_ipv4(*fields, checksum(bare), src, dst) + options + payload


def tcp_segment(
    src: bytes, dst: bytes, sport: int, dport: int, seq: int, ack: int, flags: int, wnd: int, *,
    up: int = 0, options: bytes = b"", payload: bytes = b"",
) -> bytes:  # fmt: skip
    """A TCP segment with a right checksum; `options` are padded, and cut at 40 octets."""
    options = (options + bytes(-len(options) % 4))[:40]
    fields = (sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 5 + len(options) // 4, 0, flags, wnd & 0xFFFF)
    segment = CODEC.encode_tcp(*fields, 0, up) + options + payload
    value = finish(pseudo_sum(src, dst, TCP, len(segment)) + partial_sum(segment))
    return CODEC.encode_tcp(*fields, value, up) + segment[20:]


def icmp_message(kind: int, code: int, rest: bytes) -> bytes:
    """An ICMP message with a right checksum; `rest` begins with the second word."""
    return CODEC.encode_icmp(kind, code, checksum(CODEC.encode_icmp(kind, code, 0) + rest)) + rest


def udp_datagram(src: bytes, dst: bytes, sport: int, dport: int, data: bytes) -> bytes:
    """A UDP datagram with a right checksum."""
    length = 8 + len(data)
    bare = CODEC.encode_udp(sport, dport, length, 0) + data
    value = finish(pseudo_sum(src, dst, UDP, length) + partial_sum(bare)) or 0xFFFF
    return CODEC.encode_udp(sport, dport, length, value) + data


def repaired(frame: bytes, *, length: bool = True) -> bytes:
    """The frame with a total length (if wanted) and checksums that fit what is in it."""
    if len(frame) < L3 + 20 or frame[12:14] != b"\x08\0":
        return frame
    packet = bytearray(frame[L3:])
    if length:
        packet[2:4] = min(len(packet), 0xFFFF).to_bytes(2, "big")
    header = min(max((packet[0] & 15) * 4, 20), len(packet))
    packet[10:12] = b"\0\0"
    packet[10:12] = checksum(packet[:header]).to_bytes(2, "big")
    proto = packet[9]
    at = header + CHECKSUM_AT.get(proto, 0)
    fragment = packet[6] & 0x3F or packet[7]
    end = min(int.from_bytes(packet[2:4], "big"), len(packet))
    if proto in CHECKSUM_AT and not fragment and at + 2 <= end:
        if proto == UDP and length:
            packet[header + 4 : header + 6] = (end - header).to_bytes(2, "big")
        packet[at : at + 2] = b"\0\0"
        body = bytes(packet[header:end])
        total = partial_sum(body)
        if proto != ICMP:
            total += pseudo_sum(bytes(packet[12:16]), bytes(packet[16:20]), proto, len(body))
        packet[at : at + 2] = (finish(total) or (0xFFFF if proto == UDP else 0)).to_bytes(2, "big")
    return frame[:L3] + bytes(packet)


class Mutator:
    """Makes frames wrong in one to three ways each."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._ways = [self._bits, self._octets, self._field, self._field, self._field, self._cut, self._grow,
                      self._zero, self._swap, self._repeat]  # fmt: skip

    def mutated(self, frame: bytes, other: bytes = b"") -> bytes:
        """Another frame; `other` is one to take pieces from. Four in five have lengths and checksums mended."""
        random = self.random
        link = frame[:L3]
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            if other and random.random() < 0.1:
                frame = self._splice(frame, other)
            elif frame:
                frame = random.choice(self._ways)(frame)
        if random.random() < 0.9:
            frame = link + frame[L3:]
        if random.random() < 0.8:
            frame = repaired(frame, length=random.random() < 0.8)
        return frame

    def _bits(self, frame: bytes) -> bytes:
        octets = bytearray(frame)
        for _ in range(self.random.choice((1, 1, 2, 8))):
            octets[self._place(frame)] ^= 1 << self.random.randrange(8)
        return bytes(octets)

    def _place(self, frame: bytes) -> int:
        """Headers are more interesting than text."""
        return self.random.randrange(min(len(frame), self.random.choice((34, 54, 74, 1 << 20))))

    def _octets(self, frame: bytes) -> bytes:
        octets = bytearray(frame)
        octets[self._place(frame)] = self.random.choice((0, 1, 2, 127, 128, 254, 255, self.random.randrange(256)))
        return bytes(octets)

    def _field(self, frame: bytes) -> bytes:
        """Set a header field to an edge, to its neighbour's value or to anything."""
        random = self.random
        at, size = random.choice(fields_of(frame))
        if at + size > len(frame):
            return frame
        limit = 1 << size * 8
        old = int.from_bytes(frame[at : at + size], "big")
        value = random.choice((0, 1, limit - 1, limit // 2, limit // 2 - 1, old + 1, old - 1, -old, old << 1,
                               old ^ 1 << random.randrange(size * 8), random.randrange(limit)))  # fmt: skip
        return frame[:at] + (value % limit).to_bytes(size, "big") + frame[at + size :]

    def _cut(self, frame: bytes) -> bytes:
        return frame[: self._place(frame)]

    def _grow(self, frame: bytes) -> bytes:
        return frame + self.random.randbytes(self.random.choice((1, 2, 7, 46, 1000)))

    def _zero(self, frame: bytes) -> bytes:
        at = self._place(frame)
        n = self.random.randrange(1, 20)
        return frame[:at] + bytes(min(n, len(frame) - at)) + frame[at + n :]

    def _swap(self, frame: bytes) -> bytes:
        a, b = sorted((self._place(frame), self._place(frame)))
        if b - a < 2 or b + 2 > len(frame):
            return frame
        return frame[:a] + frame[b : b + 2] + frame[a + 2 : b] + frame[a : a + 2] + frame[b + 2 :]

    def _repeat(self, frame: bytes) -> bytes:
        """An octet or some of them once more, so that all behind them stand elsewhere."""
        at = self._place(frame)
        n = self.random.randrange(1, 13)
        return frame[:at] + frame[at : at + n] + frame[at:]

    def _splice(self, frame: bytes, other: bytes) -> bytes:
        at = self.random.choice((L3, L3 + 20, L3 + 40, self._place(frame) if frame else 0))
        return frame[:at] + other[at:]


def fields_of(frame: bytes) -> list[tuple[int, int]]:
    """Place and size of the header fields that a frame seems to have."""
    if frame[12:14] == b"\x08\x06":
        return [(L3 + at, size) for at, size in ARP_FIELDS]
    fields = ETHERNET_FIELDS + [(L3 + at, size) for at, size in IP_FIELDS] * 2
    if len(frame) > L3 + 9:
        l4 = L3 + (frame[L3] & 15) * 4
        fields += [(l4 + at, size) for at, size in L4_FIELDS.get(frame[L3 + 9], [])] * 3
    return fields
