"""The replay of a TCP conversation: the recorded peer as a script, our application as another, the judge between.

The packets of the capture are taken in their order. One that the recorded host of our part sent says what its
application had written by then (and that it had closed, or given up); one of the peer's is sent to the stack, moved
to our sequence numbers, as soon as its time has come and the stack has produced what it acknowledges. Where the
stack takes longer, or needs an ACK that the recorded sender did not, virtual time goes on, and the peer answers as
any would. Read `conversations`, `stage`, `judge` and `application` first.
"""

from __future__ import annotations

from collections.abc import Iterator

from scapystack.base.datagram import PROTO_ICMP, PROTO_TCP
from scapystack.base.guard import ipv4_header, tcp_header
from scapystack.base.segment import ACK, FIN, RST, SYN, URG, Segment
from scapystack.base.types import MILLISECOND, SECOND, Address, Buffer, Nanoseconds
from scapystack.layers.tcp.options import parse_options
from scapystack.layers.tcp.state import STATE_NAMES
from scapystack.link.pcapread import CaptureReader
from scapystack.replay.application import Application
from scapystack.replay.conversations import Conversation, End, segment_of
from scapystack.replay.facts import MASK, Counter32, strange
from scapystack.replay.findings import Findings, Stuck
from scapystack.replay.judge import Judge
from scapystack.replay.moved import moved_error, moved_segment
from scapystack.replay.packets import Packet
from scapystack.replay.settings import Terms, mirrored, mtu_of
from scapystack.replay.stage import START, Stage
from scapystack.replay.text import LaterText, Text
from scapystack.replay.transcript import Numbers, Transcript, tcp_fields

PATIENCE = 150 * SECOND
"""How long (virtual) the peer waits for what it is to acknowledge: longer than any retransmission timeout."""
DELAYED_ACK = 40 * MILLISECOND
"""After this a peer acknowledges what it has, as every peer would (RFC 9293 section 3.8.6.3)."""
_ETHERNET = 14


class Again:
    """How often each octet was sent: what a side has sent before its highest number, it has sent again."""

    def __init__(self) -> None:
        self.top = 0
        self._again: list[tuple[int, int]] = []

    def sent(self, start: int, end: int) -> None:
        """A segment has left."""
        if start < self.top and end > start:
            self._again.append((start, min(end, self.top)))
        self.top = max(self.top, end)

    def times(self, number: int) -> int:
        """How often this number was sent."""
        return (number < self.top) + sum(start <= number < end for start, end in self._again)

    def forget(self, below: int) -> None:
        """Nobody asks for numbers before this any more."""
        if self._again:
            self._again = [each for each in self._again if each[1] > below]


class TcpReplay:
    """One conversation, the stack in the part of the opener or of the other side."""

    def __init__(
        self, conversation: Conversation, reader: CaptureReader, as_opener: bool, terms: Terms, transcript: Transcript
    ) -> None:
        facts = conversation.tcp
        assert facts is not None
        self.conversation = conversation
        self.reader = reader
        self.terms = terms
        self.transcript = transcript
        self.findings = Findings(transcript)
        self.facts = facts
        self.our_end, self.peer_end = self._ends(as_opener)
        self.ours, self.peer = (facts.opener, facts.other) if as_opener else (facts.other, facts.opener)
        self.stage = self._stage(as_opener)
        self.codec = self.stage.stack.core.codec
        self.shift: Nanoseconds = START - conversation.began_at
        # the recording, as far as it was gone through
        self.recorded = Counter32(self.ours.syn.seq if self.ours.syn is not None else 0)
        self.recorded_sent = Again()
        self.recorded_probes = 0
        self.our_packets = 0
        self.recorded_resets = 0
        # what has happened on the stage
        self.sent = Again()
        self.probes = 0
        self.said = 0  # the peer's highest acknowledgment
        self.last_said: tuple[Packet, Segment] | None = None
        self.stamp = 0  # the timestamp that the peer has to echo
        self.numbers, self.peer_numbers = Numbers(), Numbers()
        self.peer_text = Text()
        self.our_text = LaterText(self._text_segments())
        self.judge = Judge(self.our_text, self.peer_text, self.stage.iface.mtu)
        self.judge.allowed_resets = self.ours.resets
        self.application = Application(self.stage.stack, self.ours, self.peer_text)
        self.stage.on_frame = self._left
        self.stage.act = self.application.look
        # how it is to end
        self.peer_reset = False
        self.closed_first = False

    def _ends(self, as_opener: bool) -> tuple[End, End]:
        c = self.conversation
        return (c.opener, c.other) if as_opener else (c.other, c.opener)

    def _stage(self, as_opener: bool) -> Stage:
        config = mirrored(self.terms, self.facts, as_opener)
        macs = None
        for packet in self.conversation.packets(self.reader):
            if packet.macs is not None:
                to, source = packet.macs
                macs = (source, to) if self._is_ours(packet) else (to, source)
            break
        mtu = mtu_of(self.ours)
        return Stage(config, self.our_end[0], self.peer_end[0], macs, mtu, self.terms.seed)

    def _is_ours(self, packet: Packet) -> bool:
        """Whether the recorded host of our part has sent it."""
        if packet.proto != PROTO_TCP:
            return packet.src == self.our_end[0] != self.peer_end[0]
        return (packet.src, int.from_bytes(packet.payload[:2], "big")) == self.our_end

    def _text_segments(self) -> Iterator[tuple[int, Buffer]]:
        """The recorded text of our side, for reading ahead."""
        count: Counter32 | None = None
        which = -1
        for packet in self.conversation.packets(self.reader):
            which += packet.proto == PROTO_TCP
            if packet.proto != PROTO_TCP or not self._is_ours(packet):
                continue
            seg = segment_of(packet, self.codec)
            if seg is None or which in self.ours.broken or seg.flags & RST:
                continue
            if count is None:
                count = Counter32(self.ours.syn.seq if self.ours.syn is not None else seg.seq)
            start = count(seg.seq) + bool(seg.flags & SYN)
            if len(seg.payload):
                yield start, seg.payload

    # -- the recording ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Replay it all; what is wrong is in `findings`."""
        try:
            if self.ours.syn is not None and self.ours.syn.flags & ACK:
                self.application.listen(self.stage.ours, self.our_end[1])
            which = -1
            for packet in self.conversation.packets(self.reader):
                which += packet.proto == PROTO_TCP
                self._event(packet, which if packet.proto == PROTO_TCP else -1)
            self._finish()
        except Stuck as stuck:
            self.findings.add(str(stuck))

    def _event(self, packet: Packet, which: int) -> None:
        packet.damaged = which in self.ours.broken or which in self.peer.broken
        self.stage.run(packet.at + self.shift)
        if packet.proto == PROTO_ICMP:
            if not self._is_ours(packet):
                self._error(packet)
            return
        seg = segment_of(packet, self.codec)
        if seg is None or (packet.damaged and self._is_ours(packet)):
            return
        if self._is_ours(packet):
            self.our_packets += 1
            if not strange(seg, self.ours.syn):
                self._our_turn(seg)
        elif which in self.peer.lost or not self.ours.packets:  # where nobody answers, the last one came no more
            moved = self._segment(memoryview(self._moved(packet, seg)), packet.src, packet.dst, packet.tos)
            self.transcript.add(self.stage.now, "x", self._fields(moved, theirs=True, packet=packet))
        else:
            self._peers_turn(packet, seg)

    def _our_turn(self, seg: Segment) -> None:
        """What the recorded host sent: what had its application done by then?"""
        flags = seg.flags
        start = self.recorded(seg.seq)
        if flags & RST:
            if self.our_packets > self.ours.spoken:
                self._reset_turn()
            return
        application = self.application
        if flags & SYN and not flags & ACK:
            self._connect()
        end = start + seg.length
        if not seg.length and start < self.recorded_sent.top and self.ours.keepalive_idle:
            self.recorded_probes += 1
        self.recorded_sent.sent(start, end)
        text_end = end - bool(flags & FIN)
        self._write(text_end, start + seg.up if flags & URG else None)
        if flags & FIN and not self.judge.closed:
            self.judge.closed = True
            self.closed_first = self.judge.peer_fin is None
            application.finish()
        if flags & ACK and self.judge.peer_count is not None:
            self._read(seg)
        self.stage.settle()

    def _connect(self) -> None:
        """The active OPEN, once."""
        if self.application.connection is None:
            ends = (self.stage.ours, self.our_end[1]), (self.stage.peer, self.peer_end[1])
            self.application.connect(*ends[0], *ends[1])

    def _write(self, end: int, urgent: int | None) -> None:
        """Have the application write up to `end`; the octet before `urgent` is urgent."""
        first = self.judge.written
        end = min(self.our_text.reach(end), end) if end > first else first
        if end <= first:
            return
        self.judge.written = end
        up = urgent - first if urgent is not None and first < urgent <= end else None
        self.application.write(self.our_text.slice(first, end), up)

    def _read(self, seg: Segment) -> None:
        """Read as far as the recorded application must have, for the window to be what it was."""
        judge = self.judge
        ack = judge.theirs(seg.ack)
        scaled = self.facts.scaled and not seg.flags & SYN
        edge = ack + (seg.wnd << self.ours.wscale if scaled else seg.wnd)
        self.application.read_up_to(edge - self.stage.stack.config.tcp.rcvbuf)

    def _reset_turn(self) -> None:
        """A RST of ours: the stack's own answer to what came, or else what the application asked for."""
        self.recorded_resets += 1
        if self.judge.resets < self.recorded_resets:
            self.application.abort()
            self.stage.settle()

    def _peers_turn(self, packet: Packet, seg: Segment) -> None:
        flags = seg.flags
        acked = 0
        if flags & (SYN | ACK) == SYN and self.ours.syn is not None and not self.ours.syn.flags & ACK:
            self._connect()  # both open at the same time: what crosses on the way the capture shows in its own order
            self.stage.settle()
        if flags & ACK and self.ours.syn is not None:
            acked = self.recorded.near(seg.ack)
        if not self.terms.timed:
            self._await(packet, acked, flags)
        self.said = max(self.said, min(acked, self.sent.top))
        if flags & RST and self._effective(seg, acked):
            self.peer_reset = True
        fits = self.judge.edge - (self.judge.theirs(seg.seq) + seg.length) if self.judge.peer_count is not None else 0
        if fits < 0 and len(seg.payload) > 1:
            self.application.read_all()  # the recorded one had: there was room
            self.stage.settle()
        self._say(packet, seg)
        self.last_said = packet, seg
        self.recorded_sent.forget(self.said)
        self.sent.forget(self.said)

    def _effective(self, seg: Segment, acked: int) -> bool:
        """Whether the recorded host must have believed this RST (RFC 5961 section 3.2)."""
        if self.judge.peer_count is None:
            return bool(seg.flags & ACK) and acked == self.recorded_sent.top
        return self.judge.theirs(seg.seq) == self.judge.acked or not self.judge.acked

    # -- the peer --------------------------------------------------------------------------------------

    def _await(self, packet: Packet, acked: int, flags: int) -> None:
        """Let the stack come to what this packet of the peer's answers. Raises Stuck."""
        need = acked if flags & ACK else self.recorded_sent.top
        hole = self.said  # what the peer lacks first
        times = self.recorded_sent.times(hole) if need > hole else 0
        probes = self.recorded_probes

        def sent_again() -> bool:
            return self.sent.times(hole) >= times

        def ready() -> bool:
            return self.sent.top >= need and self.probes >= probes and sent_again()

        limit = self.stage.now + PATIENCE
        while not ready():
            if self.sent.top > self.said and sent_again() and self.said > 0:
                until = self.stage.now + DELAYED_ACK
                if self.stage.wait(ready, DELAYED_ACK):
                    break
                self.stage.run(until)
                if not ready():
                    self._acknowledge()
            elif not self.stage.wait(lambda: ready() or (self.sent.top > self.said > 0 and sent_again()), PATIENCE):
                raise Stuck(self._stuck(packet, need, times))
            if self.stage.now >= limit:
                raise Stuck(self._stuck(packet, need, times))
        self.shift = max(self.shift, self.stage.now - packet.at)

    def _stuck(self, packet: Packet, need: int, times: int) -> str:
        what = f"packet {packet.number} of the capture answers"
        if self.sent.top < need:
            return f"{what} number {need}; the stack has sent up to {self.sent.top} and sends no more"
        if self.probes < self.recorded_probes:
            return f"{what} a keep-alive; the stack sends none"
        return f"{what} what was sent {times} times; the stack sends {self.said} no more"

    def _acknowledge(self) -> None:
        """An ACK of the peer's that the recording lacks: of what has come, when it has waited for more."""
        if self.last_said is None:
            return
        packet, seg = self.last_said
        again = Segment(seg.src, seg.dst, seg.sport, seg.dport, seg.seq, 0, ACK, seg.wnd)
        again.seq = (seg.seq + seg.length) & MASK
        again.tsval = seg.tsval
        self.said = self.sent.top
        self._say(packet, again, ack=self.said)

    def _say(self, packet: Packet, seg: Segment, ack: int | None = None) -> None:
        """Send a segment of the peer's to the stack, moved to its numbers."""
        judge = self.judge
        payload = self._moved(packet, seg, ack)
        moved = self._segment(memoryview(payload), self.stage.peer, self.stage.ours, packet.tos)
        self.transcript.add(self.stage.now, "<", self._fields(moved, theirs=True, packet=packet))
        if not packet.damaged:
            judge.heard(moved)
            if len(moved.payload) and not moved.flags & RST and judge.peer_count is not None:
                self.peer_text.add(judge.theirs(moved.seq) + bool(moved.flags & SYN), moved.payload)
        mss = self.stage.iface.mtu - 40 - (12 if moved.tsval is not None else 0)
        self.stage.feed(packet, payload, self.stage.peer, mss if len(moved.payload) > mss else 0)
        self.stage.settle()

    def _moved(self, packet: Packet, seg: Segment, ack: int | None = None) -> bytearray:
        count = self.judge.count
        shift = (count.base - self.recorded.base) & MASK if count is not None else 0
        number = (count.base + ack) & MASK if ack is not None and count is not None else None
        cookie = b""
        if seg.fastopen:
            tcp = self.stage.stack.tcp
            cookie = tcp.fastopen_cookies.cookie(self.stage.peer, self.stage.ours, self.stage.now)
        return moved_segment(self.codec, packet, seg, shift, self.stamp, cookie, number)

    def _error(self, packet: Packet) -> None:
        """An ICMP error about a segment of ours."""
        judge = self.judge
        if judge.count is None:
            return
        shift = (judge.count.base - self.recorded.base) & MASK
        payload, number = moved_error(self.codec, packet, self.stage, shift)
        about = judge.ours(number)
        if not self.terms.timed and not self.stage.wait(lambda: self.sent.top > about, PATIENCE):
            raise Stuck(f"packet {packet.number} of the capture is an error about {about}, which the stack never sent")
        self.shift = max(self.shift, self.stage.now - packet.at)
        fields = {"ICMP": f"type {payload[0]} code {payload[1]}", "seq": str(about)}
        if payload[0] == 3 and payload[1] == 4:
            fields["mtu"] = str(int.from_bytes(payload[6:8], "big"))
        self.transcript.add(self.stage.now, "<", fields)
        self.stage.feed(packet, payload, self.stage.sender(packet.src))
        self.stage.settle()

    # -- the stack -------------------------------------------------------------------------------------

    def _left(self, octets: bytes) -> None:
        """A frame of the stack's."""
        reason = ipv4_header(octets, _ETHERNET, len(octets) - _ETHERNET)
        if reason:
            self.findings.add(f"the stack sends a packet whose IP header is wrong ({reason})")
            return
        _, ihl, tos, total, _, _, _, _, proto, _, src, dst = self.codec.decode_ipv4(octets, _ETHERNET)
        payload = memoryview(octets)[_ETHERNET + ihl * 4 : _ETHERNET + total]
        if proto != PROTO_TCP:
            self.transcript.add(self.stage.now, ">", {"protocol": str(proto), "length": str(len(payload))})
            self.findings.add("the stack sends what is no TCP segment")
            return
        reason = tcp_header(payload, src, dst)
        if reason:
            self.findings.add(f"the stack sends a segment whose TCP header is wrong ({reason})")
            return
        seg = self._segment(payload, src, dst, tos)
        self.transcript.add(self.stage.now, ">", self._fields(seg))
        wrong = self.judge.sent(seg, len(payload) - 20 - len(seg.payload), total)
        ends = ((src, seg.sport), (dst, seg.dport))
        if ends != ((self.stage.ours, self.our_end[1]), (self.stage.peer, self.peer_end[1])):
            wrong.append("from or to other ports and addresses than the conversation's")
        for each in wrong:
            self.findings.add(each)
        if self.judge.count is not None and not seg.flags & RST:
            start = self.judge.ours(seg.seq)
            if not seg.length and start < self.sent.top:
                self.probes += 1
            self.sent.sent(start, start + seg.length)
            if seg.tsval is not None and start <= self.said:
                self.stamp = seg.tsval

    def _segment(self, payload: memoryview, src: Address, dst: Address, tos: int) -> Segment:
        sport, dport, seq, ack, dataofs, _, flags, wnd, _, up = self.codec.decode_tcp(payload, 0)
        seg = Segment(src, dst, sport, dport, seq, ack, flags & 0xFF, wnd, up, payload[dataofs * 4 :], tos)
        parse_options(payload[20 : dataofs * 4], seg)
        return seg

    def _fields(self, seg: Segment, theirs: bool = False, packet: Packet | None = None) -> dict[str, str]:
        own, other = (self.peer_numbers, self.numbers) if theirs else (self.numbers, self.peer_numbers)
        if own.seq is None and seg.flags & SYN:
            own.seq = seg.seq
        return tcp_fields(seg, own, other, seg.tos, len(packet.cuts) if packet is not None else 0)

    # -- the end ---------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """The stack's state of the connection."""
        key = (self.stage.ours, self.our_end[1], self.stage.peer, self.peer_end[1])
        connection = self.stage.stack.tcp.connections.get(key)
        return STATE_NAMES[connection.state if connection is not None else 0]

    def _finish(self) -> None:
        """Everything was said: is the result that of the recording?"""
        application, judge = self.application, self.judge
        self.stage.run(self.stage.now + self.stage.stack.config.tcp.delayed_ack_ms * MILLISECOND)
        state, expected = self.state, self._expected()
        application.read_all()
        if state != expected:
            self.findings.add(f"the connection is {state} at the end; in the recording it is {expected}")
        if judge.top < self.ours.acknowledged:
            self.findings.add(f"sent up to {judge.top}; the recorded peer had {self.ours.acknowledged}")
        if application.differs:
            self.findings.add(f"what the application reads differs from octet {application.differs} on")
        wanted = self.peer.acknowledged
        if not self.ours.resets and not self.peer_reset:
            if judge.acked < wanted:
                self.findings.add(f"acknowledged up to {judge.acked}; the recorded host up to {wanted}")
            end = wanted - (self.peer.fin is not None and wanted > self.peer.fin)
            if application.read < end:
                self.findings.add(f"the application got {application.read - 1} octets; the recorded one {end - 1}")

    def _expected(self) -> str:
        """The state that the recording ends in."""
        judge = self.judge
        if self.recorded_resets or self.peer_reset or self.ours.syn is None:
            return "CLOSED"
        if self.peer.syn is None:
            return "SYN-SENT"
        if self.said < 1:
            return "SYN-RECEIVED"
        heard = judge.peer_fin is not None and judge.peer_fin == self.peer_text.end
        if not judge.closed:
            return "CLOSE-WAIT" if heard else "ESTABLISHED"
        acked = self.ours.fin is not None and self.said > self.ours.fin
        if not heard:
            return "FIN-WAIT-2" if acked else "FIN-WAIT-1"
        if not self.closed_first:
            return "CLOSED" if acked else "LAST-ACK"
        return "TIME-WAIT" if acked else "CLOSING"

    @property
    def counts(self) -> tuple[int, int]:
        """Octets of text that the stack has sent, once each, and that its application has read."""
        fin = self.judge.fin is not None and self.judge.top > self.judge.fin
        return max(0, self.judge.top - 1 - fin), self.application.read - 1
