"""What the benchmarks between two hosts share: the hosts, and TCP of the kernel or of scapystack on them.

A `Host` is a network namespace with a bridge `lan`, into which whatever joins the hosts is plugged. On
it stands a `Side`: the kernel, whose address is the bridge's, or a stack on a TAP that is a port of the
bridge. Both give sockets that are used alike. All traffic stays in the namespaces, which are removed
at the end.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scapystack.base.config import StackConfig
from scapystack.link import netns
from scapystack.link.netlink import Netlink
from scapystack.link.tap import TapLink
from scapystack.sockets.facade import Stack

BRIDGE = "lan"
PORT = 5001
_SYSCTLS = {
    "net.ipv6.conf.all.disable_ipv6": 1,
    "net.ipv6.conf.default.disable_ipv6": 1,
    "net.ipv4.tcp_no_metrics_save": 1,  # no connection shall learn from the one before
}


class Host:
    """A namespace with a bridge; a context manager."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"ssbench-{os.getpid()}-{number}"
        self.address = f"10.0.0.{number}"
        netns.create(self.name)
        self.net = Netlink(self.name)
        for name, value in _SYSCTLS.items():
            self.sysctl(name, value)
        self.net.set_up("lo")
        self.net.add_bridge(BRIDGE)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *error: object) -> None:
        netns.remove(self.name)

    def sysctl(self, name: str, value: object) -> None:
        """Set a kernel parameter of this namespace, if there is one of that name."""
        path = Path("/proc/sys") / name.replace(".", "/")
        if path.exists():
            netns.in_namespace(self.name, lambda: path.write_text(f"{value}\n"))

    def plug(self, interface: str) -> None:
        """Make an interface a port of the bridge."""
        self.net.set_master(interface, BRIDGE)
        self.net.set_up(interface)

    def run(self, *command: str, data: str = "") -> str:
        """What a program inside prints. Raises CalledProcessError."""
        return netns.in_namespace(
            self.name,
            lambda: subprocess.run(command, input=data, capture_output=True, text=True, check=True).stdout,
        )


@dataclass
class Look:
    """A sender's state as it is now."""

    rto: float  # seconds, backed off already
    backoff: int
    resent: int
    """Segments sent again so far."""


class KernelSide:
    """The kernel of a host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        host.net.add_address(BRIDGE, f"{host.address}/24")

    def listen(self, port: int = PORT) -> Any:
        """A listening socket."""
        made = self._socket("")
        made.bind((self.host.address, port))
        made.listen(8)
        return made

    def connect(self, address: str, congestion: str = "", port: int = PORT) -> Any:
        """A connected socket."""
        made = self._socket(congestion)
        made.connect((address, port))
        return made

    def _socket(self, congestion: str) -> socket.socket:
        made = netns.in_namespace(self.host.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        made.settimeout(30)
        choose(made, congestion)
        return made

    @staticmethod
    def look(sock: Any) -> Look:
        """By TCP_INFO (struct tcp_info of linux/tcp.h)."""
        octets = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        (backoff,) = struct.unpack_from("B", octets, 4)
        (rto,) = struct.unpack_from("I", octets, 8)
        (resent,) = struct.unpack_from("I", octets, 100)
        return Look(rto / 1e6, backoff, resent)

    def close(self) -> None:
        """Nothing of it is ours."""


class StackSide:
    """A stack on a TAP at the host's bridge."""

    def __init__(self, host: Host, *, offload: bool = True, config: StackConfig | None = None) -> None:
        self.host = host
        # the name settles the MAC, and two stacks on one LAN need two
        link = TapLink(f"stack{host.number}", netns=host.name, offload=offload)
        host.plug(link.name)
        self.stack = Stack(f"{host.address}/24", link=link, config=config).start()

    def listen(self, port: int = PORT) -> Any:
        """A listening socket."""
        made = self.stack.create_server((self.host.address, port))
        made.settimeout(30)
        return made

    def connect(self, address: str, congestion: str = "", port: int = PORT) -> Any:
        """A connected socket."""
        made = self.stack.socket()
        made.settimeout(30)
        choose(made, congestion)
        made.connect((address, port))
        return made

    def look(self, sock: Any) -> Look:
        """By the connection's snapshot."""
        ends = sock.getsockname()[1], sock.getpeername()[1]
        with self.stack.driver.entered() as net:
            for c in net.tcp.connections.values():
                if (c.local_port, c.remote_port) == ends:
                    info = c.info()
                    return Look(info.rto / 1e6, info.backoff, info.total_retrans)
        return Look(0.0, 0, 0)

    def close(self) -> None:
        """End the stack."""
        self.stack.close()


Side = KernelSide | StackSide


def choose(sock: Any, congestion: str) -> None:
    """Set TCP_CONGESTION; "" leaves it as it is."""
    if congestion:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())


def make_side(kind: str, host: Host, **how: Any) -> Side:
    """A side by its name: `kernel` or `stack`."""
    return StackSide(host, **how) if kind == "stack" else KernelSide(host)


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts that nothing joins yet."""
    with Host(1) as a, Host(2) as b:
        yield a, b
