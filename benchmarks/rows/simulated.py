"""Two stacks with their drivers over a memory link in virtual time, as tests have them: CPU time of it all.

The same transfer under every codec mode, and with hooks, observers and captures attached, shows what looking at
frames costs; a thousand connections, each with something to send, what they leave of one's speed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.pair import Meter
from benchmarks.row import Row
from scapystack.base.addr import ANY4, ip
from scapystack.base.frames import Frame
from scapystack.base.types import MICROSECOND
from scapystack.layers.tcp.user import Connection
from scapystack.link.base import Link
from scapystack.link.capture import CaptureLink
from scapystack.link.memory import MemoryLink
from scapystack.runtime.driver import Driver
from scapystack.runtime.virtual import Simulation
from scapystack.sim import Host, Network
from scapystack.sockets.services import start_services
from scapystack.stack import NetStack

A, B = ip("10.0.0.1"), ip("10.0.0.2")
PORT = 9
CHUNK = bytes(1 << 18)
MSS = 1448
_OPENING = 100_000_000
_LEAST = 300_000_000  # with less, what a thousand connections do at their beginning counts too much


class Duo:
    """Two simulated hosts, `a` and `b`, 20 us apart; `b` reads and drops what comes to PORT."""

    def __init__(self, *, offload: bool, codec: str = "compiled", wrap: Callable[[Link], Link] = lambda link: link):
        self.sim = Simulation()
        self.received = 0
        self.taken: list[Connection] = []
        links = MemoryLink.pair(offload=offload, delay=20 * MICROSECOND)
        self.drivers: list[Driver] = []
        for n, link in enumerate(links, 1):
            stack = NetStack(seed=n, codec=codec)
            self.drivers.append(self.sim.add(stack, wrap(link)))
            stack.add_address(stack.interfaces[1], f"10.0.0.{n}/24")
            stack.arp.add_static(stack.interfaces[1], (B, A)[n - 1], links[2 - n].mac)
        self.a, self.b = self.drivers[0].stack, self.drivers[1].stack
        self.listener = self.b.tcp.listen(ANY4, PORT, 2_000)
        self.listener.on_ready = self._accept

    def _accept(self) -> None:
        while (taken := self.listener.accept()) is not None:
            self.taken.append(taken)
            taken.on_ready = partial(self._drop, taken)
            self._drop(taken)

    def _drop(self, taken: Connection) -> None:
        self.received += taken.discard(1 << 30)

    def send(self, ahead: int) -> None:
        """Open a connection that has something to send always, so much ahead of what is acknowledged."""
        with self.drivers[0].entered() as stack:
            made = stack.tcp.connect(B, PORT)

            def fill() -> None:
                while made.connected and made.unsent < ahead and made.write(CHUNK[:ahead]):
                    pass
                made.want_write = True

            made.on_ready = fill

    def speed(self, seconds: float) -> float:
        """Octets a CPU second, once it is under way."""
        while self.received < 2 << 20:
            self.sim.step()
        before = self.received
        meter = Meter(seconds)
        while meter.on():
            for _ in range(20):
                self.sim.step()
        return (self.received - before) / meter.spent


def bulk(
    seconds: float,
    *,
    offload: bool,
    codec: str = "compiled",
    wrap: Callable[[Link], Link] = lambda link: link,
    prepare: Callable[[NetStack], None] = lambda stack: None,
) -> float:
    """MB/s of one connection."""
    duo = Duo(offload=offload, codec=codec, wrap=wrap)
    for stack in (duo.a, duo.b):
        prepare(stack)
    duo.send(4 << 20)
    return duo.speed(seconds) / 1e6


def segments(seconds: float) -> float:
    """Segments with data a second."""
    return bulk(seconds, offload=False) * 1e6 / MSS


def echo(seconds: float) -> float:
    """Segments a second where each round of a driver has one: an octet back and forth."""
    duo = Duo(offload=False)
    start_services(duo.drivers[1], "echo")
    count = 0
    with duo.drivers[0].entered() as stack:
        made = stack.tcp.connect(B, 7)
        made.options.nodelay = True

        def again() -> None:
            nonlocal count
            if made.available:
                made.read(1)
                count += 2
            if made.connected and not made.unsent:
                made.write(b"x")

        made.on_ready = again
    meter = Meter(seconds)
    while meter.on():
        for _ in range(50):
            duo.sim.step()
    return count / meter.spent


def network(seconds: float, serve: Callable[[Host], Any], send: Callable[[Host, str], Any], **faults: Any) -> float:
    """Segments, those that only acknowledge too, a second of a `Network` of two hosts in which a program sends."""
    with Network(seed=1) as net:
        a, b = net.host("a"), net.host("b")
        link = net.link(a, b, delay_ms=10, **faults)
        b.spawn(serve)
        a.spawn(send, b.address)
        net.run(0.2)
        count = [0]

        def note(end: object, frame: object, passages: object) -> None:
            count[0] += 1

        link.watchers.append(note)
        meter = Meter(seconds)
        while meter.on():
            net.run(0.01)
        return count[0] / meter.spent


def read_all(host: Host) -> None:
    """A program: drop what one connection brings."""
    with host.create_server(("", PORT)) as server:
        sock, _ = server.accept()
        while sock.recv(65_536):
            pass


def write_on(host: Host, address: str) -> None:
    """A program: send for ever."""
    with host.create_connection((address, PORT)) as sock:
        while True:
            sock.sendall(CHUNK)


async def read_all_async(host: Host) -> None:
    """The same as a coroutine."""
    server = await host.asyncio().start_server(lambda *both: taken.set_result(both), "", PORT)
    taken = asyncio.get_running_loop().create_future()
    reader, _writer = await taken  # later Pythons close a connection whose writer nobody keeps
    while await reader.read(65_536):
        pass
    server.close()


async def write_on_async(host: Host, address: str) -> None:
    """The same as a coroutine."""
    _, writer = await host.asyncio().open_connection(address, PORT)
    while True:
        writer.write(CHUNK)
        await writer.drain()


def share(seconds: float) -> float:
    """How fast 1,000 connections, all of them sending, move so much together, against one that moves it.

    Once their windows are open and the memory of it all is there: the first octets, 100 KB each, do not count.
    """
    octets = max(round(seconds * 5e8), _LEAST)

    def spent(connections: int, ahead: int) -> float:
        duo = Duo(offload=False)
        for _ in range(connections):
            duo.send(ahead)
        while len(duo.taken) < connections:
            duo.sim.step()
        while duo.received < _OPENING:
            duo.sim.step()
        until = duo.received + octets
        meter = Meter(0)
        while duo.received < until:
            duo.sim.step()
        meter.on()
        return meter.spent

    return spent(1, 4 << 20) / spent(1_000, 1 << 16)


def with_hooks(stack: NetStack) -> None:
    """One that lets every frame pass, each way."""
    stack.hooks.rx.append(lambda frame: frame)
    stack.hooks.tx.append(lambda frame: frame)


def with_packets(stack: NetStack) -> None:
    """An observer that has Scapy dissect every frame."""

    def look(way: str, frame: Frame) -> None:
        assert frame.packet is not None

    stack.taps.append(look)


def captured(link: Link) -> Link:
    """Every frame is written to a file that forgets it."""
    return CaptureLink(link, "/dev/null")


def transfer(name: str, what: str, **how: Any) -> Row:
    """Megabytes a second of one connection."""
    return Row(name, what, "MB/s", partial(bulk, **how))


RATE = 12_500_000
"""Octets a second: every frame arrives by itself, and is a round of the driver's."""

blocking = partial(network, serve=read_all, send=write_on, rate=RATE)
coroutines = partial(network, serve=read_all_async, send=write_on_async, rate=RATE)
unlimited = partial(network, serve=read_all, send=write_on)

ROWS: list[Row] = [
    Row("sim.segments", "simulated: segments of a transfer, wire-size", "1/s", segments, goal=40_000),
    Row("sim.echo", "simulated: segments of one octet, back and forth", "1/s", echo),
    Row("net.blocking", "a Network: blocking programs over 100 Mbit/s, ACKs too", "1/s", blocking, goal=20_000),
    Row("net.coroutines", "  coroutines", "1/s", coroutines, goal=20_000),
    Row("net.unlimited", "  blocking programs, a link without a rate", "1/s", unlimited, goal=20_000),
    Row("sim.share", "1,000 connections that all send, against one, wire-size", "ratio", share),
    transfer("mode.compiled", "simulated transfer, wire-size, codec compiled", offload=False),
    transfer("mode.scapy", "  every header by Scapy", offload=False, codec="scapy"),
    transfer("mode.paranoid", "  both, compared", offload=False, codec="paranoid"),
    transfer("mode.hook", "  with a hook each way", offload=False, prepare=with_hooks),
    transfer("mode.packets", "  with Scapy's packet of each frame", offload=False, prepare=with_packets),
    transfer("mode.capture", "  captured at both ends", offload=False, wrap=captured),
    transfer("mode.super", "simulated transfer, super-segments, codec compiled", offload=True),
    transfer("mode.super-scapy", "  every header by Scapy", offload=True, codec="scapy"),
    transfer("mode.super-paranoid", "  both, compared", offload=True, codec="paranoid"),
    transfer("mode.super-hook", "  with a hook each way", offload=True, prepare=with_hooks),
    transfer("mode.super-packets", "  with Scapy's packet of each frame", offload=True, prepare=with_packets),
    transfer("mode.super-capture", "  captured at both ends", offload=True, wrap=captured),
]
