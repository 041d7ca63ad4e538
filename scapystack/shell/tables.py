"""The tables that tapip's shell shows, under its names: `arpcache`, `route`, `ifconfig`, `stat`; and `nstat`."""

from __future__ import annotations

from fnmatch import fnmatchcase

import click

from scapystack.base.addr import ip_text, mac_text
from scapystack.base.counternames import LAYERS, MEANINGS
from scapystack.base.errors import ConfigError
from scapystack.shell.facts import address_facts, flags, link_facts, neighbours, seconds_left
from scapystack.shell.session import Session


@click.command("arpcache")
@click.option("-n", "numeric", is_flag=True, help="Numbers instead of names (always so).")
@click.pass_obj
def arpcache_command(session: Session, numeric: bool) -> None:
    """The neighbours: who is behind which hardware address, and for how long that is believed."""
    with session.net() as net:
        rows = []
        for entry in neighbours(net):
            left = seconds_left(entry, net)
            mac = mac_text(entry.mac) if any(entry.mac) else "-"
            timeout = "-" if left is None else str(left)
            rows.append((entry.state, timeout, mac, ip_text(entry.address), entry.iface.name))
    session.out.table(("State", "Timeout", "HWaddress", "Address", "Iface"), rows, right=(1,))


@click.command("route")
@click.option("-n", "numeric", is_flag=True, help="Numbers instead of names (always so).")
@click.pass_obj
def route_command(session: Session, numeric: bool) -> None:
    """The routing table, the longest prefix first. `ip route` changes it."""
    with session.net() as net:
        rows = []
        for entry in net.routes:
            length = entry.prefix.length
            mask = ip_text((0xFFFFFFFF << (32 - length) & 0xFFFFFFFF).to_bytes(4, "big"))
            shown = ("U" if entry.iface.up else "!") + ("G" if entry.via else "") + ("H" if length == 32 else "")
            network = "default" if not length else ip_text(entry.prefix.network)
            rows.append(
                (network, ip_text(entry.via) if entry.via else "*", mask, shown, entry.metric, entry.iface.name)
            )
    session.out.table(("Destination", "Gateway", "Genmask", "Flags", "Metric", "Iface"), rows, right=(4,))


@click.command("ifconfig")
@click.option("-a", "every", is_flag=True, help="All of them, those that are down too (always so).")
@click.argument("name", required=False, metavar="[IFACE]")
@click.argument("change", required=False, type=click.Choice(["up", "down"]))
@click.pass_obj
def ifconfig_command(session: Session, every: bool, name: str | None, change: str | None) -> None:
    """The interfaces, or one of them; `up` and `down` take it into use and out of it."""
    with session.net() as net:
        chosen = [session.iface(name)] if name else list(net.interfaces)
        if change:
            net.set_up(chosen[0], change == "up")
            return
        data = []
        for iface in chosen:
            link = session.driver.links.get(iface.index)
            data.append({**link_facts(iface, link), "flags": flags(iface, link), "addr_info": address_facts(iface)})
    lines = []
    for facts in data:
        stats = facts["stats64"]
        lines.append(f"{facts['ifname']}: flags=<{','.join(facts['flags'])}>  mtu {facts['mtu']}")
        for address in facts["addr_info"]:
            broadcast = f"  broadcast {address['broadcast']}" if "broadcast" in address else ""
            lines.append(f"        inet {address['local']}/{address['prefixlen']}{broadcast}")
        if facts["link_type"] == "ether":
            lines.append(f"        ether {facts['address']}")
        for way in ("rx", "tx"):
            counts = stats[way]
            told = "  ".join(f"{name} {counts[name]}" for name in ("packets", "bytes", "dropped"))
            lines.append(f"        {way.upper()} {told}")
    session.out.show(data, lines)


@click.command("stat")
@click.option("-d", "--drops", is_flag=True, help="Only what was dropped.")
@click.option("-v", "--verbose", is_flag=True, help="Say what each counts.")
@click.argument("layer", required=False, metavar="[LAYER]")
@click.pass_obj
def stat_command(session: Session, drops: bool, verbose: bool, layer: str | None) -> None:
    """Counters: every event and every reason to drop that was met so far, by layer (tcp, ip, arp, ...)."""
    if layer is not None and layer not in LAYERS:
        raise ConfigError(f"there is no layer {layer!r}; one of: {', '.join(LAYERS)}")
    counted = _counted(session, drops)
    names = sorted(name for name in counted if counted[name] and (layer is None or name.startswith(f"{layer}.")))
    width = max((len(f"{counted[name]:,}") for name in names), default=1)
    lines: list[str] = []
    last = ""
    for name in names:
        group, _, event = name.partition(".")
        if group != last:
            lines.append(f"{group}:")
            last = group
        about = f"  ({MEANINGS[name]})" if verbose and name in MEANINGS else ""
        lines.append(f"  {counted[name]:>{width},}  {event}{about}")
    session.out.show({name: counted[name] for name in names}, lines)


def _counted(session: Session, drops: bool = False) -> dict[str, int]:
    """All counters, those of what passed among them, which the layers keep by themselves."""
    with session.net() as net:
        if drops:
            return dict(net.counters.drops())
        return {
            **net.counters,
            "tcp.segs_in": net.tcp.segs_in, "tcp.segs_out": net.tcp.segs_out,
            "udp.datagrams_in": net.udp.datagrams_in, "udp.datagrams_out": net.udp.datagrams_out,
        }  # fmt: skip


@click.command("nstat")
@click.option("-a", "--ignore", "absolute", is_flag=True, help="All that was counted, not since the last time.")
@click.option("-z", "--zeros", is_flag=True, help="Also what was not.")
@click.option("-s", "--noupdate", "keep", is_flag=True, help="Leave the last time where it was.")
@click.option("-r", "--reset", is_flag=True, help="Begin anew, and show nothing.")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@click.pass_obj
def nstat_command(
    session: Session, absolute: bool, zeros: bool, keep: bool, reset: bool, patterns: tuple[str, ...]
) -> None:
    """Counters that have moved since the last nstat of this session, under this stack's names.

    \b
      nstat -r; ping -c 1 10.0.0.2; nstat 'ip.*' '*drop*'
    """
    counted = _counted(session)
    before = {} if absolute else session.counted
    if not keep:
        session.counted = counted
    if reset:
        return
    names = sorted({*counted, *(MEANINGS if zeros else ())})
    moved = {name: counted.get(name, 0) - before.get(name, 0) for name in names}
    shown = {
        name: value
        for name, value in moved.items()
        if (value or zeros) and (not patterns or any(fnmatchcase(name, pattern) for pattern in patterns))
    }
    width = max(map(len, shown), default=1)
    session.out.show(shown, (f"{name:<{width}}  {value}" for name, value in shown.items()))
