"""`Exchange`: what passed between two ends, of any protocol, as a ladder has it.

Of TCP it is made from a `Flow`; UDP has with it the ICMP errors about it, and pings are one exchange. All these
`replay.conversations` finds. ARP has no part there: what two addresses ask and answer each other is found here, and
numbered behind the others. Read `ladder` for what is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from scapystack.base.addr import endpoint_text, ip_text
from scapystack.base.datagram import PROTO_ICMP
from scapystack.base.segment import FIN, RST, SYN
from scapystack.base.types import Address, Nanoseconds
from scapystack.link.pcapread import LINKTYPE_ETHERNET, CapturedPacket, CaptureReader
from scapystack.plot.analysis import AGAIN, KEEPALIVE, LATE, PROBE, analysed
from scapystack.plot.flow import OPENER, OTHER, Flow, Seen
from scapystack.replay.conversations import ERRORS, Conversation
from scapystack.replay.packets import Packet
from scapystack.sim.ladder import label

_ARP, _OF_IPV4 = b"\x08\x06", b"\x08\x00"
_SAID = {AGAIN: "sent again", LATE: "out of order", PROBE: "probe", KEEPALIVE: "keep-alive"}


@dataclass(slots=True)
class Rung:
    """One arrow: when (s from the first one), from which side, what it says, and the name of its colour."""

    at: float
    side: int
    text: str
    colour: str


@dataclass(eq=False)
class Exchange:
    """Two ends and what passed between them; side 0 began. `left_out` packets more are not among the rungs."""

    title: str
    ends: tuple[str, str]
    rungs: list[Rung]
    left_out: int = 0


@dataclass(eq=False)
class Asking:
    """What two addresses said to each other by ARP: where in the capture it lies."""

    number: int
    asker: Address
    asked: Address
    places: list[int] = field(default_factory=list)

    @property
    def title(self) -> str:
        """`ARP 10.0.0.2 > 10.0.0.1`."""
        return f"ARP {ip_text(self.asker)} > {ip_text(self.asked)}"


def askings(packets: Iterable[CapturedPacket], numbers_from: int) -> list[Asking]:
    """The ARP exchanges of a capture in the order in which they began."""
    found: dict[tuple[Address, Address], Asking] = {}
    for packet in packets:
        ends = _arp_ends(packet)
        if ends is None:
            continue
        sender, target = ends
        key = (min(ends), max(ends))
        if key not in found:
            found[key] = Asking(numbers_from + len(found), sender, target)
        found[key].places.append(packet.offset)
    return list(found.values())


def _arp_ends(packet: CapturedPacket) -> tuple[Address, Address] | None:
    """Sender's and target's address of an ARP packet about IPv4; None for anything else."""
    octets = packet.data
    if (
        packet.linktype != LINKTYPE_ETHERNET
        or octets[12:14] != _ARP
        or len(octets) < 42
        or octets[16:18] != b"\x08\x00"
    ):
        return None
    return bytes(octets[28:32]), bytes(octets[38:42])


def of_flow(flow: Flow, most: int) -> Exchange:
    """A TCP conversation: its first segments, and which of them were sent again."""
    kinds = {id(seen): kind for side in (OPENER, OTHER) for seen, kind in analysed(flow, side).sent}
    rungs = []
    for seen in flow.seen[:most]:
        kind = kinds.get(id(seen), "")
        said = f"{seen.text} ({_SAID[kind]})" if kind in _SAID else seen.text
        rungs.append(Rung(seen.at, seen.side, said, _colour(seen, kind)))
    return Exchange(flow.title, flow.ends, rungs, len(flow.seen) - len(rungs))


def _colour(seen: Seen, kind: str) -> str:
    if kind == AGAIN:
        return "again"
    if seen.flags & (SYN | FIN | RST):
        return "mark"
    return "data" if seen.length else "ack"


def of_asking(asking: Asking, reader: CaptureReader, most: int) -> Exchange:
    """What passed by ARP between two addresses: the first packets."""
    from scapystack.describe import describe  # noqa: PLC0415 - with Scapy

    packets = [reader.packet_at(place) for place in asking.places[:most]]
    rungs = []
    for packet in packets:
        ends = _arp_ends(packet)
        side = int(ends is not None and ends[0] != asking.asker)
        text = describe(packet.data).removeprefix("ARP, ")
        rungs.append(Rung(_seconds(packet.at, packets[0].at), side, text, "data"))
    title = f"{asking.title} (conversation {asking.number})"
    return Exchange(title, (ip_text(asking.asker), ip_text(asking.asked)), rungs, len(asking.places) - len(packets))


def of_datagrams(conversation: Conversation, reader: CaptureReader, most: int) -> Exchange:
    """A conversation by UDP or ICMP: its first packets."""
    if conversation.proto == PROTO_ICMP:
        ends = (ip_text(conversation.opener[0]), ip_text(conversation.other[0]))
    else:
        ends = (endpoint_text(*conversation.opener), endpoint_text(*conversation.other))
    packets = list(islice(conversation.packets(reader), most))
    left_out = len(conversation.places) - sum(len(packet.places) for packet in packets)
    rungs = [_rung(packet, conversation) for packet in packets]
    return Exchange(f"{conversation.title} (conversation {conversation.number})", ends, rungs, left_out)


def _rung(packet: Packet, conversation: Conversation) -> Rung:
    from scapy.layers.inet import IP  # noqa: PLC0415 - half a second, which no graph needs
    from scapy.packet import Raw  # noqa: PLC0415

    from scapystack.describe import describe  # noqa: PLC0415

    whole = IP(bytes(IP(src=ip_text(packet.src), dst=ip_text(packet.dst), proto=packet.proto) / Raw(packet.payload)))
    text = label(describe(whole)).removeprefix("ICMP ")
    error = packet.proto == PROTO_ICMP and packet.payload[0] in ERRORS
    if error:
        text = text.rpartition(", length")[0]
    if len(packet.places) > 1:
        text += f" (in {len(packet.places)} fragments)"
    if packet.src not in (conversation.opener[0], conversation.other[0]):
        text += f" (from {ip_text(packet.src)})"
    side = _side(packet, conversation, error)
    return Rung(_seconds(packet.at, conversation.began_at), side, text, "again" if error else "data")


def _side(packet: Packet, conversation: Conversation, error: bool) -> int:
    """Whose packet it is: by its port too, where an address talks to itself; of an error, who is not told."""
    if error:
        return int(packet.dst == conversation.opener[0])
    if conversation.proto == PROTO_ICMP:
        return int(packet.payload[0] == 0) if packet.src == packet.dst else int(packet.src != conversation.opener[0])
    return int((packet.src, int.from_bytes(packet.payload[:2], "big")) != conversation.opener)


def _seconds(at: Nanoseconds, began_at: Nanoseconds) -> float:
    return (at - began_at) / 1e9
