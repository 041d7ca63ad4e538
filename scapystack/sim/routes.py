"""Routes for a network that has been drawn: nobody types them in, and nobody needs a routing protocol.

A host sends what is not on its links to the first router of its first link that has one. A router has the way
with the fewest links to every network. What was added by hand stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from scapystack.base.addr import Prefix, interface_address, ip

if TYPE_CHECKING:
    from scapystack.sim.host import Host
    from scapystack.sim.link import End

DEFAULT = Prefix.parse("default")


def lay_routes(hosts: Iterable[Host]) -> None:
    """Give every host and router the routes that it still lacks."""
    for host in hosts:
        wanted = _of_router(host) if host.router else _of_host(host)
        known = {entry.prefix for entry in host.net.routes}
        for prefix, gateway in wanted:
            if prefix not in known:
                known.add(prefix)
                host.net.add_route(prefix, via=gateway)


def _address(end: End) -> bytes | None:
    return ip(end.address.partition("/")[0]) if end.address else None


def _routers(end: End) -> Sequence[End]:
    """The routers that are to be met on the link of `end`."""
    return [other for other in end.others if other.owner.router and other.address]


def _of_host(host: Host) -> Iterable[tuple[Prefix, bytes]]:
    for end in host.ends:
        for other in _routers(end) if end.address else ():
            gateway = _address(other)
            if gateway is not None:
                return [(DEFAULT, gateway)]
    return ()


def _of_router(router: Host) -> Iterable[tuple[Prefix, bytes]]:
    """The nearest networks first: a search in breadth, over routers."""
    found: list[tuple[Prefix, bytes]] = []
    seen: set[object] = {router}
    queue: deque[tuple[Host, bytes | None]] = deque([(router, None)])
    while queue:
        at, gateway = queue.popleft()
        for end in at.ends:
            if not end.address:
                continue
            if gateway is not None:
                found.append((Prefix.of(*interface_address(end.address)), gateway))
            for other in _routers(end):
                if other.owner not in seen:
                    seen.add(other.owner)
                    queue.append((other.owner, gateway or _address(other)))  # type: ignore[arg-type]  # ports are no routers
    return found
