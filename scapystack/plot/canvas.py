"""Where pictures are made: matplotlib, brought in when the first one is asked for, and what they all share."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from scapystack.base.errors import ConfigError, ScapystackError

Figure: TypeAlias = Any
Axes: TypeAlias = Any

FORMATS = (".png", ".svg")
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "scapystack", "font.size": 9, "axes.grid": True, "grid.alpha": 0.25}
"""With text as text in SVG, and the same figures making the same file."""
_DPI = 110
_MOST_PIXELS = 30_000

TCPTRACE = {
    "data": "black", "again": "red", "late": "deeppink", "ack": "green", "window": "#d0a800", "sack": "purple",
    "mark": "darkorange", "probe": "darkorange", "urgent": "red", "ecn": "#d0a800", "own": "royalblue",
}  # fmt: skip
"""The colours of tcptrace; what is white on its black ground is black here, and yellow dark enough to be seen.
`own` is for what tcptrace does not draw."""
DARK = TCPTRACE | {
    "data": "white",
    "window": "yellow",
    "ack": "lime",
    "sack": "violet",
    "ecn": "yellow",
    "own": "deepskyblue",
}


def style(dark: bool) -> Any:
    """The settings of matplotlib in which a picture is made and written: a context manager.

    Raises ScapystackError, with what to do, where matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context  # noqa: PLC0415
        from matplotlib import style as styles  # noqa: PLC0415
    except ImportError:
        raise ScapystackError("pictures need matplotlib: pip install 'scapystack[plot]'") from None
    return rc_context(dict(styles.library["dark_background"]) | _STYLE if dark else _STYLE)


def figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """An empty one, in inches."""
    return _picture_class()(figsize=(width, height), dpi=_DPI, layout="constrained" if constrained else None)


@cache
def _picture_class() -> Any:
    from matplotlib.figure import Figure as Made  # noqa: PLC0415

    class Picture(Made):  # type: ignore[misc, unused-ignore] # mypy does not follow into matplotlib
        """A figure that shows itself in a notebook, opens a window (`show`) and writes itself (`save`)."""

        def _repr_png_(self) -> bytes:
            written = io.BytesIO()
            with style(False):
                self.savefig(written, format="png")
            return written.getvalue()

        def show(self, warn: bool = True) -> None:
            """Open a window, until it is closed. Raises ConfigError where there is no screen."""
            show(self)

        def save(self, path: str | Path) -> None:
            """Write it as PNG or SVG, as the name ends. Raises ConfigError for another ending, OSError."""
            save(self, path)

    return Picture


def save(picture: Figure, path: str | Path) -> None:
    """Write a picture as PNG or SVG, as the name ends. Raises ConfigError for another ending, OSError."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: a picture's name ends in {' or '.join(FORMATS)}")
    if suffix == ".png" and max(picture.get_size_inches()) * picture.dpi > _MOST_PIXELS:
        raise ConfigError(f"{path} would have more than {_MOST_PIXELS:,} pixels a side: choose .svg, or fewer packets")
    with style(False):
        picture.savefig(path, metadata={"Date": None} if suffix == ".svg" else None)


def show(picture: Figure) -> None:
    """Open a window with the picture; returns when it is closed. Raises ConfigError where there is no screen."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ConfigError("there is no screen to show a picture on: give -o FILE.png or FILE.svg")
    from matplotlib import pyplot  # noqa: PLC0415

    manager = pyplot.new_figure_manager_given_figure(1, picture)
    manager.show()
    pyplot.show()


def time_axis(axes: Axes, seconds: float) -> float:
    """Name the axis of time; by how much seconds are to be multiplied for it."""
    unit, factor = ("s", 1.0) if seconds >= 2 else ("ms", 1e3) if seconds >= 2e-3 else ("µs", 1e6)
    axes.set_xlabel(f"time ({unit})")
    return factor


def plain_numbers(axis: Any) -> None:
    """Whole numbers with commas on an axis."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter  # noqa: PLC0415

    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def legend_below(picture: Figure, axes: Axes) -> None:
    """The legend under the picture, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        picture.legend(handles, labels, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)


def letters(
    axes: Axes, points: Sequence[tuple[float, float]], text: str, colour: str, name: str, above: float = 6
) -> None:
    """A word at each of these points, `above` points over it; `gid` is the name, for who counts them."""
    if not points:
        return
    from matplotlib.transforms import ScaledTranslation  # noqa: PLC0415

    xs, ys = zip(*points, strict=True)
    lifted = axes.transData + ScaledTranslation(0, above / 72, axes.figure.dpi_scale_trans)
    axes.plot(
        xs, ys, linestyle="none", marker=f"$\\mathrm{{{text}}}$", markersize=4 + 2.6 * len(text), color=colour,
        transform=lifted, gid=name, markeredgewidth=0.3, zorder=4,
    )  # fmt: skip
