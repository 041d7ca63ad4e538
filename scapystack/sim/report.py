"""`Report`: how a run of a network ended, and what was still open then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scapystack.base.addr import endpoint_text, ip_text
from scapystack.layers.tcp.state import STATE_NAMES

if TYPE_CHECKING:
    from scapystack.sim.host import Host
    from scapystack.sim.network import Network

_WHY = {"idle": "nothing was left to happen", "time": "the time was up", "condition": "what was waited for came"}


@dataclass(frozen=True)
class Report:
    """`time` is seconds of virtual time; `why` the run ended: `idle`, `time` or `condition`; `open` a line for each
    program, connection, listener, socket, frame and packet that was not done with by then."""

    time: float
    why: str
    open: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.time:.6f} s: {_WHY[self.why]}; {'still open:' if self.open else 'nothing is open'}"]
        return "\n  ".join([*lines, *self.open])


def open_things(network: Network) -> tuple[str, ...]:
    """What is still open in a network, in a fixed order."""
    lines = [
        f"{app.host.name}: program {app.name} {'at ' + where if (where := app.where()) else 'has not begun'}"
        for app in network.apps
        if not app.done
    ]
    for host in network.hosts:
        lines += [f"{host.name}: {line}" for line in _of_host(host)]
    for link in network.links:
        if link.under_way:
            lines.append(f"{link.name}: {_count(link.under_way, 'frame')} under way")
    return tuple(lines)


def _of_host(host: Host) -> Iterator[str]:
    net = host.net
    for c in net.tcp.connections.values():
        ends = f"{endpoint_text(c.local_addr, c.local_port)} > {endpoint_text(c.remote_addr, c.remote_port)}"
        line = f"TCP {ends} {STATE_NAMES[c.state]}"
        for octets, what in ((len(c.sendbuf), "not acknowledged"), (len(c.recvq), "unread")):
            line += f", {octets} octets {what}" if octets else ""
        yield line
    for listener in net.tcp.listeners.values():
        waiting = f", {len(listener.queue)} not accepted" if listener.queue else ""
        yield f"TCP {endpoint_text(listener.local_addr, listener.local_port)} LISTEN{waiting}"
    for endpoint in net.udp.endpoints:
        yield f"UDP {endpoint_text(endpoint.local_addr, endpoint.local_port)}{_unread(endpoint.waiting)}"
    for raw in (raw for endpoints in net.raw.endpoints.values() for raw in endpoints):
        yield f"raw protocol {raw.proto}{_unread(raw.waiting)}"
    for ident in net.icmp.endpoints:
        yield f"ping identifier {ident}"
    for entry in net.arp.entries():
        if entry.queue:
            yield f"{_count(len(entry.queue), 'packet')} waiting for the hardware address of {ip_text(entry.address)}"
    if net.ipv4.reassembly:
        yield f"{_count(len(net.ipv4.reassembly), 'datagram')} lacking fragments"


def _unread(octets: int) -> str:
    return ", unread" if octets else ""


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
