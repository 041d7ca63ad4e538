"""Curves over time: octets in flight with the windows, round-trip times with the RTO, and throughput.

A capture shows the flight, the receiver's window, samples of the round trip and the throughput; what only the
sender knows (cwnd, ssthresh, smoothed round trip, RTO, its own rate) is drawn where there is a trace of it.
"""

from __future__ import annotations

from scapystack.layers.tcp.congestion.control import INFINITE_SSTHRESH
from scapystack.layers.tcp.info import UNLIMITED
from scapystack.plot.analysis import Points, analysed, rates
from scapystack.plot.canvas import Axes, legend_below, plain_numbers, time_axis
from scapystack.plot.flow import SIDES, Flow

_FAR = 4
"""A receiver's window so many times as large as all else goes out of the picture, and its legend says how far."""


def window(picture: object, axes: Axes, flow: Flow, side: int, colours: dict[str, str]) -> None:
    """What `side` has in flight, and what bounds it."""
    found = analysed(flow, side)
    factor = time_axis(axes, flow.lasts)
    axes.set_ylabel("octets")
    plain_numbers(axes.yaxis)
    axes.set_title(f"{flow.title}\nin flight from the {SIDES[side]}, and its windows")
    _steps(axes, found.flight, factor, colours["again"], "in flight")
    highest = max((y for _, y in found.flight), default=0.0)
    if flow.traced == side:
        cwnd = _variable(flow, "snd_cwnd_bytes")
        ssthresh = [(at, y) for at, y in _variable(flow, "snd_ssthresh_bytes") if y < INFINITE_SSTHRESH]
        _steps(axes, cwnd, factor, colours["own"], "cwnd", 1.5)
        _steps(axes, ssthresh, factor, colours["ack"], "ssthresh", 1.2, "--")
        highest = max([highest] + [y for _, y in cwnd + ssthresh])
    offered = max((y for _, y in found.windows), default=0)
    far = 0 < highest * _FAR < offered
    _steps(axes, found.windows, factor, colours["window"], "receiver's window" + f" (to {offered:,})" * far)
    axes.set_ylim(0, highest * 1.15 if far else None)
    legend_below(picture, axes)


def round_trip(picture: object, axes: Axes, flow: Flow, side: int, colours: dict[str, str]) -> None:
    """How long the text of `side` takes to be acknowledged, as the recording shows it; with a trace srtt and RTO."""
    found = analysed(flow, side)
    factor = time_axis(axes, flow.lasts)
    axes.set_ylabel("round trip (ms)")
    axes.set_title(f"{flow.title}\nround trips of what the {SIDES[side]} sent")
    if found.rtts:
        xs, ys = zip(*found.rtts, strict=True)
        axes.plot([x * factor for x in xs], [y * 1e3 for y in ys], ".-", color=colours["again"], linewidth=0.6,
                  markersize=4, label="sample", gid="samples")  # fmt: skip
    if flow.traced == side:
        known = [(at, event) for at, event in flow.events if event["rtt"] and event["state"] != "CLOSED"]
        smoothed = [(at, event["rtt"] / 1e3) for at, event in known]
        deviation = [(at, event["rttvar"] / 1e3) for at, event in known]
        _steps(axes, smoothed, factor, colours["own"], "smoothed", 1.5)
        if smoothed:
            axes.fill_between(
                [at * factor for at, _ in smoothed],
                [max(y - v, 0) for (_, y), (_, v) in zip(smoothed, deviation, strict=True)],
                [y + v for (_, y), (_, v) in zip(smoothed, deviation, strict=True)],
                step="post", color=colours["own"], alpha=0.15, label="± rttvar",
            )  # fmt: skip
        _steps(axes, [(at, y / 1e3) for at, y in _variable(flow, "rto")], factor, colours["mark"], "RTO", 1.2)
    axes.set_ylim(bottom=0)
    legend_below(picture, axes)


def throughput(picture: object, axes: Axes, flow: Flow, side: int, colours: dict[str, str]) -> None:
    """Octets of text a second, in intervals; what was sent again stands above what was new."""
    width, slots = rates(flow, side)
    factor = time_axis(axes, flow.lasts)
    most = max((new + again for _, new, again in slots), default=0.0) / width
    unit, scale = next((u, s) for u, s in (("MB", 1e6), ("kB", 1e3), ("B", 1.0)) if most >= s or s == 1)
    axes.set_ylabel(f"throughput ({unit}/s)")
    axes.set_title(f"{flow.title}\nthroughput of the {SIDES[side]}, in intervals of {_span(width)}")
    xs = [at * factor for at, _, _ in slots]
    new = [n / width / scale for _, n, _ in slots]
    again = [n / width / scale for _, _, n in slots]
    size = {"width": width * factor, "align": "edge"}
    axes.bar(xs, new, color=colours["window"], label="new text", gid="new", **size)
    if any(again):
        axes.bar(xs, again, bottom=new, color=colours["again"], label="sent again", gid="again", **size)
    total, average = 0.0, []
    for at, octets, _ in slots:
        total += octets
        average.append(((at + width) * factor, total / (at + width) / scale))
    axes.plot(*zip(*average, strict=True), color=colours["own"], label="average so far", gid="average")
    if flow.traced == side:
        told = [(at, y / scale) for at, y in _variable(flow, "delivery_rate") if y]
        _steps(axes, told, factor, colours["ack"], "delivery rate", 1.0)
        paced = [(at, y / scale) for at, y in _variable(flow, "pacing_rate") if y < UNLIMITED]
        _steps(axes, paced, factor, colours["sack"], "pacing rate", 1.0, "--")
    axes.use_sticky_edges = False  # room above the highest bar
    axes.autoscale_view()
    axes.set_ylim(bottom=0)
    legend_below(picture, axes)


def _span(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1e3:g} ms"


def _variable(flow: Flow, name: str) -> Points:
    """A variable of the traced side at each event, without the moments after its end."""
    return [(at, event[name]) for at, event in flow.events if event["state"] != "CLOSED"]


def _steps(
    axes: Axes, points: Points, factor: float, colour: str, name: str, width: float = 1.0, line: str = "-"
) -> None:
    if points:
        xs, ys = [at * factor for at, _ in points], [y for _, y in points]
        axes.step(xs, ys, line, where="post", color=colour, linewidth=width, label=name, gid=name)
