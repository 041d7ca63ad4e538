"""ARP (RFC 826): from an IPv4 address on a link to a hardware address.

The cache has a bound, ages, and holds back the packets that wait for an answer. An entry is

    incomplete  asked for; packets are parked           reachable  confirmed lately, used freely
    probe       stale and in use: asked by unicast      stale      not confirmed lately, not in use
    failed      nobody answered                         permanent  set by hand, never changed

An entry is also the `Neighbour` that routes keep, so a packet to a reachable neighbour costs IP one
comparison and no lookup here. Conflicts over our own addresses are `layers.acd`'s.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from scapystack.base.addr import ANY4, MAC_BROADCAST, MAC_NONE, ip_text
from scapystack.base.core import Core
from scapystack.base.datagram import Neighbour, Route
from scapystack.base.errors import ConfigError
from scapystack.base.frames import Frame
from scapystack.base.guard import arp_packet
from scapystack.base.iface import Interface
from scapystack.base.types import MILLISECOND, Address, Buffer, Mac, Nanoseconds
from scapystack.layers.ethernet import HEADER, TYPE_ARP, Ethernet

REQUEST = 1
REPLY = 2

INCOMPLETE = "incomplete"
REACHABLE = "reachable"
STALE = "stale"
PROBE = "probe"
FAILED = "failed"
PERMANENT = "permanent"

FOREVER: Nanoseconds = 1 << 62
_SCAN = 32  # entries looked at to find one that may go
_ALL_QUEUES = 16  # parked octets in all, as a multiple of those allowed for one address


class ArpEntry(Neighbour):
    """One line of the cache. `header` and `until` as in `Neighbour`; `mac` is zero until it is known."""

    __slots__ = (
        "address", "asked_at", "confirmed_at", "deadline", "iface", "mac", "queue", "queued", "state", "tries", "used",
    )  # fmt: skip

    def __init__(self, iface: Interface, address: Address, state: str) -> None:
        super().__init__(b"", 0)
        self.iface = iface
        self.address = address
        self.mac: Mac = MAC_NONE
        self.state = state
        self.confirmed_at: Nanoseconds = 0
        self.asked_at: Nanoseconds = -FOREVER
        self.deadline: Nanoseconds = 0
        self.tries = 0
        self.used = False  # a route of ours leads there
        self.queue: list[Frame] = []
        self.queued = 0


class Arp:
    """The cache and the protocol, for every interface of a stack.

    `unreachable` takes the frames whose neighbour never answered; `owns` says whether an address is
    ours on an interface; `conflict` is shown every packet, and true for those whose sender claims an
    address of ours.
    """

    __slots__ = (
        "_asking", "_decode", "_encode", "_next_at", "_parked", "conflict", "core", "ethernet", "failures", "heap_at",
        "owns", "table", "unreachable",
    )  # fmt: skip

    def __init__(self, core: Core, ethernet: Ethernet) -> None:
        self.core = core
        self.ethernet = ethernet
        self.table: OrderedDict[tuple[int, Address], ArpEntry] = OrderedDict()
        self.heap_at: Nanoseconds | None = None
        self.unreachable: Callable[[list[Frame]], None] = lambda frames: None
        self.owns: Callable[[Interface, Address], bool] = lambda iface, address: False
        self.conflict: Callable[[Interface, Address, Mac, Address], bool] = lambda iface, spa, sha, tpa: False
        self.failures: Callable[[ArpEntry], None] = lambda entry: None  # shown each that fails, or is back
        self._asking: dict[ArpEntry, None] = {}
        self._next_at: Nanoseconds | None = None
        self._parked = 0
        self._decode = core.codec.decode_arp
        self._encode = core.codec.encode_arp

    # -- from the wire

    def input(self, _frame: Frame, iface: Interface, data: Buffer, _cast: int) -> None:
        """Take an ARP packet, in the order of RFC 826 "Packet Reception" (826)."""
        counters = self.core.counters
        reason = arp_packet(data, HEADER, len(data) - HEADER)
        if reason:
            counters["arp.drop." + reason] += 1
            return
        _, _, _, _, op, sha, spa, _, tpa = self._decode(data, HEADER)
        if op not in (REQUEST, REPLY):
            counters["arp.drop.op"] += 1
            return
        if not self.ethernet.is_station(sha) or sha == iface.mac:
            counters["arp.drop.sender_mac"] += 1
            return
        counters["arp.in.request" if op == REQUEST else "arp.in.reply"] += 1
        if self.conflict(iface, spa, sha, tpa):
            return
        ours = self.owns(iface, tpa)
        if spa == ANY4:  # RFC 5227 section 2.1.1: a probe; it is answered and teaches nothing
            if ours and op == REQUEST:
                self._reply(iface, sha, spa, tpa)
            return
        if not self._may_be_host(iface, spa):
            counters["arp.drop.sender_ip"] += 1
            return
        entry = self.table.get((iface.index, spa))
        if entry is not None:
            self._learn(entry, sha)
        elif ours and op == REQUEST and self._on_link(iface, spa):
            # "if Merge_flag is false, add the triplet": only for who asks for us, never for an unasked reply
            entry = self._add(iface, spa, STALE, may_evict_asking=False)
            if entry is not None:
                self._learn(entry, sha)
        if ours and op == REQUEST:
            self._reply(iface, sha, spa, tpa)

    def _may_be_host(self, iface: Interface, address: Address) -> bool:
        first = address[0]
        if first >= 224 or first in (0, 127):
            return False
        return all(address != entry.prefix.broadcast for entry in iface.addresses)

    def _on_link(self, iface: Interface, address: Address) -> bool:
        return any(address in entry.prefix for entry in iface.addresses)

    def _learn(self, entry: ArpEntry, mac: Mac) -> None:
        """RFC 826: the newest hardware address supersedes; whatever waited for it leaves, in order."""
        if entry.state == PERMANENT:
            return
        if entry.mac != mac:
            if entry.mac != MAC_NONE:
                self.core.counters["arp.changed"] += 1
            entry.mac = mac
            entry.header = self.ethernet.header(entry.iface, mac)
        failed = entry.state == FAILED
        entry.state = REACHABLE
        entry.confirmed_at = now = self.core.now
        entry.until = now + self.core.config.arp.reachable_ms * MILLISECOND
        entry.tries = 0
        self._asking.pop(entry, None)
        if entry.queue:
            self._release(entry)
        if failed:
            self.failures(entry)

    def _release(self, entry: ArpEntry) -> None:
        header = entry.header
        for frame in self._take_queue(entry):
            frame.head = header + frame.head[HEADER:]
            self.ethernet.emit(frame)
        entry.used = True

    def _take_queue(self, entry: ArpEntry) -> list[Frame]:
        frames, entry.queue = entry.queue, []
        self._parked -= entry.queued
        entry.queued = 0
        return frames

    def _reply(self, iface: Interface, sha: Mac, spa: Address, tpa: Address) -> None:
        self._emit(iface, sha, REPLY, tpa, sha, spa)

    def _emit(self, iface: Interface, to: Mac, op: int, spa: Address, tha: Mac, tpa: Address) -> None:
        self.core.counters["arp.out.request" if op == REQUEST else "arp.out.reply"] += 1
        self.ethernet.output(iface, to, TYPE_ARP, self._encode(1, 0x0800, 6, 4, op, iface.mac, spa, tha, tpa))

    # -- from IP

    def output(self, frame: Frame, route: Route) -> None:
        """Send an IP frame whose first 14 octets are room for the link header, now or once we know.

        The first packet that needs the neighbour makes the request leave; it and the next are
        parked (RFC 1122 section 2.3.2.2: 1122/2.3.2.2), up to `arp.max_queue`: then the oldest goes.
        """
        entry = self.table.get((route.iface.index, route.hop))
        if entry is not None and self._usable(entry):
            entry.used = True
            route.neighbour = entry
            frame.head = entry.header + frame.head[HEADER:]
            self.ethernet.emit(frame)
            return
        if entry is None:
            entry = self._add(route.iface, route.hop, INCOMPLETE, may_evict_asking=True)
            if entry is None:
                self.core.counters["arp.drop.table_full"] += 1
                return
            self._ask(entry)
        elif entry.state != INCOMPLETE:
            self._restart(entry)
        self._park(entry, frame)
        route.neighbour = entry

    def suspect(self, iface: Interface, address: Address) -> None:
        """A transport heard nothing this way (RFC 1122 section 3.3.1.4): ask the neighbour again now."""
        entry = self.table.get((iface.index, address))
        if entry is not None and entry.state in (REACHABLE, STALE):
            entry.until = 0
            self._usable(entry)

    def _usable(self, entry: ArpEntry) -> bool:
        """Whether packets may leave by this entry; one that is stale is asked again meanwhile."""
        now = self.core.now
        if entry.until > now:
            return True
        if entry.state in (INCOMPLETE, FAILED):
            return False
        if now - entry.confirmed_at >= self.core.config.arp.stale_ms * MILLISECOND:
            return False
        # RFC 1122 section 2.3.2.1 (3): a unicast poll tells whether the old answer still holds
        entry.state = PROBE
        entry.until = FOREVER
        self._ask(entry)
        return True

    def _restart(self, entry: ArpEntry) -> None:
        entry.state = INCOMPLETE
        entry.mac = MAC_NONE
        entry.header = b""
        entry.until = 0
        entry.tries = 0
        self._ask(entry)

    def _park(self, entry: ArpEntry, frame: Frame) -> None:
        limits = self.core.config.arp
        size = len(frame)
        if self._parked + size > limits.max_queue_bytes * _ALL_QUEUES:
            self.core.counters["arp.drop.queues_full"] += 1
            return
        queue = entry.queue
        queue.append(frame)
        entry.queued += size
        self._parked += size
        while len(queue) > 1 and (len(queue) > limits.max_queue or entry.queued > limits.max_queue_bytes):
            gone = len(queue.pop(0))
            entry.queued -= gone
            self._parked -= gone
            self.core.counters["arp.drop.queue_full"] += 1

    def _ask(self, entry: ArpEntry) -> None:
        """Send a request now, or as soon as the last one is `retry_ms` ago (RFC 1122 section 2.3.2.1: 1122/2.3.2.1)."""
        now = self.core.now
        retry = self.core.config.arp.retry_ms * MILLISECOND
        if now - entry.asked_at >= retry:
            entry.asked_at = now
            entry.tries += 1
            to = entry.mac if entry.state == PROBE else MAC_BROADCAST
            source = entry.iface.source_for(entry.address) or ANY4
            self._emit(entry.iface, to, REQUEST, source, MAC_NONE, entry.address)
        entry.deadline = entry.asked_at + retry
        self._asking[entry] = None
        if self._next_at is None or entry.deadline < self._next_at:
            self._next_at = entry.deadline
        self.core.timers.arm(self, entry.deadline)

    # -- time

    def next_at(self) -> Nanoseconds | None:
        """When the next request is due, or somebody is given up (never later than that)."""
        return self._next_at if self._asking else None

    def expire(self, now: Nanoseconds) -> None:
        """Ask again, or give up after `arp.tries`."""
        self._next_at = None
        for entry in [e for e in self._asking if e.deadline <= now]:
            if entry.tries < self.core.config.arp.tries:
                self._ask(entry)
            else:
                self._give_up(entry)
        self._next_at = min((e.deadline for e in self._asking), default=None)

    def _give_up(self, entry: ArpEntry) -> None:
        self._asking.pop(entry, None)
        entry.state = FAILED
        entry.until = 0
        entry.tries = 0
        self.core.counters["arp.failed"] += 1
        frames = self._take_queue(entry)
        self.failures(entry)
        if frames:
            self.unreachable(frames)

    # -- the table

    def _add(self, iface: Interface, address: Address, state: str, *, may_evict_asking: bool) -> ArpEntry | None:
        if len(self.table) >= self.core.config.arp.max_entries and not self._evict(may_evict_asking):
            return None
        entry = ArpEntry(iface, address, state)
        self.table[(iface.index, address)] = entry
        return entry

    def _evict(self, may_evict_asking: bool) -> bool:
        """Make room: an entry that never served goes first, so floods wash out only each other.

        Entries in use are passed over and put behind; if there is nothing else, the oldest question
        goes, then the oldest entry (both only for packets of our own, never for a stranger's request).
        """
        table = self.table
        asking: ArpEntry | None = None
        oldest: ArpEntry | None = None
        for _ in range(min(_SCAN, len(table))):
            key = next(iter(table))
            entry = table[key]
            if entry.state == FAILED or (not entry.used and entry.state not in (INCOMPLETE, PERMANENT)):
                self._forget(entry)
                return True
            if entry.state == INCOMPLETE:
                asking = asking or entry
            elif entry.state != PERMANENT:
                oldest = oldest or entry
            table.move_to_end(key)
        victim = asking or oldest
        if victim is None or not may_evict_asking:
            return False
        self._forget(victim)
        return True

    def _forget(self, entry: ArpEntry) -> None:
        del self.table[(entry.iface.index, entry.address)]
        self._asking.pop(entry, None)
        entry.until = 0
        entry.header = b""
        lost = len(self._take_queue(entry))
        if lost:
            self.core.counters["arp.drop.evicted"] += lost
        self.core.counters["arp.evicted"] += 1

    # -- for people

    def entries(self) -> list[ArpEntry]:
        """The cache as it is now; entries that nobody confirmed for `arp.stale_ms` are left out."""
        now = self.core.now
        limits = self.core.config.arp
        shown = []
        for entry in self.table.values():
            if entry.state == REACHABLE and entry.until <= now:
                entry.state = STALE
            if entry.state == STALE and now - entry.confirmed_at >= limits.stale_ms * MILLISECOND:
                continue
            shown.append(entry)
        return shown

    def neighbour(self, iface: Interface, address: Address) -> ArpEntry | None:
        """The entry that a route to this neighbour keeps, if there is one: it counts as in use."""
        entry = self.table.get((iface.index, address))
        if entry is not None:
            entry.used = True
        return entry

    def lookup(self, iface: Interface, address: Address) -> ArpEntry | None:
        """The entry for a neighbour, whatever its state."""
        return self.table.get((iface.index, address))

    def add_static(self, iface: Interface, address: Address, mac: Mac) -> None:
        """Set an entry by hand; what waited for it leaves. Raises ConfigError for an impossible one."""
        if not self.ethernet.is_station(mac):
            raise ConfigError("a neighbour's MAC address is neither a group's nor zero")
        if len(address) != 4 or not self._may_be_host(iface, address):
            raise ConfigError(f"{ip_text(address)} is no neighbour's address")
        entry = self.lookup(iface, address)
        if entry is None:
            entry = self._add(iface, address, PERMANENT, may_evict_asking=True)
            if entry is None:
                raise ConfigError("the ARP table is full of permanent entries")
        entry.state = STALE
        self._learn(entry, mac)
        entry.state = PERMANENT
        entry.until = FOREVER

    def remove(self, iface: Interface, address: Address) -> bool:
        """Forget a neighbour; parked packets are lost. Whether there was one."""
        entry = self.lookup(iface, address)
        if entry is None:
            return False
        self._forget(entry)
        return True

    def flush(self, iface: Interface | None = None) -> None:
        """Forget all neighbours (of one interface), permanent ones only with their interface."""
        for entry in list(self.table.values()):
            if (iface is None and entry.state != PERMANENT) or entry.iface is iface:
                self._forget(entry)

    def failed(self, iface: Interface, address: Address) -> bool:
        """Whether a neighbour was asked for and did not answer."""
        entry = self.table.get((iface.index, address))
        return entry is not None and entry.state == FAILED

    def request(self, iface: Interface, target: Address) -> None:
        """Send one broadcast request, whatever the cache says (what `arping` does)."""
        self._emit(iface, MAC_BROADCAST, REQUEST, iface.source_for(target) or ANY4, MAC_NONE, target)

    def announce(self, iface: Interface, address: Address) -> None:
        """Send a gratuitous request for an address of ours (RFC 5227 section 3)."""
        self._emit(iface, MAC_BROADCAST, REQUEST, address, MAC_NONE, address)

    def probe(self, iface: Interface, address: Address) -> None:
        """Send one ARP probe: a request from nobody (RFC 5227 section 2.1.1)."""
        self._emit(iface, MAC_BROADCAST, REQUEST, ANY4, MAC_NONE, address)
