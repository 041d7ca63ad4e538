"""A ladder diagram as text: a column for each member, time downwards, an arrow for each frame.

    ms  client                                                     server
40.000  |-- Flags [S], seq 7, win 64240, length 0 --------------------->|  60.000
60.000  |<-- Flags [S.], seq 3, ack 8, win 65160, length 0 -------------|  80.000
80.000  |-- Flags [.], ack 1, win 502, length 0 ------------- X         |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_ADDRESSES = re.compile(r"^IP6? \S+ > \S+: ")
_OPTIONS = re.compile(r", options \[[^]]*\]")


@dataclass(slots=True)
class Arrow:
    """A frame: when it left (s), from whom to whom, what it says, and when it arrives: never, once, several times.

    `arrivals` None is for what was seen in one place: nobody knows.
    """

    at: float
    source: str
    target: str
    text: str
    arrivals: Sequence[float] | None


def draw(names: Sequence[str], arrows: Sequence[Arrow], width: int) -> str:
    """The diagram; `width` characters between one column and the next."""
    lines = [f"{'ms':>12}  " + "".join(f"{name:<{width}}" for name in names).rstrip()]
    places = {name: n * width for n, name in enumerate(names)}
    for arrow in arrows:
        row = [" "] * (places[names[-1]] + 1)
        for place in places.values():
            row[place] = "|"
        _arrow(
            row,
            places[arrow.source],
            places[arrow.target],
            label(arrow.text),
            lost=arrow.arrivals is not None and not arrow.arrivals,
        )
        when = ", ".join(f"{at * 1e3:.3f}" for at in arrow.arrivals or ())
        lines.append(f"{arrow.at * 1e3:12.3f}  {''.join(row)}  {when}".rstrip())
    return "\n".join(lines)


def label(text: str) -> str:
    """What a line of `describe` says beside the addresses, without TCP's options."""
    return _OPTIONS.sub("", _ADDRESSES.sub("", text))


def _arrow(row: list[str], source: int, target: int, label: str, *, lost: bool) -> None:
    """Draw it between two columns, over those between them; one that is lost ends at an X."""
    left, right = min(source, target) + 1, max(source, target)
    room = right - left
    reach = room * 4 // 5 if lost else room
    label = label if len(label) <= reach - 8 else label[: max(reach - 11, 0)] + "..."
    line = f"-- {label} ".ljust(reach - 2, "-")
    if target > source:
        line += " X" if lost else "->"
        row[left : left + reach] = line
    else:
        line = ("X " if lost else "<-") + f" {label} --".rjust(reach - 2, "-")
        row[right - reach : right] = line
