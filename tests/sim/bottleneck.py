"""Flows in bulk through a bottleneck: a rate, a delay each way, a queue, and faults if asked for.

    path = Bottleneck("cubic", rate=2_500_000, delay_ms=25, queue_ms=50, loss=0.01)
    path.run(10)                    # seconds
    path.goodput                    # octets a second that the receiver's application has read

The faults (`loss` and whatever else `Impairment` takes) begin on the sender's way once the first
connection stands, for a lost SYN would cost a second and say nothing about what comes after it;
those of `back` on the way of the ACKs. `start` adds flows. What every flow delivers is compared,
octet by octet, with what was sent. `tests.sim.paths` has a table of such paths, with figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from scapystack.base.addr import ip
from scapystack.base.frames import Frame
from scapystack.base.rng import Rng
from scapystack.base.types import SECOND
from scapystack.layers.tcp.user import Connection
from scapystack.sim import Impairment, Network

PORT = 9
PERIOD = 65_521
"""Octets after which the text repeats itself: a prime, so that a segment in a wrong place shows."""
_TEXT = Rng(0).bytes(PERIOD)


class Flow:
    """One connection: a sender that has something to send until `size` octets (None: always), and its reader."""

    def __init__(self, path: Bottleneck, congestion: str, size: int | None) -> None:
        self.path = path
        self.size = size
        self.sent = 0
        self.received = 0
        self.intact = True
        """Whether every octet read so far is the one that was sent at its place."""
        self.connected_at: int | None = None
        self.done_at: int | None = None
        """When the reader has come to the end of the stream (ns)."""
        with path.drivers[0].entered() as stack:
            self.sender: Connection = stack.tcp.connect(ip("10.0.1.2"), PORT)
            self.sender.options.congestion = congestion
            self.sender.options_changed()
            self.sender.on_ready = self._write

    def _write(self) -> None:
        if not self.sender.connected:
            return
        if self.connected_at is None:
            self.connected_at = self.path.sim.now
            self.path.spoil()
        while self.sent != self.size:
            at = self.sent % PERIOD
            left = PERIOD if self.size is None else self.size - self.sent
            taken = self.sender.write(_TEXT[at : at + left])
            if not taken:
                return
            self.sent += taken
        if not self.sender.write_shut:
            self.sender.shutdown_write()

    def read(self, connection: Connection) -> None:
        """What came, as the receiver's application."""
        while data := connection.read(PERIOD - self.received % PERIOD):
            at = self.received % PERIOD
            self.intact = self.intact and _TEXT.startswith(data, at)
            self.received += len(data)
        if connection.eof and self.done_at is None:
            self.done_at = self.path.sim.now

    @property
    def goodput(self) -> float:
        """Octets a second, from the connection to the end of the stream, or to now."""
        assert self.connected_at is not None
        end = self.path.sim.now if self.done_at is None else self.done_at
        return self.received * SECOND / (end - self.connected_at)


class Bottleneck:
    """Two stacks, a sender's and a receiver's, and flows from one to the other; the first has begun."""

    def __init__(
        self,
        congestion: str,
        *,
        rate: int,
        delay_ms: float,
        queue_ms: float,
        seed: int = 1,
        size: int | None = None,
        tcp: Mapping[str, Any] | None = None,
        sender: Mapping[str, Any] | None = None,
        back: Mapping[str, Any] | None = None,
        **faults: Any,
    ) -> None:
        """`tcp` are settings of the receiver's TCP, `sender` of the sender's.

        `size` is what the first flow sends (None: for ever).
        """
        self.rng = Rng(seed)
        self.net = net = Network(seed)
        self.sim = net.simulation
        one, two = (
            net.host(name, {f"tcp.{setting}": value for setting, value in (settings or {}).items()})
            for name, settings in (("a", sender), ("b", tcp))
        )
        # no ARP: a request that takes as long as the path would run into the SYN's timer
        link = net.link(one, two, arp=False, rate=rate, delay_ms=delay_ms, queue_ms=queue_ms, back={"rate": 0})
        self.way, self.back = link.way(one), link.way(two)
        self._faults = [(self.way, faults), (self.back, back or {})]
        Impairment(**faults)  # refuses what cannot be
        self.digest = sha256()
        """Of every frame that the sender has sent, with its time."""
        self.drivers = [one.driver, two.driver]
        self.flows: list[Flow] = []
        with self.drivers[1].entered() as stack:
            self._listener = stack.tcp.listen(ip("0.0.0.0"), PORT, 8)
        self._listener.on_ready = self._accept
        self.drivers[0].stack.taps.append(self._note)
        self.start(congestion, size)

    def spoil(self) -> None:
        """Let the faults begin."""
        for way, faults in self._faults:
            for name, value in faults.items():
                setattr(way, name, value)

    def start(self, congestion: str, size: int | None = None) -> Flow:
        """Begin another flow now."""
        flow = Flow(self, congestion, size)
        self.flows.append(flow)
        return flow

    def _accept(self) -> None:
        while (connection := self._listener.accept()) is not None:
            flow = next(flow for flow in self.flows if flow.sender.local_port == connection.remote_port)
            connection.on_ready = lambda flow=flow, connection=connection: flow.read(connection)
            flow.read(connection)

    def _note(self, way: str, frame: Frame) -> None:
        self.digest.update(f"{way} {self.sim.now} ".encode() + frame.data)

    def run(self, seconds: float) -> None:
        """Let it go on for so long."""
        self.sim.run_for(round(seconds * SECOND))

    @property
    def sender(self) -> Connection:
        """Of the first flow."""
        return self.flows[0].sender

    @property
    def goodput(self) -> float:
        """Of the first flow."""
        return self.flows[0].goodput
