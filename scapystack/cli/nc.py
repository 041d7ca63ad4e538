"""`scapystack nc`: standard input and output joined to a TCP connection or a UDP socket of a stack of
its own. What tapip calls snc.

Two threads, as there are two directions: this one brings what arrives to standard output, the other
takes standard input to the socket and half-closes at its end. Read `relay` first.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from scapystack.cli.options import link_options, opened
from scapystack.shell.params import POSITIVE, peer

if TYPE_CHECKING:
    from scapystack.sockets import Socket, Stack

CHUNK = 65_536
DATAGRAM = 16_384  # what nc(1) reads of standard input for one datagram
UDP_SILENCE_S = 1.0
"""A UDP conversation whose input has ended is over after this long without an answer."""


@click.command("nc")
@click.argument("words", nargs=-1, metavar="[ADDR] [PORT]")
@click.option("-l", "--listen", is_flag=True, help="Wait for a peer instead of connecting to one.")
@click.option("-u", "--udp", is_flag=True, help="UDP instead of TCP.")
@click.option("-p", "--port", "local_port", type=click.IntRange(1, 65535), metavar="N", help="The local port.")
@click.option(
    "--timeout",
    type=POSITIVE,
    metavar="S",
    help="End after S seconds in which nothing came (and connect within S).",
)
@link_options
def command(
    words: tuple[str, ...], listen: bool, udp: bool, local_port: int | None, timeout: float | None, **link: Any
) -> int:
    """Join standard input and output to a TCP connection (or UDP with -u) of a stack of its own.

    \b
      scapystack nc 10.0.0.2 12345      connect to port 12345 of 10.0.0.2
      scapystack nc -l 12345            wait for a connection to port 12345

    At the end of standard input the connection is half-closed: the peer reads the end of the data and
    may go on sending.
    """
    host, port = peer(words, listen, local_port)
    with opened(link) as stack:
        if udp:
            return _udp(stack, host, port, listen, local_port, timeout)
        return _tcp(stack, host, port, listen, local_port, timeout)


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _tcp(stack: Stack, host: str, port: int, listen: bool, local_port: int | None, timeout: float | None) -> int:
    if listen:
        with stack.create_server((host, port), backlog=1) as server:
            _say(f"listening on {host or 'any address'} port {port}")
            server.settimeout(timeout)
            sock, peer = server.accept()
        _say(f"connection from {peer[0]} port {peer[1]}")
    else:
        source = ("", local_port) if local_port else None
        sock = stack.create_connection((host, port), timeout, source)
        _say(f"connected to {host} port {port}")
    with sock:
        sock.settimeout(timeout)
        relay(sock, CHUNK, lambda: sock.shutdown(socket.SHUT_WR), wait_for_input=not listen)
    return 0


def relay(sock: Socket, chunk: int, at_end: Callable[[], None], *, wait_for_input: bool) -> None:
    """Bring what arrives to standard output and standard input to `sock`, until the peer has ended.

    `at_end` is called at the end of standard input. With `wait_for_input` the peer's end alone is not
    enough. Raises OSError for a connection that failed; a reader of our output that went away ends it.
    """
    failed: list[OSError] = []

    def forward() -> None:
        try:
            for data in _input(chunk):
                sock.sendall(data)
            at_end()
        except OSError as error:
            failed.append(error)

    sender = threading.Thread(target=forward, name="nc-input", daemon=True)
    sender.start()
    while data := sock.recv(CHUNK):
        _write(data)
    if wait_for_input:
        sender.join()
        if failed:
            raise failed[0]


def _input(chunk: int) -> Any:
    """Standard input in pieces; a closed one has ended."""
    while True:
        try:
            data = os.read(0, chunk)
        except OSError:
            return
        if not data:
            return
        yield data


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _udp(stack: Stack, host: str, port: int, listen: bool, local_port: int | None, timeout: float | None) -> int:
    with stack.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if listen:
            sock.bind((host, port))
            _say(f"listening on {host or 'any address'} UDP port {port}")
            sock.settimeout(timeout)
            data, peer = sock.recvfrom(CHUNK)
            sock.connect(peer)
            _write(data)
        else:
            if local_port:
                sock.bind(("", local_port))
            sock.connect((host, port))
        return _udp_relay(sock, listen, timeout)


def _udp_relay(sock: Socket, listen: bool, timeout: float | None) -> int:
    """Datagrams both ways until nothing has come for `timeout`, or for a second once input has ended."""
    input_ended: list[float] = []

    def forward() -> None:
        with contextlib.suppress(OSError):  # an error comes up in recv, where it is reported
            for data in _input(DATAGRAM):
                sock.send(data)
        input_ended.append(time.monotonic())

    threading.Thread(target=forward, name="nc-input", daemon=True).start()
    last = time.monotonic()
    sock.settimeout(0.1)
    while True:
        try:
            _write(sock.recv(CHUNK))
            last = time.monotonic()
        except TimeoutError:
            now = time.monotonic()
            if timeout is not None and now - last >= timeout:
                return 0
            if timeout is None and not listen and input_ended and now - max(last, *input_ended) >= UDP_SILENCE_S:
                return 0
