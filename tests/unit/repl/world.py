"""Two stacks on one cable in virtual time, the first with handles."""

from __future__ import annotations

import scapystack
from scapystack.link.memory import MemoryLink
from scapystack.repl.live import Stack
from scapystack.runtime.virtual import Simulation


class World:
    """`stack` is 10.0.0.1, `peer` 10.0.0.2; `connect` gives a handle and the peer's socket."""

    def __init__(self, delay_ms: int = 5, config=None):
        self.simulation = Simulation()
        ours, theirs = MemoryLink.pair(delay=delay_ms * 1_000_000)
        self.stack = Stack("10.0.0.1/24", link=ours, seed=1, simulation=self.simulation, config=config)
        self.peer = scapystack.Stack("10.0.0.2/24", link=theirs, seed=2, simulation=self.simulation, config=config)

    def connect(self, port=80):
        with self.peer.create_server(("", port)) as listener:
            c = self.stack.connect(("10.0.0.2", port))
            server, _ = listener.accept()
        return c, server

    def run(self, ms):
        self.simulation.run_for(ms * 1_000_000)
