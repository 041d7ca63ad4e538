"""A ladder diagram: time downwards, a column for each side, an arrow for each segment; as text, or as a picture.

A capture knows one time for each segment, so arrows are level and lost ones look as the others do: what was sent
again is marked. The text is that of `sim.ladder`.
"""

from __future__ import annotations

from scapystack.base.segment import FIN, RST, SYN
from scapystack.plot.analysis import AGAIN, KEEPALIVE, LATE, PROBE, analysed
from scapystack.plot.canvas import Figure, figure
from scapystack.plot.flow import OPENER, OTHER, Flow, Seen
from scapystack.plot.sources import Source, flow_of
from scapystack.sim.ladder import Arrow
from scapystack.sim.ladder import draw as as_text

MOST = 200
"""Segments that are drawn unless more are asked for."""
_ROW = 0.27
_LONGEST = 78
_SAID = {AGAIN: "sent again", LATE: "out of order", PROBE: "probe", KEEPALIVE: "keep-alive"}


def text(source: Source, conversation: int | None = None, *, most: int = MOST, width: int = 84) -> str:
    """The ladder in lines, `width` characters between the columns. Raises as `sources.flow_of`."""
    flow = flow_of(source, conversation)
    arrows = [
        Arrow(seen.at, flow.ends[seen.side], flow.ends[1 - seen.side], label, None)
        for seen, label in _labelled(flow)[:most]
    ]
    lines = [f"{flow.title}", as_text(flow.ends, arrows, width)]
    return "\n".join(lines + _left_out(flow, most))


def _labelled(flow: Flow) -> list[tuple[Seen, str]]:
    kinds = {id(seen): kind for side in (OPENER, OTHER) for seen, kind in analysed(flow, side).sent}
    labelled = []
    for seen in flow.seen:
        said = _SAID.get(kinds.get(id(seen), ""))
        labelled.append((seen, f"{seen.text} ({said})" if said else seen.text))
    return labelled


def _left_out(flow: Flow, most: int) -> list[str]:
    more = len(flow.seen) - most
    return [f"... and {more} more segments"] if more > 0 else []


def draw(flow: Flow, colours: dict[str, str], ink: str, most: int = MOST) -> Figure:
    """The picture, as high as it has segments."""
    shown = _labelled(flow)[:most]
    rows = len(shown)
    made = figure(9, 1.1 + _ROW * (rows + 2))
    axes = made.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 10)
    axes.set_ylim(rows + 1, -1)
    axes.set_title(flow.title)
    columns = (1.5, 9.5)
    for x, name in zip(columns, flow.ends, strict=True):
        axes.text(x, -0.45, name, ha="center", va="center", weight="bold", color=ink)
        axes.plot([x, x], [0, rows + 0.2], color=ink, linewidth=0.8)
    for row, (seen, label) in enumerate(shown, 1):
        source, target = columns[seen.side], columns[1 - seen.side]
        colour = _colour(seen, label, colours)
        axes.annotate("", (target, row), (source, row), gid="arrow",
                      arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0})  # fmt: skip
        said = label if len(label) <= _LONGEST else label[: _LONGEST - 3] + "..."
        axes.text(5.5, row - 0.12, said, ha="center", va="bottom", fontsize=7.5, family="monospace", color=colour,
                  gid="label")  # fmt: skip
        axes.text(1.3, row, f"{seen.at * 1e3:,.3f}", ha="right", va="center", fontsize=7.5, color=ink, gid="time")
    axes.text(1.3, 0.2, "ms", ha="right", va="center", fontsize=7.5, color=ink)
    for line in _left_out(flow, most):
        axes.text(5.5, rows + 0.7, line, ha="center", va="center", fontsize=8, color=ink)
    return made


def _colour(seen: Seen, label: str, colours: dict[str, str]) -> str:
    if label.endswith("(sent again)"):
        return colours["again"]
    if seen.flags & (SYN | FIN | RST):
        return colours["mark"]
    return colours["data"] if seen.length else colours["ack"]
