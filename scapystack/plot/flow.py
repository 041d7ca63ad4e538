"""`Flow`: one TCP conversation as pictures need it: each segment of both sides, numbers counted from the initial ones.

It is made of a conversation of a capture, or of a connection of a trace, which brings the variables of TCP with
it. Read `replay.conversations` and `trace.events` first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from scapystack.base.datagram import PROTO_TCP
from scapystack.base.segment import ACK, FIN, SYN, Segment
from scapystack.base.types import Nanoseconds
from scapystack.codec import make_codec
from scapystack.link.pcapread import CaptureReader
from scapystack.replay.conversations import Conversation, segment_of
from scapystack.replay.facts import Counter32
from scapystack.trace.events import Event

_LETTERS = "FSRPAUEC"
OPENER, OTHER = 0, 1
SIDES = ("client", "server")


@dataclass(slots=True)
class Seen:
    """One segment: when it passed (s from the first one), who sent it, and what its header says.

    `start` counts from the initial sequence number, which is the SYN's: the first octet of text is 1. `ack` counts
    from the other side's, and is None without an ACK; `window` is in octets. `number` is that of the packet in the
    capture, or of the event in the trace.
    """

    at: float
    side: int
    flags: int
    start: int
    length: int
    ack: int | None
    window: int
    sack: tuple[tuple[int, int], ...] = ()
    tsval: int | None = None
    tsecr: int | None = None
    number: int = 0

    @property
    def end(self) -> int:
        """Past all numbers that it takes, SYN and FIN included."""
        return self.start + self.length + bool(self.flags & SYN) + bool(self.flags & FIN)

    @property
    def text(self) -> str:
        """As tcpdump would have it."""
        letters = "".join(c for bit, c in ((2, "S"), (1, "F"), (4, "R"), (8, "P"), (16, ".")) if self.flags & bit)
        words = [f"[{letters}]"]
        if self.length:
            words.append(f"seq {self.start}:{self.start + self.length}")
        elif self.flags & 7:
            words.append(f"seq {self.start}")
        if self.ack is not None:
            words.append(f"ack {self.ack}")
        words.append(f"win {self.window}")
        if self.sack:
            words.append("sack " + " ".join(f"{left}:{right}" for left, right in self.sack))
        return ", ".join([*words, f"length {self.length}"])


@dataclass(slots=True)
class _Side:
    count: Counter32 | None = None
    syn: Segment | None = None


@dataclass(eq=False)
class Flow:
    """Both sides' segments in the order in which they passed; side 0 is the client, which sent the first SYN.

    `events` is what a trace tells of the side `traced`, with their times; empty for a capture.
    """

    title: str
    ends: tuple[str, str]
    began_at: Nanoseconds = 0
    seen: list[Seen] = field(default_factory=list)
    events: list[tuple[float, Event]] = field(default_factory=list)
    traced: int | None = None
    _sides: tuple[_Side, _Side] = field(default_factory=lambda: (_Side(), _Side()))

    @property
    def scaled(self) -> bool:
        """Whether both SYNs are there and offer to scale windows."""
        a, b = (side.syn for side in self._sides)
        return a is not None and b is not None and a.wscale is not None and b.wscale is not None

    @property
    def sender(self) -> int:
        """The side that has sent most text."""
        sent = [sum(seen.length for seen in self.seen if seen.side == side) for side in (OPENER, OTHER)]
        return int(sent[OTHER] > sent[OPENER])

    @property
    def lasts(self) -> float:
        """Seconds from the first to the last segment; TIME-WAIT, which a trace tells of, is not part of it."""
        return self.seen[-1].at if self.seen else 0.0

    def seconds(self, at: Nanoseconds) -> float:
        """A time of the recording as seconds from its beginning."""
        return (at - self.began_at) / 1e9

    def add(self, at: Nanoseconds, side: int, seg: Segment, length: int, number: int) -> None:
        """Take the next segment; `length` is that of its text."""
        ours, theirs = self._sides[side], self._sides[1 - side]
        if seg.flags & SYN and ours.syn is None:
            ours.syn, ours.count = seg, Counter32(seg.seq)
        if ours.count is None:
            ours.count = Counter32(seg.seq - 1 & 0xFFFFFFFF)  # the recording begins in the middle
        ack: int | None = None
        if seg.flags & ACK:
            if theirs.count is None:
                theirs.count = Counter32(seg.ack - 1 & 0xFFFFFFFF)
            ack = theirs.count.near(seg.ack)
        near = theirs.count.near if theirs.count is not None else int
        window = seg.wnd
        if self.scaled and not seg.flags & SYN and ours.syn is not None:
            window <<= ours.syn.wscale or 0
        self.seen.append(
            Seen(
                self.seconds(at),
                side,
                seg.flags,
                ours.count(seg.seq),
                length,
                ack,
                window,
                tuple((near(left), near(right)) for left, right in seg.sack),
                seg.tsval,
                seg.tsecr,
                number,
            )
        )


def of_conversation(conversation: Conversation, reader: CaptureReader) -> Flow:
    """The flow that a TCP conversation of a capture is."""
    title = f"{conversation.title} (conversation {conversation.number})"
    ends = conversation.title.removeprefix("TCP ").split(" > ")
    flow = Flow(title, (ends[0], ends[1]), conversation.began_at)
    codec = make_codec("compiled")
    for packet in conversation.packets(reader):
        seg = segment_of(packet, codec) if packet.proto == PROTO_TCP else None  # else an ICMP error about it
        if seg is not None:
            side = OPENER if (packet.src, seg.sport) == conversation.opener else OTHER
            flow.add(packet.at, side, seg, len(seg.payload) + packet.cut_off, packet.number)
    return flow


def of_trace(events: Iterable[Event]) -> Flow:
    """The flow that the events of one connection are, in order; there has to be one."""
    events = list(events)
    first = events[0]
    traced = OTHER if _passive(events) else OPENER
    ends = (first["local"], first["remote"]) if traced == OPENER else (first["remote"], first["local"])
    flow = Flow(f"TCP {ends[0]} > {ends[1]} (connection {first['connection']})", ends, first["at"], traced=traced)
    for number, event in enumerate(events, 1):
        flow.events.append((flow.seconds(event["at"]), event))
        told = event.get("segment")
        if told is not None:
            side = traced if event["event"] == "out" else 1 - traced
            flow.add(event["at"], side, _segment(told), told["len"], number)
    return flow


def _passive(events: list[Event]) -> bool:
    """Whether the traced side was called: by its states, else by who sent a SYN without ACK."""
    for event in events:
        if event.get("from") == "CLOSED":
            return bool(event["to"] == "SYN-RECEIVED")
        flags = event.get("segment", {}).get("flags", "")
        if "S" in flags:
            return bool((event["event"] == "in") == ("A" not in flags))
    return False


def _segment(told: Event) -> Segment:
    flags = sum(1 << _LETTERS.index(letter) for letter in told["flags"] if letter in _LETTERS)
    seg = Segment(b"", b"", 0, 0, told["seq"], told["ack"], flags, told["wnd"], told.get("up", 0))
    seg.wscale, seg.mss = told.get("wscale"), told.get("mss")
    seg.tsval, seg.tsecr = told.get("tsval"), told.get("tsecr")
    seg.sack = tuple((left, right) for left, right in told.get("sack", ()))
    return seg
