"""Two whole stacks with sockets on one cable, in virtual time: for what needs a real exchange and no network.

with Duo() as duo:
    duo.one.hook("tx", "segment")(drop_nth(3))
    duo.send(bytes(50_000))                  # from one to two, checked octet for octet
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from scapystack import Stack
from scapystack.base.config import StackConfig
from scapystack.link.memory import MemoryLink
from scapystack.runtime.virtual import Simulation
from scapystack.sockets.base import Socket

MS = 1_000_000


def pattern(size: int) -> bytes:
    """Octets that show a gap, a repetition or an exchange."""
    return b"".join(i.to_bytes(4, "big") for i in range(size // 4 + 1))[:size]


class Duo:
    """`one` is 10.0.0.1 and `two` is 10.0.0.2, `delay_ms` apart. `frames` are the (way, Scapy packet) at `one`."""

    def __init__(self, *, delay_ms: float = 10, config: StackConfig | None = None, offload: bool = False) -> None:
        self.simulation = Simulation()
        ours, theirs = MemoryLink.pair(delay=int(delay_ms * MS), offload=offload)
        make = {"simulation": self.simulation, "config": config}
        self.one = Stack("10.0.0.1/24", link=ours, seed=1, **make)
        self.two = Stack("10.0.0.2/24", link=theirs, seed=2, **make)
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
        begun = self.simulation.now

        def receive() -> None:
            while len(got) < size and (piece := sink.recv(65_536)):
                got.extend(piece)

        reader = self.simulation.start(receive, "reader")
        self.simulation.start(lambda: source.sendall(data), "writer")
        assert self.simulation.run(lambda: reader.done), f"{len(got)} of {size} octets came"
        assert bytes(got) == data
        return (self.simulation.now - begun) / 1e9

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stack in (self.one, self.two):
            stack.close()
        self.simulation.close()
