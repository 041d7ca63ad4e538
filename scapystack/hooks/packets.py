"""`PacketHook`: a hook as a user writes it: a function of a Scapy packet, for the packets of a level and a filter.

What the function returns decides: None (it passes as it came), `DROP`, a packet, the octets of a frame, `Delay(ms)`,
or a list of such things. Read `frames` first; docs/hooks.md has examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.offload import finished, split
from scapystack.base.types import MILLISECOND
from scapystack.codec.packets import dissect
from scapystack.hooks.filters import Filter, matcher
from scapystack.hooks.frames import Later, Verdict

WAYS = ("rx", "tx")
LEVELS = ("frame", "ip", "segment")
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_TCP = 6
_ETHER, _TCP_LEN, _TCP_CSUM = 14, 20, 16
COMPUTED = {
    "IP": ("ihl", "len", "chksum"),
    "IPv6": ("plen",),
    "TCP": ("dataofs", "chksum"),
    "UDP": ("len", "chksum"),
    "ICMP": ("chksum",),
}
"""Fields that follow from others, by the name of their layer."""


class _Drop:
    def __repr__(self) -> str:
        return "DROP"


DROP: Final = _Drop()
"""What a hook returns for a packet that goes no further."""


class Delay:
    """What a hook returns for a packet that goes on `ms` later: `packet`, or None for the one that it was given."""

    def __init__(self, ms: float, packet: Any = None) -> None:
        self.ms = ms
        self.packet = packet
        self.later: Later | None = None
        """What the hook made of it, once it was returned."""

    def cancel(self) -> None:
        """Lose the packet, if it has not gone on yet."""
        if self.later is not None:
            self.later.cancelled = True


class PacketHook:
    """`function` at work on one way and level of a stack; a `frames.Hook`.

    The levels give the function the `Ether`, the `IP` or `IPv6`, or the `TCP` of a packet, with what is below still
    there (`packet.underlayer`), and pass by what has no such layer. `packet.time` is the stack's clock in seconds.
    Super-segments come cut to what a wire would carry, unless `whole`, or the filter takes none of their pieces. The
    packet is the hook's own: changing it changes nothing unless it is returned. Raises ConfigError for a way, a level
    or a filter that there is not.
    """

    __slots__ = ("_match", "function", "hits", "level", "way", "whole")

    def __init__(
        self, function: Callable[[Any], Any], way: str, level: str = "frame", *, filter: Filter = None,
        whole: bool = False,
    ) -> None:  # fmt: skip
        if way not in WAYS:
            raise ConfigError(f"a hook looks at rx or tx, not {way!r}")
        if level not in LEVELS:
            raise ConfigError(f"a hook's level is frame, ip or segment, not {level!r}")
        self.function = function
        self.way = way
        self.level = level
        self.whole = whole
        self.hits = 0
        """Packets that the function was given."""
        self._match = matcher(filter)

    @property
    def __name__(self) -> str:
        """The function's."""
        return str(getattr(self.function, "__qualname__", None) or type(self.function).__name__)

    def __repr__(self) -> str:
        return f"<hook {self.__name__} on {self.way} {self.level}, {self.hits} hits>"

    def __call__(self, frame: Frame) -> Verdict:
        """What becomes of a frame; the frame itself where nothing does. Raises what the function raises."""
        match = self._match
        if match is not None and match.rules_out(frame):
            return frame
        if self.level != "frame" and not has_level(frame, self.level):
            return frame
        if self.whole or not (frame.gso_size and frame.csum_start):
            return self._one(frame)
        left: list[Frame | Later | None] = []
        untouched = True
        for piece in split(frame):
            verdict = self._one(piece)
            untouched = untouched and verdict is piece
            left += verdict if isinstance(verdict, list) else [verdict]
        return frame if untouched else left

    def _one(self, frame: Frame) -> Verdict:
        match = self._match
        if match is not None and not match(frame):
            return frame
        octets = finished(frame)
        packet = dissect(octets)
        packet.time = frame.at / 1e9
        layer = layer_of(packet, self.level)
        if layer is None:
            return frame
        self.hits += 1
        verdict = self.function(layer)
        if verdict is None:
            return frame
        if verdict is DROP:
            return None
        if not isinstance(verdict, list | tuple):
            return self._made(verdict, frame, octets)
        made: list[Frame | Later | None] = [self._made(each, frame, octets) for each in verdict if each is not DROP]
        return made or None

    def _made(self, result: Any, frame: Frame, octets: bytes) -> Frame | Later:
        """The frame for one thing that the function returned."""
        if isinstance(result, Delay):
            packet = result.packet
            made = frame if packet is None else frame_for(packet, frame, octets)
            result.later = Later(made, round(result.ms * MILLISECOND))
            return result.later
        return frame_for(result, frame, octets)


def has_level(frame: Frame, level: str) -> bool:
    """Whether there may be such a layer, by a look at the octets."""
    head = frame.head
    kind = head[12:14]
    if kind == _IPV4:
        return level == "ip" or (len(head) > 23 and head[23] == _TCP)
    return kind == _IPV6


def layer_of(packet: Any, level: str) -> Any:
    """The layer of a dissected frame that a hook of `level` is given; None where there is none."""
    if level == "frame":
        return packet
    for name in ("IP", "IPv6") if level == "ip" else ("TCP",):
        layer = packet.getlayer(name)
        if layer is not None:
            return layer
    return None


def frame_for(packet: Any, like: Frame, octets: bytes) -> Frame:
    """The frame that a hook returned as `packet`, in place of `like`, whose octets are known.

    A packet that does not begin with the link's header gets that of `like`, and one without IP that of `like`'s, too.
    Lengths and checksums that are as they came follow from the rest; those that the hook has set stay. Octets are the
    frame as it is. Raises TypeError for what is neither.
    """
    if isinstance(packet, bytes):
        return _framed(packet, like)
    whole = _grounded(packet, octets)
    data = bytes(whole)
    if data == octets:
        return like
    known = dissect(octets)
    for layer, names in COMPUTED.items():
        ours, theirs = whole.getlayer(layer), known.getlayer(layer)
        if ours is None or theirs is None:
            continue
        for name in names:
            if ours.fields.get(name) == theirs.fields.get(name):
                ours.delfieldval(name)
    return _framed(bytes(whole), like)


def _framed(octets: bytes, like: Frame) -> Frame:
    """In place of a super-segment one is still a super-segment, for a link to cut, if it has that much text."""
    frame = Frame(octets, (), like.iface)
    frame.at = like.at
    if like.gso_size and has_level(frame, "segment") and octets[12:14] == _IPV4:
        start = _ETHER + (octets[_ETHER] & 0xF) * 4
        if len(octets) >= start + _TCP_LEN and len(octets) - start - (octets[start + 12] >> 4) * 4 > like.gso_size:
            frame.gso_size, frame.csum_start, frame.csum_offset = like.gso_size, start, _TCP_CSUM
    return frame


def _grounded(packet: Any, octets: bytes) -> Any:
    """`packet` down to its link header."""
    from scapy.packet import Packet, Raw  # noqa: PLC0415 - loaded by now: there is a packet

    if not isinstance(packet, Packet):
        raise TypeError(
            f"a hook returns None, DROP, packets, octets, Delay or a list of them, not {type(packet).__name__}"
        )
    lowest = packet
    while lowest.underlayer is not None and lowest.underlayer.payload is lowest:
        lowest = lowest.underlayer
    if lowest.name in ("Ethernet", "802.3"):
        return lowest
    below = dissect(octets)
    if isinstance(below, Raw):  # a frame that is none, as a whole
        return lowest
    network = layer_of(below, "ip")
    if lowest.name not in ("IP", "IPv6") and network is not None:
        network.remove_payload()
        network.add_payload(lowest)
        return below
    below.remove_payload()
    below.add_payload(lowest)
    return below


def hooks_of(function: object, hooks: Sequence[object]) -> list[PacketHook]:
    """Those of a list that were made of `function`, or are it."""
    return [hook for hook in hooks if isinstance(hook, PacketHook) and function in (hook.function, hook)]
