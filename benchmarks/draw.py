"""Pictures of what was measured: SVG, small and with its text as text. Needs matplotlib (the extra `bench`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.curves import Curve

Points = Sequence[tuple[float, float]]
AXES = {
    "connections": "connections (or endpoints)",
    "window": "octets in flight",
    "loss": "segments lost (%)",
    "disorder": "distance in segments",
    "routes": "routes",
    "fragments": "fragments of a datagram (or datagrams at once)",
}
_MARKS = "osD^v"


def available() -> bool:
    """Whether pictures can be drawn here."""
    return importlib.util.find_spec("matplotlib") is not None


def pyplot() -> Any:
    """matplotlib without a screen. Raises SystemExit with what to do where it is not installed."""
    try:
        import matplotlib  # noqa: PLC0415 - only who wants pictures needs it
    except ImportError:
        raise SystemExit("pictures need matplotlib: pip install 'scapystack[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    # the same figures make the same file
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scapystack", "font.size": 10})
    return plt


def save(figure: Any, path: Path) -> Path:
    """Write a picture and let go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot().close(figure)
    return path


def curves(results: Sequence[tuple[Curve, Points]], directory: Path, suffix: str = ".svg") -> list[Path]:
    """A picture for each group of curves; the files written."""
    plt = pyplot()
    groups: dict[str, list[tuple[Curve, Points]]] = {}
    for curve, points in results:
        groups.setdefault(curve.picture, []).append((curve, points))
    written = []
    for name, lines in groups.items():
        figure, axes = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
        for mark, (curve, points) in zip(_MARKS, lines, strict=False):
            axes.plot(*zip(*points, strict=True), marker=mark, markersize=4, label=curve.line)
        if name == "loss":
            axes.set_xscale("symlog", linthresh=0.1)
            axes.set_xticks([0, 0.1, 0.3, 1, 3, 10], ["0", "0.1", "0.3", "1", "3", "10"])
        elif name == "window":
            axes.set_xscale("log", base=2)
            sizes = [size for size, _ in lines[0][1]]
            axes.set_xticks(sizes, [f"{int(n) >> 20} MB" if n >= 1 << 20 else f"{int(n) >> 10} KB" for n in sizes])
        else:
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(AXES[name])
        axes.set_ylabel("CPU time of a packet (µs)")
        axes.grid(alpha=0.3)
        axes.legend()
        written.append(save(figure, directory / f"cost-{name}{suffix}"))
    return written


def history(runs: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """How each row went from run to run."""
    plt = pyplot()
    names = sorted({name for run in runs for name in run["rows"]})
    columns = 6
    lines = -(-len(names) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(2.4 * columns, 1.5 * lines), layout="constrained", squeeze=False
    )
    for axes, name in zip(grid.flat, names, strict=False):
        points = [(n, run["rows"][name]["median"]) for n, run in enumerate(runs) if name in run["rows"]]
        axes.plot(*zip(*points, strict=True), marker=".", linewidth=1)
        last = runs[points[-1][0]]["rows"][name]
        axes.set_title(f"{name}: {last['median']:,.3g} {last['unit']}", fontsize=8)
        axes.set_xlim(-0.5, len(runs) - 0.5)
        axes.set_ylim(0, 1.15 * max(value for _, value in points))
        axes.set_xticks(range(len(runs)), [run["commit"][:7] for run in runs] if len(runs) <= 6 else [""] * len(runs))
        axes.tick_params(labelsize=6)
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    return save(figure, path)
