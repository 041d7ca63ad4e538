"""The state diagram of TCP, drawn from the table that the stack goes by, with the way that a connection took.

Only the places of the states are written down here; each arrow and its words are a row of `TRANSITIONS`. What ends
a connection early leads from nearly everywhere to CLOSED: a short arrow to a cross stands for it.
"""

from __future__ import annotations

from textwrap import fill
from typing import Any

from scapystack.layers.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    LISTEN,
    STATE_NAMES,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    TRANSITIONS,
)  # fmt: skip
from scapystack.plot.canvas import Axes, Figure, figure
from scapystack.plot.flow import SIDES, Flow
from scapystack.plot.states import Move, path

_PLACES = {
    CLOSED: (5.0, 11.2), LISTEN: (8.6, 11.2), SYN_RECEIVED: (1.6, 9.0), SYN_SENT: (8.4, 9.0), ESTABLISHED: (5.0, 7.0),
    FIN_WAIT_1: (1.6, 5.2), CLOSE_WAIT: (8.4, 5.2), FIN_WAIT_2: (1.6, 2.6), CLOSING: (5.0, 4.2), LAST_ACK: (8.4, 2.6),
    TIME_WAIT: (5.0, 1.4),
}  # fmt: skip
_END = (8.4, 0.4)
"""CLOSED stands twice: where connections begin, and where they end."""
_ASIDE = {(TIME_WAIT, CLOSED): (-0.35, -0.42)}
"""Words that would hide their arrow stand beside it."""
_ENDS_THERE = (LAST_ACK, TIME_WAIT)
_WIDE, _HIGH = 1.9, 0.5
_COLOURS = ("royalblue", "darkorange")


def draw(flow: Flow | None, side: int | None, dark: bool) -> Figure:
    """The diagram; with a flow the way of each side, or of one, in colour, its steps numbered with their times."""
    made = figure(9.5, 10.5)
    axes = made.subplots()
    axes.set_axis_off()
    axes.set_xlim(-0.1, 10.1)
    axes.set_ylim(-0.5, 11.7)
    ink, ground = ("white", "black") if dark else ("black", "white")
    ways: dict[int, list[Move]] = {}
    if flow is not None:
        sides = [side] if side is not None else [flow.traced] if flow.traced is not None else [0, 1]
        ways = {each: path(flow, each) for each in sides}
    axes.set_title("The states of TCP (RFC 9293 section 3.3.2)" if flow is None else f"{flow.title}\nstates")
    boxes = {state: _box(axes, STATE_NAMES[state], at, state, ways, ink, ground) for state, at in _PLACES.items()}
    end = _box(axes, "CLOSED", _END, -1, ways, ink, ground)
    for state, leads in TRANSITIONS.items():
        for new, words in leads.items():
            steps = [(each, n, move) for each, way in ways.items() for n, move in enumerate(way, 1)
                     if (move.old, move.new) == (state, new)]  # fmt: skip
            if new == CLOSED and state not in (*_ENDS_THERE, LISTEN):
                _cross(axes, state, steps, ink)
                continue
            target, there = (end, _END) if state in _ENDS_THERE and new == CLOSED else (boxes[new], _PLACES[new])
            _arrow(axes, boxes[state], target, steps, ink)
            (x, y), (to_x, to_y) = _PLACES[state], there
            aside = _ASIDE.get((state, new), (0.0, 0.0))
            _words(axes, (x + to_x) / 2 + aside[0], (y + to_y) / 2 + aside[1], words, steps, ink, ground)
    _explain(axes, ways, ink)
    return made


def _box(
    axes: Axes, name: str, at: tuple[float, float], state: int, ways: dict[int, list[Move]], ink: str, ground: str
) -> Any:
    from matplotlib.patches import FancyBboxPatch  # noqa: PLC0415

    x, y = at
    visited = [side for side, way in ways.items() if _visits(way, state)]
    colour = _COLOURS[visited[0]] if len(visited) == 1 else ink
    box = FancyBboxPatch(
        (x - _WIDE / 2, y - _HIGH / 2), _WIDE, _HIGH, boxstyle="round,pad=0.05", facecolor=ground, edgecolor=colour,
        linewidth=2.2 if visited else 0.8, zorder=3, gid=f"state {name}",
    )  # fmt: skip
    axes.add_patch(box)
    axes.text(x, y, name, ha="center", va="center", zorder=4, color=ink, weight="bold" if visited else "normal")
    return box


def _visits(way: list[Move], state: int) -> bool:
    """Whether a way leads to a state, or begins there; -1 is CLOSED as the end."""
    if state == CLOSED:
        return any(move.old == CLOSED for move in way)
    return any(move.new == (CLOSED if state == -1 else state) for move in way)


def _arrow(axes: Axes, source: Any, target: Any, steps: list[tuple[int, int, Move]], ink: str) -> None:
    from matplotlib.patches import FancyArrowPatch  # noqa: PLC0415

    def middle(box: Any) -> tuple[float, float]:
        return box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2

    for width, colour, alpha in [(0.8, ink, 0.45)] if not steps else [
        (5.0 - 3 * n, _COLOURS[side], 1.0) for n, (side, _, _) in enumerate(steps)
    ]:  # fmt: skip
        axes.add_artist(  # add_patch asks how far it reaches, which takes as long as drawing it: the limits are ours
            FancyArrowPatch(
                middle(source),
                middle(target),
                patchA=source,
                patchB=target,
                shrinkA=1,
                shrinkB=1,
                arrowstyle="-|>",
                mutation_scale=14,
                linewidth=width / 2,
                color=colour,
                alpha=alpha,
                zorder=2,
                gid="taken" if steps else "transition",
            )
        )


def _cross(axes: Axes, state: int, steps: list[tuple[int, int, Move]], ink: str) -> None:
    """The way to CLOSED from where it may end early: to the left of the states that stand there."""
    x, y = _PLACES[state]
    way = -1 if x < _WIDE else 1
    colour = _COLOURS[steps[0][0]] if steps else ink
    begin, stop = x + way * (_WIDE / 2 + 0.05), x + way * (_WIDE / 2 + 0.4)
    alpha = 1.0 if steps else 0.45
    axes.plot([begin, stop], [y, y], color=colour, linewidth=2 if steps else 0.8, alpha=alpha, zorder=2)
    axes.plot([stop], [y], "x", color=colour, markersize=8, alpha=alpha, zorder=2, gid="taken" if steps else "cross")
    for n, (side, number, move) in enumerate(steps):
        at = (stop - 0.12, y - 0.45 - 0.22 * n) if way < 0 or x > 5 else (stop + 0.15, y - 0.22 * n)
        axes.text(*at, _step(number, move), color=_COLOURS[side], fontsize=8, ha="right" if x > 5 else "left",
                  va="center", gid="step")  # fmt: skip


def _words(
    axes: Axes, x: float, y: float, words: str, steps: list[tuple[int, int, Move]], ink: str, ground: str
) -> None:
    text = fill(words, 24)
    lines = text.count("\n") + 1
    patch = {"facecolor": ground, "edgecolor": "none", "pad": 2}
    axes.text(x, y + 0.1 * len(steps), text, fontsize=7, ha="center", va="center", color=ink, bbox=patch, zorder=2.5,
              alpha=1.0 if steps else 0.75, gid="words")  # fmt: skip
    for n, (side, number, move) in enumerate(steps):
        below = y + 0.1 * len(steps) - 0.08 * lines - 0.1 - 0.22 * n
        axes.text(x, below, _step(number, move), fontsize=8, ha="center", va="center", color=_COLOURS[side],
                  bbox=patch, zorder=2.6, gid="step")  # fmt: skip


def _step(number: int, move: Move) -> str:
    at = f"{move.at:.3f} s" if move.at >= 1 else f"{move.at * 1e3:.1f} ms"
    return f"{number}.  {at}"


def _explain(axes: Axes, ways: dict[int, list[Move]], ink: str) -> None:
    words = [("x  to CLOSED: ABORT, reset, refused or timed out", ink)]
    words += [(f"{SIDES[side]}: {len(way)} moves, numbered, with their times", _COLOURS[side])
              for side, way in ways.items()]  # fmt: skip
    for n, (text, colour) in enumerate(words):
        axes.text(0.2, 0.6 - 0.35 * n, text, fontsize=8, color=colour, va="center", gid="key")
