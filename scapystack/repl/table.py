"""Tables as text: the variables of a connection, and the connections of a stack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from scapystack.layers.tcp.info import TcpInfo

_GROUPS = {
    "send sequence space": ("iss", "snd_una", "snd_nxt", "snd_wnd", "snd_wl1", "snd_wl2", "snd_up", "snd_wscale"),
    "receive sequence space": ("irs", "rcv_nxt", "rcv_wnd", "rcv_up", "rcv_wscale", "ooo_bytes", "ooo_segments"),
    "round trip": ("rtt", "rttvar", "min_rtt", "rto", "backoff", "retransmits", "rcv_rtt"),
    "congestion": (
        "congestion", "ca_state", "snd_cwnd_bytes", "snd_ssthresh_bytes", "pipe", "sacked", "lost", "retrans",
        "total_retrans", "delivery_rate",
    ),
    "segments": ("snd_mss", "rcv_mss", "pmtu", "options", "segs_out", "segs_in", "data_segs_out", "data_segs_in"),
    "queues": ("snd_queue", "notsent_bytes", "rcv_queue", "error", "soft_error"),
    "timers due in us": ("due",),
}  # fmt: skip


def grid(rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need to be."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in texts)


class Table:
    """The variables of one moment: `t.snd_nxt`, `t["snd_nxt"]`, `t.of` (the `TcpInfo`), and a table when shown."""

    def __init__(self, of: TcpInfo) -> None:
        self.of = of

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self.of, name)
        except AttributeError:
            raise KeyError(name) from None

    def __repr__(self) -> str:
        pairs = [(each.name, str(getattr(self.of, each.name))) for each in fields(self.of) if each.name != "due"]
        half = -(-len(pairs) // 2)
        right = pairs[half:] + [("", "")] * (half - len(pairs[half:]))
        rows = [(*a, *b) for a, b in zip(pairs[:half], right, strict=True)]
        due = ", ".join(f"{name} in {span / 1000:g} ms" for name, span in self.of.due.items()) or "none runs"
        return f"{grid(rows)}\ntimers  {due}"


def show_variables(title: str, info: TcpInfo) -> str:
    """The variables in groups."""
    lines = [title]
    for name, members in _GROUPS.items():
        lines.append(f"  {name}")
        lines += [f"    {member:18} {getattr(info, member)}" for member in members]
    return "\n".join(lines)


class Connections(list[Any]):
    """A list of handles that shows itself as a table: `conns()[0]`."""

    def __repr__(self) -> str:
        if not self:
            return "no connections"
        rows: list[Sequence[object]] = [("#", "local", "remote", "state", "sendq", "recvq", "cwnd", "rtt ms")]
        for number, info in enumerate(self._infos()):
            rows.append(
                (
                    number, info.local, info.remote, info.state, info.snd_queue, info.rcv_queue, info.snd_cwnd_bytes,
                    f"{info.rtt / 1000:g}",
                )
            )  # fmt: skip
        return grid(rows)

    def _infos(self) -> Iterable[TcpInfo]:
        return [c.info().of for c in self]
