"""A ladder diagram: time downwards, a column for each side, an arrow for each packet; as text, or as a picture.

A capture knows one time for each packet, so arrows are level and lost ones look as the others do: what was sent
again is marked. The text is that of `sim.ladder`; `exchange` says what stands at the arrows.
"""

from __future__ import annotations

from scapystack.plot.canvas import Axes, Figure, figure
from scapystack.plot.exchange import Exchange
from scapystack.plot.sources import Source, exchange_of
from scapystack.sim.ladder import Arrow
from scapystack.sim.ladder import draw as as_text

MOST = 200
"""Packets that are drawn unless more are asked for."""
_ROW, _TITLE, _EDGE = 0.27, 0.45, 0.1
"""In inches: a row, the title above, what stays empty around."""
_COLUMNS, _TIMES = (1.5, 9.2), 1.3
"""In tenths of the width: the two sides, and the end of the times."""
_LONGEST = 78


def text(source: Source, conversation: int | None = None, *, most: int = MOST, width: int = 84) -> str:
    """The ladder in lines, `width` characters between the columns. Raises as `sources.exchange_of`."""
    shown = exchange_of(source, conversation, most)
    arrows = [Arrow(rung.at, shown.ends[rung.side], shown.ends[1 - rung.side], rung.text, None) for rung in shown.rungs]
    return "\n".join([shown.title, as_text(shown.ends, arrows, width), *_left_out(shown)])


def _left_out(shown: Exchange) -> list[str]:
    return [f"... and {shown.left_out} more packets"] if shown.left_out else []


def draw(shown: Exchange, colours: dict[str, str], ink: str) -> Figure:
    """The picture, as high as it has arrows."""
    rows = len(shown.rungs)
    height = _TITLE + _ROW * (rows + 2) + _EDGE
    made = figure(9, height, constrained=False)
    axes = made.add_axes((0.01, _EDGE / height, 0.98, 1 - (_TITLE + _EDGE) / height))
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(rows + 1, -1)
    axes.set_title(shown.title)
    for x, name in zip(_COLUMNS, shown.ends, strict=True):
        axes.text(x, -0.45, name, ha="center", va="center", weight="bold", color=ink)
        axes.plot([x, x], [0, rows + 0.2], color=ink, linewidth=0.8)
    for colour in {rung.colour: None for rung in shown.rungs}:
        for side in (0, 1):
            of = [row for row, rung in enumerate(shown.rungs, 1) if (rung.colour, rung.side) == (colour, side)]
            _arrows(axes, of, side, colours[colour])
    for row, rung in enumerate(shown.rungs, 1):
        said = rung.text if len(rung.text) <= _LONGEST else rung.text[: _LONGEST - 3] + "..."
        axes.text(sum(_COLUMNS) / 2, row - 0.12, said, ha="center", va="bottom", fontsize=7.5, family="monospace",
                  color=colours[rung.colour], gid="label")  # fmt: skip
        axes.text(_TIMES, row, f"{rung.at * 1e3:,.3f}", ha="right", va="center", fontsize=7.5, color=ink, gid="time")
    axes.text(_TIMES, 0.2, "ms", ha="right", va="center", fontsize=7.5, color=ink)
    for line in _left_out(shown):
        axes.text(sum(_COLUMNS) / 2, rows + 0.7, line, ha="center", va="center", fontsize=8, color=ink)
    return made


def _arrows(axes: Axes, rows: list[int], side: int, colour: str) -> None:
    """All of one colour and way are two artists: 200 arrows of their own take matplotlib two seconds."""
    if not rows:
        return
    target = _COLUMNS[1 - side]
    axes.hlines(rows, *_COLUMNS, color=colour, linewidth=1, gid="arrow")
    axes.plot([target + (0.06 if side else -0.06)] * len(rows), rows, "<" if side else ">", color=colour, markersize=5)
