"""A transfer that loses four segments, traced and captured at the same time."""

from dataclasses import dataclass

import pytest

from scapystack.base.offload import finished
from scapystack.hooks.packets import DROP
from scapystack.trace import TraceFile, read_trace
from tests.harness.duo import Duo

LOST = (40, 41, 60, 300)


@dataclass
class Recorded:
    path: object
    """The trace file of the client."""
    events: list
    packets: list
    """(time, octets) at the client."""
    info: object


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("plot") / "run.jsonl"
    packets = []
    with Duo(delay_ms=20) as duo:
        full = []

        @duo.one.hook("tx", "segment", filter=lambda packet: len(packet) > 1_000)
        def lose(packet):
            full.append(packet)
            return DROP if len(full) in LOST else None

        with duo.one.driver.entered() as net:
            trace = TraceFile(net, path, clock=lambda: net.core.now)

            def keep(frame):  # before any is lost, as the capture of a sender has it
                packets.append((net.core.now, finished(frame)))
                return frame

            net.hooks.tx.insert(0, keep)
            net.hooks.rx.append(keep)
        duo.send(700_000)
        info = next(iter(duo.one.net.tcp.connections.values())).info()
        duo.client.close()
        duo.simulation.run_for(100_000_000)
        duo.server.close()
        duo.simulation.run_for(100_000_000_000)
        trace.close()
    return Recorded(path, list(read_trace(path)), packets, info)
