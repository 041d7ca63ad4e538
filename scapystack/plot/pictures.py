"""`plot`: one picture of one conversation. Read `flow` for what goes in, `canvas` for what comes out."""

from __future__ import annotations

from collections.abc import Callable

from scapystack.base.errors import ConfigError
from scapystack.plot import curves, ladder, sequence, statechart
from scapystack.plot.canvas import DARK, TCPTRACE, Figure, figure, style
from scapystack.plot.flow import SIDES
from scapystack.plot.sources import Source, exchange_of, flow_of

_GRAPHS: dict[str, Callable[..., None]] = {
    "sequence": sequence.draw,
    "window": curves.window,
    "rtt": curves.round_trip,
    "throughput": curves.throughput,
}
KINDS = (*_GRAPHS, "ladder", "state")


def plot(
    source: Source, kind: str = "sequence", *, conversation: int | None = None, side: str | None = None,
    dark: bool = False, most: int = ladder.MOST,
) -> Figure:  # fmt: skip
    """A matplotlib `Figure` of a conversation: `save` writes it, `show` opens a window.

    `kind` is one of `KINDS`; `conversation` its number in the source (without one, the longest TCP conversation);
    `side` whose text a graph is about, `client` or `server` (without one, who sent more; of states both).
    A ladder has `most` packets at most, and may be of UDP, ICMP or ARP. Raises ConfigError for what does not exist,
    LinkError for a file that is neither a capture nor a trace, OSError, and ScapystackError where matplotlib is not
    installed.
    """
    if kind not in KINDS:
        raise ConfigError(f"no picture named {kind!r}; one of: {', '.join(KINDS)}")
    if side is not None and side not in SIDES:
        raise ConfigError(f"a side is client or server, not {side!r}")
    with style(dark):
        colours = DARK if dark else TCPTRACE
        if kind == "ladder":
            return ladder.draw(exchange_of(source, conversation, most), colours, "white" if dark else "black")
        flow = flow_of(source, conversation)
        if kind == "state":
            return statechart.draw(flow, None if side is None else SIDES.index(side), dark)
        about = flow.sender if side is None else SIDES.index(side)
        made = figure(9, 5.6)
        _GRAPHS[kind](made, made.subplots(), flow, about, colours)
    return made


def state_diagram(*, dark: bool = False) -> Figure:
    """The table of legal moves as a picture, without a connection."""
    with style(dark):
        return statechart.draw(None, None, dark)
