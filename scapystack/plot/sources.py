"""What can be drawn: capture files, traces, and packets that a program holds; one conversation of them is chosen.

Read `flow` first.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

from scapystack.base.datagram import PROTO_TCP
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.offload import finished
from scapystack.link.pcapread import CapturedPacket, CaptureReader
from scapystack.plot.flow import Flow, of_conversation, of_trace
from scapystack.replay.conversations import Splitter
from scapystack.trace.events import Event
from scapystack.trace.files import read_trace

Source: TypeAlias = "str | Path | Flow | Iterable[Any]"
"""A file's name; or packets, each a `CapturedPacket`, a Scapy packet from Ethernet on, or a (time in ns, `Frame`);
or the events of a `Tracer`; or a flow that was made before."""


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


def conversations(path: str | Path) -> list[Found]:
    """All that a file has. Raises as `flow_of`."""
    if _is_trace(path):
        return [
            Found(n, f"TCP {events[0]['local']} - {events[0]['remote']}", len(events))
            for n, events in _by_connection(read_trace(path)).items()
        ]
    with CaptureReader(path) as reader:
        found = [Found(each.number, each.title, len(each.places)) for each in Splitter(reader)]
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


def _of_capture(reader: CaptureReader, number: int | None) -> Flow:
    every = list(Splitter(reader))
    tcp = [each for each in every if each.proto == PROTO_TCP]
    if not tcp:
        raise ConfigError("there is no TCP conversation in this capture")
    if number is None:
        return of_conversation(max(tcp, key=lambda each: len(each.places)), reader)
    for each in tcp:
        if each.number == number:
            return of_conversation(each, reader)
    other = next((each.title for each in every if each.number == number), "")
    why = f"conversation {number} is not TCP ({other})" if other else f"there is no conversation {number}"
    raise ConfigError(f"{why} in this capture: --list shows those that there are")
