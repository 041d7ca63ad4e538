"""What Scapy has to know of a stack to use it by name: its interfaces in `conf.ifaces`, its routes in `conf.route`.

Scapy has one table of each in a process. A stack's lines are there while somebody needs them (`Stack.scapy`, an open
supersocket) and come before the kernel's, so that `sr1(IP(dst=...)/ICMP())` takes the stack's way to its networks.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scapy.config import conf
from scapy.interfaces import InterfaceProvider, NetworkInterface
from scapy.route import Route

from scapystack.base.addr import ip_text, mac_text
from scapystack.base.errors import ConfigError

if TYPE_CHECKING:
    from scapystack.base.iface import Interface
    from scapystack.sockets.facade import Stack

_ARPHRD_ETHER = 1
_FIRST_INDEX = 100_000
_BEFORE_ANY = -1
"""The metric: lower than any of the kernel's."""


class StackProvider(InterfaceProvider):  # type: ignore[misc]  # Scapy has no types
    """Interfaces of stacks, as Scapy asks for them."""

    name = "scapystack"
    present: dict[str, StackInterface] = {}  # noqa: RUF012 - one for the process, as conf.ifaces is

    def load(self) -> dict[str, Any]:
        """By name."""
        return dict(self.present)

    def _l2socket(self, dev: StackInterface) -> Any:
        return dev.l2

    def _l2listen(self, dev: StackInterface) -> Any:
        return dev.listen

    def _l3socket(self, dev: StackInterface, ipv6: bool) -> Any:
        return dev.l3


class StackInterface(NetworkInterface):  # type: ignore[misc]
    """An interface of a stack among Scapy's: `iface=` of every call takes it, or its name."""

    def __init__(self, provider: StackProvider, stack: Stack, interface: Interface, name: str, index: int) -> None:
        addresses = [ip_text(entry.address) for entry in interface.addresses]
        super().__init__(
            provider,
            {
                "name": name, "description": name, "network_name": name, "index": index, "type": _ARPHRD_ETHER,
                "mac": mac_text(interface.mac), "ips": addresses, "flags": "UP",
            },
        )  # fmt: skip
        self.stack = stack
        self.interface = interface

    @contextmanager
    def chosen(self) -> Iterator[StackInterface]:
        """Have it be `conf.iface`: that of calls which name none and have no route to go by (`srp`, `sniff`)."""
        before, conf.iface = conf.iface, self
        try:
            yield self
        finally:
            if conf.iface is self:
                conf.iface = before

    def l2(self, filter: str | None = None, iface: Any = None, **rest: Any) -> Any:
        """A socket for frames; what else Scapy passes has no meaning here."""
        return self.stack.l2socket(self.interface, filter=filter)

    def listen(self, filter: str | None = None, iface: Any = None, **rest: Any) -> Any:
        """One that sees both ways."""
        return self.stack.l2socket(self.interface, filter=filter, listen=True)

    def l3(self, filter: str | None = None, iface: Any = None, **rest: Any) -> Any:
        """A socket for IP packets."""
        return self.stack.l3socket(filter=filter)


class ScapyNames:
    """The entries of one stack in Scapy's tables. Any thread."""

    # Scapy's tables are the process's. A socket that is forgotten leaves wherever garbage is collected: in here too,
    # and in a thread that has a driver's lock, so that one is taken before this, and nothing is waited for with this
    _lock = threading.RLock()
    _indexes = itertools.count(_FIRST_INDEX)

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._users = 0
        self.interfaces: list[StackInterface] = []
        self._routes: list[tuple[int, int, str, str, str, int]] = []

    def enter(self) -> Callable[[], None]:
        """See that the entries are there; what to call when they are not needed any more."""
        with self._stack.driver.lock, self._lock:
            self._users += 1
            if self._users == 1:
                self._add()
        left = iter((True,))
        return lambda: self._leave() if next(left, False) else None

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._remove()

    def named(self, interface: Interface) -> StackInterface:
        """Scapy's object for an interface of the stack. Raises ConfigError: it came after the entries were made."""
        for each in self.interfaces:
            if each.interface is interface:
                return each
        raise ConfigError(f"Scapy does not know {interface.name}: it came later than the last `with stack.scapy()`")

    def _add(self) -> None:
        if StackProvider not in conf.ifaces.providers:
            conf.ifaces.register_provider(StackProvider)
        provider = conf.ifaces.providers[StackProvider]
        net = self._stack.net
        for interface in net.interfaces[1:]:
            name = _free(f"{interface.name}@stack")
            made = StackInterface(provider, self._stack, interface, name, next(self._indexes))
            StackProvider.present[name] = conf.ifaces.data[name] = made
            self.interfaces.append(made)
        self._routes = [self._route(entry) for entry in net.routes if entry.iface in net.interfaces[1:]]
        if conf.route is None:
            conf.route = Route()
        conf.route.routes[:0] = self._routes
        conf.route.invalidate_cache()

    def _route(self, entry: Any) -> tuple[int, int, str, str, str, int]:
        prefix = entry.prefix
        mask = (0xFFFFFFFF << (32 - prefix.length)) & 0xFFFFFFFF
        source = entry.src or entry.iface.source_for(entry.via or prefix.network)
        return (
            int.from_bytes(prefix.network, "big"), mask, ip_text(entry.via) if entry.via else "0.0.0.0",
            self.named(entry.iface).name, ip_text(source) if source else "0.0.0.0", _BEFORE_ANY,
        )  # fmt: skip

    def _remove(self) -> None:
        for each in self.interfaces:
            StackProvider.present.pop(each.name, None)
            conf.ifaces.data.pop(each.name, None)
        self.interfaces = []
        for route in self._routes:
            if route in conf.route.routes:
                conf.route.routes.remove(route)
        self._routes = []
        conf.route.invalidate_cache()


def _free(name: str) -> str:
    """The name, with a number behind it where another stack has it."""
    if name not in conf.ifaces.data:
        return name
    return next(each for n in itertools.count(2) if (each := f"{name}{n}") not in conf.ifaces.data)
