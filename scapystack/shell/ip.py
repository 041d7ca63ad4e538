"""`ip addr|link|route|neigh`: show, add, delete, flush and replace, in iproute2's words and its JSON.

Objects and verbs may be shortened as there (`ip a`, `ip ro sh`). What follows them is pairs of a word and
a value in any order, taken apart by `_pairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from scapystack.base.addr import Prefix, interface_address, ip_text, mac
from scapystack.base.addr import ip as parse_ip
from scapystack.base.errors import ConfigError
from scapystack.base.iface import Interface
from scapystack.layers.arp import PERMANENT
from scapystack.layers.routing import STATIC, RouteEntry
from scapystack.shell.facts import (
    address_facts,
    link_facts,
    neighbour_facts,
    neighbours,
    route_facts,
    route_line,
)
from scapystack.shell.session import Session
from scapystack.stack import NetStack

_LEAST_MTU = 68  # RFC 791 section 3.2
_SHOW = ("show", "list", "lst")


@click.command("ip", context_settings={"ignore_unknown_options": True})
@click.option("-s", "statistics", is_flag=True, help="With counters (link).")
@click.option("-br", "-brief", "brief", is_flag=True, help="A line for each (addr, link).")
@click.option("-o", "-oneline", "oneline", is_flag=True, help="A line for each, \\ where there would be several.")
@click.option("-4", "ipv4", is_flag=True, help="IPv4 (all there is so far).")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="addr|link|route|neigh [VERB] ...")
@click.pass_obj
def ip_command(
    session: Session, statistics: bool, brief: bool, oneline: bool, ipv4: bool, words: tuple[str, ...]
) -> None:
    """Addresses, links, routes and neighbours, in the words of iproute2.

    \b
      ip addr [show [dev IFACE]]        ip addr add|del ADDR/LEN dev IFACE      ip addr flush dev IFACE
      ip [-s] link [show [dev IFACE]]   ip link set dev IFACE up|down|mtu N|address MAC
                                        ip link add NAME type tap               ip link del IFACE
      ip route [show]                   ip route add|del|replace PREFIX [via ADDR] [dev IFACE] [metric N]
      ip route get ADDR                 ip route flush [PREFIX] [dev IFACE]
      ip neigh [show [dev IFACE]]       ip neigh add|del|replace ADDR [lladdr MAC] dev IFACE
                                        ip neigh flush [dev IFACE]
    """
    if not words:
        raise click.UsageError("say which: addr, link, route or neigh")
    name = _one_of(words[0], ("address", "link", "route", "neighbour"), "object", {"neighbor": "neighbour"})
    verbs = _VERBS[name]
    verb = "show"
    rest = list(words[1:])
    if rest and rest[0] not in ("dev", "to"):
        verb = _one_of(rest.pop(0), tuple(verbs), "verb", {"list": "show", "lst": "show", "delete": "del"})
    with session.net() as net:
        verbs[verb](session, net, rest) if name != "link" or verb != "show" else _link_show(
            session, net, rest, statistics
        )


def _one_of(word: str, known: tuple[str, ...], what: str, others: dict[str, str]) -> str:
    """The known word that this one begins, the first of several, as iproute2 does."""
    for name in (*known, *others):
        if word and name.startswith(word):
            return others.get(name, name)
    raise click.UsageError(f"no {what} {word!r}: one of {', '.join(known)}")


def _pairs(words: Iterable[str], known: tuple[str, ...], bare: str = "") -> dict[str, str]:
    """Words and their values; a word that is not known is the value of `bare`. Raises UsageError."""
    found: dict[str, str] = {}
    left = iter(words)
    for word in left:
        if word in known:
            if word in found:
                raise click.UsageError(f"{word!r} is given twice")
            value = next(left, None)
            if value is None:
                raise click.UsageError(f"{word!r} lacks what should follow it")
            found[word] = value
        elif bare and bare not in found:
            found[bare] = word
        else:
            raise click.UsageError(f"what is {word!r}? one of {', '.join(known)} was expected")
    return found


def _needed(found: dict[str, str], word: str, what: str) -> str:
    if word not in found:
        raise click.UsageError(f"{what} is missing")
    return found[word]


def _chosen(session: Session, net: NetStack, words: list[str]) -> list[Interface]:
    """The interface that is named, or all of them."""
    found = _pairs(words, ("dev",), "dev")
    return [session.iface(found["dev"])] if found else list(net.interfaces)


# -- addresses -------------------------------------------------------------------------------------------


def _brief(facts: dict[str, Any], what: list[str]) -> list[str]:
    return [f"{facts['ifname']:<16} {facts['operstate']:<14} {' '.join(what)}".rstrip()]


def _asked(option: str) -> bool:
    return bool(click.get_current_context().params[option])


def _head(session: Session, iface: Interface) -> tuple[dict[str, Any], list[str]]:
    facts = link_facts(iface, session.driver.links.get(iface.index))
    return facts, [
        f"{iface.index}: {iface.name}: <{','.join(facts['flags'])}> mtu {iface.mtu} state {facts['operstate']}",
        f"    link/{facts['link_type']} {facts['address']}",
    ]


def _addr_show(session: Session, net: NetStack, words: list[str]) -> None:
    data, lines = [], []
    for iface in _chosen(session, net, words):
        facts, head = _head(session, iface)
        del facts["stats64"]
        facts["addr_info"] = address_facts(iface)
        if _asked("brief"):
            lines += _brief(facts, [f"{one['local']}/{one['prefixlen']}" for one in facts["addr_info"]])
            data.append(facts)
            continue
        begin = "    "
        if _asked("oneline"):  # iproute2 has no line of the link alone then
            begin = f"{iface.index}: {iface.name}    "
        else:
            lines += head
        for one in facts["addr_info"]:
            broadcast = f" brd {one['broadcast']}" if "broadcast" in one else ""
            told = f"inet {one['local']}/{one['prefixlen']}{broadcast} scope {one['scope']} {iface.name}"
            lines.append(begin + told)
        data.append(facts)
    session.out.show(data, lines)


def _addr_add(session: Session, net: NetStack, words: list[str]) -> None:
    found = _pairs(words, ("dev",), "address")
    iface = session.iface(_needed(found, "dev", "dev IFACE"))
    net.add_address(iface, interface_address(_needed(found, "address", "ADDR/LEN"), host=True))


def _addr_del(session: Session, net: NetStack, words: list[str]) -> None:
    found = _pairs(words, ("dev",), "address")
    iface = session.iface(_needed(found, "dev", "dev IFACE"))
    net.remove_address(iface, _needed(found, "address", "ADDR/LEN"))


def _addr_flush(session: Session, net: NetStack, words: list[str]) -> None:
    iface = session.iface(_needed(_pairs(words, ("dev",), "dev"), "dev", "dev IFACE"))
    for entry in list(iface.addresses):
        net.remove_address(iface, entry.address)


# -- links -----------------------------------------------------------------------------------------------


def _link_show(session: Session, net: NetStack, words: list[str], statistics: bool) -> None:
    data, lines = [], []
    for iface in _chosen(session, net, words):
        facts, head = _head(session, iface)
        own = _brief(facts, [facts["address"], f"<{','.join(facts['flags'])}>"]) if _asked("brief") else head
        if statistics:
            for way in ("rx", "tx"):
                counts = facts["stats64"][way]
                own.append(f"    {way.upper()}:  {'bytes':>14} {'packets':>10} {'dropped':>8}")
                own.append(f"         {counts['bytes']:>14} {counts['packets']:>10} {counts['dropped']:>8}")
        else:
            del facts["stats64"]
        lines += ["\\".join(own)] if _asked("oneline") else own
        data.append(facts)
    session.out.show(data, lines)


def _link_set(session: Session, net: NetStack, words: list[str]) -> None:
    switched = [word for word in words if word in ("up", "down")]
    found = _pairs([word for word in words if word not in ("up", "down")], ("dev", "mtu", "address"), "dev")
    iface = session.iface(_needed(found, "dev", "dev IFACE"))
    if not switched and len(found) == 1:
        raise click.UsageError("say what to set: up, down, mtu N or address MAC")
    if "mtu" in found:
        link = session.driver.links.get(iface.index)
        most = link.mtu if link is not None else 65_536
        if not found["mtu"].isdecimal() or not _LEAST_MTU <= int(found["mtu"]) <= most:
            raise ConfigError(f"an MTU of {iface.name} is a number from {_LEAST_MTU} to {most}, not {found['mtu']!r}")
        iface.mtu = int(found["mtu"])
        net.routes.touch()
    if "address" in found:
        packed = mac(found["address"])
        if iface.loopback or not net.ethernet.is_station(packed):
            raise ConfigError(f"{found['address']} cannot be the hardware address of {iface.name}")
        iface.mac = packed
        net.arp.flush(iface)
        net.routes.touch()
        for entry in iface.addresses:
            net.arp.announce(iface, entry.address)
    for word in switched:
        net.set_up(iface, word == "up")


def _link_add(session: Session, net: NetStack, words: list[str]) -> None:
    found = _pairs(words, ("type", "dev", "netns"), "dev")
    name = _needed(found, "dev", "a name")
    if found.get("type") != "tap":
        raise click.UsageError("a link is of type tap: ip link add NAME type tap")
    if any(iface.name == name for iface in net.interfaces):
        raise ConfigError(f"there is an interface {name} already")
    from scapystack.link.tap import TapLink  # noqa: PLC0415 - with pyroute2, which nothing else here needs

    session.driver.attach(TapLink(name, netns=found.get("netns")))


def _link_del(session: Session, net: NetStack, words: list[str]) -> None:
    iface = session.iface(_needed(_pairs(words, ("dev",), "dev"), "dev", "dev IFACE"))
    link = session.driver.links.get(iface.index)
    if link is None:
        raise ConfigError(f"{iface.name} cannot be deleted")
    session.driver.detach(link)


# -- routes ----------------------------------------------------------------------------------------------


def _route_show(session: Session, net: NetStack, words: list[str]) -> None:
    found = _pairs(words, ("dev",))
    iface = session.iface(found["dev"]) if found else None
    # iproute2 puts the default route first; the loopback's is in a table of its own there
    entries = [e for e in net.routes if not e.iface.loopback and (iface is None or e.iface is iface)]
    entries.sort(key=lambda e: (e.prefix.length > 0, e.prefix.network, e.prefix.length, e.metric))
    data = [route_facts(entry) for entry in entries]
    session.out.show(data, map(route_line, data))


def _way(session: Session, words: list[str]) -> tuple[Prefix, str | None, Interface | None, int | None]:
    found = _pairs(words, ("via", "dev", "metric", "to"), "to")
    metric = found.get("metric")
    if metric is not None and not metric.isdecimal():
        raise ConfigError(f"a metric is a number, not {metric!r}")
    iface = session.iface(found["dev"]) if "dev" in found else None
    prefix = Prefix.parse(_needed(found, "to", "where the route leads (default, or ADDR/LEN)"))
    return prefix, found.get("via"), iface, None if metric is None else int(metric)


def _route_add(session: Session, net: NetStack, words: list[str]) -> None:
    prefix, via, iface, metric = _way(session, words)
    net.add_route(prefix, via=via, iface=iface, metric=metric or 0)


def _route_replace(session: Session, net: NetStack, words: list[str]) -> None:
    prefix, via, iface, metric = _way(session, words)
    old = [e for e in net.routes if e.prefix == prefix and e.kind == STATIC and e.metric == (metric or 0)]
    for entry in old:
        net.routes.remove(prefix, entry.via, entry.iface, entry.metric)
    try:
        net.add_route(prefix, via=via, iface=iface, metric=metric or 0)
    except ConfigError:
        for entry in old:
            net.routes.add(prefix, entry.iface, entry.via, entry.metric)
        raise


def _route_del(session: Session, net: NetStack, words: list[str]) -> None:
    prefix, via, iface, metric = _way(session, words)
    net.routes.remove(prefix, parse_ip(via) if via else None, iface, metric)


def _route_flush(session: Session, net: NetStack, words: list[str]) -> None:
    found = _pairs(words, ("dev", "to"), "to")
    iface = session.iface(found["dev"]) if "dev" in found else None
    where = found.get("to", "all")
    prefix = None if where == "all" else Prefix.parse(where)

    def doomed(entry: RouteEntry) -> bool:
        return entry.kind == STATIC and iface in (None, entry.iface) and prefix in (None, entry.prefix)

    net.routes.remove_where(doomed)


def _route_get(session: Session, net: NetStack, words: list[str]) -> None:
    dst = parse_ip(_needed(_pairs(words, ("to",), "to"), "to", "an address"))
    if len(dst) != 4:
        raise ConfigError("the stack speaks IPv4 so far")
    route = net.ipv4.route(dst)
    facts: dict[str, Any] = {"dst": ip_text(dst)}
    if route.hop != dst:
        facts["gateway"] = ip_text(route.hop)
    facts |= {"dev": route.iface.name, "prefsrc": ip_text(route.src), "mtu": route.mtu}
    via = f" via {facts['gateway']}" if "gateway" in facts else ""
    session.out.show([facts], [f"{facts['dst']}{via} dev {facts['dev']} src {facts['prefsrc']} mtu {route.mtu}"])


# -- neighbours ------------------------------------------------------------------------------------------


def _neigh_show(session: Session, net: NetStack, words: list[str]) -> None:
    chosen = _chosen(session, net, words)
    data = [neighbour_facts(entry) for entry in neighbours(net) if entry.iface in chosen]
    lines = (
        f"{d['dst']} dev {d['dev']}{' lladdr ' + d['lladdr'] if 'lladdr' in d else ''} {' '.join(d['state'])}"
        for d in data
    )
    session.out.show(data, lines)


def _neighbour(session: Session, words: list[str]) -> tuple[Interface, bytes, str | None]:
    found = _pairs(words, ("dev", "lladdr", "to"), "to")
    iface = session.iface(_needed(found, "dev", "dev IFACE"))
    return iface, parse_ip(_needed(found, "to", "the neighbour's address")), found.get("lladdr")


def _neigh_replace(session: Session, net: NetStack, words: list[str]) -> None:
    iface, address, hardware = _neighbour(session, words)
    if hardware is None:
        raise click.UsageError("lladdr MAC is missing")
    net.arp.add_static(iface, address, mac(hardware))


def _neigh_add(session: Session, net: NetStack, words: list[str]) -> None:
    iface, address, _ = _neighbour(session, words)
    if net.arp.lookup(iface, address) is not None:
        raise ConfigError(f"{ip_text(address)} is there already (ip neigh replace changes it)")
    _neigh_replace(session, net, words)


def _neigh_del(session: Session, net: NetStack, words: list[str]) -> None:
    iface, address, _ = _neighbour(session, words)
    if not net.arp.remove(iface, address):
        raise ConfigError(f"there is no neighbour {ip_text(address)} on {iface.name}")


def _neigh_flush(session: Session, net: NetStack, words: list[str]) -> None:
    for iface in _chosen(session, net, [word for word in words if word != "all"]):
        for entry in [e for e in net.arp.entries() if e.iface is iface and e.state != PERMANENT]:
            net.arp.remove(iface, entry.address)


Verb = Callable[[Session, NetStack, list[str]], None]
_VERBS: dict[str, dict[str, Verb]] = {
    "address": {"show": _addr_show, "add": _addr_add, "del": _addr_del, "flush": _addr_flush, "replace": _addr_add},
    "link": {"show": lambda s, n, w: _link_show(s, n, w, False), "set": _link_set, "add": _link_add, "del": _link_del},
    "route": {
        "show": _route_show, "add": _route_add, "del": _route_del, "replace": _route_replace, "flush": _route_flush,
        "get": _route_get,
    },
    "neighbour": {
        "show": _neigh_show, "add": _neigh_add, "del": _neigh_del, "replace": _neigh_replace, "flush": _neigh_flush,
    },
}  # fmt: skip
