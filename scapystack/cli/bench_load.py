"""The load of `scapystack bench`: clients of the kernel's sockets, and a server for the kernel's own column.

    python -I bench_load.py serve HOST               echo, discard and source of the kernel, until stdin ends
    python -I bench_load.py WORKLOAD HOST SECONDS    the figure, as JSON

Only the standard library is imported, so that it starts at once; it runs inside a namespace, in a process of its
own, so that what it takes of a processor is not the stack's. Every workload is one thread and one loop: what
Python can do bounds the kernel's figures as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable

ECHO, DISCARD, SOURCE = 7, 9, 19
BLOCK = bytes(1 << 20)
MANY = 1_000
TIMEOUT_S = 10.0
_TIOCOUTQ = 0x5411
_TURN = 1 << 18
_clock = time.perf_counter


def connected(host: str, port: int) -> socket.socket:
    """A TCP connection that sends at once what it is given."""
    sock = socket.create_connection((host, port), timeout=TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def unacknowledged(sock: socket.socket) -> int:
    """Octets that the kernel still holds (tcp(7), SIOCOUTQ)."""
    (octets,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), _TIOCOUTQ, b"\0" * 4))
    return int(octets)


# --- workloads: each returns its figure


def bulk_in(host: str, seconds: float) -> float:
    """MB/s into the server, by what it has acknowledged."""
    with connected(host, DISCARD) as sock:
        octets = 0
        start = _clock()
        while _clock() - start < seconds:
            octets += sock.send(BLOCK)
        took = _clock() - start
        return (octets - unacknowledged(sock)) / took / 1e6


def bulk_out(host: str, seconds: float) -> float:
    """MB/s out of the server."""
    with connected(host, SOURCE) as sock:
        sock.sendall(b"%d\n" % (1 << 60))
        room = bytearray(len(BLOCK))
        octets = sock.recv_into(room)
        start = _clock()
        while _clock() - start < seconds:
            n = sock.recv_into(room)
            if not n:
                raise OSError(0, "the server has ended it")
            octets += n
        return octets / (_clock() - start) / 1e6


def many_in(host: str, seconds: float) -> float:
    """MB/s into the server over a thousand connections that all send."""

    def send(sock: socket.socket) -> int:
        return sock.send(memoryview(BLOCK)[:_TURN])

    with contextlib.ExitStack() as until_end:
        socks = [until_end.enter_context(connected(host, DISCARD)) for _ in range(MANY)]
        octets, took = _together(socks, select.EPOLLOUT, send, seconds)
        return (octets - sum(map(unacknowledged, socks))) / took / 1e6


def many_out(host: str, seconds: float) -> float:
    """MB/s out of the server over a thousand connections that all receive."""
    room = bytearray(_TURN)
    with contextlib.ExitStack() as until_end:
        socks = [until_end.enter_context(connected(host, SOURCE)) for _ in range(MANY)]
        for sock in socks:
            sock.sendall(b"%d\n" % (1 << 60))
        octets, took = _together(socks, select.EPOLLIN, lambda sock: sock.recv_into(room), seconds)
        return octets / took / 1e6


def _together(
    socks: list[socket.socket], event: int, act: Callable[[socket.socket], int], seconds: float
) -> tuple[int, float]:
    """Have all that are ready act, again and again; the sum, and how long it took."""
    poll = select.epoll()
    by_fd = {sock.fileno(): sock for sock in socks}
    for sock in socks:
        sock.setblocking(False)
        poll.register(sock, event)
    octets = 0
    start = _clock()
    while _clock() - start < seconds:
        for fd, _ in poll.poll(TIMEOUT_S):
            with contextlib.suppress(BlockingIOError):
                octets += act(by_fd[fd])
    return octets, _clock() - start


def echo(host: str, seconds: float) -> float:
    """Octets a second, each sent when the one before has come back."""
    with connected(host, ECHO) as sock:
        return _counted(lambda: sock.send(b"x") and sock.recv(1), seconds)


def connections(host: str, seconds: float) -> float:
    """Connections a second, one after another: opened, 16 octets there and back, closed."""
    request = b"sixteen octets.."

    def once() -> None:
        with connected(host, ECHO) as sock:
            sock.send(request)
            got = 0
            while got < len(request):
                piece = len(sock.recv(64))
                if not piece:
                    raise OSError(0, "the server has ended it")
                got += piece

    return _counted(once, seconds)


def _counted(once: Callable[[], object], seconds: float) -> float:
    """Calls a second."""
    count = 0
    start = _clock()
    while (took := _clock() - start) < seconds:
        once()
        count += 1
    return count / took


def udp_echo(host: str, seconds: float) -> float:
    """Datagrams of 64 octets a second, there and back, 32 of them under way."""
    data = bytes(64)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, ECHO))
        sock.settimeout(0.2)
        for _ in range(32):
            sock.send(data)
        count = 0
        start = _clock()
        while (took := _clock() - start) < seconds:
            try:
                sock.recv(100)
                count += 1
                sock.send(data)
            except TimeoutError:  # some were lost: begin again
                for _ in range(32):
                    sock.send(data)
        return count / took


def ping(host: str, seconds: float) -> float:
    """The median of the echo requests' round trips, 56 octets, one after another (microseconds)."""
    times = []
    ident = os.getpid() & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(1)
        sock.connect((host, 0))
        end = _clock() + seconds
        number = 0
        while (start := _clock()) < end:
            number = number + 1 & 0xFFFF
            body = struct.pack("!HH", ident, number) + bytes(56)
            total = int.from_bytes(b"\x08\0\0\0" + body, "big") % 0xFFFF
            sock.send(struct.pack("!BBH", 8, 0, 0xFFFF - total) + body)
            while sock.recv(200)[20:28][4:] != body[:4]:
                pass
            times.append(_clock() - start)
    return statistics.median(times) * 1e6


WORKLOADS: dict[str, Callable[[str, float], float]] = {
    "bulk-in": bulk_in,
    "bulk-out": bulk_out,
    "many-in": many_in,
    "many-out": many_out,
    "echo": echo,
    "connections": connections,
    "udp-echo": udp_echo,
    "ping": ping,
}


# --- the kernel's server


class Server:
    """Echo, discard and source over the kernel's sockets, in one loop as the stack's are."""

    def __init__(self, host: str) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._socks: dict[int, socket.socket] = {}
        self._room = bytearray(len(BLOCK))
        for port, serve in ((ECHO, self._echo), (DISCARD, self._discard), (SOURCE, self._asked)):
            self._listen(host, port, serve)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((host, ECHO))
        self._watch(udp, self._datagram)
        self._watch(None, lambda events: sys.exit(0))  # whoever started us is gone

    def _listen(self, host: str, port: int, serve: Callable[[socket.socket, int], None]) -> None:
        listener = socket.create_server((host, port), backlog=2 * MANY)

        def accept(events: int) -> None:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._watch(sock, lambda events: serve(sock, events))

        self._watch(listener, accept)

    def _watch(self, sock: socket.socket | None, handler: Callable[[int], None]) -> None:
        fd = 0 if sock is None else sock.fileno()
        if sock is not None:
            sock.setblocking(False)
            self._socks[fd] = sock
        self._handlers[fd] = handler
        self._poll.register(fd, select.EPOLLIN)

    def _end(self, sock: socket.socket) -> None:
        fd = sock.fileno()
        self._poll.unregister(fd)
        del self._handlers[fd], self._socks[fd]
        sock.close()

    def _echo(self, sock: socket.socket, events: int) -> None:
        data = sock.recv(65_536)
        if data:
            sock.send(data)  # no client here sends more than fits
        else:
            self._end(sock)

    def _discard(self, sock: socket.socket, events: int) -> None:
        if not sock.recv_into(self._room):
            self._end(sock)

    def _asked(self, sock: socket.socket, events: int) -> None:
        """The request says how much; every client here takes what comes until it has had enough."""
        if not sock.recv(64):
            self._end(sock)
            return
        self._handlers[sock.fileno()] = lambda events: self._send(sock)
        self._poll.modify(sock, select.EPOLLOUT)

    def _send(self, sock: socket.socket) -> None:
        sock.send(BLOCK)

    def _datagram(self, events: int) -> None:
        (udp,) = (sock for sock in self._socks.values() if sock.type == socket.SOCK_DGRAM)
        while True:
            data, peer = udp.recvfrom(65_535)
            udp.sendto(data, peer)

    def run(self) -> None:
        """Until standard input ends."""
        while True:
            for fd, events in self._poll.poll():
                handler = self._handlers.get(fd)
                try:
                    if handler is not None:
                        handler(events)
                except BlockingIOError:
                    pass
                except OSError:  # reset: the client has had enough
                    self._end(self._socks[fd])


def main(words: list[str]) -> int:
    """As the file's docstring says; an error is one line."""
    name, host, *rest = words
    try:
        if name == "serve":
            server = Server(host)
            print("ready", flush=True)
            server.run()
        else:
            print(json.dumps(WORKLOADS[name](host, float(rest[0]))))
    except OSError as error:
        print(f"{name}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
