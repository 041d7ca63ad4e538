"""`NetStack`: the layers wired together, behind the four calls that a driver makes.

The stack does no I/O and knows no clock. A driver's round: `receive` each frame, let the endpoints
of `take_ready` be looked after, `poll`, write `take_frames`, sleep until `next_deadline`. An
application's call stands between `enter(now)` and a later `poll(now)`. Read ARCHITECTURE.md first.
"""

from __future__ import annotations

from collections.abc import Callable

from scapystack.base.addr import MAC_NONE, Prefix, interface_address, ip, ip_text, is_multicast
from scapystack.base.addr import mac as parse_mac
from scapystack.base.codec import Codec
from scapystack.base.config import StackConfig
from scapystack.base.core import Core
from scapystack.base.counters import Counters
from scapystack.base.datagram import PROTO_ICMP, PROTO_TCP, PROTO_UDP
from scapystack.base.errors import ConfigError
from scapystack.base.events import Endpoint
from scapystack.base.frames import Frame
from scapystack.base.iface import Interface, InterfaceAddress
from scapystack.base.rng import Rng
from scapystack.base.types import Address, Mac, Nanoseconds
from scapystack.codec import make_codec
from scapystack.hooks.frames import Held, Hooks, name_of
from scapystack.layers.acd import ConflictGuard
from scapystack.layers.arp import Arp
from scapystack.layers.ethernet import TYPE_ARP, TYPE_IPV4, Ethernet
from scapystack.layers.icmp import Icmp
from scapystack.layers.ipv4 import Ipv4
from scapystack.layers.routing import RouteEntry
from scapystack.layers.tcp import congestion
from scapystack.layers.tcp.demux import Tcp
from scapystack.layers.udp import Udp

_LOOPBACK_ROUNDS = 32
_LOOPBACK_MTU = 65_536
_ALL_HOSTS = b"\xe0\0\0\1"


class NetStack:
    """One TCP/IP stack. Two in one process share nothing.

    `interfaces[0]` is the loopback. `taps` are called with `"rx"` or `"tx"` and each frame, as it is
    on the link's side of the `hooks`. Every call belongs to one thread at a time (a driver's lock).
    Raises ConfigError for a configuration, or a codec, that cannot be.
    """

    def __init__(
        self, config: StackConfig | None = None, *, seed: int | bytes = 0, codec: str | Codec = "compiled"
    ) -> None:
        self.config = config if config is not None else StackConfig()
        self.config.check()
        congestion.make(self.config.tcp.congestion)  # now, and not with the first SYN
        self.core = core = Core(self.config, make_codec(codec) if isinstance(codec, str) else codec, Rng(seed))
        self.interfaces: list[Interface] = []
        self.taps: list[Callable[[str, Frame], None]] = []
        self.hooks = Hooks(core, self._release)
        self.recorded = False
        """Frames that come and go are written down: nobody joins them to what IPv4 cannot describe."""
        self.ethernet = Ethernet(core)
        self.arp = Arp(core, self.ethernet)
        self.ipv4 = Ipv4(core, self.ethernet, self.arp, self.interfaces)
        self.icmp = Icmp(core, self.ipv4)
        self.udp = Udp(core, self.ipv4)
        self.tcp = Tcp(core, self.ipv4)
        self.raw = self.ipv4.raw
        self.routes = self.ipv4.routes
        self.acd = ConflictGuard(core, self.arp, self.ipv4.paths.add_address)
        self._wire()
        self._next_index = 0
        self._members: dict[tuple[int, Address], int] = {}
        lo = self.add_interface("lo", MAC_NONE, _LOOPBACK_MTU)
        self.add_address(lo, "127.0.0.1/8")

    def _wire(self) -> None:
        self.ethernet.handlers[TYPE_IPV4] = self.ipv4.input
        self.ethernet.handlers[TYPE_ARP] = self.arp.input
        self.arp.owns = self.ipv4.paths.owns
        self.arp.conflict = self.acd.seen
        self.arp.unreachable = self.ipv4.unreachable
        self.arp.failures = self.ipv4.paths.neighbour_changed
        self.udp.icmp = self.icmp
        self.ipv4.register(PROTO_ICMP, self.icmp)
        self.ipv4.register(PROTO_UDP, self.udp)
        self.ipv4.register(PROTO_TCP, self.tcp)

    @property
    def counters(self) -> Counters:
        """Every event and every reason to drop that was met so far."""
        return self.core.counters

    # -- the driver's calls

    def receive(self, frame: Frame, now: Nanoseconds) -> None:
        """Take one frame from the link of `frame.iface`. Never sends, never raises on bad octets."""
        if self.taps or self.hooks.rx:
            for passed in self.admit(frame, now):
                self.accept(passed, now)
        else:
            self.accept(frame, now)

    def admit(self, frame: Frame, now: Nanoseconds) -> list[Frame]:
        """The first half of `receive`: show a frame to the taps; what the hooks make of it."""
        self.enter(now)
        frame.at = self.core.now
        if self.taps:
            self._tap("rx", frame)
        return self.hooks.run("rx", frame) if self.hooks.rx else [frame]

    def accept(self, frame: Frame, now: Nanoseconds) -> None:
        """The second half of `receive`: let the layers take a frame that nobody has to see any more.

        Between the two a driver may join what came in one read (`base.coalesce`); who looks at frames sees
        them as they came, and changes nothing of how the stack answers.
        """
        core = self.core
        if now > core.now:  # noqa: PLR1730 - half the cost of max()
            core.now = now
        frame.at = core.now
        self.ethernet.input(frame)

    def poll(self, now: Nanoseconds, more: bool = False) -> None:
        """Due timers, then one output pass, then what that sent to ourselves, round by round.

        `more`: the driver knows of further frames that wait, so that another pass follows at once.
        """
        core = self.core
        core.now = max(core.now, now)
        if more and not core.more:
            core.more_since = core.now
        core.more = more
        core.watched = bool(self.taps or self.hooks.tx or self.recorded)
        core.timers.expire(core.now)
        ip = self.ipv4
        if ip.local_errors:
            ip.report_local_errors()
        self.tcp.flush()
        looped = ip.looped
        for _ in range(_LOOPBACK_ROUNDS):
            if not looped:
                break
            for _ in range(len(looped)):
                self._loop(looped.popleft())
            self.tcp.flush()

    def _loop(self, frame: Frame) -> None:
        lo = self.interfaces[0]
        lo.tx_frames += 1
        lo.tx_bytes += len(frame)
        for sent in self._outgoing([frame]):
            self.receive(sent, self.core.now)

    def enter(self, now: Nanoseconds) -> None:
        """Set the time before calls from an application; it never goes back."""
        self.core.now = max(self.core.now, now)

    def take_frames(self) -> list[Frame]:
        """What must go out, in order; `frame.iface` says where."""
        outbox = self.core.outbox
        if not outbox:
            return []
        frames = outbox[:]
        outbox.clear()
        return self._outgoing(frames) if self.taps or self.hooks.tx else frames

    def _outgoing(self, frames: list[Frame]) -> list[Frame]:
        if self.hooks.tx:
            frames = [passed for frame in frames for passed in self.hooks.run("tx", frame)]
        if self.taps:
            for frame in frames:
                self._tap("tx", frame)
        return frames

    def _tap(self, way: str, frame: Frame) -> None:
        for tap in tuple(self.taps):
            try:
                tap(way, frame)
            except Exception as error:
                self.core.failed(error, f"in the tap {name_of(tap)}", frame)

    def _release(self, way: str, frame: Held) -> None:
        """A frame that a hook held back goes on to the next hook, from within `poll`."""
        iface = frame.iface
        if way == "rx":
            for passed in self.hooks.run("rx", frame):
                self.accept(passed, self.core.now)
        elif iface is not None and iface.loopback:
            lo = self.interfaces[0]
            lo.tx_frames -= 1  # it was counted before it was held back
            lo.tx_bytes -= len(frame)
            self.ipv4.looped.append(frame)
        else:
            self.core.outbox.append(frame)

    def take_ready(self) -> list[Endpoint]:
        """The endpoints that became ready, each once; their `on_ready` is the driver's to call."""
        ready = self.core.ready
        if not ready:
            return []
        taken = ready[:]
        ready.clear()
        for endpoint in taken:
            endpoint.ready_marked = False
        return taken

    def next_deadline(self) -> Nanoseconds | None:
        """When `poll` is needed next if nothing else happens: absolute (ns), or None for never."""
        if self.ipv4.looped or self.ipv4.local_errors:
            return self.core.now
        return self.core.timers.next_deadline()

    # -- setting up

    def add_interface(self, name: str, mac: Mac | str, mtu: int = 1500, gso_max: int = 0) -> Interface:
        """Make an interface; a driver then attaches a link to it. Raises ConfigError."""
        if any(iface.name == name for iface in self.interfaces):
            raise ConfigError(f"there is an interface {name} already")
        if mtu < 68:  # RFC 791 section 3.2: every module forwards 68 octets whole
            raise ConfigError(f"an MTU of {mtu} is too small for IPv4 (68 or more)")
        loopback = not self.interfaces
        address = parse_mac(mac)
        if not loopback and not self.ethernet.is_station(address):
            raise ConfigError("an interface's MAC address is neither a group's nor zero")
        iface = Interface(name, address, mtu, gso_max, self._next_index, loopback)
        self._next_index += 1
        self.interfaces.append(iface)
        if not loopback:
            self.join_group(iface, _ALL_HOSTS)  # RFC 1112 section 7.2
        return iface

    def remove_interface(self, iface: Interface) -> None:
        """Take an interface away with its addresses, routes and neighbours. The loopback stays."""
        if iface.loopback or iface not in self.interfaces:
            raise ConfigError(f"{iface.name} cannot be removed")
        iface.up = False
        self.acd.withdraw_all(iface)
        self.ipv4.paths.remove_interface(iface)
        self.arp.flush(iface)
        self.ethernet.groups.pop(iface, None)
        for member in [member for member in self._members if member[0] == iface.index]:
            del self._members[member]
        self.interfaces.remove(iface)

    def set_up(self, iface: Interface, up: bool) -> None:
        """Take an interface out of use, or back into it: while it is down, routes pass it over."""
        iface.up = up
        self.routes.touch()

    def add_address(self, iface: Interface, address: str | tuple[Address, int]) -> InterfaceAddress:
        """Give an interface an address (`10.0.0.1/24`) and the connected route. Raises ConfigError.

        With `config.arp.probe` the address is probed for first (RFC 5227), and in use only when
        nobody answered, some seconds later.
        """
        packed, length = interface_address(address) if isinstance(address, str) else address
        entry = self.ipv4.paths.check_address(iface, packed, length)
        if self.acd.claimed(packed):
            raise ConfigError(f"{ip_text(packed)} is being probed for already")
        if self.config.arp.probe and not iface.loopback:
            self.acd.claim(iface, packed, length)
            return entry
        return self.ipv4.paths.add_address(iface, packed, length)

    def remove_address(self, iface: Interface, address: str | Address) -> None:
        """Take an address away. Raises ConfigError if the interface does not have it."""
        packed = ip(address.partition("/")[0] if isinstance(address, str) else address)
        if not self.acd.withdraw(iface, packed) or self.ipv4.paths.owns(iface, packed):
            self.ipv4.paths.remove_address(iface, packed)

    def join_group(self, iface: Interface, group: str | Address) -> None:
        """Receive what is sent to a multicast group; counted, one `leave_group` undoes one. ConfigError."""
        packed = ip(group)
        if len(packed) != 4 or not is_multicast(packed):
            raise ConfigError(f"{ip_text(packed)} is not a multicast group (224.0.0.0 to 239.255.255.255)")
        members = self._members.get((iface.index, packed), 0)
        self._members[(iface.index, packed)] = members + 1
        if not members:
            iface.multicast_groups.add(packed)
            self.ethernet.listen(iface, packed)

    def leave_group(self, iface: Interface, group: str | Address) -> None:
        """Undo one `join_group`. Raises ConfigError if there was none."""
        packed = ip(group)
        members = self._members.get((iface.index, packed), 0)
        if not members:
            raise ConfigError(f"{iface.name} is not a member of {ip_text(packed)}")
        if members > 1:
            self._members[(iface.index, packed)] = members - 1
            return
        del self._members[(iface.index, packed)]
        iface.multicast_groups.discard(packed)
        self.ethernet.unlisten(iface, packed)

    def add_route(
        self,
        prefix: str | Prefix,
        *,
        via: str | Address | None = None,
        iface: Interface | None = None,
        metric: int = 0,
    ) -> RouteEntry:
        """Add a route by a gateway, an interface or both. Raises ConfigError for one that leads nowhere."""
        gateway = ip(via) if via is not None else None
        if gateway is not None and iface is None:
            towards = self.routes.lookup(gateway)
            if towards is None or towards.via is not None or self.ipv4.is_local(gateway):
                raise ConfigError(f"the gateway {ip_text(gateway)} is on no network of ours")
            iface = towards.iface
        if iface is None:
            raise ConfigError("a route needs a gateway or an interface")
        where = Prefix.parse(prefix) if isinstance(prefix, str) else prefix
        return self.routes.add(where, iface, gateway, metric)

    def remove_route(
        self, prefix: str | Prefix, *, via: str | Address | None = None, iface: Interface | None = None
    ) -> None:
        """Remove the first route that fits. Raises ConfigError if none does."""
        where = Prefix.parse(prefix) if isinstance(prefix, str) else prefix
        self.routes.remove(where, ip(via) if via is not None else None, iface)
