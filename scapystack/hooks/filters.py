"""How a hook or a capture chooses its packets: by a function, by an expression as tcpdump takes it, or by fields.

filter=lambda packet: packet[TCP].sport > 1024      # of the whole frame; an IndexError is a no
filter="tcp port 80 and tcp[13] & 2 != 0"           # needs libpcap, which compiles and runs it
filter={"IP.src": "10.0.0.2", "dport": (80, 443)}   # fields; of several values one must fit
filter=TCP(flags="S")                               # the fields that are set in a packet

A super-segment that a hook does not ask for need not be cut to know that: its pieces share addresses and ports
(`Match.rules_out`). Where these decide nothing, each piece is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.codec.packets import dissect
from scapystack.hooks.bpf import Program

Filter: TypeAlias = Callable[[Any], object] | Mapping[str, Any] | str | Any | None
Condition: TypeAlias = tuple[Any, str | None, Any]
"""A layer, a field of it and its value, or one of several; no field: the layer is there; no layer: of any."""

_IPV4, _TCP = b"\x08\x00\x45", 6
_PORTS_END = 38
_MAX_FLOWS = 4_096
_SHARED_FIELDS = {
    "Ether": frozenset(("dst", "src", "type")),
    "IP": frozenset(("version", "ihl", "tos", "flags", "frag", "ttl", "proto", "src", "dst")),
    "TCP": frozenset(("sport", "dport")),
}
_STOOD_IN = frozenset((*range(16), *range(20, 24), *range(26, 38)))


class Match:
    """The test for frames that a filter means.

    `test` is of one frame; `may` whether any frame may be meant that has these octets where all pieces of a
    super-segment are alike (as `stood_in` lays them out); None where only the frame itself tells. `dear`: a `test`
    costs more than `may`, and that is asked for frames of any size.
    """

    __slots__ = ("_dear", "_flows", "_may", "_test")

    def __init__(
        self, test: Callable[[Frame], object], may: Callable[[bytes], bool] | None = None, *, dear: bool = False
    ) -> None:
        self._test = test
        self._may = may
        self._dear = dear
        self._flows: dict[bytes, bool] = {}

    def __call__(self, frame: Frame) -> object:
        """Whether a frame is meant, as it is. Raises what a function raises."""
        return not self.rules_out(frame) and self._test(frame)

    def rules_out(self, frame: Frame) -> bool:
        """Whether neither a frame of TCP nor any piece of it can be meant, by what these have in common: link header,
        addresses, ports, TTL and service. Found once for a flow (15 us, or Scapy's dissection), then 0.4 us. False
        where that decides nothing, and where asking the frame is cheaper."""
        may = self._may
        if may is None or not (frame.gso_size or self._dear):
            return False
        head = frame.head
        if type(head) is not bytes:
            head = bytes(head[:_PORTS_END])
        if head[12:15] != _IPV4 or len(head) < _PORTS_END or head[23] != _TCP:
            return False
        key = head[:16] + head[20:24] + head[26:_PORTS_END]
        found = self._flows.get(key)
        if found is None:
            if len(self._flows) >= _MAX_FLOWS:
                self._flows.clear()
            found = self._flows[key] = not may(stood_in(key))
        return found


def stood_in(key: bytes) -> bytes:
    """A frame of one octet of text, and one of padding, with what pieces share; the rest of its headers stands in."""
    link, bits, flow = key[:16], key[16:20], key[20:]
    return b"".join((link, b"\0\x29\0\0", bits, b"\0\0", flow, bytes(8), b"\x50\x10", bytes(8)))


def matcher(filter: Filter) -> Match | None:
    """The test for frames that a filter means; None for one that means all. Raises ConfigError."""
    if filter is None or filter == "":
        return None
    if isinstance(filter, str):
        program = Program(filter)
        return Match(
            lambda frame: program(frame.data),
            lambda octets: program.may_take({at: octets[at] for at in _STOOD_IN}),
        )
    if isinstance(filter, Mapping):
        return _fields([(*_named(name), value) for name, value in filter.items()])
    if hasattr(filter, "fields_desc"):
        return _fields(_template(filter))
    if callable(filter):
        return Match(lambda frame: _asked(filter, frame))
    raise ConfigError(f"a filter is a function, an expression, fields or a packet, not {filter!r}")


def _fields(wanted: list[Condition]) -> Match:
    return Match(
        lambda frame: all(_fits(frame.packet, *each) for each in wanted),
        lambda octets: _may_fit(dissect(octets), wanted),
        dear=True,
    )


def _asked(predicate: Callable[[Any], object], frame: Frame) -> object:
    try:
        return predicate(frame.packet)
    except (IndexError, AttributeError):  # of a layer or a field that this packet has not
        return False


def _named(name: str) -> tuple[Any, str]:
    """`TCP.dport` as the layer and the field. Raises ConfigError."""
    layer, _, field = name.rpartition(".")
    if not field.isidentifier():
        raise ConfigError(f"{name!r} is no field: say dport or TCP.dport")
    return layer or None, field


def _template(packet: Any) -> list[Condition]:
    wanted: list[Condition] = []
    layer = packet
    while layer:
        wanted.append((type(layer), None, None))
        wanted += [(type(layer), name, value) for name, value in layer.fields.items()]
        layer = layer.payload
    return wanted


def _fits(packet: Any, layer: Any, field: str | None, value: Any) -> bool:
    """Whether a packet has the layer (None: any) and, in it, the field with this value, or one of these."""
    found = packet if layer is None else packet.getlayer(layer)
    if found is None or field is None:
        return found is not None
    try:
        actual = getattr(found, field)
    except AttributeError:
        return False
    if isinstance(value, list | tuple | set | frozenset | range) and not isinstance(actual, list | tuple):
        return any(_is(actual, each) for each in value)
    return _is(actual, value)


def _is(actual: Any, value: Any) -> bool:
    try:
        return bool(actual == value)
    except ValueError:  # Scapy's flags, of letters that another layer's field has
        return False


def _may_fit(packet: Any, wanted: list[Condition]) -> bool:
    """Whether a packet may meet the conditions that has what pieces share with this one, which stands in for it."""
    segment = packet.getlayer("TCP")
    if segment is None:  # a fragment
        return True
    shared = [(each, _SHARED_FIELDS[each.__class__.__name__]) for each in (packet, packet.getlayer("IP"), segment)]
    # behind an unknown port the text is text: no layer stands in it
    bare = segment.guess_payload_class(b"\0").__name__ == "Raw"
    for layer, field, value in wanted:
        if layer is None:
            found = next((each for each, _ in shared if field in each.default_fields), None)
        else:
            found = packet.getlayer(layer)
            if found is None and bare:
                return False
        # a list or a set may be another one tomorrow, and this is remembered
        known = not isinstance(value, list | set) and any(found is each and field in names for each, names in shared)
        if known and not _fits(packet, layer, field, value):
            return False
    return True
