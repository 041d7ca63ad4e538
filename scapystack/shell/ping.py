"""`ping` and `ping2`: the stack's own echo requests, and the same by hand, as a program with a raw socket does."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import click

from scapystack.base.errors import os_error
from scapystack.base.types import SECOND
from scapystack.shell.ground import Interrupted
from scapystack.shell.params import host, ping_options
from scapystack.shell.pinging import PingRun, pattern
from scapystack.shell.session import Session
from scapystack.sockets.ping import PingReply

Ask = Callable[[int], PingReply]


@click.command("ping")
@ping_options
@click.pass_obj
def ping_command(
    session: Session, target: str, count: int | None, interval: float, size: int, ttl: int | None, patience: float,
    quiet: bool,
) -> int:  # fmt: skip
    """Send echo requests to ADDR, one a second, until Ctrl-C. The status is 0 if anything was answered."""
    address = host(target)
    data = pattern(size)
    with session.stack.pinger() as pinger:
        return _run(
            session, PingRun(address, data, lambda: session.now, session.out.line, quiet=quiet), count, interval,
            lambda seq: pinger.ping(address, seq, data, timeout=patience, ttl=ttl or 0),
        )  # fmt: skip


@click.command("ping2")
@ping_options
@click.pass_obj
def ping2_command(
    session: Session, target: str, count: int | None, interval: float, size: int, ttl: int | None, patience: float,
    quiet: bool,
) -> int:  # fmt: skip
    """Send echo requests to ADDR through a raw socket: Scapy makes each, and reads what comes back."""
    address = host(target)
    data = pattern(size)
    with session.net() as net:
        ident = net.core.rng.derive(f"ping2 {session.now}").below(0xFFFF) + 1  # a rerun must find the stack's own again
    with session.stack.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        if ttl:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        return _run(
            session, PingRun(address, data, lambda: session.now, session.out.line, quiet=quiet), count, interval,
            lambda seq: _by_hand(session, sock, address, ident, seq, data, patience),
        )  # fmt: skip


def _run(session: Session, run: PingRun, count: int | None, interval: float, ask: Ask) -> int:
    try:
        while count is None or run.sent < count:
            if run.sent:
                session.sleep(interval - (session.now - run.last_at) / SECOND)
            run.once(ask)
    except Interrupted:
        if not run.sent:
            raise
    return run.summary()


def _by_hand(
    session: Session, sock: Any, address: str, ident: int, seq: int, data: bytes, patience: float
) -> PingReply:
    """Raises TimeoutError, and OSError for what an ICMP error says."""
    from scapy.layers.inet import ICMP, IP  # noqa: PLC0415 - takes a while, and only this needs it

    sock.sendto(bytes(ICMP(type=8, id=ident, seq=seq & 0xFFFF) / data), (address, 0))
    sent_at = session.now
    until = sent_at + round(patience * SECOND)
    while True:
        left = until - session.now
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left / SECOND)
        data_came = sock.recv(65_535)
        came_at = session.now  # before Scapy reads it, which takes longer than the network
        packet = IP(data_came)
        reply = packet.getlayer(ICMP)
        if reply is None:
            continue
        if reply.type == 0 and (reply.id, reply.seq, packet.src) == (ident, seq & 0xFFFF, address):
            return PingReply(packet.src, seq, packet.ttl, bytes(reply.payload), (came_at - sent_at) / 1e6)
        quoted = reply.payload.getlayer(ICMP, _subclass=True) if reply.type in (3, 11, 12) else None
        if quoted is not None and (quoted.type, quoted.id, quoted.seq) == (8, ident, seq & 0xFFFF):
            number = errno.EHOSTUNREACH if reply.type != 12 else errno.EPROTO
            raise OSError(number, f"{os_error(number).strerror} (from {packet.src})")
