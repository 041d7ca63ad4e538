"""Relative numbers: a TCP segment as if both initial sequence numbers, and the stack's clock, were 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scapy.layers.inet import TCP

MASK = 0xFFFFFFFF
_ACK = 0x10


@dataclass(slots=True)
class Bases:
    """What the numbers in a segment are counted from: its own, those of the other side, and its timestamps."""

    seq: int = 0
    ack: int = 0
    tsval: int = 0
    tsecr: int = 0


def relative(packet: Any, bases: Bases) -> Any:
    """A copy of a Scapy packet whose sequence, acknowledgment, SACK and timestamp numbers are relative."""
    return _moved(packet, bases, -1)


def absolute(packet: Any, bases: Bases) -> Any:
    """The other way round."""
    return _moved(packet, bases, 1)


def _moved(packet: Any, bases: Bases, sign: int) -> Any:
    copy = packet.copy()
    tcp = copy[TCP]
    tcp.seq = (tcp.seq + sign * bases.seq) & MASK
    acks = bool(int(tcp.flags) & _ACK)
    if acks:
        tcp.ack = (tcp.ack + sign * bases.ack) & MASK
    options = []
    for name, value in tcp.options:
        if name == "SAck":  # of what the other side has sent
            value = tuple((edge + sign * bases.ack) & MASK for edge in value)  # noqa: PLW2901
        elif name == "Timestamp" and value is not None:
            echo = (value[1] + sign * bases.tsecr) & MASK if acks else value[1]
            value = ((value[0] + sign * bases.tsval) & MASK, echo)  # noqa: PLW2901
        options.append((name, value))
    tcp.options = options
    return copy
