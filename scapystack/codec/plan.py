"""From a Scapy layer's `fields_desc` to a plan: which octets are fixed, and how each field lies in
them. `compiler` turns the plan into source text; read this first.

Scapy gives every field a `getfield` and an `addfield`. A field can be compiled if both are ones
that this file knows (`_kinds`), whatever class it has; a class with its own is refused rather than
guessed at. The plan keeps the *machine* value, what `m2i` gets: packed addresses, plain integers.

What has no fixed place ends the plan of a layer (`LayerPlan.stop`): a field of variable length, a
list, a `ConditionalField`. A layer given as a packet instead of a class settles its conditions:
`ICMP(type=8)` has `id` and `seq`, `ICMP` has not.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from scapystack.base.errors import ConfigError

BITS, BYTES, STRUCT, WORD = "bits", "bytes", "struct", "word"

_CODE = re.compile(r"([@=<>!])([bBhHiIlLqQefd?]|\d+s)")
_WORD_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(slots=True)
class Part:
    """One field: its name, Scapy's field object, and for a bit field its place in the word."""

    name: str
    scapy: Any
    shift: int = 0
    bits: int = 0


@dataclass(slots=True)
class Item:
    """One item of a struct format. Several parts share it where they are bit fields.

    `order` is `>` or `<`, or empty where it makes no difference. `word` is set where the item is
    `Ns` but holds a number of N octets in that order (struct has no code for 3 or 6).
    """

    code: str
    order: str
    parts: list[Part]
    word: str = ""

    @property
    def size(self) -> int:
        """Its octets."""
        return struct.calcsize("=" + self.code)


@dataclass(slots=True)
class LayerPlan:
    """The fixed part of one layer. `stop` says in words why it ends before the layer does, or is empty."""

    name: str
    packet: Any
    items: list[Item] = field(default_factory=list)
    stop: str = ""
    absent: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Its octets."""
        return sum(item.size for item in self.items)

    def parts(self) -> Iterator[Part]:
        """Its fields, in the order of `fields_desc`."""
        for item in self.items:
            yield from item.parts


class _VariableError(Exception):
    """The field has no fixed place; the text says why."""


def plan_layers(layers: tuple[Any, ...]) -> list[LayerPlan]:
    """A plan for each layer; raises ConfigError with the field and the reason where one cannot be."""
    expanded = [single for layer in layers for single in _expand(layer)]
    if not expanded:
        raise ConfigError("compile_layers needs at least one Scapy layer, such as IP")
    for (lower, _), (upper, _) in pairwise(expanded):
        if lower.payload is not upper:
            lower.add_payload(upper)  # so that IP says what it carries, and conditions can look around
    plans: list[LayerPlan] = []
    for position, (packet, settled) in enumerate(expanded):
        plan = _plan(packet, settled)
        if plan.stop and position < len(expanded) - 1:
            _need_absent(plan)
        same = sum(type(other.packet) is type(packet) for other in plans)
        if same:
            plan.name += f"_{same + 1}"
        plans.append(plan)
    if not any(plan.items for plan in plans):
        raise ConfigError(f"cannot compile {plans[0].name}: {plans[0].stop or 'it has no fields'}")
    return plans


def _expand(layer: Any) -> Iterator[tuple[Any, bool]]:
    """(packet, whether its values settle conditions) for a class, a packet, or stacked packets."""
    from scapy.packet import NoPayload, Packet  # noqa: PLC0415

    if isinstance(layer, type) and issubclass(layer, Packet):
        packet = layer()
        if type(packet) is not layer:
            raise ConfigError(f"cannot compile {layer.__name__}: it only stands for {type(packet).__name__}")
        yield packet, False
    elif isinstance(layer, Packet):
        packet = layer.copy()
        while not isinstance(packet, NoPayload):
            yield packet, True
            packet = packet.payload
    else:
        raise ConfigError(f"compile_layers takes Scapy layers such as IP or ICMP(type=8), not {layer!r}")


def _need_absent(plan: LayerPlan) -> None:
    """Before another layer, what was left out must be empty unless somebody fills it in (IP options)."""
    from scapy.fields import ConditionalField  # noqa: PLC0415

    packet = plan.packet
    for name in plan.absent:
        scapy_field = packet.get_field(name)
        try:
            empty = scapy_field.addfield(packet, b"", packet.fields.get(name, scapy_field.default)) == b""
        except Exception:  # a field that cannot say so is not empty
            empty = False
        if isinstance(scapy_field, ConditionalField) or not empty:
            raise ConfigError(f"cannot compile a layer behind {plan.name}: {plan.stop}")


def _plan(packet: Any, settled: bool) -> LayerPlan:
    from scapy.fields import MayEnd  # noqa: PLC0415

    name = type(packet).__name__
    plan = LayerPlan(name, packet)
    fields = list(packet.fields_desc)
    open_bits: list[Part] = []
    try:
        for position, outer in enumerate(fields):
            inner = _unwrap(outer, packet, settled)
            if inner is None:
                continue
            kind, size = _measure(inner, packet, settled)
            if open_bits and kind != BITS:
                raise ConfigError(f"cannot compile {name}.{open_bits[-1].name}: its bits end within an octet")
            if kind == BITS:
                open_bits.append(Part(outer.name, inner, bits=size))
                if sum(part.bits for part in open_bits) % 8 == 0:
                    plan.items.append(_bit_item(name, open_bits))
                    open_bits = []
            elif size or kind == STRUCT:
                plan.items.append(_item(name, outer.name, inner, kind, size))
            if isinstance(outer, MayEnd) and position < len(fields) - 1:
                position += 1  # noqa: PLW2901 - what is left out starts behind this one
                raise _VariableError(f"the packet may end behind {name}.{outer.name}")
    except _VariableError as why:
        plan.stop = str(why)
        plan.absent = [left.name for left in fields[position:]]
    if open_bits:
        raise ConfigError(f"cannot compile {name}.{open_bits[-1].name}: its bits end within an octet")
    return plan


def _unwrap(outer: Any, packet: Any, settled: bool) -> Any:
    """The field inside containers; None for one that the packet's values rule out."""
    from scapy import fields as sf  # noqa: PLC0415

    inner = outer
    where = f"{type(packet).__name__}.{outer.name}"
    while isinstance(inner, sf._FieldContainer):
        if isinstance(inner, sf.ConditionalField):
            if not settled:
                raise _VariableError(f"{where} is there only under a condition (compile a packet to settle it)")
            if not inner._evalcond(packet):
                return None
            inner = inner.fld
        elif isinstance(inner, sf.MultipleTypeField):
            inner = inner._find_fld_pkt_val(packet, packet.fields.get(outer.name))[0]
        elif isinstance(inner, sf.TrailerField):
            raise _VariableError(f"{where} stands at the end of the whole packet")
        elif hasattr(type(inner), "getfield"):  # a container that does more than pass on
            raise ConfigError(f"cannot compile {where}: {type(inner).__name__} reads it in its own way")
        else:
            inner = inner.fld
    return inner


def _kinds() -> dict[tuple[Any, Any], str]:
    """What Scapy's own pairs of `getfield` and `addfield` do."""
    from scapy import fields as sf  # noqa: PLC0415

    return {
        (sf.Field.getfield, sf.Field.addfield): STRUCT,
        (sf._BitField.getfield, sf._BitField.addfield): BITS,
        (sf.StrFixedLenField.getfield, sf.StrFixedLenField.addfield): BYTES,
        (sf.ThreeBytesField.getfield, sf.ThreeBytesField.addfield): WORD + ">",
        (sf.LEThreeBytesField.getfield, sf.LEThreeBytesField.addfield): WORD + "<",
        (sf.NBytesField.getfield, sf.NBytesField.addfield): WORD + ">",
    }


def _measure(inner: Any, packet: Any, settled: bool) -> tuple[str, int]:
    """How a field is read, and its octets (bits for a bit field). Raises _VariableError."""
    from scapy import fields as sf  # noqa: PLC0415

    cls = type(inner)
    where = f"{type(packet).__name__}.{inner.name}"
    kind = _kinds().get((cls.getfield, cls.addfield))
    if kind == BITS:
        return BITS, inner.size
    if kind == BYTES:
        try:
            # a length that asks nothing of the packet is fixed; a packet's own values fix the others
            return BYTES, int(inner.length_from(packet if settled else None))
        except Exception:
            raise _VariableError(f"the length of {where} depends on the packet") from None
    if kind is not None:
        # Scapy 2.6 says that its three-octet fields have four
        three = isinstance(inner, sf.ThreeBytesField | sf.LEThreeBytesField)
        return kind, 3 if three else inner.sz
    variable = (sf._StrField, sf.FieldListField, sf.BitLenField, sf.BitExtendedField, sf.PacketField)
    if inner.islist or inner.holds_packets or isinstance(inner, variable):
        raise _VariableError(f"{where} ({cls.__name__}) has no fixed length")
    raise ConfigError(f"cannot compile {where}: {cls.__name__} reads it in its own way")


def _item(layer: str, name: str, inner: Any, kind: str, size: int) -> Item:
    part = [Part(name, inner)]
    if kind == BYTES:
        return Item(f"{size}s", "", part)
    if kind != STRUCT:
        return Item(f"{size}s", "", part, word=kind[-1])
    match = _CODE.fullmatch(inner.fmt)
    if match is None or struct.calcsize("=" + match[2]) != inner.sz:
        raise ConfigError(f"cannot compile {layer}.{name}: its format {inner.fmt!r} is not a single fixed-size value")
    order = {"!": ">", ">": ">", "<": "<"}.get(match[1], ">" if sys.byteorder == "big" else "<")
    return Item(match[2], "" if inner.sz == 1 or match[2].endswith("s") else order, part)


def _bit_item(layer: str, parts: list[Part]) -> Item:
    """One word of bit fields; the first lies highest (Scapy's `_BitField.getfield`)."""
    total = sum(part.bits for part in parts)
    shift = total
    for part in parts:
        shift -= part.bits
        part.shift = shift
    size = total // 8
    first, last = parts[0].scapy, parts[-1].scapy
    turned_in = first.rev and first.tot_size > 1
    turned_out = last.rev and last.end_tot_size > 1
    order = ">"
    if turned_in or turned_out:
        # Scapy turns tot_size octets round before it reads the first and end_tot_size behind the last
        if not (turned_in and turned_out and first.tot_size == last.end_tot_size == size):
            raise ConfigError(
                f"cannot compile {layer}.{parts[0].name}: its little-endian bits do not fill tot_size = end_tot_size"
            )
        order = "<"
    if size in _WORD_CODES:
        return Item(_WORD_CODES[size], order if size > 1 else "", parts)
    return Item(f"{size}s", "", parts, word=order)
