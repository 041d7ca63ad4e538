"""Two stacks over a memory link that loses, repeats, reorders and damages frames, and all that they
do with each other in a minute of virtual time: pings, UDP, fragments, TCP both ways, a refused connect.

`Scenario(seed).run()` gives the captures, whose octets the tests compare. As a program
(`python -m tests.sim.scenario 7`) it prints their digest, for another process to compare.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO

from scapystack.base.addr import ip
from scapystack.base.rng import Rng
from scapystack.base.types import SECOND
from scapystack.layers.icmp import EchoReply, PingEndpoint
from scapystack.layers.tcp.state import CLOSED
from scapystack.layers.tcp.user import Connection
from scapystack.layers.udp import UdpEndpoint
from scapystack.runtime.driver import Driver
from scapystack.sim import Network

A, B = ip("10.0.0.1"), ip("10.0.0.2")
ECHO, SINK, CLOSED_PORT = 7, 9, 81


class Stream:
    """An application on a connection: writes its text, reads the peer's to the end, and closes."""

    def __init__(self, connection: Connection, text: bytes) -> None:
        self.connection = connection
        self.text = text
        self.sent = 0
        self.received = b""
        connection.on_ready = self.ready
        self.ready()

    def ready(self) -> None:
        c = self.connection
        if not c.connected:
            return
        if self.sent < len(self.text):
            while (taken := c.write(self.text[self.sent : self.sent + 20_000])) > 0:
                self.sent += taken
            if self.sent == len(self.text):
                c.shutdown_write()
        while c.available:
            self.received += c.read(5_000)
        if c.eof and self.sent == len(self.text):
            c.close()


class Scenario:
    """Everything follows from `seed`: both stacks' numbers, the faults, the texts."""

    def __init__(self, seed: int, *, codec: str = "compiled", scale: int = 200_000, whole: bool = False) -> None:
        rng = Rng(seed)
        self.scale = scale
        self.net = net = Network(seed, codec=codec)
        self.sim = net.simulation
        self.files = [BytesIO(), BytesIO()]
        settings = {
            "arp.tries": 20,  # nobody gives up, whatever is lost
            "tcp.syn_retries": 20,
            "tcp.synack_retries": 20,
            "tcp.sndbuf": 30_000,
        }
        hosts = [net.host(name, settings) for name in "ab"]
        faults = {"loss": 0.03, "duplicate": 0.02, "reorder": 0.03, "corrupt": 0.02, "jitter_ms": 2}
        link = net.link(
            *hosts, addresses=("10.0.0.1/24", "10.0.0.2/24"), whole=whole, delay_ms=5, rate=2_000_000, **faults
        )
        self.captures = [net.capture(file, at=host) for file, host in zip(self.files, hosts, strict=True)]
        self.drivers = [host.driver for host in hosts]
        self.impairments = [link.way(host) for host in hosts]
        self.texts = [rng.bytes(scale), rng.bytes(scale // 2)]
        self.streams: list[Stream] = []
        self.echoed: list[int] = []
        self.replies: list[EchoReply] = []
        self.refused: Connection | None = None

    # -- what both do

    def _serve(self, driver: Driver) -> None:
        with driver.entered() as stack:
            udp = stack.udp.bind(ip("0.0.0.0"), ECHO)
            udp.on_ready = lambda: self._echo(udp)
            listener = stack.tcp.listen(ip("0.0.0.0"), SINK, 8)

            def accept() -> None:
                while (connection := listener.accept()) is not None:
                    self.streams.append(Stream(connection, self.texts[1]))

            listener.on_ready = accept

    @staticmethod
    def _echo(endpoint: UdpEndpoint) -> None:
        while (item := endpoint.recv()) is not None:
            endpoint.send(item[0], item[1], item[2])

    def _talk(self, driver: Driver, peer: bytes) -> None:
        with driver.entered() as stack:
            self.streams.append(Stream(stack.tcp.connect(peer, SINK), self.texts[0]))
            udp = stack.udp.bind(ip("0.0.0.0"), 0)

            def count() -> None:
                while (item := udp.recv()) is not None:
                    self.echoed.append(len(item[0]))

            udp.on_ready = count
            pings = stack.icmp.open()
            pings.on_ready = lambda: self._collect(pings)
        scale = self.scale
        for number, size in enumerate((0, 10, 1_472, 1_473, scale // 40, scale // 20, scale // 5)):
            self._later(driver, number, lambda size=size: udp.send(self.texts[0][:size], peer, ECHO))
            self._later(driver, number, lambda size=size, n=number: pings.send(peer, n, self.texts[1][:size]))

    def _later(self, driver: Driver, number: int, call: Callable[[], object]) -> None:
        """Datagrams leave a while after each other: what waits for ARP is bounded."""

        def act() -> None:
            with driver.entered():
                call()

        self.sim.at(self.sim.now + number * 300_000_000, act)

    def _collect(self, pings: PingEndpoint) -> None:
        while (item := pings.recv()) is not None:
            if isinstance(item, EchoReply):
                self.replies.append(item)

    # -- all of it

    def run(self) -> list[bytes]:
        """A minute, and then until every connection is gone; both captures."""
        for driver in self.drivers:
            self._serve(driver)
        for driver, peer in zip(self.drivers, (B, A), strict=True):
            self._talk(driver, peer)
        with self.drivers[0].entered() as stack:
            self.refused = stack.tcp.connect(B, CLOSED_PORT)
            stack.udp.bind(A, 5_000).send(b"nobody there", B, CLOSED_PORT)
        self.sim.run_for(60 * SECOND)
        self.sim.run(lambda: all(stream.connection.state == CLOSED for stream in self.streams))
        for capture in self.captures:
            capture.close()
            assert not capture.error
        return [file.getvalue() for file in self.files]


def digest(captures: list[bytes]) -> str:
    """One number for the octets of both captures."""
    return sha256(b"".join(len(capture).to_bytes(8, "big") + capture for capture in captures)).hexdigest()


if __name__ == "__main__":
    print(digest(Scenario(int(sys.argv[1]), codec=sys.argv[2] if len(sys.argv) > 2 else "compiled").run()))
