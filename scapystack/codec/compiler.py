"""Scapy layers compiled to flat decoders and encoders over `struct`: `compile_layers`.

`plan` says which fields lie where; this file writes Python source for it, and `exec` makes two
functions of that. The source stays readable on `CompiledLayers.source`. Examples: `docs/codec.md`.
"""

from __future__ import annotations

import keyword
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

from scapystack.base.errors import ConfigError
from scapystack.base.types import Buffer
from scapystack.codec.plan import Item, LayerPlan, Part, plan_layers

_ORDERS = {">": "big", "<": "little"}


class CompiledLayers:
    """The fixed parts of one or more Scapy layers, as two flat functions.

    - `decode(buf, offset=0) -> tuple`: the fields of all layers in order. `struct.error` if `buf`
      ends before `offset + size`; nothing else is checked.
    - `encode(*values) -> bytes`: the reverse; by name too (`names`). Bit fields are cut to their
      width, as Scapy does; any other value out of range raises `struct.error`.
    - `size`: octets. `fields`: layer name -> its field names. `names`: `encode`'s parameters, which
      are the field's own name for one layer, and `ip_src` and the like for several. `offsets`: the
      octet where each of them starts (for a bit field, where its word does).
    - `assumed`: fields between layers that must be empty for `decode` to be right, such as
      `IP.options`: look at `ihl` before. `stopped`: why the last layer's fixed part ends before
      the layer, or "".
    - `source`: what was compiled.

    Values are as they stand on the wire: integers, and packed bytes for addresses and strings.
    `decode_dict` and `encode_dict` speak Scapy's values instead.
    """

    __slots__ = (
        "_parts",
        "_readers",
        "assumed",
        "decode",
        "encode",
        "fields",
        "layers",
        "names",
        "offsets",
        "size",
        "source",
        "stopped",
    )

    decode: Callable[..., tuple[Any, ...]]
    encode: Callable[..., bytes]

    def __init__(self, plans: list[LayerPlan]) -> None:
        self.layers = tuple(type(plan.packet) for plan in plans)
        self.fields = {plan.name: tuple(part.name for part in plan.parts()) for plan in plans}
        self.names = _parameters(plans)
        self.offsets = _offsets(plans, self.names)
        self.size = sum(plan.size for plan in plans)
        self.assumed = tuple(f"{plan.name}.{name}" for plan in plans[:-1] for name in plan.absent)
        self.stopped = plans[-1].stop
        self.source = _source(plans, self.names)
        self._parts: dict[str, tuple[Part, Any]] = {
            f"{plan.name}.{part.name}": (part, plan.packet) for plan in plans for part in plan.parts()
        }
        self._readers = [(name, _reader(part.scapy), packet) for name, (part, packet) in self._parts.items()]
        namespace: dict[str, Any] = {"Struct": struct.Struct, "from_bytes": int.from_bytes}
        exec(compile(self.source, f"<compiled {'/'.join(self.fields)}>", "exec"), namespace)
        self.decode = namespace["decode"]
        self.encode = namespace["encode"]

    def decode_dict(self, buf: Buffer, offset: int = 0) -> dict[str, Any]:
        """`{"IP.src": "10.0.0.1", "TCP.flags": <Flag 2 (S)>, ...}`: the values that Scapy's packets hold."""
        values = self.decode(buf, offset)
        return {
            name: value if m2i is None else m2i(packet, value)
            for (name, m2i, packet), value in zip(self._readers, values, strict=True)
        }

    def encode_dict(self, values: Mapping[str, Any]) -> bytes:
        """The reverse of `decode_dict`, from any value that Scapy takes; the rest are the layers' defaults.

        What Scapy would compute or look up as it builds a packet (lengths, checksums, the addresses
        of routes) is 0 unless given.
        Raises ConfigError for a name that is not there.
        """
        unknown = values.keys() - self._parts.keys()
        if unknown:
            raise ConfigError(f"no field {min(unknown)!r}; one of: {', '.join(self._parts)}")
        machine = []
        for name, (part, packet) in self._parts.items():
            if name in values:
                value = values[name]
            else:
                value = packet.fields.get(part.name, packet.overloaded_fields.get(part.name, part.scapy.default))
            machine.append(_machine(part.scapy, packet, value))
        return self.encode(*machine)

    def __repr__(self) -> str:
        return f"<CompiledLayers {' / '.join(self.fields)}: {self.size} octets, {len(self.names)} fields>"


def compile_layers(*layers: Any) -> CompiledLayers:
    """Compile Scapy layers (classes, or packets where a condition must be settled) to flat codecs.

    `compile_layers(Ether, IP, TCP)` reads their `fields_desc` and gives one fused decoder and one
    encoder. The last layer is compiled up to its first field without a fixed place; before another
    layer such fields are taken as empty where that is their default (`assumed`). Raises ConfigError
    with one line that names the field and the reason where a layer cannot be compiled.
    """
    return CompiledLayers(plan_layers(layers))


def _reader(scapy_field: Any) -> Any:
    """The field's `m2i`; None where that is Scapy's default, which changes nothing."""
    from scapy.fields import Field  # noqa: PLC0415

    return None if type(scapy_field).m2i is Field.m2i else scapy_field.m2i


def _machine(scapy_field: Any, packet: Any, value: Any) -> Any:
    """What struct packs for a value that a person gives Scapy; None is nothing."""
    if value is None:
        return b"" if scapy_field.fmt.endswith("s") or hasattr(scapy_field, "length_from") else 0
    made = scapy_field.i2m(packet, scapy_field.any2i(packet, value))
    if isinstance(made, list):  # NBytesField: a list of octets
        return int.from_bytes(bytes(made), "big")
    return made if isinstance(made, int | float | bytes) else int(made)  # FlagValue


def _parameters(plans: list[LayerPlan]) -> tuple[str, ...]:
    """A Python name for every field, none twice and none that the generated source uses itself."""
    names: list[str] = []
    for plan in plans:
        for part in plan.parts():
            name = part.name if len(plans) == 1 else f"{plan.name.lower()}_{part.name}"
            name = re.sub(r"\W", "_", name)
            if keyword.iskeyword(name):
                name += "_"
            if not name.isidentifier() or name.startswith("__"):
                name = f"f_{name}"
            while name in names or name in _RESERVED:
                name += "_"
            names.append(name)
    return tuple(names)


_RESERVED = {"buf", "offset", "from_bytes"}


def _offsets(plans: list[LayerPlan], names: tuple[str, ...]) -> dict[str, int]:
    pending = iter(names)
    offsets: dict[str, int] = {}
    at = 0
    for item in (item for plan in plans for item in plan.items):
        for _ in item.parts:
            offsets[next(pending)] = at
        at += item.size
    return offsets


def _runs(items: list[Item]) -> list[tuple[str, list[Item]]]:
    """Split where the byte order changes: (order, items) for one `Struct` each."""
    runs: list[tuple[str, list[Item]]] = []
    for item in items:
        if runs and (not item.order or not runs[-1][0] or item.order == runs[-1][0]):
            order, members = runs[-1]
            runs[-1] = (order or item.order, [*members, item])
        else:
            runs.append((item.order, [item]))
    return runs


def _source(plans: list[LayerPlan], names: tuple[str, ...]) -> str:
    """The text of `decode` and `encode`: one `unpack_from` and one `pack` for each run."""
    items = [item for plan in plans for item in plan.items]
    pending = iter(names)
    name_of = {id(part): next(pending) for item in items for part in item.parts}
    setup: list[str] = []
    reads: list[str] = []
    packs: list[str] = []
    at = 0
    for number, (order, members) in enumerate(_runs(items)):
        form = (order or ">") + "".join(item.code for item in members)
        setup.append(f"__s{number} = Struct({form!r})")
        setup.append(f"__u{number}, __p{number} = __s{number}.unpack_from, __s{number}.pack")
        targets = ", ".join(_target(item, name_of) for item in members) + ("," if len(members) == 1 else "")
        reads.append(f"{targets} = __u{number}(buf, offset{f' + {at}' if at else ''})")
        packs.append(f"__p{number}({', '.join(_word_expression(item, name_of) for item in members)})")
        at += sum(item.size for item in members)
    reads += [
        f"{_target(item, name_of)} = from_bytes({_target(item, name_of)}, {_ORDERS[item.word]!r})"
        for item in items
        if item.word
    ]
    if len(setup) == 2 and all(_is_plain(item) for item in items):
        decode = ["decode = __u0"]
    else:
        results = ", ".join(_field_expression(item, part, name_of) for item in items for part in item.parts)
        comma = "," if len(names) == 1 else ""
        decode = ["def decode(buf, offset=0):", *(f"    {line}" for line in reads), f"    return ({results}{comma})"]
    encode = [f"def encode({', '.join(names)}):", f"    return {' + '.join(packs)}"]
    heading = f"# {' / '.join(plan.name for plan in plans)}: {at} octets"
    return "\n".join([heading, *setup, "", *decode, "", *encode, ""])


def _is_plain(item: Item) -> bool:
    """Whether struct gives the field's value itself."""
    return not item.word and len(item.parts) == 1


def _target(item: Item, name_of: dict[int, str]) -> str:
    """The variable that an item is unpacked to."""
    name = name_of[id(item.parts[0])]
    return name if _is_plain(item) else f"__w_{name}"


def _field_expression(item: Item, part: Part, name_of: dict[int, str]) -> str:
    """A field out of its item."""
    word = _target(item, name_of)
    if len(item.parts) == 1:
        return word
    shifted = f"{word} >> {part.shift}" if part.shift else word
    return shifted if part is item.parts[0] else f"{shifted} & {(1 << part.bits) - 1:#x}"


def _word_expression(item: Item, name_of: dict[int, str]) -> str:
    """An item out of its fields; bit fields and odd words are cut to their width."""
    if _is_plain(item):
        return name_of[id(item.parts[0])]
    pieces = []
    for part in item.parts:
        piece = f"{name_of[id(part)]} & {(1 << (part.bits or item.size * 8)) - 1:#x}"
        pieces.append(f"({piece}) << {part.shift}" if part.shift else piece)
    value = " | ".join(pieces)
    return f"({value}).to_bytes({item.size}, {_ORDERS[item.word]!r})" if item.word else value
