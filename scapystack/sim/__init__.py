"""Networks of stacks in virtual time, in a few lines of Python, with the same octets every run.

    from scapystack.sim import Network

    net = Network(seed=7)
    a, b = net.host("a"), net.host("b")
    net.link(a, b, delay_ms=20, loss=0.01)
    b.spawn(server)
    a.spawn(client)
    print(net.run())

Read `network` first; `docs/simulation.md` is the guide.
"""

from scapystack.link.faults import (
    GilbertElliott,
    Impairment,
    Rule,
    corrupt,
    delay,
    drop,
    duplicate,
    replace,
    scapy,
    tcp,
)
from scapystack.sim.host import App, Host
from scapystack.sim.link import SimLink
from scapystack.sim.network import Network
from scapystack.sim.port import Port
from scapystack.sim.report import Report
from scapystack.sim.trace import Trace

__all__ = [
    "App", "GilbertElliott", "Host", "Impairment", "Network", "Port", "Report", "Rule", "SimLink", "Trace",
    "corrupt", "delay", "drop", "duplicate", "replace", "scapy", "tcp",
]  # fmt: skip
