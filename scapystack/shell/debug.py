"""`debug`: the flow of packets and changes of state, layer by layer, as tapip's shell shows it.

In the foreground it prints until Ctrl-C; with `-n` a thread goes on printing while other commands run, until
`-c`. Every line is drawn from Scapy's dissection.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import click

from scapystack.base.addr import endpoint_text
from scapystack.base.frames import Frame
from scapystack.describe import Describer, clock_text
from scapystack.layers.tcp.state import STATE_NAMES, TRANSITIONS
from scapystack.shell.session import Session
from scapystack.shell.table import LEVELS
from scapystack.shell.watch import Moved, Seen, Watch

_PROTOCOLS = {"icmp": 1, "udp": 17, "tcp": 6}
_PARTS = tuple(level for level in LEVELS if level != "all")


@click.command("debug")
@click.option("-n", "background", is_flag=True, help="Go on showing it while other commands run.")
@click.option("-c", "clear", is_flag=True, help="Show nothing any more.")
@click.argument("levels", nargs=-1, type=click.Choice(LEVELS), metavar="dev|l2|arp|ip|icmp|udp|tcp|tcpstate|all ...")
@click.pass_obj
def debug_command(session: Session, background: bool, clear: bool, levels: tuple[str, ...]) -> None:
    """Show the flow of packets and changes of state on the chosen levels, until Ctrl-C.

    `dev` is every frame with its interface and length, `l2` its Ethernet header, the others are protocols as
    tcpdump writes them; `tcpstate` is what happens to connections.
    """
    if clear and (levels or background):
        raise click.UsageError("-c stands alone")
    if not levels and not clear:
        shown = " ".join(session.debug.levels) if session.debug is not None else "nothing"
        session.out.line(f"debug shows {shown}; the levels are {' '.join(LEVELS)}")
        return
    chosen = tuple(level for level in _PARTS if level in levels or "all" in levels)
    if session.debug is not None:
        session.debug.stop()
        session.debug = None
    if clear:
        return
    if background:
        session.debug = Debug(session, chosen)
        return
    lines = _Lines(session, chosen)
    with lines.watch(session.ring) as watch:
        try:
            while True:
                session.wait()
                _print(session, lines, watch)
        finally:
            _print(session, lines, watch)


class Debug:
    """`debug -n`: prints in a thread of its own until `stop`."""

    def __init__(self, session: Session, levels: tuple[str, ...]) -> None:
        self.levels = levels
        self._session = session
        self._lines = _Lines(session, levels)
        self._new = threading.Event()
        self._ended = False
        self._watch = self._lines.watch(self._new.set)
        self._watch.__enter__()
        self._thread = threading.Thread(target=self._run, name="debug", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            self._new.wait()
            self._new.clear()
            _print(self._session, self._lines, self._watch)

    def stop(self) -> None:
        """End it; what passed before is printed still."""
        self._watch.__exit__()
        self._ended = True
        self._new.set()
        self._thread.join()
        _print(self._session, self._lines, self._watch)


def _print(session: Session, lines: _Lines, watch: Watch) -> None:
    while watch.seen:
        for text in lines.of(watch.seen.popleft()):
            session.out.line(text)
    if watch.missed:
        missed, watch.missed = watch.missed, 0
        session.out.line(f"... {missed} more, too many to follow")


class _Lines:
    """Lines for what is seen, on the chosen levels."""

    def __init__(self, session: Session, levels: tuple[str, ...]) -> None:
        self._session = session
        self._levels = levels
        self._describe = Describer()

    def watch(self, ring: Any) -> Watch:
        """A watch for what these levels need."""
        frames = tuple(level for level in self._levels if level != "tcpstate")
        every = {"dev", "l2"}.intersection(frames)
        wanted = (lambda way, frame: every or _kinds(frame).intersection(frames)) if frames else None
        return Watch(self._session.driver, ring, wanted, states="tcpstate" in self._levels)

    def of(self, item: Seen | Moved) -> Iterator[str]:
        """The lines about it."""
        stamp = clock_text(self._session.wall(item.at))
        if isinstance(item, Moved):
            what = TRANSITIONS.get(item.old, {}).get(item.new, "")
            ends = f"{endpoint_text(*item.local)} {endpoint_text(*item.remote)}"
            yield f"{stamp} tcpstate {ends} {STATE_NAMES[item.old]} -> {STATE_NAMES[item.new]} ({what})"
            return
        frame = Frame(item.octets)
        kinds = _kinds(frame)
        head = f"{stamp} {{:<4}} {item.way} {item.iface}"
        for level in self._levels:
            if level == "dev":
                yield f"{head.format('dev')} {len(item.octets)} octets"
            elif level == "l2":
                yield f"{head.format('l2')} {_ethernet(frame.packet)}"
            elif level == "ip" and level in kinds:
                yield f"{head.format('ip')} {_ip(frame.packet)}"
            elif level in kinds:
                yield f"{head.format(level)} {self._describe(frame)}"


def _kinds(frame: Frame) -> set[str]:
    """The levels that a frame belongs to, by its EtherType and its protocol."""
    head = frame.head
    kind = bytes(head[12:14])
    if kind == b"\x08\x06":
        return {"arp"}
    if kind != b"\x08\x00" or len(head) < 34:
        return set()
    return {"ip", *(name for name, number in _PROTOCOLS.items() if head[23] == number)}


def _ethernet(packet: Any) -> str:
    if not hasattr(packet, "dst"):
        return "no Ethernet header"
    return f"{packet.src} > {packet.dst} {packet.sprintf('%Ether.type%')}"


def _ip(packet: Any) -> str:
    from scapy.layers.inet import IP  # noqa: PLC0415 - when the first packet is shown

    header = packet.getlayer(IP)
    if header is None:
        return "no IP header that Scapy could read"
    more = f" frag {header.frag * 8}{'+' if header.flags.MF else ''}" if header.frag or header.flags.MF else ""
    return (
        f"{header.src} > {header.dst} {header.sprintf('%IP.proto%')} "
        f"ttl {header.ttl} tos {header.tos:#x} id {header.id} len {header.len}{more}"
    )
