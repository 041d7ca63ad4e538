"""The judge of a TCP replay: looks at every segment of the stack as its peer would, and as a referee.

It knows nothing of the stack's inside. What the peer was heard to say bounds what may be sent: acknowledgments of
what was received and of nothing else, text inside the window and equal to the recording, options that were agreed
on, a window that is never taken back, and flags that fit how far the connection has come. Numbers are relative:
0 is a SYN, 1 the first octet. `sent` answers what is wrong with a segment, a sentence each.
"""

from __future__ import annotations

from scapystack.base.segment import ACK, FIN, PSH, RST, SYN, URG, Segment
from scapystack.replay.facts import HALF, Counter32
from scapystack.replay.text import LaterText, Text

_OPTION_ROOM = 40


class Judge:
    """`our_text` is what the recording has us say, `peer_text` what the peer has said so far."""

    def __init__(self, our_text: LaterText, peer_text: Text, mtu: int) -> None:
        self.our_text = our_text
        self.peer_text = peer_text
        self.mtu = mtu
        # ours
        self.count: Counter32 | None = None  # our sequence numbers
        self.syn: Segment | None = None
        self.top = 0  # past all that the stack has sent
        self.written = 1  # past all that the application has written
        self.closed = False  # the application has said that nothing follows
        self.fin: int | None = None
        self.acked = 0  # the stack's highest acknowledgment
        self.edge = 0  # the right edge of its window
        self.resets = 0
        self.allowed_resets = 0
        # the peer's
        self.peer_count: Counter32 | None = None
        self.peer_syn: Segment | None = None
        self.peer_top = 0
        self.peer_fin: int | None = None
        self.peer_acked = 0  # the peer's highest acknowledgment
        self.peer_edge = 0  # the right edge of its window
        self.peer_stamp: int | None = None
        self.answered = False  # the peer has acknowledged our SYN

    # -- what the peer says ------------------------------------------------------------------------------

    def heard(self, seg: Segment) -> None:
        """A segment of the peer's, as the stack is about to get it."""
        flags = seg.flags
        if flags & SYN and self.peer_syn is None:
            self.peer_syn = seg
            self.peer_count = Counter32(seg.seq)
        if self.peer_count is None:
            return
        start = self.peer_count(seg.seq)
        if not flags & RST:
            self.peer_top = max(self.peer_top, start + seg.length)
            if flags & FIN:
                self.peer_fin = start + seg.length - 1
        if seg.tsval is not None and (self.peer_stamp is None or not (seg.tsval - self.peer_stamp) & HALF):
            self.peer_stamp = seg.tsval
        if flags & ACK and self.count is not None:
            acked = self.ours(seg.ack)
            self.peer_acked = max(self.peer_acked, acked)
            self.answered |= acked >= 1
            window = seg.wnd if flags & SYN else seg.wnd << self._shift(self.peer_syn)
            self.peer_edge = max(self.peer_edge, acked + window)
            self.our_text.forget(self.peer_acked)
        elif flags & SYN:
            self.peer_edge = max(self.peer_edge, 1 + seg.wnd)

    def ours(self, number: int) -> int:
        """A number of our sequence space, relative."""
        assert self.count is not None
        return self.count.near(number)

    def _shift(self, syn: Segment | None) -> int:
        both = self.syn is not None and self.peer_syn is not None
        scaled = both and self.syn.wscale is not None and self.peer_syn.wscale is not None  # type: ignore[union-attr]
        return (syn.wscale or 0) if scaled and syn is not None else 0

    # -- what the stack says -----------------------------------------------------------------------------

    def sent(self, seg: Segment, options: int, length: int) -> list[str]:
        """What is wrong with a segment of the stack. `options` are its octets, `length` those of the IP packet."""
        flags = seg.flags
        wrong = list(self._flags(seg))
        if length > self.mtu:
            wrong.append(f"{length} octets do not fit the MTU of {self.mtu}")
        if flags & RST:
            self.resets += 1
            if self.resets > self.allowed_resets:
                wrong.append("a RST that the recording does not have")
            return wrong
        if flags & SYN and self.count is None:
            self.syn = seg
            self.count = Counter32(seg.seq)
        if self.count is None:
            return [*wrong, "sent before any SYN"]
        start = self.count(seg.seq)
        wrong += self._ack(seg)
        wrong += self._options(seg)
        wrong += self._text(seg, start, options)
        self.top = max(self.top, start + seg.length)
        return wrong

    def _flags(self, seg: Segment) -> list[str]:
        flags = seg.flags
        wrong = []
        if flags & SYN and flags & (FIN | RST | URG | PSH):
            wrong.append("SYN beside flags that it excludes")
        if not flags & (ACK | SYN | RST):
            wrong.append("no ACK")
        if flags & SYN and self.answered:
            wrong.append("a SYN although the peer has acknowledged one")
        if flags & SYN and self.syn is not None and seg.seq != self.syn.seq:
            wrong.append("a second SYN with another sequence number")
        if flags & SYN and bool(flags & ACK) != (self.peer_syn is not None):
            wrong.append("a SYN that acknowledges" if flags & ACK else "a SYN that ignores the peer's")
        return wrong

    def _ack(self, seg: Segment) -> list[str]:
        if not seg.flags & ACK:
            return []
        if self.peer_count is None:
            return ["an ACK though the peer has sent nothing"]
        wrong = []
        ack = self.theirs(seg.ack)
        whole = self.peer_text.end
        if self.peer_fin == whole:
            whole += 1
        if ack > whole:
            wrong.append(f"acknowledges {ack}; the peer has sent {whole} without a gap")
        if ack < self.acked:
            wrong.append(f"acknowledges {ack} after it has acknowledged {self.acked}")
        shift = 0 if seg.flags & SYN else self._shift(self.syn)
        edge = ack + (seg.wnd << shift)
        if edge + (1 << shift) <= self.edge:
            wrong.append(f"takes back {self.edge - edge} octets of its window")
        self.acked = max(self.acked, ack)
        self.edge = max(self.edge, edge)
        for left, right in seg.sack:
            if not self.theirs(left) < self.theirs(right) <= self.peer_top:
                wrong.append(f"SACK of {self.theirs(left)}:{self.theirs(right)}; the peer has sent {self.peer_top}")
        return wrong

    def theirs(self, number: int) -> int:
        """A number of the peer's sequence space, relative."""
        assert self.peer_count is not None
        return self.peer_count.near(number)

    def _options(self, seg: Segment) -> list[str]:
        wrong = []
        syn, peer = self.syn, self.peer_syn
        if seg.flags & SYN:
            if peer is not None:
                for name, mine, theirs in (
                    ("window scaling", seg.wscale, peer.wscale),
                    ("timestamps", seg.tsval, peer.tsval),
                    ("SACK", seg.sack_permitted or None, peer.sack_permitted or None),
                ):
                    if mine is not None and theirs is None:
                        wrong.append(f"answers with {name}, which the peer has not offered")
            return wrong
        stamped = syn is not None and peer is not None and syn.tsval is not None and peer.tsval is not None
        if stamped != (seg.tsval is not None):
            wrong.append("no timestamps although agreed on" if stamped else "timestamps that were not agreed on")
        if seg.tsecr and stamped and self.peer_stamp is not None and (self.peer_stamp - seg.tsecr) & HALF:
            wrong.append("echoes a timestamp that the peer has not sent")
        if seg.sack and not (syn is not None and peer is not None and syn.sack_permitted and peer.sack_permitted):
            wrong.append("SACK that was not agreed on")
        return wrong

    def _text(self, seg: Segment, start: int, options: int) -> list[str]:
        wrong = []
        first = start + bool(seg.flags & SYN)
        text = seg.payload
        end = first + len(text)
        if len(text):
            if not self.answered and not seg.flags & SYN and self.peer_syn is None:
                wrong.append("text before the connection is open")
            most = self.peer_syn.mss if self.peer_syn is not None and self.peer_syn.mss is not None else 536
            if len(text) + options > most and self.peer_syn is not None:
                wrong.append(f"{len(text)} octets of text and {options} of options; the peer's MSS is {most}")
            if end > self.written:
                wrong.append(f"text up to {end}; the application has written up to {self.written}")
            elif first >= self.our_text.base and bytes(text) != self.our_text.slice(first, end):
                wrong.append(f"text {first}:{end} is not what the recording has")
            if self.fin is not None and end > self.fin:
                wrong.append(f"text up to {end} behind its FIN at {self.fin}")
        if seg.flags & FIN:
            if not self.closed or end != self.written:
                wrong.append(f"a FIN at {end} where the application has not closed")
            self.fin = end
        # a probe of a closed window is one octet behind it, or the FIN
        if end + bool(seg.flags & FIN) > self.peer_edge + (end - first <= 1) and self.answered and len(text):
            wrong.append(f"text up to {end}; the peer's window ends at {self.peer_edge}")
        return wrong
