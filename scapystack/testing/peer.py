"""`ScriptedPeer`: a stack, and beside it on a wire a peer that does what a test says, in virtual time.

    with ScriptedPeer() as peer:
        peer.send(ICMP(id=7) / b"abc")                  # from 10.0.0.2, at once
        peer.expect(ICMP(type=0, id=7) / b"abc")        # this has left, and then nothing

`peer.stack` is a `Host`: its blocking calls let virtual time go on. TCP is spoken by `Conversation`s, in relative
numbers; what belongs to one is expected there. Read `script` and `scapystack.sim.network` first.
"""

from __future__ import annotations

from typing import Any, Self

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP, Ether

from scapystack.base.addr import mac_text
from scapystack.base.codec import Codec
from scapystack.base.frames import Frame
from scapystack.base.types import SECOND, Buffer
from scapystack.describe import describe
from scapystack.sim.host import Settings
from scapystack.sim.network import START, Network
from scapystack.sockets.base import Socket
from scapystack.testing.compare import Row, rows_of_packet
from scapystack.testing.conversation import Conversation, Offer
from scapystack.testing.numbers import relative
from scapystack.testing.script import Mismatch, Script
from scapystack.testing.transcript import Transcript

_NOW = 499
"""Nanoseconds that count as no time: a script goes by the microsecond, and a smoothed round trip of 0 is 1 ns."""


class ScriptedPeer(Script[Frame]):
    """A stack at 10.0.0.1, and a peer at 10.0.0.2 in the hands of a test. A context manager."""

    def __init__(
        self,
        *,
        seed: int | bytes = 0,
        config: Settings = None,
        offer: Offer | None = None,
        mtu: int = 1500,
        delay_ms: float = 0.0,
        arp: bool = False,
        codec: str | Codec = "compiled",
        addresses: tuple[str, str] = ("10.0.0.1/24", "10.0.0.2/24"),
    ) -> None:
        """`config` is the stack's, `offer` what the peer offers in its SYNs. With `arp` nobody knows anybody's
        hardware address, and ARP is part of the script. Raises ConfigError."""
        super().__init__(Transcript(self.tell, START))
        self.offer = offer if offer is not None else Offer()
        self.network = Network(seed, codec=codec)
        self.stack = self.network.host("stack", config)
        self.port = self.network.port("peer")
        self.link = self.network.link(
            self.stack, self.port, addresses=addresses, arp=arp, mtu=mtu, delay_ms=delay_ms, name="wire"
        )
        self.conversations: dict[tuple[int, int], Conversation] = {}
        """By the peer's port and the stack's."""
        self.port.on_frame = self._arrived
        self._left: list[Frame] = []
        self._servers: list[Socket] = []

    @property
    def address(self) -> str:
        """The peer's."""
        return str(self.port.ends[0].address).partition("/")[0]

    @property
    def mac(self) -> str:
        """The peer's hardware address; the stack's is `peer.stack_mac`."""
        return mac_text(self.port.ends[0].mac)

    @property
    def stack_mac(self) -> str:
        """The stack's hardware address."""
        return mac_text(self.stack.ends[0].mac)

    @property
    def time(self) -> float:
        """Seconds since the beginning."""
        return self.network.time

    # -- what the peer does ------------------------------------------------------------------------------

    def send(self, packet: Any, after: float = 0.0) -> None:
        """Send a packet, `after` seconds from now, and let the stack do what it does at once.

        A Scapy packet gets the Ethernet and IP headers and the addresses that it lacks; octets and frames go as
        they are.
        """
        self.wait(after)
        frame = packet if isinstance(packet, Frame) else Frame(bytes(self._completed(packet)))
        self.transcript.note(self.network.now, "peer", frame)
        self.port.send(frame)
        self.settle()

    def _completed(self, packet: Any) -> Any:
        if isinstance(packet, Buffer):
            return packet
        whole = packet.copy()
        if not whole.haslayer(Ether) and not whole.haslayer(ARP) and not whole.haslayer(IP):
            whole = IP() / whole
        if not whole.haslayer(Ether):
            whole = Ether(src=self.mac, dst=self.stack_mac) / whole
        ip = whole.getlayer(IP)
        if ip is not None:
            ip.fields.setdefault("src", self.address)
            ip.fields.setdefault("dst", self.stack.address)
        return whole

    def wait(self, seconds: float) -> None:
        """Let so much time pass."""
        if seconds:
            self.network.run(seconds)

    def settle(self) -> None:
        """Let everything happen that happens at this time (to half a microsecond)."""
        simulation = self.network.simulation
        end = simulation.now + _NOW
        simulation.run(lambda: (at := simulation.next_at()) is None or at > end)

    # -- what the stack does -----------------------------------------------------------------------------

    def _arrived(self, frame: Frame) -> None:
        self.transcript.note(frame.at, "stack", frame)
        ports = ports_of(frame)
        conversation = self.conversations.get((ports[1], ports[0])) if ports else None
        if conversation is not None:
            conversation.arrived(frame)
        else:
            self._left.append(frame)

    def take(self) -> list[Frame]:
        """What left since the last look and belongs to no conversation."""
        self.settle()
        left, self._left = self._left, []
        return left

    def expect(self, *wanted: Any, after: float | None = None) -> list[Frame]:
        """Exactly these packets have left since the last look, in this order, and then nothing. Returns the frames.

        Only the fields that are given are compared, and no payload means that there is none (`Raw()` is any).
        With `after` so many seconds pass first, and all must have left at the very end of them. Raises `Mismatch`.
        """
        if after is not None:
            self.wait(after)
        left = self.take()
        self.compare(wanted, left, self.times(left, after is not None))
        return left

    def times(self, left: list[Frame], exact: bool) -> list[list[Row]]:
        """Whether each has left just now, if that is asked."""
        rows = []
        for frame in left if exact else ():
            early = self.network.now - frame.at
            just = early <= _NOW
            rows.append([Row("time", "now", "now" if just else f"{early / SECOND:.6f} s before", just)])
        return rows

    def rows(self, wanted: Any, thing: Frame) -> list[Row]:
        """By a Scapy packet; a missing IP or Ethernet layer is not compared."""
        return rows_of_packet(wanted, thing.packet)

    def tell(self, thing: Frame) -> str:
        """As tcpdump would, a conversation's in relative numbers."""
        ports = ports_of(thing)
        for key, of_peer in ((ports, True), (ports[::-1], False)) if ports else ():
            conversation = self.conversations.get(key)
            if conversation is not None:
                return describe(relative(thing.packet, conversation.bases(of_peer=of_peer)))
        return describe(thing)

    # -- TCP -----------------------------------------------------------------------------------------------

    def listen(self, port: int, backlog: int | None = None) -> Socket:
        """A listening socket of the stack, open until the peer is closed. Raises OSError (EADDRINUSE)."""
        server = self.stack.create_server(("", port), backlog=backlog)
        self._servers.append(server)
        return server

    def tcp(self, port: int, *, sport: int = 40_000, offer: Offer | None = None, iss: int = 5_000) -> Conversation:
        """A conversation of the peer's port `sport` with a port of the stack, of which nothing is said yet."""
        conversation = Conversation(self, sport, port, offer or self.offer, iss)
        self.conversations[sport, port] = conversation
        return conversation

    def connect(self, port: int, *, sport: int = 40_000, offer: Offer | None = None, rtt: float = 0.0) -> Conversation:
        """A conversation past its handshake, which the peer has begun; the ACK of it comes `rtt` seconds late.

        Raises `Mismatch` if the stack does not answer as it should.
        """
        conversation = self.tcp(port, sport=sport, offer=offer)
        conversation.send("S")
        conversation.expect("SA seq=0 ack=1")
        conversation.send("A", after=rtt)
        return conversation

    def accept(self, port: int, *, offer: Offer | None = None, rtt: float = 0.0) -> Conversation:
        """A conversation past its handshake, which the stack has begun: its SYN to the peer's `port` has left.

        The peer's answer comes `rtt` seconds late. What an application says at once is still to be expected.
        Raises `Mismatch`.
        """
        self.settle()
        for frame in self._left:
            ports = ports_of(frame)
            if ports is not None and ports[1] == port and str(frame.packet[TCP].flags) == "S":
                conversation = self.tcp(ports[0], sport=port, offer=offer)
                self._left.remove(frame)
                conversation.arrived(frame)
                conversation.expect("S seq=0")
                conversation.send("SA", after=rtt)
                conversation.expect_first("A seq=1 ack=1")
                return conversation
        raise Mismatch(f"no SYN to port {port} has left\ntranscript:\n{self.transcript.shown()}")

    # -- the end -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """End everything. Harmless when repeated."""
        self.network.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def ports_of(frame: Frame) -> tuple[int, int] | None:
    """Source and destination port of a TCP segment in one IPv4 packet; None for anything else."""
    octets = frame.data
    if len(octets) < 54 or octets[12:14] != b"\x08\0" or octets[23] != 6 or octets[20] & 0x3F or octets[21]:
        return None
    start = 14 + (octets[14] & 15) * 4
    return int.from_bytes(octets[start : start + 2], "big"), int.from_bytes(octets[start + 2 : start + 4], "big")
