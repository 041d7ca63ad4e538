"""A `Network` of two hosts with one connection, for what needs a real exchange and nothing more.

with Duo() as duo:
    duo.one.hook("tx", "segment")(drop_nth(3))
    duo.send(50_000)                         # from one to two, checked octet for octet
"""

from __future__ import annotations

from typing import Any

from scapystack.base.types import SECOND
from scapystack.sim import Network
from scapystack.sim.host import Settings
from scapystack.sockets.base import Socket
from tests.harness.octets import pattern


class Duo(Network):
    """`one` is 10.0.0.1 and `two` is 10.0.0.2, `delay_ms` apart. With `offload` super-segments pass whole."""

    def __init__(self, *, delay_ms: float = 10, config: Settings = None, offload: bool = False) -> None:
        super().__init__(seed=1)
        self.one, self.two = self.host("one", config), self.host("two", config)
        addresses, macs = ("10.0.0.1/24", "10.0.0.2/24"), ("02:00:00:00:00:01", "02:00:00:00:00:02")
        self.link(self.one, self.two, addresses=addresses, macs=macs, delay_ms=delay_ms, whole=offload)
        self.client: Any = None
        self.server: Any = None

    def connect(self, port: int = 80) -> tuple[Socket, Socket]:
        """`one` connects to `two`: the client's socket and the server's."""
        with self.two.create_server(("", port)) as listener:
            self.client = self.one.create_connection(("10.0.0.2", port))
            self.server, _ = listener.accept()
        return self.client, self.server

    def send(self, size: int, *, back: bool = False) -> float:
        """Octets from `one` to `two` (or `back`) over the connection; the seconds that it took. All must arrive."""
        if self.client is None:
            self.connect()
        source, sink = (self.server, self.client) if back else (self.client, self.server)
        data, got = pattern(size), bytearray()
        begun = self.now

        def receive() -> None:
            while len(got) < size and (piece := sink.recv(65_536)):
                got.extend(piece)

        reader = self.simulation.start(receive, "reader")
        self.simulation.start(lambda: source.sendall(data), "writer")
        assert self.simulation.run(lambda: reader.done), f"{len(got)} of {size} octets came"
        assert bytes(got) == data
        return (self.now - begun) / SECOND
