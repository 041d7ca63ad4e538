"""What can be drawn: capture files, traces, and packets that a program holds; one conversation of them is chosen.

Read `flow` first, and for ladders `exchange`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

from scapystack.base.datagram import PROTO_TCP
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.offload import finished
from scapystack.link.pcapread import CapturedPacket, CaptureReader
from scapystack.plot.exchange import Asking, Exchange, askings, of_asking, of_datagrams, of_flow
from scapystack.plot.flow import Flow, of_conversation, of_trace
from scapystack.replay.conversations import Conversation, Splitter
from scapystack.trace.events import Event
from scapystack.trace.files import read_trace

Source: TypeAlias = "str | Path | Flow | Iterable[Any]"
"""A file's name; or packets, each a `CapturedPacket`, a Scapy packet from Ethernet on, or a (time in ns, `Frame`);
or the events of a `Tracer`; or a flow that was made before."""
_ONLY_LADDER = ": of others there is only a ladder"


@dataclass(slots=True)
class Found:
    """A conversation that a source has: its number, what it is, and how many packets or events."""

    number: int
    title: str
    packets: int


class _Held:
    """Packets in memory, as `CaptureReader` gives those of a file."""

    def __init__(self, packets: Iterable[Any]) -> None:
        self._packets = [replace(_captured(packet), offset=n) for n, packet in enumerate(packets)]

    def __iter__(self) -> Iterator[CapturedPacket]:
        return iter(self._packets)

    def packet_at(self, offset: int) -> CapturedPacket:
        """The packet with this number, from 0."""
        return self._packets[offset]


def _captured(packet: Any) -> CapturedPacket:
    if isinstance(packet, CapturedPacket):
        return packet
    if isinstance(packet, tuple):
        at, frame = packet
        octets = finished(frame) if isinstance(frame, Frame) else bytes(frame)
        return CapturedPacket(octets, at, len(octets))
    octets = bytes(packet)
    return CapturedPacket(octets, round(float(getattr(packet, "time", time.time())) * 1e9), len(octets))


def flow_of(source: Source, conversation: int | None = None) -> Flow:
    """The conversation with this number; without one the TCP conversation that has most packets.

    Raises ConfigError where there is no such, LinkError for a file that is neither capture nor trace, OSError.
    """
    if isinstance(source, Flow):
        return source
    if isinstance(source, str | Path):
        if _is_trace(source):
            return _of_events(read_trace(source), conversation)
        with CaptureReader(source) as reader:
            return _of_capture(reader, conversation)
    things = list(source)
    if things and isinstance(things[0], dict):
        return _of_events(things, conversation)
    return _of_capture(cast(CaptureReader, _Held(things)), conversation)


def exchange_of(source: Source, conversation: int | None, most: int) -> Exchange:
    """The conversation with this number, of any protocol, as a ladder has it: its first `most` packets.

    Without a number that of `flow_of`, and where there is no TCP, the one that has most packets. Raises as that does.
    """
    if isinstance(source, str | Path) and not _is_trace(source):
        with CaptureReader(source) as reader:
            return _exchange_of_capture(reader, conversation, most)
    if isinstance(source, Flow | str | Path):
        return of_flow(flow_of(source, conversation), most)
    things = list(source)
    if things and isinstance(things[0], dict):
        return of_flow(_of_events(things, conversation), most)
    return _exchange_of_capture(cast(CaptureReader, _Held(things)), conversation, most)


def conversations(path: str | Path) -> list[Found]:
    """All that a file has. Raises as `flow_of`."""
    if _is_trace(path):
        return [
            Found(n, f"TCP {events[0]['local']} - {events[0]['remote']}", len(events))
            for n, events in _by_connection(read_trace(path)).items()
        ]
    with CaptureReader(path) as reader:
        found = [Found(each.number, each.title, len(each.places)) for each in _all_of(reader)]
    return sorted(found, key=lambda each: each.number)


def _is_trace(path: str | Path) -> bool:
    with open(path, "rb") as file:
        return file.read(1) == b"{"


def _by_connection(events: Iterable[Event]) -> dict[int, list[Event]]:
    sorted_: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        sorted_[event["connection"]].append(event)
    return sorted_


def _of_events(events: Iterable[Event], number: int | None) -> Flow:
    connections = _by_connection(events)
    if not connections:
        raise ConfigError("there is no connection in this trace")
    chosen = max(connections, key=lambda n: len(connections[n])) if number is None else number
    if chosen not in connections:
        raise ConfigError(f"there is no connection {chosen} in this trace: 1 to {max(connections)}")
    return of_trace(connections[chosen])


def _all_of(reader: CaptureReader) -> list[Conversation | Asking]:
    """Every conversation of a capture, ARP's behind the others."""
    splitter = Splitter(reader)
    found: list[Conversation | Asking] = list(splitter)
    return [*found, *askings(reader, splitter.conversations + 1)]


def _of_capture(reader: CaptureReader, number: int | None) -> Flow:
    every = _all_of(reader)
    tcp = [each for each in every if _is_tcp(each)]
    if not tcp:
        raise ConfigError(f"there is no TCP conversation in this capture{_ONLY_LADDER if every else ''}")
    chosen = _chosen(tcp if number is None else every, number)
    if not _is_tcp(chosen):
        raise ConfigError(f"conversation {number} is not TCP ({chosen.title}){_ONLY_LADDER}")
    return of_conversation(cast(Conversation, chosen), reader)


def _exchange_of_capture(reader: CaptureReader, number: int | None, most: int) -> Exchange:
    every = _all_of(reader)
    if not every:
        raise ConfigError("there is no conversation in this capture")
    tcp = [each for each in every if _is_tcp(each)]
    chosen = _chosen(tcp or every if number is None else every, number)
    if isinstance(chosen, Asking):
        return of_asking(chosen, reader, most)
    return of_flow(of_conversation(chosen, reader), most) if _is_tcp(chosen) else of_datagrams(chosen, reader, most)


def _is_tcp(each: Conversation | Asking) -> bool:
    return isinstance(each, Conversation) and each.proto == PROTO_TCP


def _chosen(every: Sequence[Conversation | Asking], number: int | None) -> Conversation | Asking:
    if number is None:
        return max(every, key=lambda each: len(each.places))
    for each in every:
        if each.number == number:
            return each
    raise ConfigError(f"there is no conversation {number} in this capture: --list shows those that there are")
