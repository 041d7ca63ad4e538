"""`HostSetup`: what a stack changes on the host (namespaces, bridges, addresses), and its undoing.

Every change is noted in a `link.journal`, then made, and undone in reverse by `close`: at the end of a `with`, at
the end of the program (atexit; `runtime.signals` makes SIGTERM end it that way), or, after a crash, by
the next `HostSetup` of any process. A TAP needs none of this: it vanishes with its descriptor. Read
`link.netlink` first.

The two networks a stack is put on:
- `direct`: the kernel's end of the TAP has an address and is our neighbour;
- `bridged`: the TAP joins a bridge with another interface, and the stack is a host on that LAN.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from scapystack.base.errors import ConfigError, LinkError
from scapystack.link import netns
from scapystack.link.journal import DIRECTORY, Entry, Journal, leftovers
from scapystack.link.netlink import HostRoute, Interface, Netlink

log = logging.getLogger("scapystack")

_numbers = itertools.count(1)


class HostSetup:
    """Changes to the host that last until `close`. Every method raises LinkError where it cannot be done.

    `netns` is always the namespace of the interface concerned; None is the one of this process.
    """

    def __init__(self, directory: Path = DIRECTORY) -> None:
        """What dead processes left (noted in `directory`) is put back first."""
        clean_leftovers(directory)
        self._journal = Journal(directory)
        self._owner = os.getpid()
        atexit.register(self.close)

    @contextlib.contextmanager
    def _noted(self, what: str, netns: str | None, **details: str | int) -> Iterator[None]:
        """Note a change, make it in the block, and forget it if it could not be made."""
        self._journal.add(what, netns=netns or "", **details)
        try:
            yield
        except LinkError:
            self._journal.take_back()
            raise

    # -- single changes

    def namespace(self, name: str | None = None) -> str:
        """Make a network namespace with its loopback up; its name."""
        name = name or f"scapystack-{os.getpid()}-{next(_numbers)}"
        if "/" in name:
            raise LinkError(f"there is no network namespace {name}, and none is made by a path: give a name")
        if netns.exists(name):
            raise LinkError(f"there is a network namespace {name} already")
        with self._noted("namespace", None, name=name):
            netns.create(name)
        self._journal.amend(inode=_inode(name))
        Netlink(name).set_up("lo")
        return name

    def up(self, interface: str, netns: str | None = None) -> None:
        """Bring an interface up; it goes down again later if it was."""
        host = Netlink(netns)
        found = host.interface(interface)
        if not found.up:
            with self._noted("up", netns, interface=interface, index=found.index):
                host.set_up(interface)

    def address(self, interface: str, address: str, netns: str | None = None) -> None:
        """Give an interface an address such as `10.0.0.2/24`; one that it has already is not ours to take away."""
        host = Netlink(netns)
        if address in host.addresses(interface):
            return
        index = host.interface(interface).index
        with self._noted("address", netns, interface=interface, index=index, address=address):
            host.add_address(interface, address)

    def route(self, prefix: str, *, via: str | None = None, dev: str | None = None, netns: str | None = None) -> None:
        """Add a route of the kernel's."""
        with self._noted("route", netns, prefix=prefix, via=via or "", dev=dev or ""):
            Netlink(netns).add_route(prefix, via=via, dev=dev)

    def bridge(self, name: str | None = None, netns: str | None = None, mac: bytes | None = None) -> str:
        """Make a bridge, up; its name."""
        name = name or f"ssbr{os.getpid()}{chr(97 + next(_numbers) % 26)}"
        self._make(name, netns, lambda host: host.add_bridge(name, mac))
        return name

    def veth(self, name: str, peer: str, netns: str | None = None, peer_netns: str | None = None) -> None:
        """Make a pair of virtual Ethernet interfaces, both up."""
        self._make(name, netns, lambda host: host.add_veth(name, peer, peer_netns))

    def _make(self, name: str, netns: str | None, make: Callable[[Netlink], object]) -> None:
        """Make an interface. Its index tells later whether the name still means the same one."""
        host = Netlink(netns)
        if host.find(name) is not None:
            raise LinkError(f"there is an interface {name} already")
        with self._noted("link", netns, interface=name):
            make(host)
        self._journal.amend(index=host.interface(name).index)

    def rename(self, interface: str, new: str, netns: str | None = None) -> None:
        """Rename an interface until later."""
        host = Netlink(netns)
        index = host.interface(interface).index
        with self._noted("rename", netns, interface=new, index=index, old=interface):
            host.rename(interface, new)

    def port(self, interface: str, bridge: str, netns: str | None = None) -> None:
        """Make an interface a port of a bridge; it goes back to where it was later."""
        host = Netlink(netns)
        found = host.interface(interface)
        if found.master != bridge:
            with self._noted("port", netns, interface=interface, index=found.index, bridge=found.master):
                host.set_master(interface, bridge)

    # -- whole set-ups

    def direct(self, tap: str, peer: str, netns: str | None = None) -> None:
        """The kernel's end of the TAP comes up with the address `peer` (`10.0.0.2/24`)."""
        self.address(tap, peer, netns)
        self.up(tap, netns)

    def bridged(self, tap: str, other: str, netns: str | None = None) -> str:
        """The TAP joins a LAN with `other`: a bridge, a port of a bridge, or an interface that gets a
        new bridge, to which its addresses and routes move until `close`. The bridge's name."""
        host = Netlink(netns)
        interface = host.interface(other)
        if interface.kind == "bridge":
            bridge = other
        elif interface.master:
            bridge = interface.master
        else:
            bridge = self._bridge_around(host, interface)
        self.up(bridge, netns)
        self.port(tap, bridge, netns)
        self.up(tap, netns)
        return bridge

    def _bridge_around(self, host: Netlink, interface: Interface) -> str:
        """A new bridge that takes the place of an interface: its port, its addresses, its routes."""
        if interface.name == "lo":
            raise LinkError("the loopback cannot join a bridge: name another interface")
        name = interface.name
        addresses = host.addresses(name)
        routes = host.routes(name)
        # noted before anything is touched, and before the bridge, so that they are put back after it is gone
        where: dict[str, str | int] = {"netns": host.netns or "", "interface": name, "index": interface.index}
        for route in routes:
            self._journal.add("route taken", **where, **_route_details(route))
        for address in addresses:
            self._journal.add("address taken", **where, address=address)
        bridge = self.bridge(None, host.netns, interface.mac)
        self.port(name, bridge, host.netns)
        self.up(name, host.netns)
        for address in addresses:
            host.delete_address(name, address)
            host.add_address(bridge, address)
        for route in routes:
            # a route may have gone with the address it stood on, and come back with it
            with contextlib.suppress(LinkError):
                host.add_route(route.prefix, via=route.via, dev=bridge, metric=route.metric)
        return bridge

    # -- the end

    def close(self) -> None:
        """Undo everything, newest first. Harmless when repeated; what is gone already is no error."""
        if os.getpid() != self._owner:  # a forked child's copy
            return
        atexit.unregister(self.close)
        _undo(self._journal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def clean_leftovers(directory: Path = DIRECTORY) -> list[str]:
    """Undo what processes that died left behind; a line for each change undone."""
    lines = [line for journal in leftovers(directory) for line in _undo(journal)]
    for line in lines:
        log.info("left by a process that died: %s", line)
    return lines


def _inode(name: str) -> int:
    return os.stat(netns.namespace_path(name)).st_ino


def _route_details(route: HostRoute) -> dict[str, str | int]:
    return {"prefix": route.prefix, "via": route.via or "", "metric": route.metric}


def _undo(journal: Journal) -> list[str]:
    lines = []
    for entry in reversed(journal.entries):
        try:
            if _UNDO[str(entry["what"])](entry):
                lines.append(" ".join(f"{key}={value}" for key, value in entry.items() if value != ""))
        except (LinkError, ConfigError, OSError, KeyError):
            # gone already, or no longer what it was: then it is not ours
            continue
    journal.remove()
    return lines


def _host(entry: Entry) -> Netlink:
    return Netlink(str(entry.get("netns") or "") or None)


def _same(entry: Entry) -> str:
    """The interface's name if it is still the one that was noted, else LinkError."""
    name = str(entry["interface"])
    # without an index it was being made when the end came: the name was free before
    index = _host(entry).interface(name).index
    if index != entry.get("index", index):
        raise LinkError(f"{name} is another interface by now")
    return name


def _undo_namespace(entry: Entry) -> bool:
    name = str(entry["name"])
    inode = _inode(name)
    if inode == entry.get("inode", inode):
        netns.remove(name)
        return True
    return False


def _undo_up(entry: Entry) -> bool:
    _host(entry).set_up(_same(entry), False)
    return True


def _undo_address(entry: Entry) -> bool:
    _host(entry).delete_address(_same(entry), str(entry["address"]))
    return True


def _undo_route(entry: Entry) -> bool:
    via, dev = str(entry["via"]) or None, str(entry["dev"]) or None
    _host(entry).delete_route(str(entry["prefix"]), via=via, dev=dev)
    return True


def _undo_link(entry: Entry) -> bool:
    _host(entry).delete(_same(entry))
    return True


def _undo_rename(entry: Entry) -> bool:
    _host(entry).rename(_same(entry), str(entry["old"]))
    return True


def _undo_port(entry: Entry) -> bool:
    _host(entry).set_master(_same(entry), str(entry["bridge"]) or None)
    return True


def _undo_address_taken(entry: Entry) -> bool:
    _host(entry).add_address(_same(entry), str(entry["address"]))
    return True


def _undo_route_taken(entry: Entry) -> bool:
    via = str(entry["via"]) or None
    _host(entry).add_route(str(entry["prefix"]), via=via, dev=_same(entry), metric=int(entry["metric"]))
    return True


_UNDO: dict[str, Callable[[Entry], bool]] = {
    "namespace": _undo_namespace,
    "up": _undo_up,
    "address": _undo_address,
    "route": _undo_route,
    "link": _undo_link,
    "rename": _undo_rename,
    "port": _undo_port,
    "address taken": _undo_address_taken,
    "route taken": _undo_route_taken,
}
