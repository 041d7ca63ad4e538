"""Network namespaces for tests: programs and kernel sockets inside one, and a stack on a TAP there.

Nothing here touches the machine's own network; every namespace is removed by the fixture that made it.
A program is started, and a socket opened, by a thread that has entered the namespace.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from scapystack.link import netns
from scapystack.link.netlink import Netlink
from scapystack.link.tap import TapLink
from scapystack.sockets.facade import Stack

KERNEL = "10.0.0.2"
STACK = "10.0.0.1"
LIMIT_S = 60

_numbers = itertools.count(1)


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip, or fail under SCAPYSTACK_REQUIRE_TAP=1, where one of these programs is not installed."""
    return pytest.mark.program(*programs)


def lacking(reason: str) -> NoReturn:
    """The same for what shows only when it is tried."""
    if os.environ.get("SCAPYSTACK_REQUIRE_TAP") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class Namespace:
    """A namespace of its own, with its loopback up and no IPv6 (whose chatter tests need not see)."""

    def __init__(self) -> None:
        self.name = f"sstest-{os.getpid()}-{next(_numbers)}"
        netns.create(self.name)
        self.net = Netlink(self.name)
        self.net.set_up("lo")
        self._children: list[subprocess.Popen] = []
        self.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        self.sysctl("net.ipv6.conf.default.disable_ipv6", 1)

    def sysctl(self, name: str, value: object) -> None:
        """Set a kernel parameter of this namespace."""
        path = Path("/proc/sys") / name.replace(".", "/")
        if path.exists():
            netns.in_namespace(self.name, lambda: path.write_text(f"{value}\n"))

    def popen(self, *command: object, **how) -> subprocess.Popen:
        """Start a program inside; it is killed with the namespace if it still runs then."""
        words = [str(word) for word in command]
        child = netns.in_namespace(self.name, lambda: subprocess.Popen(words, **how))
        self._children.append(child)
        return child

    def run(self, *command: object, data: bytes | None = None, check: bool = True, limit: float = LIMIT_S) -> bytes:
        """What a program prints. `data` goes to its standard input. Fails the test unless it ends with 0."""
        with self.popen(
            *command,
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            try:
                out, err = child.communicate(data, timeout=limit)
            except subprocess.TimeoutExpired:
                child.kill()
                out, err = child.communicate()
                pytest.fail(f"{command} did not end in {limit} s; it said {out[-500:]!r} {err[-500:]!r}")
        if check and child.returncode:
            pytest.fail(f"{command} ended with {child.returncode}: {out[-500:]!r} {err[-500:]!r}")
        return out

    def socket(self, kind: int = socket.SOCK_STREAM, timeout: float = 20.0, proto: int = 0) -> socket.socket:
        """An IPv4 socket of the kernel's, inside."""
        made = netns.in_namespace(self.name, lambda: socket.socket(socket.AF_INET, kind, proto))
        made.settimeout(timeout)
        return made

    def packet_socket(self, interface: str, timeout: float = 5.0) -> socket.socket:
        """A raw socket that sees and sends whole frames on an interface inside."""
        made = netns.in_namespace(self.name, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        made.bind((interface, 0))
        made.settimeout(timeout)
        return made

    def connect(self, port: int, host: str = STACK, timeout: float = 20.0) -> socket.socket:
        """A TCP connection of the kernel's to the stack."""
        made = self.socket(timeout=timeout)
        try:
            made.connect((host, port))
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        """End what still runs inside and remove the namespace."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait()
        netns.remove(self.name)


@dataclass
class Lan:
    """A running stack (10.0.0.1) on a TAP `tap0`, and the kernel (10.0.0.2) at its other end."""

    ns: Namespace
    stack: Stack
    link: TapLink

    @property
    def offload(self) -> bool:
        """Whether the TAP passes super-segments and open checksums."""
        return bool(self.link.offload)


def stack_on_tap(ns: Namespace, *, offload: bool, wrap=None, **how) -> Lan:
    """Bring up `Lan` in a namespace; `wrap` may put a link around the TAP; `how` goes to `Stack`."""
    link = TapLink("tap0", netns=ns.name, offload=offload)
    ns.net.set_up("tap0")
    ns.net.add_address("tap0", f"{KERNEL}/24")
    stack = Stack(f"{STACK}/24", link=wrap(link) if wrap else link, **how)
    return Lan(ns, stack.start(), link)
