"""`Netlink`: interfaces, addresses, routes and bridges of the host, in one network namespace.

pyroute2 does the talking. It is imported by the first call (0.15 s), and every call opens a socket of
its own in a thread that has entered the namespace (about 2 ms), so nothing stays open and a running
asyncio loop does not matter. Every failure is a `LinkError` with one line. What should be undone later
goes through `link.hostsetup`. Read `link.netns` first.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from scapystack.base.addr import Prefix, interface_address, ip_text
from scapystack.base.addr import mac as parse_mac
from scapystack.base.errors import LinkError
from scapystack.base.types import Mac
from scapystack.link.netns import in_namespace, namespace_path

T = TypeVar("T")

_AF_INET = 2
_IFF_UP = 1
_RTPROT_KERNEL = 2
_RT_TABLE_MAIN = 254
_NAME_MAX = 15

_MEANING = {
    errno.EPERM: "that takes root (CAP_NET_ADMIN)",
    errno.EEXIST: "it exists already",
    errno.ENODEV: "there is no such interface",
    errno.ESRCH: "there is no such route",
    errno.EADDRNOTAVAIL: "it has no such address",
}


@dataclass(slots=True)
class Interface:
    """An interface of the host as it was when asked. `master` is the bridge it belongs to, or ""."""

    index: int
    name: str
    up: bool
    mtu: int
    mac: Mac
    kind: str
    """`bridge`, `veth`, `tun`, ...; "" for hardware and the loopback."""
    master: str = ""


@dataclass(slots=True)
class HostRoute:
    """A route of the host's main table; `via` is None for a network that is on the link itself."""

    prefix: str
    via: str | None
    metric: int = 0


class Netlink:
    """The host's network in namespace `netns` (None: the one of this process)."""

    def __init__(self, netns: str | None = None) -> None:
        self.netns = netns

    def __repr__(self) -> str:
        return f"<Netlink {self.netns or 'here'}>"

    def _do(self, what: str, action: Callable[[Any], T]) -> T:
        """Run `action` with an open IPRoute inside the namespace; `what` begins the line of an error."""
        # imported before the thread enters the namespace, and only when needed
        from pyroute2.iproute import IPRoute  # noqa: PLC0415
        from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

        def body() -> T:
            try:
                with IPRoute() as route:
                    return action(route)
            except NetlinkError as error:
                code = abs(error.code)
                raise LinkError(f"cannot {what}: {_MEANING.get(code) or os.strerror(code)}") from None
            except OSError as error:
                raise LinkError(f"cannot {what}: {error.strerror or error}") from None

        return in_namespace(self.netns, body)

    # -- interfaces

    def interfaces(self) -> list[Interface]:
        """All of them."""
        return self._do("list interfaces", _interfaces)

    def find(self, name: str) -> Interface | None:
        """The interface of that name, or None."""
        return next((each for each in self.interfaces() if each.name == name), None)

    def interface(self, name: str) -> Interface:
        """The interface of that name. Raises LinkError if there is none."""
        found = self.find(name)
        if found is None:
            where = f" in namespace {self.netns}" if self.netns else ""
            raise LinkError(f"there is no interface {name}{where}")
        return found

    def set_up(self, name: str, up: bool = True) -> None:
        """Bring an interface up or down."""
        state = "up" if up else "down"
        self._set(f"bring {name} {state}", name, state=state)

    def set_mtu(self, name: str, mtu: int) -> None:
        """Change the MTU."""
        self._set(f"set the MTU of {name} to {mtu}", name, mtu=mtu)

    def set_mac(self, name: str, mac: str | Mac) -> None:
        """Change the hardware address."""
        self._set(f"set the MAC address of {name}", name, address=parse_mac(mac).hex(":"))

    def rename(self, name: str, new: str) -> None:
        """Give an interface another name (which the kernel may allow only while it is down)."""
        _check_name(new)
        self._set(f"rename {name} to {new}", name, ifname=new)

    def set_master(self, name: str, bridge: str | None) -> None:
        """Make an interface a port of a bridge, or (None) of none."""
        what = f"put {name} into bridge {bridge}" if bridge else f"take {name} out of its bridge"

        def action(route: Any) -> None:
            master = _index(route, bridge) if bridge else 0
            route.link("set", index=_index(route, name), master=master)

        self._do(what, action)

    def _set(self, what: str, name: str, **how: Any) -> None:
        self._do(what, lambda route: route.link("set", index=_index(route, name), **how))

    def add_bridge(self, name: str, mac: str | Mac | None = None) -> Interface:
        """Make a bridge, up, without spanning tree and multicast snooping (a port forwards at once)."""
        _check_name(name)

        def action(route: Any) -> None:
            how: dict[str, Any] = {"address": parse_mac(mac).hex(":")} if mac else {}
            route.link("add", ifname=name, kind="bridge", br_mcast_snooping=0, br_stp_state=0, **how)
            route.link("set", index=_index(route, name), state="up")

        self._do(f"make bridge {name}", action)
        return self.interface(name)

    def add_veth(self, name: str, peer: str, peer_netns: str | None = None) -> None:
        """Make a pair of virtual cables' ends, both up; the peer may stand in another namespace."""
        _check_name(name)
        _check_name(peer)

        def action(route: Any) -> None:
            end: dict[str, Any] = {"ifname": peer}
            if peer_netns is not None:
                end["net_ns_fd"] = namespace_path(peer_netns)
            route.link("add", ifname=name, kind="veth", peer=end)
            route.link("set", index=_index(route, name), state="up")

        self._do(f"make the pair {name} and {peer}", action)
        Netlink(peer_netns or self.netns).set_up(peer)

    def delete(self, name: str) -> None:
        """Delete an interface."""
        self._do(f"delete {name}", lambda route: route.link("del", index=_index(route, name)))

    # -- addresses

    def addresses(self, name: str) -> list[str]:
        """The IPv4 addresses of an interface, as `10.0.0.2/24`, in the kernel's order."""

        def action(route: Any) -> list[str]:
            found = route.get_addr(family=_AF_INET, index=_index(route, name))
            return [f"{each.get_attr('IFA_LOCAL')}/{each['prefixlen']}" for each in found]

        return self._do(f"list the addresses of {name}", action)

    def add_address(self, name: str, address: str) -> None:
        """Give an interface the address `10.0.0.2/24`. Raises ConfigError for a text that is none."""
        self._address("add", f"give {name} the address {address}", name, address)

    def delete_address(self, name: str, address: str) -> None:
        """Take an address away."""
        self._address("del", f"take the address {address} from {name}", name, address)

    def _address(self, command: str, what: str, name: str, address: str) -> None:
        packed, length = interface_address(address)
        broadcast = Prefix.of(packed, length).broadcast
        how = {"broadcast": ip_text(broadcast)} if broadcast and command == "add" else {}
        self._do(
            what,
            lambda route: route.addr(
                command, index=_index(route, name), address=ip_text(packed), prefixlen=length, **how
            ),
        )

    # -- routes

    def routes(self, name: str) -> list[HostRoute]:
        """The IPv4 routes of the main table out of an interface, less those that its addresses bring."""

        def action(route: Any) -> list[HostRoute]:
            found = route.get_routes(family=_AF_INET, oif=_index(route, name), table=_RT_TABLE_MAIN)
            return [_host_route(each) for each in found if each["proto"] != _RTPROT_KERNEL]

        return self._do(f"list the routes by {name}", action)

    def add_route(self, prefix: str, *, via: str | None = None, dev: str | None = None, metric: int = 0) -> None:
        """Add a route by a gateway, an interface or both. Raises ConfigError for a prefix that is none."""
        self._route("add", "add", prefix, via, dev, metric)

    def delete_route(self, prefix: str, *, via: str | None = None, dev: str | None = None, metric: int = 0) -> None:
        """Delete the route that fits."""
        self._route("del", "delete", prefix, via, dev, metric)

    def _route(self, command: str, verb: str, prefix: str, via: str | None, dev: str | None, metric: int) -> None:
        where = Prefix.parse(prefix)
        by = " ".join(word for word in (f"via {via}" if via else "", f"dev {dev}" if dev else "") if word)

        def action(route: Any) -> None:
            how: dict[str, Any] = {"dst": str(where)}
            if via:
                how["gateway"] = via
            else:
                how["scope"] = 253  # link: no gateway between
            if dev:
                how["oif"] = _index(route, dev)
            if metric:
                how["priority"] = metric
            route.route(command, **how)

        self._do(f"{verb} the route to {prefix} {by}", action)


def _check_name(name: str) -> None:
    if not 0 < len(name.encode()) <= _NAME_MAX or "/" in name or any(c.isspace() for c in name):
        raise LinkError(f"{name!r} cannot be an interface's name (1 to {_NAME_MAX} letters, no blanks)")


def _index(route: Any, name: str) -> int:
    found = route.link_lookup(ifname=name)
    if not found:
        raise LinkError(f"there is no interface {name}")
    return int(found[0])


def _interfaces(route: Any) -> list[Interface]:
    links = list(route.get_links())
    names = {each["index"]: each.get_attr("IFLA_IFNAME") for each in links}
    return [_interface(each, names) for each in links]


def _interface(link: Any, names: dict[int, str]) -> Interface:
    info = link.get_attr("IFLA_LINKINFO")
    return Interface(
        link["index"],
        names[link["index"]],
        bool(link["flags"] & _IFF_UP),
        link.get_attr("IFLA_MTU"),
        bytes.fromhex((link.get_attr("IFLA_ADDRESS") or "").replace(":", "")),
        (info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        names.get(link.get_attr("IFLA_MASTER"), ""),
    )


def _host_route(route: Any) -> HostRoute:
    network = route.get_attr("RTA_DST")
    prefix = f"{network}/{route['dst_len']}" if network else "default"
    return HostRoute(prefix, route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_PRIORITY") or 0)
