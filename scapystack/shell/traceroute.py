"""`traceroute`: which routers lead to a host: packets with a growing time to live, and who says that it ran out.

UDP to ports where nobody listens, echo requests (`-I`) or SYNs (`-T`, for what firewalls let through); frames that
come are watched for those that answer or quote ours. The packets of one hop leave together.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import click

from scapystack.base.addr import ip, ip_text
from scapystack.base.frames import Frame
from scapystack.base.types import SECOND
from scapystack.shell.params import POSITIVE, host
from scapystack.shell.session import Session
from scapystack.shell.watch import Seen, Watch

if TYPE_CHECKING:
    from scapystack.base.rng import Rng
    from scapystack.stack import NetStack

FIRST_PORT, WEB_PORT = 33_434, 80
UDP, ECHO, SYN = "UDP", "echo requests", "SYNs"
_HEADERS, _USUAL = 28, 60
_IPV4, _ICMP, _TCP = b"\x08\x00", 1, 6
_PROTO = {UDP: 17, ECHO: _ICMP, SYN: _TCP}
_UNREACHABLE = {0: "!N", 1: "!H", 2: "!P", 4: "!F", 5: "!S", 9: "!N", 10: "!X", 13: "!X"}


@click.command("traceroute")
@click.option("-I", "--icmp", "echo", is_flag=True, help="Echo requests instead of UDP.")
@click.option("-T", "--tcp", "syn", is_flag=True, help="SYNs instead of UDP, to port 80.")
@click.option("-f", "first", type=click.IntRange(1, 255), default=1, metavar="TTL", help="Begin at this hop (1).")
@click.option("-m", "most", type=click.IntRange(1, 255), default=30, metavar="TTL", help="End at this hop (30).")
@click.option("-q", "probes", type=click.IntRange(1, 10), default=3, metavar="N", help="Packets for each hop (3).")
@click.option("-w", "patience", type=POSITIVE, default=1.0, metavar="S", help="Wait for answers (1).")
@click.option("-p", "port", type=click.IntRange(1, 65_000), metavar="N", help="The first port; with -T the port.")
@click.option("-n", "numeric", is_flag=True, help="Numbers instead of names (always so).")
@click.argument("target", metavar="ADDR")
@click.argument("size", type=click.IntRange(_HEADERS, 65_535), default=_USUAL, required=False, metavar="[OCTETS]")
@click.pass_obj
def traceroute_command(
    session: Session, echo: bool, syn: bool, first: int, most: int, probes: int, patience: float, port: int | None,
    numeric: bool, target: str, size: int,
) -> int:  # fmt: skip
    """Show the routers on the way to ADDR, a line for each, with the time that each of three packets took."""
    if echo and syn:
        raise click.UsageError("-I and -T exclude each other")
    if syn and size != _USUAL:
        raise click.UsageError(f"a SYN has {_USUAL} octets: leave the size out with -T")
    address = host(target)
    trace = _Trace(session, address, size, port, ECHO if echo else SYN if syn else UDP)
    session.out.line(f"traceroute to {address} ({address}), {most} hops max, {size} byte packets")
    with Watch(session.driver, session.ring, trace.wanted) as watch:
        for ttl in range(first, most + 1):
            answers = trace.hop(watch, ttl, probes, patience)
            session.out.line(f"{ttl:2}  {_line(answers)}")
            if any(answer is not None and answer[2] for answer in answers):
                return 0
    return 1


Answer = tuple[str, float, bool, str]
"""Who answered, after how many milliseconds, whether the way ends there, and what it says of that."""


def _line(answers: list[Answer | None]) -> str:
    words, last = [], ""
    for answer in answers:
        if answer is None:
            words.append("*")
            continue
        who, ms, _, mark = answer
        if who != last:
            words.append(who)
        words.append(f" {ms:.3f} ms{f' {mark}' if mark else ''}" if words else "")
        last = who
    return " ".join(words)


class _Trace:
    """The packets of one run and what they are known by: a UDP port, the number of an echo, the port of a SYN."""

    def __init__(self, session: Session, address: str, size: int, port: int | None, kind: str) -> None:
        self._session = session
        self._address = address
        self._packed = ip(address)
        self._data = bytes(size - _HEADERS)
        self._kind = kind
        self._port = port or WEB_PORT
        with session.net() as net:
            self._source = ip_text(net.ipv4.route(self._packed).src)
            # nothing is drawn from the stack's own generator, whose numbers a recorded stack must get again
            rng = net.core.rng.derive(f"traceroute {session.now}")
            self._ident = rng.below(0xFFFF) + 1
            self._next = 1 if kind == ECHO else _free_ports(net, rng) if kind == SYN else port or FIRST_PORT
        self._first = self._next

    def wanted(self, way: str, frame: Frame) -> bool:
        """Whether a frame may be an answer: ICMP, or a segment to a port that a SYN was sent from."""
        head = bytes(frame.head[:78])
        if way != "rx" or head[12:14] != _IPV4:
            return False
        if head[23] != _TCP or self._kind != SYN:
            return head[23] == _ICMP
        at = 16 + 4 * (head[14] & 15)
        return head[26:30] == self._packed and self._first <= int.from_bytes(head[at : at + 2], "big") < self._next

    def hop(self, watch: Watch, ttl: int, count: int, patience: float) -> list[Answer | None]:
        """What came back from one hop, in the order of the packets; None for those that nobody answered."""
        answers: list[Answer | None] = [None] * count
        first = self._next
        packets = [self._packet(first + n) for n in range(count)]  # before the clock runs
        sent_at = self._session.now
        self._send(ttl, packets)
        until = sent_at + round(patience * SECOND)
        while None in answers and self._session.now < until:
            if not watch.seen:
                self._session.wait(until)
                continue
            item = watch.seen.popleft()
            if isinstance(item, Seen):
                number, answer = self._read(item.octets[14:], (item.at - sent_at) / 1e6)
                if answer is not None and 0 <= number - first < count:
                    answers[number - first] = answer
        return answers

    def _send(self, ttl: int, packets: list[bytes]) -> None:
        kind, proto = (
            (socket.SOCK_DGRAM, 0) if self._kind == UDP
            else (socket.SOCK_RAW, socket.IPPROTO_ICMP if self._kind == ECHO else socket.IPPROTO_TCP)
        )  # fmt: skip
        with self._session.stack.socket(socket.AF_INET, kind, proto) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            if self._kind == UDP:
                sock.bind(("", 0))
                self._ident = sock.getsockname()[1]
            for packet in packets:
                number = self._next
                self._next = number % 65_535 + 1  # first, for the answer may be there before `sendto` is back
                sock.sendto(packet, (self._address, number if self._kind == UDP else 0))

    def _packet(self, number: int) -> bytes:
        """What goes behind the IP header (of UDP: behind its own)."""
        from scapy.layers.inet import ICMP, IP, TCP  # noqa: PLC0415 - takes a while, and only this needs it

        if self._kind == UDP:
            return self._data
        if self._kind == ECHO:
            return bytes(ICMP(type=8, id=self._ident, seq=number & 0xFFFF) / self._data)
        options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
        syn = TCP(sport=number, dport=self._port, flags="S", seq=self._ident, options=options)
        return bytes(IP(src=self._source, dst=self._address) / syn)[20:]

    def _read(self, packet: bytes, ms: float) -> tuple[int, Answer | None]:
        """The number of the packet of ours that one is about (-1: none), and what it says.

        Read by hand: a router need quote no more than eight octets behind the IP header (RFC 792).
        """
        who, inner = ip_text(packet[12:16]), packet[4 * (packet[0] & 15) :]
        if packet[9] == _TCP:
            ours = inner[8:12] == (self._ident + 1).to_bytes(4, "big")
            return int.from_bytes(inner[2:4], "big"), (who, ms, True, "") if ours else None
        if self._kind == ECHO and inner[0] == 0 and packet[12:16] == self._packed:
            return self._number(inner), (who, ms, True, "")
        quote = inner[8:]
        if inner[0] not in (3, 11) or len(quote) < 28 or quote[16:20] != self._packed or quote[9] != _PROTO[self._kind]:
            return -1, None
        number = self._number(quote[4 * (quote[0] & 15) :])
        if inner[0] == 11:
            return number, (who, ms, False, "")
        mark = "" if inner[1] == 3 else _UNREACHABLE.get(inner[1], f"!<{inner[1]}>")
        return number, (who, ms, True, mark)

    def _number(self, head: bytes) -> int:
        """Of a packet of ours, by its first eight octets; -1 for one that is not."""
        if len(head) < 8:
            return -1
        sport, dport, ident, seq, long = *struct.unpack("!4H", head[:8]), int.from_bytes(head[4:8], "big")
        own, number = {UDP: (sport, dport), ECHO: (ident, seq), SYN: (long, sport)}[self._kind]
        return number if own == self._ident else -1


def _free_ports(net: NetStack, rng: Rng) -> int:
    """The first of some thousand local ports that no connection has."""
    while True:
        first = 32_768 + rng.below(25_000)
        if not any(first <= port < first + 2_550 for port in net.tcp.ports):
            return first
