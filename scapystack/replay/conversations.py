"""A capture split into its conversations: who talked with whom, and where in the file each packet lies.

Of a packet only its place is kept (12 octets), so that a capture of any size fits; `Conversation.packets` reads
them again. Conversations that are over are handed out while the rest of the capture is still being read. An ICMP
error belongs to the conversation of the packet that it quotes. Read `packets` and `facts` first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from scapystack.base.addr import endpoint_text, ip_text, is_multicast, is_unspecified
from scapystack.base.codec import Codec
from scapystack.base.datagram import PROTO_ICMP, PROTO_TCP, PROTO_UDP
from scapystack.base.guard import tcp_header
from scapystack.base.segment import Segment
from scapystack.base.types import SECOND, Address, Nanoseconds
from scapystack.layers.tcp.options import parse_options
from scapystack.link.pcapread import CaptureReader
from scapystack.replay.facts import TcpFacts
from scapystack.replay.packets import Packet, PacketMaker

ECHO_REPLY, ECHO_REQUEST = 0, 8
ERRORS = (3, 4, 5, 11, 12)
"""ICMP messages that quote a packet."""
_LINGER = 120 * SECOND
"""How long after its end a connection may still show something (TIME-WAIT)."""
_MANY = 2_048
_SHORT_LINGER = 2 * SECOND
"""And how long where more than so many are open: what is held of each must not add up."""
_SWEEP = 4_096
"""Packets between two looks for conversations that are over."""
_COPY_NS = 1_000_000
"""A capture of all interfaces sees what crosses the loopback twice, this close together."""

End = tuple[Address, int]
"""Address and port; of pings, the identifier for a port."""


@dataclass(eq=False)
class Conversation:
    """One conversation of a capture. `opener` sent its first packet, `other` was meant.

    `tcp` is what a TCP conversation shows of its sides; None for UDP and ICMP. `unfit` is why nobody can replay it.
    """

    number: int
    proto: int
    opener: End
    other: End
    began_at: Nanoseconds
    tcp: TcpFacts | None = None
    unfit: str = ""
    copies: bool = False
    places: array[int] = field(default_factory=lambda: array("Q"))
    numbers: array[int] = field(default_factory=lambda: array("I"))
    last_at: Nanoseconds = 0
    answers: int = 0
    damaged: int = 0
    directions: list[int] = field(default_factory=lambda: [0, 0])
    """How often the opener's packets were seen coming in, and going out."""
    _last: tuple[int, Nanoseconds, bytes] | None = None

    @property
    def title(self) -> str:
        """`TCP 10.0.0.2:40000 > 10.0.0.1:80`."""
        if self.proto == PROTO_ICMP:
            return f"ICMP {ip_text(self.opener[0])} > {ip_text(self.other[0])}"
        name = "TCP" if self.proto == PROTO_TCP else "UDP"
        return f"{name} {endpoint_text(*self.opener)} > {endpoint_text(*self.other)}"

    def packets(self, reader: CaptureReader) -> Iterator[Packet]:
        """Its packets, whole, in the order of the capture, read again."""
        maker = PacketMaker(verify=self.tcp is None)  # of TCP the facts know it already
        for place, number in zip(self.places, self.numbers, strict=True):
            packet = maker.packet(reader.packet_at(place), number)
            if packet is not None:
                yield packet

    def begins_anew(self, seg: Segment, source: End) -> bool:
        """Whether this segment is the first of another connection between the same ends."""
        return self.tcp is not None and self.tcp.begins_anew(seg, source == self.opener)

    def why_not(self, as_opener: bool) -> str:
        """Why the stack cannot take the part of the opener, or of the other side; "" if it can."""
        if self.unfit:
            return self.unfit
        if self.tcp is not None:
            return self.tcp.why_not(as_opener)
        if self.proto == PROTO_ICMP and not as_opener and not self.answers:
            return "nobody answers"
        return ""


def segment_of(packet: Packet, codec: Codec) -> Segment | None:
    """The TCP segment of a packet, options and all; None where the header is none."""
    payload = packet.payload
    if tcp_header(payload, packet.src, packet.dst, False):
        return None
    sport, dport, seq, ack, dataofs, _, flags, wnd, _, up = codec.decode_tcp(payload, 0)
    seg = Segment(packet.src, packet.dst, sport, dport, seq, ack, flags, wnd, up, payload[dataofs * 4 :], packet.tos)
    parse_options(payload[20 : dataofs * 4], seg)
    return seg


def quoted(packet: Packet, codec: Codec) -> tuple[int, End, End] | None:
    """Of an ICMP error: protocol, sender and destination of the packet that it is about."""
    inner = packet.payload[8:]
    if len(inner) < 28 or inner[0] >> 4 != 4 or len(inner) < (inner[0] & 15) * 4 + 8:
        return None
    _, ihl, _, _, _, _, _, _, proto, _, src, dst = codec.decode_ipv4(inner, 0)
    head = inner[ihl * 4 :]
    if proto == PROTO_ICMP:
        ident = int.from_bytes(head[4:6], "big")
        return proto, (src, ident), (dst, ident)
    return proto, (src, int.from_bytes(head[:2], "big")), (dst, int.from_bytes(head[2:4], "big"))


class Splitter:
    """Splits a capture: iterate over it for the conversations, each when it is over or the capture is.

    `left_out` says what was in the capture that belongs to none.
    """

    def __init__(self, reader: CaptureReader) -> None:
        self.reader = reader
        self.maker = PacketMaker()
        self.left_out = self.maker.left_out
        self.packets = 0
        self.conversations = 0
        self._open: dict[tuple[int, End, End], Conversation] = {}
        self._pieces: dict[int, int] = {}

    def __iter__(self) -> Iterator[Conversation]:
        codec = self.maker.core.codec
        numbers = self._pieces  # of the fragments that wait for the rest, by place
        for number, captured in enumerate(self.reader, 1):
            self.packets = number
            before = self.left_out.total()
            packet = self.maker.packet(captured, number)
            if packet is None:
                if self.left_out.total() == before:
                    numbers[captured.offset] = number
                    if len(numbers) > 65_536:
                        numbers.pop(next(iter(numbers)))
                continue
            finished = self._take(packet, codec)
            if finished is not None:
                yield finished
            if not number % _SWEEP:
                yield from self._over(packet.at)
        yield from self._open.values()
        self._open.clear()

    def _over(self, now: Nanoseconds) -> list[Conversation]:
        """Let go of the connections that have been over for long."""
        linger = _LINGER if len(self._open) <= _MANY else _SHORT_LINGER
        over = [
            (key, each)
            for key, each in self._open.items()
            if each.tcp is not None and each.tcp.over and now - each.last_at > linger
        ]
        for key, _ in over:
            del self._open[key]
        return [each for _, each in over]

    def _take(self, packet: Packet, codec: Codec) -> Conversation | None:
        """Give a packet to its conversation; the one before between the same ends, if this begins another."""
        seg = None
        about: tuple[int, End, End] | None
        if packet.proto == PROTO_TCP:
            seg = segment_of(packet, codec)
            about = None if seg is None else (PROTO_TCP, (packet.src, seg.sport), (packet.dst, seg.dport))
        else:
            about = self._about(packet, codec)
        if about is None:
            return None
        proto, source, target = about
        key = (proto, min(source, target), max(source, target))
        conversation = self._open.get(key)
        finished = None
        if conversation is not None and seg is not None and conversation.begins_anew(seg, source):
            finished, conversation = conversation, None
        if conversation is None:
            if packet.proto == PROTO_ICMP and packet.payload[0] in ERRORS:
                self.left_out["ICMP errors about nothing in the capture"] += 1
                return None
            conversation = self._new(key, packet, source, target)
        if _copied(conversation, packet):
            return finished
        for place in packet.places:
            conversation.places.append(place)
            conversation.numbers.append(self._pieces.pop(place, packet.number))
        conversation.last_at = packet.at
        self._note(conversation, packet, seg, source == conversation.opener)
        return finished

    def _about(self, packet: Packet, codec: Codec) -> tuple[int, End, End] | None:
        payload = packet.payload
        if packet.proto == PROTO_UDP and len(payload) >= 8:
            sport, dport, _, _ = codec.decode_udp(payload, 0)
            return PROTO_UDP, (packet.src, sport), (packet.dst, dport)
        if packet.proto == PROTO_ICMP and len(payload) >= 8:
            if payload[0] in (ECHO_REQUEST, ECHO_REPLY):
                ident = payload[4] << 8 | payload[5]
                return PROTO_ICMP, (packet.src, ident), (packet.dst, ident)
            if payload[0] in ERRORS:
                return quoted(packet, codec)
        self.left_out[f"protocol {packet.proto}" if packet.proto not in (1, 6, 17) else "other ICMP"] += 1
        return None

    def _new(self, key: tuple[int, End, End], packet: Packet, source: End, target: End) -> Conversation:
        self.conversations += 1
        made = Conversation(self.conversations, key[0], source, target, packet.at)
        if key[0] == PROTO_TCP:
            made.tcp = TcpFacts()
        self._open[key] = made
        for address, _ in (source, target):
            if is_multicast(address) or is_unspecified(address) or address == b"\xff\xff\xff\xff":
                made.unfit = "it goes to many hosts, or comes from none"
        return made

    def _note(self, conversation: Conversation, packet: Packet, seg: Segment | None, by_opener: bool) -> None:
        if packet.direction:
            conversation.directions[(packet.direction == 2) == by_opener] += 1
        if seg is not None and conversation.tcp is not None:
            conversation.tcp.add(seg, by_opener, packet.at, packet.damaged, packet.cut_off)
            return
        conversation.damaged += packet.damaged
        about = packet.proto == PROTO_ICMP and packet.payload[0] in ERRORS  # an error: source is who it concerns
        conversation.answers += by_opener == about
        if packet.cut_off and packet.proto != PROTO_ICMP and not conversation.unfit:
            conversation.unfit = "cut by the snap length (capture with -s 0)"


def _copied(conversation: Conversation, packet: Packet) -> bool:
    """Whether this is the packet that was seen before on its way out, now on its way in."""
    seen = (packet.direction, packet.at, bytes(packet.payload[:64]) + packet.ident.to_bytes(2, "big"))
    last, conversation._last = conversation._last, seen
    if not packet.direction or last is None:
        return False
    return last[0] != seen[0] and last[2] == seen[2] and seen[1] - last[1] < _COPY_NS
