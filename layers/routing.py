"""The routing table: longest prefix first, then the lowest metric.

One dict for each prefix length in use, keyed by the network's leading bits: a lookup is at most 33
dict probes however many routes there are. The table knows nothing of neighbours or packets;
`layers.ipv4` asks it once per destination and keeps the answer until `generation` moves on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scapystack.base.addr import Prefix, ip_text
from scapystack.base.errors import ConfigError
from scapystack.base.iface import Interface
from scapystack.base.types import Address

CONNECTED = "connected"
STATIC = "static"


@dataclass(slots=True, eq=False)
class RouteEntry:
    """One line of the table. `via` is the gateway, or None where the network is on-link."""

    prefix: Prefix
    iface: Interface
    via: Address | None = None
    metric: int = 0
    kind: str = STATIC
    src: Address | None = None

    def __str__(self) -> str:
        where = "default" if self.prefix.length == 0 else str(self.prefix)
        via = f" via {ip_text(self.via)}" if self.via else ""
        metric = f" metric {self.metric}" if self.metric else ""
        return f"{where}{via} dev {self.iface.name}{metric}"


class RoutingTable:
    """Routes of one address family (`bits` 32 or 128).

    `generation` changes with every change that may alter an answer; whoever caches answers
    compares it.
    """

    __slots__ = ("_bits", "_by_length", "_lengths", "_size", "generation")

    def __init__(self, bits: int = 32) -> None:
        self._bits = bits
        self._by_length: dict[int, dict[int, list[RouteEntry]]] = {}
        self._lengths: list[tuple[int, dict[int, list[RouteEntry]]]] = []  # (shift, routes), longest first
        self._size = 0
        self.generation = 1

    def touch(self) -> None:
        """Declare every answer given so far stale."""
        self.generation += 1

    def add(
        self,
        prefix: Prefix,
        iface: Interface,
        via: Address | None = None,
        metric: int = 0,
        kind: str = STATIC,
        src: Address | None = None,
    ) -> RouteEntry:
        """Add a route. Raises ConfigError if the same prefix has a route with this metric and way."""
        if len(prefix.network) * 8 != self._bits:
            raise ConfigError(f"{prefix} does not belong in a table of {self._bits}-bit addresses")
        entry = RouteEntry(prefix, iface, via, metric, kind, src)
        routes = self._by_length.get(prefix.length)
        if routes is None:
            routes = self._by_length[prefix.length] = {}
            self._index()
        candidates = routes.setdefault(self._key(prefix), [])
        if any(c.via == via and c.iface is iface and c.metric == metric for c in candidates):
            raise ConfigError(f"there is a route {entry} already")
        candidates.append(entry)
        candidates.sort(key=lambda c: c.metric)  # stable: the older of two equals stays first
        self._size += 1
        self.touch()
        return entry

    def remove(
        self, prefix: Prefix, via: Address | None = None, iface: Interface | None = None, metric: int | None = None
    ) -> RouteEntry:
        """Remove the first route to `prefix` that fits what was given. ConfigError if none does."""
        for entry in self._by_length.get(prefix.length, {}).get(self._key(prefix), ()):
            if (
                (via is None or entry.via == via)
                and (iface is None or entry.iface is iface)
                and (metric is None or entry.metric == metric)
            ):
                self._drop(entry)
                return entry
        raise ConfigError(f"there is no such route to {prefix}")

    def remove_where(self, condition: Callable[[RouteEntry], bool]) -> int:
        """Remove every route that the condition holds for; how many there were."""
        doomed = [entry for entry in self if condition(entry)]
        for entry in doomed:
            self._drop(entry)
        return len(doomed)

    def lookup(self, dst: Address, usable: Callable[[RouteEntry], bool] | None = None) -> RouteEntry | None:
        """The best route to `dst` by an interface that is up, or None.

        `usable` may turn down routes (a gateway that does not answer); if it turns down all that
        match, the best of them is the answer still, for a poor way beats none.
        """
        value = int.from_bytes(dst, "big")
        poor: RouteEntry | None = None
        for shift, routes in self._lengths:
            candidates = routes.get(value >> shift)
            if candidates is not None:
                for entry in candidates:
                    if not entry.iface.up:
                        continue
                    if usable is None or usable(entry):
                        return entry
                    poor = poor or entry
        return poor

    def __iter__(self) -> Iterator[RouteEntry]:
        for _, routes in self._lengths:
            for candidates in routes.values():
                yield from candidates

    def __len__(self) -> int:
        return self._size

    def _key(self, prefix: Prefix) -> int:
        return int.from_bytes(prefix.network, "big") >> (self._bits - prefix.length)

    def _drop(self, entry: RouteEntry) -> None:
        routes = self._by_length[entry.prefix.length]
        key = self._key(entry.prefix)
        routes[key].remove(entry)
        if not routes[key]:
            del routes[key]
            if not routes:
                del self._by_length[entry.prefix.length]
                self._index()
        self._size -= 1
        self.touch()

    def _index(self) -> None:
        self._lengths = [
            (self._bits - length, routes) for length, routes in sorted(self._by_length.items(), reverse=True)
        ]
