"""`KernelPeer`: a stack on a TAP, and a real kernel at its other end, in a network namespace of their own.

    with KernelPeer() as peer:                          # as root
        server = peer.stack.create_server(("", 80))
        answer = peer.run("curl", "-s", "http://10.0.0.1/")

Here time is the clock's. Nothing touches the machine's own network, and what a killed process leaves the next one
removes. A program is started, and a socket opened, by a thread that has entered the namespace. Read `link.netns`.
"""

from __future__ import annotations

import itertools
import os
import socket as host_socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from scapystack.link import netns
from scapystack.link.base import Link
from scapystack.link.hostsetup import HostSetup
from scapystack.link.netlink import Netlink
from scapystack.link.tap import TapLink
from scapystack.sockets.facade import Stack

KERNEL = "10.0.0.2"
STACK = "10.0.0.1"
LIMIT_S = 60.0
_EVERYTHING = 3  # ETH_P_ALL
_JOURNAL = Path("/run/scapystack-testing")
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}

_numbers = itertools.count(1)


def missing_rights() -> list[str]:
    """What keeps this process from making a TAP in a namespace of its own; nothing if it can."""
    missing = []
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        missing.append("no access to /dev/net/tun")
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    lacking = [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]
    if lacking:
        missing.append(f"not root ({' and '.join(lacking)})")
    return missing


class Namespace:
    """A namespace, its loopback up, without IPv6 (whose chatter tests need not see). A context manager."""

    def __init__(self) -> None:
        """Raises LinkError."""
        self._setup = HostSetup(_JOURNAL)
        self.name = self._setup.namespace(f"sstest-{os.getpid()}-{next(_numbers)}")
        self.net = Netlink(self.name)
        self._children: list[subprocess.Popen[Any]] = []
        self.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
        self.sysctl("net.ipv6.conf.default.disable_ipv6", 1)

    def sysctl(self, name: str, value: object) -> None:
        """Set a kernel parameter of this namespace; one that the kernel does not have is left out."""
        path = Path("/proc/sys") / name.replace(".", "/")
        if path.exists():
            netns.in_namespace(self.name, lambda: path.write_text(f"{value}\n"))

    def popen(self, *command: object, **how: Any) -> subprocess.Popen[Any]:
        """Start a program inside; it is killed with the namespace if it still runs then. Raises OSError."""
        words = [str(word) for word in command]
        child: subprocess.Popen[Any] = netns.in_namespace(self.name, lambda: subprocess.Popen(words, **how))
        self._children.append(child)
        return child

    def run(self, *command: object, data: bytes | None = None, check: bool = True, limit: float = LIMIT_S) -> bytes:
        """What a program prints, run inside. `data` goes to its standard input.

        Raises AssertionError, with what it said, unless it ends within `limit` seconds, and with 0 if `check`.
        """
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
                raise AssertionError(
                    f"{_shown(command)} did not end in {limit:g} s; it said {out[-500:]!r} {err[-500:]!r}"
                ) from None
        if check and child.returncode:
            raise AssertionError(f"{_shown(command)} ended with {child.returncode}: {out[-500:]!r} {err[-500:]!r}")
        return bytes(out)

    def socket(self, kind: int = host_socket.SOCK_STREAM, timeout: float = 20.0, proto: int = 0) -> host_socket.socket:
        """An IPv4 socket of the kernel's, inside."""
        made = netns.in_namespace(self.name, lambda: host_socket.socket(host_socket.AF_INET, kind, proto))
        made.settimeout(timeout)
        return made

    def packet_socket(self, interface: str, timeout: float = 5.0) -> host_socket.socket:
        """A raw socket that sees and sends whole frames on an interface inside."""
        made = netns.in_namespace(
            self.name, lambda: host_socket.socket(host_socket.AF_PACKET, host_socket.SOCK_RAW, host_socket.htons(3))
        )
        made.bind((interface, 0))
        made.settimeout(timeout)
        return made

    def connect(self, port: int, host: str = STACK, timeout: float = 20.0) -> host_socket.socket:
        """A TCP connection of the kernel's to the stack."""
        made = self.socket(timeout=timeout)
        try:
            made.connect((host, port))
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        """End what still runs inside and remove the namespace. Harmless when repeated."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait()
        self._setup.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _shown(command: tuple[object, ...]) -> str:
    return " ".join(map(str, command))


class KernelPeer:
    """A running stack (10.0.0.1) on a TAP `tap0`, and the kernel (10.0.0.2) at its other end. A context manager.

    `ns` is the namespace: programs run there, and sockets of the kernel's are opened there.
    """

    def __init__(
        self,
        ns: Namespace | None = None,
        *,
        offload: bool = True,
        wrap: Callable[[TapLink], Link] | None = None,
        **how: Any,
    ) -> None:
        """In a namespace that is there, or in a new one, which `close` removes.

        `offload` asks the kernel for super-segments and open checksums; `wrap` may put a link around the TAP; `how`
        goes to `Stack` (`seed`, `config`). Raises LinkError without the rights (see `missing_rights`).
        """
        self.ns = Namespace() if ns is None else ns
        self._own = self.ns if ns is None else None
        try:
            self.link = TapLink("tap0", netns=self.ns.name, offload=offload)
            self.ns.net.set_up("tap0")
            self.ns.net.add_address("tap0", f"{KERNEL}/24")
            self.stack = Stack(f"{STACK}/24", link=wrap(self.link) if wrap else self.link, **how)
        except BaseException:
            if self._own is not None:
                self._own.close()
            raise
        self.stack.start()

    address = KERNEL
    """The kernel's; the stack's is `STACK`."""

    @property
    def offload(self) -> bool:
        """Whether the TAP passes super-segments and open checksums."""
        return bool(self.link.offload)

    def run(self, *command: object, data: bytes | None = None, check: bool = True, limit: float = LIMIT_S) -> bytes:
        """What a program prints that runs beside the kernel's end. See `Namespace.run`."""
        return self.ns.run(*command, data=data, check=check, limit=limit)

    def socket(self, kind: int = host_socket.SOCK_STREAM, timeout: float = 20.0, proto: int = 0) -> host_socket.socket:
        """A socket of the kernel's."""
        return self.ns.socket(kind, timeout, proto)

    def connect(self, port: int, timeout: float = 20.0) -> host_socket.socket:
        """A TCP connection of the kernel's to the stack. Raises OSError."""
        return self.ns.connect(port, timeout=timeout)

    def close(self) -> None:
        """Close the stack, and remove the namespace if it was made for this. Harmless when repeated."""
        self.stack.close()
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
