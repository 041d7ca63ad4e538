"""A server in a process of its own, the kernel as its client: what `aio` and `handoff` measure with.

A `Place` is two namespaces: the kernel's client in one, on a TAP whose other end is the stack, or at one end of a
veth whose other end is a kernel's server in the second. All traffic stays in them, and both are removed at the end.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

from scapystack.link import netns
from scapystack.link.netlink import Netlink
from scapystack.link.tap import TapLink
from scapystack.sockets.facade import Stack

SERVER, CLIENT = "10.0.0.1", "10.0.0.2"
DISCARD, ECHO, SOURCE = 9, 7, 19
CHUNK = bytes(1 << 20)
_ENOUGH = 1 << 40
_TICK = os.sysconf("SC_CLK_TCK")


class Place:
    """The namespaces; a context manager."""

    def __init__(self) -> None:
        self.client, self.server = (f"ssbench-{os.getpid()}-{side}" for side in ("client", "server"))
        for name in (self.client, self.server):
            netns.create(name)
        self.net = Netlink(self.client)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *error: object) -> None:
        for name in (self.client, self.server):
            netns.remove(name)

    def cable(self) -> None:
        """A veth between client and server, both the kernel's."""
        self.net.add_veth("eth0", "eth0", self.server)
        for net, address in ((self.net, CLIENT), (Netlink(self.server), SERVER)):
            net.set_up("eth0")
            net.add_address("eth0", f"{address}/24")

    def stack(self, offload: bool, codec: str = "compiled") -> Stack:
        """A stack on a TAP, the client at the other end of it. Not started."""
        link = TapLink("tap0", netns=self.client, offload=offload)
        self.net.set_up("tap0")
        self.net.add_address("tap0", f"{CLIENT}/24")
        return Stack(f"{SERVER}/24", link=link, codec=codec)

    def listening(self, port: int) -> socket.socket:
        """A listening socket of the kernel's, on the server's side."""
        sock = netns.in_namespace(self.server, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((SERVER, port))
        sock.listen(128)
        return sock

    def connect(self, port: int) -> socket.socket:
        """A connection of the client's."""
        sock = netns.in_namespace(self.client, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        sock.settimeout(20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        sock.connect((SERVER, port))
        return sock


class Served:
    """`serve(place, ready)` in a child process, which is killed at the end; a context manager."""

    def __init__(self, serve: Callable[[Place, Callable[[], None]], None], *, pinned: bool = False) -> None:
        self.place = Place()
        self.cpus = os.sched_getaffinity(0)
        if pinned:
            os.sched_setaffinity(0, {min(self.cpus)})
        inner, outer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                serve(self.place, lambda: os.close(outer) if os.write(outer, b"x") else None)
            finally:
                os._exit(1)
        os.close(outer)
        ready = os.read(inner, 1)
        os.close(inner)
        if not ready:
            self.__exit__()
            raise RuntimeError("the server did not come up")

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *error: object) -> None:
        os.sched_setaffinity(0, self.cpus)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.place.__exit__()

    @property
    def cpu_s(self) -> float:
        """What the server has taken of the processors so far."""
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK


Result = dict[str, float]


def bulk_in(served: Served, seconds: float) -> Result:
    """The client sends as much as it can; the clock stops when the server has had all of it."""
    with served.place.connect(DISCARD) as sock:
        cpu, start, octets = served.cpu_s, time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            sock.sendall(CHUNK)
            octets += len(CHUNK)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)
        return _rate(octets, time.perf_counter() - start, served.cpu_s - cpu)


def bulk_out(served: Served, seconds: float) -> Result:
    """The server sends as much as it can."""
    room = bytearray(1 << 20)
    with served.place.connect(SOURCE) as sock:
        sock.sendall(b"%d\n" % _ENOUGH)
        cpu, start, octets = served.cpu_s, time.perf_counter(), 0
        while (spent := time.perf_counter() - start) < seconds:
            octets += sock.recv_into(room)
        return _rate(octets, spent, served.cpu_s - cpu)


def _rate(octets: int, seconds: float, cpu: float) -> Result:
    return {"MB/s": octets / seconds / 1e6, "CPU s/GB": cpu / octets * 1e9}


def echo(served: Served, seconds: float) -> Result:
    """One octet there and back, one at a time."""
    times = []
    with served.place.connect(ECHO) as sock:
        end = time.perf_counter() + seconds
        before = 0.0
        while before < end:
            before = time.perf_counter()
            sock.send(b"x")
            sock.recv(1)
            times.append(time.perf_counter() - before)
    return {"a second": len(times) / sum(times), "median us": statistics.median(times) * 1e6}


CROWD = 16


def crowd(served: Served, seconds: float) -> Result:
    """The same of so many connections at a time, each its next octet when it has the last one back."""
    times = []
    epoll = select.epoll()
    socks = {sock.fileno(): sock for sock in (served.place.connect(ECHO) for _ in range(CROWD))}
    begun = dict.fromkeys(socks, 0.0)
    start = time.perf_counter()
    for fd, sock in socks.items():
        epoll.register(fd, select.EPOLLIN)
        begun[fd] = time.perf_counter()
        sock.send(b"x")
    now = start
    while now - start < seconds:
        for fd, _ in epoll.poll(1.0):
            sock = socks[fd]
            sock.recv(1)
            now = time.perf_counter()
            times.append(now - begun[fd])
            begun[fd] = now
            sock.send(b"x")
    for sock in socks.values():
        sock.recv(1)
        sock.close()
    return {"a second": len(times) / (now - start), "median us": statistics.median(times) * 1e6}


def connections(served: Served, seconds: float) -> Result:
    """Connect, 16 octets there and back, close; one after another."""
    count = 0
    connect = served.place.connect
    start = time.perf_counter()

    def work() -> None:
        nonlocal count
        while time.perf_counter() - start < seconds:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.connect((SERVER, ECHO))
                sock.sendall(bytes(16))
                sock.recv(16)
            count += 1

    connect(ECHO).close()
    start = time.perf_counter()
    netns.in_namespace(served.place.client, work)
    return {"a second": count / (time.perf_counter() - start)}


LOADS: dict[str, tuple[Callable[[Served, float], Result], bool]] = {
    "in": (bulk_in, False),
    "out": (bulk_out, False),
    "echo": (echo, False),
    "echo-pinned": (echo, True),
    "crowd": (crowd, False),
    "crowd-pinned": (crowd, True),
    "connections": (connections, False),
    "connections-pinned": (connections, True),
}
"""Each with whether server and client share one processor."""


def measure(serve: Callable[[Place, Callable[[], None]], None], load: str, seconds: float) -> Result:
    """One run of a load on a fresh server."""
    run, pinned = LOADS[load]
    with Served(serve, pinned=pinned) as served:
        run(served, min(seconds / 4, 0.3))  # ARP, windows, caches
        return run(served, seconds)


def medians(rounds: list[Result]) -> dict[str, Any]:
    """Of each figure over some rounds."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
