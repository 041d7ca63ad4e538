"""`tcpdump`: packets as they pass the stack, or of a file, to the screen or to a file, chosen by tcpdump's filters."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

import click

from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.describe import Describer
from scapystack.hooks.filters import Match, matcher
from scapystack.link.pcapfile import INBOUND, OUTBOUND, CaptureFile
from scapystack.link.pcapread import LINKTYPE_ETHERNET, CapturedPacket, CaptureReader
from scapystack.shell.ground import Interrupted
from scapystack.shell.session import Session
from scapystack.shell.watch import Seen, Watch

_DIRECTION = {"rx": INBOUND, "tx": OUTBOUND, "": 0}
_WAY = {INBOUND: "rx", OUTBOUND: "tx"}


@click.command("tcpdump")
@click.option("-w", "file", metavar="FILE", help="Write them to this pcapng (or .pcap) file; - is the output.")
@click.option("-r", "source", metavar="FILE", help="Of this capture (pcap, pcapng, gzip), and not of the stack.")
@click.option("-i", "name", metavar="IFACE", help="Only of this interface (any).")
@click.option("-c", "count", type=click.IntRange(min=1), metavar="N", help="Stop after N packets.")
@click.option("-e", "link", is_flag=True, help="With the hardware addresses.")
@click.option("-v", "verbose", count=True, help="With the IP header; -vv: all that Scapy reads in it.")
@click.option("-x", "hexadecimal", is_flag=True, help="With the octets behind the Ethernet header.")
@click.option("-q", "quiet", is_flag=True, help="Say nothing at the beginning and at the end.")
@click.option("-n", "numeric", is_flag=True, help="Numbers instead of names (always so).")
@click.argument("words", nargs=-1, metavar="[FILTER]")
@click.pass_obj
def tcpdump_command(
    session: Session, file: str | None, source: str | None, name: str | None, count: int | None, link: bool,
    verbose: int, hexadecimal: bool, quiet: bool, numeric: bool, words: tuple[str, ...],
) -> None:  # fmt: skip
    """Show the packets that pass the stack, until Ctrl-C. The filter is that of pcap-filter(7): `tcp port 80`.

    They are seen on the link's side of the stack's hooks, the loopback too; super-segments are whole.
    """
    match = matcher(" ".join(words))
    if source is not None and name is not None:
        raise click.UsageError("-r shows the packets of a file: no interface (-i) goes with it")
    if source is not None and file is not None and session.path(source) == session.path(file):
        raise click.UsageError("-r and -w name the same file")
    iface = session.iface(name) if name is not None and name != "any" else None

    packets = None if source is None else _packets(session, source, match)  # says at once if there is no such file
    sink = _File(session, file) if file is not None else _Screen(session, link, verbose, hexadecimal)
    if packets is not None:
        _show(packets, sink, count)
    else:
        _watch(session, iface, match, sink, count, quiet)


def _watch(
    session: Session,
    iface: Interface | None,
    match: Match | None,
    sink: _Screen | _File,
    count: int | None,
    quiet: bool,
) -> None:
    def wanted(way: str, frame: Frame) -> object:
        return (iface is None or frame.iface is iface) and (match is None or match(frame))

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
    _check(sink)


def _check(sink: _Screen | _File) -> None:
    if isinstance(sink, _File) and sink.file.error:
        raise ConfigError(sink.file.error)


def _show(packets: Iterator[Seen], sink: _Screen | _File, count: int | None) -> None:
    try:
        for item in islice(packets, count):
            sink.put(item)
    except Interrupted:
        pass
    finally:
        sink.close()
    _check(sink)


def _packets(session: Session, source: str, match: Match | None) -> Iterator[Seen]:
    """Those of a file that the filter picks. Raises LinkError, OSError."""
    reader = CaptureReader(session.path(source))

    def each() -> Iterator[Seen]:
        with reader:
            for packet in reader:
                session.wait(session.now)  # so that Ctrl-C ends it
                octets = _ethernet(packet)
                if match is None or match(Frame(octets)):
                    at = packet.at - session.wall(0)
                    yield Seen(_WAY.get(packet.direction & 3, ""), at, packet.interface, octets)
        if reader.torn:
            session.out.error(f"tcpdump: {source}: {reader.torn}")

    return each()


def _ethernet(packet: CapturedPacket) -> bytes:
    """It as an Ethernet frame: of other links what is in it, as far as Scapy knows them."""
    if packet.linktype == LINKTYPE_ETHERNET:
        return packet.data
    from scapy.config import conf  # noqa: PLC0415 - for a capture of another link
    from scapy.layers.inet import IP  # noqa: PLC0415
    from scapy.layers.inet6 import IPv6  # noqa: PLC0415
    from scapy.layers.l2 import ARP  # noqa: PLC0415

    try:
        read = conf.l2types[packet.linktype](packet.data)
    except Exception:  # a dissection of hostile bytes may fail anywhere, and there are links that Scapy does not know
        return bytes(14) + packet.data
    for layer, kind in ((IP, 0x0800), (IPv6, 0x86DD), (ARP, 0x0806)):
        if layer in read:
            return bytes(12) + kind.to_bytes(2, "big") + bytes(read[layer].original)
    return bytes(14) + packet.data


class _Screen:
    """One line a packet."""

    def __init__(self, session: Session, link: bool, verbose: int, hexadecimal: bool) -> None:
        self._session = session
        self._link = link
        self._verbose = verbose
        self._hexadecimal = hexadecimal
        self._describe = Describer()

    def put(self, item: Seen) -> None:
        """Print it."""
        head, _, rest = self._describe(item.octets, self._session.wall(item.at)).partition(" ")
        way = {"rx": " In ", "tx": " Out"}.get(item.way, "")
        where = f" {item.iface}" if item.iface else ""
        ether = f" {item.octets[6:12].hex(':')} > {item.octets[:6].hex(':')}" if self._link else ""
        if self._verbose == 1:
            rest = _with_header(item.octets, rest)
        for text in f"{head}{where}{way}{ether} {rest}".split("\n"):
            self._session.out.line(text)
        if self._verbose > 1:
            self._session.out.line(Frame(item.octets).packet.show(dump=True).rstrip())
        if self._hexadecimal:
            octets = item.octets[14:]
            for at in range(0, len(octets), 16):
                self._session.out.line(f"\t0x{at:04x}:  {octets[at : at + 16].hex(' ', 2)}")

    def close(self) -> None:
        """Nothing is open."""


def _with_header(octets: bytes, told: str) -> str:
    """A line about an IPv4 packet with what its header says, as tcpdump has it."""
    kind, header = octets[12:14], octets[14:34]
    if kind != b"\x08\0" or len(header) < 20 or not told.startswith("IP "):
        return told
    _, tos, length, ident, fragment, ttl, protocol = struct.unpack("!BBHHHBB", header[:10])
    flags = "+" if fragment & 0x2000 else "DF" if fragment & 0x4000 else "none"
    name = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP"}.get(protocol, "unknown")
    return (
        f"IP (tos 0x{tos:x}, ttl {ttl}, id {ident}, offset {(fragment & 0x1FFF) * 8}, flags [{flags}], "
        f"proto {name} ({protocol}), length {length})\n    {told.removeprefix('IP ')}"
    )


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
