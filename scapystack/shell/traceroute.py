"""`traceroute`: which routers lead to a host: packets with a growing time to live, and who says that it ran out.

UDP to ports where nobody listens (or echo requests with `-I`); a raw socket hears the ICMP messages, and Scapy
reads which of our packets they quote. The packets of one hop leave together.
"""

from __future__ import annotations

import socket
from typing import Any

import click

from scapystack.base.types import SECOND, Nanoseconds
from scapystack.shell.params import POSITIVE, host
from scapystack.shell.session import Session

FIRST_PORT = 33_434
_HEADERS = 28
_UNREACHABLE = {0: "!N", 1: "!H", 2: "!P", 4: "!F", 5: "!S", 9: "!N", 10: "!X", 13: "!X"}


@click.command("traceroute")
@click.option("-I", "--icmp", "echo", is_flag=True, help="Echo requests instead of UDP.")
@click.option("-f", "first", type=click.IntRange(1, 255), default=1, metavar="TTL", help="Begin at this hop (1).")
@click.option("-m", "most", type=click.IntRange(1, 255), default=30, metavar="TTL", help="End at this hop (30).")
@click.option("-q", "probes", type=click.IntRange(1, 10), default=3, metavar="N", help="Packets for each hop (3).")
@click.option("-w", "patience", type=POSITIVE, default=1.0, metavar="S", help="Wait for answers (1).")
@click.option("-p", "port", type=click.IntRange(1, 65_000), default=FIRST_PORT, metavar="N", help="The first port.")
@click.option("-n", "numeric", is_flag=True, help="Numbers instead of names (always so).")
@click.argument("target", metavar="ADDR")
@click.argument("size", type=click.IntRange(_HEADERS, 65_535), default=60, required=False, metavar="[OCTETS]")
@click.pass_obj
def traceroute_command(
    session: Session, echo: bool, first: int, most: int, probes: int, patience: float, port: int, numeric: bool,
    target: str, size: int,
) -> int:  # fmt: skip
    """Show the routers on the way to ADDR, a line for each, with the time that each of three packets took."""
    address = host(target)
    session.out.line(f"traceroute to {address} ({address}), {most} hops max, {size} byte packets")
    with session.stack.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as ear:
        trace = _Trace(session, ear, address, size, port, echo)
        for ttl in range(first, most + 1):
            answers = trace.hop(ttl, probes, patience)
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
    """The packets of one run and what they are known by in a quote: a UDP port, or the number of an echo."""

    def __init__(self, session: Session, ear: Any, address: str, size: int, port: int, echo: bool) -> None:
        self._session = session
        self._ear = ear
        self._address = address
        self._data = bytes(size - _HEADERS)
        self._next = port if not echo else 1
        self._echo = echo
        with session.net() as net:
            self._ident = net.core.rng.below(0xFFFF) + 1

    def hop(self, ttl: int, count: int, patience: float) -> list[Answer | None]:
        """What came back from one hop, in the order of the packets; None for those that nobody answered."""
        answers: list[Answer | None] = [None] * count
        first = self._next
        sent_at: Nanoseconds = self._session.now
        self._send(ttl, count)
        until = sent_at + round(patience * SECOND)
        while None in answers and (left := until - self._session.now) > 0:
            self._ear.settimeout(left / SECOND)
            try:
                data = self._ear.recv(65_535)
            except TimeoutError:
                break
            number, answer = self._read(data, (self._session.now - sent_at) / 1e6)
            if answer is not None and 0 <= number - first < count:
                answers[number - first] = answer
        return answers

    def _send(self, ttl: int, count: int) -> None:
        stack = self._session.stack
        if self._echo:
            from scapy.layers.inet import ICMP  # noqa: PLC0415

            self._ear.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            for _ in range(count):
                request = ICMP(type=8, id=self._ident, seq=self._next & 0xFFFF) / self._data
                self._ear.sendto(bytes(request), (self._address, 0))
                self._next += 1
            return
        with stack.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", 0))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            self._ident = sock.getsockname()[1]
            for _ in range(count):
                sock.sendto(self._data, (self._address, self._next))
                self._next = self._next % 65_535 + 1

    def _read(self, data: bytes, ms: float) -> tuple[int, Answer | None]:
        """The number of the packet that an ICMP message is about, and what it says."""
        from scapy.layers.inet import ICMP, IP, UDP  # noqa: PLC0415 - takes a while, and only this needs it

        packet = IP(data)
        message = packet.getlayer(ICMP)
        if message is None:
            return -1, None
        if self._echo and message.type == 0 and message.id == self._ident and packet.src == self._address:
            return message.seq, (packet.src, ms, True, "")
        quoted = message.payload
        if message.type not in (3, 11) or getattr(quoted, "dst", None) != self._address:
            return -1, None
        inner = quoted.getlayer(ICMP if self._echo else UDP, _subclass=True)
        if inner is None or (inner.id if self._echo else inner.sport) != self._ident:
            return -1, None
        number = inner.seq if self._echo else inner.dport
        if message.type == 11:
            return number, (packet.src, ms, False, "")
        mark = "" if message.code == 3 else _UNREACHABLE.get(message.code, f"!<{message.code}>")
        return number, (packet.src, ms, True, mark)
