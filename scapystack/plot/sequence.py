"""The time-sequence graph, with the labels and colours of tcptrace.

Data as arrows from the first to the last number, R and red where it is sent again, O where it came out of
order; the green line is what was acknowledged, the yellow one how far the window reaches, a tick where it was
said again; purple what was SACKed, S at the block that an ACK tells of first, D what the receiver got twice;
3 the third duplicate ACK, Z a closed window, P a window probe, K a keep-alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from scapystack.plot.analysis import AGAIN, KEEPALIVE, LATE, NEW, PROBE, Direction, analysed
from scapystack.plot.canvas import Axes, legend_below, letters, plain_numbers, time_axis
from scapystack.plot.flow import SIDES, Flow, Seen

_UP, _DOWN = 2, 3
"""matplotlib's ticks."""
_ROOM = 1.35
"""A window that reaches further above the data than this (in their height) is not drawn to its end."""


def draw(picture: object, axes: Axes, flow: Flow, side: int, colours: dict[str, str]) -> None:
    """Draw what `side` has sent."""
    found = analysed(flow, side)
    factor = time_axis(axes, flow.lasts)
    axes.set_ylabel("sequence number (the SYN is 0)")
    plain_numbers(axes.yaxis)
    axes.set_title(f"{flow.title}\ntime-sequence graph: what the {SIDES[side]} sent")
    _arrows(axes, found.of(NEW), factor, colours["data"], "data")
    _arrows(axes, found.of(LATE), factor, colours["late"], "out of order")
    _arrows(axes, found.of(AGAIN), factor, colours["again"], "sent again")
    _arrows(axes, found.of(PROBE, KEEPALIVE), factor, colours["probe"], "probe")
    _answers(axes, found, factor, colours)
    for kind, letter, colour in ((AGAIN, "R", "again"), (LATE, "O", "late"), (PROBE, "P", "probe"),
                                 (KEEPALIVE, "K", "probe")):  # fmt: skip
        letters(axes, [(s.at * factor, s.end) for s in found.of(kind)], letter, colours[colour], f"{letter} labels")
    for word, colour in (("SYN", "mark"), ("FIN", "mark"), ("RST", "mark"), ("U", "urgent"), ("CWR", "ecn"),
                         ("ECE", "ecn")):  # fmt: skip
        points = [(at * factor, number) for at, number, name in found.marks if name == word]
        letters(axes, points, word, colours[colour], f"{word} labels", 12)
    _limit(axes, found)
    legend_below(picture, axes)


def _arrows(axes: Axes, sent: Sequence[Seen], factor: float, colour: str, name: str) -> None:
    """From the first to the last number of each segment, with tcptrace's heads at both ends."""
    if not sent:
        return
    times = [seen.at * factor for seen in sent]
    starts, ends = [seen.start for seen in sent], [seen.end for seen in sent]
    axes.vlines(times, starts, ends, color=colour, linewidth=1, label=name, gid=name, zorder=3)
    axes.plot(times, ends, "^", color=colour, markersize=2.5, zorder=3)
    axes.plot(times, starts, "v", color=colour, markersize=2.5, zorder=3)


def _answers(axes: Axes, found: Direction, factor: float, colours: dict[str, str]) -> None:
    def steps(points: list[tuple[float, float]], colour: str, name: str) -> None:
        if points:
            xs, ys = [at * factor for at, _ in points], [number for _, number in points]
            axes.step(xs, ys, where="post", color=colours[colour], linewidth=1, label=name, gid=name, zorder=2)

    def ticks(points: list[tuple[float, float]], colour: str, marker: int, name: str) -> None:
        same = [(at * factor, y) for (_, before), (at, y) in pairwise(points) if y == before]
        if same:
            axes.plot(*zip(*same, strict=True), linestyle="none", marker=marker, markersize=3, color=colours[colour],
                      gid=name, zorder=2)  # fmt: skip

    steps(found.acks, "ack", "ACK")
    steps(found.edges, "window", "window")
    ticks(found.acks, "ack", _DOWN, "ACK ticks")
    ticks(found.edges, "window", _UP, "window ticks")
    for double, letter, name in ((False, "S", "SACK"), (True, "D", "D-SACK")):
        blocks = [(at * factor, left, right) for at, left, right, twice, _ in found.sacks if twice == double]
        if blocks:
            times, lefts, rights = zip(*blocks, strict=True)
            axes.vlines(times, lefts, rights, color=colours["sack"], linewidth=1, label=name, gid=name, zorder=2)
            newest = [(at * factor, right) for at, _, right, twice, first in found.sacks if first and twice == double]
            letters(axes, newest, letter, colours["sack"], f"{letter} labels", 14)  # above an R at the same place
    letters(axes, [(at * factor, y) for at, y in found.third], "3", colours["ack"], "3 labels", -7)
    letters(axes, [(at * factor, y) for at, y in found.closed], "Z", colours["window"], "Z labels", -7)


def _limit(axes: Axes, found: Direction) -> None:
    """Let a window that reaches far beyond the data not make them small: the picture ends below it, and says so."""
    top = max([seen.end for seen, _ in found.sent] + [int(y) for _, y in found.acks], default=0)
    highest = max((edge for _, edge in found.edges), default=0)
    axes.margins(x=0.03, y=0.08)
    if top and highest > top * _ROOM:
        axes.set_ylim(-0.06 * top, top * 1.12)
        axes.text(
            0.995, 0.99, f"window: up to {highest:,.0f}", transform=axes.transAxes, ha="right", va="top",
            fontsize="small", gid="window above",
        )  # fmt: skip
