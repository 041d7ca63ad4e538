"""`Conversation`: one TCP connection of a scripted peer with a stack, in relative numbers.

    c = peer.tcp(80)
    c.send("S")                         # or a Scapy packet: c.send(TCP(flags="S", options=[("MSS", 536)]))
    c.expect("SA ack=1")                # or c.expect(TCP(flags="SA", ack=1))

What a test leaves out is right by itself: ports, the next sequence number, an ACK of all that came, the SYN's
options, timestamps where both sides have agreed on them. Read `script` first; `ScriptedPeer.tcp` makes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scapy.layers.inet import IP, TCP

from scapystack.base.frames import Frame
from scapystack.testing.compare import Row, rows_of_line, rows_of_packet
from scapystack.testing.numbers import MASK, Bases, absolute, relative
from scapystack.testing.script import Script

if TYPE_CHECKING:
    from scapystack.testing.peer import ScriptedPeer

_HALF = 1 << 31


@dataclass
class Offer:
    """What a scripted peer offers in its SYN (None, False: not), and the window that it announces (the raw field)."""

    mss: int | None = 1460
    wscale: int | None = 7
    sack: bool = True
    timestamps: bool = False
    wnd: int = 65_535

    def options(self, tsval: int) -> list[tuple[str, Any]]:
        """Of a SYN, as Scapy has them; the echo is for the sender to fill in."""
        options: list[tuple[str, Any]] = []
        if self.mss is not None:
            options.append(("MSS", self.mss))
        if self.sack:
            options.append(("SAckOK", b""))
        if self.timestamps:
            options.append(("Timestamp", (tsval, 0)))
        if self.wscale is not None:
            options += [("NOP", None), ("WScale", self.wscale)]
        return options


class Conversation(Script[Frame]):
    """A connection as the peer sees it: `port` is its own, `stack_port` the stack's.

    `sent` and `received` count from the initial sequence numbers: the next octet that the peer will send, and the
    next that it waits for.
    """

    def __init__(self, peer: ScriptedPeer, port: int, stack_port: int, offer: Offer, iss: int) -> None:
        """Not for tests: they call `ScriptedPeer.tcp`, `connect` or `accept`."""
        super().__init__(peer.transcript)
        self.peer = peer
        self.port = port
        self.stack_port = stack_port
        self.offer = offer
        self.iss = iss
        self.sent = 0
        self.received = 0
        self.clock = 100
        """What the peer's next segment says as its TSval; one more with each."""
        self.frames: list[Frame] = []
        """Everything of the stack's so far."""
        self._left: list[Frame] = []
        self._irs = 0
        self._stamp: int | None = None  # the stack's first TSval, if it uses timestamps
        self._echo = 0  # its latest, relative
        self._offered = False  # our SYN had timestamps

    def bases(self, *, of_peer: bool) -> Bases:
        """What the numbers of the peer's segments, or of the stack's, are counted from."""
        stamp = self._stamp or 0
        return Bases(self.iss, self._irs, 0, stamp) if of_peer else Bases(self._irs, self.iss, stamp, 0)

    # -- what the peer does --------------------------------------------------------------------------------

    def send(
        self,
        what: str | Any,
        payload: bytes = b"",
        *,
        after: float = 0.0,
        seq: int | None = None,
        ack: int | None = None,
        wnd: int | None = None,
        up: int = 0,
        sack: Sequence[tuple[int, int]] = (),
        options: list[tuple[Any, Any]] | None = None,
    ) -> None:
        """Send a segment, `after` seconds from now, and let the stack do what it does at once.

        `what` is its flags in Scapy's letters, or a Scapy packet beginning with TCP or IP whose fields win over
        what would be right. All numbers are relative; `sack` are blocks of what the peer has, and `options`
        Scapy's, in place of those that would be right.
        """
        packet = TCP(flags=what) / payload if isinstance(what, str) else what.copy()
        tcp = packet[TCP]
        given = {"seq": seq, "ack": ack, "window": wnd, "urgptr": up or None, "options": options}
        tcp.fields.update((name, value) for name, value in given.items() if value is not None)
        self._complete(tcp, sack)
        whole = packet if isinstance(packet, IP) else IP() / packet
        length = len(tcp.payload) + tcp.flags.S + tcp.flags.F
        self.sent = max(self.sent, tcp.seq + length)
        self.peer.send(absolute(whole, self.bases(of_peer=True)), after)

    def _complete(self, tcp: Any, sack: Sequence[tuple[int, int]]) -> None:
        """Fill in what the test left out."""
        fields = tcp.fields
        flags = tcp.flags
        fields.setdefault("sport", self.port)
        fields.setdefault("dport", self.stack_port)
        fields.setdefault("seq", 0 if flags.S else self.sent)
        fields.setdefault("ack", self.received if flags.A else 0)
        fields.setdefault("window", self.offer.wnd)
        if "options" not in fields:
            tcp.options = self._options(flags, sack)
        if flags.S:
            self._offered = any(name == "Timestamp" for name, _ in tcp.options)

    def _options(self, flags: Any, sack: Sequence[tuple[int, int]]) -> list[tuple[str, Any]]:
        options: list[tuple[str, Any]] = []
        echo = self._echo if flags.A else 0
        if flags.S:
            options = [
                (name, (value[0], echo) if name == "Timestamp" else value)
                for name, value in self.offer.options(self.clock)
            ]
        elif self._offered and self._stamp is not None and not flags.R:
            options = [("NOP", None), ("NOP", None), ("Timestamp", (self.clock, echo))]
        if sack:
            options += [("NOP", None), ("NOP", None), ("SAck", tuple(edge for block in sack for edge in block))]
        self.clock += 1
        return options

    def wait(self, seconds: float) -> None:
        """Let so much time pass."""
        self.peer.wait(seconds)

    def quote(self, number: int = -1) -> bytes:
        """Of a segment of the stack's (the latest) what an ICMP error quotes: the IP header and 8 octets."""
        packet = bytes(self.frames[number].packet[IP])
        return packet[: (packet[0] & 15) * 4 + 8]

    # -- what the stack does -------------------------------------------------------------------------------

    def arrived(self, frame: Frame) -> None:
        """A segment of the stack's. (`ScriptedPeer` calls it.)"""
        tcp = frame.packet[TCP]
        stamp = next((value for name, value in tcp.options if name == "Timestamp"), None)
        if tcp.flags.S:
            self._irs, self.received = tcp.seq, 0
            self._stamp = stamp[0] if stamp else None
        if stamp is not None and self._stamp is not None:
            self._echo = (stamp[0] - self._stamp) & MASK
        end = tcp.seq + len(tcp.payload) + tcp.flags.S + tcp.flags.F - self._irs
        if (end - self.received) & MASK < _HALF:
            self.received = end & MASK
        self.frames.append(frame)
        self._left.append(frame)

    def take(self) -> list[Frame]:
        """What left since the last look, by now."""
        self.peer.settle()
        left, self._left = self._left, []
        return left

    def expect(self, *wanted: Any, after: float | None = None) -> list[Any]:
        """Exactly these segments have left since the last look, in this order, and then nothing.

        Each is a Scapy packet, of which only the fields that are given are compared (no payload means none, `Raw()`
        any), or a line such as `A ack=6 len=0`: flags, and fields by the names of `fields_of`. With `after` so many
        seconds pass first, and all must have left at the very end of them. Returns the packets, in relative
        numbers. Raises `Mismatch`.
        """
        if after is not None:
            self.wait(after)
        left = self.take()
        self.compare(wanted, left, self.peer.times(left, after is not None))
        return [self.relative(frame) for frame in left]

    def expect_first(self, wanted: Any) -> None:
        """The first that has left since the last look is this; what left behind it is for later. Raises `Mismatch`."""
        left = self.take()
        self.compare([wanted], left[:1])
        self._left = left[1:] + self._left

    def relative(self, frame: Frame) -> Any:
        """A segment of the stack's as a Scapy packet, in relative numbers."""
        return relative(frame.packet, self.bases(of_peer=False))

    def rows(self, wanted: Any, thing: Frame) -> list[Row]:
        """By a line or by a Scapy packet."""
        packet = self.relative(thing)
        if isinstance(wanted, str):
            return rows_of_line(wanted, str(packet[TCP].flags) or ".", fields_of(packet))
        return rows_of_packet(wanted, packet)

    def tell(self, thing: Frame) -> str:
        """As tcpdump would, in relative numbers."""
        return self.peer.tell(thing)


def fields_of(packet: Any) -> dict[str, object]:
    """What a line of `expect` may name, of a segment in relative numbers.

    `seq`, `ack` (0 without the flag), `len` of the payload, `wnd`, `up` (the urgent pointer), and of the options
    `mss`, `ws` (window scale), `sackok`, `sack` (edges), `ts` (whether there are timestamps), `tsval`, `tsecr`.
    """
    tcp = packet[TCP]
    options = dict(tcp.options)
    tsval, tsecr = options.get("Timestamp", (None, None))
    return {
        "seq": tcp.seq, "ack": tcp.ack if tcp.flags.A else 0, "len": len(tcp.payload), "wnd": tcp.window,
        "up": tcp.urgptr, "mss": options.get("MSS"), "ws": options.get("WScale"), "sackok": "SAckOK" in options,
        "sack": ",".join(map(str, options.get("SAck", ()))), "ts": tsval is not None, "tsval": tsval, "tsecr": tsecr,
    }  # fmt: skip
