"""`tcpdump`: packets as they pass the stack, to the screen or to a file, chosen by a filter as tcpdump takes it."""

from __future__ import annotations

import click

from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.describe import Describer
from scapystack.hooks.filters import matcher
from scapystack.link.pcapfile import INBOUND, OUTBOUND, CaptureFile
from scapystack.shell.ground import Interrupted
from scapystack.shell.session import Session
from scapystack.shell.watch import Seen, Watch

_DIRECTION = {"rx": INBOUND, "tx": OUTBOUND}


@click.command("tcpdump")
@click.option("-w", "file", metavar="FILE", help="Write them to this pcapng (or .pcap) file; - is the output.")
@click.option("-i", "name", metavar="IFACE", help="Only of this interface (any).")
@click.option("-c", "count", type=click.IntRange(min=1), metavar="N", help="Stop after N packets.")
@click.option("-e", "link", is_flag=True, help="With the hardware addresses.")
@click.option("-x", "hexadecimal", is_flag=True, help="With the octets behind the Ethernet header.")
@click.option("-q", "quiet", is_flag=True, help="Say nothing at the beginning and at the end.")
@click.option("-n", "numeric", is_flag=True, help="Numbers instead of names (always so).")
@click.argument("words", nargs=-1, metavar="[FILTER]")
@click.pass_obj
def tcpdump_command(
    session: Session, file: str | None, name: str | None, count: int | None, link: bool, hexadecimal: bool,
    quiet: bool, numeric: bool, words: tuple[str, ...],
) -> None:  # fmt: skip
    """Show the packets that pass the stack, until Ctrl-C. The filter is that of pcap-filter(7): `tcp port 80`.

    They are seen on the link's side of the stack's hooks, the loopback too; super-segments are whole.
    """
    match = matcher(" ".join(words))
    iface = session.iface(name) if name is not None and name != "any" else None

    def wanted(way: str, frame: Frame) -> object:
        return (iface is None or frame.iface is iface) and (match is None or match(frame))

    sink = _File(session, file) if file is not None else _Screen(session, link, hexadecimal)
    where = iface.name if iface is not None else "any"
    shown = 0
    with Watch(session.driver, session.ring, wanted) as watch:
        if not quiet:
            session.out.error(f"tcpdump: listening on {where}, Ctrl-C ends it")
        try:
            while count is None or shown < count:
                if not watch.seen:
                    session.wait()
                while watch.seen and (count is None or shown < count):
                    item = watch.seen.popleft()
                    if isinstance(item, Seen):
                        sink.put(item)
                        shown += 1
        except Interrupted:
            pass
        finally:
            missed = watch.missed
            sink.close()
    if not quiet:
        session.out.error(f"{shown} packets captured, {missed} missed")
    if isinstance(sink, _File) and sink.file.error:
        raise ConfigError(sink.file.error)


class _Screen:
    """One line a packet."""

    def __init__(self, session: Session, link: bool, hexadecimal: bool) -> None:
        self._session = session
        self._link = link
        self._hexadecimal = hexadecimal
        self._describe = Describer()

    def put(self, item: Seen) -> None:
        """Print it."""
        head, _, rest = self._describe(item.octets, self._session.wall(item.at)).partition(" ")
        way = "In " if item.way == "rx" else "Out"
        ether = f" {item.octets[6:12].hex(':')} > {item.octets[:6].hex(':')}" if self._link else ""
        self._session.out.line(f"{head} {item.iface} {way}{ether} {rest}")
        if self._hexadecimal:
            octets = item.octets[14:]
            for at in range(0, len(octets), 16):
                self._session.out.line(f"\t0x{at:04x}:  {octets[at : at + 16].hex(' ', 2)}")

    def close(self) -> None:
        """Nothing is open."""


class _File:
    """A capture file."""

    def __init__(self, session: Session, name: str) -> None:
        """Raises LinkError."""
        self._session = session
        self._interfaces: dict[str, int] = {}
        if name == "-":
            self.file = CaptureFile(_Octets(session))  # type: ignore[arg-type]
        else:
            self.file = CaptureFile(session.path(name))

    def put(self, item: Seen) -> None:
        """Write it; `wall` is the time of the day."""
        number = self._interfaces.get(item.iface)
        if number is None:
            number = self._interfaces[item.iface] = self.file.interface(item.iface, f"scapystack {item.iface}")
        self.file.packet(item.octets, self._session.wall(item.at), number, _DIRECTION[item.way])

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class _Octets:
    """The session's output as a binary file."""

    name = "-.pcapng"

    def __init__(self, session: Session) -> None:
        self._session = session

    def write(self, octets: bytes) -> int:
        """Pass them on."""
        self._session.out.raw(bytes(octets))
        return len(octets)

    def flush(self) -> None:
        """Nothing is held back."""
