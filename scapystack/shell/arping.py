"""`arping`: ARP requests whatever the cache says, and every answer with its time."""

from __future__ import annotations

import click

from scapystack.base.addr import ip, ip_text
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.iface import Interface
from scapystack.base.types import SECOND
from scapystack.shell.ground import Interrupted
from scapystack.shell.params import POSITIVE, host
from scapystack.shell.session import Session
from scapystack.shell.watch import Seen, Watch

_ARP = b"\x08\x06"


@click.command("arping")
@click.option("-c", "count", type=click.IntRange(min=1), metavar="N", help="Stop after N requests.")
@click.option("-I", "name", metavar="IFACE", help="The interface (the one that leads there).")
@click.option("-i", "interval", type=POSITIVE, default=1.0, metavar="S", help="Seconds between requests (1).")
@click.option("-w", "limit", type=POSITIVE, metavar="S", help="End after S seconds.")
@click.option("-f", "first", is_flag=True, help="End with the first answer.")
@click.option("-D", "probe", is_flag=True, help="Ask as nobody (RFC 5227): does anybody have the address? Then 1.")
@click.option("-U", "announce", is_flag=True, help="Tell the neighbours about an address of ours instead.")
@click.argument("target", metavar="ADDR")
@click.pass_obj
def arping_command(
    session: Session, count: int | None, name: str | None, interval: float, limit: float | None, first: bool,
    probe: bool, announce: bool, target: str,
) -> int:  # fmt: skip
    """Ask for the hardware address of ADDR by broadcast, once a second, until Ctrl-C."""
    address = ip(host(target))
    iface = _towards(session, address, name)
    text = ip_text(address)
    with session.net():
        source = iface.source_for(address)
        ours = any(entry.address == address for entry in iface.addresses)
    if announce and not ours:
        raise ConfigError(f"{text} is no address of {iface.name}")
    arp = session.driver.stack.arp
    send = arp.announce if announce else arp.probe if probe else arp.request

    def wanted(way: str, frame: Frame) -> bool:
        head = bytes(frame.head[:42])
        # an answer, or who claims the address in any other packet
        return way == "rx" and frame.iface is iface and head[12:14] == _ARP and head[28:32] == address

    session.out.line(f"ARPING {text} from {ip_text(source) if source and not probe else '0.0.0.0'} {iface.name}")
    sent = received = 0
    began = session.now
    ends = began + round(limit * SECOND) if limit is not None else None
    with Watch(session.driver, session.ring, wanted) as watch:
        try:
            while (count is None or sent < count) and (ends is None or session.now < ends):
                with session.net():
                    send(iface, address)
                sent += 1
                asked_at = session.now
                until = asked_at + round(interval * SECOND)
                while session.now < until if ends is None else session.now < min(until, ends):
                    session.wait(until if ends is None else min(until, ends))
                    while watch.seen:
                        received += _answer(session, watch, asked_at)
                    if received and (first or probe):
                        break
                if received and (first or probe):
                    break
        except Interrupted:
            pass
    session.out.line(f"Sent {sent} probes ({sent} broadcast(s))")
    session.out.line(f"Received {received} response(s)")
    if probe:
        return 1 if received else 0
    return 0 if received or announce else 1


def _answer(session: Session, watch: Watch, asked_at: int) -> int:
    item = watch.seen.popleft()
    if not isinstance(item, Seen):
        return 0
    cast = "Broadcast" if item.octets[0] & 1 else "Unicast"
    kind = "reply" if item.octets[20:22] == b"\0\2" else "request"
    sender = item.octets[22:28].hex(":")
    ms = (item.at - asked_at) / 1e6
    session.out.line(f"{cast} {kind} from {ip_text(item.octets[28:32])} [{sender}]  {ms:.3f}ms")
    return 1


def _towards(session: Session, address: bytes, name: str | None) -> Interface:
    """Raises ConfigError for an interface that knows no ARP, OSError where no way leads there."""
    if name is not None:
        iface = session.iface(name)
    else:
        with session.net() as net:
            ours = [i for i in net.interfaces if any(entry.address == address for entry in i.addresses)]
            iface = ours[0] if ours else net.ipv4.route(address).iface
    if iface.loopback:
        raise ConfigError(f"there is no ARP on {iface.name}")
    return iface
