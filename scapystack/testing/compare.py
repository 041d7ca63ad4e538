"""Comparing a packet with what a test expects of it: only what the test gives is compared.

Two ways to say it. A Scapy packet: each of its layers must be there, one behind the other, each field that was
given must be equal, and there is a payload only where one is given; `Raw()` without a load is any payload. Or,
for TCP, a line such as `A ack=6 len=0`: the flags, and those fields that it names. Read `script` first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FILLERS = ("NOP", "EOL")


@dataclass(slots=True)
class Row:
    """One thing that was compared."""

    name: str
    wanted: str
    actual: str
    same: bool


def rows_of_line(line: str, flags: str, fields: Mapping[str, object]) -> list[Row]:
    """By a line: its first word is the flags in Scapy's letters, the others are `name=value`."""
    first, *words = line.split() or [""]
    rows = [Row("flags", first, flags, first == flags)]
    for word in words:
        name, _, wanted = word.partition("=")
        actual = str(fields[name]) if name in fields else "there is no such field"
        rows.append(Row(name, wanted, actual, wanted == actual))
    return rows


def rows_of_packet(wanted: Any, actual: Any) -> list[Row]:
    """By a Scapy packet, anything in front of its first layer left out of account."""
    first = type(wanted)
    there = actual.getlayer(first) if actual is not None else None
    if there is None:
        return [Row(wanted.name, "", "not there", False)]
    rows: list[Row] = []
    while True:
        rows += _fields(wanted, there)
        wanted, there = wanted.payload, there.payload
        if wanted.name == "Raw" and there and there.name not in ("Raw", "Padding"):
            there = type(wanted)(bytes(there))  # some layer is bound to the port
        if not wanted or type(wanted) is not type(there):
            break
    anything = wanted.name == "Raw" and not wanted.fields and there
    padding = not wanted and there.name == "Padding"
    if not anything and not padding and (wanted or there):
        rows.append(_payload(wanted, there))
    return rows


def _given(layer: Any) -> dict[str, Any]:
    """The fields of an expected layer that a test has set: Scapy itself sets those that hold a list."""
    own = type(layer)().fields
    return {name: value for name, value in layer.fields.items() if name not in own or value != own[name]}


def _fields(wanted: Any, there: Any) -> list[Row]:
    rows = []
    for name, value in _given(wanted).items():
        actual = there.getfieldval(name)
        same = _same_options(value, actual) if name == "options" and isinstance(value, list) else actual == value
        shown = wanted.get_field(name)
        rows.append(Row(name, _text(shown, wanted, value), _text(shown, there, actual), bool(same)))
    return rows


def _payload(wanted: Any, there: Any) -> Row:
    """Something where nothing should be, nothing where something should, or another layer."""

    def what(layer: Any) -> str:
        return f"{layer.name}, {len(layer)} octets" if layer else "nothing"

    return Row("payload", what(wanted), what(there), False)


def _same_options(wanted: Sequence[Any], actual: Sequence[Any]) -> bool:
    """In this order; NOP and EOL count only where the test has some; None in place of a value, or in it, is any."""
    names = [name for name, _ in wanted]
    actual = [option for option in actual if option[0] not in _FILLERS or option[0] in names]
    return len(wanted) == len(actual) and all(
        one[0] == other[0] and _same_value(one[1], other[1]) for one, other in zip(wanted, actual, strict=True)
    )


def _same_value(wanted: Any, actual: Any) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, tuple) and isinstance(actual, tuple):
        return len(wanted) == len(actual) and all(map(_same_value, wanted, actual))
    return bool(wanted == actual)


def _text(field: Any, layer: Any, value: Any) -> str:
    if isinstance(value, bytes):
        return f"{value[:24]!r}{'...' if len(value) > 24 else ''} ({len(value)} octets)"
    try:
        return str(field.i2repr(layer, value))
    except Exception:  # a value that the field cannot show (None inside of an option)
        return repr(value)


def text_of(wanted: Any) -> str:
    """An expected packet in a line: its layers with the fields that were given."""
    layers = []
    while wanted:
        given = [f"{name}={_text(wanted.get_field(name), wanted, value)}" for name, value in _given(wanted).items()]
        layers.append(f"{wanted.name}({', '.join(given)})")
        wanted = wanted.payload
    return " / ".join(layers)


def side_by_side(rows: Sequence[Row]) -> list[str]:
    """What was compared as a table: the field, what was expected, what there is, and a mark where they differ."""
    table = [("", "expected", "actual", ""), *((r.name, r.wanted, r.actual, "" if r.same else "<--") for r in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]]).rstrip()
        for line in table
    ]
