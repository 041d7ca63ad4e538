"""`Network`: hosts, routers, ports and links in virtual time, and the programs that run there.

    net = Network(seed=7)
    a, r, b = net.host("a"), net.router("r"), net.host("b")
    net.link(a, r, delay_ms=1)
    net.link(r, b, delay_ms=20, rate=1_250_000, loss=0.01, mtu=1400)
    b.spawn(serve)                      # plain blocking code: serve(host)
    a.spawn(fetch, b.address)
    print(net.run())

Everything follows from the seed. Times are seconds since the beginning of the network; `now` is nanoseconds,
as the stacks have it. Read `runtime.virtual` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeAlias

from scapystack.base.addr import ip, mac
from scapystack.base.codec import Codec
from scapystack.base.errors import ConfigError
from scapystack.base.rng import Rng
from scapystack.base.types import SECOND, Nanoseconds
from scapystack.link.capture import Capture
from scapystack.link.faults import Impairment
from scapystack.runtime.virtual import LIMIT, Event, Simulation
from scapystack.sim.host import App, Host, Settings
from scapystack.sim.link import End, SimLink
from scapystack.sim.port import Port
from scapystack.sim.report import Report, open_things
from scapystack.sim.routes import lay_routes
from scapystack.sim.trace import Trace, watch_for_capture

Member: TypeAlias = Host | Port
"""What can be on a link."""

START: Nanoseconds = SECOND
"""The time at which a network begins; 0 means "at once" to a driver."""


class Network:
    """A simulated network. A context manager; `close` ends its programs and its captures."""

    def __init__(self, seed: int | bytes = 0, *, codec: str | Codec = "compiled", routes: bool = True) -> None:
        """With `routes`, every host has a default route by the first router on its first link, and every
        router the shortest way to every network; without, only what you add (`host.net.add_route`)."""
        self.seed = seed
        self.simulation = Simulation(START)
        self.hosts: list[Host] = []
        self.ports: list[Port] = []
        self.links: list[SimLink] = []
        self.apps: list[App] = []
        self.on_host: list[Callable[[Host], None]] = []
        """Told of each host and router as it is added."""
        self._rng = Rng(seed)
        self._codec = codec
        self._routes = routes
        self._captures: list[Capture] = []

    # -- building --------------------------------------------------------------------------------------

    def host(self, name: str = "", config: Settings = None, *, codec: str | Codec | None = None) -> Host:
        """Add a stack. `config` is a StackConfig, or what differs from the defaults (`{"tcp.sack": False}`).

        Raises ConfigError for a name that is taken, or a setting that there is not.
        """
        return self._add_host(name or f"h{len(self.hosts) + 1}", config, codec, router=False)

    def router(self, name: str = "", config: Settings = None, *, codec: str | Codec | None = None) -> Host:
        """Add a stack that passes on what is for others."""
        return self._add_host(name or f"r{len(self.hosts) + 1}", config, codec, router=True)

    def _add_host(self, name: str, config: Settings, codec: str | Codec | None, *, router: bool) -> Host:
        self._check_name(name)
        seed = self._rng.derive(f"host {name}").bytes(32)
        host = Host(self, name, config, seed, self._codec if codec is None else codec, router)
        self.hosts.append(host)
        for tell in self.on_host:
            tell(host)
        return host

    def port(self, name: str = "peer") -> Port:
        """Add a place on a link with no stack behind it, for a program to send and receive frames."""
        self._check_name(name)
        port = Port(self, name)
        self.ports.append(port)
        return port

    def _check_name(self, name: str) -> None:
        if name in [host.name for host in self.hosts] + [port.name for port in self.ports]:
            raise ConfigError(f"there is a {name} in this network already")

    def link(
        self,
        *members: Member,
        addresses: tuple[str | None, ...] | None = None,
        macs: tuple[str | None, ...] | None = None,
        name: str = "",
        mtu: int = 1500,
        arp: bool = True,
        whole: bool = False,
        back: Mapping[str, Any] | None = None,
        **faults: Any,
    ) -> SimLink:
        """Join two members by a wire, or more by a segment. `faults` are `Impairment`'s, for each way.

        `back` holds what is different for what all but the first member send. `addresses` are
        `10.0.0.1/24`, one for each member (None: none); left out, the nth link has 10.0.n.1/24 and so on. Without
        `arp` they know each other's hardware addresses from the start. `whole` lets super-segments pass uncut.
        Raises ConfigError.
        """
        number = len(self.links) + 1
        if len(members) < 2:
            raise ConfigError("a link joins two members or more")
        given = addresses or tuple(f"10.{number >> 8}.{number & 255}.{n}/24" for n in range(1, len(members) + 1))
        if len(given) != len(members) or (macs is not None and len(macs) != len(members)):
            raise ConfigError(f"one address for each of {len(members)} members, not {len(given)}")
        link = SimLink(self, self._link_name(name or "-".join(member.name for member in members)), mtu, whole)
        for place, (member, address) in enumerate(zip(members, given, strict=True)):
            impairment = Impairment(**{**faults, **(back or {} if place else {})})
            station = macs[place] if macs else None
            own = mac(station) if station else b"\2\0" + number.to_bytes(2, "big") + (place + 1).to_bytes(2, "big")
            rng = self._rng.derive(f"link {link.name} {place}")
            end = End(link, member, f"eth{len(member.ends)}", own, impairment, rng)
            link.join(end)
            end.address = address
            member.join(end, address)
        self.links.append(link)
        if not arp:
            self._introduce(link)
        if self._routes:
            lay_routes(self.hosts)
        return link

    def _link_name(self, name: str) -> str:
        taken = {link.name for link in self.links}
        return next(each for n in range(1, len(taken) + 2) if (each := name if n == 1 else f"{name}#{n}") not in taken)

    @staticmethod
    def _introduce(link: SimLink) -> None:
        """Everybody on a link knows everybody else."""
        for end in link.ends:
            for other in end.others:
                if isinstance(end.owner, Host) and end.iface is not None and other.address is not None:
                    end.owner.net.arp.add_static(end.iface, ip(other.address.partition("/")[0]), other.mac)

    # -- time ------------------------------------------------------------------------------------------

    @property
    def now(self) -> Nanoseconds:
        """What time it is, as the stacks have it (ns)."""
        return self.simulation.now

    @property
    def time(self) -> float:
        """Seconds since the network began."""
        return self.seconds(self.simulation.now)

    @staticmethod
    def at_ns(seconds: float) -> Nanoseconds:
        """A time in seconds as the stacks have it."""
        return START + round(seconds * SECOND)

    @staticmethod
    def seconds(at: Nanoseconds) -> float:
        """A time of the stacks in seconds."""
        return (at - START) / SECOND

    def at(self, seconds: float, call: Callable[[], None]) -> Event:
        """Call `call` at that time; it must not block. `cancel` of the answer takes it back."""
        return self.simulation.at(self.at_ns(seconds), call)

    def sleep(self, seconds: float) -> None:
        """Let so much time pass: for a program, and for whoever holds the network."""
        self.simulation.sleep(round(seconds * SECOND))

    # -- running ---------------------------------------------------------------------------------------

    def run(self, seconds: float | None = None, *, limit: int = LIMIT) -> Report:
        """Run for so long, or until nothing is left to happen; what was still open then.

        Raises what a program or a hook raises, and RuntimeError after `limit` steps.
        """
        if seconds is None:
            self.simulation.run(limit=limit)
            return self.report("idle")
        self.simulation.run(self.simulation.now + round(seconds * SECOND), limit=limit)
        return self.report("time")

    def run_until(self, condition: Callable[[], object], *, within: float = 3600.0, limit: int = LIMIT) -> Report:
        """Run until a condition holds; it is asked after each event. Raises TimeoutError, with what was open,
        if that is not within so many seconds or if nothing is left to happen, and as `run`."""
        simulation = self.simulation
        end = simulation.now + round(within * SECOND)
        timer = simulation.at(end, _nothing)
        try:
            simulation.run(lambda: bool(condition()) or simulation.now >= end, limit=limit)
        finally:
            timer.cancel()
        if not condition():
            raise TimeoutError(f"it did not come within {within:g} s\n{self.report('time')}")
        return self.report("condition")

    def report(self, why: str = "time") -> Report:
        """How things stand."""
        return Report(self.time, why, open_things(self))

    # -- looking ---------------------------------------------------------------------------------------

    def capture(self, target: str | Path | BinaryIO, at: Host | SimLink | None = None, **options: Any) -> Capture:
        """Write frames to a pcapng (or pcap) file from now on.

        At a link: what is sent there, with what became of it; at a host: what leaves and what arrives; None: what
        is sent on every link that there is. `options` are `Capture`'s. Raises LinkError.
        """
        options.setdefault("clock", self.simulation.clock)
        capture = Capture(target, **options)
        self._captures.append(capture)
        watch_for_capture(capture, self.links if at is None else [at])
        return capture

    def trace(self, *links: SimLink, limit: int = 10_000) -> Trace:
        """Remember what is sent on these links (none: on all that there are) from now on, for a ladder diagram."""
        return Trace(list(links) or self.links, limit)

    # -- the end ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the programs, close every stack and every capture. Harmless when repeated."""
        with ExitStack() as rest:
            for capture in self._captures:
                rest.callback(capture.close)
            rest.callback(self.simulation.close)
            for host in reversed(self.hosts):
                rest.callback(host.close)
            self.simulation.tasks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _nothing() -> None:
    """An event to stop at."""
