"""Hooks from the shelf: what a path does to packets. Functions of a packet, for `Stack.hook`.

    stack.hook("tx", "segment", filter="tcp port 80")(drop_nth(3))
    stack.hook("rx", "ip")(delay(50))

Each call makes a hook with a count, a queue or a seed of its own. `level` says what it is for; what a hostile or broken
peer does stands in `hostile`. docs/hooks.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from scapystack.base.errors import ConfigError
from scapystack.base.rng import Rng
from scapystack.hooks.packets import DROP, Delay

PacketFunction: TypeAlias = Callable[[Any], Any]

_SYN = 0x02
_FIN = 0x01
_FIN_PSH = 0x09


def drop_nth(*nth: int) -> PacketFunction:
    """Lose the nth packets (1 is the next one). Any level."""
    if not nth or min(nth) < 1:
        raise ConfigError("drop_nth takes numbers from 1 on")
    met = 0

    def drop_nth(packet: Any) -> Any:
        nonlocal met
        met += 1
        return DROP if met in nth else None

    return drop_nth


def delay(ms: float, *, jitter_ms: float = 0.0, seed: int = 0) -> PacketFunction:
    """Let every packet go on `ms` later, and up to `jitter_ms` on top, so that some overtake others. Any level."""
    rng = Rng(seed)
    steps = round(jitter_ms * 1_000)
    return lambda packet: Delay(ms + (rng.below(steps + 1) / 1_000 if steps else 0))


def reorder(every: int = 10, *, by_ms: float = 5.0) -> PacketFunction:
    """Hold each `every`th packet back so long that those behind it pass. Any level."""
    met = 0

    def reorder(packet: Any) -> Any:
        nonlocal met
        met += 1
        return Delay(by_ms) if met % every == 0 else None

    return reorder


def duplicate(every: int = 1, *, by_ms: float = 0.0) -> PacketFunction:
    """Send each `every`th packet twice, the second one `by_ms` later. Any level."""
    met = 0

    def duplicate(packet: Any) -> Any:
        nonlocal met
        met += 1
        if met % every:
            return None
        return [packet, Delay(by_ms, packet) if by_ms else packet]

    return duplicate


def corrupt(every: int = 10, *, seed: int = 0) -> PacketFunction:
    """Turn one bit of the text of each `every`th segment that has some; no checksum follows. Level segment."""
    rng = Rng(seed)
    met = 0

    def corrupt(segment: Any) -> Any:
        nonlocal met
        text = text_of(segment)
        met += bool(text)
        if not text or met % every:
            return None
        octets = bytearray(bytes(lowest(segment)))
        first = len(octets) - len(bytes(segment.payload))
        octets[first + rng.below(len(text))] ^= 1 << rng.below(8)
        return bytes(octets)

    return corrupt


def strip_options(*names: str) -> PacketFunction:
    """Take TCP options out of segments, as some middleboxes do: all, or those of these names. Level segment.

    Scapy's names: `MSS`, `WScale`, `SAckOK`, `SAck`, `Timestamp`, ...
    """

    def strip_options(segment: Any) -> Any:
        kept = [option for option in segment.options if names and option[0] not in names]
        if len(kept) == len(segment.options):
            return None
        segment.options = [option for option in kept if option[0] not in ("NOP", "EOL")]
        return segment

    return strip_options


def clamp_mss(mss: int) -> PacketFunction:
    """Lower the MSS option of SYNs to `mss`, as routers before a narrow link do. Level segment."""

    def clamp_mss(segment: Any) -> Any:
        if not int(segment.flags) & _SYN:
            return None
        options = [("MSS", min(value, mss)) if name == "MSS" else (name, value) for name, value in segment.options]
        if options == segment.options:
            return None
        segment.options = options
        return segment

    return clamp_mss


def bleach_ecn() -> PacketFunction:
    """Clear the ECN field of IP, as old routers do that take it for a part of the type of service. Level ip."""

    def bleach_ecn(packet: Any) -> Any:
        field = "tos" if packet.name == "IP" else "tc"
        value = getattr(packet, field)
        if not value & 3:
            return None
        setattr(packet, field, value & ~3)
        return packet

    return bleach_ecn


def split(size: int) -> PacketFunction:
    """Cut segments with more text than `size` octets into several, as a proxy might. Level segment."""
    if size < 1:
        raise ConfigError("a segment is cut into pieces of 1 octet or more")

    def split(segment: Any) -> Any:
        text = text_of(segment)
        if len(text) <= size:
            return None
        pieces = []
        for at in range(0, len(text), size):
            piece = with_text(segment, text[at : at + size])
            piece.seq = (segment.seq + at) & 0xFFFFFFFF
            if at + size < len(text):
                piece.flags = int(piece.flags) & ~_FIN_PSH
            pieces.append(piece)
        return pieces

    return split


class merge:
    """Join segments that follow each other within `ms` into one of up to `size` octets, as offload does. Level segment.

    A segment with text waits so long for the next one of its flow; what does not
    follow, or would be too much, begins a wait of its own.
    """

    def __init__(self, ms: float = 5.0, *, size: int = 1400) -> None:
        self._ms = ms
        self._size = size
        self._waiting: dict[tuple[Any, ...], tuple[int, bytes, Delay]] = {}

    def __call__(self, segment: Any) -> Any:
        """The verdict on one segment."""
        text = text_of(segment)
        flow = flow_of(segment)
        held = self._waiting.pop(flow, None)
        if held is not None and held[2].later is not None:
            seq, before, waits = held
            follows = seq + len(before) & 0xFFFFFFFF == segment.seq and text
            if follows and len(before) + len(text) <= self._size:
                segment = with_text(segment, before + text)
                segment.seq = seq
                text = before + text
                waits.cancel()
        if not text or int(segment.flags) & (_SYN | _FIN) or len(text) >= self._size:
            return segment
        wait = Delay(self._ms, segment)
        self._waiting[flow] = segment.seq, text, wait
        return wait


def flow_of(segment: Any) -> tuple[Any, ...]:
    """Addresses and ports of a segment, in its direction."""
    below = segment.underlayer
    return below.src, below.dst, segment.sport, segment.dport


def text_of(segment: Any) -> bytes:
    """What a segment that came carries, without the padding of a short frame."""
    below = segment.underlayer
    length = below.len - below.ihl * 4 if below.name == "IP" else below.plen
    return bytes(segment.payload)[: max(length - segment.dataofs * 4, 0)]


def lowest(layer: Any) -> Any:
    """The layer at the bottom of a packet: its link header."""
    while layer.underlayer is not None:
        layer = layer.underlayer
    return layer


def with_text(segment: Any, text: bytes) -> Any:
    """A copy of a segment, and of what is below it, with other text; lengths and checksums follow from it."""
    made = lowest(segment).copy().getlayer("TCP")
    made.remove_payload()
    if text:
        made.add_payload(text)
    return made
