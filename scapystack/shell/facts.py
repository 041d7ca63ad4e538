"""What tables and `ip` both show: interfaces, routes and neighbours as plain data, and the words for them."""

from __future__ import annotations

from typing import Any

from scapystack.base.addr import ip_text, mac_text
from scapystack.base.iface import Interface
from scapystack.base.types import SECOND, Nanoseconds
from scapystack.layers.arp import REACHABLE, ArpEntry
from scapystack.layers.routing import CONNECTED, RouteEntry
from scapystack.link.base import Link
from scapystack.stack import NetStack


def flags(iface: Interface, link: Link | None) -> list[str]:
    """As iproute2 has them: a link that died has no carrier."""
    words = ["LOOPBACK"] if iface.loopback else ["BROADCAST", "MULTICAST"]
    dead = link is not None and bool(link.broken)
    if dead:
        words.insert(0, "NO-CARRIER")
    if iface.up:
        words += ["UP"] if dead else ["UP", "LOWER_UP"]
    return words


def state(iface: Interface) -> str:
    """UP, DOWN, or UNKNOWN for the loopback, as Linux says."""
    return "DOWN" if not iface.up else "UNKNOWN" if iface.loopback else "UP"


def link_facts(iface: Interface, link: Link | None) -> dict[str, Any]:
    """An interface in the names of `ip -j link`."""
    return {
        "ifindex": iface.index,
        "ifname": iface.name,
        "flags": flags(iface, link),
        "mtu": iface.mtu,
        "operstate": state(iface),
        "link_type": "loopback" if iface.loopback else "ether",
        "address": mac_text(iface.mac),
        "stats64": {
            "rx": {"bytes": iface.rx_bytes, "packets": iface.rx_frames, "dropped": link.rx_dropped if link else 0},
            "tx": {"bytes": iface.tx_bytes, "packets": iface.tx_frames, "dropped": link.tx_dropped if link else 0},
        },
    }


def address_facts(iface: Interface) -> list[dict[str, Any]]:
    """Its addresses in the names of `ip -j addr`."""
    found = []
    for entry in iface.addresses:
        broadcast = entry.prefix.broadcast
        facts: dict[str, Any] = {"family": "inet", "local": ip_text(entry.address), "prefixlen": entry.prefix.length}
        if broadcast is not None and not iface.loopback:
            facts["broadcast"] = ip_text(broadcast)
        facts["scope"] = "host" if iface.loopback else "global"
        found.append(facts)
    return found


def route_facts(entry: RouteEntry) -> dict[str, Any]:
    """A route in the names of `ip -j route`."""
    prefix = entry.prefix
    facts: dict[str, Any] = {"dst": "default" if not prefix.length else str(prefix).removesuffix("/32")}
    if entry.via is not None:
        facts["gateway"] = ip_text(entry.via)
    facts["dev"] = entry.iface.name
    if entry.kind == CONNECTED:
        facts |= {"protocol": "kernel", "scope": "link"}
    if entry.src is not None:
        facts["prefsrc"] = ip_text(entry.src)
    if entry.metric:
        facts["metric"] = entry.metric
    facts["flags"] = [] if entry.iface.up else ["linkdown"]
    return facts


def route_line(facts: dict[str, Any]) -> str:
    """The same as `ip route` writes it."""
    words = [facts["dst"]]
    for name, word in (
        ("gateway", "via"), ("dev", "dev"), ("protocol", "proto"), ("scope", "scope"), ("prefsrc", "src"),
        ("metric", "metric"),
    ):  # fmt: skip
        if name in facts:
            words += [word, str(facts[name])]
    return " ".join([*words, *facts["flags"]])


def neighbours(net: NetStack) -> list[ArpEntry]:
    """Every neighbour, by interface and address."""
    return sorted(net.arp.entries(), key=lambda entry: (entry.iface.index, entry.address))


def neighbour_facts(entry: ArpEntry) -> dict[str, Any]:
    """A neighbour in the names of `ip -j neigh`."""
    facts: dict[str, Any] = {"dst": ip_text(entry.address), "dev": entry.iface.name}
    if any(entry.mac):
        facts["lladdr"] = mac_text(entry.mac)
    facts["state"] = [entry.state.upper()]
    return facts


def seconds_left(entry: ArpEntry, net: NetStack) -> int | None:
    """How long a neighbour is known for still, if nothing is heard of it; None where that has no end or no sense."""
    arp = net.config.arp
    if not entry.confirmed_at or entry.state not in (REACHABLE, "stale", "probe"):
        return None
    return max(0, (entry.confirmed_at + arp.stale_ms * 1_000_000 - net.core.now) // SECOND)


def duration(ns: Nanoseconds) -> str:
    """A span as `ss -o` writes it: `200ms`, `1.5sec`, `119min`."""
    ms = max(ns, 0) // 1_000_000
    if ms < 1_000:
        return f"{ms}ms"
    if ms < 60_000:
        return f"{ms // 1_000}.{ms % 1_000:03d}sec".replace(".000sec", "sec")
    minutes, ms = divmod(ms, 60_000)
    return f"{minutes}min{ms // 1_000}sec" if minutes < 10 and ms >= 1_000 else f"{minutes}min"
