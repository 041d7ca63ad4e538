"""The tables that tapip's shell shows, under its names: `arpcache`, `route`, `ifconfig`, `stat`."""

from __future__ import annotations

import click

from scapystack.base.addr import ip_text, mac_text
from scapystack.base.counternames import MEANINGS
from scapystack.shell.facts import address_facts, flags, link_facts, neighbours, seconds_left
from scapystack.shell.session import Session


@click.command("arpcache")
@click.pass_obj
def arpcache_command(session: Session) -> None:
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
@click.pass_obj
def route_command(session: Session) -> None:
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
@click.argument("name", required=False, metavar="[IFACE]")
@click.argument("change", required=False, type=click.Choice(["up", "down"]))
@click.pass_obj
def ifconfig_command(session: Session, name: str | None, change: str | None) -> None:
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
    with session.net() as net:
        counted = dict(net.counters.drops() if drops else net.counters)
        counted |= {} if drops else {
            "tcp.segs_in": net.tcp.segs_in, "tcp.segs_out": net.tcp.segs_out,
            "udp.datagrams_in": net.udp.datagrams_in, "udp.datagrams_out": net.udp.datagrams_out,
        }  # fmt: skip
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
