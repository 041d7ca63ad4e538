"""One flow in bulk through a bottleneck: a rate, a delay each way, a queue, and losses if asked for.

    path = Bottleneck("cubic", rate=2_500_000, delay_ms=25, queue_ms=50)
    path.run(10)                    # seconds
    path.goodput                    # octets a second that the receiver's application has read

As a program (`python -m tests.sim.bottleneck`) it prints a table of paths and algorithms.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from scapystack.base.addr import ip
from scapystack.base.config import StackConfig
from scapystack.base.frames import Frame
from scapystack.base.rng import Rng
from scapystack.base.types import SECOND
from scapystack.layers.tcp.congestion import names
from scapystack.layers.tcp.user import Connection
from scapystack.link.base import WrappedLink
from scapystack.link.impair import ImpairedLink, Impairment
from scapystack.link.memory import MemoryLink
from scapystack.runtime.virtual import Simulation
from scapystack.stack import NetStack

PORT = 9
CHUNK = bytes(65_536)


class Bottleneck:
    """Two stacks, one connection, and a sender that always has something to send."""

    def __init__(
        self,
        congestion: str,
        *,
        rate: int,
        delay_ms: float,
        queue_ms: float,
        loss: float = 0.0,
        jitter_ms: float = 0.0,
        seed: int = 1,
    ) -> None:
        rng = Rng(seed)
        self.sim = Simulation(start=SECOND)
        self.way = Impairment(rate=rate, delay_ms=delay_ms, queue_ms=queue_ms, loss=loss, jitter_ms=jitter_ms)
        ends = MemoryLink.pair(("a0", "b0"))
        links: list[WrappedLink] = [
            ImpairedLink(ends[0], seed=rng.bytes(32), tx=self.way),
            ImpairedLink(ends[1], seed=rng.bytes(32), tx=Impairment(delay_ms=delay_ms)),
        ]
        self.received = 0
        self.digest = sha256()
        """Of every frame that the sender has sent, with its time."""
        config = StackConfig()
        config.tcp.congestion = congestion
        drivers = []
        for link, address in zip(links, ("10.0.0.1/24", "10.0.0.2/24"), strict=True):
            driver = self.sim.add(NetStack(config, seed=rng.bytes(32)), link)
            with driver.entered() as stack:
                stack.add_address(stack.interfaces[1], address)
            drivers.append(driver)
        with drivers[1].entered() as stack:
            listener = stack.tcp.listen(ip("0.0.0.0"), PORT, 8)

        def accept() -> None:
            connection = listener.accept()
            if connection is not None:
                connection.on_ready = lambda: self._read(connection)
                self._read(connection)

        listener.on_ready = accept
        drivers[0].stack.taps.append(self._note)
        with drivers[0].entered() as stack:
            self.sender: Connection = stack.tcp.connect(ip("10.0.0.2"), PORT)
            self.sender.on_ready = self._write

    def _note(self, way: str, frame: Frame) -> None:
        self.digest.update(f"{way} {self.sim.now} ".encode() + frame.data)

    def _write(self) -> None:
        while self.sender.connected and self.sender.write(CHUNK) == len(CHUNK):
            pass

    def _read(self, connection: Connection) -> None:
        self.received += connection.discard(connection.available)

    def run(self, seconds: float) -> None:
        """Let it go on for so long."""
        self.sim.run_for(round(seconds * SECOND))

    @property
    def goodput(self) -> float:
        """Octets a second since the start."""
        return self.received * SECOND / (self.sim.now - SECOND)


PATHS: dict[str, dict[str, Any]] = {
    "20 Mbit/s, 50 ms, queue 50 ms": {"rate": 2_500_000, "delay_ms": 25, "queue_ms": 50},
    "20 Mbit/s, 50 ms, queue 10 ms": {"rate": 2_500_000, "delay_ms": 25, "queue_ms": 10},
    "20 Mbit/s, 50 ms, queue 500 ms": {"rate": 2_500_000, "delay_ms": 25, "queue_ms": 500},
    "20 Mbit/s, 50 ms, 0.1% loss": {"rate": 2_500_000, "delay_ms": 25, "queue_ms": 50, "loss": 0.001},
    "20 Mbit/s, 50 ms, 1% loss": {"rate": 2_500_000, "delay_ms": 25, "queue_ms": 50, "loss": 0.01},
    "80 Mbit/s, 200 ms, queue 50 ms": {"rate": 10_000_000, "delay_ms": 100, "queue_ms": 50},
    "4 Mbit/s, 10 ms, queue 50 ms": {"rate": 500_000, "delay_ms": 5, "queue_ms": 50},
}


if __name__ == "__main__":
    for title, settings in PATHS.items():
        for name in names():
            path = Bottleneck(name, **settings)
            path.run(20)
            info = path.sender.info()
            print(
                f"{title:32} {name:6} {path.goodput * 8 / 1e6:7.2f} Mbit/s  {path.way.lost:5} lost"
                f"  {info.total_retrans:5} sent again  srtt {info.rtt_us / 1000:6.1f} ms"
            )
