"""`nc` and `snc`: input and output of the session joined to a connection, or to a UDP port, in either role.

No thread and no socket: the endpoint's `on_ready` rings the session's bell, as input and Ctrl-C do, and one loop
moves what there is both ways. What the peer reads too slowly is not asked for (`Session.input`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import click

from scapystack.base.addr import ANY4, endpoint_text, ip
from scapystack.base.errors import ConfigError, os_error
from scapystack.base.types import SECOND, Address, Nanoseconds
from scapystack.layers.tcp.state import CLOSED
from scapystack.layers.tcp.user import Connection
from scapystack.layers.udp import UdpEndpoint
from scapystack.shell.debug import Debug
from scapystack.shell.params import POSITIVE, host, peer, port
from scapystack.shell.session import Session

CHUNK = 65_536
DATAGRAM = 16_384  # what nc(1) reads of standard input for one datagram
SILENCE_S = 1.0
"""A UDP conversation whose input has ended is over after this long without an answer, a TCP connection whose peer has
ended (and may go on reading) after this long without input."""


@click.command("nc")
@click.option("-l", "--listen", is_flag=True, help="Wait for a peer instead of connecting to one.")
@click.option("-u", "--udp", is_flag=True, help="UDP instead of TCP.")
@click.option("-p", "local_port", type=click.IntRange(1, 65_535), metavar="N", help="The local port.")
@click.option("-w", "patience", type=POSITIVE, metavar="S", help="End after S seconds in which nothing came.")
@click.option("-z", "probe", is_flag=True, help="See whether anybody listens, and end.")
@click.option("-v", "verbose", is_flag=True, help="Say who is there (always so).")
@click.option("-n", "numeric", is_flag=True, help="Numbers instead of names (always so).")
@click.argument("words", nargs=-1, metavar="[ADDR] [PORT]")
@click.pass_obj
def nc_command(
    session: Session, listen: bool, udp: bool, local_port: int | None, patience: float | None, probe: bool,
    verbose: bool, numeric: bool, words: tuple[str, ...],
) -> None:  # fmt: skip
    """Join input and output to a TCP connection (or UDP with -u). The end of input (Ctrl-D) half-closes it.

    \b
      nc 10.0.0.2 80            connect to port 80 of 10.0.0.2
      nc -l 12345               wait for a connection to port 12345
    """
    if probe and (listen or udp):
        raise click.UsageError("-z asks whether a TCP port is open: neither -l nor -u goes with it")
    where, number = peer(words, listen, local_port)
    address = ip(where) if where else ANY4
    if probe:
        c = _connect(session, address, number, local_port or 0, patience)
        with session.net():
            c.on_ready = None
            c.close()
        return
    _talk(session, address, number, listen, udp, 0 if listen else local_port or 0, patience)


@click.command("snc")
@click.option("-d", "show", is_flag=True, help="Show the packets and the changes of state meanwhile.")
@click.option("-u", "--udp", is_flag=True, help="UDP instead of TCP.")
@click.option("-b", "bind", metavar="ADDR:PORT", help="Wait for a peer there.")
@click.option("-c", "connect", metavar="ADDR:PORT", help="Connect there.")
@click.pass_obj
def snc_command(session: Session, show: bool, udp: bool, bind: str | None, connect: str | None) -> None:
    """nc in tapip's words: -b ADDR:PORT waits for a peer, -c ADDR:PORT connects to one."""
    if (bind is None) == (connect is None):
        raise click.UsageError("give one of -b ADDR:PORT and -c ADDR:PORT")
    text = bind or connect or ""
    where, colon, number = text.rpartition(":")
    if not colon:
        raise ConfigError(f"{text!r} is not ADDR:PORT (such as 10.0.0.1:12345)")
    if show:
        if session.debug is not None:
            session.debug.stop()
        session.debug = Debug(session, ("udp",) if udp else ("tcp", "tcpstate"))
    try:
        address = ip(host(where)) if where not in ("", "*") else ANY4
        _talk(session, address, port(number), bind is not None, udp, 0, None)
    finally:
        if show and session.debug is not None:
            session.debug.stop()
            session.debug = None


def _talk(
    session: Session, address: Address, number: int, listen: bool, udp: bool, local_port: int, patience: float | None
) -> None:
    if udp:
        _udp(session, address, number, listen, local_port, patience)
        return
    c = (_accept if listen else _connect)(session, address, number, local_port, patience)
    try:
        _relay(session, c, patience)
    except BaseException:
        with session.net():
            c.abort()
        raise
    with session.net():
        c.on_ready = None
        c.close()


def _until(session: Session, patience: float | None) -> Nanoseconds | None:
    return None if patience is None else session.now + round(patience * SECOND)


def _await(session: Session, ready: Callable[[], bool], patience: float | None) -> None:
    """Wait for a condition, asked under the lock. Raises TimeoutError, Interrupted."""
    until = _until(session, patience)
    while True:
        with session.net():
            if ready():
                return
        if until is not None and session.now >= until:
            raise TimeoutError("nothing came in time")
        session.wait(until)


# -- TCP -------------------------------------------------------------------------------------------------


def _connect(session: Session, address: Address, number: int, local_port: int, patience: float | None) -> Connection:
    with session.net() as net:
        c = net.tcp.connect(address, number, local_port=local_port)
        c.on_ready = session.ring
    try:
        _await(session, lambda: c.connected or c.state == CLOSED, patience)
    except BaseException:
        with session.net():
            c.on_ready = None
            c.close()
        raise
    if not c.connected:
        raise c.take_error_as_exception() if c.error else os_error(errno.ECONNABORTED)
    session.out.error(f"connected to {endpoint_text(c.remote_addr, c.remote_port)}")
    return c


def _accept(session: Session, address: Address, number: int, local_port: int, patience: float | None) -> Connection:
    with session.net() as net:
        listener = net.tcp.listen(address, number, 1, reuse=True)
        listener.on_ready = session.ring
    session.out.error(f"listening on {endpoint_text(address, number)}")
    found: list[Connection] = []

    def ready() -> bool:
        c = listener.accept()
        if c is not None:
            found.append(c)
            c.on_ready = session.ring
        if not listener.open:
            raise os_error(errno.ECONNABORTED)  # `ss -K`
        return bool(found)

    try:
        _await(session, ready, patience)
    finally:
        with session.net():
            listener.on_ready = None
            listener.close()
    c = found[0]
    session.out.error(f"connection from {endpoint_text(c.remote_addr, c.remote_port)}")
    return c


def _relay(session: Session, c: Connection, patience: float | None) -> None:
    """Both ways until the peer has ended, all that it sent is out, and no more input comes.

    Raises OSError for what ended it else.
    """
    pending: bytes | None = b""
    until = _until(session, patience)
    while True:
        received = []
        sent = False
        with session.net():
            while data := c.read(CHUNK):
                received.append(data)
            while c.writable and not c.write_shut:
                if not pending:
                    pending = session.input()
                if pending is None:
                    c.shutdown_write()
                elif not pending:
                    break
                else:
                    pending = pending[c.write(pending) :]
                    sent = True
            over = c.eof
            ended = c.write_shut
        if received or (over and sent):
            until = _until(session, patience)
        for data in received:
            session.out.raw(data)
        if over and (ended or pending is None):
            return
        if over and not pending:
            if not session.wait(session.now + round(SILENCE_S * SECOND)):
                return
            continue
        if not session.wait(until) and until is not None and session.now >= until:
            return


# -- UDP -------------------------------------------------------------------------------------------------


def _udp(
    session: Session, address: Address, number: int, listen: bool, local_port: int, patience: float | None
) -> None:
    with session.net() as net:
        end = net.udp.bind(address if listen else ANY4, number if listen else local_port)
        end.on_ready = session.ring
        if not listen:
            end.connect(address, number)
    try:
        if listen:
            session.out.error(f"listening on {endpoint_text(address, number)} UDP")
        _datagrams(session, end, listen, patience)
    finally:
        with session.net():
            end.on_ready = None
            end.close()


def _datagrams(session: Session, end: UdpEndpoint, listen: bool, patience: float | None) -> None:
    """Both ways until nothing has come for `patience`, or for a second once input has ended."""
    ended = False
    until = _until(session, patience)
    while True:
        came: list[Any] = []
        with session.net():
            while (item := end.recv()) is not None:
                came.append(item)
                if end.remote_addr is None:
                    end.connect(item[1], item[2])
            while end.remote_addr is not None and not ended:
                data = session.input()
                if not data:
                    ended = data is None
                    break
                for at in range(0, len(data), DATAGRAM):
                    end.send(data[at : at + DATAGRAM])
            if came or (ended and until is None and not listen):
                until = _until(session, SILENCE_S if ended and patience is None and not listen else patience)
        for data, _, _ in came:
            session.out.raw(data)
        if not session.wait(until) and until is not None and session.now >= until:
            return
