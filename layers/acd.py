"""Address conflict detection (RFC 5227: 5227/2.1-2.4): asking before an address is used, and standing up for it after.

A claimed address is probed for; if nobody answers it is given to the interface and announced. Once
in use it is defended, with one announcement in `arp.defend_interval_ms` at most (the third of the
choices in RFC 5227 section 2.4: our addresses are configured by hand, so we never give one up).
Read `layers.arp` first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from scapystack.base.addr import ANY4
from scapystack.base.core import Core
from scapystack.base.iface import Interface
from scapystack.base.types import MILLISECOND, Address, Mac, Nanoseconds
from scapystack.layers.arp import Arp

_KEPT = 64
PROBING = "probing"
ANNOUNCING = "announcing"


@dataclass(slots=True)
class Conflict:
    """Somebody else used an address of ours, or one that we were about to take (`lost`)."""

    at: Nanoseconds
    iface: Interface
    address: Address
    mac: Mac
    lost: bool


@dataclass(slots=True)
class Claim:
    """An address on its way to be ours. `sent` counts probes, then announcements."""

    iface: Interface
    address: Address
    length: int
    state: str
    sent: int
    due_at: Nanoseconds


class ConflictGuard:
    """Claims and defends the addresses of a stack. `conflicts` keeps the last ones seen.

    `take` gives an address to an interface, `owns` says whether it has it.
    """

    def __init__(self, core: Core, arp: Arp, take: Callable[[Interface, Address, int], object]) -> None:
        self.core = core
        self.arp = arp
        self.take = take
        self.heap_at: Nanoseconds | None = None
        self.claims: dict[tuple[int, Address], Claim] = {}
        self.conflicts: deque[Conflict] = deque(maxlen=_KEPT)
        self._defended_at: dict[tuple[int, Address], Nanoseconds] = {}

    def claim(self, iface: Interface, address: Address, length: int) -> None:
        """Probe for an address; it becomes the interface's when nobody answered (some 5 s later).

        It is one that no interface has and nobody claims (`claimed`).
        """
        interval = self.core.config.arp.probe_interval_ms * MILLISECOND
        wait = self.core.rng.below(interval + 1)  # RFC 5227 section 2.1.1: PROBE_WAIT
        self._due(Claim(iface, address, length, PROBING, 0, self.core.now + wait))

    def claimed(self, address: Address) -> bool:
        """Whether some interface of ours is about to take an address."""
        return any(claim.address == address for claim in self.claims.values())

    def withdraw(self, iface: Interface, address: Address) -> bool:
        """Give up a claim. Whether there was one."""
        return self.claims.pop((iface.index, address), None) is not None

    def withdraw_all(self, iface: Interface) -> None:
        """Give up all claims on an interface that goes away, and forget what was defended there."""
        for claim in [c for c in self.claims.values() if c.iface is iface]:
            self.withdraw(iface, claim.address)
        for key in [key for key in self._defended_at if key[0] == iface.index]:
            del self._defended_at[key]

    def _due(self, claim: Claim) -> None:
        self.claims[(claim.iface.index, claim.address)] = claim
        self.core.timers.arm(self, claim.due_at)

    def seen(self, iface: Interface, spa: Address, sha: Mac, tpa: Address) -> bool:
        """Look at an ARP packet that is not our own; whether it claims an address of ours."""
        if not self.claims and not self.arp.owns(iface, spa):
            return False
        claim = self.claims.get((iface.index, spa))
        if claim is None and spa == ANY4:  # RFC 5227 section 2.1.1: somebody probes for the same address
            claim = self.claims.get((iface.index, tpa))
        if claim is not None and claim.state == PROBING:
            self._lose(claim, sha)
            return True
        if not self.arp.owns(iface, spa):
            return False
        self._defend(iface, spa, sha)
        return True

    def _lose(self, claim: Claim, mac: Mac) -> None:
        self.core.counters["arp.conflict.lost"] += 1
        self.conflicts.append(Conflict(self.core.now, claim.iface, claim.address, mac, lost=True))
        self.withdraw(claim.iface, claim.address)

    def _defend(self, iface: Interface, address: Address, mac: Mac) -> None:
        now = self.core.now
        key = (iface.index, address)
        self.core.counters["arp.conflict"] += 1
        self.conflicts.append(Conflict(now, iface, address, mac, lost=False))
        last = self._defended_at.get(key)
        if last is None or now - last >= self.core.config.arp.defend_interval_ms * MILLISECOND:
            self._defended_at[key] = now
            self.core.counters["arp.conflict.defended"] += 1
            self.arp.announce(iface, address)

    def next_at(self) -> Nanoseconds | None:
        """When the next probe or announcement is due."""
        return min((claim.due_at for claim in self.claims.values()), default=None)

    def expire(self, now: Nanoseconds) -> None:
        """Send what is due, and take the addresses that nobody objected to."""
        for claim in [c for c in self.claims.values() if c.due_at <= now]:
            if claim.state == PROBING:
                self._probe(claim, now)
            else:
                self._announce(claim, now)

    def _probe(self, claim: Claim, now: Nanoseconds) -> None:
        limits = self.core.config.arp
        interval = limits.probe_interval_ms * MILLISECOND
        if claim.sent < limits.probe_count:
            claim.sent += 1
            self.arp.probe(claim.iface, claim.address)
            last = claim.sent == limits.probe_count
            # between probes PROBE_MIN to PROBE_MAX, after the last ANNOUNCE_WAIT
            claim.due_at = now + (2 * interval if last else interval + self.core.rng.below(interval + 1))
            return
        claim.state, claim.sent = ANNOUNCING, 0
        self.take(claim.iface, claim.address, claim.length)
        self._announce(claim, now)

    def _announce(self, claim: Claim, now: Nanoseconds) -> None:
        limits = self.core.config.arp
        if claim.sent < limits.announce_count:
            claim.sent += 1
            self.arp.announce(claim.iface, claim.address)
        claim.due_at = now + limits.announce_interval_ms * MILLISECOND
        if claim.sent >= limits.announce_count:
            self.withdraw(claim.iface, claim.address)
