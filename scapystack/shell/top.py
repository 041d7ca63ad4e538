"""`top`: the connections again and again, with their rates since the last look."""

from __future__ import annotations

import click

from scapystack.base.types import SECOND, Nanoseconds
from scapystack.describe import clock_text
from scapystack.layers.tcp.info import TcpInfo
from scapystack.shell.conn import number_all
from scapystack.shell.ground import Interrupted
from scapystack.shell.output import columns
from scapystack.shell.params import POSITIVE
from scapystack.shell.session import Session

_HEADER = ("No", "State", "Local", "Peer", "In/s", "Out/s", "Cwnd", "Flight", "RTT", "RTO", "Retrans", "Congestion")
_RIGHT = (0, 4, 5, 6, 7, 8, 9, 10)
_FRAME = 3  # lines around the table


@click.command("top")
@click.option("-d", "delay", type=POSITIVE, default=1.0, metavar="S", help="Seconds between two looks (1).")
@click.option("-n", "count", type=click.IntRange(min=1), metavar="N", help="End after N looks.")
@click.option("-b", "batch", is_flag=True, help="One look below the other instead of over it.")
@click.pass_obj
def top_command(session: Session, delay: float, count: int | None, batch: bool) -> None:
    """A live view of connections: octets a second each way, congestion window, round trip.

    q or Ctrl-C ends it, any other key looks at once. As JSON it is one look, with the rates of the time between it
    and one before.
    """
    if session.out.json:
        _once(session, delay)
        return
    view = _View(session)
    looks = 0
    live = session.out.terminal and not batch
    size = 0, 0
    try:
        while True:
            lines = view.look()
            if live:
                size = _draw(session, lines)
            else:
                for text in lines:
                    session.out.line(text)
            looks += 1
            if looks == count:
                return
            if not live:
                session.sleep(delay)
            elif _rest(session, lines, size, delay):
                return
    except Interrupted:
        return


def _draw(session: Session, lines: list[str]) -> tuple[int, int]:
    """Over the last ones, and away with what was below: no flicker. For a terminal of which width and height."""
    out = session.out
    width, height = size = out.width, out.height
    out.raw(b"\x1b[H" + b"".join(f"{text[:width]}\x1b[K\n".encode() for text in lines[: height - 1]))
    out.raw(b"\x1b[J")
    return size


def _rest(session: Session, lines: list[str], size: tuple[int, int], delay: float) -> bool:
    """Until it is time to look again, or a key is hit; whether that was q. A terminal of a new size is drawn anew."""
    until = session.now + round(delay * SECOND)
    out = session.out
    while session.now < until:
        typed = session.input(keys=True)
        if typed:
            return typed.lower().startswith(b"q")
        session.wait(until)
        if (out.width, out.height) != size:
            size = _draw(session, lines)
    return False


def _once(session: Session, delay: float) -> None:
    view = _View(session)
    view.look()
    session.sleep(delay)
    view.look()
    session.out.show([view.facts(number) for number in view.rates], ())


class _View:
    """What was seen last, to know what came since."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.rates: dict[int, tuple[float, float]] = {}
        """Octets a second that came and went, by the connection's number, the busiest first."""
        self._last: dict[int, tuple[TcpInfo, Nanoseconds]] = {}
        self._cleared = False
        if session.out.terminal and not session.out.json:
            session.out.clear()

    def look(self) -> list[str]:
        """The lines now; the busiest connection first."""
        session = self._session
        with session.net() as net:
            now = net.core.now
            number_all(session, net)
            infos = {number: c.info() for number, c in session.numbers.items()}
            frames = [(i.name, i.rx_frames, i.tx_frames) for i in net.interfaces if not i.loopback]
            dropped = sum(net.counters.drops().values())
        rates = {number: self._rate(number, info, now) for number, info in infos.items()}
        self.rates = dict(sorted(rates.items(), key=lambda item: (-sum(item[1]), item[0])))
        self._last = {number: (info, now) for number, info in infos.items()}
        passed = ", ".join(f"{name} in {rx:,} out {tx:,} frames" for name, rx, tx in frames)
        states: dict[str, int] = {}
        for info in infos.values():
            states[info.state] = states.get(info.state, 0) + 1
        told = ", ".join(f"{n} {name}" for name, n in sorted(states.items())) or "none"
        return [
            f"{clock_text(session.wall(now))[:8]}  {passed}; dropped {dropped:,}",
            f"connections: {told}",
            "",
            *columns(_HEADER, [self._row(number) for number in self.rates], right=_RIGHT),
        ]

    def _rate(self, number: int, info: TcpInfo, now: Nanoseconds) -> tuple[float, float]:
        before, at = self._last.get(number, (info, now))
        seconds = (now - at) / SECOND
        if not seconds:
            return 0.0, 0.0
        came, went = info.bytes_received - before.bytes_received, info.bytes_acked - before.bytes_acked
        return came / seconds, went / seconds

    def _row(self, number: int) -> tuple[object, ...]:
        info = self._last[number][0]
        came, went = self.rates[number]
        return (
            number, info.state, info.local, info.remote, octets(came), octets(went), info.snd_cwnd,
            octets(info.pipe), f"{info.rtt / 1000:.2f}ms" if info.rtt else "-", f"{info.rto / 1000:.0f}ms",
            info.total_retrans, info.congestion,
        )  # fmt: skip

    def facts(self, number: int) -> dict[str, object]:
        """The same for a program: octets a second, and times in milliseconds."""
        info = self._last[number][0]
        came, went = self.rates[number]
        return {
            "no": number, "state": info.state, "local": info.local, "peer": info.remote, "in_per_s": round(came),
            "out_per_s": round(went), "cwnd": info.snd_cwnd, "flight": info.pipe, "rtt_ms": info.rtt / 1000,
            "rto_ms": info.rto / 1000, "retrans": info.total_retrans, "congestion": info.congestion,
        }  # fmt: skip


def octets(n: float) -> str:
    """A number of octets for a narrow column: `0`, `812`, `1.4K`, `23M`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if n >= size:
            return f"{n / size:.1f}{unit}" if n < 10 * size else f"{n / size:.0f}{unit}"
    return f"{n:.0f}"
